//! The norm of the gradient over all tensors, and the factor that clips it.
//!
//! Each tensor leaves [`SLOT`] partial sums in a slot of its own, in f32 and a fixed order; [`clip`] adds them up. Bytes: 4 per
//! element, 8 loads of 16 bytes in flight to an invocation of a GPU. FLOPs: 2 per element.

use super::super::{
    Binding, FLOATS, KernelSpec, RowShape, Work, check_index, check_matrix, check_words, check_written,
};
use crate::device::{Buffer, Device, Recorder, Tensor};
use crate::host::optim::norm::{ClipParams, SquareSumParams};
use crate::spec::in_range;
use crate::spec::shader::source;
use crate::{Error, Result};

/// Partial sums of squares.
pub static SQUARE_SUM: KernelSpec = KernelSpec::new(
    "square sum",
    source!("optim/square_sum.wgsl"),
    &[Binding::uniform("params"), Binding::texels(1, "operand1"), Binding::read_write(2, "partials")],
    crate::host::optim::norm::square_sum_twin,
)
.with_grid()
.with_overrides(&["GROUP", "LANES", "SUBGROUP", "HELD"])
.trusted(in_range::ROWS);

/// The factor.
pub static CLIP: KernelSpec = KernelSpec::new(
    "clip",
    source!("optim/clip.wgsl"),
    &[Binding::uniform("params"), Binding::texels(1, "operand1"), Binding::read_write(2, "out")],
    crate::host::optim::norm::clip_twin,
)
.with_grid()
.with_overrides(&["GROUP", "LANES", "SUBGROUP", "HELD"])
.trusted(in_range::ROWS);

/// Partial sums of a slot: on a GPU a workgroup leaves each, enough to keep a large one busy.
pub const SLOT: usize = 512;

/// A buffer for the partial sums of `slots` tensors.
///
/// # Errors
/// No memory.
pub fn partials(device: &Device, slots: usize) -> Result<Buffer> {
    device.buffer("partial sums of squares", (4 * SLOT * slots.max(1)) as u64)
}

/// Records the partial sums of squares of `g`, f32 of any shape, into slot `slot` of `partials`, made by [`partials`]; without rows the
/// slot is left alone.
///
/// # Errors
/// A slot beyond the buffer, another element type, another device's tensor.
pub fn square_sum(recorder: &mut Recorder, g: &Tensor, partials: &Buffer, slot: usize) -> Result<()> {
    let name = SQUARE_SUM.name;
    check_matrix(recorder, name, ("g", g), (g.rows(), g.width()))?;
    check_words(recorder, name, ("partials", partials), slot.saturating_add(1).saturating_mul(SLOT))?;
    let buffers = [g.buffer(), partials];
    check_written(name, &buffers, 1)?;
    let count = check_index(name, g)?;
    if count == 0 {
        return Ok(());
    }
    let shape = RowShape::largest(recorder.device().capabilities());
    let params = SquareSumParams { count, first: (slot * SLOT) as u32, teams: SLOT as u32 };
    Work { kernel: &SQUARE_SUM, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }
        .check_iterations(recorder, count as usize / SLOT)?
        .shaped(recorder, [shape.groups(SLOT), 1, 1], (FLOATS, 0), (shape, &[]))
}

/// Records `out`, f32 `[2]`: the factor for the gradient and its norm, both after the factor `base_scale` (1 / tokens, 1 /
/// accumulated batches). The factor is `base_scale`, times `max_norm / (norm + 1e-6)` where that is below 1, as in PyTorch. A norm
/// that is not finite stays visible in `out[1]`, and the factor is then 0.
///
/// # Errors
/// A `max_norm` or `base_scale` that is not finite and above 0; buffers too small, or another device's.
pub fn clip(
    recorder: &mut Recorder,
    partials: &Buffer,
    max_norm: Option<f32>,
    base_scale: f32,
    out: &Buffer,
) -> Result<()> {
    for (name, value) in [("max_norm", max_norm.unwrap_or(1.0)), ("base_scale", base_scale)] {
        if !(value.is_finite() && value > 0.0) {
            return Err(Error::argument(name, format!("{value}; wants a finite number above 0")));
        }
    }
    check_words(recorder, CLIP.name, ("partials", partials), SLOT)?;
    check_words(recorder, CLIP.name, ("out", out), 2)?;
    let buffers = [partials, out];
    check_written(CLIP.name, &buffers, 1)?;
    let params =
        ClipParams { count: (partials.bytes() / 16) as u32, base: base_scale, max_norm: max_norm.unwrap_or(0.0) };
    let shape = RowShape::largest(recorder.device().capabilities());
    Work { kernel: &CLIP, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }
        .check_iterations(recorder, params.count as usize)?
        .shaped(recorder, [1, 1, 1], (FLOATS, 0), (shape, &[]))
}
