//! Steps of training: forward, backward, clipping and AdamW.

use super::case::{Case, Items, Sizes};
use crate::device::{Device, Tensor};
use crate::io::{AdapterKind, DecoderConfig, DecoderShape};
use crate::kernels::nn::embedding::VISUAL;
use crate::nn::adapter::{AdapterSpace, fresh};
use crate::nn::{Adapter, Decoder, Gradients};
use crate::optim::{AdamW, AdamWOptions};
use crate::train::{Batch, IGNORED, Model, Trainer, Trains};
use crate::{Result, host};

/// Tokens of a sequence.
pub const LENGTH: usize = 128;
/// Width of the image embeddings that the decoder's adapter takes.
pub const INPUT: usize = 1024;
/// Input, hidden and output width, and rows of the adapter that is trained alone.
pub const ADAPTER: [usize; 3] = [1280, 2048, 256];

/// A Llama of 10 million parameters.
pub fn decoder_config() -> DecoderConfig {
    DecoderConfig::llama(DecoderShape {
        hidden_size: 256,
        layers: 6,
        heads: 4,
        kv_heads: 2,
        head_dim: 64,
        intermediate_size: 688,
        vocab_size: 11_000,
    })
}

/// A step that can be repeated.
pub type Step = Box<dyn FnMut() -> Result<()>>;

/// A step of a decoder of [`decoder_config`] and its adapter on `sequences` sequences of [`LENGTH`] tokens, one of them an image,
/// all supervised. With [`Trains::Adapter`] it is stage 1's, with [`Trains::All`] stage 2's.
///
/// # Errors
/// The device is lost or out of memory.
pub fn decoder_step(device: &Device, trains: Trains, sequences: usize) -> Result<Step> {
    let config = decoder_config();
    let mut stream = 0;
    let decoder = Decoder::new(device, &config, |name, shape| {
        let (count, width) = (shape.iter().product(), shape[shape.len() - 1] as f32);
        stream += 1;
        let normal = host::gaussian::normals(count, 1, stream).into_iter();
        Ok(normal.map(|x| if name.contains("norm") { 1.0 } else { x / width.sqrt() }).collect())
    })?;
    let adapter = Adapter::new(device, &fresh(AdapterKind::Mlp(2), INPUT, config.hidden_size, 1))?;
    let mut trainer = Trainer::new(device, Model { adapter, decoder }, trains, (AdamWOptions::default(), false))?;
    let batch = batch(sequences, config.vocab_size);
    let embeddings = Tensor::from_f32(device, &host::gaussian::normals(sequences * INPUT, 2, 0), INPUT)?;
    let device = device.clone();
    Ok(Box::new(move || {
        trainer.clear()?;
        let losses = trainer.accumulate(&batch, &embeddings)?;
        trainer.step(1e-4)?;
        losses.read_blocking(&device).map(drop)
    }))
}

/// Sequences of [`LENGTH`] tokens, an image and then text.
pub(super) fn batch(sequences: usize, vocabulary: usize) -> Batch {
    let mut batch = Batch::default();
    for sequence in 0..sequences as u32 {
        let token = |t: usize| (t as u32 * 7919 + sequence * 104_729) % vocabulary as u32;
        batch.sequences.push((sequence * LENGTH as u32, LENGTH as u32));
        batch.ids.extend((0..LENGTH).map(|t| if t == 0 { VISUAL | sequence } else { token(t) }));
        batch.positions.extend(0..LENGTH as u32);
        batch.labels.extend((1..=LENGTH).map(|t| if t < LENGTH { token(t) as i32 } else { IGNORED }));
        batch.samples.push(sequence);
        batch.visual_sequences.push(sequence);
        batch.embedding_rows.push(sequence);
    }
    batch.targets = (sequences * (LENGTH - 1)) as u32;
    batch
}

/// A step of an adapter of shape [`ADAPTER`] alone, with a given gradient of its output.
///
/// # Errors
/// The device is lost or out of memory.
pub fn adapter_step(device: &Device) -> Result<Step> {
    let [input, output, rows] = ADAPTER;
    let adapter = Adapter::new(device, &fresh(AdapterKind::Mlp(2), input, output, 1))?;
    let gradients = Gradients::new(device, &adapter.parameters, |_| true)?;
    let mut optimizer = AdamW::new(device, AdamWOptions::default(), &[&gradients])?;
    let space = AdapterSpace::new(device, &adapter, rows)?;
    let x = Tensor::from_f32(device, &host::gaussian::normals(rows * input, 2, 0), input)?;
    let dy = Tensor::from_f32(device, &host::gaussian::normals(rows * output, 2, 1), output)?;
    let device = device.clone();
    Ok(Box::new(move || {
        let mut recorder = device.recorder();
        gradients.clear(&mut recorder);
        adapter.forward(&mut recorder, &x, &space)?;
        adapter.backward(&mut recorder, &gradients, (&x, &dy), &space, None)?;
        optimizer.record(&mut recorder, (1e-4, 1.0), &[(&adapter.parameters, &gradients)])?;
        recorder.submit()?.wait()
    }))
}

/// FLOPs of forward and backward: three products, less the input's gradient.
fn adapter_flops() -> u64 {
    let [input, output, rows] = ADAPTER;
    (2 * rows * (2 * input * output + 3 * output * output)) as u64
}

pub(super) fn adapter_case(device: &Device, _: &Sizes) -> Result<Case> {
    let [input, output, rows] = ADAPTER;
    let shape = format!("{input} → {output} GELU → {output}, {rows} rows");
    let items = Items { count: rows as u64, unit: "rows" };
    Ok(Case::job(shape, items, adapter_step(device)?).with_flops(adapter_flops()))
}

fn decoder_case(device: &Device, sizes: &Sizes, trains: Trains) -> Result<Case> {
    let shape = format!("10M-parameter Llama, {} × {LENGTH} tokens", sizes.batch);
    let items = Items { count: (sizes.batch * LENGTH) as u64, unit: "tokens" };
    Ok(Case::job(shape, items, decoder_step(device, trains, sizes.batch)?))
}

pub(super) fn stage1_case(device: &Device, sizes: &Sizes) -> Result<Case> {
    decoder_case(device, sizes, Trains::Adapter)
}

pub(super) fn stage2_case(device: &Device, sizes: &Sizes) -> Result<Case> {
    decoder_case(device, sizes, Trains::All)
}
