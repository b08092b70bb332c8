//! One optimiser step in pieces, so that an app can train inside its own frame loop.

use super::model::Losses;
use super::run::Run;
use super::visual::judge;
use super::{Batch, LogRecord};
use crate::device::{Buffer, Device, Pending, Piece, Pieces};
use crate::{Error, Result};

/// Kernels of a piece: a layer has more than twice as many forward, and more backward.
const PIECE: usize = 8;

/// What a call of [`Run::tick`] came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Tick {
    /// Work was recorded or submitted; there is more of this step.
    Submitted,
    /// The device is not done with what was submitted.
    Waiting,
    /// The step is done.
    Stepped(LogRecord),
}

/// Sum of some losses, and how many they are.
type Sum = (f64, u64);

/// How far the present step is.
#[derive(Default)]
pub(super) enum Phase {
    /// No step has begun.
    #[default]
    Idle,
    /// Batches are computed, or the optimiser's step.
    Batches(Batches),
    /// Everything was submitted; the losses and the gradient's norm are on their way.
    Reading(Pending<(Sum, f64)>),
    /// The held-out data is computed.
    Evaluating(Box<Evaluation>),
    /// A checkpoint is written.
    Saving(LogRecord, Pending<()>),
}

/// The batches of a step so far.
#[derive(Default)]
pub(super) struct Batches {
    losses: Vec<Losses>,
    pieces: Pieces,
    /// Whether the optimiser's step is among the pieces, and so nothing follows.
    complete: bool,
}

/// Held-out data so far.
pub(super) struct Evaluation {
    record: LogRecord,
    /// Of the step, for the log.
    step: Sum,
    /// Of the batches that were read.
    total: Sum,
    /// The sample that the next batch begins with.
    next: usize,
    pieces: Pieces,
    losses: Option<Losses>,
    reading: Option<Pending<Sum>>,
}

impl std::fmt::Debug for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Phase::Idle => "Idle",
            Phase::Batches(_) => "Batches",
            Phase::Reading(_) => "Reading",
            Phase::Evaluating(_) => "Evaluating",
            Phase::Saving(..) => "Saving",
        })
    }
}

async fn sum(device: &Device, losses: &[Losses]) -> Result<Sum> {
    let (mut sum, mut targets) = (0.0, 0);
    for loss in losses {
        sum += loss.read(device).await?.iter().map(|l| f64::from(*l)).sum::<f64>();
        targets += loss.count as u64;
    }
    Ok((sum, targets))
}

/// The numbers of a step; `status` says whether every row could be aligned.
async fn read(device: Device, losses: Vec<Losses>, norm: Buffer, status: Option<Buffer>) -> Result<(Sum, f64)> {
    let sum = sum(&device, &losses).await?;
    let norm = device.read(&norm).await?;
    if let Some(status) = status {
        judge(&device.read(&status).await?)?;
    }
    Ok((sum, f64::from(bytemuck::pod_read_unaligned::<f32>(&norm[4..8]))))
}

/// How a step is gone through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// A piece each time, once the device is done with the one before.
    Frames,
    /// All at once.
    Whole,
}

impl Pace {
    fn piece(self) -> usize {
        match self {
            Pace::Frames => PIECE,
            Pace::Whole => usize::MAX,
        }
    }

    /// Submits what is due; whether all of it is done, or at least in the device's hands.
    fn submit(self, pieces: &mut Pieces) -> Result<Option<Tick>> {
        if self == Pace::Whole {
            return pieces.submit_all().map(|()| None);
        }
        Ok(match pieces.submit()? {
            Piece::Submitted => Some(Tick::Submitted),
            Piece::Waiting => Some(Tick::Waiting),
            Piece::Done => None,
        })
    }
}

impl Run {
    /// Does the next piece of the present step, and never waits for the device: records a batch, submits a few kernels (less than
    /// a layer), or looks whether the numbers have come. The evaluation and the checkpoint that are due come in pieces, too. On
    /// the host engine a piece is computed before this returns. A kernel that runs for the first time is compiled, and files are read
    /// and written, within the call.
    ///
    /// At any time the device has at most one piece of the run to work on. An app whose frames have time left calls this again until it
    /// is [`Tick::Waiting`].
    ///
    /// # Errors
    /// As [`Run::advance`]; the step that failed is not finished by further calls.
    pub fn tick(&mut self) -> Result<Tick> {
        self.go_on(Pace::Frames)
    }

    /// One optimiser step, with the log line, evaluation and checkpoint that are due after it, waiting for the device.
    ///
    /// # Errors
    /// A loss or gradient that is not finite (the checkpoints before it stay); an embedding that is not there; no memory; a
    /// full disk; the device was lost.
    pub fn advance(&mut self) -> Result<LogRecord> {
        loop {
            match self.go_on(Pace::Whole)? {
                Tick::Submitted => {}
                Tick::Waiting => self.device.wait()?,
                Tick::Stepped(record) => return Ok(record),
            }
        }
    }

    /// Writes a checkpoint, if there is none of this step. Between the ticks of a step there is nothing to save.
    ///
    /// # Errors
    /// A step has begun; a full disk; the device was lost.
    pub fn save(&mut self) -> Result<()> {
        if !matches!(self.phase, Phase::Idle) {
            return Err(Error::argument("save", "a step has begun; finish it first with advance"));
        }
        if self.saved != Some(self.step()) {
            self.checkpoint()?.wait(&self.device)?;
            self.saved = Some(self.step());
        }
        Ok(())
    }

    fn go_on(&mut self, pace: Pace) -> Result<Tick> {
        match std::mem::take(&mut self.phase) {
            Phase::Idle => {
                self.trainer.clear()?;
                self.record_batch(Batches::default(), pace)
            }
            Phase::Batches(batches) => self.go_on_with_batches(batches, pace),
            Phase::Reading(mut pending) => match pending.look(&self.device)? {
                Some((sum, norm)) => self.stepped(sum, norm),
                None => self.wait_in(Phase::Reading(pending)),
            },
            Phase::Evaluating(evaluation) => self.go_on_evaluating(evaluation, pace),
            Phase::Saving(record, mut pending) => match pending.look(&self.device)? {
                Some(()) => {
                    self.saved = Some(record.step);
                    Ok(Tick::Stepped(record))
                }
                None => self.wait_in(Phase::Saving(record, pending)),
            },
        }
    }

    fn wait_in(&mut self, phase: Phase) -> Result<Tick> {
        self.phase = phase;
        Ok(Tick::Waiting)
    }

    fn go_on_in(&mut self, phase: Phase) -> Result<Tick> {
        self.phase = phase;
        Ok(Tick::Submitted)
    }

    /// Records a batch, and after the step's last one the optimiser.
    fn record_batch(&mut self, mut batches: Batches, pace: Pace) -> Result<Tick> {
        let batch = Batch::pack(&self.samples, &self.order.next_batch())?;
        let embeddings = self.inputs.noisy(&batch, self.step())?;
        let (recorder, losses) = self.trainer.record(&batch, &embeddings)?;
        batches.pieces.push(recorder, pace.piece());
        batches.losses.push(losses);
        self.tokens += batch.tokens() as u64;
        // A pass ends with the step that it is in.
        batches.complete = batches.losses.len() >= self.settings.accumulate || self.order.position().batch == 0;
        if batches.complete {
            self.rate = self.schedule.rate(self.step());
            batches.pieces.push(self.trainer.record_step(self.rate)?, pace.piece());
        }
        self.go_on_in(Phase::Batches(batches))
    }

    fn go_on_with_batches(&mut self, mut batches: Batches, pace: Pace) -> Result<Tick> {
        if let Some(tick) = pace.submit(&mut batches.pieces)? {
            self.phase = Phase::Batches(batches);
            return Ok(tick);
        }
        if !batches.complete {
            return self.record_batch(batches, pace);
        }
        let (norm, status) = (self.trainer.optimizer.scale_and_norm().clone(), self.inputs.status().cloned());
        let reading = read(self.device.clone(), batches.losses, norm, status);
        self.go_on_in(Phase::Reading(Pending::new(reading)))
    }

    /// The numbers of a step have come.
    fn stepped(&mut self, sum: Sum, grad_norm: f64) -> Result<Tick> {
        let (step, loss) = (self.step(), sum.0 / sum.1 as f64);
        self.check_finite(step, loss, grad_norm)?;
        let record = LogRecord { step, loss, lr: self.rate, grad_norm, tokens: self.tokens, more: Vec::new() };
        if !self.evaluates(step) {
            return self.close(record, sum);
        }
        let pieces = Pieces::default();
        let begun = Evaluation { record, step: sum, total: (0.0, 0), next: 0, pieces, losses: None, reading: None };
        self.go_on_in(Phase::Evaluating(Box::new(begun)))
    }

    fn go_on_evaluating(&mut self, mut e: Box<Evaluation>, pace: Pace) -> Result<Tick> {
        if let Some(reading) = &mut e.reading {
            let Some((sum, targets)) = reading.look(&self.device)? else {
                return self.wait_in(Phase::Evaluating(e));
            };
            e.total = (e.total.0 + sum, e.total.1 + targets);
            e.reading = None;
        }
        if let Some(tick) = pace.submit(&mut e.pieces)? {
            self.phase = Phase::Evaluating(e);
            return Ok(tick);
        }
        if let Some(losses) = e.losses.take() {
            let device = self.device.clone();
            e.reading = Some(Pending::new(async move { sum(&device, &[losses]).await }));
            return self.go_on_in(Phase::Evaluating(e));
        }
        let Some(held_out) = &mut self.held_out else { return self.close(e.record, e.step) };
        if let Some((recorder, losses)) = held_out.record(&mut self.trainer, e.next, self.settings.batch_size)? {
            e.pieces.push(recorder, pace.piece());
            e.losses = Some(losses);
            e.next += self.settings.batch_size;
            return self.go_on_in(Phase::Evaluating(e));
        }
        let loss = e.total.0 / e.total.1 as f64;
        e.record.more.push(("eval_loss", loss));
        self.best = Some(self.best.map_or(loss, |best| best.min(loss)));
        self.close(e.record, e.step)
    }

    /// Log line and checkpoint, as they are due.
    fn close(&mut self, record: LogRecord, sum: Sum) -> Result<Tick> {
        self.log_step(&record, sum)?;
        if !self.saves(record.step) {
            return Ok(Tick::Stepped(record));
        }
        let writing = self.checkpoint()?;
        self.go_on_in(Phase::Saving(record, writing))
    }
}
