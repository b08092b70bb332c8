//! The losses of the prior and of the refinement, and their gradients, of batches on a device [4.3, equations 5 and 6; 4.4.2, equations 8 and 9].

use super::network::{Network, NetworkOn, Trace};
use super::refinement::TIME;
use super::sides::EPSILON;
use super::train::{single, wide};
use super::{Phases, PlaneOptions};
use crate::device::{Buffer, Device, Recorder, Tensor};
use crate::kernels::align::phase_turn::{self, Bounds, Turned};
use crate::kernels::align::{phase_features, phase_noise};
use crate::kernels::linalg::epilogue::Epilogue;
use crate::kernels::linalg::matmul::{self, Operand, Product};
use crate::kernels::optim::norm;
use crate::{ElementType, Result};

/// τ: the drift's step.
const STEP: f32 = 0.1;
/// Noise levels.
pub(super) const LEVELS: usize = 100;
/// σ of the first and of the last.
const SIGMAS: [f64; 2] = [0.05, 0.7];
/// √2 σ_t.
fn deviation(level: usize) -> f64 {
    let [first, last] = SIGMAS;
    std::f64::consts::SQRT_2 * first * (last / first).powf(level as f64 / (LEVELS - 1) as f64)
}

/// Features of a noise level: sines, then cosines, of its share of all at eight frequencies from 1 to 100.
fn time(level: usize) -> [f32; TIME] {
    let share = level as f64 / LEVELS as f64;
    std::array::from_fn(|i| {
        let angle = share * 100f64.powf((i % 8) as f64 / 7.0);
        (if i < 8 { angle.sin() } else { angle.cos() }) as f32
    })
}

pub(super) fn zeros(device: &Device, rows: usize, width: usize) -> Result<Tensor> {
    Tensor::new(device, rows, width, ElementType::F32)
}

/// The prior's loss of a batch of points, and its gradient.
pub(super) struct Score {
    pub network: NetworkOn,
    trace: Trace,
    /// The drift's parts of features: `[2 m, 3 m + 16]` and `[1, 2 m]`.
    parts: (Tensor, Tensor),
    noise: Tensor,
    scales: Buffer,
    level: Tensor,
    /// Of points before and after the noise.
    features: Tensor,
    turned: Tensor,
    drift: Tensor,
    score: Tensor,
    /// The network's output less the score that it is to find, both times the noise's deviation, `[n, m]`.
    residual: Tensor,
    gradient: Tensor,
    of_drift: Tensor,
    sums: Buffer,
}

impl Score {
    pub fn new(device: &Device, network: &Network, phases: &Phases, rows: usize) -> Result<Self> {
        let (planes, width) = (phases.planes(), 3 * phases.planes() + TIME);
        let network = network.on(device)?;
        let (matrix, row) = phases.parts(width);
        let room = |width| zeros(device, rows, width);
        Ok(Score {
            trace: network.trace(device, rows)?,
            network,
            parts: (
                Tensor::from_f32(device, &single(&matrix), width)?,
                Tensor::from_f32(device, &single(&row), 2 * planes)?,
            ),
            noise: room(planes)?,
            scales: device.buffer("deviations of noise", 4 * rows as u64)?,
            level: room(TIME)?,
            features: room(width)?,
            turned: room(width)?,
            drift: room(2 * planes)?,
            score: room(planes)?,
            residual: room(planes)?,
            gradient: room(width)?,
            of_drift: room(2 * planes)?,
            sums: norm::partials(device, 1)?,
        })
    }

    /// Writes a step's noise and levels.
    pub fn write(&self, device: &Device, noise: &[f32], levels: &[usize]) -> Result<()> {
        let scales: Vec<f32> = levels.iter().map(|&level| deviation(level) as f32).collect();
        let features: Vec<f32> = levels.iter().flat_map(|&level| time(level)).collect();
        device.write(&self.scales, bytemuck::cast_slice(&scales))?;
        self.level.write_f32(device, &features)?;
        self.noise.write_f32(device, noise)
    }

    /// Records the loss of points `[n, 2 m]`.
    pub fn forward(&self, recorder: &mut Recorder, points: &Tensor) -> Result<()> {
        phase_features::record(recorder, points, &self.level, &self.features)?;
        recorder.copy(&self.features, &self.turned)?;
        let epilogue = Epilogue::Add { bias: Some(&self.parts.1), residual: None };
        let operands = (Operand::new(&self.features), Operand::new(&self.parts.0).transposed());
        matmul::record_fused(recorder, Product::default(), epilogue, operands, (&self.drift, 0))?;
        let noise = phase_noise::Noise { normal: &self.noise, scales: &self.scales };
        phase_noise::forward(recorder, (&self.drift, STEP), noise, (&self.turned, &self.score))?;
        let out = (&self.residual, Some(&self.score));
        self.network.forward(recorder, (&self.turned, &self.trace), out)?;
        norm::square_sum(recorder, &self.residual, &self.sums, 0)
    }

    /// The factor of the residual in the loss's gradient.
    pub fn factor(&self) -> f32 {
        2.0 / (self.residual.rows() * self.residual.width()) as f32
    }

    /// Records the gradient of the network, but for [`Self::factor`].
    pub fn backward_network(&self, recorder: &mut Recorder, gradients: &NetworkOn) -> Result<()> {
        self.network.backward(recorder, (&self.turned, &self.trace), &self.residual, gradients)
    }

    /// Records the gradient of the points' features, `[n, 3 m + 16]`.
    fn backward_points(&self, recorder: &mut Recorder) -> Result<()> {
        let dout = (&self.residual, self.factor());
        self.network.backward_input(recorder, &self.trace, dout, &self.gradient)?;
        let (before, drift) = ((&self.turned, &self.features), (&self.drift, STEP));
        phase_noise::backward(recorder, before, drift, (&self.gradient, &self.of_drift))?;
        let product = Product { accumulate: true, ..Product::default() };
        let operands = (Operand::new(&self.of_drift), Operand::new(&self.parts.0));
        matmul::record(recorder, product, operands, (&self.gradient, 0))
    }

    /// The loss that was recorded last, once it is submitted.
    pub fn loss(&self, device: &Device) -> Result<f64> {
        let sums: Vec<f32> = bytemuck::pod_collect_to_vec(&device.read_blocking(&self.sums)?);
        let total: f64 = sums.iter().take(norm::SLOT).map(|&x| f64::from(x)).sum();
        Ok(total / (self.residual.rows() * self.residual.width()) as f64)
    }
}

/// The refinement of a batch, and its gradient.
pub(super) struct Refiner {
    pub network: NetworkOn,
    trace: Trace,
    bounds: Bounds<f32>,
    /// What the gradient of differences of phases is multiplied by.
    weight: f32,
    pairs: Vec<(usize, usize)>,
    points: Tensor,
    rest: Tensor,
    features: Tensor,
    steps: Tensor,
    pub turned: Tensor,
    /// Lengths as points, before and after the turn, and their sums over neighbours.
    lengths: Tensor,
    turned_lengths: Tensor,
    neighbours: Tensor,
    graph: Tensor,
    of_steps: Tensor,
    /// Features and gradient of a batch without a prior.
    nothing: Tensor,
}

impl Refiner {
    pub fn new(
        device: &Device,
        network: &Network,
        (phases, width): (&Phases, usize),
        options: &PlaneOptions,
        rows: usize,
    ) -> Result<Self> {
        let planes = phases.planes();
        let network = network.on(device)?;
        let room = |width| zeros(device, rows, width);
        Ok(Refiner {
            trace: network.trace(device, rows)?,
            network,
            bounds: Bounds { theta: options.alpha_theta as f32, rho: options.alpha_rho as f32 },
            weight: if options.stages.has_phase_loss() { 1.0 / rows as f32 } else { 0.0 },
            pairs: phases.pairs().collect(),
            points: room(2 * planes)?,
            rest: room(width)?,
            features: room(3 * planes + width)?,
            steps: room(2 * planes)?,
            turned: room(2 * planes)?,
            lengths: room(2 * planes)?,
            turned_lengths: room(2 * planes)?,
            neighbours: room(2 * planes)?,
            graph: Tensor::from_f32(device, &single(&phases.graph()), 2 * planes)?,
            of_steps: room(2 * planes)?,
            nothing: room(3 * planes)?,
        })
    }

    /// Writes a batch: points `[n, 2 m]`, and what lies in V, `[n, d]`.
    pub fn write(&self, device: &Device, points: &[f32], rest: &[f32]) -> Result<()> {
        let mut lengths = vec![0f32; points.len()];
        let r = self.points.width();
        for (row, out) in points.chunks_exact(r).zip(lengths.chunks_exact_mut(r)) {
            let of: Vec<f64> = row.chunks_exact(2).map(|p| f64::from(p[0]).hypot(f64::from(p[1]))).collect();
            // So that products of neighbours' lengths sum to 1: the weights of the loss.
            let total: f64 = self.pairs.iter().map(|&(k, l)| of[k] * of[l]).sum::<f64>() + EPSILON;
            out.chunks_exact_mut(2).zip(&of).for_each(|(out, length)| out[0] = (length / total.sqrt()) as f32);
        }
        self.lengths.write_f32(device, &lengths)?;
        self.points.write_f32(device, points)?;
        self.rest.write_f32(device, rest)
    }

    /// Records the turned points.
    pub fn forward(&self, recorder: &mut Recorder) -> Result<()> {
        phase_features::record(recorder, &self.points, &self.rest, &self.features)?;
        self.network.forward(recorder, (&self.features, &self.trace), (&self.steps, None))?;
        phase_turn::forward(recorder, self.bounds, (&self.steps, &self.points), &self.turned)?;
        let turns = Bounds { rho: 0.0, ..self.bounds };
        phase_turn::forward(recorder, turns, (&self.steps, &self.lengths), &self.turned_lengths)?;
        let operands = (Operand::new(&self.turned_lengths), Operand::new(&self.graph));
        matmul::record(recorder, Product::default(), operands, (&self.neighbours, 0))
    }

    /// Records the gradient of the network.
    pub fn backward(&self, recorder: &mut Recorder, score: Option<&Score>, gradients: &NetworkOn) -> Result<()> {
        let (features, gradient) = match score {
            Some(score) => {
                score.backward_points(recorder)?;
                (&score.features, &score.gradient)
            }
            None => (&self.nothing, &self.nothing),
        };
        let turned = Turned {
            steps: &self.steps,
            features,
            gradient,
            lengths: &self.turned_lengths,
            neighbours: &self.neighbours,
            weight: self.weight,
        };
        phase_turn::backward(recorder, self.bounds, &turned, &self.of_steps)?;
        self.network.backward(recorder, (&self.features, &self.trace), &self.of_steps, gradients)
    }

    /// The loss of differences of phases, once it is submitted: `Σ ω (1 - cos(δ_k - δ_l))`, the mean over rows.
    pub fn loss(&self, device: &Device) -> Result<f64> {
        if self.weight == 0.0 {
            return Ok(0.0);
        }
        let points = wide(&self.turned_lengths.to_f32_blocking(device)?);
        let r = self.points.width();
        let row = |row: &[f64]| -> f64 {
            let pair = |&(k, l): &(usize, usize)| {
                let (a, b) = (&row[2 * k..2 * k + 2], &row[2 * l..2 * l + 2]);
                a[0].hypot(a[1]) * b[0].hypot(b[1]) - a[0] * b[0] - a[1] * b[1]
            };
            self.pairs.iter().map(pair).sum()
        };
        Ok(points.chunks_exact(r).map(row).sum::<f64>() / self.points.rows() as f64)
    }
}
