//! The whole product of switches that must not change results: what trains, the weights' type, visual tokens, accumulation, tied
//! embeddings, biases and the device, each with activations saved and recomputed.
//!
//! Recomputed and saved give the same bits; all agree with the f64 twins, and so with each other.

use std::path::Path;

use realign::ElementType;
use realign::device::{Device, Tensor};
use realign::io::{AdapterKind, AdapterLayer, AdapterWeights, DecoderConfig};
use realign::kernels::nn::embedding::VISUAL;
use realign::nn::decoder::LowRankOptions;
use realign::nn::{Adapter, Decoder};
use realign::optim::AdamWOptions;
use realign::train::{Batch, IGNORED, Model, Trainer, Trains};

use super::devices;
use super::differences::short;
use super::oracle::off;
use super::twins::{Matrix, Tensors, Twin};

const LAYERS: usize = 3;
const HIDDEN: usize = 16;
/// Width of the embeddings.
const INPUT: usize = 10;
const VOCABULARY: usize = 36;
const RANK: usize = 3;
const SCALE: f64 = 2.0;
const STEPS: usize = 2;

/// Visual tokens of a sample.
#[derive(Clone, Copy, Debug)]
pub struct Visual {
    /// Of which the adapter makes so many.
    pub tokens: usize,
    pub count: usize,
}

/// A model's shape.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub tied: bool,
    pub biases: bool,
    pub storage: ElementType,
    pub visual: Visual,
}

fn shapes() -> Vec<Shape> {
    let mut all = Vec::new();
    for storage in [ElementType::F32, ElementType::BF16, ElementType::F16] {
        for (tied, biases) in [(false, false), (false, true), (true, false), (true, true)] {
            for visual in [(1, 1), (1, 3), (2, 3)] {
                let visual = Visual { tokens: visual.0, count: visual.1 };
                all.push(Shape { tied, biases, storage, visual });
            }
        }
    }
    all
}

impl Shape {
    fn config(self) -> DecoderConfig {
        let text = serde_json::json!({
            "model_type": "llama", "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": 2,
            "num_key_value_heads": 1, "head_dim": 8, "intermediate_size": 20, "vocab_size": VOCABULARY, "rope_theta": 1e4,
            "rms_norm_eps": 1e-5, "tie_word_embeddings": self.tied, "attention_bias": self.biases, "mlp_bias": self.biases,
            "hidden_act": "silu",
        });
        DecoderConfig::parse(&text.to_string(), Path::new("config.json")).unwrap()
    }

    /// The nearest number that a matrix of this storage holds.
    fn round(self, x: f64) -> f64 {
        match self.storage {
            ElementType::BF16 => half::bf16::from_f64(x).to_f64(),
            ElementType::F16 => half::f16::from_f64(x).to_f64(),
            _ => f64::from(x as f32),
        }
    }

    /// All parameters, those of low-rank additions among them.
    fn values(self) -> Tensors {
        let mut all = Tensors::new();
        let config = self.config();
        for (seed, (name, shape)) in config.tensors().into_iter().enumerate() {
            let (rows, width) = if shape.len() == 2 { (shape[0], shape[1]) } else { (1, shape[0]) };
            let mut value = short(seed as u64 + 1, rows, width, 0.3);
            if shape.len() == 2 {
                value.data.iter_mut().for_each(|x| *x = self.round(*x));
                if let Some(linear) = name.strip_suffix("_proj.weight") {
                    let factor = |part: &str| format!("{linear}_proj.lora_{part}.weight");
                    all.insert(factor("A"), short(seed as u64 + 101, RANK, width, 0.3));
                    all.insert(factor("B"), short(seed as u64 + 201, rows, RANK, 0.3));
                }
            } else if name.ends_with("norm.weight") {
                value.data.iter_mut().for_each(|x| *x += 1.0);
            }
            all.insert(name, value);
        }
        for (seed, (name, shape)) in self.adapter_kind().tensors(INPUT, self.adapter_width()).into_iter().enumerate() {
            let (rows, width) = if shape.len() == 2 { (shape[0], shape[1]) } else { (1, shape[0]) };
            all.insert(name, short(seed as u64 + 301, rows, width, 0.4));
        }
        all
    }

    fn adapter_kind(self) -> AdapterKind {
        AdapterKind::Mlp(2)
    }

    fn adapter_width(self) -> usize {
        HIDDEN * self.visual.tokens
    }

    pub fn twin(self, low_rank: bool) -> Twin {
        let mut values = self.values();
        values.retain(|name, _| low_rank || !name.contains(".lora_"));
        Twin { config: self.config(), values, low_rank_scale: SCALE, mask: None }
    }

    pub fn model(self, device: &Device, twin: &Twin) -> Model {
        let values = |name: &str| -> Vec<f32> { twin.values[name].tight().iter().map(|x| *x as f32).collect() };
        let mut decoder =
            Decoder::with_storage(device, &twin.config, self.storage, |name, _| Ok(values(name))).unwrap();
        if twin.values.keys().any(|name| name.contains(".lora_")) {
            let alpha = (SCALE * RANK as f64) as f32;
            decoder.add_low_rank(device, LowRankOptions { rank: RANK, alpha, seed: 1 }).unwrap();
            for parameter in decoder.parameters.iter().filter(|p| p.name.contains(".lora_")) {
                parameter.value.write_f32(device, &values(&parameter.name)).unwrap();
            }
        }
        let (kind, width) = (self.adapter_kind(), self.adapter_width());
        let layer = |i: usize| AdapterLayer {
            inputs: if i == 0 { INPUT } else { width },
            outputs: width,
            weight: values(&kind.tensor_name(i, "weight")),
            bias: values(&kind.tensor_name(i, "bias")),
        };
        let weights = AdapterWeights { kind, layers: vec![layer(0), layer(1)], notes: Default::default() };
        Model { adapter: Adapter::new(device, &weights).unwrap(), decoder }
    }

    /// Sequences of some lengths, their visual tokens in the middle, a third of the others ignored.
    fn batch(self, lengths: &[usize]) -> (Batch, Matrix) {
        let mut batch = Batch::default();
        for (i, &length) in lengths.iter().enumerate() {
            let first = batch.ids.len();
            let words = (0..length).map(|t| ((7 * t + 5 * i + length) % VOCABULARY) as u32);
            batch.ids.extend(words);
            batch.ids[first + 2..first + 2 + self.visual.count].fill(VISUAL | i as u32);
            batch.positions.extend(0..length as u32);
            for t in first..first + length {
                let next = batch.ids.get(t + 1).filter(|id| **id & VISUAL == 0 && t % 3 > 0);
                batch.labels.push(next.map_or(IGNORED, |id| *id as i32));
            }
            batch.sequences.push((first as u32, length as u32));
            batch.samples.push(i as u32);
            batch.visual_sequences.push(i as u32);
            batch.embedding_rows.push(i as u32);
        }
        batch.targets = batch.labels.iter().filter(|l| **l != IGNORED).count() as u32;
        (batch, short(lengths[0] as u64, lengths.len(), INPUT, 1.0))
    }

    /// The batches of a step: one, or several whose gradients add up.
    pub fn batches(self, accumulate: bool) -> Vec<(Batch, Matrix)> {
        let lengths: &[&[usize]] = if accumulate { &[&[9, 7], &[12], &[6, 8, 10]] } else { &[&[9, 7, 11]] };
        lengths.iter().map(|lengths| self.batch(lengths)).collect()
    }
}

/// Sums of the gradients of a step's batches by the f64 twins, and the losses.
pub fn wanted(twin: &Twin, batches: &[(Batch, Matrix)]) -> (Tensors, Vec<f64>) {
    let mut sums: Tensors = twin.values.iter().map(|(n, v)| (n.clone(), Matrix::zeros(v.rows, v.width))).collect();
    let mut losses = Vec::new();
    for (batch, embeddings) in batches {
        let pass = twin.pass(batch, embeddings);
        for (name, gradient) in pass.gradients {
            let sum = &mut sums.get_mut(&name).unwrap().data;
            sum.iter_mut().zip(&gradient.data).for_each(|(s, g)| *s += g * pass.nll.len() as f64);
        }
        losses.extend(pass.nll);
    }
    (sums, losses)
}

/// What a run computed, all of it as bits.
#[derive(Debug, Default, PartialEq)]
pub struct Bits {
    pub losses: Vec<u32>,
    pub evaluated: Vec<u32>,
    pub gradients: Vec<(String, Vec<u32>)>,
    norms: Vec<u32>,
    parameters: Vec<Vec<u32>>,
}

fn bits(numbers: Vec<f32>) -> Vec<u32> {
    numbers.into_iter().map(f32::to_bits).collect()
}

pub fn floats(bits: &[u32]) -> Vec<f64> {
    bits.iter().map(|b| f64::from(f32::from_bits(*b))).collect()
}

/// Two steps; gradients, losses and evaluation are those of the first.
pub fn run(device: &Device, model: Model, trains: Trains, batches: &[(Batch, Matrix)], recompute: bool) -> Bits {
    let upload = |m: &Matrix| {
        let numbers: Vec<f32> = m.tight().iter().map(|x| *x as f32).collect();
        Tensor::from_f32(device, &numbers, m.width).unwrap()
    };
    let embeddings: Vec<Tensor> = batches.iter().map(|(_, m)| upload(m)).collect();
    let mut trainer = Trainer::new(device, model, trains, (AdamWOptions::default(), recompute)).unwrap();
    let mut out = Bits::default();
    for step in 0..STEPS {
        trainer.clear().unwrap();
        for ((batch, _), embeddings) in batches.iter().zip(&embeddings) {
            let losses = trainer.accumulate(batch, embeddings).unwrap();
            if step == 0 {
                out.losses.extend(bits(losses.read_blocking(device).unwrap()));
                // In between, an evaluation in the same work space.
                let losses = trainer.evaluate(batch, embeddings).unwrap();
                out.evaluated.extend(bits(losses.read_blocking(device).unwrap()));
            }
        }
        if step == 0 {
            let (adapter, decoder) = trainer.gradients();
            let model = &trainer.model;
            for (parameters, gradients) in [(&model.adapter.parameters, adapter), (&model.decoder.parameters, decoder)]
            {
                out.gradients.extend(
                    gradients
                        .iter()
                        .map(|(slot, g)| (parameters.get(slot).name.clone(), bits(g.to_f32_blocking(device).unwrap()))),
                );
            }
        }
        trainer.step(1e-2).unwrap();
        out.norms.push(trainer.gradient_norm_blocking().unwrap().to_bits());
    }
    let model = &trainer.model;
    let all = model.adapter.parameters.iter().chain(model.decoder.parameters.iter());
    out.parameters = all.map(|p| bits(p.value.to_f32_blocking(device).unwrap())).collect();
    out
}

/// Every way to train on every model; one shape's cases share its twins.
fn verify(device: &Device, shape: Shape, accumulate: bool) -> usize {
    let batches = shape.batches(accumulate);
    let mut runs = 0;
    for low_rank in [false, true] {
        let twin = shape.twin(low_rank);
        let (want, losses) = wanted(&twin, &batches);
        let ways: &[Trains] =
            if low_rank { &[Trains::LowRank] } else { &[Trains::Adapter, Trains::All, Trains::Decoder] };
        for &trains in ways {
            let what = format!("{} {shape:?} {trains:?} accumulate {accumulate}", device.name());
            if matches!(trains, Trains::All | Trains::Decoder) && shape.storage == ElementType::F16 {
                let model = shape.model(device, &twin);
                let error = Trainer::new(device, model, trains, (AdamWOptions::default(), true)).unwrap_err();
                assert!(error.to_string().contains("load the model in f32"), "{what}: {error}");
                continue;
            }
            let [saved, recomputed] =
                [false, true].map(|recompute| run(device, shape.model(device, &twin), trains, &batches, recompute));
            for ((name, a), (_, b)) in saved.gradients.iter().zip(&recomputed.gradients) {
                assert!(a == b, "{what}: recomputed, the gradient of {name} is another");
            }
            assert!(saved == recomputed, "{what}: recomputed, the results are others");
            assert!(saved.losses == saved.evaluated, "{what}: evaluated, the losses are others");
            let error = off(&floats(&saved.losses), &losses);
            assert!(error < 1e-5, "{what}: losses are off by {error:e}");
            let decoder = if trains == Trains::Adapter {
                0
            } else if low_rank {
                14 * LAYERS
            } else {
                twin.values.len() - 4
            };
            assert_eq!(saved.gradients.len(), decoder + if trains == Trains::Decoder { 0 } else { 4 }, "{what}");
            for (name, got) in &saved.gradients {
                let error = off(&floats(got), &want[name].tight());
                assert!(error < 1e-4, "{what}: {name} is off by {error:e}");
            }
            runs += 2;
        }
    }
    runs
}

fn each(accumulate: bool) {
    for device in devices() {
        let runs: usize = shapes().into_iter().map(|shape| verify(&device, shape, accumulate)).sum();
        // Four ways with f32 and bf16, two with f16.
        assert_eq!(runs, 12 * 2 * (4 + 4 + 2));
    }
}

#[test]
fn one_batch_to_a_step() {
    each(false);
}

#[test]
fn several_batches_to_a_step() {
    each(true);
}
