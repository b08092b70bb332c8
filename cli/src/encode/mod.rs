//! `embed`.

pub mod args;

use std::cell::Cell;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use realign::encode::embed::{EmbedOptions, Embedded, embed_pictures, embed_texts};
use realign::encode::picture::{Preprocessor, is_picture};
use realign::encode::{ImageEncoder, TextEncoder};
use realign::io::{PictureList, TextList};
use realign::nn::Precision;
use realign::train::Start;
use serde_json::json;

use crate::encode::args::EmbedArgs;
use crate::shared::outputs::Outputs;
use crate::shared::show;
use crate::train;

/// Texts of a batch by default: the encoder cuts it into parts that suit its device.
const TEXTS: usize = 256;
/// Lines that a run prints where stderr is no terminal.
const LINES: u64 = 10;

/// What is embedded, opened before any weights are read.
enum Inputs {
    Pictures(Arc<PictureList>, Box<Preprocessor>),
    Texts(TextList),
}

pub fn embed(args: &EmbedArgs) -> Result<()> {
    args.json.check()?;
    check_outputs(args)?;
    let inputs = open(args)?;
    let device = match args.precision {
        Precision::F32 => args.device.request()?,
        Precision::Mixed => args.device.request_for_halves()?,
    };
    let start = Instant::now();
    train::watch_for_stop("stopping after this batch; Ctrl-C again to stop at once")?;
    let (embedded, running) = match &inputs {
        Inputs::Pictures(list, preprocessor) => {
            let encoder = ImageEncoder::load_in(&device, &args.model, args.precision)?;
            let batch = args.batch_size.map_or(encoder.batch(), |n| n as usize);
            run(args, (list.len(), "images"), batch, |options| embed_pictures(&encoder, preprocessor, list, options))?
        }
        Inputs::Texts(list) => {
            let encoder = TextEncoder::load(&device, &args.model, &args.text_options())?;
            let batch = args.batch_size.map_or(TEXTS, |n| n as usize);
            run(args, (list.len(), "texts"), batch, |options| embed_texts(&encoder, list, options))?
        }
    };
    let seconds = start.elapsed().as_secs_f64();
    let path = |path: &PathBuf| path.display().to_string();
    // Of the rows that were made now, without the time that loading took.
    let speed = (embedded.rows - embedded.resumed) as f64 / running.max(1e-9);
    let value = json!({
        "rows": embedded.rows, "width": embedded.width, "resumed": embedded.resumed, "skipped_bad": embedded.skipped_bad,
        "cut": embedded.cut, "device": device.name(), "seconds": seconds, "rows_per_second": speed,
        "out": path(&args.out), "files": embedded.files.iter().map(path).collect::<Vec<_>>(),
        "ids": embedded.ids.as_ref().map(path), "dtype": args.dtype.name(), "normalized": args.normalize,
        "precision": args.precision.name(),
    });
    args.json.finish(&value, || summary(&embedded, speed))
}

/// The files beside the rows, which the library checks, too; and no output may be an input.
fn check_outputs(args: &EmbedArgs) -> Result<()> {
    let resumes = args.json.force || args.resume;
    let outputs = Outputs::check(args.ids_out.iter().cloned().chain(args.json.file()), resumes)?;
    outputs.refuse(&[], args.texts.iter().chain(&args.images).filter(|path| path.is_file()).map(PathBuf::as_path))
}

fn open(args: &EmbedArgs) -> Result<Inputs> {
    if let Some(texts) = &args.texts {
        return Ok(Inputs::Texts(TextList::open(texts)?));
    }
    let preprocessor = Preprocessor::load(&args.model)?.alpha(args.alpha);
    let list = PictureList::open(&args.images, is_picture)?;
    Ok(Inputs::Pictures(Arc::new(list), Box::new(preprocessor)))
}

/// Runs a job with its progress on stderr; how long it took, in seconds.
fn run(
    args: &EmbedArgs,
    (count, what): (usize, &'static str),
    batch: usize,
    job: impl FnOnce(&EmbedOptions<'_>) -> realign::Result<Embedded>,
) -> Result<(Embedded, f64)> {
    let start = match (args.resume, args.json.force) {
        (true, _) => Start::Resume,
        (false, true) => Start::Replace,
        (false, false) => Start::New,
    };
    let progress = Progress::new(count as u64, what);
    let (show, stop) = (|done| progress.show(done), train::stopped);
    let options = EmbedOptions::new(&args.out)
        .ids_out(args.ids_out.clone())
        .normalize(args.normalize)
        .element_type(args.dtype)
        .batch_size(batch)
        .shard_rows(args.shard_rows)
        .start(start)
        .skip_bad(args.skip_bad)
        .model(Some(Path::new(&args.model)))
        .files(args.projection.iter().cloned().collect())
        .settings(args.settings())
        .progress(Some(&show))
        .stop(Some(&stop));
    let result = job(&options);
    progress.finish();
    if matches!(result, Err(realign::Error::Stopped)) {
        eprintln!("what was made is kept; go on with the same command and --resume");
    }
    Ok((result?, progress.began.get().elapsed().as_secs_f64()))
}

fn summary(embedded: &Embedded, speed: f64) -> String {
    let Embedded { rows, width, skipped_bad, cut, files, .. } = embedded;
    let mut text = match &files[..] {
        [one] => one.display().to_string(),
        all => format!("{} to {}", all[0].display(), all[all.len() - 1].display()),
    };
    text += &format!(": {rows} rows of {width}, {} a second", show::number(speed));
    for (count, what) in [(embedded.resumed, "were there"), (*skipped_bad, "bad left out"), (*cut, "texts cut")] {
        if count > 0 {
            text += &format!(", {count} {what}");
        }
    }
    text
}

/// A bar with images a second on a terminal, else a line now and then.
pub struct Progress {
    bar: ProgressBar,
    total: Cell<u64>,
    what: Cell<&'static str>,
    began: Cell<Instant>,
    /// Inputs that were done at the first call, and at the last line.
    first: Cell<Option<u64>>,
    said: Cell<u64>,
}

impl Progress {
    fn new(total: u64, what: &'static str) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} {msg} ETA {eta}") {
            bar.set_style(style);
        }
        let (total, what, began) = (total.into(), what.into(), Instant::now().into());
        Progress { bar, total, what, began, first: None.into(), said: 0.into() }
    }

    /// Of work that begins later, or not at all, and may have several parts: see [`Progress::tell`].
    pub fn begun_by_the_first() -> Progress {
        Progress::new(0, "")
    }

    /// How far a part of the work is; the parts come one after the other.
    pub fn tell(&self, what: &'static str, done: u64, total: u64) {
        if (self.what.get(), self.total.get()) != (what, total) {
            self.what.set(what);
            self.total.set(total);
            self.began.set(Instant::now());
            self.first.set(None);
            self.bar.set_length(total);
        }
        self.show(done);
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn show(&self, done: u64) {
        let Some(first) = self.first.get() else {
            self.first.set(Some(done));
            self.said.set(done);
            self.bar.set_position(done);
            self.bar.reset_eta();
            return;
        };
        let seconds = self.began.get().elapsed().as_secs_f64();
        let (what, total) = (self.what.get(), self.total.get());
        let message = format!("{} {what}/s", show::number((done - first) as f64 / seconds.max(1e-9)));
        self.bar.set_position(done);
        let every = (total / LINES).max(1);
        // Short runs say nothing: their result comes at once.
        if self.bar.is_hidden() && seconds > 10.0 && done / every > self.said.get() / every {
            self.said.set(done);
            eprintln!("{done}/{total} {what}, {message}");
        }
        self.bar.set_message(message);
    }
}
