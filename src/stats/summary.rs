//! What is counted of one side, in one file: moments, and a covariance if it is wanted.

use super::{Covariance, Moments, RowSource, SecondMoments, StreamOptions, covariance_fast, measure};
use crate::device::Device;
use crate::error::{Problem, Remedy};
use crate::kernels::stats::moments::Summand;
use crate::{Error, Result};

/// What a covariance is kept as.
#[derive(Clone, Debug, PartialEq)]
pub enum CovarianceSums {
    /// Exact sums: they merge exactly.
    Exact(SecondMoments),
    /// The matrix itself, of sums that were rounded. Such covariances merge as Chan, Golub and LeVeque do, in f64, each about its own mean: up
    /// to rounding (some 1e-15) they are that of the whole, with the parts' own errors.
    Rounded(Covariance),
}

impl CovarianceSums {
    /// d.
    pub fn width(&self) -> usize {
        match self {
            CovarianceSums::Exact(sums) => sums.width(),
            CovarianceSums::Rounded(covariance) => covariance.width(),
        }
    }

    /// Mean and covariance in f64.
    pub fn covariance(&self) -> Covariance {
        match self {
            CovarianceSums::Exact(sums) => sums.covariance(),
            CovarianceSums::Rounded(covariance) => covariance.clone(),
        }
    }

    /// Takes another set's rows in; exact where both are.
    ///
    /// # Errors
    /// As [`SecondMoments::merge`] and [`Covariance::merge`].
    pub fn merge(&mut self, other: &CovarianceSums) -> Result<()> {
        match (&mut *self, other) {
            (CovarianceSums::Exact(mine), CovarianceSums::Exact(theirs)) => mine.merge(theirs),
            (CovarianceSums::Rounded(mine), theirs) => mine.merge(&theirs.covariance()),
            (CovarianceSums::Exact(mine), CovarianceSums::Rounded(theirs)) => {
                let mut covariance = mine.covariance();
                covariance.merge(theirs)?;
                *self = CovarianceSums::Rounded(covariance);
                Ok(())
            }
        }
    }
}

/// How a covariance is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CovarianceMode {
    /// Exact sums.
    Exact,
    /// Products in f32: [`covariance_fast`].
    Fast,
}

/// Moments of a row set, and perhaps its covariance: counted apart, merged, saved together.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Counts, sums and squares.
    pub moments: Moments,
    /// Covariance of the same unit rows.
    pub covariance: Option<CovarianceSums>,
}

impl Summary {
    /// Counts a source's unit rows: one read, and one more for a covariance.
    ///
    /// # Errors
    /// A NaN or an infinity, unless replaced; a file that cannot be read; a device lost or out of memory; with a covariance also
    /// no rows, or rows wider than [`MAX_COVARIANCE_WIDTH`](super::MAX_COVARIANCE_WIDTH).
    pub fn of(
        device: &Device,
        source: &mut dyn RowSource,
        covariance: Option<CovarianceMode>,
        options: StreamOptions<'_>,
    ) -> Result<Summary> {
        let covariance = match covariance {
            None => None,
            Some(CovarianceMode::Exact) => Some(CovarianceSums::Exact(SecondMoments::of(device, source, options)?)),
            Some(CovarianceMode::Fast) => Some(CovarianceSums::Rounded(covariance_fast(device, source, options)?)),
        };
        let summand = Summand::unit_rows(device, source.width())?;
        Ok(Summary { moments: measure(device, source, &summand, options)?, covariance })
    }

    /// Takes another set's rows in, as if both had been one set.
    ///
    /// # Errors
    /// Another width; more than 2⁶⁴ rows; a covariance on one side alone.
    pub fn merge(&mut self, other: &Summary) -> Result<()> {
        let (mine, theirs) = (self.covariance.is_some(), other.covariance.is_some());
        if mine != theirs {
            let which = |has: bool| if has { "a covariance" } else { "no covariance" };
            let problem = format!("merge: this side has {}, those before it have {}", which(theirs), which(mine));
            return Err(Error::degenerate(Problem::new(problem).remedy(Remedy::CountAllCovariances)));
        }
        // Both or neither: a part that cannot be merged leaves the others as they were.
        let mut moments = self.moments.clone();
        moments.merge(&other.moments)?;
        if let (Some(mine), Some(theirs)) = (&mut self.covariance, &other.covariance) {
            mine.merge(theirs)?;
        }
        self.moments = moments;
        Ok(())
    }
}
