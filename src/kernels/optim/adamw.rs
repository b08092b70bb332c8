//! AdamW (Loshchilov and Hutter): decoupled decay, bias correction, PyTorch's formula.
//!
//! Bytes: 28 per parameter, 24 where they are in bf16. FLOPs: about 15.

use super::super::{Binding, KernelSpec, Work, check_device, check_index, check_matrix, check_words, check_written};
use crate::device::{Buffer, Recorder, Tensor};
pub use crate::host::optim::adamw::Constants;
use crate::host::optim::adamw::{Params, Rounding as Words};
use crate::spec::in_range;
use crate::spec::shader::source;
use crate::{ElementType, Error, Result};

/// The kernel.
pub static SPEC: KernelSpec = KernelSpec::new(
    "adamw",
    source!("optim/adamw.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::read(1, "scale"),
        Binding::read(2, "gradient"),
        Binding::read_write(3, "parameters"),
        Binding::read_write(4, "first"),
        Binding::read_write(5, "second"),
    ],
    crate::host::optim::adamw::twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::ELEMENTS);

/// The step's settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hyper {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decay of the first moment, 0.9 as a rule.
    pub beta1: f64,
    /// Decay of the second moment, 0.999 as a rule.
    pub beta2: f64,
    /// Added to the root of the second moment, 1e-8 as a rule.
    pub eps: f64,
    /// Decoupled decay of the parameters; 0: none.
    pub weight_decay: f64,
    /// Number of this step, from 1.
    pub step: u64,
}

impl Hyper {
    /// The constants of this step.
    ///
    /// # Errors
    /// A setting outside its domain.
    pub fn constants(&self) -> Result<Constants> {
        let wrong = |argument, problem: String| Err(Error::argument(argument, problem));
        if !(self.lr.is_finite() && self.lr >= 0.0) {
            return wrong("lr", format!("{}; wants a number from 0 on", self.lr));
        }
        for (name, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&beta) {
                return wrong(name, format!("{beta}; wants a number from 0 to below 1"));
            }
        }
        // Below the smallest normal f32 it would be 0 on a device, and a gradient of 0 a division by 0.
        if !(self.eps.is_finite() && self.eps >= 1.2e-38) {
            return wrong("eps", format!("{}; wants a number above 0, such as 1e-8", self.eps));
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            return wrong("weight_decay", format!("{}; wants a number from 0 on", self.weight_decay));
        }
        if self.step == 0 {
            return wrong("step", "0; steps count from 1".into());
        }
        let step = self.step as f64;
        Ok(Constants {
            keep: 1.0 - self.lr * self.weight_decay,
            beta1: self.beta1,
            beta2: self.beta2,
            rate: self.lr / (1.0 - self.beta1.powf(step)),
            correction: 1.0 / (1.0 - self.beta2.powf(step)).sqrt(),
            eps: self.eps,
        })
    }
}

/// How parameters in bf16 are rounded: stochastically, up in magnitude with the probability of what is cut off, which keeps the mean of
/// steps far below a number's last digit. The random bits depend on this, the step and an element's place alone, so that a run that
/// goes on takes the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rounding {
    /// The run's seed.
    pub seed: u64,
    /// The tensor's number among all that are stepped.
    pub tensor: u32,
}

impl Rounding {
    pub(super) fn words(self, step: u64) -> Words {
        Words { key: [self.seed as u32, (self.seed >> 32) as u32], step: step as u32, tensor: self.tensor }
    }
}

/// Checks what a step changes: f32 or bf16, and of its recorder's device.
pub(super) fn check_parameters(recorder: &Recorder, name: &'static str, p: &Tensor) -> Result<()> {
    check_device(name, recorder.device(), &[p])?;
    match p.element_type() {
        ElementType::F32 | ElementType::BF16 => Ok(()),
        other => Err(Error::shape(name, "p", "f32 or bf16", other)),
    }
}

/// Records one step on `p`, with the gradient `g` times `scale[0]` and the moments `m` and `v`, all f32 of one shape. `scale` is
/// what [`super::norm::clip`] leaves, or a buffer of one f32; where it is 0, for the gradient was not finite, nothing changes.
///
/// # Errors
/// Shapes that differ, other element types, one memory for two, another device's tensors, settings outside their domain.
pub fn step(
    recorder: &mut Recorder,
    hyper: &Hyper,
    scale: &Buffer,
    p: &Tensor,
    g: &Tensor,
    m: &Tensor,
    v: &Tensor,
) -> Result<()> {
    check_matrix(recorder, SPEC.name, ("p", p), (p.rows(), p.width()))?;
    step_rounded(recorder, hyper, (scale, Rounding::default()), (p, g), (m, v))
}

/// As [`step`] where `p` may also be bf16.
///
/// # Errors
/// As [`step`].
pub fn step_rounded(
    recorder: &mut Recorder,
    hyper: &Hyper,
    (scale, rounding): (&Buffer, Rounding),
    (p, g): (&Tensor, &Tensor),
    (m, v): (&Tensor, &Tensor),
) -> Result<()> {
    let c = hyper.constants()?;
    check_parameters(recorder, SPEC.name, p)?;
    for tensor in [("g", g), ("m", m), ("v", v)] {
        check_matrix(recorder, SPEC.name, tensor, (p.rows(), p.width()))?;
    }
    check_words(recorder, SPEC.name, ("scale", scale), 1)?;
    let buffers = [scale, g.buffer(), p.buffer(), m.buffer(), v.buffer()];
    check_written(SPEC.name, &buffers, 3)?;
    let count = check_index(SPEC.name, p)?;
    if count == 0 {
        return Ok(());
    }
    let params = Params {
        count,
        keep: c.keep as f32,
        beta1: c.beta1 as f32,
        beta2: c.beta2 as f32,
        rest1: (1.0 - c.beta1) as f32,
        rest2: (1.0 - c.beta2) as f32,
        rate: c.rate as f32,
        correction: c.correction as f32,
        eps: c.eps as f32,
        rounding: rounding.words(hyper.step),
    };
    Work { kernel: &SPEC, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }.elements_to(
        recorder,
        count as usize,
        p.element_type(),
    )
}
