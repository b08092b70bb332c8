//! Weighted power sums of columns: what skewness and kurtosis along directions are made of. Of coordinates z, `[n, r]`, and weights
//! w, `[n]`, the sums `Σ_i w_i z_ij^p` for p = 1 to 4 of each column j.
//!
//! In f32, rows in a fixed order, in slices as [`super::super::nn::bias`] has them. A sum errs by at most its number of additions
//! times 2^-24 of `Σ |w z^p|`, and by 4 roundings of each term: so coordinates should be about a middle that is close to their mean, and of
//! a size whose fourth power f32 holds.
//!
//! Bytes: one read of z and of w. 11 FLOPs per element.

use super::super::nn::bias::record_columns;
use super::super::{Binding, KernelSpec, check_index, check_matrix, check_words, check_written};
use crate::Result;
use crate::device::{Buffer, Recorder, Tensor};
use crate::spec::in_range;
use crate::spec::shader::source;

/// The kernel.
pub static SPEC: KernelSpec = KernelSpec::new(
    "power sums",
    source!("stats/power_sums.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::texels(1, "operand1"),
        Binding::texels(2, "operand2"),
        Binding::read_write(3, "sums"),
    ],
    crate::host::stats::power_sums::twin,
)
.with_grid()
.with_overrides(&["GROUP", "LANES"])
.trusted(in_range::COLUMNS);

/// Records `sums = Σ_i w_i (z_i, z_i², z_i³, z_i⁴)` of each column, or `+=`: `z` `[n, r]`, `sums` `[r, 4]`, f32; `weights` at least n
/// f32, in whole vectors of 4. Without rows the sums are zero.
///
/// # Errors
/// Shapes that do not fit, other element types, one memory for two, another device's operands.
pub fn record(
    recorder: &mut Recorder,
    (z, weights): (&Tensor, &Buffer),
    sums: &Tensor,
    accumulate: bool,
) -> Result<()> {
    let (n, r) = (z.rows(), z.width());
    check_matrix(recorder, SPEC.name, ("z", z), (n, r))?;
    check_matrix(recorder, SPEC.name, ("sums", sums), (r, 4))?;
    check_words(recorder, SPEC.name, ("weights", weights), n.next_multiple_of(4))?;
    check_index(SPEC.name, z)?;
    let buffers = [z.buffer(), weights, sums.buffer()];
    check_written(SPEC.name, &buffers, 1)?;
    if n == 0 {
        if !accumulate {
            recorder.clear(sums.buffer());
        }
        return Ok(());
    }
    record_columns(recorder, &SPEC, (n, r), &buffers, accumulate)
}
