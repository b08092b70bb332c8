//! Training runs: each lives on a thread of its own, which does a step when it is asked for one.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use pyo3::prelude::*;
use realign::Device;
use realign::nn::Precision;
use realign::train::{KeyKind, LogRecord, Run as Inner, Settings, Stage, Start, write_report};
use serde_json::json;

use crate::align::embeddings_folder;
use crate::devices::{device, device_for_halves};
use crate::errors::{input, raised};
use crate::work::{self, Stop};

/// What a run is asked to do.
enum Order {
    /// The next step; with `ahead` its numbers may be those of a step before, so that the device is never idle.
    Step { ahead: bool },
    /// A checkpoint.
    Save,
    /// The results.
    Finish,
}

/// What it answers.
enum Reply {
    Begun {
        step: u64,
        total: u64,
        out: PathBuf,
        device: String,
    },
    Step(LogRecord),
    /// All steps are done.
    Done,
    Saved(u64),
    /// The results, as JSON.
    Finished(String),
}

/// A run.
#[pyclass(frozen, module = "realign._realign")]
pub struct Run {
    orders: Mutex<Sender<Order>>,
    replies: Mutex<Receiver<realign::Result<Reply>>>,
    stop: Arc<Stop>,
    begun: (u64, u64, PathBuf, String),
}

fn stage(name: &str) -> Stage {
    if name == "stage1" { Stage::One } else { Stage::Two }
}

/// The recipe, then the file, then the keywords.
fn settings(stage: Stage, config: Option<PathBuf>, given: &[(String, Vec<String>)]) -> PyResult<Settings> {
    let mut settings = Settings::new(stage);
    if let Some(path) = config {
        settings.read(&path).map_err(raised)?;
    }
    for (key, values) in given {
        settings.set_all(key, values).map_err(raised)?;
    }
    settings.validate().map_err(raised)?;
    if settings.cache.is_none() && (settings.vision_model.is_some() || settings.text_model.is_some()) {
        settings.cache = Some(embeddings_folder()?);
    }
    Ok(settings)
}

/// Every key of `run.toml`: its name, what it is, and whether it is a list.
#[pyfunction]
pub fn train_keys() -> Vec<(&'static str, &'static str, bool)> {
    Settings::KEYS.iter().map(|key| (key.name, key.help, key.kind == KeyKind::List)).collect()
}

/// Begins a run.
#[pyfunction]
#[pyo3(signature = (stage_name, config, given, start, device_name))]
pub fn train(
    py: Python<'_>,
    stage_name: &str,
    config: Option<PathBuf>,
    given: Vec<(String, Vec<String>)>,
    start: &str,
    device_name: &str,
) -> PyResult<Run> {
    work::check_process()?;
    let mut settings = settings(stage(stage_name), config, &given)?;
    let start = match start {
        "new" => Start::New,
        "resume" => Start::Resume,
        "replace" => Start::Replace,
        other => return Err(input(format!("start: {other:?} is unknown; give \"new\", \"resume\" or \"replace\""))),
    };
    settings.any_encoder |= start == Start::Replace;
    let device = match settings.precision {
        Some(Precision::F32) => device(py, device_name)?,
        Some(Precision::Mixed) | None => device_for_halves(py, device_name)?,
    };
    let (orders, inbox) = channel();
    let (outbox, replies) = channel();
    let stop = Arc::new(Stop::default());
    let replies = Mutex::new(replies);
    let spawned = std::thread::Builder::new().name("realign train".to_owned()).spawn(move || {
        let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            live(&device, (settings, start), &inbox, &outbox)
        }));
        if let Err(panic) = lived {
            // Whoever waits hears of it; if nobody does, there is nobody to tell.
            let _ = outbox.send(Err(work::bug(&*panic)));
        }
    });
    spawned.map_err(|problem| raised(realign::Error::io("start", "a thread")(problem)))?;
    match work::first(py, &replies, &stop)? {
        Some(Reply::Begun { step, total, out, device }) => {
            let begun = (step, total, out, device);
            Ok(Run { orders: Mutex::new(orders), replies, stop, begun })
        }
        _ => Err(input("the run ended before it began")),
    }
}

/// A run's life: begins, then does what it is asked until nobody can ask any more.
fn live(
    device: &Device,
    (settings, start): (Settings, Start),
    inbox: &Receiver<Order>,
    outbox: &Sender<realign::Result<Reply>>,
) {
    let mut run = match Inner::start(device, settings, start) {
        Ok(run) => run,
        Err(error) => {
            let _ = outbox.send(Err(error));
            return;
        }
    };
    let (step, total, out) = (run.step(), run.total(), run.settings().out.clone());
    let begun = Reply::Begun { step, total, out: out.clone(), device: device.name().to_owned() };
    let mut heard = outbox.send(Ok(begun)).is_ok();
    let mut last = None;
    while heard {
        let reply = match inbox.recv() {
            Ok(Order::Step { ahead }) => next_record(&mut run, ahead).map(|record| {
                last = record.clone().or(last.take());
                record.map_or(Reply::Done, Reply::Step)
            }),
            Ok(Order::Save) => run.save().map(|()| Reply::Saved(run.step())),
            Ok(Order::Finish) => {
                let finished = finish(run, (device, &out), last.as_ref(), step);
                let _ = outbox.send(finished.map(Reply::Finished));
                return;
            }
            // The run's object is gone.
            Err(_) => return,
        };
        heard = outbox.send(reply).is_ok();
    }
}

/// The next record, `None` at the end.
fn next_record(run: &mut Inner, ahead: bool) -> realign::Result<Option<LogRecord>> {
    while !run.is_done() {
        if !ahead {
            return run.advance().map(Some);
        }
        if let Some(record) = run.advance_ahead()? {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

/// Writes the results and the report, and says where they are: the keys of the command line's JSON.
fn finish(
    run: Inner,
    (device, out): (&Device, &std::path::Path),
    last: Option<&LogRecord>,
    first: u64,
) -> realign::Result<String> {
    let (step, tokens, skipped, best) = (run.step(), run.tokens(), run.skipped_steps(), run.best());
    let (stopped_early, samples) = (run.stopped_early(), run.samples());
    let samples = (samples.missing() + samples.without_target(), samples.cut(), samples.skipped_bad());
    let precision = run.settings().precision.unwrap_or_default();
    let finished = run.finish()?;
    let report = write_report(out)?;
    let path = |path: &std::path::Path| path.display().to_string();
    let mut value = json!({
        "step": step, "steps": step - first, "tokens": tokens, "loss": last.map(|l| l.loss), "best_step": best.map(|(step, _)| step),
        "best_value": best.map(|(_, value)| value), "stopped_early": stopped_early, "best": finished.best.as_deref().map(path),
        "adapter": path(&finished.adapter), "model": finished.model.as_deref().map(path), "lora": finished.low_rank.as_deref().map(path),
        "log": path(&out.join("log.jsonl")), "report": path(&report), "device": device.name(), "skipped": samples.0,
        "truncated": samples.1, "skipped_bad": samples.2, "precision": precision.name(), "skipped_steps": skipped.unwrap_or(0),
    });
    let evaluated = last.iter().flat_map(|record| &record.more).filter(|(name, _)| name.starts_with("eval_"));
    evaluated.for_each(|(name, x)| value[*name] = json!(x));
    Ok(value.to_string())
}

impl Run {
    /// Gives an order and waits for the answer.
    fn ask(&self, py: Python<'_>, order: Order) -> PyResult<Reply> {
        let gone = || input("the run is over");
        let give = || self.orders.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).send(order).is_ok();
        work::next(py, &self.replies, &self.stop, give)?.ok_or_else(gone)
    }
}

/// A step, and its numbers by name.
type Record = (u64, Vec<(&'static str, f64)>);

#[pymethods]
impl Run {
    /// Steps done at the beginning, steps of the whole run, the run's folder, the device's name.
    fn begun(&self) -> (u64, u64, PathBuf, String) {
        self.begun.clone()
    }

    /// The next step's record, by name; `None` at the end.
    fn step(&self, py: Python<'_>, ahead: bool) -> PyResult<Option<Record>> {
        match self.ask(py, Order::Step { ahead })? {
            Reply::Step(record) => Ok(Some((record.step, record.numbers()))),
            _ => Ok(None),
        }
    }

    /// Writes a checkpoint; returns the step that it is of.
    fn save(&self, py: Python<'_>) -> PyResult<u64> {
        match self.ask(py, Order::Save)? {
            Reply::Saved(step) => Ok(step),
            _ => Err(input("the run is over")),
        }
    }

    /// Writes the results; returns the JSON.
    fn finish(&self, py: Python<'_>) -> PyResult<String> {
        match self.ask(py, Order::Finish)? {
            Reply::Finished(value) => Ok(value),
            _ => Err(input("the run is over")),
        }
    }
}
