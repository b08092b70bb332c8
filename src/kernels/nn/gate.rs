//! Gated unit: `y = act(gate) up`, of SiLU (SwiGLU), GELU (GEGLU) or another [`Act`].
//!
//! Bytes: forward 12 per element, backward 20; half of that in f16. FLOPs: about 15 and 20 with SiLU, 35 and 75 with GELU.

use super::super::{Binding, KernelSpec, Work, check_float_matrix, check_index, check_written, halves_of};
use crate::device::{Recorder, Tensor};
pub use crate::host::nn::gate::Act;
use crate::host::nn::gate::Params;
use crate::spec::shader::source;
use crate::spec::{Constant, in_range};
use crate::{Error, Result};

/// The forward kernel.
pub static FORWARD: KernelSpec = KernelSpec::new(
    "gate",
    source!("nn/gate.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::read(1, "operand1"),
        Binding::read(2, "operand2"),
        Binding::read_write(3, "result3"),
    ],
    crate::host::nn::gate::forward_twin,
)
.with_grid()
.with_overrides(&["ACT", "FORM", "GROUP"])
.trusted(in_range::ELEMENTS);

/// The backward kernel.
pub static BACKWARD: KernelSpec = KernelSpec::new(
    "gate backward",
    source!("nn/gate_backward.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::read(1, "operand1"),
        Binding::read(2, "operand2"),
        Binding::read(3, "operand3"),
        Binding::read_write(4, "result4"),
        Binding::read_write(5, "result5"),
    ],
    crate::host::nn::gate::backward_twin,
)
.with_grid()
.with_overrides(&["ACT", "FORM", "GROUP"])
.trusted(in_range::ELEMENTS);

/// The values of the shaders' overrides.
pub(in crate::kernels) fn constants(act: Act) -> [Constant; 2] {
    let (act, form) = match act {
        Act::Silu => (0, 0),
        Act::Gelu(form) => (1, form.number()),
        Act::Relu => (2, 0),
        Act::Tanh => (3, 0),
    };
    [("ACT", f64::from(act)), ("FORM", f64::from(form))]
}

fn record<const N: usize>(
    recorder: &mut Recorder,
    kernel: &'static KernelSpec,
    (act, factor): (Act, f32),
    tensors: [(&'static str, &Tensor); N],
    written: usize,
) -> Result<()> {
    let gate = tensors[0].1;
    for tensor in tensors {
        check_float_matrix(recorder, kernel.name, tensor, (gate.rows(), gate.width()))?;
    }
    let buffers = tensors.map(|(_, t)| t.buffer());
    check_written(kernel.name, &buffers, written)?;
    let count = check_index(kernel.name, gate)?;
    if count == 0 {
        return Ok(());
    }
    let params = Params { count, factor, act: act.number() };
    let constants = constants(act);
    Work { kernel, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &constants }.elements_halves(
        recorder,
        count as usize,
        halves_of(tensors.map(|(_, t)| t)),
    )
}

/// Records `y = act(gate) up`, all `[n, d]`, each f32 or f16.
///
/// # Errors
/// Shapes that differ, other element types, `y` the memory of an operand, another device's tensors.
pub fn forward(recorder: &mut Recorder, act: Act, gate: &Tensor, up: &Tensor, y: &Tensor) -> Result<()> {
    forward_scaled(recorder, (act, 1.0), gate, up, y)
}

/// As [`forward`], with `y` times `factor`, a power of two that keeps it in f16's range.
///
/// # Errors
/// As [`forward`]; a factor that is not finite.
pub fn forward_scaled(
    recorder: &mut Recorder,
    (act, factor): (Act, f32),
    gate: &Tensor,
    up: &Tensor,
    y: &Tensor,
) -> Result<()> {
    if !factor.is_finite() {
        return Err(Error::argument("factor", format!("{factor}; give a finite factor")));
    }
    record(recorder, &FORWARD, (act, factor), [("gate", gate), ("up", up), ("y", y)], 1)
}

/// Records both gradients, all `[n, d]`, each f32 or f16; `gate` and `up` are the forward's inputs, `dy` is the gradient by `y` without a
/// factor.
///
/// # Errors
/// As [`forward`].
pub fn backward(
    recorder: &mut Recorder,
    act: Act,
    gate: &Tensor,
    up: &Tensor,
    dy: &Tensor,
    dgate: &Tensor,
    dup: &Tensor,
) -> Result<()> {
    record(recorder, &BACKWARD, (act, 1.0), [("gate", gate), ("up", up), ("dy", dy), ("dgate", dgate), ("dup", dup)], 2)
}
