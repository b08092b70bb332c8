//! Twin of `shaders/nn/gelu*.wgsl`.

use bytemuck::{Pod, Zeroable};

use super::math::Float;
use super::parallel::{Map, for_each_element};
use super::{floats, floats_mut};
use crate::Result;
use crate::host::{HostCall, check_params};

/// Which of the functions that go by the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Exact: `Φ(x) = (1 + erf(x / √2)) / 2`.
    Erf,
    /// `Φ(x) ≈ (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2`.
    Tanh,
    /// `Φ(x) ≈ σ(1.702 x)`: CLIP's quick GELU.
    Quick,
}

impl Form {
    /// As the parameter blocks have it.
    pub(crate) fn number(self) -> u32 {
        match self {
            Form::Erf => 0,
            Form::Tanh => 1,
            Form::Quick => 2,
        }
    }

    pub(crate) fn of(number: u32) -> Result<Form> {
        check_params(number <= 2, "a form of GELU that there is not")?;
        Ok(match number {
            0 => Form::Erf,
            1 => Form::Tanh,
            _ => Form::Quick,
        })
    }
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub count: u32,
    pub form: u32,
}

struct Value(Form);

impl<R: Float> Map<R, 1, 1> for Value {
    #[inline(always)]
    fn map(&self, [x]: [R; 1], _: [R; 1]) -> [R; 1] {
        [value(self.0, x)]
    }
}

struct Slope(Form);

impl<R: Float> Map<R, 2, 1> for Slope {
    #[inline(always)]
    fn map(&self, [x, dy]: [R; 2], _: [R; 1]) -> [R; 1] {
        [dy * slope(self.0, x)]
    }
}

/// `x Φ(x)`.
#[inline(always)]
pub(super) fn value<R: Float>(form: Form, x: R) -> R {
    x * match form {
        Form::Erf => x.normal_cdf(),
        Form::Tanh => tanh_gate(x),
        Form::Quick => (R::from_f64(QUICK) * x).sigmoid(),
    }
}

/// Its derivative.
#[inline(always)]
pub(super) fn slope<R: Float>(form: Form, x: R) -> R {
    let c = R::from_f64;
    let a = x.max(c(-30.0)).min(c(30.0));
    match form {
        Form::Erf => x.normal_cdf() + a * c(0.398_942_280_401_432_7) * (c(-0.5) * a * a).exp(),
        Form::Tanh => {
            let gate = tanh_gate(x);
            gate + a * gate * (R::ONE - gate) * (c(TWICE_ROOT) + c(3.0 * TWICE_ROOT * CUBIC) * a * a)
        }
        Form::Quick => {
            let gate = (c(QUICK) * x).sigmoid();
            gate + c(QUICK) * a * gate * (R::ONE - gate)
        }
    }
}

/// The quick form's factor.
const QUICK: f64 = 1.702;
/// 2 √(2/π).
const TWICE_ROOT: f64 = 1.595_769_121_605_730_8;
/// The cubic term of the form by tanh.
const CUBIC: f64 = 0.044_715;

/// (1 + tanh u) / 2, as the logistic function of 2 u.
#[inline(always)]
fn tanh_gate<R: Float>(x: R) -> R {
    let c = R::from_f64;
    let a = x.max(c(-10.0)).min(c(10.0));
    (a * (c(TWICE_ROOT) + c(TWICE_ROOT * CUBIC) * a * a)).sigmoid()
}

/// `y = gelu(x)`, slices of one length.
pub fn forward<R: Float>(form: Form, x: &[R], y: &mut [R]) {
    for_each_element(&Value(form), [x], [y]);
}

/// `dx = dy gelu'(x)`, slices of one length.
pub fn backward<R: Float>(form: Form, x: &[R], dy: &[R], dx: &mut [R]) {
    for_each_element(&Slope(form), [x, dy], [dx]);
}

fn form(params: Params) -> Result<Form> {
    Form::of(params.form)
}

/// Runs the kernel: buffers are x, y.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn forward_twin(call: &mut HostCall<'_>) -> Result<()> {
    let form = form(call.params()?)?;
    forward(form, floats(call, 0, 0)?, floats_mut(call, 1, 0)?);
    Ok(())
}

/// Runs the kernel: buffers are x, dy, dx.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn backward_twin(call: &mut HostCall<'_>) -> Result<()> {
    let form = form(call.params()?)?;
    backward(form, floats(call, 0, 0)?, floats(call, 1, 0)?, floats_mut(call, 2, 0)?);
    Ok(())
}
