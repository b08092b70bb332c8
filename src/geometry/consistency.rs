//! Diagnostics of the follow-up paper, "Anisotropic Modality Align" [spec 5, 9].
//!
//! Its text leaves choices; these are ours:
//! * C_λ is Pearson's correlation of the eigenvalues themselves, in descending order, all d of them;
//! * O_q is `‖A_qᵀ B_q‖²_F / q` of the leading q eigenvectors: 1 for equal spans, q/d for random ones;
//! * Φ is the mean cosine of a row before alignment with itself after: near `1 - gap² / 2` for a pure shift;
//! * Ψ is Pearson's correlation of the pairwise cosines before with those after, over all pairs of the first 2,000 rows;
//! * Ω_k is the overlap of neighbourhoods before and after, [`super::neighbourhood::knn_overlap`], at the k of mixing.

use super::dense;
use super::density::PAIR_ROWS;
use super::eigen::symmetric_eigen;
use super::rows::{check_width, count};
use super::spectrum::Spectrum;
use super::survey::Survey;
use crate::host::dot;
use crate::{Error, Result};

/// C_λ of two spectra; `None` where one has no variation (a constant set, or d = 1).
///
/// # Errors
/// Spectra of different lengths.
pub fn spectral_correlation(a: &Spectrum, b: &Spectrum) -> Result<Option<f64>> {
    check_width("spectral correlation", "the second spectrum", a.eigenvalues().len(), b.eigenvalues().len())?;
    let mut sums = Pearson::default();
    let (a, b) = (a.eigenvalues(), b.eigenvalues());
    // Centred first: sums of raw products would lose digits.
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len().max(1) as f64;
    let (ma, mb) = (mean(a), mean(b));
    a.iter().zip(b).for_each(|(x, y)| sums.add(x - ma, y - mb));
    Ok(sums.correlation())
}

/// O_q of two sets; `None` where one has fewer than q directions that are told from 0.
///
/// # Errors
/// Widths that differ; q = 0 or above d.
pub fn subspace_overlap(a: &Survey, b: &Survey, q: usize) -> Result<Option<f64>> {
    check_width("subspace overlap", "the second set", a.width(), b.width())?;
    Ok(overlap_of_spans(leading_directions(a, q)?.as_deref(), leading_directions(b, q)?.as_deref(), q))
}

/// The leading q eigenvectors of a set's covariance, `[q, d]`, if there are so many.
pub(super) fn leading_directions(set: &Survey, q: usize) -> Result<Option<Vec<f64>>> {
    let d = set.width();
    if q == 0 || q > d {
        return Err(Error::argument("q", format!("{q}; rows of width {d} have 1 to {d} directions")));
    }
    if set.spectrum().numerical_rank() < q {
        return Ok(None);
    }
    let mut vectors = symmetric_eigen(set.covariance(), d)?.vectors;
    vectors.truncate(q * d);
    Ok(Some(vectors))
}

/// `‖A Bᵀ‖²_F / q` of orthonormal rows `[q, d]`.
pub(super) fn overlap_of_spans(a: Option<&[f64]>, b: Option<&[f64]>, q: usize) -> Option<f64> {
    let (a, b) = (a?, b?);
    let cross = dense::product(dense::view(a, q, a.len() / q), dense::view(b, q, b.len() / q).transpose());
    Some(cross.as_ref().squared_norm_l2() / q as f64)
}

/// A_r = `λ_max / (tr / d)` of the residuals' covariance: 1 if isotropic, d on a line; `None` for a trace of 0.
pub fn residual_anisotropy(residual: &Spectrum) -> Option<f64> {
    let trace = residual.trace();
    let d = residual.eigenvalues().len() as f64;
    (trace > 0.0).then(|| residual.eigenvalues()[0] * d / trace)
}

/// d_eff = `tr² / tr(Σ²)`, between 1 and d; `None` for a trace of 0.
pub fn effective_dimension(spectrum: &Spectrum) -> Option<f64> {
    // In units of the largest, so that squares neither overflow nor vanish.
    let largest = *spectrum.eigenvalues().first()?;
    if largest <= 0.0 {
        return None;
    }
    let (sum, squares) = spectrum.eigenvalues().iter().fold((0.0, 0.0), |(s, q), l| {
        let share = l / largest;
        (s + share, q + share * share)
    });
    Some(sum * sum / squares)
}

/// Φ of unit rows before and after, `[n, d]` each: mean cosine of row i with row i.
///
/// # Errors
/// Shapes that differ; no rows.
pub fn instance_consistency(before: &[f64], after: &[f64], width: usize) -> Result<f64> {
    let n = same_rows("instance consistency", before, after, width)?;
    let pairs = before.chunks_exact(width).zip(after.chunks_exact(width));
    Ok(pairs.map(|(a, b)| dot(a, b)).sum::<f64>() / n as f64)
}

/// Ψ of unit rows before and after, `[n, d]` each; the first 2,000 are used. `None` with fewer than 3 rows, or where one
/// side's cosines are all equal.
///
/// # Errors
/// Shapes that differ; no rows.
pub fn relative_geometry(before: &[f64], after: &[f64], width: usize) -> Result<Option<f64>> {
    let n = same_rows("relative-geometry consistency", before, after, width)?.min(PAIR_ROWS);
    let gram = |rows: &[f64]| {
        let rows = dense::view(rows, n, width);
        dense::product(rows, rows.transpose())
    };
    let (a, b) = (gram(before), gram(after));
    let mean = |m: &faer::Mat<f64>| {
        let total: f64 = (1..n).map(|j| m.col_as_slice(j)[..j].iter().sum::<f64>()).sum();
        total / (n * (n - 1) / 2).max(1) as f64
    };
    let (ma, mb) = (mean(&a), mean(&b));
    let mut sums = Pearson::default();
    for j in 1..n {
        let pairs = a.col_as_slice(j)[..j].iter().zip(&b.col_as_slice(j)[..j]);
        pairs.for_each(|(x, y)| sums.add(x - ma, y - mb));
    }
    Ok(sums.correlation())
}

fn same_rows(operation: &'static str, before: &[f64], after: &[f64], width: usize) -> Result<usize> {
    let n = count(operation, "rows before", before, width)?;
    if count(operation, "rows after", after, width)? != n {
        return Err(Error::shape(operation, "rows after", format!("{n} rows"), after.len() / width));
    }
    if n == 0 {
        return Err(Error::degenerate(format!("{operation}: there are no rows")));
    }
    Ok(n)
}

/// Sums of centred pairs.
#[derive(Default)]
struct Pearson {
    xy: f64,
    xx: f64,
    yy: f64,
    count: usize,
}

impl Pearson {
    fn add(&mut self, x: f64, y: f64) {
        self.xy += x * y;
        self.xx += x * x;
        self.yy += y * y;
        self.count += 1;
    }

    fn correlation(&self) -> Option<f64> {
        // Deviations of some ε about a mean of order 1 are rounding.
        let flat = |sum: f64| sum <= self.count as f64 * (8.0 * f64::EPSILON).powi(2);
        if self.count < 2 || flat(self.xx) || flat(self.yy) {
            return None;
        }
        Some((self.xy / (self.xx.sqrt() * self.yy.sqrt())).clamp(-1.0, 1.0))
    }
}
