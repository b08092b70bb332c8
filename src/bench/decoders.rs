//! Training steps of decoders of real models' shapes, their weights seeded random numbers: nothing is downloaded. They take gigabytes, so
//! that they run only where a filter names a shape.

use super::case::{Case, Items, Kind, Sizes};
use super::catalogue::Entry;
use super::training::{INPUT, LENGTH, batch};
use crate::device::{Device, Tensor};
use crate::io::{AdapterKind, DecoderConfig, DecoderShape, Rope};
use crate::nn::adapter::fresh;
use crate::nn::decoder::LowRankOptions;
use crate::nn::{Adapter, Decoder, Precision};
use crate::optim::AdamWOptions;
use crate::train::{Model, Trainer, Trains};
use crate::{ElementType, Result, host};

/// A model's shape.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// As the cases' names have it.
    pub name: &'static str,
    hidden: usize,
    layers: usize,
    /// Of queries, and of keys and values.
    heads: (usize, usize),
    head_dim: usize,
    intermediate: usize,
    vocabulary: usize,
    tied: bool,
    /// Whether stage 2 trains low-rank additions, for want of memory for all.
    low_rank: bool,
}

/// A tiny one for trials, SmolLM2-135M's, Llama-3.2-1B's and Llama-3-8B's.
pub const SHAPES: [Shape; 4] = [
    Shape {
        name: "tiny",
        hidden: 64,
        layers: 2,
        heads: (4, 2),
        head_dim: 16,
        intermediate: 160,
        vocabulary: 500,
        tied: false,
        low_rank: false,
    },
    Shape {
        name: "SmolLM2",
        hidden: 576,
        layers: 30,
        heads: (9, 3),
        head_dim: 64,
        intermediate: 1536,
        vocabulary: 49_152,
        tied: true,
        low_rank: false,
    },
    Shape {
        name: "1B",
        hidden: 2048,
        layers: 16,
        heads: (32, 8),
        head_dim: 64,
        intermediate: 8192,
        vocabulary: 128_256,
        tied: true,
        low_rank: false,
    },
    Shape {
        name: "8B",
        hidden: 4096,
        layers: 32,
        heads: (32, 8),
        head_dim: 128,
        intermediate: 14_336,
        vocabulary: 128_256,
        tied: false,
        low_rank: true,
    },
];

impl Shape {
    fn config(&self) -> DecoderConfig {
        let shape = DecoderShape {
            hidden_size: self.hidden,
            layers: self.layers,
            heads: self.heads.0,
            kv_heads: self.heads.1,
            head_dim: self.head_dim,
            intermediate_size: self.intermediate,
            vocab_size: self.vocabulary,
        };
        let ropes = vec![Rope::plain(500_000.0, self.head_dim)];
        DecoderConfig { ropes, tied_embeddings: self.tied, ..DecoderConfig::llama(shape) }
    }

    /// Elements of the matrices that a token is multiplied by, the output matrix's apart.
    fn elements(&self) -> (usize, usize) {
        let (queries, keys) = (self.heads.0 * self.head_dim, self.heads.1 * self.head_dim);
        let layer = 2 * self.hidden * (queries + keys) + 3 * self.hidden * self.intermediate;
        (self.layers * layer, self.hidden * self.vocabulary)
    }
}

/// Normal numbers, of which a block comes again and again: billions of them in seconds.
fn weights(name: &str, shape: &[usize], block: &[f32]) -> Vec<f32> {
    let count = shape.iter().product();
    if name.contains("norm") {
        return vec![1.0; count];
    }
    let scale = 1.0 / (shape[shape.len() - 1] as f32).sqrt();
    // Each matrix begins at another place.
    let first = name.bytes().fold(0usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % block.len();
    block.iter().cycle().skip(first).take(count).map(|x| x * scale).collect()
}

fn model(device: &Device, shape: &Shape, precision: Precision, trains: Trains) -> Result<Model> {
    // A prime number, so that rows differ.
    let block = host::gaussian::normals(1_048_573, 1, 0);
    let config = shape.config();
    let load = |name: &str, shape: &[usize]| Ok(weights(name, shape, &block));
    let frozen_in_halves = precision == Precision::Mixed && trains != Trains::All;
    let storage = if frozen_in_halves { ElementType::F16 } else { ElementType::F32 };
    let mut decoder = Decoder::with_storage(device, &config, storage, load)?;
    if trains == Trains::LowRank {
        decoder.add_low_rank(device, LowRankOptions { rank: 16, alpha: 32.0, seed: 1 })?;
    }
    decoder.compute_in(device, precision)?;
    let adapter = Adapter::new(device, &fresh(AdapterKind::Mlp(2), INPUT, config.hidden_size, 1))?;
    Ok(Model { adapter, decoder })
}

/// Shape, stage and precision by their numbers.
fn case<const SHAPE: usize, const STAGE: usize, const MIXED: bool>(device: &Device, sizes: &Sizes) -> Result<Case> {
    let shape = &SHAPES[SHAPE];
    let trains = match (STAGE, shape.low_rank) {
        (1, _) => Trains::Adapter,
        (_, true) => Trains::LowRank,
        (_, false) => Trains::All,
    };
    let precision = if MIXED { Precision::Mixed } else { Precision::F32 };
    let model = model(device, shape, precision, trains)?;
    // Activations are computed again: those of an 8B model would take more than its weights.
    let mut trainer = Trainer::new(device, model, trains, (AdamWOptions::default(), shape.low_rank))?;
    let sequences = sizes.batch;
    let batch = batch(sequences, shape.vocabulary);
    let embeddings = Tensor::from_f32(device, &host::gaussian::normals(sequences * INPUT, 2, 0), INPUT)?;
    let device = device.clone();
    let step = move || {
        trainer.clear()?;
        trainer.set_loss_scale(if MIXED { 1024.0 } else { 1.0 })?;
        let losses = trainer.accumulate(&batch, &embeddings)?;
        trainer.step(1e-5)?;
        losses.read_blocking(&device).map(drop)
    };
    let (layers, head) = shape.elements();
    let tokens = sequences * LENGTH;
    // Forward and by the input, and by the weights where they train; recomputation counts as nothing.
    let passes = if trains == Trains::All { 6 } else { 4 };
    let learns = match trains {
        Trains::LowRank => ", low-rank",
        Trains::All => ", all",
        _ => "",
    };
    let what = format!("{} weights{learns}, {sequences} × {LENGTH} tokens", layers + head);
    let items = Items { count: tokens as u64, unit: "tokens" };
    Ok(Case::job(what, items, step).with_flops((passes * tokens * (layers + head)) as u64))
}

macro_rules! entries {
    ($(($shape:literal, $name:literal)),+) => {
        [$(
            Entry::named(concat!($name, "-shaped stage 1 step in f32"), case::<$shape, 1, false>),
            Entry::named(concat!($name, "-shaped stage 1 step in mixed"), case::<$shape, 1, true>),
            Entry::named(concat!($name, "-shaped stage 2 step in f32"), case::<$shape, 2, false>),
            Entry::named(concat!($name, "-shaped stage 2 step in mixed"), case::<$shape, 2, true>),
        )+]
    };
}

impl Entry {
    /// One that only a filter with a shape's name asks for.
    const fn named(name: &'static str, make: fn(&Device, &Sizes) -> Result<Case>) -> Self {
        Entry { name, kind: Kind::EndToEnd, wgpu: false, by_shape: true, make }
    }
}

/// All shapes' cases.
pub(super) const ENTRIES: [Entry; 16] = entries![(0, "tiny"), (1, "SmolLM2"), (2, "1B"), (3, "8B")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_shapes() {
        for (i, entry) in ENTRIES.iter().enumerate() {
            assert!(entry.name.starts_with(&format!("{}-shaped ", SHAPES[i / 4].name)), "{}", entry.name);
        }
        let counts = SHAPES.map(|shape| shape.elements()).map(|(layers, head)| layers + head);
        // The models' own numbers, norms and a second table left out.
        assert_eq!(counts[1..], [134_479_872, 1_235_746_816, 7_504_658_432]);
    }

    #[test]
    fn a_tiny_step_runs_in_both_precisions() {
        let device = Device::host();
        let sizes = Sizes { batch: 1, ..Sizes::of(&device, true) };
        for entry in &ENTRIES[..4] {
            let mut case = (entry.make)(&device, &sizes).unwrap();
            let super::super::case::Run::Called(step) = &mut case.run else { panic!("{} is no job", entry.name) };
            step().unwrap();
        }
    }
}
