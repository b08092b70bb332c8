//! The spectrum of a covariance and what is read from it [spec 5; paper appendix D].

use super::dense;
use crate::Result;

/// Cumulative energy at which [`Spectrum::kappa`] cuts.
pub const KAPPA_ENERGY: f64 = 0.99;

/// First rank of the power-law fit where the width is 64 or more; 2 below.
const FIRST_FITTED_RANK: usize = 10;

/// Eigenvalues of a covariance, in descending order, none negative.
///
/// A covariance of fewer rows than dimensions, or of equal rows, is singular: what is then undefined is `None`, never a NaN.
#[derive(Clone, Debug, PartialEq)]
pub struct Spectrum {
    eigenvalues: Vec<f64>,
}

impl Spectrum {
    /// Of a symmetric matrix `[d, d]`, row-major f64, of which the lower triangle is read. Eigenvalues that rounding made
    /// negative count as 0.
    ///
    /// # Errors
    /// Values that are no square matrix; no convergence (values that are not finite).
    pub fn of(covariance: &[f64], d: usize) -> Result<Self> {
        Ok(Self::from_eigenvalues(dense::eigenvalues(dense::square("spectrum", covariance, d)?)?))
    }

    /// From eigenvalues in any order; negative ones and those that are not numbers count as 0.
    pub fn from_eigenvalues(mut eigenvalues: Vec<f64>) -> Self {
        // `max` of a NaN and 0 is 0.
        eigenvalues.iter_mut().for_each(|l| *l = l.max(0.0));
        eigenvalues.sort_by(|a, b| b.total_cmp(a));
        Spectrum { eigenvalues }
    }

    /// λ_1 ≥ λ_2 ≥ …, `[d]`.
    pub fn eigenvalues(&self) -> &[f64] {
        &self.eigenvalues
    }

    /// Σ λ.
    pub fn trace(&self) -> f64 {
        self.eigenvalues.iter().sum()
    }

    /// Below this an eigenvalue is not told from 0: d ε λ_1, the error of the decomposition.
    fn resolution(&self) -> f64 {
        let largest = self.eigenvalues.first().copied().unwrap_or(0.0);
        (self.eigenvalues.len() as f64 * f64::EPSILON * largest).max(f64::MIN_POSITIVE)
    }

    /// Number of eigenvalues that are told from 0.
    pub fn numerical_rank(&self) -> usize {
        let resolution = self.resolution();
        self.eigenvalues.partition_point(|&l| l > resolution)
    }

    /// The ranks that [`Spectrum::alpha`] fits, from 1, inclusive: 10 to d/2, and 2 to d/2 (at least 4) where d < 64.
    pub fn fitted_ranks(&self) -> (usize, usize) {
        let d = self.eigenvalues.len();
        let first = if d >= 64 { FIRST_FITTED_RANK } else { 2 };
        (first, (d / 2).max(first + 2))
    }

    /// Exponent α of `λ_k ∝ k^-α`: least squares of log λ on log k over [`Spectrum::fitted_ranks`].
    pub fn alpha(&self) -> Option<f64> {
        let (first, last) = self.fitted_ranks();
        self.alpha_between(first, last)
    }

    /// [`Spectrum::alpha`] over the ranks `first..=last`, from 1. Ranks whose eigenvalue is not told from 0 are left out;
    /// `None` if fewer than two remain.
    pub fn alpha_between(&self, first: usize, last: usize) -> Option<f64> {
        let points: Vec<(f64, f64)> = self.eigenvalues[..self.numerical_rank()]
            .iter()
            .enumerate()
            .filter(|(i, _)| (first..=last).contains(&(i + 1)))
            .map(|(i, l)| (((i + 1) as f64).ln(), l.ln()))
            .collect();
        if points.len() < 2 {
            return None;
        }
        let n = points.len() as f64;
        let (mx, my) = points.iter().fold((0.0, 0.0), |(a, b), (x, y)| (a + x / n, b + y / n));
        let (xy, xx) = points.iter().fold((0.0, 0.0), |(a, b), (x, y)| (a + (x - mx) * (y - my), b + (x - mx).powi(2)));
        Some(-xy / xx)
    }

    /// `exp` of the entropy of λ / Σ λ, in natural units: between 1 and d; 0 where all rows are equal.
    pub fn effective_rank(&self) -> f64 {
        let trace = self.trace();
        if trace <= 0.0 {
            return 0.0;
        }
        let shares = self.eigenvalues.iter().map(|l| l / trace).filter(|&p| p > 0.0);
        (-shares.map(|p| p * p.ln()).sum::<f64>()).exp()
    }

    /// The fewest leading eigenvalues that hold `energy` (0 to 1) of the trace; 0 for a trace of 0.
    pub fn rank_at(&self, energy: f64) -> usize {
        let trace = self.trace();
        if trace <= 0.0 {
            return 0;
        }
        let mut sum = 0.0;
        let reached = |l: &f64| {
            sum += l;
            // The slack of the definition: a sum that rounding left just below counts as reached.
            sum / trace >= energy - 1e-12
        };
        let at = self.eigenvalues.iter().position(reached);
        at.map_or(self.eigenvalues.len(), |i| i + 1)
    }

    /// Effective condition number `λ_1 / λ_r`, r the rank at 99% of the energy; `None` for a trace of 0.
    pub fn kappa(&self) -> Option<f64> {
        self.kappa_at(KAPPA_ENERGY)
    }

    /// [`Spectrum::kappa`] at another energy; `None` for a trace of 0, or where λ_r is not told from 0.
    pub fn kappa_at(&self, energy: f64) -> Option<f64> {
        let rank = self.rank_at(energy);
        if rank == 0 || rank > self.numerical_rank() {
            return None;
        }
        Some(self.eigenvalues[0] / self.eigenvalues[rank - 1])
    }
}
