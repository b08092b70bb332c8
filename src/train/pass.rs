//! A batch's pass through adapter and decoder, forward and backward, as a recording.

use crate::device::{Device, Purpose, Recorder, Tensor};
use crate::kernels::nn::attention::{Sequence, Sequences};
use crate::kernels::nn::embedding::{ScatterPlan, VISUAL};
use crate::nn::Model;
use crate::nn::adapter::AdapterSpace;
use crate::nn::decoder::{self, Head, HeadSpace, Keep, Space};
use crate::{ElementType, Error, Result};

use super::Batch;
use super::buckets::{Both, Buckets};
use super::model::Losses;

const VISUAL_GRADIENT: (Purpose, &str) = (Purpose::Backward, "of the visual tokens");

/// Work space for batches of a largest size.
#[derive(Clone, Debug)]
pub(super) struct Room {
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
            d_visual: Tensor::labelled(device, VISUAL_GRADIENT, (rows, model.adapter.output()), ElementType::F32)?,
        })
    }

    fn fits(&self, batch: &Batch) -> bool {
        batch.tokens() <= self.tokens
            && batch.targets as usize <= self.targets
            && batch.embedding_rows.len() <= self.rows
    }
}

pub(super) fn check(model: &Model, batch: &Batch, embeddings: &Tensor) -> Result<()> {
    let want = (batch.embedding_rows.len(), model.adapter.input());
    if (embeddings.rows(), embeddings.width()) != want {
        let got = format!("[{}, {}]", embeddings.rows(), embeddings.width());
        return Err(Error::shape("training", "embeddings", format!("[{}, {}]", want.0, want.1), got));
    }
    Ok(())
}

/// A batch's ids, visual ones as rows of [`Model::as_tokens`]: those of a sequence take its embedding's tokens in turn.
pub(super) fn decoder_ids(model: &Model, batch: &Batch) -> Vec<u32> {
    let t = model.tokens_per_row().unwrap_or(1) as u32;
    let mut ids = batch.ids.clone();
    for &(first, count) in batch.sequences.iter().filter(|_| t > 1) {
        let visual = ids[first as usize..(first + count) as usize].iter_mut().filter(|id| **id & VISUAL != 0);
        visual.zip((0..t).cycle()).for_each(|(id, k)| *id = VISUAL | ((*id & !VISUAL) * t + k));
    }
    ids
}

/// What follows where a bucket of a batch's gradients is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Completed {
    /// It is added to the step's.
    Sum,
    /// The recording ends, and another one begins.
    Part,
}

/// A part of a batch's recording, behind which a bucket is complete.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) recorder: Recorder,
    pub(super) bucket: usize,
}

/// What a training pass has beside a forward pass.
pub(super) struct Backward<'a> {
    /// Of the adapter and of the decoder, to be added to.
    pub(super) gradients: Both<'a>,
    /// Where these are one batch's.
    pub(super) buckets: Option<&'a Buckets>,
    /// The loss's factor.
    pub(super) scale: f32,
    /// The key of dropout's masks.
    pub(super) dropout: [u32; 2],
    /// Is told of each bucket that is complete.
    pub(super) complete: &'a mut dyn FnMut(&mut Recorder, usize) -> Result<()>,
}

/// The number of each token's sample.
fn samples_of(batch: &Batch) -> Vec<u32> {
    let of = |(&(_, count), &sample): (&(u32, u32), &u32)| std::iter::repeat_n(sample, count as usize);
    batch.sequences.iter().zip(&batch.samples).flat_map(of).collect()
}

pub(super) fn packed(device: &Device, batch: &Batch, ids: &[u32]) -> Result<decoder::Batch> {
    let sequence =
        |&(first, count): &(u32, u32)| Sequence { q_first: first, q_count: count, k_first: first, k_count: count };
    let sequences = Sequences::new(device, &batch.sequences.iter().map(sequence).collect::<Vec<_>>())?;
    decoder::Batch::new(device, ids, &batch.positions, sequences)
}

/// One batch through adapter and decoder, forward and, with gradients, backward from the loss times a factor.
pub(super) fn record(
    device: &Device,
    model: &Model,
    (room, keep): (&mut Option<Room>, Keep),
    (batch, embeddings): (&Batch, &Tensor),
    backward: Option<Backward<'_>>,
) -> Result<(Recorder, Losses)> {
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
    let ids = decoder_ids(model, batch);
    let plan = ScatterPlan::new(device, &ids)?;
    plan.check(model.decoder.config().vocab_size, rows * model.tokens_per_embedding())?;
    let mut packed = packed(device, batch, &ids)?;
    let dropout = model.decoder.dropout;
    if let Some(backward) = backward.as_ref().filter(|_| dropout > 0.0) {
        packed = packed.with_dropout(device, &samples_of(batch), (dropout, backward.dropout))?;
    }
    let head = Head::new(device, &batch.labels)?;
    let visual = if rows > 0 { Some(model.as_tokens(adapter.output())?) } else { None };

    let mut recorder = device.recorder();
    if let Some(buckets) = backward.as_ref().and_then(|b| b.buckets) {
        buckets.begin(&mut recorder);
    }
    if rows > 0 {
        model.adapter.forward(&mut recorder, embeddings, &adapter)?;
    }
    model.decoder.forward(&mut recorder, &packed, visual.as_ref(), &space, None)?;
    let of_loss = backward.as_ref().map(|b| (b.gradients.1, b.scale));
    model.decoder.loss(&mut recorder, &head, (&space, &room.head), of_loss)?;
    if let Some(Backward { gradients: (adapter_gradients, decoder_gradients), complete, .. }) = backward {
        let (decoder, table) = (&model.decoder, model.decoder.layers.len() + 1);
        complete(&mut recorder, 0)?;
        let d_visual = room.d_visual.first_rows(rows)?;
        recorder.clear(d_visual.buffer());
        let d_tokens = if rows > 0 { Some(model.as_tokens(&d_visual)?) } else { None };
        let (batch, space) = ((&packed, &plan), (&space, d_tokens.as_ref()));
        decoder.backward_by_layer(&mut recorder, decoder_gradients, batch, space, complete)?;
        complete(&mut recorder, table)?;
        if rows > 0 {
            model.adapter.backward(&mut recorder, adapter_gradients, (embeddings, &d_visual), &adapter, None)?;
        }
        complete(&mut recorder, table + 1)?;
    }
    Ok((recorder, Losses { buffer: head.losses().clone(), count: head.count() }))
}
