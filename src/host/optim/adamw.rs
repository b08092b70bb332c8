//! Twin of `shaders/optim/adamw.wgsl`.

use bytemuck::{Pod, Zeroable};

use crate::Result;
use crate::host::HostCall;
use crate::host::nn::math::Float;
use crate::host::nn::parallel::{Map, for_each_element};
use crate::host::nn::{floats, floats_mut};

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
}

struct Step<R> {
    keep: R,
    beta1: R,
    beta2: R,
    rest1: R,
    rest2: R,
    rate: R,
    correction: R,
    eps: R,
    scale: R,
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

/// Runs the kernel: buffers are scale, g, p, m, v.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: Params = call.params()?;
    let step = Step {
        keep: p.keep,
        beta1: p.beta1,
        beta2: p.beta2,
        rest1: p.rest1,
        rest2: p.rest2,
        rate: p.rate,
        correction: p.correction,
        eps: p.eps,
        scale: floats(call, 0, 1)?[0],
    };
    let g = floats(call, 1, 0)?;
    run(&step, g, [floats_mut(call, 2, 0)?, floats_mut(call, 3, 0)?, floats_mut(call, 4, 0)?]);
    Ok(())
}
