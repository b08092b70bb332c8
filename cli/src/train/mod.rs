//! `train`.

pub mod args;
#[cfg(feature = "mpi")]
mod mpi;
mod plan;
pub mod ranks;

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use realign::nn::Precision;
use realign::train::{LogRecord, Ranks, Run, Settings, Stage, Start, Watch, write_report};
use serde_json::json;

use crate::encode::Progress;
use crate::shared::device::embeddings_folder;
use crate::shared::show;
use crate::train::args::{RunArgs, StageArgs, TrainArgs};
use crate::wording::words;

/// Set by Ctrl-C.
static STOP: AtomicBool = AtomicBool::new(false);
/// Lines that a run prints where stderr is no terminal.
const LINES: u64 = 20;

/// The run was stopped by Ctrl-C, and saved.
#[derive(Debug, thiserror::Error)]
#[error("stopped after step {step} of {total}, saved; go on with the same command and --resume")]
pub struct Interrupted {
    step: u64,
    total: u64,
}

pub fn train(args: &TrainArgs) -> Result<()> {
    let (stage, args) = match &args.stage {
        StageArgs::Stage1(args) => (Stage::One, args),
        StageArgs::Stage2(args) => (Stage::Two, args),
        StageArgs::Plan(args) => return plan::plan(args),
    };
    let ranks = ranks::ranks()?;
    train_on(stage, args, &ranks).map_err(|error| ranks::say(&ranks, error))
}

fn train_on(stage: Stage, args: &RunArgs, ranks: &Ranks) -> Result<()> {
    let settings = settings(stage, args)?;
    let device = match settings.precision {
        Some(Precision::F32) => args.device.request()?,
        Some(Precision::Mixed) | None => args.device.request_for_halves()?,
    };
    let start = match (args.resume, args.force) {
        (true, _) => Start::Resume,
        (false, true) => Start::Replace,
        (false, false) => Start::New,
    };
    let embedding = Progress::begun_by_the_first();
    let watch = |what, done, all| embedding.tell(what, done, all);
    let watch: Option<Watch<'_>> = if ranks.is_root() { Some(&watch) } else { None };
    let mut run = Run::start_on(&device, settings, start, watch, ranks.clone())?;
    embedding.finish();
    watch_for_stop("stopping after this step; Ctrl-C again to stop at once")?;
    let began = (Instant::now(), run.step(), run.tokens());
    let out = run.settings().out.clone();
    let precision = run.settings().precision.unwrap_or_default();
    if ranks.is_root() {
        let shared = if ranks.are_one() { String::new() } else { format!(", {} ranks", ranks.size()) };
        eprintln!("computes in {precision} on {}{shared}", device.name());
    }
    let samples = run.samples();
    let samples = (samples.missing() + samples.without_target(), samples.cut(), samples.skipped_bad());
    let last = match steps(&mut run) {
        Ok(last) => last,
        Err(error) => {
            // What was logged so far is worth a look; what counts is the reason of the end.
            if ranks.is_root() {
                write_report(&out).map_or_else(|e| log::warn!("no report: {}", words(&e)), drop);
            }
            return Err(error);
        }
    };
    let seconds = began.0.elapsed().as_secs_f64();
    let (step, tokens) = (run.step(), run.tokens());
    if !ranks.is_root() {
        return run.finish().map(drop).map_err(Into::into);
    }
    let report = write_report(&out)?;
    let overflowed = run.skipped_steps();
    let (best, stopped_early) = (run.best(), run.stopped_early());
    if let Some(why) = &stopped_early {
        eprintln!("stopped early, after step {step} of {}: {why}", run.total());
    }
    let finished = run.finish()?;
    let path = |path: &std::path::Path| path.display().to_string();
    let mut value = json!({
        "step": step, "steps": step - began.1, "tokens": tokens, "loss": last.as_ref().map(|l| l.loss),
        "eval_loss": null, "best_step": best.map(|(step, _)| step), "best_value": best.map(|(_, value)| value),
        "stopped_early": stopped_early, "best": finished.best.as_deref().map(path), "adapter": path(&finished.adapter), "model": finished.model.as_deref().map(path),
        "lora": finished.low_rank.as_deref().map(path), "log": path(&out.join("log.jsonl")), "report": path(&report),
        "device": device.name(), "seconds": seconds, "tokens_per_second": (tokens - began.2) as f64 / seconds.max(1e-9),
        "skipped": samples.0, "truncated": samples.1, "skipped_bad": samples.2, "precision": precision.name(), "skipped_steps": overflowed.unwrap_or(0),
        "ranks": ranks.size(), "waited_seconds": ranks.waited().as_secs_f64(),
    });
    let evaluated = last.iter().flat_map(|record| &record.more).filter(|(name, _)| name.starts_with("eval_"));
    evaluated.for_each(|(name, x)| value[*name] = json!(x));
    show::result(args.json, &value)
}

/// The settings, and what flags that are none of them say.
fn settings(stage: Stage, args: &RunArgs) -> Result<Settings> {
    let mut settings = args.settings(stage)?;
    settings.validate()?;
    settings.any_encoder |= args.force;
    if settings.cache.is_none() && (settings.vision_model.is_some() || settings.text_model.is_some()) {
        settings.cache = Some(embeddings_folder()?);
    }
    Ok(settings)
}

/// What an error says that Ctrl-C is the reason of.
pub const STOPPED: &str = "stopped by Ctrl-C";

/// Whether Ctrl-C was pressed.
pub fn stopped() -> bool {
    STOP.load(Ordering::SeqCst)
}

/// Ctrl-C asks for a stop, which is said; a second one ends the process. Further calls change nothing.
pub fn watch_for_stop(said: &'static str) -> Result<()> {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    if WATCHED.swap(true, Ordering::SeqCst) {
        return Ok(());
    }
    let handler = move || {
        if STOP.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        match ranks::last_words() {
            Some(words) => eprintln!("\n{words}"),
            None => eprintln!("\n{said}"),
        }
    };
    ctrlc::set_handler(handler).context("cannot watch for Ctrl-C")
}

/// All steps that are left. Returns the last one's record.
fn steps(run: &mut Run) -> Result<Option<LogRecord>> {
    let mut progress = Steps::new(run);
    let mut last = None;
    let out = run.settings().out.clone();
    while !run.is_done() {
        ranks::note(run.ranks(), run.step() + 1, &out);
        if let Some(record) = run.advance_ahead()? {
            progress.show(&record);
            last = Some(record);
        }
        if run.agree_to_stop(stopped())? && !run.is_done() {
            progress.bar.finish_and_clear();
            run.save()?;
            return Err(Interrupted { step: run.step(), total: run.total() }.into());
        }
    }
    progress.bar.finish_and_clear();
    Ok(last)
}

/// A bar on a terminal, else a line now and then.
struct Steps {
    bar: ProgressBar,
    lines: bool,
    began: (Instant, u64, u64),
    total: u64,
    /// The step of the last line.
    said: u64,
}

impl Steps {
    fn new(run: &Run) -> Self {
        let (step, total) = (run.step(), run.total());
        let root = run.ranks().is_root();
        let lines = root && !std::io::stderr().is_terminal();
        let target = if lines || !root { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} {msg} ETA {eta}") {
            bar.set_style(style);
        }
        bar.set_position(step);
        bar.reset_eta();
        bar.enable_steady_tick(Duration::from_millis(500));
        Steps { bar, lines, began: (Instant::now(), step, run.tokens()), total, said: step }
    }

    fn show(&mut self, record: &LogRecord) {
        let seconds = self.began.0.elapsed().as_secs_f64();
        let speed = (record.tokens - self.began.2) as f64 / seconds.max(1e-9);
        let evaluated = record.more.iter().map(|(name, x)| format!(" {name} {}", show::number(*x))).collect::<String>();
        let message = format!("loss {}{evaluated} {speed:.0} tokens/s", show::number(record.loss));
        let every = (self.total / LINES).max(1);
        // Not every step is shown: the one before a step that is waited for is not.
        let due = record.step / every > self.said / every || record.step == self.total || !evaluated.is_empty();
        if self.lines && due {
            self.said = record.step;
            let left = seconds / (record.step - self.began.1) as f64 * (self.total - record.step) as f64;
            eprintln!("step {}/{}: {message}, {left:.0} s left", record.step, self.total);
        }
        self.bar.set_message(message);
        self.bar.set_position(record.step);
    }
}
