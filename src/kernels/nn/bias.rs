//! Gradient of a bias: column sums, in f32, rows in a fixed order.
//!
//! Bytes: one read of dy. One FLOP per element.

use bytemuck::{Pod, Zeroable};

use super::super::{Binding, KernelSpec, Work, check_index, check_matrix, check_written};
use crate::Result;
use crate::device::{Recorder, Tensor};

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
    pub rows: u32,
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
    let params = Params { rows: dy.rows() as u32, width4: dy.width4() as u32, accumulate: u32::from(accumulate) };
    Work { kernel: &SPEC, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }
        .teams(recorder, dy.width4())
}
