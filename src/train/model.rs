//! An adapter and a decoder together: what a training step, an evaluation and a generation run.

use crate::device::{Buffer, Device, Tensor};
use crate::kernels::nn::attention::{Span, Spans};
use crate::kernels::nn::embedding::ScatterPlan;
use crate::nn::adapter::AdapterSpace;
use crate::nn::decoder::{self, Head, HeadSpace, Keep, Space};
use crate::nn::{Adapter, Decoder, Gradients};
use crate::optim::{AdamW, AdamWOptions};
use crate::{ElementType, Error, Result};

use super::Batch;

/// A decoder with an adapter in front of it.
#[derive(Clone, Debug)]
pub struct Model {
    /// From embeddings to visual tokens.
    pub adapter: Adapter,
    /// The language model.
    pub decoder: Decoder,
}

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

/// Work space for batches of a largest size.
#[derive(Clone, Debug)]
struct Room {
    tokens: usize,
    targets: usize,
    rows: usize,
    space: Space,
    head: HeadSpace,
    adapter: AdapterSpace,
    d_visual: Tensor,
}

impl Room {
    fn new(device: &Device, model: &Model, (tokens, targets, rows): (usize, usize, usize), keep: Keep) -> Result<Self> {
        Ok(Room {
            tokens,
            targets,
            rows,
            space: Space::new(device, &model.decoder, tokens, keep)?,
            head: HeadSpace::new(device, &model.decoder, targets)?,
            adapter: AdapterSpace::new(device, &model.adapter, rows)?,
            d_visual: Tensor::new(device, rows, model.adapter.output(), ElementType::F32)?,
        })
    }

    fn fits(&self, batch: &Batch) -> bool {
        batch.tokens() <= self.tokens
            && batch.targets as usize <= self.targets
            && batch.embedding_rows.len() <= self.rows
    }
}

/// The loss of one batch, on its way from the device.
#[derive(Clone, Debug)]
pub struct Losses {
    buffer: Buffer,
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
    /// The optimiser.
    pub optimizer: AdamW,
    keep: Keep,
    room: Option<Room>,
    targets: usize,
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
        if adapter.output() != hidden {
            return Err(Error::shape("training", "adapter", format!("an output of width {hidden}"), adapter.output()));
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
        Ok(Trainer { device, model, adapter_gradients, decoder_gradients, optimizer, keep, room: None, targets: 0 })
    }

    /// Where the model is.
    pub fn device(&self) -> &Device {
        &self.device
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
        let losses = run(
            &self.device,
            &self.model,
            (&mut self.room, self.keep),
            (batch, embeddings),
            Some((&self.adapter_gradients, &self.decoder_gradients)),
        )?;
        self.targets += losses.count;
        Ok(losses)
    }

    /// The loss of a batch under the present parameters.
    ///
    /// # Errors
    /// As [`Self::accumulate`].
    pub fn evaluate(&mut self, batch: &Batch, embeddings: &Tensor) -> Result<Losses> {
        run(&self.device, &self.model, (&mut self.room, self.keep), (batch, embeddings), None)
    }

    /// Steps the optimiser at rate `lr` by the mean over all supervised tokens since [`Self::clear`].
    ///
    /// # Errors
    /// Nothing was accumulated; the device was lost.
    pub fn step(&mut self, lr: f64) -> Result<()> {
        if self.targets == 0 {
            return Err(Error::argument("training", "a step needs at least one batch"));
        }
        let mut recorder = self.device.recorder();
        let models = [
            (&self.model.adapter.parameters, &self.adapter_gradients),
            (&self.model.decoder.parameters, &self.decoder_gradients),
        ];
        self.optimizer.record(&mut recorder, (lr, 1.0 / self.targets as f32), &models)?;
        recorder.submit().map(drop)
    }

    /// The norm of the last step's gradient, before clipping.
    ///
    /// # Errors
    /// The device was lost.
    pub fn gradient_norm_blocking(&self) -> Result<f32> {
        let bytes = self.device.read_blocking(self.optimizer.scale_and_norm())?;
        Ok(bytemuck::pod_read_unaligned(&bytes[4..8]))
    }

    /// Gradients of the adapter and of the decoder, summed over the supervised tokens since [`Self::clear`].
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
        run(&self.device, self.model, (&mut self.room, Keep::Nothing), (batch, embeddings), None)
    }
}

impl Model {
    /// The logits of every token of a batch, `[n, vocabulary]`, row-major. For small batches: all of them are held at once.
    ///
    /// # Errors
    /// As [`Trainer::accumulate`]; more logits than fit a chunk.
    pub fn logits_blocking(&self, device: &Device, batch: &Batch, embeddings: &Tensor) -> Result<Vec<f32>> {
        check(self, batch, embeddings)?;
        let n = batch.tokens();
        let space = Space::new(device, &self.decoder, n, Keep::Nothing)?;
        let head = HeadSpace::new(device, &self.decoder, n)?;
        let visual = self.visual_tokens(device, embeddings)?;
        let rows: Vec<u32> = (0..n as u32).collect();
        let rows = device.buffer_from("rows", bytemuck::cast_slice(&rows))?;
        let packed = packed(device, batch)?;
        let mut recorder = device.recorder();
        self.decoder.forward(&mut recorder, &packed, Some(&visual), &space, None)?;
        self.decoder.logits(&mut recorder, &rows, (&space, &head))?;
        recorder.submit()?;
        head.logits().to_f32_blocking(device)
    }

    /// The visual tokens of `embeddings` `[m, d]`: `[m, hidden]`.
    ///
    /// # Errors
    /// Another width; no memory; the device was lost.
    pub fn visual_tokens(&self, device: &Device, embeddings: &Tensor) -> Result<Tensor> {
        let space = AdapterSpace::new(device, &self.adapter, embeddings.rows())?;
        let mut recorder = device.recorder();
        self.adapter.forward(&mut recorder, embeddings, &space)?;
        recorder.submit()?;
        Ok(space.output().clone())
    }
}

fn check(model: &Model, batch: &Batch, embeddings: &Tensor) -> Result<()> {
    let want = (batch.embedding_rows.len(), model.adapter.input());
    if (embeddings.rows(), embeddings.width()) != want {
        let got = format!("[{}, {}]", embeddings.rows(), embeddings.width());
        return Err(Error::shape("training", "embeddings", format!("[{}, {}]", want.0, want.1), got));
    }
    Ok(())
}

fn packed(device: &Device, batch: &Batch) -> Result<decoder::Batch> {
    let span = |&(first, count): &(u32, u32)| Span { q_first: first, q_count: count, k_first: first, k_count: count };
    let spans = Spans::new(device, &batch.spans.iter().map(span).collect::<Vec<_>>())?;
    decoder::Batch::new(device, &batch.ids, &batch.positions, spans)
}

/// One batch through adapter and decoder, forward and, with gradients, backward.
fn run(
    device: &Device,
    model: &Model,
    (room, keep): (&mut Option<Room>, Keep),
    (batch, embeddings): (&Batch, &Tensor),
    gradients: Option<(&Gradients, &Gradients)>,
) -> Result<Losses> {
    check(model, batch, embeddings)?;
    let rows = batch.embedding_rows.len();
    if room.as_ref().is_none_or(|room| !room.fits(batch)) {
        // What was there is given back first.
        let had = room.take().map_or((0, 0, 0), |r| (r.tokens, r.targets, r.rows));
        let size = (had.0.max(batch.tokens()), had.1.max(batch.targets as usize), had.2.max(rows));
        *room = Some(Room::new(device, model, size, keep)?);
    }
    let Some(room) = room else { return Err(Error::argument("training", "no work space")) };
    let space = room.space.first_rows(batch.tokens())?;
    let adapter = room.adapter.first_rows(rows)?;
    let plan = ScatterPlan::new(device, &batch.ids)?;
    plan.check(model.decoder.config().vocab_size, rows)?;
    let packed = packed(device, batch)?;
    let head = Head::new(device, &batch.labels)?;
    let visual = (rows > 0).then(|| adapter.output());

    let mut recorder = device.recorder();
    if rows > 0 {
        model.adapter.forward(&mut recorder, embeddings, &adapter)?;
    }
    model.decoder.forward(&mut recorder, &packed, visual, &space, None)?;
    let backward = gradients.map(|(_, decoder)| (decoder, 1.0));
    model.decoder.loss(&mut recorder, &head, (&space, &room.head), backward)?;
    if let Some((adapter_gradients, decoder_gradients)) = gradients {
        let d_visual = room.d_visual.first_rows(rows)?;
        recorder.clear(d_visual.buffer());
        let to = (rows > 0).then_some(&d_visual);
        model.decoder.backward(&mut recorder, decoder_gradients, (&packed, &plan), &space, to)?;
        if rows > 0 {
            model.adapter.backward(&mut recorder, adapter_gradients, (embeddings, &d_visual), &adapter, None)?;
        }
    }
    recorder.submit()?;
    Ok(Losses { buffer: head.losses().clone(), count: head.count() })
}
