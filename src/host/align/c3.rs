//! Twin of `shaders/align/c3.wgsl`.

use crate::Result;
use crate::host::align::apply::is_tiny;
use crate::host::gaussian::gaussian4;
use crate::host::output::for_each_row;
use crate::host::real::{Real, dot};
use crate::host::{HostCall, dispatch_simd};
use crate::kernels::align::c3::Params;

/// Runs the kernel: buffers are rows, shift, out rows, status.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn twin(call: &mut HostCall<'_>) -> Result<()> {
    let params: Params = call.params()?;
    let shift: &[f32] = bytemuck::cast_slice(call.read(1)?);
    let shape = (params.rows as usize, 4 * params.width4 as usize, params.row_base);
    let first_row = u64::from(params.first_row[0]) | (u64::from(params.first_row[1]) << 32);
    for_each_row(call, shape, |index, y, scale, out| {
        let row = first_row + index as u64;
        dispatch_simd(|| perturb(y, scale, shift, params.sigma, (row, params.seed), params.width as usize, out));
    })
}

/// One row: `normalise(u + b + sigma g)`, `y` the row times `scale`; `out` is `[d]`, zero from column `width` on.
#[inline(always)]
pub fn perturb<R: Real>(
    y: &[R],
    scale: R,
    shift: &[R],
    sigma: R,
    (row, seed): (u64, [u32; 2]),
    width: usize,
    out: &mut [R],
) {
    let square = dot(y, y);
    let unit = if is_tiny(square, scale) { R::default() } else { square.sqrt().recip() };
    for (c, out) in out.chunks_exact_mut(4).enumerate() {
        let g = gaussian4([row as u32, (row >> 32) as u32, c as u32, 0], seed);
        for (k, o) in out.iter_mut().enumerate() {
            let j = 4 * c + k;
            *o = if j < width { unit * y[j] + shift[j] + sigma * R::from_f64(f64::from(g[k])) } else { R::default() };
        }
    }
    let n2 = dot(out, out);
    let inverse = if n2 > R::from_f64(1e-20) { n2.sqrt().recip() } else { R::from_f64(1.0) };
    out.iter_mut().for_each(|o| *o *= inverse);
}
