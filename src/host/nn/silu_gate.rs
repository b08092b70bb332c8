//! Twin of `shaders/nn/silu_gate*.wgsl`.

use bytemuck::{Pod, Zeroable};

use super::math::Float;
use super::parallel::{Map, for_each_element};
use super::{floats, floats_mut};
use crate::Result;
use crate::host::HostCall;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub count: u32,
    pub factor: f32,
}

struct Value<R> {
    factor: R,
}

impl<R: Float> Map<R, 2, 1> for Value<R> {
    #[inline(always)]
    fn map(&self, [gate, up]: [R; 2], _: [R; 1]) -> [R; 1] {
        [self.factor * (gate * gate.sigmoid() * up)]
    }
}

struct Gradient;

impl<R: Float> Map<R, 3, 2> for Gradient {
    #[inline(always)]
    fn map(&self, [gate, up, dy]: [R; 3], _: [R; 2]) -> [R; 2] {
        let s = gate.sigmoid();
        let d = dy * s;
        [d * up * (R::ONE + gate * (R::ONE - s)), d * gate]
    }
}

/// `y = factor gate σ(gate) up`, slices of one length.
pub fn forward<R: Float>(factor: R, gate: &[R], up: &[R], y: &mut [R]) {
    for_each_element(&Value { factor }, [gate, up], [y]);
}

/// Both gradients, slices of one length.
pub fn backward<R: Float>((gate, up): (&[R], &[R]), dy: &[R], (dgate, dup): (&mut [R], &mut [R])) {
    for_each_element(&Gradient, [gate, up, dy], [dgate, dup]);
}

/// Runs the kernel: buffers are gate, up, y.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn forward_twin(call: &mut HostCall<'_>) -> Result<()> {
    let Params { factor, .. } = call.params()?;
    forward(factor, floats(call, 0, 0)?, floats(call, 1, 0)?, floats_mut(call, 2, 0)?);
    Ok(())
}

/// Runs the kernel: buffers are gate, up, dy, dgate, dup.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn backward_twin(call: &mut HostCall<'_>) -> Result<()> {
    let operands = (floats(call, 0, 0)?, floats(call, 1, 0)?);
    backward(operands, floats(call, 2, 0)?, (floats_mut(call, 3, 0)?, floats_mut(call, 4, 0)?));
    Ok(())
}
