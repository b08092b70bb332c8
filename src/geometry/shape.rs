//! Third and fourth moments of rows along given directions: how far from normal a distribution is there. [`direction_moments`] is f64 on
//! the host, for the small sets that probes look at; [`direction_moments_on`] multiplies and sums on a device, for large ones.

use rayon::prelude::*;

use super::dense;
use super::rows::{BLOCK_ROWS, count};
use crate::device::{Device, Tensor};
use crate::host::norm;
use crate::kernels::linalg::matmul::{self, Operand, Product};
use crate::kernels::stats::power_sums;
use crate::{ElementType, Error, Result};

/// Rows of a chunk on a device at most.
const MOST_ROWS: usize = 1 << 15;

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
    let (n, r) = check(rows, width, basis)?;
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

/// As [`direction_moments`] of f32 rows, with the products and the sums of powers in f32 on a device.
///
/// The host takes the weighted mean off in f64 first, so that a large mean costs no digits. A coordinate `z` is then off by some
/// `√width 2⁻²⁴` of the length of its centred row times the direction's, and sums of `z^p` by some 1e-6 of `E|z|^p`: skewness and
/// kurtosis by 1e-5 of themselves (and of 1) where the variance along the direction is not small against the whole. Along a direction
/// whose spread is below that rounding they are `None`. FLOPs: 2 n r width on the device, 3 n width on the host. Device memory: a
/// chunk of rows and of coordinates.
///
/// # Errors
/// As [`direction_moments`]; a device lost or out of memory.
pub fn direction_moments_on(
    device: &Device,
    rows: &[f32],
    weights: Option<&[f64]>,
    width: usize,
    basis: &[f64],
) -> Result<Vec<DirectionMoments>> {
    let (n, r) = check(rows, width, basis)?;
    let shares = shares(weights, n)?;
    let (row_unit, basis_unit) = (unit(rows), unit(basis));
    let centre = weighted_mean(rows, &shares, width, row_unit);
    let scaled: Vec<f64> = basis.iter().map(|x| x / basis_unit).collect();
    if r == 0 {
        return Ok(Vec::new());
    }
    let extent = Extent::of(rows, row_unit, &centre);
    // In units of their own, rows that are close to their mean keep fourth powers that f32 holds.
    let near = unit(&[extent.farthest]);
    let sums = power_sums_on(device, (rows, &shares), (row_unit, near), (&centre, &scaled))?;
    // A product's sum passes through at most so many additions, see the kernels; and the host rounds in f64.
    let single = extent.longest_centred * (width as f64 / 4.0 + 23.0) * f64::from(f32::EPSILON);
    let rounding = (extent.longest * width.max(8) as f64 * f64::EPSILON + single) / near;
    let moments = sums.iter().zip(scaled.chunks_exact(width)).map(|(sum, direction)| {
        let middle: f64 = direction.iter().zip(&centre).map(|(b, m)| b * m).sum();
        about_mean(sum, middle / near, rounding * norm(direction), row_unit * basis_unit * near)
    });
    moments.collect()
}

/// How far rows reach, in units.
#[derive(Default)]
struct Extent {
    /// The largest norm of a row.
    longest: f64,
    /// And less the centre.
    longest_centred: f64,
    /// The largest magnitude of an element less the centre.
    farthest: f64,
}

impl Extent {
    fn of(rows: &[f32], row_unit: f64, centre: &[f64]) -> Extent {
        let each = rows.par_chunks_exact(centre.len()).map(|row| {
            let (mut whole, mut rest, mut farthest) = (0.0, 0.0, 0f64);
            for (&x, m) in row.iter().zip(centre) {
                let x = f64::from(x) / row_unit;
                whole += x * x;
                rest += (x - m) * (x - m);
                farthest = farthest.max((x - m).abs());
            }
            Extent { longest: whole.sqrt(), longest_centred: rest.sqrt(), farthest }
        });
        each.reduce(Extent::default, |a, b| Extent {
            longest: a.longest.max(b.longest),
            longest_centred: a.longest_centred.max(b.longest_centred),
            farthest: a.farthest.max(b.farthest),
        })
    }
}

/// `E[z^p]` of the coordinates about the centre along each direction, in units of `near` times the rows' and the basis': chunk by
/// chunk on the device; chunks are added in f64.
fn power_sums_on(
    device: &Device,
    (rows, shares): (&[f32], &[f64]),
    (row_unit, near): (f64, f64),
    (centre, basis): (&[f64], &[f64]),
) -> Result<Vec<[f64; 4]>> {
    let (width, r) = (centre.len(), basis.len() / centre.len());
    let chunk = device.capabilities().chunk_rows(4 * width.max(r) as u64).min(MOST_ROWS).min(shares.len());
    let single: Vec<f32> = basis.iter().map(|&x| x as f32).collect();
    let directions = Tensor::from_f32(device, &single, width)?;
    let tensor = |rows, width| Tensor::new(device, rows, width, ElementType::F32);
    let (block, coordinates, out) = (tensor(chunk, width)?, tensor(chunk, r)?, tensor(r, 4)?);
    let mut sums = vec![[0.0; 4]; r];
    for (rows, shares) in rows.chunks(chunk * width).zip(shares.chunks(chunk)) {
        let (block, coordinates) = (block.first_rows(shares.len())?, coordinates.first_rows(shares.len())?);
        let mut padded = vec![0f32; shares.len() * block.row_bytes() / 4];
        let rows = padded.par_chunks_exact_mut(block.row_bytes() / 4).zip(rows.par_chunks_exact(width));
        rows.for_each(|(out, row)| {
            let centred = row.iter().zip(centre).map(|(&x, m)| (f64::from(x) / row_unit - m) / near);
            out.iter_mut().zip(centred).for_each(|(o, x)| *o = x as f32);
        });
        device.write(block.buffer(), bytemuck::cast_slice(&padded))?;
        // Over the largest: the shares of many rows are small, and their products with powers would underflow.
        let peak = shares.iter().fold(f64::MIN_POSITIVE, |m, s| m.max(*s));
        let mut weights: Vec<f32> = shares.iter().map(|s| (s / peak) as f32).collect();
        weights.resize(shares.len().next_multiple_of(4), 0.0);
        let weights = device.buffer_from("weights", bytemuck::cast_slice(&weights))?;
        let mut recorder = device.recorder();
        let operands = (Operand::new(&block), Operand::new(&directions).transposed());
        matmul::record(&mut recorder, Product::default(), operands, (&coordinates, 0))?;
        power_sums::record(&mut recorder, (&coordinates, &weights), &out, false)?;
        recorder.submit()?;
        let found = out.to_f32_blocking(device)?;
        for (sum, found) in sums.iter_mut().zip(found.as_chunks::<4>().0) {
            sum.iter_mut().zip(found).for_each(|(s, &f)| *s += peak * f64::from(f));
        }
    }
    Ok(sums)
}

/// n and r of rows and basis that can be measured.
fn check<T: Copy + Into<f64>>(rows: &[T], width: usize, basis: &[f64]) -> Result<(usize, usize)> {
    let operation = "direction moments";
    let (n, r) = (count(operation, "rows", rows, width)?, count(operation, "basis", basis, width)?);
    if n == 0 {
        return Err(Error::degenerate("direction moments: there are no rows; give at least one".to_owned()));
    }
    let not_finite = |operand, at: usize, value: f64| {
        let got = format!("{value} at row {}, column {}", at / width, at % width);
        Error::shape(operation, operand, "finite values", got)
    };
    if let Some((at, value)) = rows.iter().map(|&x| x.into()).enumerate().find(|(_, x)| !x.is_finite()) {
        return Err(not_finite("rows", at, value));
    }
    match basis.iter().position(|x| !x.is_finite()) {
        Some(at) => Err(not_finite("basis", at, basis[at])),
        None => Ok((n, r)),
    }
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
        return Err(Error::degenerate(problem.to_owned()));
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
        return Err(Error::degenerate("direction moments: all weights are 0; give at least one above".to_owned()));
    }
    let total: f64 = weights.iter().map(|w| w / largest).sum();
    Ok(weights.iter().map(|w| w / largest / total).collect())
}

/// A power of two near the largest magnitude; 1 for zeros.
fn unit<T: Copy + Into<f64>>(values: &[T]) -> f64 {
    let peak = values.iter().fold(0f64, |m, &x| m.max(x.into().abs()));
    if peak > 0.0 { peak.log2().floor().clamp(-1022.0, 1023.0).exp2() } else { 1.0 }
}

/// `Σ share x`, about the first row, in units.
fn weighted_mean<T: Copy + Into<f64>>(rows: &[T], shares: &[f64], width: usize, unit: f64) -> Vec<f64> {
    let first: Vec<f64> = rows[..width].iter().map(|&x| x.into() / unit).collect();
    let mut mean = vec![0.0; width];
    for (row, share) in rows.chunks_exact(width).zip(shares) {
        mean.iter_mut().zip(row).zip(&first).for_each(|((m, &x), f)| *m += share * (x.into() / unit - f));
    }
    mean.iter().zip(&first).map(|(m, f)| m + f).collect()
}
