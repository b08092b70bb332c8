//! How far mass has to be moved from one cloud to another: the Fréchet distance, split into means and shapes, and the sliced
//! Wasserstein distance [spec 10].
//!
//! The Fréchet (Bures-Wasserstein) distance is the 2-Wasserstein distance of the Gaussians with the clouds' means and covariances,
//! which alone enter it. The sliced one compares the rows themselves, along random directions.

use faer::Mat;
use rayon::prelude::*;

use super::rows::{check_width, count};
use super::survey::Survey;
use super::{dense, roots::Roots};
use crate::host::norm;
use crate::host::split_mix::{SplitMix64, unit};
use crate::{Error, Result};

/// Random directions of the sliced distance by default: its square is a mean over them, which they leave uncertain by some √(2 / 128).
pub const DIRECTIONS: usize = 128;
/// Most directions.
pub const MAX_DIRECTIONS: usize = 4096;

/// The squared Fréchet distance of two clouds of unit rows, in squared units of a row's length; its parts add up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frechet {
    /// `‖μ_x - μ_y‖²`: the square of the gap, 0 to 4.
    pub mean: f64,
    /// `tr(Σ_x + Σ_y - 2 (Σ_y^{1/2} Σ_x Σ_y^{1/2})^{1/2})`, 0 to 2.
    pub covariance: f64,
}

impl Frechet {
    /// The squared distance.
    pub fn square(&self) -> f64 {
        self.mean + self.covariance
    }

    /// Of two surveys: means and covariances of all their rows, 1/n.
    ///
    /// # Errors
    /// Widths that differ; no convergence.
    pub fn of(source: &Survey, target: &Survey) -> Result<Self> {
        check_width("Fréchet distance", "the measured set", target.width(), source.width())?;
        Frechet::with(source, (target, &root(target)?))
    }

    /// With the root of the target's covariance.
    pub(super) fn with(source: &Survey, (target, target_root): (&Survey, &Mat<f64>)) -> Result<Self> {
        let mean = source.mean().iter().zip(target.mean()).map(|(a, b)| (a - b).powi(2)).sum();
        // The trace of the root is the sum of the singular values of the product of roots, each good to ε of the largest.
        let product = dense::product(target_root.as_ref(), root(source)?.as_ref());
        let common: f64 = dense::singular_values(product.as_ref())?.iter().sum();
        let traces = source.spectrum().trace() + target.spectrum().trace();
        // Equal clouds leave rounding of either sign.
        Ok(Frechet { mean, covariance: (traces - 2.0 * common).max(0.0) })
    }
}

/// Σ^{1/2} of a survey, `[d, d]`.
pub(super) fn root(survey: &Survey) -> Result<Mat<f64>> {
    Ok(Roots::of(survey.covariance(), survey.width(), 0.0)?.power(0.5))
}

/// The sliced Wasserstein distance of two sets of rows `[n, d]` and `[m, d]`, f64: `√(mean over directions θ of W_2²(aθ, bθ))`, in units
/// of a row's length. W_2 in one dimension couples equal quantiles, also where n and m differ. The directions, uniform on the sphere,
/// depend on `seed`, their number and d alone. Two samples of one cloud are still some `√(T / (d n))` apart, and more where tails are
/// long.
///
/// # Errors
/// No whole rows, or none; directions of 0 or above [`MAX_DIRECTIONS`].
pub fn sliced_wasserstein(a: &[f64], b: &[f64], width: usize, (directions, seed): (usize, u64)) -> Result<f64> {
    let slices = Slices::of(a, width, (directions, seed))?;
    Ok(slices.distance(&Slices::of(b, width, (directions, seed))?))
}

/// A set along each direction.
#[derive(Debug)]
pub(super) struct Slices {
    /// `[directions, n]`, each row ascending.
    sorted: Vec<f64>,
    rows: usize,
}

impl Slices {
    pub fn of(rows: &[f64], width: usize, (directions, seed): (usize, u64)) -> Result<Self> {
        let n = count("sliced Wasserstein distance", "rows", rows, width)?;
        if n == 0 {
            return Err(Error::degenerate("sliced Wasserstein distance: there are no rows to measure"));
        }
        if !(1..=MAX_DIRECTIONS).contains(&directions) {
            return Err(Error::argument("directions", format!("{directions}; give 1 to {MAX_DIRECTIONS}")));
        }
        let along = random_directions(directions, width, seed);
        let mut sorted = vec![0.0; directions * n];
        let rows_by_column = dense::view(rows, n, width).transpose();
        dense::product_into(dense::view(&along, directions, width), rows_by_column, &mut sorted);
        sorted.par_chunks_exact_mut(n).for_each(|line| line.sort_by(f64::total_cmp));
        Ok(Slices { sorted, rows: n })
    }

    /// From another set along the same directions.
    pub fn distance(&self, other: &Slices) -> f64 {
        let lines = self.sorted.chunks_exact(self.rows).zip(other.sorted.chunks_exact(other.rows));
        let squares: Vec<f64> = lines.map(|(a, b)| square_of_quantiles(a, b)).collect();
        (squares.iter().sum::<f64>() / squares.len() as f64).sqrt()
    }
}

/// `∫ (A(u) - B(u))² du` over 0 to 1 of the quantiles of two ascending samples.
fn square_of_quantiles(a: &[f64], b: &[f64]) -> f64 {
    // In units of 1 / (n m) a number of `a` has the mass m, one of `b` the mass n: whole numbers, so that none is lost.
    let (n, m) = (a.len() as u64, b.len() as u64);
    let (mut i, mut j, mut left_a, mut left_b) = (0, 0, m, n);
    let mut total = 0.0;
    while i < a.len() && j < b.len() {
        let mass = left_a.min(left_b);
        total += mass as f64 * (a[i] - b[j]).powi(2);
        (left_a, left_b) = (left_a - mass, left_b - mass);
        if left_a == 0 {
            (i, left_a) = (i + 1, m);
        }
        if left_b == 0 {
            (j, left_b) = (j + 1, n);
        }
    }
    total / (n as f64 * m as f64)
}

/// Unit vectors `[count, width]`: normal numbers by Box and Muller from SplitMix64, in order, each row divided by its norm.
pub(crate) fn random_directions(count: usize, width: usize, seed: u64) -> Vec<f64> {
    let mut bits = SplitMix64::new(seed);
    let mut all = Vec::with_capacity(count * width + 1);
    while all.len() < count * width {
        // In (0, 1], whose logarithm is finite.
        let radius = (-2.0 * (1.0 - unit(bits.next())).ln()).sqrt();
        let (sine, cosine) = (std::f64::consts::TAU * unit(bits.next())).sin_cos();
        all.extend([radius * cosine, radius * sine]);
    }
    all.truncate(count * width);
    for row in all.chunks_exact_mut(width) {
        let length = norm(row);
        row.iter_mut().for_each(|x| *x /= length);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_different_counts() {
        // Copies of each number change nothing, and the mass is whole: 1/3 and 2/3 of a step.
        assert!((square_of_quantiles(&[0.0, 3.0], &[0.0, 0.0, 3.0, 3.0]) - 0.0).abs() < 1e-15);
        assert!((square_of_quantiles(&[0.0, 1.0], &[0.0, 0.0, 1.0]) - 1.0 / 6.0).abs() < 1e-15);
        assert!((square_of_quantiles(&[2.0], &[-1.0, 2.0, 5.0]) - 6.0).abs() < 1e-15);
    }

    #[test]
    fn a_shift_is_seen_by_its_share_along_each_direction() {
        let rows = [0.0, 1.0, 2.0, -1.0, 0.5, 3.0, 1.0, 1.0];
        let moved: Vec<f64> = rows.iter().enumerate().map(|(i, x)| if i % 2 == 0 { x + 3.0 } else { *x }).collect();
        let got = sliced_wasserstein(&rows, &moved, 2, (4096, 1)).unwrap();
        // The mean of cos² is 1/2, with an error of 0.35 / 64.
        assert!((got * got / 9.0 - 0.5).abs() < 0.025, "{got}");
        assert_eq!(sliced_wasserstein(&rows, &rows, 2, (16, 1)).unwrap(), 0.0);
        assert_ne!(got, sliced_wasserstein(&rows, &moved, 2, (4096, 2)).unwrap());
    }

    #[test]
    fn directions_are_unit_vectors() {
        let all = random_directions(50, 7, 3);
        assert!(all.chunks_exact(7).all(|row| (norm(row) - 1.0).abs() < 1e-15 * 7.0));
        assert_eq!(all[..7 * 20], random_directions(20, 7, 3));
    }

    #[test]
    fn what_cannot_be_measured_is_an_error() {
        let row = [1.0, 0.0];
        for directions in [0, MAX_DIRECTIONS + 1] {
            assert!(sliced_wasserstein(&row, &row, 2, (directions, 0)).is_err());
        }
        assert!(sliced_wasserstein(&row, &[], 2, (8, 0)).is_err());
        assert!(sliced_wasserstein(&row, &[1.0], 2, (8, 0)).is_err());
        assert!(sliced_wasserstein(&row, &row, 0, (8, 0)).is_err());
    }
}
