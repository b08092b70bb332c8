//! SiLU-gated unit of the Llama and Qwen2 families: `y = gate σ(gate) up`.
//!
//! Bytes: forward 12 per element, backward 20; half of that in f16. FLOPs: about 15 and 20.

use super::super::{Binding, KernelSpec, Work, check_float_matrix, check_index, check_written, halves_of};
use crate::device::{Recorder, Tensor};
use crate::host::nn::silu_gate::Params;
use crate::spec::in_range;
use crate::spec::shader::source;
use crate::{Error, Result};

/// The forward kernel.
pub static FORWARD: KernelSpec = KernelSpec::new(
    "silu gate",
    source!("nn/silu_gate.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::read(1, "operand1"),
        Binding::read(2, "operand2"),
        Binding::read_write(3, "result3"),
    ],
    crate::host::nn::silu_gate::forward_twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::ELEMENTS);

/// The backward kernel.
pub static BACKWARD: KernelSpec = KernelSpec::new(
    "silu gate backward",
    source!("nn/silu_gate_backward.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::read(1, "operand1"),
        Binding::read(2, "operand2"),
        Binding::read(3, "operand3"),
        Binding::read_write(4, "result4"),
        Binding::read_write(5, "result5"),
    ],
    crate::host::nn::silu_gate::backward_twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::ELEMENTS);

fn record<const N: usize>(
    recorder: &mut Recorder,
    kernel: &'static KernelSpec,
    factor: f32,
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
    let params = Params { count, factor };
    Work { kernel, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }.elements_halves(
        recorder,
        count as usize,
        halves_of(tensors.map(|(_, t)| t)),
    )
}

/// Records `y = gate σ(gate) up`, all `[n, d]`, each f32 or f16.
///
/// # Errors
/// Shapes that differ, other element types, `y` the memory of an operand, another device's tensors.
pub fn forward(recorder: &mut Recorder, gate: &Tensor, up: &Tensor, y: &Tensor) -> Result<()> {
    forward_scaled(recorder, 1.0, gate, up, y)
}

/// As [`forward`], with `y` times `factor`, a power of two that keeps it in f16's range.
///
/// # Errors
/// As [`forward`]; a factor that is not finite.
pub fn forward_scaled(recorder: &mut Recorder, factor: f32, gate: &Tensor, up: &Tensor, y: &Tensor) -> Result<()> {
    if !factor.is_finite() {
        return Err(Error::argument("factor", format!("{factor}; give a finite factor")));
    }
    record(recorder, &FORWARD, factor, [("gate", gate), ("up", up), ("y", y)], 1)
}

/// Records both gradients, all `[n, d]`, each f32 or f16; `gate` and `up` are the forward's inputs, `dy` is the gradient by `y` without a
/// factor.
///
/// # Errors
/// As [`forward`].
pub fn backward(
    recorder: &mut Recorder,
    gate: &Tensor,
    up: &Tensor,
    dy: &Tensor,
    dgate: &Tensor,
    dup: &Tensor,
) -> Result<()> {
    record(recorder, &BACKWARD, 1.0, [("gate", gate), ("up", up), ("dy", dy), ("dgate", dgate), ("dup", dup)], 2)
}
