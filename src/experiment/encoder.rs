//! Training the dual encoder [spec 8; paper appendix H.1].

use super::monitor::{Monitor, Observation};
use super::pairs::{Pairs, Probe};
use super::random::{Random, Stream};
use super::record::Record;
use crate::device::{Device, Recorder, Tensor};
use crate::nn::dual_encoder::{DualEncoder, DualEncoderConfig, EncoderSpace};
use crate::nn::{Gradients, PairLoss, PairSpace};
use crate::optim::{AdamW, AdamWOptions};
use crate::train::{Schedule, ScheduleKind};
use crate::{ElementType, Error, Result};

/// How it trains; the default is the size of the miniature experiment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EncoderSettings {
    /// Width of the shared space.
    pub width: usize,
    /// The loss.
    pub loss: PairLoss,
    /// Optimiser steps.
    pub steps: u64,
    /// Pairs of a step, each with all others as its negatives.
    pub batch: usize,
    /// Learning rate after the warm-up; a cosine takes it to 0.
    pub lr: f64,
    /// Share of the steps that the warm-up takes.
    pub warmup_ratio: f64,
    /// Decoupled decay of the towers; the temperature has none.
    pub weight_decay: f64,
    /// The first temperature.
    pub temperature: f32,
    /// The smallest temperature.
    pub least_temperature: f32,
    /// Steps from one report of the loss to the next; measurements of the monitor are reported too.
    pub report_every: u64,
    /// What everything depends on.
    pub seed: u64,
}

impl Default for EncoderSettings {
    fn default() -> Self {
        EncoderSettings {
            width: 64,
            loss: PairLoss::InfoNce,
            steps: 300,
            batch: 128,
            lr: 2e-3,
            warmup_ratio: 0.1,
            weight_decay: 1e-4,
            temperature: 0.01,
            least_temperature: 0.01,
            report_every: 10,
            seed: 0,
        }
    }
}

/// Where the training stands.
#[derive(Clone, Copy, Debug)]
pub struct EncoderStep<'a> {
    /// Optimiser steps done, from 0.
    pub step: u64,
    /// Of so many.
    pub steps: u64,
    /// Mean loss of the last batch, before its step.
    pub loss: f64,
    /// The temperature.
    pub temperature: f32,
    /// What the monitor measured, if it did.
    pub record: Option<&'a Record>,
}

/// A trained dual encoder and the device that it is on.
#[derive(Clone, Debug)]
pub struct TrainedEncoder {
    device: Device,
    /// The encoder.
    pub encoder: DualEncoder,
    batch: usize,
}

impl TrainedEncoder {
    /// An encoder that was trained with batches of this size.
    pub(super) fn new(device: &Device, encoder: DualEncoder, batch: usize) -> Self {
        TrainedEncoder { device: device.clone(), encoder, batch }
    }

    /// Where it is.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Embeddings of images, `[n, d]`, from `[n, height width channels]`.
    ///
    /// # Errors
    /// As [`DualEncoder::embed_images_blocking`].
    pub fn images(&self, images: &[f32]) -> Result<Vec<f32>> {
        self.encoder.embed_images_blocking(&self.device, images, 2 * self.batch)
    }

    /// Embeddings of texts, `[n, d]`, from the ids of their words.
    ///
    /// # Errors
    /// As [`DualEncoder::embed_texts_blocking`].
    pub fn texts<T: AsRef<[u32]>>(&self, texts: &[T]) -> Result<Vec<f32>> {
        self.encoder.embed_texts_blocking(&self.device, texts, 8 * self.batch)
    }
}

/// Trains a dual encoder on pairs; `probe` and `monitor` watch the gap of held-out pairs, from step 0 on. `on_step` hears of
/// the progress and may end the training with an error of its own.
///
/// Gradients of embeddings are kept on the device for as many steps as the monitor puts together, and read with a measurement:
/// nothing else waits but the report of a loss.
///
/// # Errors
/// Settings out of range, fewer pairs than a batch; a loss that is not finite; what the monitor, `on_step` or the device say.
pub fn train_dual_encoder(
    device: &Device,
    pairs: &dyn Pairs,
    watch: Option<(&Probe, &mut Monitor)>,
    settings: &EncoderSettings,
    on_step: &mut dyn FnMut(EncoderStep<'_>) -> Result<()>,
) -> Result<TrainedEncoder> {
    let mut run = Run::new(device, pairs, watch, settings)?;
    for step in 0..=settings.steps {
        let last = step == settings.steps;
        // Before the first step and after the last the loss is still that of a batch.
        run.forward_backward()?;
        run.report(step, last, on_step)?;
        if !last {
            run.step(step)?;
        }
    }
    Ok(TrainedEncoder::new(device, run.encoder, settings.batch))
}

impl EncoderSettings {
    /// The towers of pairs, whose texts have words of a vocabulary of this size.
    ///
    /// # Errors
    /// A batch of fewer than 2 or more than all pairs; no report.
    pub(super) fn config(&self, pairs: &dyn Pairs, vocabulary: usize) -> Result<DualEncoderConfig> {
        if self.batch < 2 || self.batch > pairs.len() {
            let problem = format!("{} of {} pairs; give 2 up to all of them", self.batch, pairs.len());
            return Err(Error::argument("batch", problem));
        }
        if self.report_every == 0 {
            return Err(Error::argument("report_every", "0; give at least 1"));
        }
        Ok(DualEncoderConfig {
            image: pairs.shape(),
            vocabulary,
            width: self.width,
            temperature: self.temperature,
            least_temperature: self.least_temperature,
            // Only a sigmoid needs its bias: most pairs are no pairs.
            bias: if self.loss == PairLoss::Sigmoid { -10.0 } else { 0.0 },
            seed: self.seed,
        })
    }

    /// The rate of each step, of which there is one more than are taken: the first one's would be 0.
    pub(super) fn schedule(&self) -> Result<Schedule> {
        let steps = self.steps.saturating_add(1);
        Schedule::with_ratio(ScheduleKind::Cosine, self.lr, self.warmup_ratio, steps)
    }

    /// Of the towers, and of the temperature, which does not decay.
    pub(super) fn optimizers(&self, device: &Device, gradients: &(Gradients, Gradients)) -> Result<(AdamW, AdamW)> {
        let plain = AdamWOptions { weight_decay: 0.0, max_norm: None, ..Default::default() };
        let towers = AdamWOptions { weight_decay: self.weight_decay, ..plain };
        Ok((AdamW::new(device, towers, &[&gradients.0])?, AdamW::new(device, plain, &[&gradients.1])?))
    }
}

/// The loss of the last batch, and the temperature.
///
/// # Errors
/// A loss that is not finite; the device was lost.
pub(super) fn loss_after(
    step: u64,
    device: &Device,
    encoder: &DualEncoder,
    pair_space: &PairSpace,
) -> Result<(f64, f32)> {
    let loss = pair_space.mean_loss_blocking(device)?;
    if !loss.is_finite() {
        return Err(Error::degenerate(format!("the loss at step {step} is {loss}; lower the learning rate")));
    }
    Ok((loss, encoder.temperature_blocking(device)?.0))
}

struct Run<'a> {
    device: &'a Device,
    pairs: &'a dyn Pairs,
    watch: Option<(&'a Probe, &'a mut Monitor)>,
    settings: &'a EncoderSettings,
    schedule: Schedule,
    random: Random,
    encoder: DualEncoder,
    space: EncoderSpace,
    pair_space: PairSpace,
    gradients: (Gradients, Gradients),
    optimizers: (AdamW, AdamW),
    ring: Ring,
}

impl<'a> Run<'a> {
    fn new(
        device: &'a Device,
        pairs: &'a dyn Pairs,
        watch: Option<(&'a Probe, &'a mut Monitor)>,
        settings: &'a EncoderSettings,
    ) -> Result<Self> {
        let encoder = DualEncoder::new(device, settings.config(pairs, pairs.vocabulary())?)?;
        let all = |p| Gradients::new(device, p, |_| true);
        let gradients = (all(&encoder.parameters)?, all(&encoder.temperature)?);
        let kept = watch.as_ref().map_or(0, |(_, monitor)| monitor.options().gradient_steps);
        Ok(Run {
            device,
            pairs,
            watch,
            settings,
            schedule: settings.schedule()?,
            random: Random::of(settings.seed, Stream::Batches),
            space: EncoderSpace::new(device, &encoder, settings.batch)?,
            pair_space: PairSpace::new(device, settings.batch)?,
            optimizers: settings.optimizers(device, &gradients)?,
            ring: Ring::new(device, settings, kept)?,
            gradients,
            encoder,
        })
    }

    /// Draws a batch; its loss and gradients.
    fn forward_backward(&mut self) -> Result<()> {
        let chosen = self.random.choose(self.settings.batch, self.pairs.len());
        let images: Vec<f32> = chosen.iter().flat_map(|&i| self.pairs.image(i)).copied().collect();
        let texts: Vec<Vec<u32>> = chosen.iter().map(|&i| self.pairs.text(i, &mut self.random)).collect();
        self.encoder.load(self.device, &self.space, &images, &texts)?;
        let mut recorder = self.device.recorder();
        let (towers, temperature) = (&self.gradients.0, &self.gradients.1);
        towers.clear(&mut recorder);
        temperature.clear(&mut recorder);
        self.encoder.forward(&mut recorder, &self.space)?;
        let spaces = (&self.space, &self.pair_space);
        self.encoder.loss(&mut recorder, self.settings.loss, spaces, Some((towers, temperature)))?;
        self.ring.record(&mut recorder, self.space.embedding_gradients())?;
        recorder.submit().map(drop)
    }

    fn step(&mut self, step: u64) -> Result<()> {
        // The first step's rate would be 0, as in Transformers: nothing is lost by beginning at the second's.
        let rate = (self.schedule.rate(step + 1), 1.0);
        let mut recorder = self.device.recorder();
        self.optimizers.0.record(&mut recorder, rate, &[(&self.encoder.parameters, &self.gradients.0)])?;
        self.optimizers.1.record(&mut recorder, rate, &[(&self.encoder.temperature, &self.gradients.1)])?;
        recorder.submit().map(drop)
    }

    fn report(&mut self, step: u64, last: bool, on_step: &mut dyn FnMut(EncoderStep<'_>) -> Result<()>) -> Result<()> {
        let measures = self.watch.as_ref().is_some_and(|(_, monitor)| monitor.wants(step) || last);
        if !(measures || last || step.is_multiple_of(self.settings.report_every)) {
            return Ok(());
        }
        let (loss, temperature) = loss_after(step, self.device, &self.encoder, &self.pair_space)?;
        let (steps, mut record) = (self.settings.steps, None);
        if let Some((probe, monitor)) = self.watch.as_mut().filter(|_| measures) {
            let images = self.encoder.embed_images_blocking(self.device, &probe.images, 2 * self.settings.batch)?;
            let texts = self.encoder.embed_texts_blocking(self.device, &probe.texts, 8 * self.settings.batch)?;
            let gradients = self.ring.read_blocking(self.device)?;
            let temperature = f64::from(temperature);
            let (images, texts, gradients) = (&images, &texts, &gradients);
            record = Some(monitor.observe(Observation { step, loss, temperature, images, texts, gradients })?);
        }
        on_step(EncoderStep { step, steps, loss, temperature, record })
    }
}

/// The gradients of the last batches' embeddings, on the device.
struct Ring {
    /// `[2 batch kept, d]`, or none.
    rows: Option<Tensor>,
    batch: usize,
    kept: usize,
    recorded: usize,
}

impl Ring {
    fn new(device: &Device, settings: &EncoderSettings, kept: usize) -> Result<Self> {
        let make = || Tensor::new(device, 2 * settings.batch * kept, settings.width, ElementType::F32);
        let rows = (kept > 0).then(make).transpose()?;
        Ok(Ring { rows, batch: settings.batch, kept, recorded: 0 })
    }

    fn record(&mut self, recorder: &mut Recorder, (x, y): (&Tensor, &Tensor)) -> Result<()> {
        let Some(rows) = &self.rows else { return Ok(()) };
        let first = 2 * self.batch * (self.recorded % self.kept);
        recorder.copy_rows((x, 0), (rows, first), self.batch)?;
        recorder.copy_rows((y, 0), (rows, first + self.batch), self.batch)?;
        self.recorded += 1;
        Ok(())
    }

    fn read_blocking(&self, device: &Device) -> Result<Vec<f32>> {
        let Some(rows) = &self.rows else { return Ok(Vec::new()) };
        rows.first_rows(2 * self.batch * self.recorded.min(self.kept))?.to_f32_blocking(device)
    }
}
