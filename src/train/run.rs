//! A run: stage 1 or stage 2 from files to files, step by step [paper section 5].
//!
//! ```text
//! out/
//!   run.toml               the settings
//!   log.jsonl              step, loss, lr, grad_norm, tokens of each logged step
//!   events.out.tfevents.…  the same for TensorBoard, if asked for
//!   checkpoints/step-…/    parameters, optimiser, place in the data
//!   adapter.safetensors    the result, under LLaVA's names
//!   model/                 the decoder in Hugging Face's layout, where it trained, or with the additions merged into it if asked for
//!   lora/                  the low-rank additions in PEFT's layout, where there are such
//!   best/                  these three as the best evaluation saw them, if asked for, with best.json
//! ```

use std::collections::VecDeque;

use serde_json::{Map, Value, json};

use super::best::{BEST, Evaluations};
use super::data::HeldOut;
use super::evaluating::Asker;
use super::fingerprint::Fingerprints;
use super::log::{LogRecord, RunLog};
use super::order::DataOrder;
use super::ranks::Ranks;
use super::saving::Saving;
use super::schedule::Schedule;
use super::settings::Settings;
use super::sources::Watch;
use super::step::{Phase, Unread};
use super::visual::VisualInputs;
use super::{Checkpoints, Finished, Model, Trainer, results};
use crate::device::{Device, block_on};
use crate::io::{EventWriter, FolderLock, Samples, Start, write_atomically};
use crate::optim::LossScale;
use crate::{Error, Result};

pub(super) const LOG: &str = "log.jsonl";
pub(super) const CHECKPOINTS: &str = "checkpoints";
pub(super) const SETTINGS: &str = "run.toml";

/// A training run.
#[derive(Debug)]
pub struct Run {
    pub(super) device: Device,
    pub(super) settings: Settings,
    pub(super) trainer: Trainer,
    pub(super) checkpoints: Checkpoints,
    pub(super) order: DataOrder,
    pub(super) tokens: u64,
    pub(super) evaluations: Evaluations,
    pub(super) inputs: VisualInputs,
    pub(super) samples: Samples,
    pub(super) schedule: Schedule,
    /// The present step's learning rate.
    pub(super) rate: f64,
    pub(super) phase: Phase,
    /// Steps whose numbers are on their way, oldest first.
    pub(super) unread: VecDeque<Unread>,
    pub(super) held_out: Option<HeldOut>,
    pub(super) asker: Option<Asker>,
    /// Of rank 0.
    pub(super) log: Option<RunLog>,
    /// The same for TensorBoard.
    pub(super) events: Option<EventWriter>,
    /// The loss's factor, where the model computes in mixed precision.
    pub(super) loss_scale: Option<LossScale>,
    /// Sums since the last logged step: negative log-likelihood and targets.
    pub(super) pending: (f64, u64),
    /// The step of the newest checkpoint, be it still on its way.
    pub(super) saved: Option<u64>,
    /// The checkpoint that is on its way. Before the lock: it is finished when this is dropped.
    pub(super) saving: Option<Saving>,
    /// Whether the run can go on only when more of that is written.
    pub(super) is_behind: bool,
    /// Whether it was said that a checkpoint waited for the one before.
    pub(super) told: bool,
    /// What the inputs hold.
    pub(super) fingerprints: Fingerprints,
    /// Who shares the run's steps.
    pub(super) ranks: Ranks,
    /// How often they were asked whether to stop.
    pub(super) asked: u64,
    /// Of the run's folder, on rank 0.
    pub(super) _lock: Option<FolderLock>,
}

impl Run {
    /// Reads everything that the settings name, and goes to the place where the run starts.
    ///
    /// # Errors
    /// Settings out of range; a file that is missing, malformed or does not fit the others; a run that is there already, or
    /// to resume one with other settings; another process that trains into the same folder; no memory.
    pub fn start(device: &Device, settings: Settings, start: Start) -> Result<Run> {
        Run::start_watched(device, settings, start, None)
    }

    /// As [`Self::start`]; where the settings name an encoder, `watch` is told how far it is with the embeddings.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_watched(device: &Device, settings: Settings, start: Start, watch: Option<Watch<'_>>) -> Result<Run> {
        let ranks = Ranks::alone();
        Run::start_on(device, settings, start, watch, ranks)
    }

    /// As [`Self::start_watched`], on one of several ranks, which all call this with the same settings: see [`super::ranks`]. All of them see
    /// the same files. Rank 0 writes the run's folder; the others read it where the run goes on.
    ///
    /// # Errors
    /// As [`Self::start`]; batches that the ranks cannot share evenly; ranks that were told other things, or read other data.
    pub fn start_on(
        device: &Device,
        settings: Settings,
        start: Start,
        watch: Option<Watch<'_>>,
        ranks: Ranks,
    ) -> Result<Run> {
        let told = ranks.clone();
        Run::begin(device, settings, start, (watch, ranks)).inspect_err(|e| told.tell_error("at the start", e))
    }

    /// Opens the log behind the step at which the run starts, and writes the settings beside it.
    pub(super) fn begin_log(&mut self, start: Start) -> Result<()> {
        if !self.ranks.is_root() {
            return Ok(());
        }
        let out = &self.settings.out;
        self.log = Some(RunLog::resume(&out.join(LOG), self.step())?);
        let goes_on = (start == Start::Resume).then(|| self.step() + 1);
        self.events = self.settings.tensorboard.then(|| EventWriter::new(out, goes_on));
        write_atomically(&out.join(SETTINGS), true, self.settings.to_toml().as_bytes())
    }

    /// Optimiser steps submitted.
    pub fn step(&self) -> u64 {
        self.trainer.optimizer.step()
    }

    /// Optimiser steps of the whole run.
    pub fn total(&self) -> u64 {
        self.schedule.total
    }

    /// Where it runs.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Positions seen since the start, visual ones included.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Samples of the data that are trained on.
    pub fn samples(&self) -> &Samples {
        &self.samples
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The model as it is now.
    pub fn model(&self) -> &Model {
        &self.trainer.model
    }

    /// Whether all steps are done, the last one's numbers read; or the patience with evaluations is at its end.
    pub fn is_done(&self) -> bool {
        let ended = self.step() >= self.total() || self.stopped_early().is_some();
        ended && matches!(self.phase, Phase::Idle) && self.unread.is_empty()
    }

    /// Steps so far whose gradients overflowed, and which changed nothing: see [`LossScale`]. `None` in f32, where such a step ends the run.
    pub fn skipped_steps(&self) -> Option<u64> {
        self.loss_scale.as_ref().map(LossScale::skipped)
    }

    /// Refuses a step that no further one can mend.
    pub(super) fn check_finite(&mut self, step: u64, loss: f64, grad_norm: f64) -> Result<()> {
        let mends_itself = self.loss_scale.is_some();
        if loss.is_finite() && (grad_norm.is_finite() || mends_itself) {
            return Ok(());
        }
        let kept = self.kept();
        let what = format!("step {step}: the loss is {loss} and the gradient's norm {grad_norm}");
        let precision = if mends_itself { ", or compute in f32, whose range is wider" } else { "" };
        let remedy = format!("lower lr, or check weights and embeddings{precision}");
        Err(Error::degenerate(format!("{what}; training stopped, {kept}; {remedy}")))
    }

    /// What is left of the run if it ends here.
    pub(super) fn kept(&mut self) -> String {
        if let Err(e) = self.finish_saving() {
            log::error!("{e}");
        }
        match self.checkpoints.list() {
            Ok(list) => match list.last() {
                Some((step, path)) => format!("the checkpoint of step {step} is kept in {}", path.display()),
                None => "there is no checkpoint yet".to_string(),
            },
            Err(e) => e.to_string(),
        }
    }

    fn due(&self, step: u64, every: u64) -> bool {
        (every > 0 && step.is_multiple_of(every)) || step == self.total()
    }

    /// Whether an evaluation is due after this step.
    pub(super) fn evaluates(&self, step: u64) -> bool {
        self.settings.eval_data.is_some() && self.due(step, self.settings.eval_every)
    }

    /// Whether a checkpoint is due after this step: rank 0 writes it.
    pub(super) fn saves(&self, step: u64) -> bool {
        self.due(step, self.settings.checkpoint_every)
    }

    /// The step's log line, if it is due.
    pub(super) fn log_step(&mut self, record: &LogRecord, (sum, targets): (f64, u64)) -> Result<()> {
        self.pending = (self.pending.0 + sum, self.pending.1 + targets);
        let Some(mut log) = self.log.take() else { return Ok(()) };
        if self.due(record.step, self.settings.log_every) || !record.more.is_empty() {
            // A line stands for all steps since the line before.
            let (sum, targets) = std::mem::take(&mut self.pending);
            let record = LogRecord { loss: sum / targets as f64, ..record.clone() };
            let mut notes = Map::new();
            if log.is_empty() {
                notes.insert("start".to_string(), self.beginning());
            }
            if record.step < self.total()
                && let Some(why) = self.evaluations.stopped_after(&self.settings, record.step)
            {
                notes.insert("stopped_early".to_string(), why.into());
            }
            log.write_with(&record, notes)?;
            if let Some(events) = &mut self.events {
                events.write(record.step, &record.numbers())?;
            }
        }
        self.log = Some(log);
        Ok(())
    }

    /// What the log's first line says of the run: how long it is, and what is left out of its data.
    fn beginning(&self) -> Value {
        let mut start = json!({"steps": self.total(), "date": self.settings.date.map(|date| date.to_string())});
        let all = [("", Some(&self.samples)), ("eval_", self.held_out.as_ref().map(HeldOut::samples))];
        for (prefix, samples) in all.into_iter().filter_map(|(prefix, samples)| Some((prefix, samples?))) {
            start[format!("{prefix}samples")] = json!(samples.len());
            start[format!("{prefix}skipped")] = json!(samples.missing() + samples.without_target());
            start[format!("{prefix}skipped_bad")] = json!(samples.skipped_bad());
            start[format!("{prefix}truncated")] = json!(samples.cut());
        }
        start
    }

    /// What the next checkpoint keeps of the sums since the last log line.
    pub(super) fn pending(&self) -> (f64, u64) {
        self.pending
    }

    pub(super) fn set_pending(&mut self, pending: (f64, u64)) {
        self.pending = pending;
    }

    /// Writes the results. With several ranks rank 0 does, and all come back when it is done.
    ///
    /// # Errors
    /// A full disk; the device was lost; what another rank ended by.
    pub fn finish(mut self) -> Result<Finished> {
        let finished = self.write_results();
        self.shared(finished)
    }

    /// What a run of one process, or rank 0, leaves.
    pub(super) fn results(&mut self) -> Result<Finished> {
        let (model, settings) = (&self.trainer.model, &self.settings);
        let mut finished = block_on(&self.device, results::write(&self.device, model, settings, &settings.out))?;
        finished.best = Some(settings.out.join(BEST)).filter(|folder| settings.keep_best && folder.is_dir());
        Ok(finished)
    }
}
