//! Sums, multiples and other element types, element by element.
//!
//! Bytes: `add` 12 per element, `cast` 6, `scale` 8. One FLOP per element.

use super::super::{
    Binding, KernelSpec, Work, check_float_matrix, check_index, check_matrix, check_written, halves_of,
};
use crate::device::{Recorder, Tensor};
use crate::host::nn::elementwise::{AddParams, CastParams, ScaleParams};
use crate::spec::in_range;
use crate::spec::shader::source;
use crate::{Error, Result};

/// Adds a matrix.
pub static ADD: KernelSpec = KernelSpec::new(
    "add",
    source!("nn/add.wgsl"),
    &[Binding::uniform("params"), Binding::read(1, "x"), Binding::read_write(2, "y")],
    crate::host::nn::elementwise::add_twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::ELEMENTS);

/// Rounds to another element type.
pub static CAST: KernelSpec = KernelSpec::new(
    "cast",
    source!("nn/cast.wgsl"),
    &[Binding::uniform("params"), Binding::read(1, "operand1"), Binding::read_write(2, "result2")],
    crate::host::nn::elementwise::cast_twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::ELEMENTS);

/// Multiplies by a number.
pub static SCALE: KernelSpec = KernelSpec::new(
    "scale",
    source!("nn/scale.wgsl"),
    &[Binding::uniform("params"), Binding::read_write(1, "y")],
    crate::host::nn::elementwise::scale_twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::ELEMENTS);

/// Records `y += x`, both `[n, d]` f32.
///
/// # Errors
/// Shapes that differ, other element types, one memory for both, another device's tensors.
pub fn add(recorder: &mut Recorder, x: &Tensor, y: &Tensor) -> Result<()> {
    for tensor in [("x", x), ("y", y)] {
        check_matrix(recorder, "add", tensor, (y.rows(), y.width()))?;
    }
    let buffers = [x.buffer(), y.buffer()];
    check_written("add", &buffers, 1)?;
    let count = check_index("add", y)?;
    if count == 0 {
        return Ok(());
    }
    let params = AddParams { count };
    Work { kernel: &ADD, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }
        .elements(recorder, count as usize)
}

/// Records `y = x`, both `[n, d]`, each f32 or f16, rounded to nearest even; what f16 cannot hold becomes infinite.
///
/// # Errors
/// Shapes that differ, other element types, one memory for both, another device's tensors.
pub fn cast(recorder: &mut Recorder, x: &Tensor, y: &Tensor) -> Result<()> {
    for tensor in [("x", x), ("y", y)] {
        check_float_matrix(recorder, CAST.name, tensor, (y.rows(), y.width()))?;
    }
    let buffers = [x.buffer(), y.buffer()];
    check_written(CAST.name, &buffers, 1)?;
    let count = check_index(CAST.name, y)?;
    if count == 0 {
        return Ok(());
    }
    let params = CastParams { count };
    Work { kernel: &CAST, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }.elements_halves(
        recorder,
        count as usize,
        halves_of([x, y]),
    )
}

/// Records `y *= factor`, `[n, d]` f32.
///
/// # Errors
/// A factor that is not finite, another element type, another device's tensor.
pub fn scale(recorder: &mut Recorder, factor: f32, y: &Tensor) -> Result<()> {
    if !factor.is_finite() {
        return Err(Error::argument("factor", format!("{factor}; give a finite factor")));
    }
    check_matrix(recorder, "scale", ("y", y), (y.rows(), y.width()))?;
    let count = check_index("scale", y)?;
    if count == 0 {
        return Ok(());
    }
    let params = ScaleParams { count, factor };
    Work { kernel: &SCALE, params: bytemuck::bytes_of(&params), buffers: &[y.buffer()], constants: &[] }
        .elements(recorder, count as usize)
}
