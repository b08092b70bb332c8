//! Phases under noise, and the score that AnisoAlign's prior is to find there (arXiv 2605.07825, 4.3).
//!
//! Features are those of [`super::phase_features`], `[n, w]` with 3 m columns or more. Each phase is turned by `σ n - τ (p sin θ - q cos θ)`: n is a standard
//! normal number, σ the row's deviation, and p and q the parts of the drift, `[n, 2 m]`, which are linear in the features, so that a product gives them. Where
//! it comes to lie, the gradient of the logarithm of the Gaussian that is wrapped around the circle about the drifted phase is a function of `σ n` alone. Its
//! negative, times σ, is the `score`: what is to be added to a network's output, whose squares are then to be small.
//!
//! Bytes: forward one read of m drift parts, noise and phases, one write of phases and score; backward three reads of phases, one of parts, one write of
//! both. FLOPs: about 120 and 20 per plane.

use super::super::{Binding, KernelSpec, Work, check_index, check_matrix, check_words, check_written};
use crate::device::{Buffer, Recorder, Tensor};
use crate::host::align::phase_noise::Params;
use crate::spec::in_range;
use crate::spec::shader::source;
use crate::{Error, Result};

/// The forward kernel.
pub static FORWARD: KernelSpec = KernelSpec::new(
    "phase noise",
    source!("align/phase_noise.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::read(1, "drift"),
        Binding::read(2, "noise"),
        Binding::read(3, "scales"),
        Binding::read_write(4, "features"),
        Binding::read_write(5, "score"),
    ],
    crate::host::align::phase_noise::forward_twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::ELEMENTS);

/// The backward kernel.
pub static BACKWARD: KernelSpec = KernelSpec::new(
    "phase noise backward",
    source!("align/phase_noise_backward.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::read(1, "turned"),
        Binding::read(2, "features"),
        Binding::read(3, "drift"),
        Binding::read_write(4, "gradient"),
        Binding::read_write(5, "of_drift"),
    ],
    crate::host::align::phase_noise::backward_twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::ELEMENTS);

/// The noise of rows.
#[derive(Clone, Copy, Debug)]
pub struct Noise<'a> {
    /// Standard normal numbers, `[n, m]`.
    pub normal: &'a Tensor,
    /// The deviation σ of each row's noise, above 0, f32 `[n]`.
    pub scales: &'a Buffer,
}

/// Checks features, `[n, 3 m]` at least, the drift's parts and τ; the planes.
fn check(recorder: &Recorder, name: &'static str, (features, drift): (&Tensor, &Tensor), tau: f32) -> Result<usize> {
    let (rows, planes) = (features.rows(), drift.width() / 2);
    check_matrix(recorder, name, ("features", features), (rows, features.width().max(3 * planes)))?;
    check_matrix(recorder, name, ("drift", drift), (rows, 2 * planes.max(1)))?;
    check_index(name, features)?;
    match tau.is_finite() {
        true => Ok(planes),
        false => Err(Error::argument("tau", format!("{tau}; give a finite step"))),
    }
}

fn params(planes: usize, features: &Tensor, drift: &Tensor, tau: f32) -> Params {
    Params {
        count: (features.rows() * planes) as u32,
        planes: planes as u32,
        features4: features.width4() as u32,
        drift4: drift.width4() as u32,
        noise4: planes.div_ceil(4) as u32,
        tau,
        padding: [0; 2],
    }
}

/// Records the turn of the phases of `features`, `[n, w]`, in place, and the score `[n, m]`; `drift` is `[n, 2 m]`, all f32.
///
/// # Errors
/// Shapes that do not fit each other, other element types, one memory for two, another device's memory, a τ that is not finite.
pub fn forward(
    recorder: &mut Recorder,
    (drift, tau): (&Tensor, f32),
    noise: Noise<'_>,
    (features, score): (&Tensor, &Tensor),
) -> Result<()> {
    let name = FORWARD.name;
    let planes = check(recorder, name, (features, drift), tau)?;
    check_matrix(recorder, name, ("noise", noise.normal), (features.rows(), planes))?;
    check_matrix(recorder, name, ("score", score), (features.rows(), planes))?;
    check_words(recorder, name, ("scales", noise.scales), features.rows())?;
    let buffers = [drift.buffer(), noise.normal.buffer(), noise.scales, features.buffer(), score.buffer()];
    check_written(name, &buffers, 2)?;
    let params = params(planes, features, drift, tau);
    if params.count == 0 {
        return Ok(());
    }
    Work { kernel: &FORWARD, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }
        .elements(recorder, params.count as usize)
}

/// Records the backward pass: `gradient`, `[n, w]`, is that of the `turned` features, and becomes that of the `features` before; what goes through the drift's
/// parts is left to a product with `of_drift`, `[n, 2 m]`, their gradient.
///
/// # Errors
/// As [`forward`].
pub fn backward(
    recorder: &mut Recorder,
    (turned, features): (&Tensor, &Tensor),
    (drift, tau): (&Tensor, f32),
    (gradient, of_drift): (&Tensor, &Tensor),
) -> Result<()> {
    let name = BACKWARD.name;
    let planes = check(recorder, name, (features, drift), tau)?;
    let (rows, width) = (features.rows(), features.width());
    check_matrix(recorder, name, ("turned", turned), (rows, width))?;
    check_matrix(recorder, name, ("gradient", gradient), (rows, width))?;
    check_matrix(recorder, name, ("of_drift", of_drift), (rows, drift.width()))?;
    let buffers = [turned.buffer(), features.buffer(), drift.buffer(), gradient.buffer(), of_drift.buffer()];
    check_written(name, &buffers, 2)?;
    let params = params(planes, features, drift, tau);
    if params.count == 0 {
        return Ok(());
    }
    Work { kernel: &BACKWARD, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }
        .elements(recorder, params.count as usize)
}
