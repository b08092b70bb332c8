//! AdamW with a clipped gradient norm, over the parameters of one or several models at once [paper section 5].

mod loss_scale;
mod moments;

use crate::device::{Buffer, Device, Recorder};
use crate::kernels::optim::adamw::{Hyper, Rounding};
use crate::kernels::optim::norm;
use crate::nn::{Gradients, Parameter, Parameters, ShardedMatrix};
use crate::{Error, Result};

pub use loss_scale::LossScale;
#[cfg(feature = "train")]
pub(crate) use moments::Content;
pub use moments::{LEAST, MomentType, Moments};

/// What does not change from step to step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWOptions {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled decay of the parameters.
    pub weight_decay: f64,
    /// Largest norm of the whole gradient.
    pub max_norm: Option<f32>,
    /// How the moments are kept.
    pub moments: MomentType,
    /// Of the stochastic rounding of parameters that are kept in bf16.
    pub seed: u64,
}

impl Default for AdamWOptions {
    fn default() -> Self {
        let (moments, seed) = (MomentType::F32, 0);
        AdamWOptions { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, max_norm: Some(1.0), moments, seed }
    }
}

/// What is particular to a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ParameterRule {
    /// What the step's learning rate is multiplied by.
    pub rate: f64,
    /// Whether the weight decay counts.
    pub decays: bool,
}

impl Default for ParameterRule {
    fn default() -> Self {
        ParameterRule { rate: 1.0, decays: true }
    }
}

/// Moments of one model's training parameters.
type OfModel = Vec<Option<Moments>>;

/// The optimiser's state. A frozen parameter has none.
#[derive(Clone, Debug)]
pub struct AdamW {
    options: AdamWOptions,
    models: Vec<OfModel>,
    /// By model and parameter; none where all are alike.
    rules: Vec<Vec<ParameterRule>>,
    partials: Buffer,
    scale: Buffer,
    step: u64,
}

impl AdamW {
    /// Zero moments for what trains of `models`.
    ///
    /// # Errors
    /// Nothing that trains; no memory.
    pub fn new(device: &Device, options: AdamWOptions, models: &[&Gradients]) -> Result<Self> {
        let one = |g: Option<&ShardedMatrix>| g.map(|g| Moments::zeros(device, g, options.moments)).transpose();
        let all = |gradients: &&Gradients| gradients.slots().map(one).collect::<Result<OfModel>>();
        let models = models.iter().map(all).collect::<Result<Vec<_>>>()?;
        let count = models.iter().flatten().flatten().map(Moments::shards).sum();
        if count == 0 {
            return Err(Error::argument("training", "nothing trains: every parameter is frozen"));
        }
        let (partials, scale) = (norm::partials(device, count)?, device.buffer("gradient scale", 8)?);
        Ok(AdamW { options, models, rules: Vec::new(), partials, scale, step: 0 })
    }

    /// Gives each parameter of `models`, those that the optimiser was made for, the rule that `rule` says by the model's number.
    pub fn set_rules(&mut self, models: &[&Parameters], rule: impl Fn(usize, &Parameter) -> ParameterRule) {
        let of_model = |(i, model): (usize, &&Parameters)| model.iter().map(|p| rule(i, p)).collect();
        self.rules = models.iter().enumerate().map(of_model).collect();
    }

    fn rule(&self, model: usize, parameter: usize) -> ParameterRule {
        self.rules.get(model).and_then(|rules| rules.get(parameter)).copied().unwrap_or_default()
    }

    /// Steps taken.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Goes on after `step` steps, the moments being loaded.
    pub fn resume(&mut self, step: u64) {
        self.step = step;
    }

    /// Moments of what trains, model by model in the order of their parameters.
    pub fn moments(&self) -> impl Iterator<Item = &Moments> {
        self.models.iter().flatten().flatten()
    }

    /// f32 `[2]`: the factor that the last step's gradient had, and its norm before clipping.
    pub fn scale_and_norm(&self) -> &Buffer {
        &self.scale
    }

    /// Records one step at rate `lr`, of the gradients times `factor` (1 over the number of supervised tokens).
    ///
    /// # Errors
    /// Other models than the optimiser was made for; settings out of range.
    pub fn record(
        &mut self,
        recorder: &mut Recorder,
        (lr, factor): (f64, f32),
        models: &[(&Parameters, &Gradients)],
    ) -> Result<()> {
        let same = |((p, g), m): (&(&Parameters, &Gradients), &OfModel)| {
            p.len() == m.len() && g.slots().zip(m).all(|(g, m)| g.is_some() == m.is_some())
        };
        if models.len() != self.models.len() || !models.iter().zip(&self.models).all(same) {
            return Err(Error::argument("optimiser", "was made for other models, or for other parameters of them"));
        }
        let all = || {
            let both = models.iter().zip(&self.models).enumerate();
            both.flat_map(|(i, ((p, g), m))| {
                p.iter().zip(g.slots()).zip(m).enumerate().map(move |(j, all)| ((i, j), all))
            })
        };
        let training = || all().filter_map(|(place, ((p, g), m))| Some((place, p, g?, m.as_ref()?)));
        let gradients = training().flat_map(|(_, _, gradient, _)| gradient.shards());
        for (slot, (_, gradient)) in gradients.enumerate() {
            norm::square_sum(recorder, gradient, &self.partials, slot)?;
        }
        norm::clip(recorder, &self.partials, self.options.max_norm, factor, &self.scale)?;
        let AdamWOptions { beta1, beta2, eps, weight_decay, .. } = self.options;
        let mut rounding = Rounding { seed: self.options.seed, tensor: 0 };
        for ((model, number), parameter, gradient, moments) in training() {
            let rule = self.rule(model, number);
            let (lr, weight_decay) = (lr * rule.rate, if rule.decays { weight_decay } else { 0.0 });
            let hyper = Hyper { lr, beta1, beta2, eps, weight_decay, step: self.step + 1 };
            moments.step(recorder, &hyper, (&self.scale, rounding), (&parameter.value, gradient))?;
            rounding.tensor += moments.shards() as u32;
        }
        self.step += 1;
        Ok(())
    }
}
