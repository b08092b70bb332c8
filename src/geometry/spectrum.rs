//! The spectrum of a covariance and what is read from it [spec 5; paper appendix D].

use super::dense;
use crate::Result;
use crate::stats::Covariance;

/// Cumulative energy at which [`Spectrum::kappa`] cuts.
pub const KAPPA_ENERGY: f64 = 0.99;

/// Trace of unit rows below which they are all equal. The mean of up to 4096 equal numbers is off by less than 4096 ε / 2 of them,
/// their squares' sum over a row of norm 1 by the square of that.
pub(super) const EQUAL_ROWS: f64 = (2048.0 * f64::EPSILON) * (2048.0 * f64::EPSILON);

/// First rank of the power-law fit where the width is 64 or more; 2 below.
const FIRST_FITTED_RANK: usize = 10;

/// Eigenvalues of a covariance, in descending order, none negative.
///
/// A covariance of fewer rows than dimensions, or of equal rows, is singular: what is then undefined is `None`, never a NaN.
#[derive(Clone, Debug, PartialEq)]
pub struct Spectrum {
    eigenvalues: Vec<f64>,
    /// How far the matrix that was decomposed may be off, in spectral norm.
    error: f64,
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
    pub fn from_eigenvalues(eigenvalues: Vec<f64>) -> Self {
        Self::within(eigenvalues, 0.0)
    }

    /// [`Spectrum::from_eigenvalues`] of a matrix that is known to `error`, in spectral norm: by as much may each eigenvalue be
    /// off (Weyl), so that smaller ones are not told from 0.
    pub fn within(mut eigenvalues: Vec<f64>, error: f64) -> Self {
        // `max` of a NaN and 0 is 0.
        eigenvalues.iter_mut().for_each(|l| *l = l.max(0.0));
        eigenvalues.sort_by(|a, b| b.total_cmp(a));
        Spectrum { eigenvalues, error }
    }

    /// Of a covariance of unit rows; eigenvalues below its error are not told from 0.
    ///
    /// # Errors
    /// No convergence.
    pub fn of_covariance(covariance: &Covariance) -> Result<Self> {
        Self::of_unit_rows(&covariance.matrix, covariance.width(), covariance.error)
    }

    /// Of a covariance of unit rows, `[d, d]`, whose relative error in Frobenius norm is at most `relative`.
    pub(crate) fn of_unit_rows(covariance: &[f64], d: usize, relative: f64) -> Result<Self> {
        let mut found = Self::of(covariance, d)?;
        // What rows that are all equal leave: nothing but rounding of their mean.
        if found.trace() < EQUAL_ROWS {
            found.eigenvalues.fill(0.0);
        }
        let norm = found.eigenvalues.iter().map(|l| l * l).sum::<f64>().sqrt();
        found.error = relative * norm;
        Ok(found)
    }

    /// λ_1 ≥ λ_2 ≥ …, `[d]`.
    pub fn eigenvalues(&self) -> &[f64] {
        &self.eigenvalues
    }

    /// Σ λ.
    pub fn trace(&self) -> f64 {
        self.eigenvalues.iter().sum()
    }

    /// Below this an eigenvalue is not told from 0: d ε λ_1, the error of the decomposition, or the error of the matrix.
    pub fn resolution(&self) -> f64 {
        let largest = self.eigenvalues.first().copied().unwrap_or(0.0);
        (self.eigenvalues.len() as f64 * f64::EPSILON * largest).max(self.error).max(f64::MIN_POSITIVE)
    }

    /// How far the matrix may be off, in spectral norm; 0 where nothing but the decomposition errs.
    pub(crate) fn error(&self) -> f64 {
        self.error
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
