//! Covariance of a row set [spec 4, 5; paper section 3]: population form, 1/n, in f64; by default of exact sums, see [`SecondMoments`].
//!
//! The fast way has products in f32. Rows are read once, in blocks. The host normalises a block's rows and takes their own mean off, both in f64; the device
//! multiplies what is left in f32, `Aᵀ A` of one block; blocks are added in f64, with what their means differ by (Chan, Golub,
//! LeVeque 1983). A block is centred by itself, so neither a mean that is large against the spread nor rows in an unlucky
//! order cost digits: errors are f32's on sums of [`BLOCK_ROWS`] products, and shrink with the number of blocks. The host engine
//! takes more rows to a block, since its products add up in parts, and blocks in f64 cost time.

use std::path::Path;

use rayon::prelude::*;
use safetensors::tensor::Dtype;

use super::file::{Contents, entry, read_bytes, write};
use super::ingest::{NonFinite, StreamOptions, nonfinite_error, zero_nonfinite};
use super::rows::{RowSource, tight_bytes};
use super::second_moments::SecondMoments;
use super::unit::Block;
use crate::device::{Device, DeviceKind, Tensor};
use crate::host::dispatch_simd;
use crate::host::linalg::matmul::{Stored, multiply};
use crate::kernels::linalg::matmul::{self, Operand, Product};
use crate::{ElementType, Error, Result};

const FORMAT: &str = "realign-covariance";
const VERSION: u32 = 1;

/// Rows of a block: f32 sums of so many products err by some 5e-7 of themselves, of n rows by `sqrt(n / BLOCK_ROWS)` less.
pub const BLOCK_ROWS: usize = 1024;

/// The relative error of [`covariance_fast`] in Frobenius norm is at most this: what f32 leaves in sums of one block, with room. By
/// Weyl, eigenvalues are then off by at most this times the norm, so that smaller ones say nothing.
pub const COVARIANCE_ERROR: f64 = 1e-6;

/// Rows of a block on the host engine, and the bytes of rows in f32 above which there are fewer.
const HOST_BLOCK: (usize, usize) = (4 * BLOCK_ROWS, 32 << 20);

/// Widest rows: their matrix takes 512 MiB in f64.
pub const MAX_COVARIANCE_WIDTH: usize = 8192;

/// Mean and population covariance of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Covariance {
    /// n.
    pub count: u64,
    /// `E[u]`, `[d]`.
    pub mean: Vec<f64>,
    /// `E[(u - E u)(u - E u)ᵀ]`, `[d, d]`, symmetric to the bit.
    pub matrix: Vec<f64>,
    /// The matrix's relative error in Frobenius norm is at most this: [`COVARIANCE_ERROR`] for products in f32; what rounding rows to 2⁻⁴³
    /// may do for exact sums, see [`SecondMoments::covariance`]; f64's ε for those in f64, up to the rounding of sums. Eigenvalues below it say nothing.
    pub error: f64,
}

impl Covariance {
    /// Of no rows: zeros.
    ///
    /// # Errors
    /// A width of 0 or above [`MAX_COVARIANCE_WIDTH`].
    pub fn empty(width: usize) -> Result<Self> {
        check_width(width)?;
        let (mean, matrix) = (vec![0.0; width], vec![0.0; width * width]);
        Ok(Covariance { count: 0, mean, matrix, error: f64::EPSILON })
    }

    /// d.
    pub fn width(&self) -> usize {
        self.mean.len()
    }

    /// Refuses fields that do not fit each other: they are public.
    pub(crate) fn check(&self, operation: &'static str) -> Result<()> {
        let d = self.width();
        if d == 0 || d.checked_mul(d) != Some(self.matrix.len()) {
            let got = format!("{} values", self.matrix.len());
            return Err(Error::shape(operation, "covariance", format!("[{d}, {d}], d at least 1"), got));
        }
        Ok(())
    }

    /// `E‖u - E u‖²`.
    pub fn trace(&self) -> f64 {
        self.matrix.iter().step_by(self.width() + 1).sum()
    }

    /// Of the rows as they are, `[n, width]`, not normalised; products in f64.
    ///
    /// # Errors
    /// No whole number of rows, none at all, a width out of range, a NaN or an infinity.
    pub fn of_rows(rows: &[f64], width: usize) -> Result<Self> {
        let mut total = Running::new(width)?;
        if rows.is_empty() || !rows.len().is_multiple_of(width) {
            let got = format!("{} values", rows.len());
            return Err(Error::shape("covariance", "rows", format!("whole rows of {width}"), got));
        }
        if let Some(at) = rows.iter().position(|x| !x.is_finite()) {
            let got = format!("{} at row {}, column {}", rows[at], at / width, at % width);
            return Err(Error::shape("covariance", "rows", "finite values", got));
        }
        for block in rows.chunks(BLOCK_ROWS * width) {
            let mean = column_means(block, width);
            total.add(&centre(block, &mean), &mean)?;
        }
        total.finish(f64::EPSILON)
    }

    /// Takes another set's rows in, as if both had been one set.
    ///
    /// # Errors
    /// Another width; more than 2⁶⁴ rows; a matrix that is not `[d, d]`.
    pub fn merge(&mut self, other: &Covariance) -> Result<()> {
        let d = self.width();
        self.check("merge")?;
        other.check("merge")?;
        if other.width() != d {
            let (want, got) = (format!("width {d}"), format!("width {}", other.width()));
            return Err(Error::shape("merge", "covariance", want, got));
        }
        let Some(count) = self.count.checked_add(other.count) else {
            return Err(Error::shape("merge", "covariance", "fewer than 2^64 rows in all", "more"));
        };
        if other.count == 0 {
            return Ok(());
        }
        let (a, b) = (self.count as f64 / count as f64, other.count as f64 / count as f64);
        let delta: Vec<f64> = other.mean.iter().zip(&self.mean).map(|(y, x)| y - x).collect();
        for (i, (row, others)) in self.matrix.chunks_exact_mut(d).zip(other.matrix.chunks_exact(d)).enumerate() {
            for ((x, y), e) in row.iter_mut().zip(others).zip(&delta) {
                *x = a * *x + b * y + a * b * (delta[i] * e);
            }
        }
        self.mean.iter_mut().zip(&delta).for_each(|(x, e)| *x += b * e);
        self.error = self.error.max(other.error);
        self.count = count;
        Ok(())
    }

    /// Writes a safetensors file: `count` U64 `[1]`, `mean` F64 `[d]`, `matrix` F64 `[d, d]`, `error` F64 `[1]`; metadata
    /// `format` = `realign-covariance`, `format_version`, `crate_version`. [`Summary`](super::Summary) saves moments too.
    ///
    /// # Errors
    /// The file exists and `force` is not given; it cannot be written.
    pub fn save(&self, path: &Path, force: bool) -> Result<()> {
        let d = self.width();
        self.check("save")?;
        let entries = [
            entry("count", Dtype::U64, vec![1], &[self.count]),
            entry("mean", Dtype::F64, vec![d], &self.mean),
            entry("matrix", Dtype::F64, vec![d, d], &self.matrix),
            entry("error", Dtype::F64, vec![1], &[self.error]),
        ];
        write(path, force, (FORMAT, VERSION), &[], &entries)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// No covariance file, a newer format, or a damaged one.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = read_bytes(path)?;
        let contents = Contents::parse(path, &bytes, (FORMAT, VERSION))?;
        let count = contents.one("count", Dtype::U64)?;
        // Files from before it was written: of f32 products, most likely.
        let error = if contents.has("error") { Some("error") } else { None };
        Self::read(&contents, count, ("mean", "matrix", error))
    }

    /// From the tensors of these names, mean, matrix and error.
    pub(super) fn read(
        contents: &Contents<'_>,
        count: u64,
        (mean, matrix, error): (&str, &str, Option<&str>),
    ) -> Result<Self> {
        let mean = contents.finite(mean, None)?;
        let d = mean.len();
        if d == 0 || d > MAX_COVARIANCE_WIDTH {
            return Err(contents.damaged(&format!("the covariance's mean has {d} values")));
        }
        let matrix = contents.finite(matrix, Some(d * d))?;
        let fits = |i: usize, j: usize| {
            let (x, diagonal) = (matrix[i * d + j], matrix[i * d + i] * matrix[j * d + j]);
            x == matrix[j * d + i] && x * x <= diagonal * (1.0 + 1e-3) + 1e-12
        };
        let negative = (0..d).any(|i| matrix[i * d + i] < 0.0);
        if negative || !(0..d).all(|i| (0..=i).all(|j| fits(i, j))) {
            return Err(contents.damaged("the matrix is no covariance"));
        }
        let error = error.map_or(Ok(COVARIANCE_ERROR), |name| Ok(contents.finite(name, Some(1))?[0]))?;
        if !(0.0..1.0).contains(&error) {
            return Err(contents.damaged("the covariance's error is no number from 0 to 1"));
        }
        Ok(Covariance { count, mean, matrix, error })
    }
}

/// The covariance of a source's L2-normalised rows, in one read, of exact sums: see [`SecondMoments`]. Rows of norm below 1e-10 count as zero.
///
/// # Errors
/// As [`SecondMoments::of`].
pub fn covariance(device: &Device, source: &mut dyn RowSource, options: StreamOptions<'_>) -> Result<Covariance> {
    SecondMoments::of(device, source, options).map(|sums| sums.covariance())
}

/// As [`covariance`] with products in f32, which take a fifth of the time on the host, and less memory.
///
/// Relative error in Frobenius norm against f64, measured at d = 1280 for means of norm 0.99 and 0.999 (the bench `linalg`, its
/// case `accuracy`): 2e-7 for 1,000 rows, 9e-8 for 10,000, 3e-8 for 100,000. FLOPs: n d (d + 1).
///
/// # Errors
/// No rows; a width out of range; a NaN or an infinity, unless replaced; a file that cannot be read; a device lost or out of
/// memory.
pub fn covariance_fast(device: &Device, source: &mut dyn RowSource, options: StreamOptions<'_>) -> Result<Covariance> {
    let width = source.width();
    check_width(width)?;
    let most = match device.capabilities().kind {
        DeviceKind::Host => (HOST_BLOCK.1 / (4 * width)).clamp(BLOCK_ROWS, HOST_BLOCK.0),
        _ => BLOCK_ROWS,
    };
    let rows = most.min(source.rows().max(1) as usize);
    let mut sums = Sums::new(device, rows, width)?;
    stream(rows, source, options, |block| sums.add(block))?;
    sums.finish()
}

pub(super) fn check_width(width: usize) -> Result<()> {
    if width == 0 || width > MAX_COVARIANCE_WIDTH {
        return Err(Error::shape("covariance", "rows", format!("width 1 to {MAX_COVARIANCE_WIDTH}"), width));
    }
    Ok(())
}

/// Gives all of a source's rows to `add`, `most` at a time, or fewer where the options say so; `add` returns a row that is not finite.
pub(crate) fn stream(
    most: usize,
    source: &mut dyn RowSource,
    options: StreamOptions<'_>,
    mut add: impl FnMut(Block<'_>) -> Result<Option<usize>>,
) -> Result<()> {
    options.check()?;
    let rows = options.chunk_rows.unwrap_or(most).clamp(1, most).min(source.rows().max(1) as usize);
    let tight = tight_bytes(source);
    let mut bytes = vec![0; rows * tight];
    source.rewind()?;
    let mut first = 0;
    loop {
        let count = fill(source, &mut bytes, rows)?;
        if count == 0 {
            return Ok(());
        }
        let block = &mut bytes[..count * tight];
        if options.nonfinite == NonFinite::Zero {
            zero_nonfinite(block, source.element_type());
        }
        let block = Block { bytes: block, tight, element: source.element_type() };
        if let Some(row) = add(block)? {
            return Err(nonfinite_error(source, first + row as u64));
        }
        first += count as u64;
        if let Some(progress) = options.progress {
            progress(count as u64);
        }
    }
}

/// A covariance on its way, from blocks of rows, products in f32.
struct Sums {
    total: Running,
    product: BlockProduct,
    centred: Vec<f32>,
}

impl Sums {
    /// For blocks of up to `rows` rows of `width`.
    fn new(device: &Device, rows: usize, width: usize) -> Result<Self> {
        let total = Running::new(width)?;
        Ok(Sums { total, product: BlockProduct::new(device, rows, width)?, centred: Vec::new() })
    }

    /// Takes a block's normalised rows in; or returns the first row that is not finite, and takes nothing.
    fn add(&mut self, block: Block<'_>) -> Result<Option<usize>> {
        let (scales, mut mean) = block.measure();
        if let Some(row) = scales.iter().position(|s| s[0].is_nan()) {
            return Ok(Some(row));
        }
        mean.iter_mut().for_each(|m| *m /= block.rows() as f64);
        self.centred.resize(block.rows() * block.width(), 0.0);
        block.shifted(&scales, &mean, &mut self.centred);
        self.product.add(&self.centred, &mut self.total, &mean)?;
        Ok(None)
    }

    /// The covariance.
    fn finish(self) -> Result<Covariance> {
        if self.total.count == 0 {
            return Err(Error::degenerate("the covariance of no rows: give at least one row".to_owned()));
        }
        self.total.finish(COVARIANCE_ERROR)
    }
}

/// Reads `rows` rows, or as many as are left.
fn fill(source: &mut dyn RowSource, out: &mut [u8], rows: usize) -> Result<usize> {
    let (tight, mut have) = (tight_bytes(source), 0);
    while have < rows {
        match source.next(rows - have, &mut out[have * tight..])? {
            0 => break,
            more => have += more,
        }
    }
    Ok(have)
}

fn column_means(rows: &[f64], width: usize) -> Vec<f64> {
    let count = (rows.len() / width).max(1) as f64;
    let per_task = rows.len() / width / rayon::current_num_threads() + 1;
    let parts = rows.par_chunks(per_task * width).map(|block| {
        let mut sum = vec![0.0; width];
        block.chunks_exact(width).for_each(|row| sum.iter_mut().zip(row).for_each(|(s, x)| *s += x));
        sum
    });
    let mut mean = vec![0.0; width];
    for part in parts.collect::<Vec<_>>() {
        mean.iter_mut().zip(&part).for_each(|(m, s)| *m += s);
    }
    mean.iter_mut().for_each(|m| *m /= count);
    mean
}

/// Rows less their mean.
fn centre(rows: &[f64], mean: &[f64]) -> Vec<f64> {
    rows.par_chunks_exact(mean.len()).flat_map_iter(|row| row.iter().zip(mean).map(|(x, m)| x - m)).collect()
}

/// `Aᵀ A` of blocks on a device.
struct BlockProduct {
    device: Device,
    /// On a device of its own memory: the block, and the product.
    tensors: Option<(Tensor, Tensor)>,
    product: Vec<f32>,
    width: usize,
}

impl BlockProduct {
    fn new(device: &Device, rows: usize, width: usize) -> Result<Self> {
        let tensors = if device.capabilities().kind == DeviceKind::Host {
            None
        } else {
            let tensor = |rows| Tensor::new(device, rows, width, ElementType::F32);
            Some((tensor(rows)?, tensor(width)?))
        };
        let product = if tensors.is_none() { vec![0.0; width * width] } else { Vec::new() };
        Ok(BlockProduct { device: device.clone(), tensors, product, width })
    }

    /// Takes centred rows and what was taken off them in.
    fn add(&mut self, rows: &[f32], total: &mut Running, mean: &[f64]) -> Result<()> {
        let (d, count) = (self.width, rows.len() / self.width);
        let Some((block, product)) = &self.tensors else {
            let stored = |transpose| Stored { data: rows, stride: d, transpose };
            let options = (1.0, false, true);
            multiply((&mut self.product, d), (stored(true), stored(false)), (d, d, count), options)?;
            total.take((&self.product, d), count as u64, mean);
            return Ok(());
        };
        let mut padded = vec![0; count * block.row_bytes()];
        crate::device::pad_rows(bytemuck::cast_slice(rows), 4 * d, &mut padded, block.row_bytes());
        self.device.write(block.buffer(), &padded)?;
        let operand = Operand::new(block).rows(0, count);
        let mut recorder = self.device.recorder();
        let upper = Product { upper: true, ..Product::default() };
        matmul::record(&mut recorder, upper, (operand.transposed(), operand), (product, 0))?;
        recorder.submit()?;
        let got: Vec<f32> = bytemuck::pod_collect_to_vec(&self.device.read_blocking(product.buffer())?);
        total.take((&got, product.row_bytes() / 4), count as u64, mean);
        Ok(())
    }
}

/// Adds a row of a block's product, and what its mean and the others' differ by, to a row of the sums.
struct AddRow<'a> {
    sums: &'a mut [f64],
    product: &'a [f32],
    factor: f64,
    delta: &'a [f64],
}

impl pulp::NullaryFnOnce for AddRow<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let AddRow { sums, product, factor, delta } = self;
        sums.iter_mut().zip(product).zip(delta).for_each(|((s, &p), e)| *s += f64::from(p) + factor * e);
    }
}

/// Sums on their way to a covariance.
struct Running {
    count: u64,
    mean: Vec<f64>,
    /// The upper half of `Σ (u - mean)(u - mean)ᵀ`, `[d, d]`.
    scatter: Vec<f64>,
}

impl Running {
    fn new(width: usize) -> Result<Self> {
        let Covariance { count, mean, matrix, .. } = Covariance::empty(width)?;
        Ok(Running { count, mean, scatter: matrix })
    }

    /// Takes in a block of `count` rows: its mean, and the upper half of its own scatter in rows of `stride`.
    fn take(&mut self, (product, stride): (&[f32], usize), count: u64, mean: &[f64]) {
        let (weight, delta) = self.shift_mean(count, mean);
        let rows = self.scatter.par_chunks_exact_mut(delta.len()).zip(product.par_chunks_exact(stride)).enumerate();
        rows.for_each(|(i, (sums, product))| {
            let (product, factor) = (&product[i..delta.len()], weight * delta[i]);
            dispatch_simd(AddRow { sums: &mut sums[i..], product, factor, delta: &delta[i..] });
        });
    }

    /// Takes in a block of centred rows and what was taken off them; products in f64.
    fn add(&mut self, centred: &[f64], mean: &[f64]) -> Result<()> {
        let d = mean.len();
        let count = centred.len() / d;
        let stored = |transpose| Stored { data: centred, stride: d, transpose };
        multiply((&mut self.scatter, d), (stored(true), stored(false)), (d, d, count), (1.0, true, true))?;
        self.shift(count as u64, mean);
        Ok(())
    }

    /// Takes in a block's mean; its own scatter has been added.
    fn shift(&mut self, count: u64, mean: &[f64]) {
        let (weight, delta) = self.shift_mean(count, mean);
        if weight > 0.0 {
            self.scatter.par_chunks_exact_mut(delta.len()).enumerate().for_each(|(i, row)| {
                let factor = weight * delta[i];
                row[i..].iter_mut().zip(&delta[i..]).for_each(|(s, e)| *s += factor * e);
            });
        }
    }

    /// Moves count and mean on; returns what the means differ by, and the weight of its square.
    fn shift_mean(&mut self, count: u64, mean: &[f64]) -> (f64, Vec<f64>) {
        let (old, new) = (self.count as f64, (self.count + count) as f64);
        let delta: Vec<f64> = mean.iter().zip(&self.mean).map(|(y, x)| y - x).collect();
        self.mean.iter_mut().zip(&delta).for_each(|(x, e)| *x += e * (count as f64 / new));
        self.count += count;
        (old * count as f64 / new, delta)
    }

    fn finish(self, error: f64) -> Result<Covariance> {
        let Running { count, mean, scatter: mut matrix } = self;
        let (d, n) = (mean.len(), count.max(1) as f64);
        for i in 0..d {
            for j in i..d {
                matrix[i * d + j] /= n;
                matrix[j * d + i] = matrix[i * d + j];
            }
        }
        match matrix.iter().position(|x| !x.is_finite()) {
            Some(_) => Err(Error::degenerate("the covariance overflows f64; scale the rows down".to_owned())),
            None => Ok(Covariance { count, mean, matrix, error }),
        }
    }
}
