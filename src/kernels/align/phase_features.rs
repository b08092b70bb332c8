//! What AnisoAlign's networks see of points in planes (arXiv 2605.07825, 4.3 and 4.4.2): cosine and sine of each phase, the logarithm of each length.
//!
//! Of coordinates `[n, 2 m]`, 2 k and 2 k + 1 those of plane k, and a tail `[n, t]` the features are `[n, 3 m + t]`: `cos θ_k` and `sin θ_k` at 2 k and
//! 2 k + 1, `ln ρ_k` at 2 m + k, then the tail as it is. A point without length has the angle 0 and the logarithm of 1e-18; a NaN stays one.
//!
//! Bytes: one read of coordinates and tail, one write of the features. FLOPs: about 20 per plane.

use super::super::{Binding, KernelSpec, Work, check_index, check_matrix, check_written};
use crate::Result;
use crate::device::{Recorder, Tensor};
use crate::host::align::phase_features::Params;
use crate::spec::in_range;
use crate::spec::shader::source;

/// The kernel.
pub static SPEC: KernelSpec = KernelSpec::new(
    "phase features",
    source!("align/phase_features.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::read(1, "coordinates"),
        Binding::read(2, "tail"),
        Binding::read_write(3, "features"),
    ],
    crate::host::align::phase_features::twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::ELEMENTS);

/// Records the features `[n, 3 m + t]` of coordinates `[n, 2 m]` and a tail `[n, t]`, all f32.
///
/// # Errors
/// Shapes that do not fit each other, other element types, the features the memory of an operand, another device's tensors.
pub fn record(recorder: &mut Recorder, coordinates: &Tensor, tail: &Tensor, features: &Tensor) -> Result<()> {
    let name = SPEC.name;
    let (rows, planes) = (features.rows(), coordinates.width() / 2);
    check_matrix(recorder, name, ("coordinates", coordinates), (rows, 2 * planes.max(1)))?;
    check_matrix(recorder, name, ("tail", tail), (rows, tail.width()))?;
    check_matrix(recorder, name, ("features", features), (rows, 3 * planes + tail.width()))?;
    let buffers = [coordinates.buffer(), tail.buffer(), features.buffer()];
    check_written(name, &buffers, 1)?;
    check_index(name, features)?;
    let count = rows * planes;
    if count == 0 {
        return Ok(());
    }
    let params = Params {
        count: count as u32,
        planes: planes as u32,
        tail: tail.width() as u32,
        coordinates4: coordinates.width4() as u32,
        tail4: tail.width4() as u32,
        features4: features.width4() as u32,
        padding: [0; 2],
    };
    Work { kernel: &SPEC, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }
        .check_iterations(recorder, tail.width().div_ceil(planes))?
        .elements(recorder, count)
}
