//! Row L2-normalisation: `u = e / |e|` [spec 1; paper section 3], overflow-safe; a row of norm below 1e-10 becomes zero.
//!
//! Bytes: one read and one write of the rows. FLOPs: 3 per element.

use bytemuck::{Pod, Zeroable};

use super::super::{
    Binding, KernelSpec, check_device, check_rows, check_same_shape, groups, imports, record_in_parts, team_constants,
};
use crate::Result;
use crate::device::{Buffer, Dispatch, Recorder, Tensor};

/// The kernel.
pub static SPEC: KernelSpec = KernelSpec {
    name: "normalize",
    source: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/stats/normalize.wgsl")),
    bindings: &[
        Binding::uniform("params"),
        Binding::texels(1, "rows"),
        Binding::read_write(4, "out_rows"),
        Binding::read_write(5, "status"),
    ],
    twin: crate::host::stats::normalize::twin,
};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub rows: u32,
    pub width4: u32,
    pub row_base: u32,
    pub padding: u32,
}

/// Records `output[i] = input[i] / |input[i]|` for the first `rows` rows.
///
/// `input` and `output` are `[n, d]` of any device element type; sums are f32. `status` is a
/// [`super::super::align::apply::status_buffer`]: a row with a NaN or an infinity is reported there.
///
/// # Errors
/// Shapes that differ, more rows than the tensors have, operands of another device.
pub fn record(recorder: &mut Recorder, input: &Tensor, output: &Tensor, rows: usize, status: &Buffer) -> Result<()> {
    check_rows("normalize", input, rows)?;
    check_same_shape("normalize", input, output)?;
    check_device("normalize", recorder.device(), &[input, output])?;
    if rows == 0 {
        return Ok(());
    }
    let caps = recorder.device().capabilities();
    let params = Params { rows: rows as u32, width4: input.width4() as u32, row_base: 0, padding: 0 };
    let dispatch = Dispatch {
        kernel: &SPEC,
        imports: imports(caps, input.element_type(), output.element_type())?,
        constants: team_constants(caps),
        params: bytemuck::bytes_of(&params).to_vec(),
        buffers: vec![input.buffer().clone(), output.buffer().clone(), status.clone()],
        elements: (input.element_type(), output.element_type()),
        groups: [groups(rows.div_ceil(caps.teams())), 1, 1],
        part: None,
    };
    record_in_parts(recorder, dispatch)
}
