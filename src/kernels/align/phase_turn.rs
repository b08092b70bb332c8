//! Points in planes, turned and stretched within bounds: what AnisoAlign's refinement does (arXiv 2605.07825, 4.4.2).
//!
//! Steps are `[n, 2 m]`, `Δθ_k` and `Δρ_k` at 2 k and 2 k + 1: the point of plane k turns by `α_θ tanh Δθ_k`, and its length grows by `e^(α_ρ tanh Δρ_k)`. Steps
//! of 0, and bounds of 0, leave points as they are to the bit.
//!
//! Bytes: forward two reads and a write of `[n, 2 m]`; backward three reads and a write of that, and two reads of features. FLOPs: about 60 and 50 per plane.

use super::super::{Binding, KernelSpec, Work, check_index, check_matrix, check_written};
use crate::device::{Recorder, Tensor};
pub use crate::host::align::phase_turn::Bounds;
use crate::host::align::phase_turn::Params;
use crate::spec::in_range;
use crate::spec::shader::source;
use crate::{Error, Result};

/// The forward kernel.
pub static FORWARD: KernelSpec = KernelSpec::new(
    "phase turn",
    source!("align/phase_turn.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::read(1, "steps"),
        Binding::read(2, "coordinates"),
        Binding::read_write(3, "out"),
    ],
    crate::host::align::phase_turn::forward_twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::ELEMENTS);

/// The backward kernel.
pub static BACKWARD: KernelSpec = KernelSpec::new(
    "phase turn backward",
    source!("align/phase_turn_backward.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::read(1, "steps"),
        Binding::read(2, "features"),
        Binding::read(3, "gradient"),
        Binding::read(4, "lengths"),
        Binding::read(5, "neighbours"),
        Binding::read_write(6, "out"),
    ],
    crate::host::align::phase_turn::backward_twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::ELEMENTS);

/// Checks the steps `[n, 2 m]` and the bounds; the block without what only one pass reads.
fn check(recorder: &Recorder, name: &'static str, bounds: Bounds<f32>, steps: &Tensor) -> Result<Params> {
    let planes = steps.width() / 2;
    check_matrix(recorder, name, ("steps", steps), (steps.rows(), 2 * planes.max(1)))?;
    for (what, bound) in [("alpha_theta", bounds.theta), ("alpha_rho", bounds.rho)] {
        if !(0.0..=4.0).contains(&bound) {
            return Err(Error::argument(what, format!("{bound}; give a number from 0 to 4")));
        }
    }
    check_index(name, steps)?;
    Ok(Params {
        count: (steps.rows() * planes) as u32,
        planes: planes as u32,
        width4: steps.width4() as u32,
        features4: 0,
        alpha_theta: bounds.theta,
        alpha_rho: bounds.rho,
        weight: 0.0,
        padding: 0,
    })
}

/// Records `out`, the turned points of `coordinates`, all `[n, 2 m]` f32.
///
/// # Errors
/// Shapes that differ, other element types, `out` the memory of an operand, another device's tensors, bounds beyond 0 to 4.
pub fn forward(
    recorder: &mut Recorder,
    bounds: Bounds<f32>,
    (steps, coordinates): (&Tensor, &Tensor),
    out: &Tensor,
) -> Result<()> {
    let name = FORWARD.name;
    let params = check(recorder, name, bounds, steps)?;
    for tensor in [("coordinates", coordinates), ("out", out)] {
        check_matrix(recorder, name, tensor, (steps.rows(), steps.width()))?;
    }
    let buffers = [steps.buffer(), coordinates.buffer(), out.buffer()];
    check_written(name, &buffers, 1)?;
    if params.count == 0 {
        return Ok(());
    }
    Work { kernel: &FORWARD, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }
        .elements(recorder, params.count as usize)
}

/// What the backward pass reads, all f32.
#[derive(Clone, Copy, Debug)]
pub struct Turned<'a> {
    /// The forward pass's steps, `[n, 2 m]`.
    pub steps: &'a Tensor,
    /// Features of the turned points, `[n, w]`, see [`super::phase_features`].
    pub features: &'a Tensor,
    /// The gradient of these features.
    pub gradient: &'a Tensor,
    /// Lengths as points on the first axis, turned by the forward pass without stretching, `[n, 2 m]`.
    pub lengths: &'a Tensor,
    /// Sums of these over each plane's neighbours, `[n, 2 m]`.
    pub neighbours: &'a Tensor,
    /// What is multiplied with the gradient of `Σ ρ_k ρ_l (1 - cos(δ_k - δ_l))` over pairs of neighbours, δ the turns.
    pub weight: f32,
}

/// Records `out`, the gradient of the steps.
///
/// # Errors
/// As [`forward`]; a weight that is not finite.
pub fn backward(recorder: &mut Recorder, bounds: Bounds<f32>, turned: &Turned<'_>, out: &Tensor) -> Result<()> {
    let name = BACKWARD.name;
    let Turned { steps, features, gradient, lengths, neighbours, weight } = *turned;
    let mut params = check(recorder, name, bounds, steps)?;
    if !weight.is_finite() {
        return Err(Error::argument("weight", format!("{weight}; give a finite factor")));
    }
    (params.features4, params.weight) = (features.width4() as u32, weight);
    let (rows, width) = (steps.rows(), features.width().max(3 * params.planes as usize));
    for tensor in [("features", features), ("gradient", gradient)] {
        check_matrix(recorder, name, tensor, (rows, width))?;
    }
    for tensor in [("lengths", lengths), ("neighbours", neighbours), ("out", out)] {
        check_matrix(recorder, name, tensor, (rows, steps.width()))?;
    }
    check_index(name, features)?;
    let operands = [steps, features, gradient, lengths, neighbours, out];
    let buffers = operands.map(Tensor::buffer);
    check_written(name, &buffers, 1)?;
    if params.count == 0 {
        return Ok(());
    }
    Work { kernel: &BACKWARD, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }
        .elements(recorder, params.count as usize)
}
