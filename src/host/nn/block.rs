//! Products of a few rows by a few rows within one core, for attention's tiles.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use super::math::Float;

/// `count` rows of `width` numbers, `stride` apart, from the start of `data` on. Indexing keeps a count that does not fit from faer,
/// which would panic less clearly.
pub fn rows<R: Float>(data: &[R], stride: usize, (count, width): (usize, usize)) -> MatRef<'_, R> {
    let used = count.checked_sub(1).map_or(0, |before| before * stride + width);
    MatRef::from_row_major_slice_with_stride(&data[..used], count, width, stride)
}

/// `C = alpha A B`, or that added to it, C in rows of `stride`.
pub fn multiply<R: Float>(
    (c, stride): (&mut [R], usize),
    accumulate: bool,
    (a, b): (MatRef<'_, R>, MatRef<'_, R>),
    alpha: R,
) {
    let (m, n) = (a.nrows(), b.ncols());
    let used = m.checked_sub(1).map_or(0, |before| before * stride + n);
    // By columns and transposed, as in `host::linalg::matmul`.
    let c = MatMut::from_column_major_slice_with_stride_mut(&mut c[..used], n, m, stride).transpose_mut();
    matmul(c, if accumulate { Accum::Add } else { Accum::Replace }, a, b, alpha, Par::Seq);
}
