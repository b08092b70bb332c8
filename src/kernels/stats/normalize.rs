//! Row L2-normalisation: `u = e / |e|` [spec 1; paper section 3], overflow-safe; a row of norm below 1e-10 becomes zero.
//!
//! Bytes: one read and one write of the rows. FLOPs: 3 per element.

use super::super::{
    Binding, KernelSpec, RowShape, check_device, check_rows, check_same_shape, record_in_parts, row_variant,
};
use crate::Result;
use crate::device::{Buffer, Dispatch, Recorder, Tensor};
use crate::host::stats::normalize::Params;
use crate::spec::in_range;
use crate::spec::shader::source;

/// The kernel.
pub static SPEC: KernelSpec = KernelSpec::new(
    "normalize",
    source!("stats/normalize.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::texels(1, "rows"),
        Binding::read_write(4, "out_rows"),
        Binding::read_write(5, "status"),
    ],
    crate::host::stats::normalize::twin,
)
.with_grid()
.with_overrides(&["GROUP", "LANES", "SUBGROUP", "HELD", "WHOLE"])
.trusted(in_range::ROWS);

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
    let shape = RowShape::of(recorder.device().capabilities(), input.width4());
    let params = Params { rows: rows as u32, width4: input.width4() as u32, row_base: 0, padding: 0 };
    let groups = [shape.groups(rows), 1, 1];
    let elements = (input.element_type(), output.element_type());
    let variant = row_variant(recorder.device(), elements, shape, &[], &[])?;
    let dispatch =
        Dispatch::new(&SPEC).variant(variant).params(&params).elements(elements.0, elements.1).groups(groups);
    record_in_parts(recorder, dispatch.buffers([input.buffer(), output.buffer(), status]))
}
