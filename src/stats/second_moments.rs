//! Exact second moments of unit rows [spec 4, 5; paper section 3]: sums of integers, as the means and traces of [`super::moments`] are.
//!
//! The host brings a row to norm 1 in f64, by operations that are the same on every processor, and rounds it to multiples of 2⁻⁴³: integers
//! `q`. Column sums `c = Σ q` and products `S = Σ q qᵀ` are exact (`kernels::linalg::exact_product`), on a GPU by digits, on the host's cores
//! in f64. The covariance `S / n - c cᵀ / n²` is formed of integers too, so that nothing cancels, and rounded once. Hence the same bits for
//! every order of rows, every cut into blocks or files, and every device; [`SecondMoments::merge`] adds integers.
//!
//! # Accuracy
//! Rounding moves a unit row by 2⁻⁴⁴ √d at most. The covariance is that of the moved rows, so that its error in Frobenius norm is at most
//! `2⁻⁴³ √(d T)`, T the trace, for any n: relative to the matrix's norm 4e-11 where the spectrum of 1,280 columns is CLIP's, 1e-9 where T is
//! 0.02 (means of norm 0.99) and no direction has more of it than another. Rounding has no direction: measured errors are some √(6 n) lower.
//!
//! # Size
//! 16 bytes a product, half of the matrix, and 16 a column; on a GPU the whole matrix, and 20 bytes a product more where slices are multiplied. Sums of n rows take 86 + log₂ n bits of 127; the covariance's fractions are formed
//! for up to [`MAX_ROWS`] rows.

use std::collections::VecDeque;

use rayon::prelude::*;

use super::covariance::{Covariance, check_width, stream};
use super::ingest::StreamOptions;
use super::rows::RowSource;
use super::unit::Block;
use crate::device::{Device, Recorder, Submission};
use crate::host::linalg::exact_product::{Placement, Scratch, add_product};
use crate::kernels::linalg::exact_product::{self, Digits, Sums};
use crate::kernels::linalg::slices::{self, Parts, Slices};
use crate::{Error, Result};

/// Binary digits after the point in a row's integers.
pub const FRACTION_BITS: u32 = 43;

/// The most rows.
pub const MAX_ROWS: u64 = 1 << 39;

/// Rows of a block on a GPU.
const BLOCK_ROWS: usize = 1024;

/// Blocks that a GPU may have before it.
const AHEAD: usize = 4;

/// Bytes of a block's integers on the host, and the most rows of it: the low parts of more could not be added up exactly.
const HOST_BLOCK: (usize, usize) = (16 << 20, 3072);

const UPPER: Placement = Placement { upper: true, words_up: 0 };

const UNIT: f64 = (1u64 << FRACTION_BITS) as f64;

/// Exact sums over the unit rows of a set: column sums `c = Σ q` and products `S = Σ q qᵀ` of rows in units of 2⁻⁴³, in integers of 128 bits.
///
/// They do not depend on the order of rows, the cut into blocks or files, or the device. Rounding moves a unit row by 2⁻⁴⁴ √d at most, and the
/// covariance in Frobenius norm by `2⁻⁴³ √(d T)` at most, T the trace, for any number of rows; roundings have no direction, so that measured errors are
/// some √(6 n) lower. `docs/exactness.md` has the proofs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecondMoments {
    pub(super) rows: u64,
    /// Σ q, `[d]`, in units of 2⁻⁴³.
    pub(super) columns: Vec<i128>,
    /// Σ q qᵀ in units of 2⁻⁸⁶: row i from the diagonal on, one row after the other, `[d (d + 1) / 2]`.
    pub(super) products: Vec<i128>,
}

impl SecondMoments {
    /// Of no rows.
    ///
    /// # Errors
    /// A width of 0 or above [`MAX_COVARIANCE_WIDTH`](super::MAX_COVARIANCE_WIDTH).
    pub fn empty(width: usize) -> Result<Self> {
        check_width(width)?;
        Ok(SecondMoments { rows: 0, columns: vec![0; width], products: vec![0; width * (width + 1) / 2] })
    }

    /// Of a source's L2-normalised rows, in one read; rows of norm below 1e-10 count as zero. On a GPU products are the kernel's; drivers that
    /// run on a CPU leave them to the host's cores, which are faster and give the same bits.
    ///
    /// Operations: n d (d + 1) products, each three of f64 on the host, 36 of bytes or 25 of floats on a GPU.
    ///
    /// # Errors
    /// No rows, or more than [`MAX_ROWS`]; a width out of range; a NaN or an infinity, unless replaced; a file that cannot be read; a device
    /// lost or out of memory.
    pub fn of(device: &Device, source: &mut dyn RowSource, options: StreamOptions<'_>) -> Result<Self> {
        let mut sums = SecondMomentSums::new(device, source.width())?;
        stream(sums.block, source, options, |block| sums.add(block))?;
        sums.finish()
    }

    /// [`SecondMoments::of`] with products by the kernel, whatever the device.
    ///
    /// # Errors
    /// As [`SecondMoments::of`].
    pub fn by_kernel(device: &Device, source: &mut dyn RowSource, options: StreamOptions<'_>) -> Result<Self> {
        let mut sums = SecondMomentSums::by_kernel(device, source.width())?;
        stream(sums.block, source, options, |block| sums.add(block))?;
        sums.finish()
    }

    /// d.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// n.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// E\[u\], `[d]`, the integers' mean rounded to f64; zeros for no rows.
    pub fn mean(&self) -> Vec<f64> {
        let n = self.rows.max(1) as f64;
        self.columns.iter().map(|&c| c as f64 / UNIT / n).collect()
    }

    /// Mean and covariance about it, in f64: each element rounded once, divided by n² and once more. The error that it says is one of the rows'
    /// rounding, and means nothing below a trace of some 1e-24, where rows are equal.
    pub fn covariance(&self) -> Covariance {
        let (d, n) = (self.width(), self.rows.max(1));
        let square = (n as f64 * UNIT) * (n as f64 * UNIT);
        let mut matrix = vec![0.0; d * d];
        matrix.par_chunks_exact_mut(d).enumerate().for_each(|(i, row)| {
            for (j, out) in row.iter_mut().enumerate() {
                let product = self.products[place(d, i.min(j), i.max(j))];
                *out = scatter(n, product, self.columns[i], self.columns[j]) / square;
            }
        });
        let mut found = Covariance { count: self.rows, mean: self.mean(), matrix, error: f64::EPSILON };
        let norm = found.matrix.iter().map(|x| x * x).sum::<f64>().sqrt();
        let most = (d as f64 * found.trace()).sqrt() / UNIT + d as f64 / (4.0 * UNIT * UNIT);
        if norm > 0.0 {
            found.error = (most / norm).clamp(f64::EPSILON, 0.5);
        }
        found
    }

    /// Takes another set's rows in: exact, in any order.
    ///
    /// # Errors
    /// Another width; more than [`MAX_ROWS`] rows in all.
    pub fn merge(&mut self, other: &SecondMoments) -> Result<()> {
        if self.width() != other.width() {
            let (want, got) = (format!("width {}", self.width()), format!("width {}", other.width()));
            return Err(Error::shape("merge", "covariance", want, got));
        }
        let rows = self.rows.saturating_add(other.rows);
        check_rows(rows)?;
        self.rows = rows;
        let sums = self.columns.iter_mut().chain(&mut self.products);
        sums.zip(other.columns.iter().chain(&other.products)).for_each(|(a, b)| *a += b);
        Ok(())
    }
}

pub(super) fn check_rows(rows: u64) -> Result<()> {
    if rows > MAX_ROWS {
        return Err(Error::shape("covariance", "rows", format!("at most {MAX_ROWS}"), rows));
    }
    Ok(())
}

/// Where the product of columns i ≤ j is.
fn place(d: usize, i: usize, j: usize) -> usize {
    i * (2 * d + 1 - i) / 2 + j - i
}

/// `n S - a b`, for n up to [`MAX_ROWS`] and sums of so many rows: formed of integers in thirds of 43 bits, and rounded to f64.
fn scatter(n: u64, product: i128, a: i128, b: i128) -> f64 {
    const MASK: i128 = (1 << FRACTION_BITS) - 1;
    let n = i128::from(n);
    let [a_high, a_low, b_high, b_low] = [a >> FRACTION_BITS, a & MASK, b >> FRACTION_BITS, b & MASK];
    let mut low = n * (product & MASK) - a_low * b_low;
    let mut middle = n * (product >> FRACTION_BITS & MASK) - a_high * b_low - a_low * b_high;
    let mut high = n * (product >> (2 * FRACTION_BITS)) - a_high * b_high;
    middle += low >> FRACTION_BITS;
    low &= MASK;
    high += middle >> FRACTION_BITS;
    let upper = (high << FRACTION_BITS) + (middle & MASK);
    if upper.unsigned_abs() < 1 << 83 {
        return ((upper << FRACTION_BITS) + low) as f64;
    }
    // More bits than f64 has: the lowest third is lost in rounding.
    upper as f64 * UNIT
}

/// Second moments on their way, from blocks of rows.
pub(crate) struct SecondMomentSums {
    total: SecondMoments,
    device: Option<OnDevice>,
    integers: Vec<f64>,
    scratch: Scratch,
    /// Rows that are taken at a time.
    block: usize,
}

struct OnDevice {
    device: Device,
    integers: Integers,
    sums: Sums,
    /// What was submitted last: the host keeps no more ahead, for what it writes takes memory.
    running: VecDeque<Submission>,
}

/// A block's integers, in the form that the device multiplies fastest.
enum Integers {
    Digits(Digits),
    Slices(Slices, Parts),
}

impl Integers {
    /// Rows of a block, and room for them.
    fn new(device: &Device, width: usize) -> Result<(usize, Self)> {
        let form = device.capabilities().exact_form.unwrap_or_default();
        if let Some(element) = form.slices().filter(|_| Parts::fit(device, width, width)) {
            let rows = BLOCK_ROWS.min(slices::rows_that_fit(device, width, element));
            let slices = Slices::new(device, rows, width, element);
            match slices.and_then(|slices| Ok(Integers::Slices(slices, Parts::new(device, width, width)?))) {
                Ok(integers) => return Ok((rows, integers)),
                // Digits take a fraction of the memory.
                Err(Error::OutOfMemory { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let rows = BLOCK_ROWS.min(exact_product::rows_that_fit(device, width));
        Ok((rows, Integers::Digits(Digits::new(device, rows, width)?)))
    }

    fn write(&mut self, device: &Device, integers: &[f64]) -> Result<()> {
        match self {
            Integers::Digits(digits) => digits.write(device, integers),
            Integers::Slices(slices, _) => slices.write(device, integers),
        }
    }

    /// Records that their products with themselves are added.
    fn record(&self, recorder: &mut Recorder, sums: &Sums) -> Result<()> {
        match self {
            Integers::Digits(digits) => exact_product::record(recorder, digits, digits, UPPER, sums),
            Integers::Slices(slices, parts) => slices::record(recorder, (slices, slices), UPPER, (parts, sums)),
        }
    }
}

impl SecondMomentSums {
    /// For rows of a width, on the engine that is faster on this device.
    pub fn new(device: &Device, width: usize) -> Result<Self> {
        match device.capabilities().kind.is_gpu() {
            true => Self::by_kernel(device, width),
            false => Self::on_host(width),
        }
    }

    /// On the host's cores.
    pub fn on_host(width: usize) -> Result<Self> {
        let total = SecondMoments::empty(width)?;
        let block = (HOST_BLOCK.0 / (8 * width)).clamp(512, HOST_BLOCK.1);
        Ok(SecondMomentSums { total, device: None, integers: Vec::new(), scratch: Scratch::default(), block })
    }

    fn by_kernel(device: &Device, width: usize) -> Result<Self> {
        let total = SecondMoments::empty(width)?;
        let (rows, integers) = Integers::new(device, width)?;
        let sums = Sums::new(device, width, width)?;
        let device = Some(OnDevice { device: device.clone(), integers, sums, running: VecDeque::new() });
        Ok(SecondMomentSums { total, device, integers: Vec::new(), scratch: Scratch::default(), block: rows })
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.total.rows
    }

    /// Takes a block's normalised rows in; or returns the first row that is not finite, and takes nothing of the block.
    pub fn add(&mut self, block: Block<'_>) -> Result<Option<usize>> {
        let (scales, _) = block.measure();
        if let Some(row) = scales.iter().position(|s| s[0].is_nan()) {
            return Ok(Some(row));
        }
        for (part, scales) in block.parts(self.block).zip(scales.chunks(self.block)) {
            self.integers.resize(part.rows() * part.width(), 0.0);
            part.fixed(scales, UNIT, &mut self.integers);
            self.take()?;
        }
        Ok(None)
    }

    /// Takes rows of norm 1 in, `[m, d]`, as [`super::unit::normalise`] left them; shorter ones count as zero.
    ///
    /// # Errors
    /// A value that is not finite; what the device reports.
    pub fn add_unit(&mut self, rows: &[f64]) -> Result<()> {
        let d = self.total.width();
        if let Some(at) = rows.par_iter().position_first(|x| !x.is_finite()) {
            let got = format!("{} in row {}, column {}", rows[at], at / d, at % d);
            return Err(Error::shape("covariance", "rows", "finite values", got));
        }
        for part in rows.chunks(self.block * d) {
            self.integers.resize(part.len(), 0.0);
            super::unit::fixed_unit(part, d, UNIT, &mut self.integers);
            self.take()?;
        }
        Ok(())
    }

    /// Adds the integers, of a block at most.
    fn take(&mut self) -> Result<()> {
        let d = self.total.width();
        for part in self.integers.chunks(SUMMED_ROWS * d) {
            let columns = column_sums(part, d);
            self.total.columns.iter_mut().zip(columns).for_each(|(c, x)| *c += i128::from(x as i64));
        }
        self.total.rows += (self.integers.len() / d) as u64;
        check_rows(self.total.rows)?;
        match &mut self.device {
            Some(OnDevice { device, integers, sums, running }) => {
                integers.write(device, &self.integers)?;
                let mut recorder = device.recorder();
                integers.record(&mut recorder, sums)?;
                running.push_back(recorder.submit()?);
                if running.len() > AHEAD
                    && let Some(oldest) = running.pop_front()
                {
                    oldest.wait()?;
                }
                Ok(())
            }
            None => {
                let mut rest = &mut self.total.products[..];
                let mut rows = Vec::with_capacity(d);
                for i in 0..d {
                    let (row, after) = rest.split_at_mut(d - i);
                    rows.push(row);
                    rest = after;
                }
                let integers = (&self.integers[..], d);
                add_product(&mut self.scratch, integers, integers, (0, UPPER), &mut rows)
            }
        }
    }

    /// The sums.
    pub fn finish(mut self) -> Result<SecondMoments> {
        let d = self.total.width();
        if self.total.rows == 0 {
            return Err(Error::degenerate("the covariance of no rows: give at least one row".to_owned()));
        }
        if let Some(OnDevice { device, sums, .. }) = &self.device {
            let products = &mut self.total.products;
            sums.read_blocking(device, |i, row| {
                let at = place(d, i, i);
                products[at..at + d - i].copy_from_slice(&row[i..d]);
            })?;
        }
        Ok(self.total)
    }
}

/// Rows of integers of 43 bits whose sums f64 holds.
const SUMMED_ROWS: usize = 1024;

/// Sums of columns of at most [`SUMMED_ROWS`] integers: exact.
fn column_sums(integers: &[f64], width: usize) -> Vec<f64> {
    let mut sums = vec![0.0; width];
    for row in integers.chunks_exact(width) {
        sums.iter_mut().zip(row).for_each(|(s, q)| *s += q);
    }
    sums
}
