//! What is counted of one side, in one file: moments, and a covariance if it is wanted.

use super::{Covariance, Moments, RowSource, StreamOptions, covariance_by, measure};
use crate::device::Device;
use crate::error::{Problem, Remedy};
use crate::kernels::stats::moments::Summand;
use crate::{Error, Result};

/// Moments of a row set, and perhaps its covariance: counted apart, merged, saved together.
///
/// Moments merge exactly. Covariances merge as Chan, Golub and LeVeque do, in f64, each about its own mean: up to rounding (some
/// 1e-15) they are that of the whole, with the parts' own errors.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Counts, sums and squares.
    pub moments: Moments,
    /// Covariance of the same unit rows.
    pub covariance: Option<Covariance>,
}

impl Summary {
    /// Counts a source's unit rows: one read, and one more for a covariance, on the device as [`covariance_by`] says.
    ///
    /// # Errors
    /// A NaN or an infinity, unless replaced; a file that cannot be read; a device lost or out of memory; with a covariance also
    /// no rows, or rows wider than [`MAX_COVARIANCE_WIDTH`](super::MAX_COVARIANCE_WIDTH).
    pub fn of(
        device: &Device,
        source: &mut dyn RowSource,
        with_covariance: bool,
        options: StreamOptions<'_>,
    ) -> Result<Summary> {
        let covariance = match with_covariance {
            true => Some(covariance_by(device, source, options)?),
            false => None,
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
        self.moments.merge(&other.moments)?;
        match (&mut self.covariance, &other.covariance) {
            (Some(mine), Some(theirs)) => mine.merge(theirs),
            _ => Ok(()),
        }
    }
}
