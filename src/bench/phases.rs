//! Kernels on phases in planes: half as many planes as rows have columns.

use super::case::{Case, Sizes, numbers};
use super::rows::input;
use crate::device::{Buffer, Device, Tensor};
use crate::kernels::align::phase_features;
use crate::kernels::align::phase_noise::{self, Noise};
use crate::kernels::align::phase_turn::{self, Bounds, Turned};
use crate::{ElementType, Result};

/// Columns of the tail.
const TAIL: usize = 16;
const BOUNDS: Bounds<f32> = Bounds { theta: 0.2, rho: 0.1 };

/// Rows of points, and what comes with them.
struct Points {
    device: Device,
    rows: usize,
    planes: usize,
}

impl Points {
    fn new(device: &Device, sizes: &Sizes) -> Result<(Self, Tensor)> {
        let sizes = Sizes { width: sizes.width.next_multiple_of(2), ..*sizes };
        let (points, sizes) = input(device, &sizes)?;
        Ok((Points { device: device.clone(), rows: sizes.rows, planes: sizes.width / 2 }, points))
    }

    fn filled(&self, seed: u32, width: usize) -> Result<Tensor> {
        Tensor::from_f32(&self.device, &numbers(seed, self.rows * width), width)
    }

    fn empty(&self, width: usize) -> Result<Tensor> {
        Tensor::new(&self.device, self.rows, width, ElementType::F32)
    }

    /// Features of points.
    fn features(&self, points: &Tensor) -> Result<Tensor> {
        let (tail, features) = (self.filled(2, TAIL)?, self.empty(3 * self.planes + TAIL)?);
        let mut recorder = self.device.recorder();
        phase_features::record(&mut recorder, points, &tail, &features)?;
        recorder.submit()?;
        Ok(features)
    }

    fn scales(&self) -> Result<Buffer> {
        self.device.buffer_from("deviations", bytemuck::cast_slice(&vec![0.3f32; self.rows]))
    }

    fn shape(&self) -> String {
        format!("[{}, {}] f32", self.rows, 2 * self.planes)
    }

    /// So many bytes and FLOPs a plane.
    fn work(&self, bytes: u64, flops: u64) -> (u64, u64) {
        let count = (self.rows * self.planes) as u64;
        (bytes * count, flops * count)
    }
}

pub(super) fn features(device: &Device, sizes: &Sizes) -> Result<Case> {
    let (all, points) = Points::new(device, sizes)?;
    let (tail, features) = (all.filled(2, TAIL)?, all.empty(3 * all.planes + TAIL)?);
    let (bytes, flops) = all.work(20, 20);
    let work = (bytes + (8 * TAIL * all.rows) as u64, flops);
    let result = features.buffer().clone();
    Ok(Case::kernel(all.shape(), work, (&result, false), move |r| phase_features::record(r, &points, &tail, &features)))
}

/// Phases turn further from run to run; the score is the same.
pub(super) fn noise(device: &Device, sizes: &Sizes) -> Result<Case> {
    let (all, points) = Points::new(device, sizes)?;
    let (features, drift) = (all.features(&points)?, all.filled(3, 2 * all.planes)?);
    let (normal, score, scales) = (all.filled(4, all.planes)?, all.empty(all.planes)?, all.scales()?);
    let result = score.buffer().clone();
    Ok(Case::kernel(all.shape(), all.work(32, 120), (&result, false), move |r| {
        let noise = Noise { normal: &normal, scales: &scales };
        phase_noise::forward(r, (&drift, 0.1), noise, (&features, &score))
    }))
}

/// Without a drift the gradient stays from run to run, as it is after the first.
pub(super) fn noise_backward(device: &Device, sizes: &Sizes) -> Result<Case> {
    let (all, points) = Points::new(device, sizes)?;
    let (turned, features) = (all.features(&points)?, all.features(&points)?);
    let (drift, of_drift) = (all.filled(3, 2 * all.planes)?, all.empty(2 * all.planes)?);
    let gradient = all.filled(4, 3 * all.planes + TAIL)?;
    let result = gradient.buffer().clone();
    Ok(Case::kernel(all.shape(), all.work(48, 20), (&result, false), move |r| {
        phase_noise::backward(r, (&turned, &features), (&drift, 0.0), (&gradient, &of_drift))
    }))
}

pub(super) fn turn(device: &Device, sizes: &Sizes) -> Result<Case> {
    let (all, points) = Points::new(device, sizes)?;
    let (steps, out) = (all.filled(2, 2 * all.planes)?, all.empty(2 * all.planes)?);
    let result = out.buffer().clone();
    Ok(Case::kernel(all.shape(), all.work(24, 60), (&result, false), move |r| {
        phase_turn::forward(r, BOUNDS, (&steps, &points), &out)
    }))
}

pub(super) fn turn_backward(device: &Device, sizes: &Sizes) -> Result<Case> {
    let (all, points) = Points::new(device, sizes)?;
    let (features, gradient) = (all.features(&points)?, all.filled(3, 3 * all.planes + TAIL)?);
    let [steps, lengths, neighbours] = [4, 5, 6].map(|seed| all.filled(seed, 2 * all.planes));
    let (steps, lengths, neighbours) = (steps?, lengths?, neighbours?);
    let out = all.empty(2 * all.planes)?;
    let result = out.buffer().clone();
    Ok(Case::kernel(all.shape(), all.work(52, 50), (&result, false), move |r| {
        let (features, gradient) = (&features, &gradient);
        let turned =
            Turned { steps: &steps, features, gradient, lengths: &lengths, neighbours: &neighbours, weight: 0.1 };
        phase_turn::backward(r, BOUNDS, &turned, &out)
    }))
}
