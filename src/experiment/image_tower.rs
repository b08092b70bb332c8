//! Training an image tower against the vectors of a text encoder that stays as it is.

use super::encoder::{EncoderSettings, EncoderStep, TrainedEncoder, loss_after};
use super::pairs::Pairs;
use super::random::{Random, Stream};
use crate::device::{Device, Tensor};
use crate::nn::dual_encoder::{DualEncoder, EncoderSpace};
use crate::nn::{Gradients, PairSpace};
use crate::optim::AdamW;
use crate::train::Schedule;
use crate::{Error, Result};

/// Draws a text of pair `index`: its row of norm 1, `[d]`.
pub type TextRow<'a> = dyn Fn(usize, &mut Random) -> Vec<f32> + 'a;

/// Trains the image tower of a dual encoder, whose text tower stays unused, so that images come near `text`'s rows of their captions and
/// away from those of the others of a batch. The width is that of the rows: [`EncoderSettings::width`]. `on_step` hears of the progress and
/// may end the training with an error of its own.
///
/// # Errors
/// Settings out of range, fewer pairs than a batch; rows of another width; a loss that is not finite; what `on_step` or the device say.
pub fn train_image_tower(
    device: &Device,
    pairs: &dyn Pairs,
    text: &TextRow<'_>,
    settings: &EncoderSettings,
    on_step: &mut dyn FnMut(EncoderStep<'_>) -> Result<()>,
) -> Result<TrainedEncoder> {
    let mut run = Run::new(device, pairs, settings)?;
    for step in 0..settings.steps {
        run.step(step, text)?;
        let last = step + 1 == settings.steps;
        if last || (step + 1).is_multiple_of(settings.report_every) {
            run.report(step + 1, on_step)?;
        }
    }
    Ok(TrainedEncoder::new(device, run.encoder, settings.batch))
}

struct Run<'a> {
    device: &'a Device,
    pairs: &'a dyn Pairs,
    settings: &'a EncoderSettings,
    schedule: Schedule,
    random: Random,
    encoder: DualEncoder,
    space: EncoderSpace,
    pair_space: PairSpace,
    gradients: (Gradients, Gradients),
    optimizers: (AdamW, AdamW),
}

impl<'a> Run<'a> {
    fn new(device: &'a Device, pairs: &'a dyn Pairs, settings: &'a EncoderSettings) -> Result<Self> {
        if settings.steps == 0 {
            return Err(Error::argument("steps", "0; give at least 1"));
        }
        // The text tower has no part in it.
        let encoder = DualEncoder::new(device, settings.config(pairs, 1)?)?;
        let image = Gradients::new(device, &encoder.parameters, |p| p.name.starts_with("image."))?;
        let gradients = (image, Gradients::new(device, &encoder.temperature, |_| true)?);
        Ok(Run {
            device,
            pairs,
            settings,
            schedule: settings.schedule()?,
            random: Random::of(settings.seed, Stream::Batches),
            space: EncoderSpace::new(device, &encoder, settings.batch)?,
            pair_space: PairSpace::new(device, settings.batch)?,
            optimizers: settings.optimizers(device, &gradients)?,
            gradients,
            encoder,
        })
    }

    fn step(&mut self, step: u64, text: &TextRow<'_>) -> Result<()> {
        let chosen = self.random.choose(self.settings.batch, self.pairs.len());
        let images: Vec<f32> = chosen.iter().flat_map(|&i| self.pairs.image(i)).copied().collect();
        let texts: Vec<f32> = chosen.iter().flat_map(|&i| text(i, &mut self.random)).collect();
        let width = self.settings.width;
        if texts.len() != chosen.len() * width {
            let got = format!("{} numbers", texts.len());
            return Err(Error::shape("image tower", "texts", format!("{} rows of width {width}", chosen.len()), got));
        }
        let texts = Tensor::from_f32(self.device, &texts, width)?;
        self.encoder.load_images(self.device, &self.space, &images)?;
        let mut recorder = self.device.recorder();
        let (tower, temperature) = (&self.gradients.0, &self.gradients.1);
        tower.clear(&mut recorder);
        temperature.clear(&mut recorder);
        let spaces = (&self.space, &self.pair_space);
        self.encoder.loss_against(&mut recorder, self.settings.loss, spaces, &texts, (tower, temperature))?;
        // The first step's rate would be 0, as in Transformers: nothing is lost by beginning at the second's.
        let rate = (self.schedule.rate(step + 1), 1.0);
        self.optimizers.0.record(&mut recorder, rate, &[(&self.encoder.parameters, tower)])?;
        self.optimizers.1.record(&mut recorder, rate, &[(&self.encoder.temperature, temperature)])?;
        recorder.submit().map(drop)
    }

    /// The loss of the last batch, before its step.
    fn report(&self, step: u64, on_step: &mut dyn FnMut(EncoderStep<'_>) -> Result<()>) -> Result<()> {
        let (loss, temperature) = loss_after(step, self.device, &self.encoder, &self.pair_space)?;
        on_step(EncoderStep { step, steps: self.settings.steps, loss, temperature, record: None })
    }
}
