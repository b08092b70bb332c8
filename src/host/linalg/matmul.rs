//! Twin of `shaders/linalg/matmul_*.wgsl`; the formula is in [`crate::kernels::linalg::matmul`]. faer multiplies, on all
//! cores: it is as fast as the `gemm` crate that it builds on, or faster, and safe to call.

use bytemuck::{Pod, Zeroable};
use faer::linalg::matmul::triangular;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use super::parts;
use crate::blocks;
use crate::host::nn::gate::{self, Act};
use crate::host::nn::gelu::{self, Form};
use crate::host::nn::math::Float;
use crate::host::real::widen;
use crate::host::{HostCall, volume};
use crate::{ElementType, Error, Result};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub m: u32,
    pub n: u32,
    pub k: u32,
    pub alpha: f32,
    pub a_stride: u32,
    pub b_stride: u32,
    pub c_stride: u32,
    pub first_tile: u32,
    pub a_first: u32,
    pub b_first: u32,
    pub c_first: u32,
    pub k_first: u32,
    /// What the shaders have as overrides, for the twin.
    pub transpose_a: u32,
    pub transpose_b: u32,
    pub accumulate: u32,
    pub upper: u32,
    pub first_column: u32,
    pub epilogue: u32,
    pub layer: u32,
    pub padding: u32,
}

/// As the host's twins read them: a bias and a residual.
pub(crate) const BIAS: u32 = 1;

pub(crate) const RESIDUAL: u32 = 2;

/// Which form of GELU, or which activation, from this bit on.
pub(crate) const FORM: u32 = 4;

/// A stored matrix: rows of `stride` elements, of which a part is used.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a, T> {
    /// The elements, from the first row that is used.
    pub data: &'a [T],
    /// Elements from one row to the next.
    pub stride: usize,
    /// Whether the operand is this matrix transposed.
    pub transpose: bool,
}

impl<'a, T> Stored<'a, T> {
    /// op(M), `[rows, columns]`.
    fn view(&self, rows: usize, columns: usize) -> Result<MatRef<'a, T>> {
        let (r, c) = if self.transpose { (columns, rows) } else { (rows, columns) };
        check(self.data.len(), (r, c), self.stride)?;
        let view = MatRef::from_row_major_slice_with_stride(self.data, r, c, self.stride);
        Ok(if self.transpose { view.transpose() } else { view })
    }
}

/// faer panics on shapes that do not fit: they end here instead.
fn check(length: usize, (rows, columns): (usize, usize), stride: usize) -> Result<()> {
    let needed = rows.checked_sub(1).map_or(Some(0), |r| r.checked_mul(stride)?.checked_add(columns));
    if columns > stride || needed.is_none_or(|n| n > length) {
        let want = format!("[{rows}, {columns}] in rows of {stride}");
        return Err(Error::shape("matmul", "matrix", want, format!("{length} elements")));
    }
    Ok(())
}

/// `C = alpha op(A) op(B)`, or that added to C; C is `[m, n]` in rows of `c_stride`, the common dimension is k. With `upper` (a
/// square C) only what lies on or above the diagonal is computed; the rest is left alone.
///
/// # Errors
/// Slices too short for their shapes.
pub fn multiply<T: Float>(
    c: (&mut [T], usize),
    operands: (Stored<'_, T>, Stored<'_, T>),
    (m, n, k): (usize, usize, usize),
    (alpha, accumulate, upper): (T, bool, bool),
) -> Result<()> {
    if !upper {
        return multiply_then(c, operands, (m, n, k), (alpha, accumulate), |_, _, _| {});
    }
    use triangular::BlockStructure::{Rectangular, TriangularUpper};
    if m != n {
        return Err(Error::shape("matmul", "upper result", "a square", format!("[{m}, {n}]")));
    }
    let c = transposed(c, (m, n))?.transpose_mut();
    let (a, b) = (operands.0.view(m, k)?, operands.1.view(k, n)?);
    if m > 0 {
        let accumulate = if accumulate { Accum::Add } else { Accum::Replace };
        triangular::matmul(c, TriangularUpper, accumulate, a, Rectangular, b, Rectangular, alpha, Par::rayon(0));
    }
    Ok(())
}

/// As [`multiply`] of all of C. `then` changes each part of a row as soon as it is finished: it gets the row, the column that the part begins with, and the part.
///
/// # Errors
/// As [`multiply`].
fn multiply_then<T: Float>(
    c: (&mut [T], usize),
    (a, b): (Stored<'_, T>, Stored<'_, T>),
    (m, n, k): (usize, usize, usize),
    (alpha, accumulate): (T, bool),
    then: impl Fn(usize, usize, &mut [T]) + Sync,
) -> Result<()> {
    let c = transposed(c, (m, n))?;
    if m == 0 || n == 0 {
        return Ok(());
    }
    let accumulate = if accumulate { Accum::Add } else { Accum::Replace };
    parts::multiply(c, (a.view(m, k)?, b.view(k, n)?), (alpha, accumulate), then);
    Ok(())
}

/// Cᵀ `[n, m]` by columns, of a C `[m, n]` in rows: faer 0.24.4's `from_row_major_slice_with_stride_mut` takes the stride for that of columns and writes
/// beyond the slice.
fn transposed<T: Float>((c, stride): (&mut [T], usize), (m, n): (usize, usize)) -> Result<MatMut<'_, T>> {
    check(c.len(), (m, n), stride)?;
    Ok(MatMut::from_column_major_slice_with_stride_mut(c, n, m, stride))
}

/// Runs the kernel: buffers are a, b, c.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn twin(call: &mut HostCall<'_>) -> Result<()> {
    let c = call.write_as(2, 0)?;
    product(call, c, |_, _, _| {})
}

/// Runs the kernel with [`Epilogue::Add`](crate::kernels::linalg::epilogue::Epilogue): buffers are a, b, c, bias, residual.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn add_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: Params = call.params()?;
    let (m, stride) = (p.m as usize, 4 * p.c_stride as usize);
    // What is not asked for may be any buffer, which nobody reads.
    let bias = if p.epilogue & BIAS != 0 { Some(call.read_as::<f32>(3, stride)?) } else { None };
    let residual = if p.epilogue & RESIDUAL != 0 { Some(call.read_as::<f32>(4, volume([m, stride]))?) } else { None };
    let c = call.write_as(2, 0)?;
    product(call, c, |row, column, y| {
        let terms = [bias.and_then(|b| b.get(column..)), residual.and_then(|r| r.get(row * stride + column..))];
        for term in terms.into_iter().flatten() {
            y.iter_mut().zip(term).for_each(|(y, x)| *y += x);
        }
    })
}

/// Runs the kernel with [`Epilogue::Gelu`](crate::kernels::linalg::epilogue::Epilogue): buffers are a, b, c, bias, before.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn gelu_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: Params = call.params()?;
    let stride = 4 * p.c_stride as usize;
    let (first, count) = (volume([p.c_first as usize, stride]), volume([p.m as usize, stride]));
    let (c, before): (&mut [f32], &mut [f32]) =
        (call.write_as(2, first.saturating_add(count))?, call.write_as(4, count)?);
    let bias = if p.epilogue & BIAS != 0 { call.read_as::<f32>(3, stride)? } else { &[] };
    product(call, c, |_, column, y| {
        let bias = bias.get(column..).unwrap_or_default();
        y.iter_mut().zip(bias).for_each(|(y, x)| *y += x);
    })?;
    let (y, before) = (&mut c[first..first + count], &mut before[..count]);
    before.copy_from_slice(y);
    gelu::forward(Form::of(p.epilogue / FORM)?, before, y);
    Ok(())
}

/// Runs the kernel with [`Epilogue::Act`](crate::kernels::linalg::epilogue::Epilogue): buffers are a, b, c, bias.
///
/// # Errors
/// Buffers that do not fit the parameters; an activation that there is not.
pub fn act_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: Params = call.params()?;
    let (act, stride) = (Act::of(p.epilogue / FORM)?, 4 * p.c_stride as usize);
    let bias = if p.epilogue & BIAS != 0 { Some(call.read_as::<f32>(3, stride)?) } else { None };
    let c: &mut [f32] = call.write_as(2, 0)?;
    product(call, c, |_, column, y| gate::activate(act, bias.and_then(|b| b.get(column..)), y))
}

/// Changes each row of the finished product.
fn finished(p: &Params, c: &mut [f32], change: impl Fn(usize, usize, &mut [f32]) + Sync) {
    let rows = c.par_chunks_mut(4 * (p.c_stride as usize).max(1)).take(p.m as usize).enumerate();
    rows.for_each(|(row, y)| {
        let columns = y.len().min(p.n as usize);
        change(row, 0, &mut y[..columns]);
    });
}

/// The product, and what follows on it: `then` is as [`multiply_then`]'s.
fn product(call: &mut HostCall<'_>, c: &mut [f32], then: impl Fn(usize, usize, &mut [f32]) + Sync) -> Result<()> {
    let p: Params = call.params()?;
    let element = call.elements.0;
    let a = stored(call.read_as(0, 0)?, p.a_first, p.a_stride, p.transpose_a);
    let c_stride = 4 * p.c_stride as usize;
    let c = c.get_mut(volume([p.c_first as usize, c_stride])..).unwrap_or_default();
    let (shape, options) = ((p.m as usize, p.n as usize, p.k as usize), (p.alpha, p.accumulate != 0, p.upper != 0));
    if element == ElementType::Q8_0 {
        let b = Blocks {
            words: call.read_as(1, 0)?,
            first: volume([p.b_first as usize, 4 * p.b_stride as usize]),
            stride: 4 * p.b_stride as usize,
            transpose: p.transpose_b != 0,
        };
        multiply_blocks((&mut *c, c_stride), (a, b), shape, options)?;
    } else if element.bytes() == 2 {
        let b = stored(call.read_as::<u16>(1, 0)?, p.b_first, p.b_stride, p.transpose_b);
        multiply_half((&mut *c, c_stride), (a, b), element, shape, options)?;
    } else {
        let b = stored(call.read_as(1, 0)?, p.b_first, p.b_stride, p.transpose_b);
        if !options.2 {
            return multiply_then((c, c_stride), (a, b), shape, (options.0, options.1), then);
        }
        multiply((&mut *c, c_stride), (a, b), shape, options)?;
    }
    finished(&p, c, then);
    Ok(())
}

/// From row `first` on, rows of `stride` groups of four.
fn stored<T: bytemuck::Pod>(data: &[T], first: u32, stride: u32, transpose: u32) -> Stored<'_, T> {
    let stride = 4 * stride as usize;
    let data = <[T]>::get(data, volume([first as usize, stride])..).unwrap_or_default();
    Stored { data, stride, transpose: transpose != 0 }
}

/// Elements that are widened at a time: they stay in the outer cache.
const WIDENED: usize = 1 << 19;

/// As [`multiply`], with f16 or bf16 elements of B, which are widened a block of rows at a time.
///
/// # Errors
/// As [`multiply`].
pub fn multiply_half(
    c: (&mut [f32], usize),
    (a, b): (Stored<'_, f32>, Stored<'_, u16>),
    element: ElementType,
    shape: (usize, usize, usize),
    options: (f32, bool, bool),
) -> Result<()> {
    let fill = |first: usize, to: &mut [f32]| widen(element, &b.data[first..first + to.len()], to);
    multiply_filled(c, (a, (b.data.len(), b.stride, b.transpose)), fill, shape, options)
}

/// A matrix in blocks of Q8_0, as on a device.
#[derive(Clone, Copy, Debug)]
struct Blocks<'a> {
    words: &'a [u32],
    /// The element that the first row that is used begins with.
    first: usize,
    stride: usize,
    transpose: bool,
}

/// As [`multiply`], with B in blocks of Q8_0.
fn multiply_blocks(
    c: (&mut [f32], usize),
    (a, b): (Stored<'_, f32>, Blocks<'_>),
    shape: (usize, usize, usize),
    options: (f32, bool, bool),
) -> Result<()> {
    if !b.stride.is_multiple_of(blocks::BLOCK) {
        return Err(Error::shape("matmul", "matrix in q8_0", "rows of a multiple of 32", b.stride));
    }
    let elements = b.words.len() / blocks::PAIR_WORDS * 2 * blocks::BLOCK;
    let fill = |first: usize, to: &mut [f32]| blocks::from_device(b.words, b.first + first, to);
    multiply_filled(c, (a, (elements.saturating_sub(b.first), b.stride, b.transpose)), fill, shape, options)
}

/// As [`multiply`], with a B of so many elements in rows of a stride, which `fill` makes f32 from an element on, a block of rows at a time.
fn multiply_filled(
    (c, c_stride): (&mut [f32], usize),
    (a, (length, stride, transpose)): (Stored<'_, f32>, (usize, usize, bool)),
    fill: impl Fn(usize, &mut [f32]) + Sync,
    (m, n, k): (usize, usize, usize),
    (alpha, accumulate, upper): (f32, bool, bool),
) -> Result<()> {
    const PART: usize = 1 << 13;
    let (rows, columns) = if transpose { (n, k) } else { (k, n) };
    check(length, (rows, columns), stride)?;
    let block = if upper { rows } else { WIDENED / stride.max(1) }.max(1);
    // One row may say any stride: no more than there is.
    let mut widened = vec![0f32; volume([block.min(rows), stride]).min(length)];
    for first in (0..rows.max(1)).step_by(block) {
        let count = block.min(rows - first);
        // The last row may lack its padding.
        let (from, end) = (first * stride, length.min(volume([first + count, stride])));
        let part = &mut widened[..end - from];
        part.par_chunks_mut(PART).enumerate().for_each(|(i, to)| fill(from + i * PART, to));
        let part = Stored { data: &*part, stride, transpose };
        if transpose {
            // Columns of C.
            let columns = c.get_mut(first..).unwrap_or_default();
            multiply((columns, c_stride), (a, part), (m, count, k), (alpha, accumulate, upper))?;
        } else {
            let skipped = if a.transpose { volume([first, a.stride]) } else { first };
            let a = Stored { data: a.data.get(skipped..).unwrap_or_default(), ..a };
            multiply((c, c_stride), (a, part), (m, n, count), (alpha, accumulate || first > 0, upper))?;
        }
    }
    Ok(())
}
