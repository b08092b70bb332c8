//! The leading eigenvectors of a covariance by block subspace iteration, for when only a frame is wanted [spec 4].
//!
//! The device multiplies in f32 and orthonormalises ([`CholeskyQr`]; where that breaks down, as it does while the block is far
//! from the eigenvectors, the host by Householder's QR); the host solves the small problem of Rayleigh and Ritz in f64, and takes off
//! what the basis lacks to orthonormal. Between two such steps a Chebyshev polynomial damps what lies below the block's smallest Ritz
//! value (Zhou, Saad 2006), in a recurrence that stays on the device. Where the block would span all directions, the host decomposes
//! the whole matrix.
//!
//! Products in f32 leave a residual of 1e-7 to 1e-6 of the largest eigenvalue. From there on the device filters not the vectors but their
//! corrections: with `M v = μ v + ρ`, the residual ρ taken in f64, `T_m(M) v = T_m(μ) v + e_m`, and `e_{k+1} = 2 M e_k - e_{k-1} + 2 T_k(μ) ρ`
//! is as small as ρ is, so that f32's error in it is 1e-7 of what is left. Each step gains what the polynomial damps, down to the rounding of
//! f64. A vector is off by the residual over the gap between its eigenvalue and the next one left out, in units of the largest; values by
//! the residual's square over the gap.

use faer::linalg::triangular_solve::{solve_lower_triangular_in_place, solve_upper_triangular_in_place};
use faer::{MatMut, MatRef, Side};

use super::dense;
use super::eigen::{Eigen, check, symmetric_eigen};
use super::orthonormal::CholeskyQr;
use crate::device::{Device, Recorder, Tensor, pad_rows};
use crate::host::norm;
use crate::host::split_mix::{SplitMix64, unit};
use crate::kernels::linalg::matmul::{self, Operand, Product};
use crate::kernels::nn::elementwise;
use crate::{ElementType, Error, Result};

/// The smallest tolerance: what f64 products can reach.
pub const RESIDUAL_FLOOR: f64 = 1e-13;

/// The residual that products in f32 reach.
const COARSE: f64 = 2e-6;

/// Corrections at most.
const CORRECTIONS: usize = 30;

/// The least part of the largest eigenvalue that a filter parts from what lies below.
const LEAST_CUT: f64 = 1e-6;

/// Growth of the largest eigenvalue's part in one filter at most: more would bury the others in its rounding.
const MAX_GROWTH: f64 = 1e7;

/// Degree of a filter at most.
const MAX_DEGREE: usize = 16;

/// How [`leading`] iterates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LeadingOptions {
    /// Directions in the block beyond those asked for; `None` for a quarter of them, at least 8. More take fewer iterations.
    pub oversample: Option<usize>,
    /// Residual to stop at, a fraction of the largest eigenvalue; at least [`RESIDUAL_FLOOR`].
    pub tolerance: f64,
    /// Rayleigh-Ritz steps on f32 products at most; corrections come after, and where they take too long the host decomposes the matrix.
    pub max_iterations: usize,
}

impl Default for LeadingOptions {
    fn default() -> Self {
        LeadingOptions { oversample: None, tolerance: 1e-12, max_iterations: 200 }
    }
}

/// The leading eigenpairs of a covariance.
#[derive(Clone, Debug, PartialEq)]
pub struct Leading {
    /// Eigenvalues, descending, `[r]`. Those of a singular matrix are zero up to rounding, of either sign.
    pub values: Vec<f64>,
    /// Orthonormal eigenvectors, `[r, d]`: row j belongs to `values[j]`. Each one's largest component is positive.
    pub vectors: Vec<f64>,
    /// The largest `‖C v - λ v‖` of the pairs, taken in f64, over the largest eigenvalue; 0 for a matrix of zeros.
    pub residual: f64,
    /// Rayleigh-Ritz steps of the device, corrections included; 0 where the host decomposed the whole matrix at once.
    pub iterations: usize,
}

/// The `r` largest eigenvalues of `covariance`, `[d, d]` by rows, positive semidefinite, and their eigenvectors.
///
/// Where the spectrum is flat at the cut (`λ_r` hardly above the first eigenvalue beyond the block), convergence is slow. FLOPs:
/// 2 d² (r + oversample) for each product, as many products per iteration as the filter's degree, 1 to 16. Device memory: three
/// matrices `[d, d]` and three blocks, f32.
///
/// # Errors
/// A matrix that is not d × d, is not symmetric to 1e-6 of its largest element, holds a NaN or an infinity, or has an eigenvalue
/// below -1e-5 of its largest; r of 0 or above d; a tolerance below [`RESIDUAL_FLOOR`]; no convergence within the iterations
/// allowed; a device lost or out of memory.
pub fn leading(device: &Device, covariance: &[f64], d: usize, r: usize, options: LeadingOptions) -> Result<Leading> {
    let peak = check(covariance, d)?;
    if r == 0 || r > d {
        return Err(Error::argument("r", format!("{r}; a matrix of order {d} has 1 to {d} eigenvectors")));
    }
    if !(RESIDUAL_FLOOR..1.0).contains(&options.tolerance) {
        let problem = format!("{}; give {RESIDUAL_FLOOR:e} to 1: f64 products do not reach less", options.tolerance);
        return Err(Error::argument("tolerance", problem));
    }
    let block = r.saturating_add(options.oversample.unwrap_or((r / 4).max(8))).min(d);
    // By a power of two: exact, and f32 holds what f64 held.
    let scale = if peak > 0.0 { (-peak.log2().floor()).clamp(-1022.0, 1022.0).exp2() } else { 1.0 };
    let half = |at: usize| 0.5 * scale * covariance[at] + 0.5 * scale * covariance[at % d * d + at / d];
    let matrix: Vec<f64> = (0..d * d).map(half).collect();
    let (mut found, iterations) = if block == d || peak == 0.0 {
        let Eigen { values, vectors } = symmetric_eigen(&matrix, d)?;
        semidefinite(&values)?;
        (Ritz::exact(values, vectors, &matrix, d), 0)
    } else {
        iterate(device, &matrix, d, (r, block), &options)?
    };
    let residual = found.residual(r);
    found.orient();
    found.values.truncate(r);
    found.vectors.truncate(r * d);
    found.values.iter_mut().for_each(|v| *v /= scale);
    if let Some(value) = found.values.iter().find(|v| !v.is_finite()) {
        return Err(Error::degenerate(format!("an eigenvalue is {value}: the matrix is too large; scale it down")));
    }
    Ok(Leading { values: found.values, vectors: found.vectors, residual, iterations })
}

/// Iterates to what f32 products reach; then by corrections, each with a Rayleigh-Ritz step in f64, to the tolerance.
fn iterate(
    device: &Device,
    matrix: &[f64],
    d: usize,
    (r, block): (usize, usize),
    options: &LeadingOptions,
) -> Result<(Ritz, usize)> {
    let engine = Engine::new(device, matrix, d, block)?;
    engine.write(&engine.blocks[0], orthonormal(&start(block * d), block, d).iter().map(|&x| x as f32))?;
    let (mut basis, mut image) = engine.image(0)?;
    let mut residual = f64::INFINITY;
    for iteration in 1..=options.max_iterations {
        let ritz = Ritz::of(&basis, &image, d)?;
        semidefinite(&ritz.values)?;
        residual = ritz.residual(r);
        if residual <= COARSE.max(options.tolerance) {
            let found = Ritz::in_f64(&ritz.vectors, matrix, d)?;
            // Rounding of the products can hide as much as it shows.
            if found.residual(r) <= COARSE.max(options.tolerance) {
                return refine(&engine, (matrix, d, r), found, iteration, options);
            }
        }
        let filtered = engine.filter(ritz)?;
        let at = engine.orthonormalise(filtered)?;
        (basis, image) = engine.image(at)?;
    }
    Err(too_flat(residual, r, options))
}

/// Corrects pairs until their residual, in f64, is the tolerance's; where that takes too long, the spectrum being flat behind them, the host
/// decomposes the whole matrix.
fn refine(
    engine: &Engine<'_>,
    (matrix, d, r): (&[f64], usize, usize),
    mut found: Ritz,
    done: usize,
    options: &LeadingOptions,
) -> Result<(Ritz, usize)> {
    for iteration in done..=done + CORRECTIONS {
        if found.residual(r) <= options.tolerance {
            return Ok((found, iteration));
        }
        found = Ritz::in_f64(&engine.corrected(&found)?, matrix, d)?;
    }
    log::debug!(
        "leading eigenvectors: {:.1e} is left after {CORRECTIONS} corrections; all are decomposed",
        found.residual(r)
    );
    let Eigen { values, vectors } = symmetric_eigen(matrix, d)?;
    Ok((Ritz::exact(values, vectors, matrix, d), done + CORRECTIONS))
}

fn too_flat(residual: f64, r: usize, options: &LeadingOptions) -> Error {
    Error::degenerate(format!(
        "leading eigenvectors: a residual of {residual:.1e} after {} iterations, wanted {:.1e}; the spectrum is too flat \
         behind the first {r}: allow more iterations, oversample more, or decompose the whole matrix",
        options.max_iterations, options.tolerance
    ))
}

/// Ritz values must not lie below 0 by more than f32 products explain.
fn semidefinite(values: &[f64]) -> Result<()> {
    let largest = values.iter().fold(0f64, |m, v| m.max(v.abs()));
    match values.iter().find(|v| **v < -1e-5 * largest) {
        Some(v) => {
            let got = format!("an eigenvalue of {:.1e} of its largest", v / largest);
            Err(Error::shape("leading eigenvectors", "matrix", "a covariance, without negative eigenvalues", got))
        }
        None => Ok(()),
    }
}

/// A block of approximate eigenpairs: values descending, vectors `[b, d]` and their images under the matrix.
struct Ritz {
    values: Vec<f64>,
    vectors: Vec<f64>,
    images: Vec<f64>,
}

impl Ritz {
    /// The best that the span of `basis`, `[b, d]`, holds; `image` is it times the matrix. The basis may be off orthonormal by what f32
    /// leaves: `L⁻¹ Q`, `Q Qᵀ = L Lᵀ`, is orthonormal in f64, and has the image `L⁻¹ P`.
    fn of(basis: &[f64], image: &[f64], d: usize) -> Result<Self> {
        let b = basis.len() / d;
        let (q, p) = (dense::view(basis, b, d), dense::view(image, b, d));
        let gram = dense::product(q, q.transpose());
        let Ok(factor) = gram.llt(Side::Lower) else {
            return Err(Error::degenerate("leading eigenvectors: the device's basis is not independent".to_owned()));
        };
        let mut product = dense::product(q, p.transpose());
        let solve = |m: MatMut<'_, f64>| solve_lower_triangular_in_place(factor.L(), m, faer::get_global_parallelism());
        solve(product.as_mut());
        solve(product.as_mut().transpose_mut());
        let small: Vec<f64> =
            (0..b * b).map(|at| 0.5 * (product[(at / b, at % b)] + product[(at % b, at / b)])).collect();
        let Eigen { values, vectors } = symmetric_eigen(&small, b)?;
        // Vᵀ L⁻¹, by its transposition.
        let mut turn = dense::view(&vectors, b, b).transpose().to_owned();
        solve_upper_triangular_in_place(factor.L().transpose(), turn.as_mut(), faer::get_global_parallelism());
        let turned = |from: MatRef<'_, f64>| {
            let mut out = vec![0.0; b * d];
            dense::product_into(turn.transpose(), from, &mut out);
            out
        };
        Ok(Ritz { values, vectors: turned(q), images: turned(p) })
    }

    /// The best that the span of `rows`, `[b, d]`, holds, in f64 throughout.
    fn in_f64(rows: &[f64], matrix: &[f64], d: usize) -> Result<Self> {
        let b = rows.len() / d;
        let basis = orthonormal(rows, b, d);
        let mut image = vec![0.0; b * d];
        dense::product_into(dense::view(&basis, b, d), dense::view(matrix, d, d), &mut image);
        Ritz::of(&basis, &image, d)
    }

    /// From a whole decomposition.
    fn exact(values: Vec<f64>, vectors: Vec<f64>, matrix: &[f64], d: usize) -> Self {
        let mut images = vec![0.0; d * d];
        dense::product_into(dense::view(&vectors, d, d), dense::view(matrix, d, d), &mut images);
        Ritz { values, vectors, images }
    }

    fn pairs(&self) -> impl Iterator<Item = (f64, &[f64], &[f64])> {
        let d = self.vectors.len() / self.values.len();
        let rows = self.vectors.chunks_exact(d).zip(self.images.chunks_exact(d));
        self.values.iter().zip(rows).map(|(&value, (vector, image))| (value, vector, image))
    }

    /// The largest `‖C v - λ v‖` of the first r, over the largest value.
    fn residual(&self, r: usize) -> f64 {
        let off = |(value, vector, image): (f64, &[f64], &[f64])| {
            norm(&image.iter().zip(vector).map(|(i, v)| i - value * v).collect::<Vec<_>>())
        };
        let worst = self.pairs().take(r).map(off).fold(0.0, f64::max);
        if self.values[0] > 0.0 { worst / self.values[0] } else { worst }
    }

    /// Makes each vector's largest component positive.
    fn orient(&mut self) {
        let d = self.vectors.len() / self.values.len();
        for vector in self.vectors.chunks_exact_mut(d) {
            let largest = vector.iter().fold(0f64, |m, x| if x.abs() > m.abs() { *x } else { m });
            if largest < 0.0 {
                vector.iter_mut().for_each(|x| *x = -*x);
            }
        }
    }
}

/// What is on the device.
struct Engine<'a> {
    device: &'a Device,
    width: usize,
    matrix: Tensor,
    /// -1 on the diagonal.
    minus_one: Tensor,
    /// The matrix with `[0, cut]` mapped to `[-1, 1]`.
    mapped: Tensor,
    blocks: [Tensor; 2],
    /// Residuals of norm 1, and the factors `[b, b]` by which they are added.
    residuals: Tensor,
    factors: Tensor,
    cholesky: CholeskyQr,
}

impl<'a> Engine<'a> {
    fn new(device: &'a Device, matrix: &[f64], d: usize, block: usize) -> Result<Self> {
        let tensor = |rows| Tensor::new(device, rows, d, ElementType::F32);
        let (blocks, cholesky) = ([tensor(block)?, tensor(block)?], CholeskyQr::new(device, block)?);
        let (minus_one, mapped, matrices, residuals) = (tensor(d)?, tensor(d)?, tensor(d)?, tensor(block)?);
        let factors = Tensor::new(device, block, block, ElementType::F32)?;
        let engine =
            Engine { device, width: d, matrix: matrices, minus_one, mapped, blocks, residuals, factors, cholesky };
        engine.write(&engine.matrix, matrix.iter().map(|&x| x as f32))?;
        let mut diagonal = vec![0.0; d * d];
        diagonal.iter_mut().step_by(d + 1).for_each(|x| *x = -1.0);
        engine.write(&engine.minus_one, diagonal.into_iter())?;
        Ok(engine)
    }

    fn write(&self, to: &Tensor, values: impl Iterator<Item = f32>) -> Result<()> {
        let tight: Vec<f32> = values.collect();
        let mut padded = vec![0; to.rows() * to.row_bytes()];
        pad_rows(bytemuck::cast_slice(&tight), 4 * self.width, &mut padded, to.row_bytes());
        self.device.write(to.buffer(), &padded)
    }

    fn read(&self, from: &Tensor) -> Result<Vec<f64>> {
        let values: Vec<f64> = from.to_f32_blocking(self.device)?.into_iter().map(f64::from).collect();
        if values.iter().all(|x| x.is_finite()) {
            return Ok(values);
        }
        let problem = format!("leading eigenvectors: {} returned values that are not finite", self.device.name());
        Err(Error::degenerate(problem))
    }

    /// Block `at`, and it times the matrix, which takes the place of the other block.
    fn image(&self, at: usize) -> Result<(Vec<f64>, Vec<f64>)> {
        let (from, to) = (&self.blocks[at], &self.blocks[1 - at]);
        let mut recorder = self.device.recorder();
        let operands = (Operand::new(from), Operand::new(&self.matrix));
        matmul::record(&mut recorder, Product::default(), operands, (to, 0))?;
        recorder.submit()?;
        Ok((self.read(from)?, self.read(to)?))
    }

    /// Makes the rows of block `at` orthonormal; returns the block that has them then.
    fn orthonormalise(&self, at: usize) -> Result<usize> {
        let (from, to) = (&self.blocks[at], &self.blocks[1 - at]);
        if let Some(turn) = self.cholesky.orthonormalise([from, to])? {
            return Ok((at + turn) % 2);
        }
        log::debug!("leading eigenvectors: rows too near to dependent for Cholesky; Householder's QR on the host");
        let rows = orthonormal(&self.read(from)?, from.rows(), self.width);
        self.write(from, rows.iter().map(|&x| x as f32))?;
        Ok(at)
    }

    /// T_m of the mapped matrix, up to sign, on the vectors; returns the block that has it.
    ///
    /// `T_{k+1} = 2 M T_k - T_{k-1}`; a product can only be added to what is there, so signs go ++--++--: then
    /// `S_{k+1} = ∓2 M S_k + S_{k-1}`, in the place of `S_{k-1}`.
    fn filter(&self, ritz: Ritz) -> Result<usize> {
        let cut = cut(&ritz);
        let first = ritz.images.iter().zip(&ritz.vectors).map(|(i, v)| (2.0 / cut * i - v) as f32);
        self.write(&self.blocks[1], first)?;
        let degree = degree(2.0 * ritz.values[0] / cut - 1.0);
        if degree == 1 {
            return Ok(1);
        }
        self.write(&self.blocks[0], ritz.vectors.iter().map(|&x| x as f32))?;
        let mut recorder = self.device.recorder();
        self.map(&mut recorder, cut)?;
        for k in 1..degree {
            let (before, now) = (&self.blocks[(k + 1) % 2], &self.blocks[k % 2]);
            let alpha = if k % 2 == 1 { -2.0 } else { 2.0 };
            let product = Product { alpha, accumulate: true, ..Product::default() };
            matmul::record(&mut recorder, product, (Operand::new(now), Operand::new(&self.mapped)), (before, 0))?;
        }
        recorder.submit()?;
        Ok(degree % 2)
    }

    /// Records that the matrix is mapped, `[0, cut]` to `[-1, 1]`.
    fn map(&self, recorder: &mut Recorder, cut: f64) -> Result<()> {
        recorder.copy(&self.matrix, &self.mapped)?;
        elementwise::scale(recorder, (2.0 / cut) as f32, &self.mapped)?;
        elementwise::add(recorder, &self.minus_one, &self.mapped)
    }

    /// The vectors with what the filter would change in them, `[b, d]`: `v + e_m / T_m(μ)`. As in [`Engine::filter`], signs go ++--++--.
    fn corrected(&self, ritz: &Ritz) -> Result<Vec<f64>> {
        let (b, d) = (ritz.values.len(), self.width);
        let cut = cut(ritz);
        let residual = |(value, vector, image): (f64, &[f64], &[f64])| -> Vec<f64> {
            image.iter().zip(vector).map(|(i, v)| i - value * v).collect()
        };
        let rows: Vec<Vec<f64>> = ritz.pairs().map(residual).collect();
        let sizes: Vec<f64> = rows.iter().map(|row| norm(row).max(f64::MIN_POSITIVE)).collect();
        let unit = || rows.iter().zip(&sizes).flat_map(|(row, size)| row.iter().map(move |x| (x / size) as f32));
        self.write(&self.residuals, unit())?;
        self.write(&self.blocks[1], unit())?;
        let places: Vec<f64> = ritz.values.iter().map(|value| 2.0 / cut * value - 1.0).collect();
        let (mut before, mut now) = (vec![1.0; b], places.clone());
        let degree = degree(places[0]);
        let mut recorder = self.device.recorder();
        recorder.clear(self.blocks[0].buffer());
        self.map(&mut recorder, cut)?;
        let mut sign = 1.0;
        for k in 1..degree {
            let (into, from) = (&self.blocks[(k + 1) % 2], &self.blocks[k % 2]);
            let (alpha, next) = if k % 2 == 1 { (-2.0, -sign) } else { (2.0, sign) };
            let factors: Vec<f64> = now.iter().map(|t| next * 2.0 * t).collect();
            recorder.submit()?;
            recorder = self.device.recorder();
            self.write_diagonal(&factors)?;
            let product = |alpha| Product { alpha, accumulate: true, ..Product::default() };
            let mapped = (Operand::new(from), Operand::new(&self.mapped));
            matmul::record(&mut recorder, product(alpha), mapped, (into, 0))?;
            let added = (Operand::new(&self.factors), Operand::new(&self.residuals));
            matmul::record(&mut recorder, product(1.0), added, (into, 0))?;
            let later = places.iter().zip(&now).zip(&before).map(|((x, t), u)| 2.0 * x * t - u).collect();
            (before, now, sign) = (now, later, next);
        }
        recorder.submit()?;
        let errors = self.read(&self.blocks[degree % 2])?;
        let mut vectors = ritz.vectors.clone();
        for (i, (vector, error)) in vectors.chunks_exact_mut(d).zip(errors.chunks_exact(d)).enumerate() {
            let factor = sign * 2.0 / cut * sizes[i] / now[i];
            vector.iter_mut().zip(error).for_each(|(v, e)| *v += factor * e);
        }
        Ok(vectors)
    }

    fn write_diagonal(&self, factors: &[f64]) -> Result<()> {
        let b = factors.len();
        let square = (0..b * b).map(|at| if at / b == at % b { factors[at / b] as f32 } else { 0.0 });
        self.factors.write_f32(self.device, &square.collect::<Vec<_>>())
    }
}

/// The end of what a filter damps: the block's smallest value.
fn cut(ritz: &Ritz) -> f64 {
    ritz.values[ritz.values.len() - 1].max(LEAST_CUT * ritz.values[0])
}

/// The largest degree whose `T_m(x)` is within [`MAX_GROWTH`]; x is 1 or more.
fn degree(x: f64) -> usize {
    let rate = x.max(1.0).acosh();
    let most = MAX_GROWTH.acosh() / rate.max(1e-9);
    (most as usize).clamp(1, MAX_DEGREE)
}

/// Orthonormal rows that span those of `rows`, `[b, d]`, b ≤ d: the first k of them the first k.
fn orthonormal(rows: &[f64], b: usize, d: usize) -> Vec<f64> {
    let q = dense::view(rows, b, d).transpose().qr().compute_thin_Q();
    dense::rows_of(q.transpose())
}

/// Fixed random numbers in [-1, 1), by SplitMix64: a start that no matrix is orthogonal to.
fn start(length: usize) -> Vec<f64> {
    let mut random = SplitMix64::new(0);
    (0..length).map(|_| 2.0 * unit(random.next()) - 1.0).collect()
}
