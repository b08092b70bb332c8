//! An adapter and a decoder together: what a training step and an evaluation run.

use crate::device::{Buffer, Device, Pending, Recorder, Tensor};
use crate::nn::decoder::{Keep, Logits, Space};
use crate::nn::{Gradients, Model};
use crate::optim::{AdamW, AdamWOptions, ParameterRule};
use crate::{Error, Result};

use super::buckets::Buckets;
use super::pass::{Backward, Completed, Part, Room, check, decoder_ids, packed, record};
use super::{Batch, dropout_key};

/// Which parameters train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trains {
    /// The adapter; the decoder is frozen (stage 1).
    Adapter,
    /// Adapter and decoder (stage 2).
    All,
    /// The decoder alone, on texts.
    Decoder,
    /// The adapter and the decoder's low-rank additions.
    LowRank,
}

/// The loss of one batch, on its way from the device.
#[derive(Clone, Debug)]
pub struct Losses {
    pub(super) buffer: Buffer,
    /// Supervised tokens.
    pub count: usize,
}

impl Losses {
    /// Negative log-likelihood of each supervised token, in order, `[count]`.
    ///
    /// # Errors
    /// The device was lost.
    pub fn read_blocking(&self, device: &Device) -> Result<Vec<f32>> {
        let bytes = device.read_blocking(&self.buffer)?;
        Ok(bytemuck::pod_collect_to_vec(&bytes[..4 * self.count]))
    }

    /// As [`Self::read_blocking`], without waiting.
    ///
    /// # Errors
    /// The device was lost.
    pub async fn read(&self, device: &Device) -> Result<Vec<f32>> {
        let bytes = device.read(&self.buffer).await?;
        Ok(bytemuck::pod_collect_to_vec(&bytes[..4 * self.count]))
    }

    /// The bytes that [`Self::sum_of`] takes, on their way.
    pub(super) fn begin_read(&self, device: &Device) -> Result<Pending<Vec<u8>>> {
        device.begin_read(&self.buffer)
    }

    /// The sum of the losses.
    pub(super) fn sum_of(&self, bytes: &[u8]) -> f64 {
        let losses: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes[..4 * self.count]);
        losses.into_iter().map(f64::from).sum()
    }
}

/// Trains a model. Every call submits its work and returns; nothing waits but the functions called `blocking`, so that an
/// app can spread a step over its frames.
#[derive(Debug)]
pub struct Trainer {
    device: Device,
    /// The model.
    pub model: Model,
    adapter_gradients: Gradients,
    decoder_gradients: Gradients,
    /// Where batches are summed as wholes.
    buckets: Option<Buckets>,
    /// The optimiser.
    pub optimizer: AdamW,
    keep: Keep,
    room: Option<Room>,
    targets: usize,
    loss_scale: f32,
    /// What the masks of dropout hang on.
    dropout_seed: u64,
}

impl Trainer {
    /// A trainer of what `trains`; `checkpointing` computes activations again instead of keeping them.
    ///
    /// # Errors
    /// An adapter that does not fit the decoder; no low-rank additions where they are to train; no memory.
    pub fn new(
        device: &Device,
        model: Model,
        trains: Trains,
        (options, checkpointing): (AdamWOptions, bool),
    ) -> Result<Self> {
        let (adapter, hidden) = (&model.adapter, model.decoder.config().hidden_size);
        if model.tokens_per_row().is_none() {
            let want = format!("an output of width {hidden} or a multiple");
            return Err(Error::shape("training", "adapter", want, adapter.output()));
        }
        let adapter_gradients = Gradients::new(device, &adapter.parameters, |_| trains != Trains::Decoder)?;
        let decoder = &model.decoder.parameters;
        let decoder_gradients = match trains {
            Trains::Adapter => Gradients::none(decoder),
            Trains::All | Trains::Decoder => Gradients::new(device, decoder, |_| true)?,
            Trains::LowRank => Gradients::new(device, decoder, |p| p.name.contains(".lora_"))?,
        };
        if trains == Trains::LowRank && !decoder_gradients.any() {
            return Err(Error::argument("training", "the decoder has no low-rank additions; add them first"));
        }
        let optimizer = AdamW::new(device, options, &[&adapter_gradients, &decoder_gradients])?;
        let keep = if checkpointing { Keep::Inputs } else { Keep::All };
        let device = device.clone();
        Ok(Trainer {
            device,
            model,
            adapter_gradients,
            decoder_gradients,
            buckets: None,
            optimizer,
            keep,
            room: None,
            targets: 0,
            loss_scale: 1.0,
            dropout_seed: options.seed,
        })
    }

    /// From the next step on the gradients of a step's batches are added up as wholes, in the order of the batches, each summed by itself
    /// first; without it each batch's products add to the sum of those before. It takes memory for a layer's gradients, and for the tables'
    /// where these train.
    ///
    /// # Errors
    /// No memory.
    pub fn sum_whole_batches(&mut self) -> Result<()> {
        let totals = (&self.adapter_gradients, &self.decoder_gradients);
        self.buckets = Some(Buckets::of_model(&self.model).with_room(&self.device, totals)?);
        Ok(())
    }

    /// The same for a step whose batches' sums go from rank to rank, each batch added to the sum of those before.
    pub(super) fn sum_by_rank(&mut self) {
        self.buckets = Some(Buckets::of_model(&self.model));
    }

    /// How many buckets there are in which something trains.
    pub(super) fn filled_buckets(&self) -> usize {
        let filled =
            |b: &Buckets| (0..b.len()).filter(|number| b.of(self.gradients(), *number).next().is_some()).count();
        self.buckets.as_ref().map_or(0, filled)
    }

    /// The tensors of a bucket: one batch's where these are summed as wholes, else the step's.
    pub(super) fn bucket(&self, number: usize) -> impl Iterator<Item = &Tensor> {
        let totals = self.gradients();
        let all = self.buckets.iter().flat_map(move |b| b.of(b.target(totals), number));
        all.flat_map(|gradient| gradient.shards().map(|(_, shard)| shard))
    }

    /// Replaces a bucket of the step's gradients by these numbers, f32 as [`Self::bucket`]'s tensors have them, one after the other.
    ///
    /// # Errors
    /// Another number of bytes; the device was lost.
    pub(super) fn set_bucket(&self, number: usize, bytes: &[u8]) -> Result<()> {
        let (totals, mut rest) = (self.gradients(), bytes);
        for gradient in self.buckets.iter().flat_map(|b| b.of(totals, number)) {
            for (_, shard) in gradient.shards() {
                let count = (shard.rows() * shard.row_bytes()).min(rest.len());
                let (own, after) = rest.split_at(count);
                self.device.write(shard.buffer(), own)?;
                rest = after;
            }
        }
        Ok(())
    }

    /// Counts the targets of a batch that another rank computes.
    pub(super) fn count_targets(&mut self, count: u32) {
        self.targets += count as usize;
    }

    /// Where the model is.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Computes gradients of the loss times `scale`, which [`Self::step`] takes out again: see [`LossScale`](crate::optim::LossScale). To
    /// be called before a step's first batch.
    ///
    /// # Errors
    /// A factor that is not finite and above 0; a step has begun.
    pub fn set_loss_scale(&mut self, scale: f32) -> Result<()> {
        if !(scale.is_finite() && scale > 0.0) || self.targets > 0 {
            let problem = format!("{scale}; give a finite number above 0, before the step's first batch");
            return Err(Error::argument("loss scale", problem));
        }
        self.loss_scale = scale;
        Ok(())
    }

    /// Zeroes the gradients: the start of a step.
    ///
    /// # Errors
    /// The device was lost.
    pub fn clear(&mut self) -> Result<()> {
        let mut recorder = self.device.recorder();
        self.adapter_gradients.clear(&mut recorder);
        self.decoder_gradients.clear(&mut recorder);
        self.targets = 0;
        recorder.submit().map(drop)
    }

    /// Adds a batch's gradients: `embeddings` `[m, d]` are the rows that [`Batch::embedding_rows`] names.
    ///
    /// # Errors
    /// A batch that does not fit the embeddings or the vocabulary, or without targets; no memory; the device was lost.
    pub fn accumulate(&mut self, batch: &Batch, embeddings: &Tensor) -> Result<Losses> {
        let (recorder, losses) = self.record(batch, embeddings)?;
        recorder.submit()?;
        Ok(losses)
    }

    /// As [`Self::accumulate`], for the caller to submit, before anything else of this trainer is recorded.
    ///
    /// # Errors
    /// As there.
    pub fn record(&mut self, batch: &Batch, embeddings: &Tensor) -> Result<(Recorder, Losses)> {
        let (_, recorder, losses) = self.record_cut(batch, embeddings, Completed::Sum)?;
        Ok((recorder, losses))
    }

    /// As [`Self::record`], in parts, if it is told so: each ends where a bucket of gradients is complete.
    pub(super) fn record_cut(
        &mut self,
        batch: &Batch,
        embeddings: &Tensor,
        completed: Completed,
    ) -> Result<(Vec<Part>, Recorder, Losses)> {
        let (totals, buckets) = ((&self.adapter_gradients, &self.decoder_gradients), self.buckets.as_ref());
        let (room, both) = ((&mut self.room, self.keep), (batch, embeddings));
        let mut parts = Vec::new();
        let mut complete = |recorder: &mut Recorder, bucket: usize| -> Result<()> {
            let Some(buckets) = buckets else { return Ok(()) };
            match completed {
                Completed::Sum => buckets.add(recorder, bucket, totals)?,
                Completed::Part if buckets.of(totals, bucket).next().is_some() => {
                    let next = recorder.device().recorder();
                    parts.push(Part { recorder: std::mem::replace(recorder, next), bucket });
                }
                Completed::Part => {}
            }
            buckets.begin_after(recorder, bucket);
            Ok(())
        };
        let backward = Backward {
            gradients: buckets.map_or(totals, |buckets| buckets.target(totals)),
            buckets,
            scale: self.loss_scale,
            dropout: dropout_key(self.dropout_seed, self.optimizer.step()),
            complete: &mut complete,
        };
        let (recorder, losses) = record(&self.device, &self.model, room, both, Some(backward))?;
        self.targets += losses.count;
        Ok((parts, recorder, losses))
    }

    /// The loss of a batch under the present parameters.
    ///
    /// # Errors
    /// As [`Self::accumulate`].
    pub fn evaluate(&mut self, batch: &Batch, embeddings: &Tensor) -> Result<Losses> {
        let (recorder, losses) = self.record_evaluation(batch, embeddings)?;
        recorder.submit()?;
        Ok(losses)
    }

    /// As [`Self::evaluate`], for the caller to submit, before anything else of this trainer is recorded.
    ///
    /// # Errors
    /// As there.
    pub fn record_evaluation(&mut self, batch: &Batch, embeddings: &Tensor) -> Result<(Recorder, Losses)> {
        record(&self.device, &self.model, (&mut self.room, self.keep), (batch, embeddings), None)
    }

    /// Steps the optimiser at rate `lr` by the mean over all supervised tokens since [`Self::clear`].
    ///
    /// # Errors
    /// Nothing was accumulated; the device was lost.
    pub fn step(&mut self, lr: f64) -> Result<()> {
        self.record_step(lr)?.submit().map(drop)
    }

    /// The adapter's learning rate is that of a step times `adapter_rate`; with `matrices_only`, biases and the weights of norms do not decay.
    pub fn set_rules(&mut self, adapter_rate: f64, matrices_only: bool) {
        let models = [&self.model.adapter.parameters, &self.model.decoder.parameters];
        self.optimizer.set_rules(&models, |model, parameter| ParameterRule {
            rate: if model == 0 { adapter_rate } else { 1.0 },
            decays: !matrices_only || parameter.shape.len() > 1,
        });
    }

    /// As [`Self::step`], for the caller to submit.
    ///
    /// # Errors
    /// As there.
    pub fn record_step(&mut self, lr: f64) -> Result<Recorder> {
        if self.targets == 0 {
            return Err(Error::argument("training", "a step needs at least one batch"));
        }
        let mut recorder = self.device.recorder();
        let models = [
            (&self.model.adapter.parameters, &self.adapter_gradients),
            (&self.model.decoder.parameters, &self.decoder_gradients),
        ];
        // The factor is a power of two, which takes no bits.
        let factor = 1.0 / self.targets as f32 / self.loss_scale;
        self.optimizer.record(&mut recorder, (lr, factor), &models)?;
        self.model.decoder.parameters.round(&mut recorder, |slot| self.decoder_gradients.get(slot).is_some())?;
        Ok(recorder)
    }

    /// The norm of the last step's gradient, before clipping.
    ///
    /// # Errors
    /// The device was lost.
    pub fn gradient_norm_blocking(&self) -> Result<f32> {
        let bytes = self.device.read_blocking(self.optimizer.scale_and_norm())?;
        Ok(bytemuck::pod_read_unaligned(&bytes[4..8]))
    }

    /// Gradients of the adapter and of the decoder, summed over the supervised tokens since [`Self::clear`], times the loss's factor.
    pub fn gradients(&self) -> (&Gradients, &Gradients) {
        (&self.adapter_gradients, &self.decoder_gradients)
    }
}

/// Losses of a model that does not train, in one work space.
#[derive(Debug)]
pub struct Scorer<'a> {
    device: Device,
    model: &'a Model,
    room: Option<Room>,
}

impl<'a> Scorer<'a> {
    /// Without work space yet.
    pub fn new(device: &Device, model: &'a Model) -> Self {
        Scorer { device: device.clone(), model, room: None }
    }

    /// The losses of a batch.
    ///
    /// # Errors
    /// As [`Trainer::accumulate`].
    pub fn losses(&mut self, batch: &Batch, embeddings: &Tensor) -> Result<Losses> {
        let room = (&mut self.room, Keep::Nothing);
        let (recorder, losses) = record(&self.device, self.model, room, (batch, embeddings), None)?;
        recorder.submit()?;
        Ok(losses)
    }
}

impl Model {
    /// The logits of every token of a batch, `[n, vocabulary]`, row-major. For small batches: all of them are held at once.
    ///
    /// # Errors
    /// As [`Trainer::accumulate`]; more logits than the device binds at once.
    pub fn logits_blocking(&self, device: &Device, batch: &Batch, embeddings: &Tensor) -> Result<Vec<f32>> {
        check(self, batch, embeddings)?;
        let n = batch.tokens();
        let space = Space::new(device, &self.decoder, n, Keep::Nothing)?;
        let logits = Logits::new(device, &self.decoder, n)?;
        let visual = self.visual_tokens(device, embeddings)?;
        let ids = decoder_ids(self, batch);
        let rows: Vec<u32> = (0..n as u32).collect();
        let rows = device.buffer_from("rows", bytemuck::cast_slice(&rows))?;
        let packed = packed(device, batch, &ids)?;
        let mut recorder = device.recorder();
        self.decoder.forward(&mut recorder, &packed, Some(&visual), &space, None)?;
        self.decoder.logits(&mut recorder, &rows, (&space, &logits))?;
        recorder.submit()?;
        logits.read_blocking(device)
    }
}
