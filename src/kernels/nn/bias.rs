//! Gradient of a bias: column sums, in f32, rows in a fixed order.
//!
//! Bytes: one read of dy. One FLOP per element.

use bytemuck::{Pod, Zeroable};

use super::super::{Binding, KernelSpec, TURNS, Work, check_index, check_matrix, check_written};
use crate::Result;
use crate::device::{Buffer, DeviceKind, Recorder, Tensor};

/// The kernel.
pub static SPEC: KernelSpec = KernelSpec {
    name: "bias backward",
    source: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/nn/bias_backward.wgsl")),
    bindings: &[Binding::uniform("params"), Binding::texels(1, "operand1"), Binding::read_write(2, "sums")],
    twin: crate::host::nn::bias::twin,
};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub first: u32,
    pub end: u32,
    pub width4: u32,
    pub accumulate: u32,
}

/// Records `dbias = Σ_rows dy`, or `+=`; `dy` `[n, d]`, `dbias` `[1, d]`, f32. Without rows the sum is zero.
///
/// # Errors
/// Shapes that do not fit, other element types, one memory for both, another device's tensors.
pub fn backward(recorder: &mut Recorder, dy: &Tensor, dbias: &Tensor, accumulate: bool) -> Result<()> {
    check_matrix(recorder, SPEC.name, ("dy", dy), (dy.rows(), dy.width()))?;
    check_matrix(recorder, SPEC.name, ("dbias", dbias), (1, dy.width()))?;
    check_index(SPEC.name, dy)?;
    let buffers = [dy.buffer(), dbias.buffer()];
    check_written(SPEC.name, &buffers, 1)?;
    if dy.rows() == 0 {
        if !accumulate {
            recorder.clear(dbias.buffer());
        }
        return Ok(());
    }
    record_columns(recorder, &SPEC, dy, &buffers, accumulate)
}

/// A kernel that sums over the rows of `dy`, in as many dispatches as keep its loops short.
pub(super) fn record_columns(
    recorder: &mut Recorder,
    kernel: &'static KernelSpec,
    dy: &Tensor,
    buffers: &[&Buffer],
    accumulate: bool,
) -> Result<()> {
    let caps = recorder.device().capabilities();
    // The host's sum is one call: its order must not depend on the cut.
    let part = if caps.kind == DeviceKind::Host { dy.rows() } else { TURNS / 2 * caps.lanes as usize };
    for first in (0..dy.rows()).step_by(part.max(1)) {
        let params = Params {
            first: first as u32,
            end: dy.rows().min(first + part) as u32,
            width4: dy.width4() as u32,
            accumulate: u32::from(accumulate || first > 0),
        };
        Work { kernel, params: bytemuck::bytes_of(&params), buffers, constants: &[] }.teams(recorder, dy.width4())?;
    }
    Ok(())
}
