//! Twin of `shaders/align/apply.wgsl`; the formula is in [`crate::kernels::align::apply`].

use bytemuck::{Pod, Zeroable};

use crate::Result;
use crate::host::output::{RowKernel, for_each_row};
use crate::host::real::{Real, dot};
use crate::host::{HostCall, check_params, volume};

/// Most vectors of one operator: the affine shift and eight centroid steps.
pub const MAX_VECTORS: usize = 9;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub rows: u32,
    pub width4: u32,
    pub vectors: u32,
    pub a: f32,
    pub row_base: u32,
    pub padding: [u32; 3],
}

/// Runs the kernel: buffers are rows, vectors, gram, out rows, status.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn twin(call: &mut HostCall<'_>) -> Result<()> {
    let params: Params = call.params()?;
    let (stride, count) = (4 * params.width4 as usize, params.vectors as usize);
    check_params(stride > 0 && count <= MAX_VECTORS, "rows without columns, or too many vectors")?;
    let vectors: &[f32] = call.read_as(1, volume([count, stride]))?;
    let gram: &[f32] = call.read_as(2, count * count)?;
    let vectors: Vec<&[f32]> = vectors.chunks_exact(stride).take(count).collect();
    let shape = (params.rows as usize, stride, params.row_base);
    for_each_row(call, shape, &Rows { a: params.a, vectors: &vectors, gram })
}

/// The operator on f32 rows.
pub(crate) struct Rows<'a> {
    pub(crate) a: f32,
    pub(crate) vectors: &'a [&'a [f32]],
    pub(crate) gram: &'a [f32],
}

impl RowKernel for Rows<'_> {
    #[inline(always)]
    fn row(&self, _index: usize, y: &[f32], scale: f32, out: &mut [f32]) {
        operate(y, scale, self.a, self.vectors, self.gram, out);
    }
}

/// One row: `y` is the row times `scale`, a power of two; `vectors` `[m][d]`, `gram` `[m, m]`; writes `[d]` to `out`.
#[inline(always)]
pub fn operate<R: Real>(y: &[R], scale: R, a: R, vectors: &[&[R]], gram: &[R], out: &mut [R]) {
    let m = vectors.len();
    let square = dot(y, y);
    let tiny = is_tiny(square, scale);
    let norm = if tiny { R::default() } else { square.sqrt().recip() };
    let one = R::from_f64(1.0);
    let two = R::from_f64(2.0);
    let mut alpha = norm;
    let mut beta = [R::default(); MAX_VECTORS];
    for k in 0..m {
        let n2 = if k == 0 {
            alpha = a * norm;
            let unit = if tiny { R::default() } else { a * a };
            unit + two * alpha * dot(y, vectors[0]) + gram[0]
        } else {
            let d = (0..k).fold(alpha * dot(y, vectors[k]), |d, i| d + beta[i] * gram[i * m + k]);
            one + two * d + gram[k * m + k]
        };
        let inverse = if n2 > R::from_f64(1e-20) { n2.sqrt().recip() } else { one };
        alpha *= inverse;
        beta[..k].iter_mut().for_each(|b| *b *= inverse);
        beta[k] = inverse;
    }
    combine(y, alpha, vectors, &beta, out);
}

/// `out = alpha y + Σ beta_k v_k`.
#[inline(always)]
fn combine<R: Real>(y: &[R], alpha: R, vectors: &[&[R]], beta: &[R], out: &mut [R]) {
    if let [v, w] = vectors {
        for (((o, &y), &v), &w) in out.iter_mut().zip(y).zip(*v).zip(*w) {
            *o = alpha * y + beta[0] * v + beta[1] * w;
        }
        return;
    }
    out.iter_mut().zip(y).for_each(|(o, &y)| *o = alpha * y);
    for (v, &b) in vectors.iter().zip(beta) {
        out.iter_mut().zip(*v).for_each(|(o, &v)| *o += b * v);
    }
}

/// `|row| < 1e-10`, from the scaled row's square.
#[inline(always)]
pub fn is_tiny<R: Real>(square: R, scale: R) -> bool {
    scale == R::default() || square < R::from_f64(1e-20) * scale * scale
}
