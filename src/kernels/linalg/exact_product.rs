//! Exact products of integers, `C += Aᵀ B`: what covariances and angles are made of [spec 4].
//!
//! # Formats
//! * An integer has 43 bits and a sign ([`LARGEST`]), and is written to the base 256 in six digits from -128 to 127 (Ozaki's scheme). Digits lie
//!   in planes, lowest first, `[6, ⌈k / 4⌉, d]`: four rows to a word of 32 bits, columns filled up to a multiple of four.
//! * A product is 36 of digits, four rows at a time by WGSL's `dot4I8Packed`, which is one instruction where a GPU has it (DP4A) and a few shifts
//!   elsewhere. What belongs to one power of 256 adds up in 32 bits: six products of 14 bits to a row at most, so that [`MAX_ROWS`] rows fit.
//! * The eleven sums, each with a carry into the next, become one integer of 128 bits and are added to what is there. A sum of n products
//!   takes 86 + log₂ n bits: 128 hold more rows than can be counted.
//!
//! # Exactness
//! Nothing is rounded and nothing left out, so that results are the same bits on every device, for every order of rows and every cut into
//! blocks; pairs of low digits could be left out only where every engine leaves out the same, and the host's has no digits
//! (`host::linalg::exact_product`).
//!
//! Operations: 36 products of bytes to a product, nine instructions of DP4A to a product's place of four rows. Bytes: 6 for each integer, read by
//! one in eight invocations of a workgroup, and 32 for each sum, once in a block of rows.

use rayon::prelude::*;

use super::super::{Binding, KernelSpec, check_words, check_written, grid, imports, record_operations_in_parts};
use crate::device::{Buffer, Device, Dispatch, Recorder};
pub use crate::host::linalg::exact_product::{LARGEST, Placement};
use crate::host::linalg::exact_product::{PLANES, Params, ROUND, digits_of};
use crate::spec::shader::source;
use crate::spec::{Choice, in_range};
use crate::{ElementType, Error, Result};

/// The kernel.
pub static SPEC: KernelSpec = KernelSpec::new(
    "exact product",
    source!("linalg/exact_product.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::texels(1, "rows"),
        Binding::texels(2, "vectors"),
        Binding::read_write(3, "sums"),
    ],
    crate::host::linalg::exact_product::twin,
)
.with_grid()
.trusted(in_range::EXACT);

/// Rows that may be multiplied at a time.
pub const MAX_ROWS: usize = 16_384;

/// Sides of a workgroup, in vectors of columns: A's and B's.
const SIDES: (usize, usize) = (2, 8);

/// Digits of integers on a device, `[k, width]`, for up to so many rows.
#[derive(Clone, Debug)]
pub struct Digits {
    buffer: Buffer,
    most: usize,
    rows: usize,
    width: usize,
}

/// Rows of a width that a device's binding holds the digits of; a few at least.
pub fn rows_that_fit(device: &Device, width: usize) -> usize {
    let line = (4 * PLANES * width.next_multiple_of(4)) as u64;
    (4 * (device.capabilities().max_binding / line.max(1)) as usize).clamp(4, MAX_ROWS)
}

impl Digits {
    /// Room for `rows` rows of `width` integers.
    ///
    /// # Errors
    /// No rows or columns, more rows than [`MAX_ROWS`]; no memory.
    pub fn new(device: &Device, rows: usize, width: usize) -> Result<Self> {
        let fits = (1..=MAX_ROWS).contains(&rows) && (1..=super::super::MAX_WIDTH).contains(&width);
        if !fits {
            let want = format!("1 to {MAX_ROWS} rows of 1 to {} columns", super::super::MAX_WIDTH);
            return Err(Error::shape(SPEC.name, "digits", want, format!("[{rows}, {width}]")));
        }
        let bytes = 4 * (PLANES * rows.div_ceil(4) * width.next_multiple_of(4)) as u64;
        Ok(Digits { buffer: device.buffer("digits", bytes)?, most: rows, rows: 0, width })
    }

    /// Replaces the integers by these, `[k, width]`, whole numbers as f64.
    ///
    /// # Errors
    /// Numbers that are no whole rows, or more rows than there is room for; one that is not whole, or above [`LARGEST`]; another device's
    /// memory.
    pub fn write(&mut self, device: &Device, integers: &[f64]) -> Result<()> {
        let rows = check_integers(SPEC.name, integers, (self.most, self.width))?;
        self.rows = rows;
        device.write(&self.buffer, bytemuck::cast_slice(&digits(integers, rows, self.width)))
    }

    /// Digits that a kernel will write: of `rows` rows.
    pub(crate) fn to_be_written(device: &Device, rows: usize, width: usize) -> Result<Self> {
        Ok(Digits { rows, ..Self::new(device, rows, width)? })
    }

    pub(crate) fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Integers to a row.
    pub fn width(&self) -> usize {
        self.width
    }

    fn words(&self) -> usize {
        self.rows.div_ceil(4)
    }
}

/// How many rows some integers are, if they are whole rows, at most so many, of whole numbers of at most [`LARGEST`].
pub(super) fn check_integers(name: &'static str, integers: &[f64], (most, width): (usize, usize)) -> Result<usize> {
    let rows = integers.len() / width;
    if integers.len() != rows * width || rows > most {
        let want = format!("at most {most} rows of {width}");
        return Err(Error::shape(name, "integers", want, format!("{} numbers", integers.len())));
    }
    let whole = |q: &f64| q.abs() <= LARGEST && (q + ROUND) - ROUND == *q;
    match integers.par_iter().position_first(|q| !whole(q)) {
        None => Ok(rows),
        Some(at) => {
            let got = format!("{} at row {}, column {}", integers[at], at / width, at % width);
            Err(Error::shape(name, "integers", "whole numbers of at most 43 bits", got))
        }
    }
}

/// Digits `[6, ⌈rows / 4⌉, width filled up]`, four rows to a word.
fn digits(integers: &[f64], rows: usize, width: usize) -> Vec<u32> {
    let (words, stride) = (rows.div_ceil(4), width.next_multiple_of(4));
    let mut out = vec![0u32; PLANES * words * stride];
    let mut planes: Vec<_> = out.chunks_mut((words * stride).max(1)).map(|plane| plane.chunks_mut(stride)).collect();
    let lines = (0..words).map(|_| planes.iter_mut().filter_map(Iterator::next).collect::<Vec<_>>());
    let lines: Vec<_> = lines.zip(integers.chunks(4 * width)).collect();
    lines.into_par_iter().for_each(|(mut line, rows)| {
        for (place, row) in rows.chunks_exact(width).enumerate() {
            for (column, &q) in row.iter().enumerate() {
                for (plane, byte) in line.iter_mut().zip(digits_of(q as i64)) {
                    plane[column] |= u32::from(byte) << (8 * place);
                }
            }
        }
    });
    out
}

/// Sums of 128 bits on a device, `[m, n]`, in bands of rows that one binding holds.
#[derive(Clone, Debug)]
pub struct Sums {
    bands: Vec<Buffer>,
    /// Rows of a band, a multiple of four.
    band: usize,
    rows: usize,
    width: usize,
}

impl Sums {
    /// Zeros.
    ///
    /// # Errors
    /// No rows or columns, or more than kernels take; no memory.
    pub fn new(device: &Device, rows: usize, width: usize) -> Result<Self> {
        let sides = 1..=super::super::MAX_WIDTH;
        if !sides.contains(&rows) || !sides.contains(&width) {
            return Err(Error::shape(SPEC.name, "sums", format!("{sides:?} columns"), format!("[{rows}, {width}]")));
        }
        let row_bytes = 16 * width.next_multiple_of(4) as u64;
        let most = (device.capabilities().max_binding / row_bytes).min(rows.next_multiple_of(4) as u64) as usize;
        let band = (most / 4 * 4).max(4);
        let bytes = |first: usize| row_bytes * band.min(rows.next_multiple_of(4) - first) as u64;
        let bands = (0..rows).step_by(band).map(|first| device.buffer("exact sums", bytes(first)));
        Ok(Sums { bands: bands.collect::<Result<_>>()?, band, rows, width })
    }

    /// Records that the sums start anew.
    pub fn clear(&self, recorder: &mut Recorder) {
        self.bands.iter().for_each(|band| recorder.clear(band));
    }

    /// `(m, n)`.
    pub(crate) fn shape(&self) -> (usize, usize) {
        (self.rows, self.width)
    }

    /// All sums, where one binding holds them.
    pub(crate) fn single(&self) -> Option<&Buffer> {
        if let [band] = &self.bands[..] { Some(band) } else { None }
    }

    /// The sums by rows, waiting for the device; each row is given its number and its sums, filled up to a multiple of four.
    ///
    /// # Errors
    /// The device was lost.
    pub fn read_blocking(&self, device: &Device, mut row: impl FnMut(usize, &[i128])) -> Result<()> {
        let stride = self.width.next_multiple_of(4);
        for (band, buffer) in self.bands.iter().enumerate() {
            let words: Vec<[u64; 2]> = bytemuck::pod_collect_to_vec(&device.read_blocking(buffer)?);
            let wide = |&[low, high]: &[u64; 2]| (i128::from(high as i64) << 64) + i128::from(low);
            let sums: Vec<i128> = words.iter().map(wide).collect();
            let rows = (band * self.band..self.rows).zip(sums.chunks_exact(stride));
            rows.for_each(|(i, sums)| row(i, sums));
        }
        Ok(())
    }
}

/// Records that `Aᵀ B` is added to the sums as the placement says.
///
/// # Errors
/// Other numbers of rows than each other's, sums of another shape, different operands with [`Placement::upper`], more than two words up; another
/// device's memory.
pub fn record(recorder: &mut Recorder, a: &Digits, b: &Digits, placement: Placement, sums: &Sums) -> Result<()> {
    let name = SPEC.name;
    if a.rows != b.rows || (sums.rows, sums.width) != (a.width, b.width) {
        let got = format!("[{}, {}] and [{}, {}] to [{}, {}]", a.rows, a.width, b.rows, b.width, sums.rows, sums.width);
        return Err(Error::shape(name, "operands", "[k, m] and [k, n], and sums [m, n]", got));
    }
    if placement.words_up > 2 {
        return Err(Error::argument("words_up", format!("{}; give 0 to 2", placement.words_up)));
    }
    if placement.upper && !a.buffer.same(&b.buffer) {
        return Err(Error::shape(name, "operands of an upper half", "one matrix, twice", "two matrices"));
    }
    for (what, digits) in [("a", a), ("b", b)] {
        check_words(
            recorder,
            name,
            (what, &digits.buffer),
            PLANES * digits.words() * digits.width.next_multiple_of(4),
        )?;
    }
    if a.rows == 0 {
        return Ok(());
    }
    let (a_width4, b_width4) = (a.width.div_ceil(4), b.width.div_ceil(4));
    for (band, buffer) in sums.bands.iter().enumerate() {
        let first4 = band * sums.band / 4;
        let count4 = (sums.band / 4).min(a_width4 - first4);
        check_words(recorder, name, ("sums", buffer), 64 * count4 * b_width4)?;
        let buffers = [&a.buffer, &b.buffer, buffer];
        check_written(name, &buffers, 1)?;
        let [words, a_width4, b_width4, first4, count4] =
            [a.words(), a_width4, b_width4, first4, count4].map(|x| x as u32);
        let (upper, words_up) = (u32::from(placement.upper), placement.words_up);
        let params = Params { words, a_width4, b_width4, first4, count4, upper, words_up, padding: 0 };
        dispatch(recorder, params, buffers)?;
    }
    Ok(())
}

fn dispatch(recorder: &mut Recorder, params: Params, buffers: [&Buffer; 3]) -> Result<()> {
    let device = recorder.device().clone();
    let f32s = (ElementType::F32, ElementType::F32);
    let choice = Choice { family: "exact product", elements: f32s, imports: &[], constants: &[] };
    let variant = device.variant_for(choice, || Ok((imports(device.capabilities(), f32s.0, f32s.1)?, Vec::new())))?;
    let (down, across) = (params.count4 as usize, params.b_width4 as usize);
    let units = down.div_ceil(SIDES.0) * across.div_ceil(SIDES.1);
    let whole = Dispatch::new(&SPEC).variant(variant).params(&params).buffers(buffers).groups(grid(units));
    // As many as a product of f32 would have for every pair of digits.
    let operations = 2 * (PLANES * PLANES) as u64 * 4 * u64::from(params.words) * 16 * (down * across) as u64;
    record_operations_in_parts(recorder, whole, operations)
}
