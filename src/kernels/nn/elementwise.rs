//! Sums, multiples and other element types, element by element.
//!
//! Bytes: `add` and `add_scaled` 12 per element, `cast` 6, `scale` and `split_heads` 8. One FLOP per element, `add_scaled` two.

use super::super::{
    Binding, KernelSpec, Work, check_float_matrix, check_index, check_matrix, check_written, halves_of,
};
use crate::device::{Recorder, Tensor};
use crate::host::nn::elementwise::{AddParams, CastParams, HeadsParams, ScaleParams};
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

/// Adds a multiple of a matrix to another.
pub static ADD_SCALED: KernelSpec = KernelSpec::new(
    "add scaled",
    source!("nn/add_scaled.wgsl"),
    &[Binding::uniform("params"), Binding::read(1, "x"), Binding::read(2, "y"), Binding::read_write(3, "z")],
    crate::host::nn::elementwise::add_scaled_twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::ELEMENTS);

/// Gives each head a row of its own, or brings heads together again.
pub static HEADS: KernelSpec = KernelSpec::new(
    "heads",
    source!("nn/heads.wgsl"),
    &[Binding::uniform("params"), Binding::read(1, "operand1"), Binding::read_write(2, "result2")],
    crate::host::nn::elementwise::heads_twin,
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

/// Records `z = x + factor y`, all `[n, d]` f32.
///
/// # Errors
/// Shapes that differ, other element types, `z` the memory of an operand, a factor that is not finite, another device's tensors.
pub fn add_scaled(recorder: &mut Recorder, x: &Tensor, factor: f32, y: &Tensor, z: &Tensor) -> Result<()> {
    check_factor(factor)?;
    for tensor in [("x", x), ("y", y), ("z", z)] {
        check_matrix(recorder, ADD_SCALED.name, tensor, (z.rows(), z.width()))?;
    }
    let buffers = [x.buffer(), y.buffer(), z.buffer()];
    check_written(ADD_SCALED.name, &buffers, 1)?;
    let count = check_index(ADD_SCALED.name, z)?;
    if count == 0 {
        return Ok(());
    }
    let params = ScaleParams { count, factor };
    Work { kernel: &ADD_SCALED, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }
        .elements(recorder, count as usize)
}

/// Records the move of rows `x` of `heads` heads, `[n, heads * width]`, to a row for each, `y` `[n * heads, width]`; each f32 or f16. The width
/// is even.
///
/// # Errors
/// Shapes that do not fit, other element types, one memory for both, another device's tensors.
pub fn split_heads(recorder: &mut Recorder, heads: usize, x: &Tensor, y: &Tensor) -> Result<()> {
    record_heads(recorder, heads, (x, y), true)
}

/// Records the move of rows of single heads, `x` `[n * heads, width]`, to rows of `heads` heads, `y` `[n, heads * width]`; as [`split_heads`]
/// otherwise.
///
/// # Errors
/// As [`split_heads`].
pub fn join_heads(recorder: &mut Recorder, heads: usize, x: &Tensor, y: &Tensor) -> Result<()> {
    record_heads(recorder, heads, (x, y), false)
}

fn record_heads(recorder: &mut Recorder, heads: usize, (x, y): (&Tensor, &Tensor), split: bool) -> Result<()> {
    let (together, apart) = if split { (x, y) } else { (y, x) };
    let width = apart.width();
    if heads == 0 || !width.is_multiple_of(2) {
        let got = format!("{heads} heads of {width} elements");
        return Err(Error::shape(HEADS.name, "heads", "at least one, of an even width", got));
    }
    let whole = (together.rows(), heads.saturating_mul(width));
    check_float_matrix(recorder, HEADS.name, ("rows of heads", together), whole)?;
    check_float_matrix(recorder, HEADS.name, ("heads", apart), (together.rows().saturating_mul(heads), width))?;
    let buffers = [x.buffer(), y.buffer()];
    check_written(HEADS.name, &buffers, 1)?;
    check_index(HEADS.name, x)?;
    let count = check_index(HEADS.name, y)?;
    if count == 0 {
        return Ok(());
    }
    let params = HeadsParams {
        count,
        heads: heads as u32,
        width: width as u32,
        apart4: apart.width4() as u32,
        together4: together.width4() as u32,
        split: split.into(),
    };
    Work { kernel: &HEADS, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }.elements_halves(
        recorder,
        count as usize,
        halves_of([x, y]),
    )
}

fn check_factor(factor: f32) -> Result<()> {
    match factor.is_finite() {
        true => Ok(()),
        false => Err(Error::argument("factor", format!("{factor}; give a finite factor"))),
    }
}

/// Records `y = x`, both `[n, d]`, each f32 or f16, rounded to nearest even; what f16 cannot hold becomes infinite.
///
/// # Errors
/// Shapes that differ, other element types, one memory for both, another device's tensors.
pub fn cast(recorder: &mut Recorder, x: &Tensor, y: &Tensor) -> Result<()> {
    check_float_matrix(recorder, CAST.name, ("x", x), (y.rows(), y.width()))?;
    cast_rows(recorder, x, (y, 0))
}

/// Records `y = factor x`, as [`cast`] otherwise.
///
/// # Errors
/// As [`cast`]; a factor that is not finite.
pub fn cast_scaled(recorder: &mut Recorder, factor: f32, x: &Tensor, y: &Tensor) -> Result<()> {
    check_factor(factor)?;
    check_float_matrix(recorder, CAST.name, ("x", x), (y.rows(), y.width()))?;
    record_cast(recorder, factor, x, (y, 0))
}

/// [`cast`] to the rows of `y` from `first` on, as many as `x` has.
///
/// # Errors
/// As [`cast`]; `y` has fewer rows.
pub fn cast_rows(recorder: &mut Recorder, x: &Tensor, (y, first): (&Tensor, usize)) -> Result<()> {
    record_cast(recorder, 1.0, x, (y, first))
}

fn record_cast(recorder: &mut Recorder, factor: f32, x: &Tensor, (y, first): (&Tensor, usize)) -> Result<()> {
    check_float_matrix(recorder, CAST.name, ("x", x), (x.rows(), y.width()))?;
    check_float_matrix(recorder, CAST.name, ("y", y), (y.rows(), y.width()))?;
    if first.checked_add(x.rows()).is_none_or(|end| end > y.rows()) {
        return Err(Error::shape(CAST.name, "y", format!("{} rows from {first} on", x.rows()), y.rows()));
    }
    let buffers = [x.buffer(), y.buffer()];
    check_written(CAST.name, &buffers, 1)?;
    check_index(CAST.name, y)?;
    let count = check_index(CAST.name, x)?;
    if count == 0 {
        return Ok(());
    }
    let params = CastParams { count, first: (first * y.width4()) as u32, factor };
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
    check_factor(factor)?;
    check_matrix(recorder, "scale", ("y", y), (y.rows(), y.width()))?;
    let count = check_index("scale", y)?;
    if count == 0 {
        return Ok(());
    }
    let params = ScaleParams { count, factor };
    Work { kernel: &SCALE, params: bytemuck::bytes_of(&params), buffers: &[y.buffer()], constants: &[] }
        .elements(recorder, count as usize)
}
