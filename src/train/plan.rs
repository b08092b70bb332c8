//! What a run would take of a device's memory: its own buffers, made on a device that holds nothing ([`Device::plan`]).

use std::path::Path;

use serde_json::Value;

use super::order::BatchLimit;
use super::settings::{Settings, Trained};
use super::visual::EmbeddingFiles;
use super::{Batch, Model, Trainer, Trains};
use crate::align::Statistics;
use crate::device::{Device, Purpose, Tensor};
use crate::io::{AdapterKind, AdapterWeights, DecoderConfig, VISUAL, Weights, read_json_object};
use crate::nn::adapter::fresh;
use crate::nn::decoder::LowRankOptions;
use crate::nn::{Adapter, Decoder, Precision};
use crate::optim::{AdamWOptions, MomentType};
use crate::{ElementType, Error, Result};

/// The run that is planned.
#[derive(Clone, Debug, PartialEq)]
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
    /// The linear layers that get them; none named are all.
    pub targets: Vec<String>,
    /// Whether elements of their inputs are left out.
    pub dropout: bool,
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
    /// Batches of a step.
    pub accumulate: usize,
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

/// What settings do not say of a run that is planned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanShape {
    /// Width of the embeddings; by default that of the files, the encoder, the statistics or the adapter that the settings name.
    pub embedding_width: Option<usize>,
    /// Positions of each sample, visual ones included; by default the longest that the settings allow, which is the most that a run can take.
    pub length: Option<usize>,
}

/// Plans the run of some settings on a device, of which its limits matter alone. Of the model only `config.json` and the headers of its files are
/// read, if there are such; data is not read at all. Where a folder's matrices have several types, the most frequent one stands for all.
///
/// # Errors
/// As [`plan`]; settings out of range; no model, or one that is not known; no width of embeddings.
pub fn plan_settings(device: &Device, settings: &Settings, shape: PlanShape) -> Result<(PlanOptions, MemoryPlan)> {
    if settings.model.as_os_str().is_empty() {
        return Err(Settings::missing("model"));
    }
    settings.check_values()?;
    let (config, files) = match has_weights(&settings.model) {
        true => Weights::with_config(&settings.model).map(|(config, weights)| (config, weights.element_type()))?,
        false => (DecoderConfig::read(&settings.model)?, configured_type(&settings.model)?),
    };
    let precision = settings.precision.unwrap_or(match settings.train {
        Trained::Lora => Precision::F32,
        _ => Precision::for_training(device),
    });
    let storage = match (settings.train, settings.weights, precision) {
        (Trained::All, ..) => settings.master_weights,
        (_, Some(asked), _) => asked,
        (_, None, Precision::Mixed) => ElementType::F16,
        (_, None, Precision::F32) if matches!(files, ElementType::F16 | ElementType::BF16) => files,
        _ => ElementType::F32,
    };
    let longest = config.max_positions.map_or(settings.max_length, |most| most.min(settings.max_length));
    let length = shape.length.unwrap_or(longest);
    let (rank, targets, dropout) = match (settings.train, &settings.init_lora) {
        (Trained::Lora, Some(folder)) => low_rank_of(folder).map(|(rank, dropout)| (rank, Vec::new(), dropout))?,
        (Trained::Lora, None) => (settings.lora_rank, settings.lora_targets.clone(), 0.0),
        _ => (0, Vec::new(), 0.0),
    };
    let (adapter, adapter_tokens, width) = adapter(settings, &config)?;
    let embedding_width = match shape.embedding_width.or(width) {
        Some(width) => width,
        None => width_of(settings)?,
    };
    let options = PlanOptions {
        storage,
        precision,
        moments: settings.optimizer,
        trains: settings.trains(),
        rank,
        targets,
        dropout: rank > 0 && settings.lora_dropout.unwrap_or(dropout) > 0.0,
        recompute: settings.recompute,
        adapter,
        embedding_width,
        visual_tokens: adapter_tokens,
        batch_size: match settings.batch_limit() {
            BatchLimit::Samples(size) => size,
            BatchLimit::Tokens(most) => (most / length.max(1)).max(1),
        },
        accumulate: settings.step_batches(),
        length,
        max_binding: device.capabilities().max_binding,
    };
    let planned = plan(&config, &options)?;
    Ok((options, planned))
}

/// Whether a model's numbers are there: a folder may have its configuration alone, and still be planned.
fn has_weights(model: &Path) -> bool {
    let names = ["model.safetensors", "model.safetensors.index.json"];
    model.is_file() || names.iter().any(|name| model.join(name).is_file())
}

/// The type that a folder's `config.json` names, where its weights are not there.
fn configured_type(model: &Path) -> Result<ElementType> {
    let object = read_json_object(&model.join("config.json"))?;
    let name = object.get("dtype").or(object.get("torch_dtype")).and_then(Value::as_str).unwrap_or_default();
    Ok(match name {
        "bfloat16" => ElementType::BF16,
        "float16" => ElementType::F16,
        _ => ElementType::F32,
    })
}

/// The adapter's kind, the tokens that it makes, and where one is given the width of what it reads.
fn adapter(settings: &Settings, config: &DecoderConfig) -> Result<(AdapterKind, usize, Option<usize>)> {
    let Some(path) = &settings.init_adapter else { return Ok((settings.adapter, settings.adapter_tokens, None)) };
    let weights = AdapterWeights::load(path)?;
    weights.check_fits(weights.inputs(), config.hidden_size, path)?;
    Ok((weights.kind, weights.outputs() / config.hidden_size.max(1), Some(weights.inputs())))
}

/// Rank and dropout of a folder of low-rank additions.
fn low_rank_of(folder: &Path) -> Result<(usize, f64)> {
    let path = folder.join("adapter_config.json");
    let object = read_json_object(&path)?;
    let rank = object.get("r").and_then(Value::as_u64).filter(|rank| *rank > 0);
    let rank = rank.ok_or_else(|| Error::format(&path, "has no \"r\" above 0"))?;
    Ok((rank as usize, object.get("lora_dropout").and_then(Value::as_f64).unwrap_or(0.0)))
}

/// The width of the embeddings or of the statistics that the settings name.
fn width_of(settings: &Settings) -> Result<usize> {
    if !settings.embeddings.is_empty() {
        let (key, column) = (settings.key.as_deref(), settings.column.as_deref());
        let files = EmbeddingFiles { inputs: &settings.embeddings, ids: None, key, column, id_column: None };
        return Ok(files.dataset()?.width());
    }
    #[cfg(feature = "encode")]
    if let Some(model) = settings.encoder() {
        return match settings.stage {
            super::Stage::One => crate::encode::text_width(model),
            super::Stage::Two => crate::encode::image_width(model),
        };
    }
    match &settings.stats {
        Some(path) => Ok(Statistics::load(path)?.width()),
        None => Err(Error::argument(
            "embedding_width",
            "is not known; give it, or name embeddings, an encoder, statistics or an adapter",
        )),
    }
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
        decoder.add_low_rank_to(&device, low_rank, &options.targets)?;
        decoder.set_dropout(if options.dropout { 0.5 } else { 0.0 })?;
    }
    decoder.compute_in(&device, options.precision)?;
    let weights = fresh(options.adapter, options.embedding_width, config.hidden_size * options.visual_tokens, 0);
    let model = Model { adapter: Adapter::new(&device, &weights)?, decoder };
    let adamw = AdamWOptions { moments: options.moments, ..Default::default() };
    let mut trainer = Trainer::new(&device, model, options.trains, (adamw, options.recompute))?;
    if options.accumulate > 1 {
        trainer.sum_whole_batches()?;
    }
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
