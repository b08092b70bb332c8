//! Third and fourth moments of rows along given directions: how far from normal a distribution is there.

use super::dense;
use super::rows::{BLOCK_ROWS, count};
use crate::host::norm;
use crate::{Error, Result};

/// Moments of the rows' coordinate along one direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DirectionMoments {
    /// Weighted mean of `b · x`.
    pub mean: f64,
    /// Weighted variance, population form: `Σ w (b · x - mean)² / Σ w`.
    pub variance: f64,
    /// Third central moment over the variance's power 3/2: 0 for a symmetric distribution. `None` where the rows are
    /// constant along the direction, up to rounding.
    pub skewness: Option<f64>,
    /// Fourth central moment over the variance squared: 3 for a normal distribution. `None` as for the skewness.
    pub kurtosis: Option<f64>,
}

/// Moments of `rows`, `[n, width]`, as they are, along each direction of `basis`, `[r, width]`, of any norm; `weights`, `[n]`, are
/// 0 or more (`None`: all 1) and count by their ratios alone.
///
/// Rows are centred before they are projected, all in f64, so that a mean that is large against the spread costs no more digits
/// than it has to. FLOPs: 2 n r width.
///
/// # Errors
/// No rows; values that are no whole rows; weights of another number, negative, or all 0; a NaN or an infinity; moments that
/// overflow.
pub fn direction_moments(
    rows: &[f64],
    weights: Option<&[f64]>,
    width: usize,
    basis: &[f64],
) -> Result<Vec<DirectionMoments>> {
    let operation = "direction moments";
    let (n, r) = (count(operation, "rows", rows, width)?, count(operation, "basis", basis, width)?);
    if n == 0 {
        return Err(Error::Degenerate("direction moments: there are no rows; give at least one".to_owned()));
    }
    for (operand, values) in [("rows", rows), ("basis", basis)] {
        if let Some(at) = values.iter().position(|x| !x.is_finite()) {
            let got = format!("{} at row {}, column {}", values[at], at / width, at % width);
            return Err(Error::shape(operation, operand, "finite values", got));
        }
    }
    let shares = shares(weights, n)?;
    // Powers of two near the peaks: exact, and fourth powers stay in range.
    let (row_unit, basis_unit) = (unit(rows), unit(basis));
    let centre = weighted_mean(rows, &shares, width, row_unit);
    let scaled: Vec<f64> = basis.iter().map(|x| x / basis_unit).collect();
    let directions = dense::view(&scaled, r, width);
    let mut sums = vec![[0.0; 4]; r];
    let (mut centred, mut longest) = (Vec::new(), 0f64);
    for (block, shares) in rows.chunks(BLOCK_ROWS * width).zip(shares.chunks(BLOCK_ROWS)) {
        centred.clear();
        for row in block.chunks_exact(width) {
            let row: Vec<f64> = row.iter().map(|x| x / row_unit).collect();
            longest = longest.max(norm(&row));
            centred.extend(row.iter().zip(&centre).map(|(x, m)| x - m));
        }
        let along = dense::product(directions, dense::view(&centred, shares.len(), width).transpose());
        for (i, share) in shares.iter().enumerate() {
            for (sum, z) in sums.iter_mut().zip(along.col(i).iter()) {
                let square = z * z;
                let powers = [*z, square, square * z, square * square];
                sum.iter_mut().zip(powers).for_each(|(s, p)| *s += share * p);
            }
        }
    }
    let rounding = longest * width.max(8) as f64 * f64::EPSILON;
    let moments = sums.iter().zip(scaled.chunks_exact(width)).map(|(sum, direction)| {
        let middle: f64 = direction.iter().zip(&centre).map(|(b, m)| b * m).sum();
        about_mean(sum, middle, rounding * norm(direction), row_unit * basis_unit)
    });
    moments.collect()
}

/// From `E[z], E[z²], E[z³], E[z⁴]` about a middle that is the mean but for rounding; `scale` brings the units back.
fn about_mean(&[e1, e2, e3, e4]: &[f64; 4], middle: f64, rounding: f64, scale: f64) -> Result<DirectionMoments> {
    let second = (e2 - e1 * e1).max(0.0);
    let third = e3 - 3.0 * e1 * e2 + 2.0 * e1.powi(3);
    let fourth = e4 - 4.0 * e1 * e3 + 6.0 * e1 * e1 * e2 - 3.0 * e1.powi(4);
    let spread = second > rounding * rounding && second * second > 0.0;
    let (mean, variance) = ((middle + e1) * scale, second * scale * scale);
    if !mean.is_finite() || !variance.is_finite() {
        let problem = "direction moments: they overflow f64; scale the rows or the basis down";
        return Err(Error::Degenerate(problem.to_owned()));
    }
    Ok(DirectionMoments {
        mean,
        variance,
        skewness: spread.then(|| third / (second * second.sqrt())),
        kurtosis: spread.then(|| fourth / (second * second)),
    })
}

/// Weights over their sum.
fn shares(weights: Option<&[f64]>, n: usize) -> Result<Vec<f64>> {
    let Some(weights) = weights else { return Ok(vec![1.0 / n as f64; n]) };
    let operation = "direction moments";
    if weights.len() != n {
        return Err(Error::shape(operation, "weights", format!("{n}, one a row"), weights.len()));
    }
    if let Some(at) = weights.iter().position(|w| !w.is_finite() || *w < 0.0) {
        return Err(Error::shape(
            operation,
            "weights",
            "finite values of 0 or more",
            format!("{} at {at}", weights[at]),
        ));
    }
    // Over the largest first: a sum may overflow.
    let largest = weights.iter().fold(0f64, |m, w| m.max(*w));
    if largest == 0.0 {
        return Err(Error::Degenerate("direction moments: all weights are 0; give at least one above".to_owned()));
    }
    let total: f64 = weights.iter().map(|w| w / largest).sum();
    Ok(weights.iter().map(|w| w / largest / total).collect())
}

/// A power of two near the largest magnitude; 1 for zeros.
fn unit(values: &[f64]) -> f64 {
    let peak = values.iter().fold(0f64, |m, x| m.max(x.abs()));
    if peak > 0.0 { peak.log2().floor().clamp(-1022.0, 1023.0).exp2() } else { 1.0 }
}

/// `Σ share x`, about the first row, in units.
fn weighted_mean(rows: &[f64], shares: &[f64], width: usize, unit: f64) -> Vec<f64> {
    let first: Vec<f64> = rows[..width].iter().map(|x| x / unit).collect();
    let mut mean = vec![0.0; width];
    for (row, share) in rows.chunks_exact(width).zip(shares) {
        mean.iter_mut().zip(row).zip(&first).for_each(|((m, x), f)| *m += share * (x / unit - f));
    }
    mean.iter().zip(&first).map(|(m, f)| m + f).collect()
}
