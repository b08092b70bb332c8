//! What RMSNorm and LayerNorm share. The gradient takes one dispatch and another for the weight's where a GPU's workgroup holds a row of x and
//! of dy in its registers ([`ROWS`]: 8,192 columns); else three: first the rows' scalars, which all later ones need, then elements, each on its own.

use super::super::{
    Binding, KernelSpec, RowShape, Work, check_float_matrix, check_index, check_matrix, check_written, halves_of,
};
use crate::device::{Buffer, Recorder, Tensor};
use crate::host::nn::norm::{BackwardParams, Params, RowsParams, ScalarsParams};
use crate::spec::in_range;
use crate::spec::shader::source;
use crate::{Error, Result};

/// The rows' scalars: mean, 1 / √(mean square + ε), and two means of the gradient.
pub static SCALARS: KernelSpec = KernelSpec::new(
    "norm scalars",
    source!("nn/norm_scalars.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::texels(1, "operand1"),
        Binding::texels(2, "operand2"),
        Binding::texels(3, "operand3"),
        Binding::read_write(4, "scalars"),
    ],
    crate::host::nn::norm::scalars_twin,
)
.with_grid()
.with_overrides(&["GROUP", "LANES", "SUBGROUP", "HELD", "WHOLE", "CENTER"])
.trusted(in_range::ROWS);

/// The gradient by the input.
pub static BACKWARD: KernelSpec = KernelSpec::new(
    "norm backward",
    source!("nn/norm_backward.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::read(1, "x"),
        Binding::read(2, "weight"),
        Binding::read(3, "dy"),
        Binding::read(4, "scalars"),
        Binding::read_write(5, "dx"),
    ],
    crate::host::nn::norm::backward_twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::ELEMENTS);

/// The rows' scalars and the gradient by the input at once, of rows that a team holds.
pub static ROWS: KernelSpec = KernelSpec::new(
    "norm row backward",
    source!("nn/norm_row_backward.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::texels(1, "operand1"),
        Binding::texels(2, "operand2"),
        Binding::texels(3, "operand3"),
        Binding::read_write(4, "scalars"),
        Binding::read_write(5, "dx"),
    ],
    crate::host::nn::norm::rows_twin,
)
.with_grid()
.with_overrides(&["GROUP", "LANES", "SUBGROUP", "HELD", "WHOLE", "CENTER"])
.trusted(in_range::ROWS);

/// The gradient by the weight.
pub static WEIGHT: KernelSpec = KernelSpec::new(
    "norm weight backward",
    source!("nn/norm_weight_backward.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::texels(1, "operand1"),
        Binding::texels(2, "operand2"),
        Binding::texels(3, "operand3"),
        Binding::read_write(4, "sums"),
    ],
    crate::host::nn::norm::weight_twin,
)
.with_grid()
.with_overrides(&["GROUP", "LANES"])
.trusted(in_range::COLUMNS);

/// About what the mean square is taken.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// Zero.
    Rms,
    /// The mean.
    Layer,
}

fn check_eps(eps: f32, offset: f32) -> Result<()> {
    if !offset.is_finite() {
        return Err(Error::argument("offset", format!("{offset}; give a finite number, such as 0 or 1")));
    }
    match eps.is_finite() && eps > 0.0 {
        true => Ok(()),
        false => Err(Error::argument("eps", format!("{eps}; give a number above 0, such as 1e-5"))),
    }
}

pub(super) fn forward(
    recorder: &mut Recorder,
    kernel: &'static KernelSpec,
    (eps, offset): (f32, f32),
    (x, vectors, y): (&Tensor, &[(&'static str, &Tensor)], &Tensor),
) -> Result<()> {
    check_eps(eps, offset)?;
    check_matrix(recorder, kernel.name, ("x", x), (x.rows(), x.width()))?;
    check_float_matrix(recorder, kernel.name, ("y", y), (x.rows(), x.width()))?;
    for &vector in vectors {
        check_matrix(recorder, kernel.name, vector, (1, x.width()))?;
    }
    let mut buffers = vec![x.buffer()];
    buffers.extend(vectors.iter().map(|(_, t)| t.buffer()));
    buffers.push(y.buffer());
    check_written(kernel.name, &buffers, 1)?;
    if check_index(kernel.name, x)? == 0 {
        return Ok(());
    }
    let params = Params { rows: x.rows() as u32, width: x.width() as u32, width4: x.width4() as u32, eps, offset };
    let halves = halves_of([y]) << (buffers.len() - 1);
    Work { kernel, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }.rows_halves(
        recorder,
        (x.rows(), x.width4()),
        halves,
    )
}

pub(super) fn backward(
    recorder: &mut Recorder,
    kind: Kind,
    (eps, offset): (f32, f32),
    (x, weight, dy): (&Tensor, &Tensor, &Tensor),
    (dx, accumulate_dx): (&Tensor, bool),
    dweight: Option<&Tensor>,
) -> Result<()> {
    check_eps(eps, offset)?;
    let name = BACKWARD.name;
    for tensor in [("x", x), ("dy", dy), ("dx", dx)] {
        check_matrix(recorder, name, tensor, (x.rows(), x.width()))?;
    }
    for tensor in [("weight", weight)].into_iter().chain(dweight.map(|d| ("dweight", d))) {
        check_matrix(recorder, name, tensor, (1, x.width()))?;
    }
    let operands = [x.buffer(), weight.buffer(), dy.buffer(), dx.buffer()];
    check_written(name, &operands, 1)?;
    let count = check_index(name, x)?;
    if count == 0 {
        return Ok(());
    }
    let scalars = recorder.device().buffer("row scalars of a normalisation", 16 * x.rows() as u64)?;
    if RowShape::of(recorder.device().capabilities(), x.width4()).whole {
        record_rows(recorder, kind, (eps, offset), (x, weight, dy), &scalars, (dx, accumulate_dx))?;
    } else {
        record_scalars(recorder, kind, (eps, offset), (x, weight, dy), &scalars)?;
        let (width, width4) = (x.width() as u32, x.width4() as u32);
        let params = BackwardParams { count, width, width4, accumulate: u32::from(accumulate_dx), offset };
        let buffers = [x.buffer(), weight.buffer(), dy.buffer(), &scalars, dx.buffer()];
        Work { kernel: &BACKWARD, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }
            .elements(recorder, count as usize)?;
    }
    let Some(dweight) = dweight else { return Ok(()) };
    let buffers = [x.buffer(), dy.buffer(), &scalars, dweight.buffer()];
    check_written(name, &buffers, 1)?;
    super::bias::record_columns(recorder, &WEIGHT, (dy.rows(), dy.width4()), &buffers, true)
}

/// Scalars and gradient in one dispatch, of rows that a team holds.
fn record_rows(
    recorder: &mut Recorder,
    kind: Kind,
    (eps, offset): (f32, f32),
    (x, weight, dy): (&Tensor, &Tensor, &Tensor),
    scalars: &Buffer,
    (dx, accumulate): (&Tensor, bool),
) -> Result<()> {
    let center = u32::from(kind == Kind::Layer);
    let (rows, width, width4) = (x.rows() as u32, x.width() as u32, x.width4() as u32);
    let params = RowsParams { rows, width, width4, eps, center, accumulate: u32::from(accumulate), offset };
    let buffers = [x.buffer(), weight.buffer(), dy.buffer(), scalars, dx.buffer()];
    let constants = [("CENTER", f64::from(center))];
    Work { kernel: &ROWS, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &constants }.rows(
        recorder,
        x.rows(),
        x.width4(),
    )
}

fn record_scalars(
    recorder: &mut Recorder,
    kind: Kind,
    (eps, offset): (f32, f32),
    (x, weight, dy): (&Tensor, &Tensor, &Tensor),
    scalars: &Buffer,
) -> Result<()> {
    let center = u32::from(kind == Kind::Layer);
    let (rows, width, width4) = (x.rows() as u32, x.width() as u32, x.width4() as u32);
    let params = ScalarsParams { rows, width, width4, eps, center, offset };
    let buffers = [x.buffer(), weight.buffer(), dy.buffer(), scalars];
    let constants = [("CENTER", f64::from(center))];
    Work { kernel: &SCALARS, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &constants }.rows(
        recorder,
        x.rows(),
        x.width4(),
    )
}
