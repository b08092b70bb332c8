//! Twin of `shaders/align/c3.wgsl`.

use bytemuck::{Pod, Zeroable};

use crate::Result;
use crate::host::align::apply::is_tiny;
use crate::host::gaussian::{BLOCK, gaussians};
use crate::host::output::{RowKernel, for_each_row};
use crate::host::real::{Real, dot};
use crate::host::{HostCall, check_params};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub rows: u32,
    pub width: u32,
    pub width4: u32,
    pub row_base: u32,
    pub first_row: [u32; 2],
    pub seed: [u32; 2],
    pub sigma: f32,
    pub padding: [u32; 3],
}

/// Runs the kernel: buffers are rows, shift, out rows, status.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn twin(call: &mut HostCall<'_>) -> Result<()> {
    let params: Params = call.params()?;
    let stride = 4 * params.width4 as usize;
    check_params(params.width as usize <= stride, "a width beyond its rows")?;
    let shift: &[f32] = call.read_as(1, stride)?;
    let shape = (params.rows as usize, stride, params.row_base);
    let first_row = u64::from(params.first_row[0]) | (u64::from(params.first_row[1]) << 32);
    let (sigma, seed, width) = (params.sigma, params.seed, params.width as usize);
    for_each_row(call, shape, &Rows { shift, sigma, seed, first_row, width })
}

/// C3 on f32 rows.
struct Rows<'a> {
    shift: &'a [f32],
    sigma: f32,
    seed: [u32; 2],
    first_row: u64,
    width: usize,
}

impl RowKernel for Rows<'_> {
    #[inline(always)]
    fn row(&self, index: usize, y: &[f32], scale: f32, out: &mut [f32]) {
        let key = (self.first_row.wrapping_add(index as u64), self.seed);
        perturb(y, scale, self.shift, self.sigma, key, self.width, out);
    }
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
    let blocks = out.chunks_mut(4 * BLOCK).zip(y.chunks(4 * BLOCK)).zip(shift.chunks(4 * BLOCK));
    for (block, ((out, y), shift)) in blocks.enumerate() {
        let g = gaussians(row, (block * BLOCK) as u32, seed);
        for (((o, &y), &b), &g) in out.iter_mut().zip(y).zip(shift).zip(&g) {
            *o = unit * y + b + sigma * R::from_f64(f64::from(g));
        }
    }
    out[width..].fill(R::default());
    let n2 = dot(out, out);
    let inverse = if n2 > R::from_f64(1e-20) { n2.sqrt().recip() } else { R::from_f64(1.0) };
    out.iter_mut().for_each(|o| *o *= inverse);
}
