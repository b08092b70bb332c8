//! Twin of `shaders/optim/adamw.wgsl`.

use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

use super::dynamic::BLOCK;
use crate::host::nn::math::Float;
use crate::host::nn::parallel::{Map, for_each_element};
use crate::host::nn::{floats, floats_mut};
use crate::host::{HostCall, dispatch_simd, gaussian};
use crate::{ElementType, Result};

/// A step's constants, computed once.
#[derive(Clone, Copy, Debug)]
pub struct Constants {
    /// `1 - lr weight_decay`.
    pub keep: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// `lr / (1 - beta1^step)`.
    pub rate: f64,
    /// `1 / √(1 - beta2^step)`.
    pub correction: f64,
    /// Added to the root.
    pub eps: f64,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub count: u32,
    pub keep: f32,
    pub beta1: f32,
    pub beta2: f32,
    pub rest1: f32,
    pub rest2: f32,
    pub rate: f32,
    pub correction: f32,
    pub eps: f32,
    pub rounding: Rounding,
}

/// What the rounding of parameters in bf16 depends on, beside their place: the run's seed, the step and the tensor's number.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub(crate) struct Rounding {
    pub key: [u32; 2],
    pub step: u32,
    pub tensor: u32,
}

pub(super) struct Step<R> {
    keep: R,
    beta1: R,
    beta2: R,
    rest1: R,
    rest2: R,
    rate: R,
    correction: R,
    eps: R,
    pub(super) scale: R,
}

impl Params {
    pub(super) fn step(&self, scale: f32) -> Step<f32> {
        Step {
            keep: self.keep,
            beta1: self.beta1,
            beta2: self.beta2,
            rest1: self.rest1,
            rest2: self.rest2,
            rate: self.rate,
            correction: self.correction,
            eps: self.eps,
            scale,
        }
    }
}

impl<R: Float> Map<R, 1, 3> for Step<R> {
    #[inline(always)]
    fn map(&self, [g]: [R; 1], [p, m, v]: [R; 3]) -> [R; 3] {
        let g = self.scale * g;
        let m = self.beta1 * m + self.rest1 * g;
        let v = self.beta2 * v + self.rest2 * (g * g);
        [self.keep * p - self.rate * m / (v.sqrt() * self.correction + self.eps), m, v]
    }
}

/// One step with the gradient `g` times `scale` on `p` and the moments `m`, `v`; a scale of 0 changes nothing.
pub fn step<R: Float>(c: &Constants, scale: R, g: &[R], p: &mut [R], m: &mut [R], v: &mut [R]) {
    let real = R::from_f64;
    run(
        &Step {
            keep: real(c.keep),
            beta1: real(c.beta1),
            beta2: real(c.beta2),
            rest1: real(1.0 - c.beta1),
            rest2: real(1.0 - c.beta2),
            rate: real(c.rate),
            correction: real(c.correction),
            eps: real(c.eps),
            scale,
        },
        g,
        [p, m, v],
    );
}

fn run<R: Float>(step: &Step<R>, g: &[R], outputs: [&mut [R]; 3]) {
    if step.scale != R::ZERO {
        for_each_element(step, [g], outputs);
    }
}

/// As [`run`] in f32, on parameters in bf16.
fn run_bf16(step: &Step<f32>, rounding: Rounding, g: &[f32], p: &mut [u16], m: &mut [f32], v: &mut [f32]) {
    if step.scale == 0.0 {
        return;
    }
    let moments = m.par_chunks_mut(BLOCK).zip(v.par_chunks_mut(BLOCK));
    let blocks = g.par_chunks(BLOCK).zip(p.par_chunks_mut(BLOCK)).zip(moments).enumerate();
    // Blocks are small: a core takes many of them.
    blocks.with_min_len(16).for_each(|(block, ((g, p), (m, v)))| {
        dispatch_simd(Block { step, rounding, first: block * BLOCK, g, p, m, v });
    });
}

struct Block<'a> {
    step: &'a Step<f32>,
    rounding: Rounding,
    first: usize,
    g: &'a [f32],
    p: &'a mut [u16],
    m: &'a mut [f32],
    v: &'a mut [f32],
}

impl pulp::NullaryFnOnce for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let mut after = [0f32; BLOCK];
        let length = self.p.len().min(self.g.len()).min(self.m.len()).min(self.v.len());
        #[expect(clippy::needless_range_loop, reason = "five arrays by one index")]
        for i in 0..length {
            let before = [widened(self.p[i]), self.m[i], self.v[i]];
            [after[i], self.m[i], self.v[i]] = self.step.map([self.g[i]], before);
        }
        round(&after, self.rounding, self.first, &mut self.p[..length]);
    }
}

#[inline(always)]
pub(super) fn widened(half: u16) -> f32 {
    f32::from_bits(u32::from(half) << 16)
}

/// Parameters to bf16, rounded up in magnitude with the probability of what is cut off; `first` is the place of the first, a multiple of
/// 4.
#[inline(always)]
pub(super) fn round(numbers: &[f32; BLOCK], rounding: Rounding, first: usize, out: &mut [u16]) {
    const LANES: usize = 4 * gaussian::BLOCK;
    for (i, (numbers, out)) in numbers.chunks_exact(LANES).zip(out.chunks_mut(LANES)).enumerate() {
        let place = (first / 4) as u32 + (i * gaussian::BLOCK) as u32;
        let random = gaussian::words(place, [rounding.step, rounding.tensor, 2], rounding.key);
        for ((half, x), random) in out.iter_mut().zip(numbers).zip(random) {
            *half = (x.to_bits().wrapping_add(random >> 16) >> 16) as u16;
        }
    }
}

/// Runs the kernel: buffers are scale, g, p, m, v; p is f32 or, where rows of that type are written, bf16.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn twin(call: &mut HostCall<'_>) -> Result<()> {
    let params: Params = call.params()?;
    let step = params.step(floats(call, 0, 1)?[0]);
    let g = floats(call, 1, 0)?;
    if call.elements.1 == ElementType::BF16 {
        let p = call.write_as::<u16>(2, 0)?;
        run_bf16(&step, params.rounding, g, p, floats_mut(call, 3, 0)?, floats_mut(call, 4, 0)?);
    } else {
        run(&step, g, [floats_mut(call, 2, 0)?, floats_mut(call, 3, 0)?, floats_mut(call, 4, 0)?]);
    }
    Ok(())
}
