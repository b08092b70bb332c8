//! One optimiser step in pieces, so that an app can train inside its own frame loop.

use std::collections::BTreeMap;

use super::LogRecord;
use super::evaluating::{Asking, Evaluation};
use super::model::Losses;
use super::ranks::Exchange;
use super::run::Run;
use super::visual::judge;
use crate::device::{Device, Pending, Piece, Pieces, Submission};
use crate::{Error, Result};

/// Kernels of a piece: a layer has more than twice as many forward, and more backward.
const PIECE: usize = 8;

/// What a call of [`Run::tick`] came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Tick {
    /// Work was recorded or submitted; there is more of this step.
    Submitted,
    /// The device is not done with what was submitted, or a checkpoint not copied as far as the next work needs.
    Waiting,
    /// The step is done.
    Stepped(LogRecord),
}

/// Sum of some losses, and how many they are.
pub(super) type Sum = (f64, u64);

/// Losses of each of a rank's batches, and the gradient's norm.
type Numbers = (Vec<Sum>, f64);

/// How far the present step is.
#[derive(Default)]
pub(super) enum Phase {
    /// No step has begun.
    #[default]
    Idle,
    /// Batches are computed, or the optimiser's step.
    Batches(Batches),
    /// Everything was submitted; the losses and the gradient's norm are on their way, this step's last.
    Reading,
    /// The held-out data is computed.
    Evaluating(Box<Evaluation>),
    /// It is answered.
    Asking(Box<Asking>),
    /// Rank 0 does so.
    Hearing(LogRecord, Sum),
    /// What the best evaluation saw is written.
    Keeping(LogRecord, Sum, Pending<()>),
    /// A checkpoint is begun.
    Saving(LogRecord),
}

/// The batches of a step so far.
#[derive(Default)]
pub(super) struct Batches {
    pub(super) losses: Vec<Losses>,
    pub(super) pieces: Pieces,
    /// Batches so far, on all ranks.
    pub(super) count: usize,
    /// Those of the whole step.
    pub(super) of: usize,
    /// What goes to other ranks and comes from them.
    pub(super) exchange: Exchange,
    /// Whether the optimiser's step is among the pieces, and so nothing follows.
    steps: bool,
}

/// A step whose numbers are on their way.
#[derive(Debug)]
pub(super) struct Unread {
    /// As far as it is known.
    pub(super) record: LogRecord,
    /// Each batch's losses, and the gradient's norm.
    numbers: Pending<Numbers>,
    /// The last of its work, the reading included.
    submitted: Submission,
    /// What has come of this rank's numbers, and of the other ranks' losses.
    pub(super) own: Option<Numbers>,
    pub(super) heard: BTreeMap<usize, Vec<Sum>>,
    /// Whether rank 0 was told of them.
    pub(super) told: bool,
}

impl std::fmt::Debug for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Phase::Idle => "Idle",
            Phase::Batches(_) => "Batches",
            Phase::Reading => "Reading",
            Phase::Evaluating(_) => "Evaluating",
            Phase::Asking(_) => "Asking",
            Phase::Hearing(..) => "Hearing",
            Phase::Keeping(..) => "Keeping",
            Phase::Saving(_) => "Saving",
        })
    }
}

pub(super) async fn sum(device: &Device, losses: &Losses) -> Result<Sum> {
    let bytes = losses.begin_read(device)?.into_future().await?;
    Ok((losses.sum_of(&bytes), losses.count as u64))
}

/// Steps whose numbers are on their way while the next one is submitted: one keeps the device busy, and each has work space of its own.
const AHEAD: usize = 1;

/// How a step is gone through.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// A piece each time, once the device is done with the one before.
    Frames,
    /// All at once.
    Whole,
}

impl Pace {
    pub(super) fn piece(self) -> usize {
        match self {
            Pace::Frames => PIECE,
            Pace::Whole => usize::MAX,
        }
    }

    /// Submits what is due; whether all of it is done, or at least in the device's hands.
    pub(super) fn submit(self, pieces: &mut Pieces) -> Result<Option<Tick>> {
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
    /// the host engine a piece is computed before this returns. A kernel that runs for the first time is compiled, and files are read, within
    /// the call; a checkpoint is copied from the device within the next step's calls, and written by a thread of its own.
    ///
    /// At any time the device has at most one piece of the run to work on. An app whose frames have time left calls this again until it
    /// is [`Tick::Waiting`].
    ///
    /// # Errors
    /// As [`Run::advance`]; the step that failed is not finished by further calls.
    pub fn tick(&mut self) -> Result<Tick> {
        self.go_on(Pace::Frames)
    }

    /// One optimiser step, with the log line and evaluation that are due after it, waiting for the device. A checkpoint that is due is begun:
    /// it is written while the next step runs, and whole at the latest after [`Self::save`], [`Self::finish`] or the run's end.
    ///
    /// # Errors
    /// A loss or gradient that is not finite (the checkpoints before it stay); an embedding that is not there; no memory; a
    /// full disk, perhaps found while an earlier step's checkpoint was written; the device was lost.
    pub fn advance(&mut self) -> Result<LogRecord> {
        loop {
            match self.go_on(Pace::Whole)? {
                Tick::Submitted => {}
                Tick::Waiting => {
                    let rested = self.rest();
                    self.shared(rested)?;
                }
                Tick::Stepped(record) => return Ok(record),
            }
        }
    }

    /// Writes a checkpoint, if there is none of this step, and waits until it is there. Between the ticks of a step there is nothing to save.
    ///
    /// # Errors
    /// A step has begun; a full disk; the device was lost.
    pub fn save(&mut self) -> Result<()> {
        if !matches!(self.phase, Phase::Idle) {
            return Err(Error::argument("save", "a step has begun; finish it first with advance"));
        }
        let settled = self.settle(0);
        self.shared(settled)?;
        self.finish_saving()?;
        if self.ranks.is_root() && self.saved != Some(self.step()) {
            self.start_saving()?;
            self.finish_saving()?;
        }
        Ok(())
    }

    /// As [`Self::advance`], but without waiting for this step: its numbers stay on their way while the next step is recorded and
    /// submitted, so that the device is never idle for a log line. Gives the newest record whose numbers have come, that of the step
    /// before as a rule; its log line is written then. A step that is evaluated or saved is waited for, and so is the last. Whatever
    /// way a run is stepped, its results, its log and its checkpoints are the same.
    ///
    /// # Errors
    /// As [`Self::advance`]; a loss that is not finite is found a step late, and before a checkpoint is written.
    pub fn advance_ahead(&mut self) -> Result<Option<LogRecord>> {
        loop {
            if matches!(self.phase, Phase::Reading) && !self.evaluates(self.step()) && !self.saves(self.step()) {
                self.phase = Phase::Idle;
                let settled = self.settle(AHEAD);
                return self.shared(settled);
            }
            match self.go_on(Pace::Whole)? {
                Tick::Submitted => {}
                Tick::Waiting => {
                    let rested = self.rest();
                    self.shared(rested)?;
                }
                Tick::Stepped(record) => return Ok(Some(record)),
            }
        }
    }

    /// Waits for the numbers of all steps but the newest `but`, oldest first, and logs them. Gives the last one's record.
    fn settle(&mut self, but: usize) -> Result<Option<LogRecord>> {
        let mut last = None;
        while let Some(oldest) = self.unread.front().filter(|_| self.unread.len() > but) {
            oldest.submitted.wait()?;
            match self.try_take()? {
                Some((record, sum)) => {
                    self.log_step(&record, sum)?;
                    last = Some(record);
                }
                None => self.rest_for_numbers()?,
            }
        }
        Ok(last)
    }

    /// The oldest step's numbers, if they are there.
    fn try_take(&mut self) -> Result<Option<(LogRecord, Sum)>> {
        let Some(oldest) = self.unread.front_mut() else { return Ok(None) };
        if oldest.own.is_none() {
            oldest.own = oldest.numbers.try_take(&self.device)?;
        }
        let Some((sum, grad_norm)) = self.total_of_oldest()? else { return Ok(None) };
        let Some(Unread { record, .. }) = self.unread.pop_front() else { return Ok(None) };
        let record = LogRecord { loss: sum.0 / sum.1 as f64, grad_norm, ..record };
        self.check_finite(record.step, record.loss, grad_norm)?;
        Ok(Some((self.judged(record), sum)))
    }

    /// The record of a step whose gradient is known: where the loss has a factor, whether it overflowed.
    fn judged(&mut self, mut record: LogRecord) -> LogRecord {
        if let Some(scale) = &mut self.loss_scale {
            let finite = record.grad_norm.is_finite();
            scale.observe(finite);
            if !finite {
                log::info!("step {}: the gradient overflowed f16; skipped", record.step);
                record.more.push(("skipped_steps", scale.skipped() as f64));
            }
        }
        record
    }

    fn go_on(&mut self, pace: Pace) -> Result<Tick> {
        let step = self.step() + u64::from(matches!(self.phase, Phase::Idle | Phase::Batches(_)));
        let ticked = self.go_on_alone(pace);
        self.shared_at(step, ticked)
    }

    fn go_on_alone(&mut self, pace: Pace) -> Result<Tick> {
        let in_frames = pace == Pace::Frames;
        let pace = if self.tend_saving(in_frames)? { Pace::Frames } else { pace };
        match std::mem::take(&mut self.phase) {
            Phase::Idle => {
                self.trainer.clear()?;
                let step = self.step();
                if let Some(scale) = &mut self.loss_scale {
                    let factor = scale.of_step(step)?;
                    self.trainer.set_loss_scale(factor)?;
                }
                let of = self.batches_of_step();
                self.record_batch(Batches { of, ..Batches::default() }, pace)
            }
            Phase::Batches(batches) => self.go_on_with_batches(batches, pace),
            Phase::Reading => match self.try_take()? {
                Some((record, sum)) if self.unread.is_empty() => self.stepped(record, sum),
                Some((record, sum)) => {
                    self.log_step(&record, sum)?;
                    self.go_on_in(Phase::Reading)
                }
                None => self.wait_in(Phase::Reading),
            },
            Phase::Evaluating(evaluation) => self.go_on_evaluating(evaluation, pace),
            Phase::Asking(asking) => self.go_on_asking(asking, pace),
            Phase::Hearing(record, sum) => self.go_on_hearing(record, sum),
            Phase::Keeping(record, sum, mut writing) => match writing.try_take(&self.device)? {
                Some(()) => self.close(record, sum),
                None => self.wait_in(Phase::Keeping(record, sum, writing)),
            },
            Phase::Saving(record) => match self.may_go_on_saving(record.step, in_frames)? {
                true => Ok(Tick::Stepped(record)),
                false => self.wait_in(Phase::Saving(record)),
            },
        }
    }

    pub(super) fn wait_in(&mut self, phase: Phase) -> Result<Tick> {
        self.phase = phase;
        Ok(Tick::Waiting)
    }

    pub(super) fn go_on_in(&mut self, phase: Phase) -> Result<Tick> {
        self.phase = phase;
        Ok(Tick::Submitted)
    }

    /// Records a batch of this rank, and after the step's last one the optimiser.
    fn record_batch(&mut self, mut batches: Batches, pace: Pace) -> Result<Tick> {
        let batch = self.next_own_batch(&mut batches)?;
        match batch {
            Some(batch) if self.ranks.are_one() => {
                let embeddings = self.inputs.noisy(&batch, self.step())?;
                let (recorder, losses) = self.trainer.record(&batch, &embeddings)?;
                batches.pieces.push(recorder, pace.piece());
                batches.losses.push(losses);
            }
            Some(batch) => {
                self.record_shared(&mut batches, &batch, pace)?;
                self.count_the_rest(&mut batches)?;
            }
            None => {}
        }
        if batches.count == batches.of && self.ranks.are_one() && self.is_copied() {
            self.record_step(&mut batches, pace)?;
        }
        self.go_on_in(Phase::Batches(batches))
    }

    /// Records the optimiser's step.
    fn record_step(&mut self, batches: &mut Batches, pace: Pace) -> Result<()> {
        self.rate = self.schedule.rate(self.step());
        batches.pieces.push(self.trainer.record_step(self.rate)?, pace.piece());
        batches.steps = true;
        Ok(())
    }

    fn go_on_with_batches(&mut self, mut batches: Batches, pace: Pace) -> Result<Tick> {
        if let Some(tick) = pace.submit(&mut batches.pieces)? {
            self.phase = Phase::Batches(batches);
            return Ok(tick);
        }
        if !self.ranks.are_one()
            && !batches.steps
            && let Some(tick) = self.go_on_sharing(&mut batches, pace)?
        {
            self.phase = Phase::Batches(batches);
            return Ok(tick);
        }
        if batches.count < batches.of {
            return self.record_batch(batches, pace);
        }
        if !batches.steps {
            // What it changes must have been copied.
            if !self.is_copied() {
                return self.wait_for_copies(Phase::Batches(batches));
            }
            self.record_step(&mut batches, pace)?;
            return self.go_on_in(Phase::Batches(batches));
        }
        let record = LogRecord { step: self.step(), lr: self.rate, tokens: self.tokens, ..LogRecord::default() };
        let numbers = self.begin_reading(batches.losses)?;
        // Nothing but a mark behind the copies.
        let submitted = self.device.recorder().submit()?;
        let (own, heard, told) = (None, BTreeMap::new(), false);
        self.unread.push_back(Unread { record, numbers, submitted, own, heard, told });
        self.go_on_in(Phase::Reading)
    }

    /// The numbers of the present step, copied before the next step overwrites them.
    fn begin_reading(&self, losses: Vec<Losses>) -> Result<Pending<Numbers>> {
        let read = |losses: Losses| Ok((losses.begin_read(&self.device)?.into_future(), losses));
        let losses = losses.into_iter().map(read).collect::<Result<Vec<_>>>()?;
        let norm = self.device.begin_read(self.trainer.optimizer.scale_and_norm())?.into_future();
        let status = self.inputs.status().map(|status| self.device.begin_read(status)).transpose()?;
        Ok(Pending::new(async move {
            let mut sums = Vec::with_capacity(losses.len());
            for (bytes, losses) in losses {
                sums.push((losses.sum_of(&bytes.await?), losses.count as u64));
            }
            let norm = bytemuck::pod_read_unaligned::<f32>(&norm.await?[4..8]);
            // Whether every row could be aligned.
            if let Some(status) = status {
                judge(&status.into_future().await?)?;
            }
            Ok((sums, f64::from(norm)))
        }))
    }

    /// The numbers of a step have come.
    fn stepped(&mut self, record: LogRecord, sum: Sum) -> Result<Tick> {
        if !self.evaluates(record.step) {
            return self.close(record, sum);
        }
        match self.ranks.is_root() {
            true => self.go_on_in(Phase::Evaluating(Evaluation::begin(record, sum))),
            false => self.go_on_in(Phase::Hearing(record, sum)),
        }
    }

    /// Log line and checkpoint, as they are due.
    pub(super) fn close(&mut self, record: LogRecord, sum: Sum) -> Result<Tick> {
        self.log_step(&record, sum)?;
        if !(self.saves(record.step) && self.ranks.is_root()) {
            return Ok(Tick::Stepped(record));
        }
        self.go_on_in(Phase::Saving(record))
    }
}
