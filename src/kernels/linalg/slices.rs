//! Exact products of integers, `C += Aᵀ B`, by products of floats: Ozaki's scheme on the kernels of [`super::matmul`], so that units which multiply
//! floats fast, tensor cores first, multiply integers.
//!
//! # Formats
//! * An integer of [`LARGEST`](super::exact_product::LARGEST) at most is written to the base 512 in five slices from -256 to 255, which f32 and f16 both hold. Slices lie in planes,
//!   lowest first, `[5, k, width]`.
//! * A product is 25 of slices. A sum of 256 products of two slices is at most 2²⁴ in magnitude, as are all of its parts in any order, so that f32 holds
//!   it exactly: rows are multiplied 256 at a time. The five products of a slice of A are joined to one integer and added to the [`Sums`] of
//!   [`super::exact_product`].
//!
//! # Exactness
//! Results have the bits of [`super::exact_product`]: nothing is rounded and nothing left out. Tensor cores align what they add to the largest term, and
//! keep 24 bits of it at the least, which is what such sums take.
//!
//! Operations: 2 · 25 FLOPs to a product of integers. Bytes: 20 for each integer (10 as f16), read by each tile of products; for every 256 rows each sum's
//! 25 products are written and read, and five times 32 bytes of the sum.

use std::ops::Range;

use bytemuck::Zeroable;
use rayon::prelude::*;

use super::exact_product::{Placement, Sums, check_integers};
use super::matmul::{self, Operand, Product};
use crate::device::{Buffer, Device, Recorder, Tensor};
use crate::host::linalg::join_slices::{Params, SLICES};
use crate::kernels::{Binding, KernelSpec, Work, check_index, check_words, check_written};
use crate::spec::in_range;
use crate::spec::shader::source;
use crate::{ElementType, Error, Result};

/// The kernel that joins products of slices.
pub static JOIN: KernelSpec = KernelSpec::new(
    "join slices",
    source!("linalg/join_slices.wgsl"),
    &[Binding::uniform("params"), Binding::read(1, "products"), Binding::read_write(2, "sums")],
    crate::host::linalg::join_slices::twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::ELEMENTS);

/// Rows whose products of slices f32 adds up exactly.
const EXACT_ROWS: usize = 256;
/// Added to an integer, it leaves digits from 0 to 511 to the base 512.
const OFFSET: i64 = 256 * (1 + (1 << 9) + (1 << 18) + (1 << 27) + (1 << 36));

/// Integers on a device as slices, `[k, width]`, for up to so many rows.
#[derive(Clone, Debug)]
pub struct Slices {
    planes: Tensor,
    most: usize,
    rows: usize,
}

/// Rows of a width that a device's binding holds the slices of, of so many bytes an element; a few at least.
pub fn rows_that_fit(device: &Device, width: usize, element: ElementType) -> usize {
    let line = (SLICES * element.bytes() * width.next_multiple_of(4)) as u64;
    ((device.capabilities().max_binding / line.max(1)) as usize).clamp(1, super::exact_product::MAX_ROWS)
}

impl Slices {
    /// Room for `rows` rows of `width` integers, of slices that are f32 or f16.
    ///
    /// # Errors
    /// No rows or columns, more than a device holds; another element type; no memory.
    pub fn new(device: &Device, rows: usize, width: usize, element: ElementType) -> Result<Self> {
        if !matches!(element, ElementType::F32 | ElementType::F16) || rows == 0 || width == 0 {
            let got = format!("[{rows}, {width}] {element}");
            return Err(Error::shape(JOIN.name, "slices", "a row of f32 or f16 at least", got));
        }
        Ok(Slices { planes: Tensor::new(device, SLICES * rows, width, element)?, most: rows, rows: 0 })
    }

    /// Replaces the integers by these, `[k, width]`, whole numbers as f64.
    ///
    /// # Errors
    /// As [`super::exact_product::Digits::write`].
    pub fn write(&mut self, device: &Device, integers: &[f64]) -> Result<()> {
        let width = self.planes.width();
        let rows = check_integers(JOIN.name, integers, (self.most, width))?;
        let stride = 4 * self.planes.width4();
        self.rows = rows;
        match self.planes.element_type() {
            ElementType::F16 => {
                let halves: Vec<u16> = (0..512).map(|s| half::f16::from_f32(s as f32 - 256.0).to_bits()).collect();
                let planes = planes(integers, (rows, width, stride), |slice| halves[slice]);
                device.write(self.planes.buffer(), bytemuck::cast_slice(&planes))
            }
            _ => {
                let planes = planes(integers, (rows, width, stride), |slice| slice as f32 - 256.0);
                device.write(self.planes.buffer(), bytemuck::cast_slice(&planes))
            }
        }
    }

    /// Integers to a row.
    pub fn width(&self) -> usize {
        self.planes.width()
    }

    /// One slice of some rows, to be multiplied.
    fn slice(&self, slice: usize, rows: &Range<usize>) -> Operand<'_> {
        Operand::new(&self.planes).rows(slice * self.rows + rows.start, rows.len())
    }
}

/// Slices `[5, rows, stride]`, as `float` has them of a digit from 0 to 511.
fn planes<T: Copy + Send + Sync + Zeroable>(
    integers: &[f64],
    (rows, width, stride): (usize, usize, usize),
    float: impl Fn(usize) -> T + Sync,
) -> Vec<T> {
    let mut out = vec![T::zeroed(); SLICES * rows * stride];
    let lines = out.par_chunks_mut(stride).enumerate();
    lines.for_each(|(line, out)| {
        let (slice, row) = (line / rows, line % rows);
        for (out, &q) in out.iter_mut().zip(&integers[row * width..(row + 1) * width]) {
            *out = float((q as i64 + OFFSET) as usize >> (9 * slice) & 511);
        }
    });
    out
}

/// Room for the products of one slice with five, `[5 m, n]` f32.
#[derive(Clone, Debug)]
pub struct Parts(Tensor);

impl Parts {
    /// For sums `[m, n]`.
    ///
    /// # Errors
    /// More than a binding holds; no memory.
    pub fn new(device: &Device, m: usize, n: usize) -> Result<Self> {
        Ok(Parts(Tensor::new(device, SLICES * m, n, ElementType::F32)?))
    }

    /// Whether a device's binding holds them.
    pub fn fit(device: &Device, m: usize, n: usize) -> bool {
        let vectors = (SLICES * m).saturating_mul(n.div_ceil(4));
        let bytes = vectors.saturating_mul(16) as u64;
        bytes <= device.capabilities().max_binding && vectors < 1 << 31
    }
}

/// Records that `Aᵀ B` is added to the sums as the placement says.
///
/// # Errors
/// Other numbers of rows than each other's, sums or parts of another shape, different operands with [`Placement::upper`], more than two words
/// up; another device's memory.
pub fn record(
    recorder: &mut Recorder,
    (a, b): (&Slices, &Slices),
    placement: Placement,
    (parts, sums): (&Parts, &Sums),
) -> Result<()> {
    check((a, b), placement, (parts, sums))?;
    let product = Product { upper: placement.upper, ..Product::default() };
    for first in (0..a.rows).step_by(EXACT_ROWS) {
        let rows = first..a.rows.min(first + EXACT_ROWS);
        for i in 0..SLICES {
            for j in 0..SLICES {
                let operands = (a.slice(i, &rows).transposed(), b.slice(j, &rows));
                matmul::record(recorder, product, operands, (&parts.0, j * a.width()))?;
            }
            join(recorder, (&parts.0, sums), (9 * i as u32 + 32 * placement.words_up, placement.upper))?;
        }
    }
    Ok(())
}

fn check((a, b): (&Slices, &Slices), placement: Placement, (parts, sums): (&Parts, &Sums)) -> Result<()> {
    let shapes = [sums.shape(), (parts.0.rows() / SLICES, parts.0.width())];
    if a.rows != b.rows || shapes.iter().any(|&shape| shape != (a.width(), b.width())) {
        let (k, m, l, n) = (a.rows, a.width(), b.rows, b.width());
        let got = format!("[{k}, {m}] and [{l}, {n}] to {:?} by {:?}", shapes[0], shapes[1]);
        return Err(Error::shape(JOIN.name, "operands", "[k, m] and [k, n], and sums and parts [m, n]", got));
    }
    if placement.words_up > 2 {
        return Err(Error::argument("words_up", format!("{}; give 0 to 2", placement.words_up)));
    }
    if placement.upper && !a.planes.buffer().same(b.planes.buffer()) {
        return Err(Error::shape(JOIN.name, "operands of an upper half", "one matrix, twice", "two matrices"));
    }
    Ok(())
}

/// Adds the parts to the sums.
fn join(recorder: &mut Recorder, (parts, sums): (&Tensor, &Sums), (shift, upper): (u32, bool)) -> Result<()> {
    check_index(JOIN.name, parts)?;
    // They are smaller than the parts.
    let Some(single) = sums.single() else {
        return Err(Error::shape(JOIN.name, "sums", "what one binding holds", format!("{:?}", sums.shape())));
    };
    let (m, width4) = (sums.shape().0, parts.width4());
    check_words(recorder, JOIN.name, ("sums", single), 16 * m * width4)?;
    let buffers: [&Buffer; 2] = [parts.buffer(), single];
    check_written(JOIN.name, &buffers, 1)?;
    let params = Params { rows: m as u32, width4: width4 as u32, shift, upper: upper.into() };
    let work = Work { kernel: &JOIN, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] };
    work.elements(recorder, m * width4)
}
