//! How a run begins: what its settings leave open, its folder, its model.

use std::collections::VecDeque;
use std::path::Path;

use super::best::{BEST, Evaluations};
use super::data::{HeldOut, read_samples};
use super::evaluating::Asker;
use super::fingerprint::Fingerprints;
use super::log::{RunLog, start_of};
use super::order::{DataOrder, OrderOptions};
use super::ranks::Ranks;
use super::run::{CHECKPOINTS, LOG, Run, SETTINGS};
use super::schedule::Schedule;
use super::settings::{Reduce, Settings, Stage, Trained};
use super::sources::{Watch, with_embeddings};
use super::step::Phase;
use super::visual::VisualInputs;
use super::{Checkpoints, Model, Trainer};
use crate::device::Device;
use crate::error::{Problem, Remedy};
use crate::io::{AdapterWeights, ChatDate, ChatTemplate, EventWriter, FolderLock, Start, Tokenizer, atomic_folder};
use crate::nn::adapter::fresh;
use crate::nn::decoder::LowRankOptions;
use crate::nn::{Adapter, Decoder, Precision};
use crate::optim::{AdamWOptions, LossScale};
use crate::{Error, Result};

impl Run {
    pub(super) fn begin(
        device: &Device,
        mut settings: Settings,
        start: Start,
        (watch, ranks): (Option<Watch<'_>>, Ranks),
    ) -> Result<Run> {
        settings.validate()?;
        let out = settings.out.clone();
        let lock = first_look(&settings, start, &ranks)?;
        let steps = |settings: &mut Settings| complete(device, settings, start, ranks.size());
        ranks.agree(device, &mut settings, steps)?;
        let sources = ranks.in_turn(|| with_embeddings(device, &settings, watch))?;
        // As they are before they are read.
        let fingerprints = Fingerprints::begin(&sources)?;
        let data = read_samples(&sources, &settings.data)?;
        let mut inputs = VisualInputs::of_settings(device, data.embeddings.rows, &settings)?;
        // Rank 0 evaluates for all.
        let held_out = if ranks.is_root() { HeldOut::open(device, &sources)? } else { None };
        let model = model(device, &settings, &mut inputs)?;
        let trainer = trainer(device, model, &settings, &ranks)?;
        let asker = held_out.as_ref().map(|held_out| Asker::new(device, &settings, held_out, &trainer.model));
        let asker = asker.transpose()?.flatten();
        let options = OrderOptions { limit: settings.batch_limit(), window: settings.window, seed: settings.seed };
        let order = DataOrder::new(data.samples.lengths(), options)?;
        let schedule = schedule(&settings, &order)?;
        ranks.agree_on_inputs(&fingerprints)?;
        let (lock, checkpoints) = open_folder(&settings, start, lock, &ranks)?;
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
            log: None,
            events: None,
            loss_scale: mixed.then(LossScale::default),
            pending: (0.0, 0),
            saved: None,
            saving: None,
            is_behind: false,
            told: false,
            fingerprints,
            ranks,
            asked: 0,
            _lock: lock,
        };
        if start == Start::Resume
            && let Some(checkpoint) = run.ranks.clone().same_checkpoint(&run.checkpoints, &out)?
        {
            run.restore(&checkpoint)?;
            run.saved = Some(run.step());
        }
        run.begin_log(start)?;
        Ok(run)
    }
}

/// What rank 0 looks at before anything is read, which may take minutes: the folder, if it is there, and settings without effect.
fn first_look(settings: &Settings, start: Start, ranks: &Ranks) -> Result<Option<FolderLock>> {
    if !ranks.is_root() {
        return Ok(None);
    }
    settings.ignored().iter().for_each(|line| log::warn!("{line}"));
    settings.hints().iter().for_each(|line| log::warn!("{line}"));
    if ranks.are_one() && settings.reduce != Reduce::F32 {
        log::warn!("reduce is ignored: there is one rank, which sends nothing");
    }
    let lock = if settings.out.is_dir() { Some(FolderLock::acquire(&settings.out)?) } else { None };
    check_new(&settings.out, start)?;
    Ok(lock)
}

/// Refuses a new run where there is one already.
fn check_new(out: &Path, start: Start) -> Result<()> {
    let exists = out.join(LOG).exists() || out.join(CHECKPOINTS).exists();
    if exists && start == Start::New {
        return Err(Error::format(out, Problem::new("holds a run already").remedy(Remedy::ResumeOrReplace)));
    }
    Ok(())
}

/// Fills in what the settings leave open: as a run that goes on had it, else as the device, the day and the number of ranks suggest.
fn complete(device: &Device, settings: &mut Settings, start: Start, ranks: usize) -> Result<()> {
    settings.precision = Some(precision(device, settings, start));
    settings.date = date(settings, start)?;
    let before = before(settings, start);
    settings.any_encoder |= before.as_ref().is_some_and(|before| before.any_encoder);
    // A run that goes on has the batches of a step that it had, on however many ranks.
    let now = settings.accumulate.saturating_mul(ranks);
    let before = before.filter(|before| before.step_batches() != now).map(|before| before.ranks.unwrap_or(1));
    settings.ranks = settings.ranks.or(before).or(Some(ranks));
    Ok(())
}

/// The learning rate of each step of the whole run.
fn schedule(settings: &Settings, order: &DataOrder) -> Result<Schedule> {
    let steps = || order.total_steps(settings.step_batches() as u64, settings.epochs);
    let total = settings.max_steps.unwrap_or_else(steps);
    Schedule::with_ratio(settings.schedule, settings.lr, settings.warmup_ratio, total)
}

/// The checkpoints of the run's folder, which rank 0 makes and locks; those of a run that is replaced are removed.
fn open_folder(
    settings: &Settings,
    start: Start,
    lock: Option<FolderLock>,
    ranks: &Ranks,
) -> Result<(Option<FolderLock>, Checkpoints)> {
    let (out, keep) = (&settings.out, settings.keep);
    let folder = out.join(CHECKPOINTS);
    if !ranks.is_root() {
        return Ok((None, Checkpoints::of_another(&folder, keep)));
    }
    // Once all else is found to be good.
    let lock = lock.map_or_else(|| create_locked(out, start), Ok)?;
    if start == Start::Replace {
        clear(out)?;
    }
    atomic_folder::recover(out)?;
    let checkpoints = Checkpoints::open(&folder, keep)?;
    // A log that is none is found before the first step.
    RunLog::resume(&out.join(LOG), u64::MAX)?;
    Ok((Some(lock), checkpoints))
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

fn trainer(device: &Device, model: Model, settings: &Settings, ranks: &Ranks) -> Result<Trainer> {
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
    if !ranks.are_one() && settings.reduce == Reduce::Bf16 {
        trainer.sum_by_rank();
    } else if settings.step_batches() > 1 {
        trainer.sum_whole_batches()?;
    }
    Ok(trainer)
}
