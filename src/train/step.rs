//! One optimiser step in pieces, so that an app can train inside its own frame loop.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::model::Losses;
use super::run::Run;
use super::{Batch, LogRecord};
use crate::device::{Buffer, Device};
use crate::{Error, Result};

/// What a call of [`Run::tick`] came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Tick {
    /// Work was submitted; there is more of this step.
    Submitted,
    /// The device is not done with what was submitted.
    Waiting,
    /// The step is done.
    Stepped(LogRecord),
}

/// The sum of a step's losses, its targets, the gradient's norm.
type Sums = (f64, u64, f64);

type Reading = Pin<Box<dyn Future<Output = Result<Sums>> + Send>>;

/// How far the present step is.
#[derive(Default)]
pub(super) enum Phase {
    /// No step has begun.
    #[default]
    Idle,
    /// So many batches were submitted.
    Batches(Vec<Losses>),
    /// Everything was submitted; the numbers are on their way.
    Stepped(Vec<Losses>, Option<Reading>),
}

impl std::fmt::Debug for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Phase::Idle => f.write_str("Idle"),
            Phase::Batches(losses) => write!(f, "Batches({})", losses.len()),
            Phase::Stepped(..) => f.write_str("Stepped"),
        }
    }
}

async fn read(device: Device, losses: Vec<Losses>, scale_and_norm: Buffer) -> Result<Sums> {
    let (mut sum, mut targets) = (0.0, 0);
    for loss in losses {
        sum += loss.read(&device).await?.iter().map(|l| f64::from(*l)).sum::<f64>();
        targets += loss.count as u64;
    }
    let bytes = device.read(&scale_and_norm).await?;
    Ok((sum, targets, f64::from(bytemuck::pod_read_unaligned::<f32>(&bytes[4..8]))))
}

impl Run {
    /// Does the next piece of the present step without waiting for the device: a batch's forward and backward pass, the
    /// optimiser's step, or a look whether the numbers have come. On the host engine a piece is computed before this
    /// returns. The log line, evaluation and checkpoint that are due come with the step's last piece, and do wait.
    ///
    /// # Errors
    /// As [`Run::advance`]; the step that failed is not finished by further calls.
    pub fn tick(&mut self) -> Result<Tick> {
        match std::mem::take(&mut self.phase) {
            Phase::Idle => self.submit_batch(Vec::new()),
            Phase::Batches(losses) => self.submit_batch(losses),
            Phase::Stepped(losses, reading) => {
                let norm = self.trainer.optimizer.scale_and_norm().clone();
                let device = self.device.clone();
                let copies = || losses.clone();
                let mut reading = reading.unwrap_or_else(|| Box::pin(read(device, copies(), norm)));
                self.device.poll()?;
                match reading.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(sums) => self.complete(sums?).map(Tick::Stepped),
                    Poll::Pending => {
                        self.phase = Phase::Stepped(losses, Some(reading));
                        Ok(Tick::Waiting)
                    }
                }
            }
        }
    }

    /// One optimiser step, with the log line, evaluation and checkpoint that are due after it, waiting for the device.
    ///
    /// # Errors
    /// A loss or gradient that is not finite (the checkpoints before it stay); an embedding that is not there; no memory; a
    /// full disk; the device was lost.
    pub fn advance(&mut self) -> Result<LogRecord> {
        while !matches!(self.phase, Phase::Stepped(..)) {
            self.tick()?;
        }
        let Phase::Stepped(losses, _) = std::mem::take(&mut self.phase) else {
            return Err(Error::argument("training", "no step was begun"));
        };
        let (mut sum, mut targets) = (0.0, 0);
        for loss in losses {
            sum += loss.read_blocking(&self.device)?.iter().map(|l| f64::from(*l)).sum::<f64>();
            targets += loss.count as u64;
        }
        let norm = f64::from(self.trainer.gradient_norm_blocking()?);
        self.complete((sum, targets, norm))
    }

    /// Submits a batch, and after the step's last one the optimiser.
    fn submit_batch(&mut self, mut losses: Vec<Losses>) -> Result<Tick> {
        if losses.is_empty() {
            self.trainer.clear()?;
        }
        let batch = Batch::pack(&self.samples, &self.order.next_batch())?;
        let embeddings = self.inputs.noisy(&batch, self.step())?;
        losses.push(self.trainer.accumulate(&batch, &embeddings)?);
        self.tokens += batch.tokens() as u64;
        // A pass ends with the step that it is in.
        if losses.len() < self.settings.accumulate && self.order.position().batch > 0 {
            self.phase = Phase::Batches(losses);
        } else {
            self.rate = self.schedule.rate(self.step());
            self.trainer.step(self.rate)?;
            self.phase = Phase::Stepped(losses, None);
        }
        Ok(Tick::Submitted)
    }

    fn complete(&mut self, (sum, targets, grad_norm): Sums) -> Result<LogRecord> {
        let (step, loss) = (self.step(), sum / targets as f64);
        self.check_finite(step, loss, grad_norm)?;
        let mut record = LogRecord { step, loss, lr: self.rate, grad_norm, tokens: self.tokens, more: Vec::new() };
        self.after_step(&mut record, (sum, targets))?;
        Ok(record)
    }
}
