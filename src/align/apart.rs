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
    Ok(measure(device, source, &summand, options)?.moved_by(statistics.operator_sum()))
}

impl Statistics {
    /// These statistics with one more centroid step: of `anchor-trace` they become `realign` with one step, the paper's, and of `realign` with k steps those with
    /// k + 1. `moved` are the moments of all of the source's rows as these statistics move them ([`moved_moments`]), counted in any parts. The result is
    /// [`fit()`](super::fit())'s, to the bit.
    ///
    /// # Errors
    /// Statistics of another method, of an exact centroid step or of private moments; as many steps as an operator can have; moments of another width or number
    /// of rows than the source's, of its rows as they were before, as another operator moves them, or of another encoder.
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
        if moved.operator() != Some(self.operator_sum()) {
            let problem =
                "another operator moved these rows; count them as these statistics, of the same two sides, move them";
            return Err(Error::argument("moved", problem));
        }
        let encoder: Vec<_> = moved.encoder().cloned().into_iter().collect();
        self.check_source_encoders(&encoder, false)?;
        let mean = moved.mean();
        let centroid = Centroid::Steps(steps + 1);
        centroid.check()?;
        let mut next = Statistics { method: Method::ReAlign, centroid: Some(centroid), ..self.clone() };
        next.shifts.push(self.mean_target.iter().zip(&mean).map(|(target, mean)| target - mean).collect());
        next.mean_projected.get_or_insert(mean);
        Ok(next)
    }

    /// What tells this operator from others: a CRC-32 of its numbers.
    fn operator_sum(&self) -> u32 {
        let (a, vectors) = self.vectors();
        let mut crc = crc32fast::Hasher::new();
        crc.update(&a.to_le_bytes());
        vectors.iter().for_each(|vector| crc.update(bytemuck::cast_slice(vector)));
        crc.finalize()
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

#[cfg(test)]
mod tests {
    use super::super::{FitOptions, fit, fit_moments};
    use super::*;
    use crate::kernels::stats::moments::Summand;
    use crate::stats::MemoryRows;

    const WIDTH: usize = 7;

    fn rows(n: usize, seed: usize) -> Vec<f32> {
        (0..n * WIDTH).map(|i| ((i * 7919 + seed) % 101) as f32 - 30.0 + (i % WIDTH * seed % 40) as f32).collect()
    }

    fn source(rows: &[f32]) -> MemoryRows<'_> {
        MemoryRows::f32("rows", rows, WIDTH).unwrap()
    }

    fn moments(device: &Device, rows: &[f32]) -> Moments {
        let summand = Summand::unit_rows(device, WIDTH).unwrap();
        measure(device, &mut source(rows), &summand, StreamOptions::default()).unwrap()
    }

    /// Counted in parts of so many rows, and merged backwards.
    fn in_parts(device: &Device, statistics: &Statistics, rows: &[f32], most: usize) -> Moments {
        let mut total = Moments::empty(WIDTH);
        for part in rows.chunks(most * WIDTH).rev() {
            let moved = moved_moments(device, statistics, &mut source(part), StreamOptions::default()).unwrap();
            total.merge(&Moments::from_bytes(&moved.to_bytes().unwrap()).unwrap()).unwrap();
        }
        total
    }

    #[test]
    fn steps_by_parts_are_those_of_all_rows() {
        let device = Device::host();
        let (y, x) = (rows(1000, 3), rows(800, 11));
        let sides = (moments(&device, &y), moments(&device, &x));
        let options = FitOptions::default().method(Method::AnchorTrace);
        let mut statistics = fit_moments(&device, (&sides.0, &sides.1), None, &options).unwrap();
        for steps in 1..=MAX_STEPS {
            let parts: Vec<Moments> = [1, 7, 333, 1000].map(|most| in_parts(&device, &statistics, &y, most)).into();
            assert!(parts.iter().all(|part| *part == parts[0] && part.is_moved()));
            statistics = statistics.with_centroid_step(&parts[0]).unwrap();
            let options = FitOptions::default().centroid(Centroid::Steps(steps));
            let want = fit(&device, &mut source(&y), &mut source(&x), &options).unwrap();
            assert_eq!(statistics, want, "{steps} steps");
            assert_eq!(statistics.to_bytes().unwrap(), want.to_bytes().unwrap());
        }
        let error = moved_moments(&device, &statistics, &mut source(&y), StreamOptions::default()).unwrap_err();
        assert!(error.to_string().contains("the most that an operator has"), "{error}");
    }

    #[test]
    fn moments_that_are_none_of_moved_rows_are_refused() {
        let device = Device::host();
        let (y, x) = (rows(100, 3), rows(80, 11));
        let sides = (moments(&device, &y), moments(&device, &x));
        let options = FitOptions::default().method(Method::AnchorTrace);
        let statistics = fit_moments(&device, (&sides.0, &sides.1), None, &options).unwrap();
        let moved = in_parts(&device, &statistics, &y, 100);
        let mut mixed = moved.clone();
        let swapped = fit_moments(&device, (&sides.0, &sides.0), None, &options).unwrap();
        let by_another = in_parts(&device, &swapped, &y, 100);
        let refused = [
            (statistics.with_centroid_step(&sides.0).err(), "as they are"),
            (statistics.with_centroid_step(&in_parts(&device, &statistics, &x, 80)).err(), "[100, 7]"),
            (mixed.merge(&sides.0).err(), "moved"),
            (moved.private(crate::stats::Privacy::new(1.0, 1e-6).unwrap()).err(), "moved"),
            (fit_moments(&device, (&moved, &sides.1), None, &options).err(), "moved"),
            (statistics.with_centroid_step(&by_another).err(), "another operator"),
            (moved.clone().merge(&by_another).err(), "different operators"),
        ];
        for (error, said) in refused {
            let error = error.expect(said).to_string();
            assert!(error.contains(said), "{error}");
        }
        let other = fit_moments(&device, (&sides.0, &sides.1), None, &options.method(Method::MeanShift)).unwrap();
        assert!(other.with_centroid_step(&moved).unwrap_err().to_string().contains("anchor-trace"));
        let exact = fit(&device, &mut source(&y), &mut source(&x), &FitOptions::default().centroid(Centroid::Exact));
        assert!(exact.unwrap().with_centroid_step(&moved).unwrap_err().to_string().contains("exact"));
        // A file that says other than it holds.
        let mut bytes = moved.to_bytes().unwrap();
        let at = bytes.windows(20).position(|w| w == b"\"format_version\":\"4\"").unwrap();
        bytes[at + 18] = b'1';
        assert!(Moments::from_bytes(&bytes).unwrap_err().to_string().contains("moved"));
    }
}
