//! Twin of `shaders/nn/gate*.wgsl`.

use bytemuck::{Pod, Zeroable};

use super::gelu::{self, Form};
use super::math::Float;
use super::parallel::{Map, for_each_element, on_one_core};
use super::{floats, floats_mut};
use crate::Result;
use crate::host::{HostCall, check_params};

/// What a gate is passed through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// `x σ(x)`.
    Silu,
    /// `x Φ(x)`, in one of its forms.
    Gelu(Form),
    /// The larger of x and 0.
    Relu,
    /// The hyperbolic tangent.
    Tanh,
}

impl Act {
    /// As the parameter blocks have it.
    pub(crate) fn number(self) -> u32 {
        match self {
            Act::Silu => 0,
            Act::Gelu(form) => 1 + form.number(),
            Act::Relu => 4,
            Act::Tanh => 5,
        }
    }

    pub(crate) fn of(number: u32) -> Result<Act> {
        check_params(number <= 5, "an activation that there is not")?;
        Ok(Act::numbered(number))
    }

    /// The same of a number that is one's.
    #[inline(always)]
    const fn numbered(number: u32) -> Act {
        match number {
            0 => Act::Silu,
            1 => Act::Gelu(Form::Erf),
            2 => Act::Gelu(Form::Tanh),
            3 => Act::Gelu(Form::Quick),
            4 => Act::Relu,
            _ => Act::Tanh,
        }
    }

    /// Value and derivative.
    #[inline(always)]
    fn both<R: Float>(self, x: R) -> (R, R) {
        match self {
            Act::Silu => {
                let s = x.sigmoid();
                (x * s, s * (R::ONE + x * (R::ONE - s)))
            }
            Act::Gelu(form) => (gelu::value(form, x), gelu::slope(form, x)),
            // A NaN stays one, and has one for its slope.
            Act::Relu if x > R::ZERO => (x, R::ONE),
            Act::Relu if x <= R::ZERO => (R::ZERO, R::ZERO),
            Act::Relu => (x, x),
            Act::Tanh => {
                let t = tanh(x);
                (t, R::ONE - t * t)
            }
        }
    }

    #[inline(always)]
    fn value<R: Float>(self, x: R) -> R {
        match self {
            Act::Silu => x * x.sigmoid(),
            Act::Gelu(form) => gelu::value(form, x),
            Act::Relu => relu(x),
            Act::Tanh => tanh(x),
        }
    }
}

#[inline(always)]
fn relu<R: Float>(x: R) -> R {
    x.max(R::ZERO)
}

/// 2 σ(2x) - 1, within 2e-7, absolute: as the shaders have it.
#[inline(always)]
fn tanh<R: Float>(x: R) -> R {
    let two = R::from_f64(2.0);
    two * (two * x).sigmoid() - R::ONE
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub count: u32,
    pub factor: f32,
    pub act: u32,
}

struct Value<R> {
    act: Act,
    factor: R,
}

impl<R: Float> Map<R, 2, 1> for Value<R> {
    #[inline(always)]
    fn map(&self, [gate, up]: [R; 2], _: [R; 1]) -> [R; 1] {
        [self.factor * (self.act.value(gate) * up)]
    }
}

struct Gradient(Act);

impl<R: Float> Map<R, 3, 2> for Gradient {
    #[inline(always)]
    fn map(&self, [gate, up, dy]: [R; 3], _: [R; 2]) -> [R; 2] {
        let (value, slope) = self.0.both(gate);
        [dy * up * slope, dy * value]
    }
}

/// `act(x + y)` of an activation by its number. A constant, since a loop with a choice in it does not vectorise.
struct Activated<const ACT: u32>;

impl<R: Float, const ACT: u32> Map<R, 1, 1> for Activated<ACT> {
    #[inline(always)]
    fn map(&self, [bias]: [R; 1], [x]: [R; 1]) -> [R; 1] {
        [Act::numbered(ACT).value(x + bias)]
    }
}

/// `row = act(row + bias)`, on one core. Without a bias, zeros are added.
pub fn activate<R: Float>(act: Act, bias: Option<&[R]>, row: &mut [R]) {
    const PART: usize = 1024;
    let zeros = [R::ZERO; PART];
    for (i, row) in row.chunks_mut(PART).enumerate() {
        let bias = bias.and_then(|bias| bias.get(i * PART..)).unwrap_or(&zeros);
        match act {
            Act::Silu => on_one_core(&Activated::<0>, [bias], [row]),
            Act::Gelu(Form::Erf) => on_one_core(&Activated::<1>, [bias], [row]),
            Act::Gelu(Form::Tanh) => on_one_core(&Activated::<2>, [bias], [row]),
            Act::Gelu(Form::Quick) => on_one_core(&Activated::<3>, [bias], [row]),
            Act::Relu => on_one_core(&Activated::<4>, [bias], [row]),
            Act::Tanh => on_one_core(&Activated::<5>, [bias], [row]),
        }
    }
}

/// `y = factor act(gate) up`, slices of one length.
pub fn forward<R: Float>(act: Act, factor: R, gate: &[R], up: &[R], y: &mut [R]) {
    for_each_element(&Value { act, factor }, [gate, up], [y]);
}

/// Both gradients, slices of one length.
pub fn backward<R: Float>(act: Act, (gate, up): (&[R], &[R]), dy: &[R], (dgate, dup): (&mut [R], &mut [R])) {
    for_each_element(&Gradient(act), [gate, up, dy], [dgate, dup]);
}

/// Runs the kernel: buffers are gate, up, y.
///
/// # Errors
/// Buffers that do not fit the parameters; an activation that there is not.
pub fn forward_twin(call: &mut HostCall<'_>) -> Result<()> {
    let Params { factor, act, .. } = call.params()?;
    forward(Act::of(act)?, factor, floats(call, 0, 0)?, floats(call, 1, 0)?, floats_mut(call, 2, 0)?);
    Ok(())
}

/// Runs the kernel: buffers are gate, up, dy, dgate, dup.
///
/// # Errors
/// Buffers that do not fit the parameters; an activation that there is not.
pub fn backward_twin(call: &mut HostCall<'_>) -> Result<()> {
    let Params { act, .. } = call.params()?;
    let operands = (floats(call, 0, 0)?, floats(call, 1, 0)?);
    backward(Act::of(act)?, operands, floats(call, 2, 0)?, (floats_mut(call, 3, 0)?, floats_mut(call, 4, 0)?));
    Ok(())
}
