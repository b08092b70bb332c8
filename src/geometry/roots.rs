//! Powers of a covariance with a ridge, from one decomposition.

use faer::Mat;

use super::{Eigen, dense, symmetric_eigen};
use crate::error::{Problem, Remedy};
use crate::{Error, Result};

/// A symmetric, positive semidefinite matrix `C + ridge I` whose powers are asked for.
pub(crate) struct Roots {
    eigen: Eigen,
    ridge: f64,
}

impl Roots {
    /// Of C, `[k, k]`, row-major.
    ///
    /// # Errors
    /// As [`symmetric_eigen`].
    pub fn of(matrix: &[f64], k: usize, ridge: f64) -> Result<Self> {
        Ok(Roots { eigen: symmetric_eigen(matrix, k)?, ridge })
    }

    /// What rounding leaves of an eigenvalue of 0: k ε λ_1.
    fn floor(&self) -> f64 {
        let largest = self.eigen.values.first().copied().unwrap_or(0.0).abs();
        self.eigen.order() as f64 * f64::EPSILON * largest
    }

    /// The same, if it can be inverted: it is a source's, to be whitened.
    ///
    /// # Errors
    /// It is singular.
    pub fn of_source(self) -> Result<Self> {
        if self.eigen.values.iter().any(|l| l + self.ridge <= self.floor()) {
            let problem = "fit: the source's covariance is singular, which cannot be whitened";
            return Err(Error::degenerate(Problem::new(problem).remedy(Remedy::LargerShrinkage)));
        }
        Ok(self)
    }

    /// `(C + ridge I)^exponent`, `[k, k]`, symmetric. An eigenvalue of C that is not told from 0 counts as 0: the root of mere rounding
    /// would be 1e-8 of the largest.
    pub fn power(&self, exponent: f64) -> Mat<f64> {
        let (k, floor) = (self.eigen.order(), self.floor());
        let known = |l: f64| if l > floor { l } else { 0.0 };
        let powers: Vec<f64> = self.eigen.values.iter().map(|&l| (known(l) + self.ridge).powf(exponent)).collect();
        let vectors = dense::view(&self.eigen.vectors, k, k);
        let scaled = Mat::from_fn(k, k, |i, j| powers[i] * vectors[(i, j)]);
        dense::product(vectors.transpose(), scaled.as_ref())
    }
}
