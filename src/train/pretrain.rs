//! A decoder that learns from texts alone, before it meets an adapter.

use std::path::Path;

use super::order::{BatchLimit, DataOrder, OrderOptions};
use super::schedule::{Schedule, ScheduleKind};
use super::{Batch, Model, Trainer, Trains};
use crate::device::{Device, Tensor};
use crate::io::{AdapterKind, Samples};
use crate::nn::adapter::fresh;
use crate::nn::{Adapter, Decoder};
use crate::optim::AdamWOptions;
use crate::{ElementType, Error, Result};

/// How long and how fast it learns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PretrainOptions {
    /// Optimiser steps.
    pub steps: u64,
    /// Samples of a step.
    pub batch_size: usize,
    /// Learning rate after the warm-up; a cosine takes it to 0.
    pub lr: f64,
    /// Share of the steps that the warm-up takes.
    pub warmup_ratio: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// What their order depends on.
    pub seed: u64,
}

impl Default for PretrainOptions {
    fn default() -> Self {
        PretrainOptions { steps: 1200, batch_size: 64, lr: 3e-3, warmup_ratio: 0.03, weight_decay: 0.01, seed: 0 }
    }
}

/// Trains all parameters of the decoder in the folder `from` on samples without images, and writes it to the folder `out`.
/// `on_step` gets the number of steps done and the loss of the last one, and may end the training with an error of its own.
///
/// # Errors
/// A folder that is no model; no samples, or some with an image; a loss that is not finite; `out` exists; no memory; what
/// `on_step` or the device say.
pub fn pretrain(
    device: &Device,
    (from, out): (&Path, &Path),
    samples: &Samples,
    options: &PretrainOptions,
    on_step: &mut dyn FnMut(u64, f64) -> Result<()>,
) -> Result<()> {
    let decoder = Decoder::open(device, from, Some(ElementType::F32))?;
    let order = OrderOptions { limit: BatchLimit::Samples(options.batch_size), window: 8, seed: options.seed };
    let mut order = DataOrder::new(samples.lengths(), order)?;
    // The trainer's model has an adapter; texts have nothing for it, and it stays behind.
    let width = decoder.config().hidden_size;
    let adapter = Adapter::new(device, &fresh(AdapterKind::Linear, 4, width, options.seed))?;
    let adamw = AdamWOptions { weight_decay: options.weight_decay, ..Default::default() };
    let mut trainer = Trainer::new(device, Model { adapter, decoder }, Trains::Decoder, (adamw, false))?;
    let schedule = Schedule::with_ratio(ScheduleKind::Cosine, options.lr, options.warmup_ratio, options.steps)?;
    let nothing = Tensor::new(device, 0, 4, ElementType::F32)?;
    for step in 0..options.steps {
        trainer.clear()?;
        let batch = Batch::pack(samples, &order.next_batch())?;
        let losses = trainer.accumulate(&batch, &nothing)?;
        trainer.step(schedule.rate(step))?;
        let numbers = losses.read_blocking(device)?;
        let loss = numbers.iter().map(|l| f64::from(*l)).sum::<f64>() / numbers.len() as f64;
        if !loss.is_finite() {
            let problem = format!("step {}: the loss is {loss}; lower the learning rate", step + 1);
            return Err(Error::degenerate(problem));
        }
        on_step(step + 1, loss)?;
    }
    trainer.model.decoder.save_blocking(device, (out, false), from, ElementType::F32).map(drop)
}
