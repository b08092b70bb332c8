//! Twins of `shaders/optim/square_sum.wgsl` and `clip.wgsl`.

use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

use crate::Result;
use crate::host::nn::math::Float;
use crate::host::nn::{floats, floats_mut};
use crate::host::{HostCall, dispatch_simd};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct ClipParams {
    pub count: u32,
    pub base: f32,
    pub max_norm: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct SquareSumParams {
    pub count: u32,
    pub first: u32,
    pub teams: u32,
}

struct Square<'a, R>(&'a [R]);

impl<R: Float> pulp::NullaryFnOnce for Square<'_, R> {
    type Output = R;

    #[inline(always)]
    fn call(self) -> R {
        crate::host::real::dot(self.0, self.0)
    }
}

/// Partial sums of the squares of `g`: a part each, the last ones perhaps 0.
pub fn square_sum<R: Float>(g: &[R], partials: &mut [R]) {
    let part = g.len().div_ceil(partials.len().max(1)).max(1);
    let rows = partials.par_iter_mut().enumerate();
    rows.for_each(|(i, sum)| {
        let first = (i * part).min(g.len());
        *sum = dispatch_simd(Square(&g[first..g.len().min(first + part)]));
    });
}

/// Factor and norm from partial sums of squares: `base`, times `max_norm / (norm + 1e-6)` where that is below 1; the factor is 0
/// where the norm is not finite.
pub fn clip<R: Float>(partials: &[R], max_norm: Option<R>, base: R) -> (R, R) {
    let square = partials.iter().fold(R::ZERO, |sum, &p| sum + p);
    let norm = base * square.sqrt();
    if !norm.to_f64().is_finite() {
        return (R::ZERO, norm);
    }
    let limit = max_norm.map_or(R::ONE, |m| (m / (norm + R::from_f64(1e-6))).min(R::ONE));
    (base * limit, norm)
}

/// Runs the kernel: buffers are g, partials.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn square_sum_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: SquareSumParams = call.params()?;
    let (elements, first, teams) = (4 * p.count as usize, p.first as usize, p.teams as usize);
    let g = &floats(call, 0, elements)?[..elements];
    square_sum(g, &mut floats_mut(call, 1, first + teams)?[first..first + teams]);
    Ok(())
}

/// Runs the kernel: buffers are partials, out.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn clip_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: ClipParams = call.params()?;
    let elements = 4 * p.count as usize;
    let partials = &floats(call, 0, elements)?[..elements];
    let (factor, norm) = clip(partials, (p.max_norm > 0.0).then_some(p.max_norm), p.base);
    floats_mut(call, 1, 2)?[..2].copy_from_slice(&[factor, norm]);
    Ok(())
}
