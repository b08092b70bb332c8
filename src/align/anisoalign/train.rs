//! The training of the prior and of the refinement, on a device [4.3 and 4.4.2].
//!
//! What the paper leaves open and no option changes: batches of 256 rows drawn with replacement; AdamW at 1e-3, which half a cosine takes to 0, without
//! decay, the gradient's norm clipped at 1; τ = 0.1; 100 noise levels, σ_t geometric from 0.05 to 0.7; both losses with weight 1, the score's as the mean over
//! planes. All random numbers are functions of the seed, the network and the step, so that a training that goes on draws those of one without a break.

use super::checkpoint::{Keeper, State};
use super::network::{Network, NetworkOn, Optimiser, Trace};
use super::phases::NEIGHBOURS;
use super::refinement::TIME;
use super::sides::{EPSILON, Side, leave};
use super::{Phases, PlaneOptions, Refinement, Trained, Training, TrainingStep};
use crate::align::study::Key;
use crate::align::{FitOptions, Radial};
use crate::device::{Buffer, Device, Recorder, Tensor};
use crate::host::align::radial::{Knots, stretch};
use crate::host::gaussian::normals;
use crate::kernels::align::phase_turn::{self, Bounds, Turned};
use crate::kernels::align::{phase_features, phase_noise};
use crate::kernels::linalg::epilogue::Epilogue;
use crate::kernels::linalg::matmul::{self, Operand, Product};
use crate::kernels::optim::norm;
use crate::{ElementType, Error, Result};

/// Rows of a batch.
const BATCH: usize = 256;
/// τ: the drift's step.
const STEP: f32 = 0.1;
/// Noise levels.
const LEVELS: usize = 100;
/// σ of the first and of the last.
const SIGMAS: [f64; 2] = [0.05, 0.7];
/// Steps from one report to the next.
const REPORT: u64 = 50;

/// What networks are trained on.
pub(super) struct Data {
    /// The target's points, `[n, 2 m]`.
    pub images: Vec<f32>,
    /// The source's points as they are initialised, `[n, 2 m]`.
    pub texts: Vec<f32>,
    /// What lies in V of the source's rows, `[n, d]`.
    pub rest: Vec<f32>,
    pub phases: Phases,
    pub width: usize,
}

impl Data {
    /// Of the chosen rows of both sides; means of both, and D.
    pub fn new(
        radial: &Radial,
        (from, to): (Side, Side),
        (mean_y, mean_x, factors): (&[f64], &[f64], &[f64]),
    ) -> Result<Self> {
        let (d, r) = (factors.len(), radial.offset.len());
        let mut images = wide(&to.coordinates);
        for pair in images.chunks_exact_mut(2) {
            // The paper's lengths have an ε under the root.
            let square = pair[0] * pair[0] + pair[1] * pair[1];
            match square < 1e-36 {
                true => pair[0] = EPSILON.sqrt(),
                false => pair.iter_mut().for_each(|x| *x *= ((square + EPSILON) / square).sqrt()),
            }
        }
        let mut texts = wide(&from.coordinates);
        let Radial { offset, source, target, .. } = radial;
        stretch(&Knots { offset, source, target, knots: radial.knots() }, &mut texts, r);
        let [mut mean_y, mut mean_x] = [mean_y.to_vec(), mean_x.to_vec()];
        leave(&mut mean_y, &radial.directions, d);
        leave(&mut mean_x, &radial.directions, d);
        let mut rest = from.rest;
        for row in rest.chunks_exact_mut(d) {
            for (i, x) in row.iter_mut().enumerate() {
                *x = (mean_x[i] + factors[i] * (f64::from(*x) - mean_y[i])) as f32;
            }
        }
        let phases = Phases::of(&images, r / 2, NEIGHBOURS)?;
        Ok(Data { images: single(&images), texts: single(&texts), rest, phases, width: d })
    }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x)).collect()
}

fn single(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&x| x as f32).collect()
}

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

/// The random numbers of a step.
struct Draw {
    rows: Vec<usize>,
    levels: Vec<usize>,
    /// `[BATCH, m]`.
    noise: Vec<f32>,
}

impl Draw {
    fn new(seed: u64, network: Trained, step: u64, (rows, planes): (usize, usize)) -> Self {
        let stage = 2 + u64::from(network == Trained::Refinement);
        let key = Key::new(seed).with(stage).with(step);
        let below = |which: u64, count: usize| -> Vec<usize> {
            let key = key.with(which);
            let one = |i: u64| ((key.with(i).uniform() * count as f64) as usize).min(count - 1);
            (0..BATCH as u64).map(one).collect()
        };
        let noise = normals(BATCH * planes, seed, stage << 40 | step);
        Draw { rows: below(0, rows), levels: below(1, LEVELS), noise }
    }
}

/// The chosen rows of `all`, `width` wide.
fn gather(all: &[f32], width: usize, rows: &[usize]) -> Vec<f32> {
    rows.iter().flat_map(|row| &all[row * width..(row + 1) * width]).copied().collect()
}

fn zeros(device: &Device, rows: usize, width: usize) -> Result<Tensor> {
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
    fn factor(&self) -> f32 {
        2.0 / (self.residual.rows() * self.residual.width()) as f32
    }

    /// Records the gradient of the network, but for [`Self::factor`].
    fn backward_network(&self, recorder: &mut Recorder, gradients: &NetworkOn) -> Result<()> {
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

/// Tells of a step, where it is due, and refuses to go on without numbers.
fn report(
    training: &Training<'_>,
    (network, step, steps): (Trained, u64, u64),
    losses: impl FnOnce() -> Result<(f64, f64)>,
) -> Result<()> {
    if step != 1 && step != steps && !step.is_multiple_of(REPORT) {
        return Ok(());
    }
    let (score_loss, phase_loss) = losses()?;
    log::debug!("anisoalign: {} {step}/{steps}, losses {score_loss:.5} {phase_loss:.6}", network.name());
    if !(score_loss.is_finite() && phase_loss.is_finite()) {
        let problem = format!("the loss of the {} is no number after {step} steps", network.name());
        return Err(Error::degenerate(format!("fit: {problem}; look for rows of extreme numbers")));
    }
    if let Some(progress) = training.progress {
        progress(&TrainingStep { network, step, steps, score_loss, phase_loss });
    }
    Ok(())
}

/// Everything that a training needs.
struct Trainer<'a> {
    device: &'a Device,
    data: &'a Data,
    planes: &'a PlaneOptions,
    seed: u64,
    training: Training<'a>,
    keeper: Keeper<'a>,
}

/// Streams of random numbers of networks' starts; a step's noise has streams from 2^41 on.
const STARTS: [u64; 2] = [1 << 20, 2 << 20];

impl Trainer<'_> {
    /// The prior, after its training on the target's points.
    fn prior(&self, from: Option<&State>) -> Result<Network> {
        let (device, m) = (self.device, self.data.phases.planes());
        let widths = [3 * m + TIME, self.planes.hidden, self.planes.hidden, m];
        let fresh = || Network::fresh(&widths, false, (self.seed, STARTS[0]));
        let (first, start) = from.map_or_else(|| (0, fresh()), |state| (state.step, state.network.clone()));
        let score = Score::new(device, &start, &self.data.phases, BATCH)?;
        let optimiser = Optimiser::new(device, &score.network, from.map(|state| &state.moments))?;
        let (points, steps) = (zeros(device, BATCH, 2 * m)?, self.planes.prior_steps);
        for step in first..steps {
            let draw = Draw::new(self.seed, Trained::Prior, step, (self.data.images.len() / (2 * m), m));
            points.write_f32(device, &gather(&self.data.images, 2 * m, &draw.rows))?;
            score.write(device, &draw.noise, &draw.levels)?;
            let mut recorder = device.recorder();
            score.forward(&mut recorder, &points)?;
            score.backward_network(&mut recorder, &optimiser.gradients)?;
            optimiser.record(&mut recorder, &score.network, (step, steps), score.factor())?;
            recorder.submit()?;
            report(&self.training, (Trained::Prior, step + 1, steps), || Ok((score.loss(device)?, 0.0)))?;
            self.keeper.keep((Trained::Prior, step + 1, steps), || {
                State::read(device, (Trained::Prior, step + 1), None, (&score.network, &optimiser.moments))
            })?;
        }
        score.network.read(device)
    }

    /// The refinement, after its training on the source's points.
    fn refinement(&self, prior: Option<&Network>, from: Option<&State>) -> Result<Network> {
        let (device, m, d) = (self.device, self.data.phases.planes(), self.data.width);
        let widths = [3 * m + d, self.planes.hidden, 2 * m];
        let fresh = || Network::fresh(&widths, true, (self.seed, STARTS[1]));
        let (first, start) = from.map_or_else(|| (0, fresh()), |state| (state.step, state.network.clone()));
        if self.planes.stages.options().is_empty() {
            return Ok(start);
        }
        let score = prior.map(|prior| Score::new(device, prior, &self.data.phases, BATCH)).transpose()?;
        let refiner = Refiner::new(device, &start, (&self.data.phases, d), self.planes, BATCH)?;
        let optimiser = Optimiser::new(device, &refiner.network, from.map(|state| &state.moments))?;
        let steps = self.planes.refine_steps;
        for step in first..steps {
            let draw = Draw::new(self.seed, Trained::Refinement, step, (self.data.texts.len() / (2 * m), m));
            let gather = |all, width| gather(all, width, &draw.rows);
            refiner.write(device, &gather(&self.data.texts, 2 * m), &gather(&self.data.rest, d))?;
            let mut recorder = device.recorder();
            refiner.forward(&mut recorder)?;
            if let Some(score) = &score {
                score.write(device, &draw.noise, &draw.levels)?;
                score.forward(&mut recorder, &refiner.turned)?;
            }
            refiner.backward(&mut recorder, score.as_ref(), &optimiser.gradients)?;
            optimiser.record(&mut recorder, &refiner.network, (step, steps), 1.0)?;
            recorder.submit()?;
            let losses = || Ok((score.as_ref().map_or(Ok(0.0), |s| s.loss(device))?, refiner.loss(device)?));
            report(&self.training, (Trained::Refinement, step + 1, steps), losses)?;
            self.keeper.keep((Trained::Refinement, step + 1, steps), || {
                State::read(device, (Trained::Refinement, step + 1), prior, (&refiner.network, &optimiser.moments))
            })?;
        }
        refiner.network.read(device)
    }
}

/// Trains what the options' stages say.
pub(super) fn train(device: &Device, data: &Data, options: &FitOptions<'_>) -> Result<Refinement> {
    let (planes, training) = (&options.planes, options.training);
    let keeper = Keeper::new(data, options)?;
    let trainer = Trainer { device, data, planes, seed: options.seed, training, keeper };
    let state = trainer.keeper.load()?;
    let of = |network| state.as_ref().filter(|state| state.trained == network);
    let prior = match (planes.stages.has_prior(), of(Trained::Refinement)) {
        (false, _) => None,
        (true, Some(state)) => state.prior.clone(),
        (true, None) => Some(trainer.prior(of(Trained::Prior))?),
    };
    let network = trainer.refinement(prior.as_ref(), of(Trained::Refinement))?;
    trainer.keeper.remove()?;
    let (alpha_theta, alpha_rho) = (planes.alpha_theta, planes.alpha_rho);
    let phases = data.phases.clone();
    Ok(Refinement { stages: planes.stages, alpha_theta, alpha_rho, network, phases, prior })
}
