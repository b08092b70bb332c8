//! What a run would take of a device's memory: its own buffers, made on a device that holds nothing ([`Device::plan`]).

use super::{Batch, Model, Trainer, Trains};
use crate::device::{Device, Purpose, Tensor};
use crate::io::{AdapterKind, DecoderConfig, VISUAL};
use crate::nn::adapter::fresh;
use crate::nn::decoder::LowRankOptions;
use crate::nn::{Adapter, Decoder, Precision};
use crate::optim::{AdamWOptions, MomentType};
use crate::{ElementType, Error, Result};

/// The run that is planned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlanOptions {
    /// How the decoder's matrices are stored: f32, f16, bf16 or Q8_0; f32 or bf16 where they learn.
    pub storage: ElementType,
    /// What the decoder computes in.
    pub precision: Precision,
    /// How the optimiser keeps its moments.
    pub moments: MomentType,
    /// What learns.
    pub trains: Trains,
    /// Rank of the low-rank additions, 0 without.
    pub rank: usize,
    /// Whether activations are computed again in the backward pass.
    pub recompute: bool,
    /// The adapter.
    pub adapter: AdapterKind,
    /// Width of the embeddings.
    pub embedding_width: usize,
    /// Visual tokens of a sample, all different.
    pub visual_tokens: usize,
    /// Samples of a batch.
    pub batch_size: usize,
    /// Positions of each: BOS, visual tokens, text, all text supervised.
    pub length: usize,
    /// The most bytes that the device binds at once.
    pub max_binding: u64,
}

/// Bytes of a run's buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryPlan {
    /// The decoder's weights but for the tables.
    pub layers: u64,
    /// The embedding table, and the output matrix where it is another.
    pub tables: u64,
    /// The adapter's weights, the low-rank additions, and the copies that products read in mixed precision.
    pub additions: u64,
    /// Gradients of what learns.
    pub gradients: u64,
    /// The optimiser's moments.
    pub moments: u64,
    /// Activations that are kept.
    pub activations: u64,
    /// Gradients of activations.
    pub backward: u64,
    /// Supervised rows, their logits and gradients.
    pub head: u64,
    /// Everything at once at the most, a batch's own tables included.
    pub peak: u64,
}

/// Plans a run of a model: a step of a batch of `batch_size` samples of `length` positions.
///
/// # Errors
/// No text beside the visual tokens; options that no run may have; a buffer above `max_binding`, by its name.
pub fn plan(config: &DecoderConfig, options: &PlanOptions) -> Result<MemoryPlan> {
    if options.length < options.visual_tokens.saturating_add(2) || options.batch_size == 0 {
        return Err(Error::argument("length", "at least one sample, with room for text beside the visual tokens"));
    }
    let device = Device::plan(options.max_binding);
    // Nobody reads them, so they take no memory here either.
    let zeros = |_: &str, shape: &[usize]| Ok(vec![0.0; shape.iter().product()]);
    let mut decoder = Decoder::with_storage(&device, config, options.storage, zeros)?;
    let is_table = |name: &str| name == "model.embed_tokens.weight" || name == "lm_head.weight";
    let tables = decoder.parameters.iter().filter(|p| is_table(&p.name)).map(|p| p.value.bytes()).sum();
    let layers = device.memory(Purpose::Weights) - tables;
    if options.rank > 0 {
        let low_rank = LowRankOptions { rank: options.rank, alpha: options.rank as f32, seed: 0 };
        decoder.add_low_rank(&device, low_rank)?;
    }
    decoder.compute_in(&device, options.precision)?;
    let weights = fresh(options.adapter, options.embedding_width, config.hidden_size * options.visual_tokens, 0);
    let model = Model { adapter: Adapter::new(&device, &weights)?, decoder };
    let adamw = AdamWOptions { moments: options.moments, ..Default::default() };
    let mut trainer = Trainer::new(&device, model, options.trains, (adamw, options.recompute))?;
    let embeddings = Tensor::new(&device, options.batch_size, options.embedding_width, ElementType::F32)?;
    trainer.clear()?;
    trainer.accumulate(&batch(options), &embeddings)?;
    trainer.step(0.0)?;
    Ok(MemoryPlan {
        layers,
        tables,
        additions: device.memory(Purpose::Weights) - layers - tables,
        gradients: device.memory(Purpose::Gradients),
        moments: device.memory(Purpose::Moments),
        activations: device.memory(Purpose::Activations),
        backward: device.memory(Purpose::Backward),
        head: device.memory(Purpose::Head),
        peak: device.peak_memory(),
    })
}

fn batch(options: &PlanOptions) -> Batch {
    let mut batch = Batch::default();
    let (length, visual) = (options.length as u32, options.visual_tokens as u32);
    for sample in 0..options.batch_size as u32 {
        batch.sequences.push((batch.ids.len() as u32, length));
        batch.ids.extend((0..length).map(|t| if (1..=visual).contains(&t) { VISUAL | sample } else { 0 }));
        batch.positions.extend(0..length);
        // Each position is trained to predict the next one, if that is text.
        batch.labels.extend((1..=length).map(|next| if next > visual && next < length { 0 } else { super::IGNORED }));
        batch.samples.push(sample);
        batch.visual_sequences.push(sample);
        batch.embedding_rows.push(sample);
    }
    batch.targets = batch.labels.iter().filter(|label| **label >= 0).count() as u32;
    batch
}
