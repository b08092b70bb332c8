//! Twins of `shaders/nn/pair_sigmoid*.wgsl`.

use bytemuck::{Pod, Zeroable};

use super::info_nce::Scaling;
use super::math::Float;
use super::parallel::{Row, for_each_row, sum_of};
use super::{floats, floats_mut};
use crate::Result;
use crate::host::nn::info_nce::BackwardParams;
use crate::host::{HostCall, volume};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct ForwardParams {
    pub rows: u32,
    pub width4: u32,
    pub most: f32,
    pub scale: f32,
}

/// log(1 + e^-v), for small exponentials by its series.
#[inline(always)]
fn softplus<R: Float>(v: R) -> R {
    let c = R::from_f64;
    let small = (-v.abs()).exp();
    let series = small * (R::ONE - small * (c(0.5) - small * (c(1.0 / 3.0) - small * (c(0.25) - small * c(0.2)))));
    let rest = if small < c(1e-3) { series } else { (R::ONE + small).ln() };
    (-v).max(R::ZERO) + rest
}

/// The derivative of log(1 + e^-v) by z, v = sign z.
#[inline(always)]
fn slope_of<R: Float>(v: R, sign: R) -> R {
    -sign * (-v).sigmoid()
}

#[inline(always)]
fn sign_of<R: Float>(column: usize, row: usize) -> R {
    if column == row { R::ONE } else { -R::ONE }
}

struct Forward<'a, R> {
    scaling: Scaling<R>,
    factor: R,
    similarities: &'a [R],
    count: usize,
    scale: R,
}

impl<R: Float> Row<R> for Forward<'_, R> {
    #[inline(always)]
    fn row(&self, index: usize, out: &mut [R]) {
        let row = &self.similarities[index * self.count.next_multiple_of(4)..][..self.count];
        let v = |s: R, sign: R| sign * (self.factor * s + self.scaling.b);
        // Of the row, the partner alone is a positive.
        let (before, after) = (&row[..index], &row[index + 1..]);
        let (positive, negative) = (R::ONE, -R::ONE);
        let total = |term: &dyn Fn(R, R) -> R| {
            let others = |part| sum_of([part], |[s]| term(s, negative));
            others(before) + others(after) + term(row[index], positive)
        };
        let loss = total(&|s, sign| softplus(v(s, sign)));
        let by_t = self.scale * total(&|s, sign| slope_of(v(s, sign), sign) * (self.factor * s));
        let by_b = self.scale * total(&|s, sign| slope_of(v(s, sign), sign));
        out.copy_from_slice(&[loss, self.scaling.slope(by_t), by_b, R::ZERO]);
    }
}

/// From the rows of `similarities` `[n, stride]` to `out` `[n, 4]`: the loss, and the shares of the gradient of `scale Σ losses`
/// by t and b, 0.
pub fn forward<R: Float>(scaling: Scaling<R>, similarities: &[R], scale: R, out: &mut [R]) {
    let (factor, count) = (scaling.factor(), out.len() / 4);
    for_each_row(&Forward { scaling, factor, similarities, count, scale }, out, 4);
}

struct Backward<R> {
    scaling: Scaling<R>,
    factor: R,
    count: usize,
    scale: R,
}

impl<R: Float> Row<R> for Backward<R> {
    #[inline(always)]
    fn row(&self, index: usize, out: &mut [R]) {
        out[self.count..].fill(R::ZERO);
        for (column, s) in out[..self.count].iter_mut().enumerate() {
            let sign = sign_of::<R>(column, index);
            let v = sign * (self.factor * *s + self.scaling.b);
            *s = self.scale * self.factor * slope_of(v, sign);
        }
    }
}

/// Similarities of `count` pairs, `[count, stride]`, to the gradient of `scale Σ losses`, in their place.
pub fn backward<R: Float>(scaling: Scaling<R>, count: usize, scale: R, similarities: &mut [R]) {
    let kernel = Backward { scaling, factor: scaling.factor(), count, scale };
    for_each_row(&kernel, similarities, count.next_multiple_of(4));
}

/// Runs the kernel: buffers are similarities, temperature, losses, terms.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn forward_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: ForwardParams = call.params()?;
    let rows = p.rows as usize;
    let similarities = floats(call, 0, volume([rows, rows.next_multiple_of(4)]))?;
    let scaling = Scaling::of(floats(call, 1, 2)?, p.most);
    let (losses, terms) = (floats_mut(call, 2, rows)?, floats_mut(call, 3, 4 * rows)?);
    let mut out = vec![0.0; 4 * rows];
    forward(scaling, similarities, p.scale, &mut out);
    for ((loss, term), row) in losses.iter_mut().zip(terms.chunks_exact_mut(4)).zip(out.chunks_exact(4)) {
        *loss = row[0];
        term.copy_from_slice(&[row[1], row[2], 0.0, 0.0]);
    }
    Ok(())
}

/// Runs the kernel: buffers are temperature, similarities.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn backward_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: BackwardParams = call.params()?;
    let (scaling, elements) = (Scaling::of(floats(call, 0, 2)?, p.most), 4 * p.count as usize);
    backward(scaling, p.width as usize, p.scale, &mut floats_mut(call, 1, elements)?[..elements]);
    Ok(())
}
