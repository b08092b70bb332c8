//! RMSNorm: `y = x w / √(mean(x²) + ε)`, row by row, sums in f32; or with `1 + w` in place of `w`, as Gemma has it.
//!
//! Bytes: forward 8 per element (12 where a row is too wide for a workgroup's registers and leaves the caches between its two
//! passes), backward 12, and 8 more for the weight (24 to 28 in three dispatches). FLOPs: 5 and 15.

use super::super::{Binding, KernelSpec};
use super::norm::{self, Kind};
use crate::Result;
use crate::device::{Recorder, Tensor};
use crate::spec::in_range;
use crate::spec::shader::source;

/// The forward kernel.
pub static SPEC: KernelSpec = KernelSpec::new(
    "rms norm",
    source!("nn/rms_norm.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::texels(1, "operand1"),
        Binding::texels(2, "operand2"),
        Binding::read_write(3, "result3"),
    ],
    crate::host::nn::norm::rms_twin,
)
.with_grid()
.with_overrides(&["GROUP", "LANES", "SUBGROUP", "HELD", "WHOLE"])
.trusted(in_range::ROWS);

/// Records the normalisation of `x`, `[n, d]`, to `y`, `[n, d]`; `x` and `weight` `[1, d]` are f32, `y` f32 or f16; `eps` is above 0.
///
/// # Errors
/// Shapes that differ, other element types, `y` the memory of an operand, another device's tensors, an `eps` that is not
/// above 0 (a row of zeros would be divided by 0).
pub fn forward(recorder: &mut Recorder, eps: f32, x: &Tensor, weight: &Tensor, y: &Tensor) -> Result<()> {
    forward_offset(recorder, (eps, 0.0), x, weight, y)
}

/// As [`forward`], with `offset` added to the weight: 1 where files hold the weight's distance from 1.
///
/// # Errors
/// As [`forward`]; an offset that is not finite.
pub fn forward_offset(
    recorder: &mut Recorder,
    (eps, offset): (f32, f32),
    x: &Tensor,
    weight: &Tensor,
    y: &Tensor,
) -> Result<()> {
    norm::forward(recorder, &SPEC, (eps, offset), (x, &[("weight", weight)], y))
}

/// Records the gradients: `dx` `[n, d]`, added to what is there if told so, and `dweight` `[1, d]`, always added; `x` and
/// `weight` are the forward's. Nothing is cached: the rows' scalars are computed again.
///
/// # Errors
/// As [`forward`]; no memory for 16 bytes a row.
pub fn backward(
    recorder: &mut Recorder,
    eps: f32,
    x: &Tensor,
    weight: &Tensor,
    dy: &Tensor,
    (dx, accumulate_dx): (&Tensor, bool),
    dweight: Option<&Tensor>,
) -> Result<()> {
    backward_offset(recorder, (eps, 0.0), x, weight, dy, (dx, accumulate_dx), dweight)
}

/// As [`backward`], of [`forward_offset`].
///
/// # Errors
/// As [`backward`]; an offset that is not finite.
pub fn backward_offset(
    recorder: &mut Recorder,
    (eps, offset): (f32, f32),
    x: &Tensor,
    weight: &Tensor,
    dy: &Tensor,
    dx: (&Tensor, bool),
    dweight: Option<&Tensor>,
) -> Result<()> {
    norm::backward(recorder, Kind::Rms, (eps, offset), (x, weight, dy), dx, dweight)
}
