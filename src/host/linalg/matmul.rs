//! Twin of `shaders/linalg/matmul_*.wgsl`; the formula is in [`crate::kernels::linalg::matmul`]. faer multiplies, on all
//! cores: it is as fast as the `gemm` crate that it builds on, or faster, and safe to call.

use faer::linalg::matmul::{matmul, triangular};
use faer::traits::ComplexField;
use faer::{Accum, MatMut, MatRef, Par};

use crate::host::HostCall;
use crate::kernels::linalg::matmul::Params;
use crate::{Error, Result};

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
pub fn multiply<T: ComplexField>(
    (c, c_stride): (&mut [T], usize),
    (a, b): (Stored<'_, T>, Stored<'_, T>),
    (m, n, k): (usize, usize, usize),
    (alpha, accumulate, upper): (T, bool, bool),
) -> Result<()> {
    check(c.len(), (m, n), c_stride)?;
    if m == 0 || n == 0 {
        return Ok(());
    }
    let (a, b) = (a.view(m, k)?, b.view(k, n)?);
    // By columns and transposed: faer 0.24.4's `from_row_major_slice_with_stride_mut` takes the stride for that of columns and
    // writes beyond the slice.
    let c = MatMut::from_column_major_slice_with_stride_mut(c, n, m, c_stride).transpose_mut();
    let accumulate = if accumulate { Accum::Add } else { Accum::Replace };
    if upper {
        use triangular::BlockStructure::{Rectangular, TriangularUpper};
        if m != n {
            return Err(Error::shape("matmul", "upper result", "a square", format!("[{m}, {n}]")));
        }
        triangular::matmul(c, TriangularUpper, accumulate, a, Rectangular, b, Rectangular, alpha, Par::rayon(0));
    } else {
        matmul(c, accumulate, a, b, alpha, Par::rayon(0));
    }
    Ok(())
}

/// Runs the kernel: buffers are a, b, c.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: Params = call.params()?;
    let (a, b): (&[f32], &[f32]) = (bytemuck::cast_slice(call.read(0)?), bytemuck::cast_slice(call.read(1)?));
    let c: &mut [f32] = bytemuck::cast_slice_mut(call.write(2)?);
    let stored = |data, first: u32, stride: u32, transpose: u32| {
        let stride = 4 * stride as usize;
        let data = <[f32]>::get(data, first as usize * stride..).unwrap_or_default();
        Stored { data, stride, transpose: transpose != 0 }
    };
    let (a, b) = (stored(a, p.a_first, p.a_stride, p.transpose_a), stored(b, p.b_first, p.b_stride, p.transpose_b));
    let c_stride = 4 * p.c_stride as usize;
    let c = c.get_mut(p.c_first as usize * c_stride..).unwrap_or_default();
    let shape = (p.m as usize, p.n as usize, p.k as usize);
    multiply((c, c_stride), (a, b), shape, (p.alpha, p.accumulate != 0, p.upper != 0))
}
