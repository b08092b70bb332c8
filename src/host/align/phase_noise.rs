//! Twins of `shaders/align/phase_noise.wgsl` and `phase_noise_backward.wgsl`.

use std::f64::consts::TAU;

use bytemuck::{Pod, Zeroable};

use super::phase_features::Strided;
use crate::Result;
use crate::host::nn::math::Float;
use crate::host::nn::parallel::{Row, for_each_row};
use crate::host::nn::{floats, floats_mut};
use crate::host::{HostCall, check_params, volume};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub count: u32,
    pub planes: u32,
    pub features4: u32,
    pub drift4: u32,
    pub noise4: u32,
    pub tau: f32,
    pub padding: [u32; 2],
}

/// Terms of the wrapped Gaussian to each side.
const WRAPS: i32 = 3;

/// The drift's parts, the noise and its deviations: what phases are moved by.
#[derive(Clone, Copy, Debug)]
pub struct Moves<'a, R> {
    /// p and q of each plane, rows of `[2 planes]`: the drift is `p sin θ - q cos θ`.
    pub drift: Strided<'a, R>,
    /// Standard normal numbers, rows of `[planes]`.
    pub noise: Strided<'a, R>,
    /// The deviation of each row's noise, `[rows]`.
    pub scales: &'a [R],
    /// The drift's step.
    pub tau: R,
}

struct Turned<'a, R> {
    moves: Moves<'a, R>,
    planes: usize,
}

impl<R: Float> Row<R> for Turned<'_, R> {
    #[inline(always)]
    fn row(&self, index: usize, row: &mut [R]) {
        let Moves { drift, noise, scales, tau } = self.moves;
        let parts = drift.row(index)[..2 * self.planes].chunks_exact(2).zip(noise.row(index));
        for (pair, (parts, noise)) in row[..2 * self.planes].chunks_exact_mut(2).zip(parts) {
            let (c, s) = (pair[0], pair[1]);
            let (sine, cosine) = sin_cos(scales[index] * *noise - tau * (parts[0] * s - parts[1] * c));
            (pair[0], pair[1]) = (c * cosine - s * sine, s * cosine + c * sine);
        }
    }
}

struct Score<'a, R> {
    noise: Strided<'a, R>,
    scales: &'a [R],
    planes: usize,
}

impl<R: Float> Row<R> for Score<'_, R> {
    #[inline(always)]
    fn row(&self, index: usize, out: &mut [R]) {
        let (noise, scale) = (self.noise.row(index), self.scales[index]);
        out[..self.planes].iter_mut().zip(noise).for_each(|(out, noise)| *out = negated_score(scale * *noise, scale));
    }
}

/// Sine and cosine, of any angle: NaNs of what is no number.
#[inline(always)]
pub(super) fn sin_cos<R: Float>(angle: R) -> (R, R) {
    let turns = angle.to_f64() / TAU;
    if !turns.is_finite() {
        return (R::from_f64(f64::NAN), R::from_f64(f64::NAN));
    }
    R::sin_cos_turns(((turns - turns.floor()) * 18_446_744_073_709_551_616.0) as u64)
}

/// `-s ∇ ln WN(δ; 0, s²)`, WN the Gaussian of deviation s wrapped around the circle.
#[inline(always)]
pub fn negated_score<R: Float>(delta: R, scale: R) -> R {
    let wide = delta.to_f64();
    let near = R::from_f64(wide - TAU * (wide / TAU).round());
    let (mut sum, mut weights) = (R::ZERO, R::ZERO);
    for n in -WRAPS..=WRAPS {
        let turn = R::from_f64(TAU * f64::from(n));
        // The density's share relative to that of no turn, which is the largest.
        let weight = (-turn * (near + R::from_f64(0.5) * turn) / (scale * scale)).exp();
        sum += weight * (near + turn);
        weights += weight;
    }
    sum / (weights * scale)
}

/// Turns the phases of `features`, rows `stride` apart that begin with `[cos θ_k, sin θ_k]` of each plane, by `noise - τ drift`, and writes the negated
/// score that a network is to find there, times the noise's deviation, to `score`, rows `score_stride` apart.
pub fn forward<R: Float>(
    moves: &Moves<'_, R>,
    planes: usize,
    (features, stride): (&mut [R], usize),
    (score, score_stride): (&mut [R], usize),
) {
    for_each_row(&Turned { moves: *moves, planes }, features, stride);
    for_each_row(&Score { noise: moves.noise, scales: moves.scales, planes }, score, score_stride);
}

/// What the forward pass made, and was given.
#[derive(Clone, Copy, Debug)]
pub struct Phases<'a, R> {
    /// The turned features.
    pub turned: Strided<'a, R>,
    /// The features before.
    pub features: Strided<'a, R>,
    /// The drift's parts.
    pub drift: Strided<'a, R>,
    /// The drift's step.
    pub tau: R,
}

struct OfDrift<'a, R> {
    phases: Phases<'a, R>,
    gradient: Strided<'a, R>,
    planes: usize,
}

/// The gradient along the circle.
#[inline(always)]
fn along<R: Float>(turned: &[R], gradient: &[R]) -> R {
    turned[0] * gradient[1] - turned[1] * gradient[0]
}

impl<R: Float> Row<R> for OfDrift<'_, R> {
    #[inline(always)]
    fn row(&self, index: usize, out: &mut [R]) {
        let (turned, features) = (self.phases.turned.row(index), self.phases.features.row(index));
        let gradient = self.gradient.row(index);
        for (k, out) in out[..2 * self.planes].chunks_exact_mut(2).enumerate() {
            let at = 2 * k..2 * k + 2;
            let step = self.phases.tau * along(&turned[at.clone()], &gradient[at.clone()]);
            (out[0], out[1]) = (-step * features[at.start + 1], step * features[at.start]);
        }
    }
}

struct OfFeatures<'a, R> {
    phases: Phases<'a, R>,
    planes: usize,
}

impl<R: Float> Row<R> for OfFeatures<'_, R> {
    #[inline(always)]
    fn row(&self, index: usize, row: &mut [R]) {
        let Phases { turned, features, drift, tau } = self.phases;
        let (turned, features, drift) = (turned.row(index), features.row(index), drift.row(index));
        for (k, gradient) in row[..2 * self.planes].chunks_exact_mut(2).enumerate() {
            let (at, c, s) = (2 * k..2 * k + 2, features[2 * k], features[2 * k + 1]);
            let slope = R::ONE - tau * (drift[2 * k] * c + drift[2 * k + 1] * s);
            let angle = slope * along(&turned[at], gradient);
            (gradient[0], gradient[1]) = (-angle * s, angle * c);
        }
    }
}

/// Of the gradient of the turned features: writes that of the drift's parts to `of_drift`, and leaves in `gradient` that of the features, but for what
/// goes through the drift's parts.
pub fn backward<R: Float>(
    phases: &Phases<'_, R>,
    planes: usize,
    (gradient, stride): (&mut [R], usize),
    (of_drift, drift_stride): (&mut [R], usize),
) {
    let before = Strided::new(&*gradient, stride);
    for_each_row(&OfDrift { phases: *phases, gradient: before, planes }, of_drift, drift_stride);
    for_each_row(&OfFeatures { phases: *phases, planes }, gradient, stride);
}

/// Planes, rows and the strides of features, drift and noise.
fn sizes(p: &Params) -> Result<(usize, usize, [usize; 3])> {
    let planes = p.planes as usize;
    let strides = [p.features4, p.drift4, p.noise4].map(|x| volume([4, x as usize]));
    let fit = planes > 0 && volume([3, planes]) <= strides[0] && volume([2, planes]) <= strides[1];
    check_params(fit && planes <= strides[2], "no planes, or more than a row has")?;
    Ok((planes, p.count as usize / planes, strides))
}

/// Runs the kernel: buffers are drift, noise, scales, features, score.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn forward_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: Params = call.params()?;
    let (planes, rows, [features4, drift4, noise4]) = sizes(&p)?;
    let moves = Moves {
        drift: Strided::new(floats(call, 0, volume([rows, drift4]))?, drift4),
        noise: Strided::new(floats(call, 1, volume([rows, noise4]))?, noise4),
        scales: floats(call, 2, rows)?,
        tau: p.tau,
    };
    let (elements, scores) = (volume([rows, features4]), volume([rows, noise4]));
    let features = &mut floats_mut(call, 3, elements)?[..elements];
    let score = &mut floats_mut(call, 4, scores)?[..scores];
    forward(&moves, planes, (features, features4), (score, noise4));
    Ok(())
}

/// Runs the backward kernel: buffers are turned, features, drift, gradient, of_drift.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn backward_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: Params = call.params()?;
    let (planes, rows, [features4, drift4, _]) = sizes(&p)?;
    let (elements, parts) = (volume([rows, features4]), volume([rows, drift4]));
    let phases = Phases {
        turned: Strided::new(floats(call, 0, elements)?, features4),
        features: Strided::new(floats(call, 1, elements)?, features4),
        drift: Strided::new(floats(call, 2, parts)?, drift4),
        tau: p.tau,
    };
    let gradient = &mut floats_mut(call, 3, elements)?[..elements];
    let of_drift = &mut floats_mut(call, 4, parts)?[..parts];
    backward(&phases, planes, (gradient, features4), (of_drift, drift4));
    Ok(())
}
