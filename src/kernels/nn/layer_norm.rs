//! LayerNorm: `y = (x - mean(x)) w / √(var(x) + ε) + b`, row by row, sums in f32, the variance about the mean.
//!
//! Bytes: forward 8 per element (16 where a row is too wide for a workgroup's registers and leaves the caches between its three
//! passes), backward 12, and 8 more for the weight (24 to 32 in three dispatches). FLOPs: 8 and 18.

use super::super::{Binding, KernelSpec};
use super::bias;
use super::norm::{self, Kind};
use crate::Result;
use crate::device::{Recorder, Tensor};
use crate::spec::in_range;
use crate::spec::shader::source;

/// The forward kernel.
pub static SPEC: KernelSpec = KernelSpec::new(
    "layer norm",
    source!("nn/layer_norm.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::texels(1, "operand1"),
        Binding::texels(2, "operand2"),
        Binding::texels(3, "operand3"),
        Binding::read_write(4, "result4"),
    ],
    crate::host::nn::norm::layer_twin,
)
.with_grid()
.with_overrides(&["GROUP", "LANES", "SUBGROUP", "HELD", "WHOLE"])
.trusted(in_range::ROWS);

/// Records the normalisation of `x`, `[n, d]`, to `y`, `[n, d]`; `weight` and `bias` are `[1, d]`, all f32; `eps` is above 0.
///
/// # Errors
/// Shapes that differ, other element types, `y` the memory of an operand, another device's tensors, an `eps` that is not
/// above 0.
pub fn forward(
    recorder: &mut Recorder,
    eps: f32,
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    y: &Tensor,
) -> Result<()> {
    norm::forward(recorder, &SPEC, (eps, 0.0), (x, &[("weight", weight), ("bias", bias)], y))
}

/// Records the gradients: `dx` `[n, d]`, added to what is there if told so, `dweight` and `dbias` `[1, d]`, always added; `x`
/// and `weight` are the forward's. Nothing is cached: the rows' scalars are computed again.
///
/// # Errors
/// As [`forward`]; no memory for 16 bytes a row.
#[expect(clippy::too_many_arguments, reason = "three gradients of three inputs")]
pub fn backward(
    recorder: &mut Recorder,
    eps: f32,
    x: &Tensor,
    weight: &Tensor,
    dy: &Tensor,
    (dx, accumulate_dx): (&Tensor, bool),
    dweight: Option<&Tensor>,
    dbias: Option<&Tensor>,
) -> Result<()> {
    norm::backward(recorder, Kind::Layer, (eps, 0.0), (x, weight, dy), (dx, accumulate_dx), dweight)?;
    match dbias {
        Some(dbias) => bias::backward(recorder, dy, dbias, true),
        None => Ok(()),
    }
}
