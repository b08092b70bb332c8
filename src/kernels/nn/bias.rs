//! Gradient of a bias: column sums, in f32, rows in a fixed order: on a GPU in slices of rows, whose sums are then added up, so that a
//! few columns of many rows keep all of it busy.
//!
//! Bytes: one read of dy. One FLOP per element.

use super::super::{
    Binding, KernelSpec, MAX_ITERATIONS, Work, check_float_matrix, check_index, check_matrix, check_written, grid,
    halves_of,
};
use crate::device::{Buffer, DeviceKind, Recorder, Tensor};
use crate::host::nn::bias::Params;
use crate::spec::in_range;
use crate::spec::shader::source;
use crate::{ElementType, Result};

/// The kernel.
pub static SPEC: KernelSpec = KernelSpec::new(
    "bias backward",
    source!("nn/bias_backward.wgsl"),
    &[Binding::uniform("params"), Binding::texels(1, "operand1"), Binding::read_write(2, "sums")],
    crate::host::nn::bias::twin,
)
.with_grid()
.with_overrides(&["GROUP", "LANES"])
.trusted(in_range::COLUMNS);

/// Records `dbias = Σ_rows dy`, or `+=`; `dy` `[n, d]` f32 or f16, `dbias` `[1, d]` f32. Without rows the sum is zero.
///
/// # Errors
/// Shapes that do not fit, other element types, one memory for both, another device's tensors.
pub fn backward(recorder: &mut Recorder, dy: &Tensor, dbias: &Tensor, accumulate: bool) -> Result<()> {
    check_float_matrix(recorder, SPEC.name, ("dy", dy), (dy.rows(), dy.width()))?;
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
    record_typed_columns(recorder, &SPEC, (dy.rows(), dy.width4()), (&buffers, halves_of([dy])), accumulate)
}

/// Workgroups that are enough for a large GPU, and the rows that are worth one.
const ENOUGH: usize = 512;
const SLICE: usize = 32;

/// A kernel that sums over `rows` rows, into `width4` vectors of 4 sums, in the last of `buffers`.
pub(in crate::kernels) fn record_columns(
    recorder: &mut Recorder,
    kernel: &'static KernelSpec,
    (rows, width4): (usize, usize),
    buffers: &[&Buffer],
    accumulate: bool,
) -> Result<()> {
    record_typed_columns(recorder, kernel, (rows, width4), (buffers, 0), accumulate)
}

/// The same with f16 in those of the operands that `halves` has bits for.
fn record_typed_columns(
    recorder: &mut Recorder,
    kernel: &'static KernelSpec,
    (rows, width4): (usize, usize),
    (buffers, halves): (&[&Buffer], u32),
    accumulate: bool,
) -> Result<()> {
    let caps = recorder.device().capabilities();
    let lanes = caps.lanes as usize;
    if lanes == 1 {
        let across = width4.div_ceil(caps.group as usize);
        // The host's sum is one call: its order must not depend on the cut.
        let part = if caps.kind == DeviceKind::Host { rows } else { MAX_ITERATIONS / 2 };
        for first in (0..rows).step_by(part) {
            let range = first..rows.min(first + part);
            let slices = Slices { rows: range, across, slice: part, accumulate: accumulate || first > 0 };
            slices.record(recorder, kernel, width4, (buffers, halves))?;
        }
        return Ok(());
    }
    let across = width4.div_ceil(lanes);
    let slice = rows.div_ceil(ENOUGH.div_ceil(across)).max(SLICE).min(MAX_ITERATIONS / 2 * caps.teams());
    let count = rows.div_ceil(slice);
    let all = Slices { rows: 0..rows, across, slice, accumulate };
    if count == 1 {
        return all.record(recorder, kernel, width4, (buffers, halves));
    }
    // One row of sums for each slice, and their sums.
    let partial = recorder.device().buffer("partial column sums", 16 * (count * width4) as u64)?;
    let (out, operands) = (buffers[buffers.len() - 1], &buffers[..buffers.len() - 1]);
    let first = Slices { accumulate: false, ..all };
    first.record(recorder, kernel, width4, (&[operands, &[&partial][..]].concat(), halves))?;
    let second = Slices { rows: 0..count, across, slice: count, accumulate };
    second.record(recorder, &SPEC, width4, (&[&partial, out], 0))
}

/// Column sums of each slice of rows, in one dispatch.
struct Slices {
    rows: std::ops::Range<usize>,
    /// Workgroups beside each other.
    across: usize,
    slice: usize,
    accumulate: bool,
}

impl Slices {
    fn record(
        self,
        recorder: &mut Recorder,
        kernel: &'static KernelSpec,
        width4: usize,
        (buffers, halves): (&[&Buffer], u32),
    ) -> Result<()> {
        let params = Params {
            first: self.rows.start as u32,
            end: self.rows.end as u32,
            width4: width4 as u32,
            accumulate: u32::from(self.accumulate),
            slice: self.slice as u32,
        };
        let units = self.across * self.rows.len().div_ceil(self.slice);
        Work { kernel, params: bytemuck::bytes_of(&params), buffers, constants: &[] }.dispatch_halves(
            recorder,
            grid(units),
            (ElementType::F32, halves),
        )
    }
}
