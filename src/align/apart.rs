//! ReAlign's centroid step where the source's rows lie on several machines [spec 2]: each machine sums its own rows as they are moved so far, the sums
//! merge exactly, and a step by their mean is the step that one process takes over all rows, to the bit.

use super::method::MAX_STEPS;
use super::{Centroid, Method, Statistics};
use crate::device::Device;
use crate::error::{Problem, Remedy};
use crate::kernels::stats::moments::Summand;
use crate::stats::{Moments, RowSource, StreamOptions, measure};
use crate::{Error, Result};

/// Moments of a source's rows `[n, d]` as the statistics' operator moves them, in one read: what [`Statistics::with_centroid_step`] takes, merged over all parts
/// of the source. Rows are summed before they are rounded to f32, in the fixed point of all moments.
///
/// # Errors
/// Statistics of another method than `anchor-trace`, or `realign` with a number of steps; rows of another width; a NaN or an infinity, unless replaced; a file
/// that cannot be read; a device lost or out of memory.
pub fn moved_moments(
    device: &Device,
    statistics: &Statistics,
    source: &mut dyn RowSource,
    options: StreamOptions<'_>,
) -> Result<Moments> {
    statistics.steps()?;
    sum_moved(device, statistics, source, options)
}

/// [`moved_moments`] of statistics that are on their way.
pub(super) fn sum_moved(
    device: &Device,
    statistics: &Statistics,
    source: &mut dyn RowSource,
    options: StreamOptions<'_>,
) -> Result<Moments> {
    let (a, vectors) = statistics.vectors();
    let summand = Summand::operator(device, a, &vectors, statistics.width())?;
    measure(device, source, &summand, options)
}

impl Statistics {
    /// These statistics with one more centroid step: of `anchor-trace` they become `realign` with one step, the paper's, and of `realign` with k steps those with
    /// k + 1. `moved` are the moments of all of the source's rows as these statistics move them ([`moved_moments`]), counted in any parts. The result is
    /// [`fit()`](super::fit())'s, to the bit.
    ///
    /// # Errors
    /// Statistics of another method, of an exact centroid step or of private moments; as many steps as an operator can have; moments of another width or number
    /// of rows than the source's, or of its rows as they were before.
    pub fn with_centroid_step(&self, moved: &Moments) -> Result<Statistics> {
        let steps = self.steps()?;
        let (want, got) = ((self.rows.0, self.width()), (moved.rows(), moved.width()));
        if want != got {
            let of = |(rows, width): (u64, usize)| format!("[{rows}, {width}]");
            return Err(Error::shape("fit", "moved rows", format!("{}, as the source", of(want)), of(got)));
        }
        if moved.noise().is_some() || self.budgets[0].is_some() {
            let problem = "the centroid step of private moments: the mean of moved rows has no noise, and would tell of rows that are private";
            return Err(Error::degenerate(problem));
        }
        if !moved.is_moved() {
            return Err(Error::argument(
                "moved",
                "they are of the source's rows as they are; count the rows as these statistics move them",
            ));
        }
        let mean = moved.mean();
        let centroid = Centroid::Steps(steps + 1);
        centroid.check()?;
        let mut next = Statistics { method: Method::ReAlign, centroid: Some(centroid), ..self.clone() };
        next.shifts.push(self.mean_target.iter().zip(&mean).map(|(target, mean)| target - mean).collect());
        next.mean_projected.get_or_insert(mean);
        Ok(next)
    }

    /// Centroid steps so far, where another can follow.
    fn steps(&self) -> Result<u32> {
        match (self.method, self.centroid) {
            (Method::AnchorTrace, _) => Ok(0),
            (Method::ReAlign, Some(Centroid::Steps(steps))) if steps < MAX_STEPS => Ok(steps),
            (Method::ReAlign, Some(centroid @ Centroid::Steps(_))) => {
                Err(Error::argument("centroid", format!("{centroid} steps are the most that an operator has")))
            }
            (Method::ReAlign, _) => {
                Err(Error::argument("centroid", "no step follows on an exact one, which leaves no gap"))
            }
            (other, _) => {
                let problem = Problem::new(format!("{other} has no centroid step"));
                Err(Error::argument("method", problem.remedy(Remedy::FitFor { method: Method::AnchorTrace.name() })))
            }
        }
    }
}
