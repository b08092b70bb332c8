//! SiLU-gated unit of the Llama and Qwen2 families: `y = gate σ(gate) up`.
//!
//! Bytes: forward 12 per element, backward 20. FLOPs: about 15 and 20.

use super::super::{Binding, KernelSpec, Work, check_index, check_matrix, check_written};
use crate::Result;
use crate::device::{Recorder, Tensor};
use crate::spec::in_range;
use crate::spec::shader::source;

/// The forward kernel.
pub static FORWARD: KernelSpec = KernelSpec::new(
    "silu gate",
    source!("nn/silu_gate.wgsl"),
    &[Binding::uniform("params"), Binding::read(1, "gate"), Binding::read(2, "up"), Binding::read_write(3, "y")],
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
        Binding::read(1, "gate"),
        Binding::read(2, "up"),
        Binding::read(3, "dy"),
        Binding::read_write(4, "dgate"),
        Binding::read_write(5, "dup"),
    ],
    crate::host::nn::silu_gate::backward_twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::ELEMENTS);

fn record(
    recorder: &mut Recorder,
    kernel: &'static KernelSpec,
    tensors: &[(&'static str, &Tensor)],
    written: usize,
) -> Result<()> {
    let gate = tensors[0].1;
    for &tensor in tensors {
        check_matrix(recorder, kernel.name, tensor, (gate.rows(), gate.width()))?;
    }
    let buffers: Vec<_> = tensors.iter().map(|(_, t)| t.buffer()).collect();
    check_written(kernel.name, &buffers, written)?;
    let count = check_index(kernel.name, gate)?;
    if count == 0 {
        return Ok(());
    }
    Work { kernel, params: bytemuck::bytes_of(&count), buffers: &buffers, constants: &[] }
        .elements(recorder, count as usize)
}

/// Records `y = gate σ(gate) up`, all `[n, d]` f32.
///
/// # Errors
/// Shapes that differ, other element types, `y` the memory of an operand, another device's tensors.
pub fn forward(recorder: &mut Recorder, gate: &Tensor, up: &Tensor, y: &Tensor) -> Result<()> {
    record(recorder, &FORWARD, &[("gate", gate), ("up", up), ("y", y)], 1)
}

/// Records both gradients, all `[n, d]` f32; `gate` and `up` are the forward's inputs.
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
    record(recorder, &BACKWARD, &[("gate", gate), ("up", up), ("dy", dy), ("dgate", dgate), ("dup", dup)], 2)
}
