//! Small products of matrices that lie in a core's inner cache, for attention's tiles.

use super::math::Float;

/// A matrix by its elements' strides: element (i, j) is `data[i * row + j * column]`.
#[derive(Clone, Copy, Debug)]
pub struct Strided<'a, R> {
    /// The elements.
    pub data: &'a [R],
    /// From one row to the next.
    pub row: usize,
    /// From one column to the next.
    pub column: usize,
}

/// `C += A B`, with C `[m, n]` and B `[k, n]` in rows of `c_stride` and `b_stride`; m and n are multiples of 4.
#[inline(always)]
pub fn multiply_add<R: Float>(
    (c, c_stride): (&mut [R], usize),
    a: Strided<'_, R>,
    (b, b_stride): (&[R], usize),
    (m, n, k): (usize, usize, usize),
) {
    for i in (0..m).step_by(4) {
        let mut j = 0;
        while j + 16 <= n {
            tile::<R, 16>((c, c_stride), a, (b, b_stride), (i, j, k));
            j += 16;
        }
        while j < n {
            tile::<R, 4>((c, c_stride), a, (b, b_stride), (i, j, k));
            j += 4;
        }
    }
}

/// 4 × N elements of the product, in registers.
#[inline(always)]
fn tile<R: Float, const N: usize>(
    (c, c_stride): (&mut [R], usize),
    a: Strided<'_, R>,
    (b, b_stride): (&[R], usize),
    (i, j, k): (usize, usize, usize),
) {
    let mut sums = [[R::ZERO; N]; 4];
    for p in 0..k {
        let row = &b[p * b_stride + j..][..N];
        for (s, sums) in sums.iter_mut().enumerate() {
            let x = a.data[(i + s) * a.row + p * a.column];
            for l in 0..N {
                sums[l] += x * row[l];
            }
        }
    }
    for (s, sums) in sums.iter().enumerate() {
        let row = &mut c[(i + s) * c_stride + j..][..N];
        row.iter_mut().zip(sums).for_each(|(c, &s)| *c += s);
    }
}
