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
use std::path::Path;

use serde_json::{Map, Value, json};

use super::best::{BEST, Evaluations};
use super::data::{HeldOut, read_samples};
use super::evaluating::Asker;
use super::fingerprint::Fingerprints;
use super::log::{LogRecord, RunLog, start_of};
use super::order::{DataOrder, OrderOptions};
use super::saving::Saving;
use super::schedule::Schedule;
use super::settings::{Settings, Stage, Trained};
use super::sources::{Watch, with_embeddings};
use super::step::{Phase, Unread};
use super::visual::VisualInputs;
use super::{Checkpoints, Finished, Model, Trainer, results};
use crate::device::{Device, block_on};
use crate::error::{Problem, Remedy};
use crate::io::{
    AdapterWeights, ChatDate, ChatTemplate, EventWriter, FolderLock, Samples, Start, Tokenizer, atomic_folder,
    write_atomically,
};
use crate::nn::adapter::fresh;
use crate::nn::decoder::LowRankOptions;
use crate::nn::{Adapter, Decoder, Precision};
use crate::optim::{AdamWOptions, LossScale};
use crate::{Error, Result};

pub(super) const LOG: &str = "log.jsonl";
pub(super) const CHECKPOINTS: &str = "checkpoints";
const SETTINGS: &str = "run.toml";

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
    log: RunLog,
    /// The same for TensorBoard.
    events: Option<EventWriter>,
    /// The loss's factor, where the model computes in mixed precision.
    pub(super) loss_scale: Option<LossScale>,
    /// Sums since the last logged step: negative log-likelihood and targets.
    pending: (f64, u64),
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
    /// Of the run's folder.
    _lock: FolderLock,
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
    pub fn start_watched(
        device: &Device,
        mut settings: Settings,
        start: Start,
        watch: Option<Watch<'_>>,
    ) -> Result<Run> {
        settings.validate()?;
        settings.ignored().iter().for_each(|line| log::warn!("{line}"));
        settings.hints().iter().for_each(|line| log::warn!("{line}"));
        let out = settings.out.clone();
        // Before anything is read, if the folder is there: reading may take minutes. Else once all else is found to be good.
        let lock = if out.is_dir() { Some(FolderLock::acquire(&out)?) } else { None };
        check_new(&out, start)?;
        complete(device, &mut settings, start)?;
        let sources = with_embeddings(device, &settings, watch)?;
        // As they are before they are read.
        let fingerprints = Fingerprints::begin(&sources)?;
        let data = read_samples(&sources, &settings.data)?;
        let mut inputs = VisualInputs::of_settings(device, data.embeddings.rows, &settings)?;
        let held_out = HeldOut::open(device, &sources)?;
        let model = model(device, &settings, &mut inputs)?;
        let trainer = trainer(device, model, &settings)?;
        let asker = held_out.as_ref().map(|held_out| Asker::new(device, &settings, held_out, &trainer.model));
        let asker = asker.transpose()?.flatten();
        let options = OrderOptions { limit: settings.batch_limit(), window: settings.window, seed: settings.seed };
        let order = DataOrder::new(data.samples.lengths(), options)?;
        let schedule = schedule(&settings, &order)?;
        let lock = lock.map_or_else(|| create_locked(&out, start), Ok)?;
        let (checkpoints, log) = open_folder(&out, start, settings.keep)?;
        let mixed = settings.precision == Some(Precision::Mixed);
        let mut run = Run {
            device: device.clone(),
            settings,
            trainer,
            checkpoints,
            order,
            tokens: 0,
            evaluations: Evaluations::default(),
            inputs,
            samples: data.samples,
            held_out,
            asker,
            schedule,
            rate: 0.0,
            phase: Phase::Idle,
            unread: VecDeque::new(),
            log,
            events: None,
            loss_scale: mixed.then(LossScale::default),
            pending: (0.0, 0),
            saved: None,
            saving: None,
            is_behind: false,
            told: false,
            fingerprints,
            _lock: lock,
        };
        if start == Start::Resume
            && let Some(checkpoint) = run.checkpoints.newest()?
        {
            run.restore(&checkpoint)?;
            run.saved = Some(run.step());
        }
        run.begin_log(start)?;
        Ok(run)
    }

    /// Opens the log behind the step at which the run starts, and writes the settings beside it.
    fn begin_log(&mut self, start: Start) -> Result<()> {
        let out = &self.settings.out;
        self.log = RunLog::resume(&out.join(LOG), self.step())?;
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
        if let Err(e) = self.finish_saving() {
            log::error!("{e}");
        }
        let kept = match self.checkpoints.list()?.last() {
            Some((step, path)) => format!("the checkpoint of step {step} is kept in {}", path.display()),
            None => "there is no checkpoint yet".to_string(),
        };
        let what = format!("step {step}: the loss is {loss} and the gradient's norm {grad_norm}");
        let precision = if mends_itself { ", or compute in f32, whose range is wider" } else { "" };
        let remedy = format!("lower lr, or check weights and embeddings{precision}");
        Err(Error::degenerate(format!("{what}; training stopped, {kept}; {remedy}")))
    }

    fn due(&self, step: u64, every: u64) -> bool {
        (every > 0 && step.is_multiple_of(every)) || step == self.total()
    }

    /// Whether an evaluation is due after this step.
    pub(super) fn evaluates(&self, step: u64) -> bool {
        self.held_out.is_some() && self.due(step, self.settings.eval_every)
    }

    /// Whether a checkpoint is due after this step.
    pub(super) fn saves(&self, step: u64) -> bool {
        self.due(step, self.settings.checkpoint_every)
    }

    /// The step's log line, if it is due.
    pub(super) fn log_step(&mut self, record: &LogRecord, (sum, targets): (f64, u64)) -> Result<()> {
        self.pending = (self.pending.0 + sum, self.pending.1 + targets);
        if self.due(record.step, self.settings.log_every) || !record.more.is_empty() {
            // A line stands for all steps since the line before.
            let (sum, targets) = std::mem::take(&mut self.pending);
            let record = LogRecord { loss: sum / targets as f64, ..record.clone() };
            let mut notes = Map::new();
            if self.log.is_empty() {
                notes.insert("start".to_string(), self.beginning());
            }
            if record.step < self.total()
                && let Some(why) = self.evaluations.stopped_after(&self.settings, record.step)
            {
                notes.insert("stopped_early".to_string(), why.into());
            }
            self.log.write_with(&record, notes)?;
            if let Some(events) = &mut self.events {
                events.write(record.step, &record.numbers())?;
            }
        }
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

    /// Writes the results.
    ///
    /// # Errors
    /// A full disk; the device was lost.
    pub fn finish(mut self) -> Result<Finished> {
        self.save()?;
        let (model, settings) = (&self.trainer.model, &self.settings);
        let mut finished = block_on(&self.device, results::write(&self.device, model, settings, &settings.out))?;
        finished.best = Some(settings.out.join(BEST)).filter(|folder| settings.keep_best && folder.is_dir());
        Ok(finished)
    }
}

/// Refuses a new run where there is one already.
fn check_new(out: &Path, start: Start) -> Result<()> {
    let exists = out.join(LOG).exists() || out.join(CHECKPOINTS).exists();
    if exists && start == Start::New {
        return Err(Error::format(out, Problem::new("holds a run already").remedy(Remedy::ResumeOrReplace)));
    }
    Ok(())
}

/// Fills in what the settings leave open: as a run that goes on had it, else as the device and the day suggest.
fn complete(device: &Device, settings: &mut Settings, start: Start) -> Result<()> {
    settings.precision = Some(precision(device, settings, start));
    settings.date = date(settings, start)?;
    settings.any_encoder |= before(settings, start).is_some_and(|before| before.any_encoder);
    Ok(())
}

/// The learning rate of each step of the whole run.
fn schedule(settings: &Settings, order: &DataOrder) -> Result<Schedule> {
    let steps = || order.total_steps(settings.accumulate as u64, settings.epochs);
    let total = settings.max_steps.unwrap_or_else(steps);
    Schedule::with_ratio(settings.schedule, settings.lr, settings.warmup_ratio, total)
}

/// The checkpoints and the log of the run's folder, which is locked; those of a run that is replaced are removed.
fn open_folder(out: &Path, start: Start, keep: usize) -> Result<(Checkpoints, RunLog)> {
    if start == Start::Replace {
        clear(out)?;
    }
    atomic_folder::recover(out)?;
    Ok((Checkpoints::open(&out.join(CHECKPOINTS), keep)?, RunLog::resume(&out.join(LOG), u64::MAX)?))
}

/// What the run computes in: as it was told; one that is resumed, as it did; else as the device can where an adapter or all of a decoder
/// learns. Low-rank additions have not been shown to end alike in both precisions (docs/training.md).
fn precision(device: &Device, settings: &Settings, start: Start) -> Precision {
    match (settings.precision, before(settings, start)) {
        (Some(precision), _) => precision,
        (None, Some(before)) => before.precision.unwrap_or_default(),
        (None, None) if settings.train == Trained::Lora => Precision::F32,
        (None, None) => Precision::for_training(device),
    }
}

/// The settings that a run which is resumed was started with. What a checkpoint says is compared later.
fn before(settings: &Settings, start: Start) -> Option<Settings> {
    let written = settings.out.join(SETTINGS);
    if start != Start::Resume || !written.is_file() {
        return None;
    }
    let mut before = Settings::new(settings.stage);
    before.read(&written).unwrap_or_else(|e| log::warn!("what it does not say is taken to be as by default: {e}"));
    Some(before)
}

/// The date that the chat template gets, where it writes one: as it was told; in a run that is resumed, as before; else today.
fn date(settings: &Settings, start: Start) -> Result<Option<ChatDate>> {
    if settings.stage == Stage::One {
        return Ok(None);
    }
    let template = ChatTemplate::open(&settings.model, &Tokenizer::open(&settings.model)?)?;
    if !template.is_dated() {
        return Ok(None);
    }
    let before = before(settings, start).and_then(|before| before.date).or_else(|| {
        let logged = start_of(&settings.out.join(LOG)).filter(|_| start == Start::Resume)?;
        logged.get("date")?.as_str()?.parse().ok()
    });
    Ok(settings.date.or(before).or_else(|| Some(ChatDate::now().day())))
}

/// Makes and locks a run's folder. Another process may have made it meanwhile, and even be done with its run.
fn create_locked(out: &Path, start: Start) -> Result<FolderLock> {
    crate::io::url::create_folders(out)?;
    let lock = FolderLock::acquire(out)?;
    check_new(out, start)?;
    Ok(lock)
}

/// Removes a run's log, checkpoints and best evaluation; results are replaced when the new run has its own.
fn clear(out: &Path) -> Result<()> {
    let (log, checkpoints, best) = (out.join(LOG), out.join(CHECKPOINTS), out.join(BEST));
    EventWriter::remove_all(out)?;
    if best.exists() {
        std::fs::remove_dir_all(&best).map_err(Error::io("remove", &best))?;
    }
    if log.exists() {
        std::fs::remove_file(&log).map_err(Error::io("remove", &log))?;
    }
    if checkpoints.exists() {
        std::fs::remove_dir_all(&checkpoints).map_err(Error::io("remove", &checkpoints))?;
    }
    Ok(())
}

/// The decoder of the model folder behind the adapter that the settings name, or a fresh one.
fn model(device: &Device, settings: &Settings, inputs: &mut VisualInputs) -> Result<Model> {
    let precision = settings.precision.unwrap_or_default();
    let mut decoder = match (settings.train, precision) {
        (Trained::All, _) => Decoder::open(device, &settings.model, Some(settings.master_weights))?,
        (_, Precision::F32) => Decoder::open(device, &settings.model, settings.weights)?,
        (_, Precision::Mixed) => Decoder::open_mixed(device, &settings.model, settings.weights)?,
    };
    let hidden = decoder.config().hidden_size;
    let width = inputs.width();
    let mut weights = match &settings.init_adapter {
        None => fresh(settings.adapter, width, hidden * settings.adapter_tokens, settings.seed),
        Some(path) => {
            let weights = AdapterWeights::load(path)?;
            weights.check_fits(width, hidden, path)?;
            check_wanted(settings, &weights, hidden)?;
            weights.visual_tokens_or(Some(settings.visual_tokens), hidden, path)?;
            if let Some(before) = weights.visual_tokens().filter(|before| *before != settings.visual_tokens) {
                let now = settings.visual_tokens;
                log::warn!("{}: was trained with {before} visual tokens, and now gets {now}", path.display());
            }
            weights
        }
    };
    // What the rows are counts, not what they were meant to be.
    weights.set_unit_rows(inputs.are_of_length_1());
    if let (Trained::Lora, Some(folder)) = (settings.train, &settings.init_lora) {
        decoder.open_low_rank(device, folder)?;
    } else if settings.train == Trained::Lora {
        let alpha = settings.lora_alpha as f32;
        let options = LowRankOptions { rank: settings.lora_rank, alpha, seed: settings.seed };
        decoder.add_low_rank_to(device, options, &settings.lora_targets)?;
    }
    if let (Trained::Lora, Some(probability)) = (settings.train, settings.lora_dropout) {
        decoder.set_dropout(probability as f32)?;
    }
    decoder.compute_in(device, precision)?;
    Ok(Model { adapter: Adapter::new(device, &weights)?, decoder })
}

/// An adapter of another shape than the settings ask for must not take its place in silence; their defaults ask for none.
fn check_wanted(settings: &Settings, weights: &AdapterWeights, hidden: usize) -> Result<()> {
    let (plain, tokens) = (Settings::new(settings.stage), weights.outputs() / hidden.max(1));
    let problem = if settings.adapter != plain.adapter && settings.adapter != weights.kind {
        format!(
            "adapter: {} is asked for, but init_adapter is {}; leave out one of them",
            settings.adapter, weights.kind
        )
    } else if settings.adapter_tokens != plain.adapter_tokens && settings.adapter_tokens != tokens {
        let asked = settings.adapter_tokens;
        format!("adapter_tokens: {asked} are asked for, but init_adapter makes {tokens}; leave out one of them")
    } else {
        return Ok(());
    };
    Err(Error::argument("setting", problem))
}

fn trainer(device: &Device, model: Model, settings: &Settings) -> Result<Trainer> {
    let options = AdamWOptions {
        beta1: settings.beta1,
        beta2: settings.beta2,
        eps: settings.eps,
        weight_decay: settings.weight_decay,
        max_norm: (settings.clip > 0.0).then_some(settings.clip as f32),
        moments: settings.optimizer,
        seed: settings.seed,
    };
    let mut trainer = Trainer::new(device, model, settings.trains(), (options, settings.recompute))?;
    let adapter_rate = settings.projector_lr.map_or(1.0, |rate| rate / settings.lr);
    if adapter_rate != 1.0 || settings.decay_matrices_only {
        trainer.set_rules(adapter_rate, settings.decay_matrices_only);
    }
    Ok(trainer)
}
