//! The training of the prior and of the refinement, on a device [4.3 and 4.4.2].
//!
//! What the paper leaves open and no option changes: batches of 256 rows drawn with replacement; AdamW at 1e-3, which half a cosine takes to 0, without
//! decay, the gradient's norm clipped at 1; both losses with weight 1, the score's as the mean over planes. All random numbers are functions of the seed, the network and the step, so that a training that goes on draws those of one without a break.

use super::checkpoint::{Keeper, State};
use super::losses::{LEVELS, Refiner, Score, zeros};
use super::network::{Network, Optimiser};
use super::phases::NEIGHBOURS;
use super::refinement::TIME;
use super::sides::{EPSILON, Side, leave};
use super::{Phases, PlaneOptions, Refinement, Trained, Training, TrainingStep};
use crate::align::study::Key;
use crate::align::{FitOptions, Radial};
use crate::device::Device;
use crate::host::align::radial::{Knots, stretch};
use crate::host::gaussian::normals;
use crate::{Error, Result};

/// Rows of a batch.
const BATCH: usize = 256;
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

pub(super) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x)).collect()
}

pub(super) fn single(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&x| x as f32).collect()
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
            self.keeper.keep((step + 1, steps), || {
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
            self.keeper.keep((step + 1, steps), || {
                State::read(device, (Trained::Refinement, step + 1), prior, (&refiner.network, &optimiser.moments))
            })?;
        }
        refiner.network.read(device)
    }
}

/// Trains what the options' stages say.
pub(super) fn train(device: &Device, data: &Data, options: &FitOptions<'_>) -> Result<Refinement> {
    let (planes, training) = (&options.planes, options.training);
    let keeper = Keeper::new(data, options);
    let trainer = Trainer { device, data, planes, seed: options.seed, training, keeper };
    let state = trainer.keeper.load()?;
    let of = |network| state.as_ref().filter(|state| state.trained == network);
    let prior = match (planes.stages.has_prior(), of(Trained::Refinement)) {
        (false, _) => None,
        (true, Some(state)) => state.prior.clone(),
        (true, None) => Some(trainer.prior(of(Trained::Prior))?),
    };
    let network = trainer.refinement(prior.as_ref(), of(Trained::Refinement))?;
    let (alpha_theta, alpha_rho) = (planes.alpha_theta, planes.alpha_rho);
    let phases = data.phases.clone();
    Ok(Refinement { stages: planes.stages, alpha_theta, alpha_rho, network, phases, prior })
}
