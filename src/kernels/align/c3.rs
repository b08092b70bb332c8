//! C3 (arXiv 2401.08567): `P(u + b + sigma g)` with `u` the unit row, `b = mu_x - mu_y` and `g` standard normal.
//!
//! The noise of an element depends on the seed, the row's index in the data set and the column alone (Philox 4x32-10 and
//! Box-Muller), so that it is the same up to rounding on every device and for every chunking.
//!
//! Bytes: one read and one write of the rows. FLOPs: about 60 per element, twice the noise where a row does not stay in registers, else 35.

use super::super::{
    Binding, KernelSpec, RowShape, check_device, check_rows, check_same_shape, record_in_parts, row_variant,
};
use crate::device::{Buffer, Dispatch, Recorder, Tensor};
use crate::host::align::c3::Params;
use crate::spec::in_range;
use crate::spec::shader::source;
use crate::{Error, Result};

/// The kernel.
pub static SPEC: KernelSpec = KernelSpec::new(
    "c3",
    source!("align/c3.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::texels(1, "rows"),
        Binding::texels(2, "vectors"),
        Binding::read_write(4, "out_rows"),
        Binding::read_write(5, "status"),
    ],
    crate::host::align::c3::twin,
)
.with_grid()
.with_overrides(&["GROUP", "LANES", "SUBGROUP", "HELD", "WHOLE"])
.trusted(in_range::ROWS);

/// The noise of a C3 operator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// Standard deviation per component, before the projection.
    pub sigma: f64,
    /// Key of the generator.
    pub seed: u64,
}

/// Records C3 on the first `rows` rows of `input`; `shift` holds `b` as f32, padded to a multiple of 4; `first_row` is
/// the index in the data set of the tensor's first row. Otherwise as [`super::apply::record`].
///
/// # Errors
/// Shapes that differ, more rows than the tensors have, operands of another device.
pub fn record(
    recorder: &mut Recorder,
    (shift, noise, first_row): (&Buffer, Noise, u64),
    input: &Tensor,
    output: &Tensor,
    rows: usize,
    (status, row_base): (&Buffer, u32),
) -> Result<()> {
    check_rows("c3", input, rows)?;
    check_same_shape("c3", input, output)?;
    check_device("c3", recorder.device(), &[input, output])?;
    if shift.bytes() != (input.width4() * 16) as u64 {
        return Err(Error::shape("c3", "shift", format!("{} bytes", input.width4() * 16), shift.bytes()));
    }
    if rows == 0 {
        return Ok(());
    }
    let shape = RowShape::of(recorder.device().capabilities(), input.width4());
    let params = Params {
        rows: rows as u32,
        width: input.width() as u32,
        width4: input.width4() as u32,
        row_base,
        first_row: words(first_row),
        seed: words(noise.seed),
        sigma: noise.sigma as f32,
        padding: [0; 3],
    };
    let groups = [shape.groups(rows), 1, 1];
    let elements = (input.element_type(), output.element_type());
    let variant = row_variant(recorder.device(), elements, shape, &[], &[])?;
    let dispatch =
        Dispatch::new(&SPEC).variant(variant).params(&params).elements(elements.0, elements.1).groups(groups);
    record_in_parts(recorder, dispatch.buffers([input.buffer(), shift, output.buffer(), status]))
}

fn words(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}
