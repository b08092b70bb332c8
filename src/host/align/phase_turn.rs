//! Twins of `shaders/align/phase_turn.wgsl` and `phase_turn_backward.wgsl`.

use bytemuck::{Pod, Zeroable};

use super::phase_features::Strided;
use super::phase_noise::sin_cos;
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
    pub width4: u32,
    pub features4: u32,
    pub alpha_theta: f32,
    pub alpha_rho: f32,
    pub weight: f32,
    pub padding: u32,
}

/// How far phases turn at most, and logarithms of lengths grow.
#[derive(Clone, Copy, Debug)]
pub struct Bounds<R> {
    /// Of phases, in radians.
    pub theta: R,
    /// Of logarithms of lengths.
    pub rho: R,
}

struct Turn<'a, R> {
    bounds: Bounds<R>,
    steps: Strided<'a, R>,
    coordinates: Strided<'a, R>,
    planes: usize,
}

#[inline(always)]
fn tanh<R: Float>(x: R) -> R {
    R::from_f64(x.to_f64().tanh())
}

impl<R: Float> Row<R> for Turn<'_, R> {
    #[inline(always)]
    fn row(&self, index: usize, out: &mut [R]) {
        let (steps, coordinates) = (self.steps.row(index), self.coordinates.row(index));
        for (k, out) in out[..2 * self.planes].chunks_exact_mut(2).enumerate() {
            let (sine, cosine) = sin_cos(self.bounds.theta * tanh(steps[2 * k]));
            let factor = (self.bounds.rho * tanh(steps[2 * k + 1])).exp();
            let (a, b) = (coordinates[2 * k], coordinates[2 * k + 1]);
            (out[0], out[1]) = (factor * (a * cosine - b * sine), factor * (b * cosine + a * sine));
        }
    }
}

/// Turns each plane's point by `α_θ tanh Δθ` and multiplies it by `e^(α_ρ tanh Δρ)`: rows of `steps` are `[Δθ_k, Δρ_k]`.
pub fn forward<R: Float>(
    bounds: Bounds<R>,
    (steps, coordinates): (Strided<'_, R>, Strided<'_, R>),
    planes: usize,
    (out, stride): (&mut [R], usize),
) {
    for_each_row(&Turn { bounds, steps, coordinates, planes }, out, stride);
}

/// What the backward pass reads.
#[derive(Clone, Copy, Debug)]
pub struct Turned<'a, R> {
    /// The forward pass's steps.
    pub steps: Strided<'a, R>,
    /// Features of the turned points.
    pub features: Strided<'a, R>,
    /// The gradient of these features.
    pub gradient: Strided<'a, R>,
    /// Lengths as points, turned from the first axis, rows of `[2 planes]`.
    pub lengths: Strided<'a, R>,
    /// Sums of these over each plane's neighbours.
    pub neighbours: Strided<'a, R>,
    /// What the gradient of differences of phases is multiplied by.
    pub weight: R,
}

struct Backward<'a, R> {
    bounds: Bounds<R>,
    turned: Turned<'a, R>,
    planes: usize,
}

impl<R: Float> Row<R> for Backward<'_, R> {
    #[inline(always)]
    fn row(&self, index: usize, out: &mut [R]) {
        let t = &self.turned;
        let (steps, features, gradient) = (t.steps.row(index), t.features.row(index), t.gradient.row(index));
        let (lengths, neighbours) = (t.lengths.row(index), t.neighbours.row(index));
        for (k, out) in out[..2 * self.planes].chunks_exact_mut(2).enumerate() {
            let (i, j) = (2 * k, 2 * k + 1);
            let angle = features[i] * gradient[j] - features[j] * gradient[i];
            let differences = lengths[j] * neighbours[i] - lengths[i] * neighbours[j];
            let (theta, rho) = (tanh(steps[i]), tanh(steps[j]));
            out[0] = self.bounds.theta * (R::ONE - theta * theta) * (angle + t.weight * differences);
            out[1] = self.bounds.rho * (R::ONE - rho * rho) * gradient[2 * self.planes + k];
        }
    }
}

/// The gradient of the steps.
pub fn backward<R: Float>(bounds: Bounds<R>, turned: &Turned<'_, R>, planes: usize, (out, stride): (&mut [R], usize)) {
    for_each_row(&Backward { bounds, turned: *turned, planes }, out, stride);
}

/// Planes, rows, and the strides of coordinates and features.
fn sizes(p: &Params) -> Result<(usize, usize, usize, usize)> {
    let planes = p.planes as usize;
    let [width, features] = [p.width4, p.features4].map(|x| volume([4, x as usize]));
    check_params(planes > 0 && volume([2, planes]) <= width, "no planes, or more than a row has")?;
    Ok((planes, p.count as usize / planes, width, features))
}

fn bounds(p: &Params) -> Bounds<f32> {
    Bounds { theta: p.alpha_theta, rho: p.alpha_rho }
}

/// Runs the kernel: buffers are steps, coordinates, out.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn forward_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: Params = call.params()?;
    let (planes, rows, width, _) = sizes(&p)?;
    let elements = volume([rows, width]);
    let steps = Strided::new(floats(call, 0, elements)?, width);
    let coordinates = Strided::new(floats(call, 1, elements)?, width);
    let out = &mut floats_mut(call, 2, elements)?[..elements];
    forward(bounds(&p), (steps, coordinates), planes, (out, width));
    Ok(())
}

/// Runs the backward kernel: buffers are steps, features, gradient, lengths, neighbours, out.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn backward_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: Params = call.params()?;
    let (planes, rows, width, features) = sizes(&p)?;
    check_params(volume([3, planes]) <= features, "more planes than features have")?;
    let (elements, all) = (volume([rows, width]), volume([rows, features]));
    let turned = Turned {
        steps: Strided::new(floats(call, 0, elements)?, width),
        features: Strided::new(floats(call, 1, all)?, features),
        gradient: Strided::new(floats(call, 2, all)?, features),
        lengths: Strided::new(floats(call, 3, elements)?, width),
        neighbours: Strided::new(floats(call, 4, elements)?, width),
        weight: p.weight,
    };
    let out = &mut floats_mut(call, 5, elements)?[..elements];
    backward(bounds(&p), &turned, planes, (out, width));
    Ok(())
}
