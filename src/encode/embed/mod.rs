//! Pictures and texts to files of rows: many of them, in parts, with an end that may come at any time.
//!
//! While a run goes on, `OUT.unfinished` beside the output holds what it has made: rows one after the other, and a small file that says how far it
//! came, written anew about once a second. A run that was killed or stopped goes on from there, and gives the files that it would have given:
//! inputs are taken in the same batches. When it ends the folder vanishes. With [`EmbedOptions::shard_rows`] files of so many rows,
//! `OUT_00000.npy`, `OUT_00001.npy` and so on, become visible as they are full, each whole.

mod bad;
mod inputs;
mod job;
mod output;
mod state;
mod towers;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::picture::{PictureBatches, Preprocessor};
use crate::io::{PictureList, SkipBad, Start, TextList};
use crate::setters::setters;
use crate::{ElementType, Result};

use job::{Job, Kind};

/// What turns preprocessed pictures into rows.
pub trait EncodesPictures {
    /// Numbers in a row.
    fn width(&self) -> usize;

    /// Height and width of the pictures that it takes.
    fn image_size(&self) -> (usize, usize);

    /// Pictures, f32 `[count, 3, height, width]`, as rows, f32 `[count, width]`.
    ///
    /// # Errors
    /// What the device meets with.
    fn picture_rows(&self, pixels: &[f32], count: usize) -> Result<Vec<f32>>;
}

/// What turns texts into rows.
pub trait EncodesTexts {
    /// Numbers in a row.
    fn width(&self) -> usize;

    /// Texts as rows, f32 `[texts.len(), width]`, and how many texts were longer than the model's positions and lost their end.
    ///
    /// # Errors
    /// What the tokenizer or the device meets with.
    fn text_rows(&self, texts: &[String]) -> Result<(Vec<f32>, u64)>;
}

/// What is made of the inputs, and where it goes.
#[derive(Clone)]
pub struct EmbedOptions<'a> {
    /// The file of rows: `.npy` or `.safetensors` (`[n, width]`), or `.parquet` (columns `id` and `embedding`).
    pub out: PathBuf,
    /// A list of the rows' ids: a line each, or a JSON array where the name ends in `.json`.
    pub ids_out: Option<PathBuf>,
    /// Divide each row by its norm.
    pub normalize: bool,
    /// f32 or f16.
    pub element_type: ElementType,
    /// Inputs that are encoded together. It changes rows by rounding at most.
    pub batch_size: usize,
    /// Rows of a file; by default all rows go into one.
    pub shard_rows: Option<u64>,
    /// What to do about files that are there, and about a run that was not finished.
    pub start: Start,
    /// How many bad pictures or records may be left out.
    pub skip_bad: SkipBad,
    /// The model's folder, whose files must be the same when a run goes on.
    pub model: Option<&'a Path>,
    /// Further files that decide what rows are, such as a projection: they must be the same, too.
    pub files: Vec<PathBuf>,
    /// Further settings that decide what rows are, by name: they too must be the same when a run goes on.
    pub settings: Vec<(&'static str, String)>,
    /// Whether there may be no row at all, since all inputs are bad and may be left out: no file is written then.
    pub(super) may_be_empty: bool,
    /// How often the run's state is kept.
    pub save_every: Duration,
    /// Called with the number of inputs that are done.
    pub progress: Option<&'a dyn Fn(u64)>,
    /// Asked between batches whether to stop; the state is kept then, and [`Error::Stopped`](crate::Error::Stopped) returned.
    pub stop: Option<&'a dyn Fn() -> bool>,
}

impl EmbedOptions<'_> {
    /// Rows as f32 into `out`, as the model gives them.
    pub fn new(out: impl Into<PathBuf>) -> Self {
        EmbedOptions {
            out: out.into(),
            ids_out: None,
            normalize: false,
            element_type: ElementType::F32,
            batch_size: 32,
            shard_rows: None,
            start: Start::New,
            skip_bad: SkipBad::default(),
            model: None,
            files: Vec::new(),
            settings: Vec::new(),
            may_be_empty: false,
            save_every: Duration::from_secs(1),
            progress: None,
            stop: None,
        }
    }
}

impl EmbedOptions<'_> {
    /// The same for a run whose inputs may all be bad, if so many may be left out: it has no rows and no files then.
    #[must_use]
    pub(super) fn that_may_be_empty(self) -> Self {
        EmbedOptions { may_be_empty: true, ..self }
    }
}

setters!(EmbedOptions<'a> {
    ids_out: Option<PathBuf>,
    normalize: bool,
    element_type: ElementType,
    batch_size: usize,
    shard_rows: Option<u64>,
    start: Start,
    skip_bad: SkipBad,
    model: Option<&'a Path>,
    files: Vec<PathBuf>,
    settings: Vec<(&'static str, String)>,
    save_every: Duration,
    progress: Option<&'a dyn Fn(u64)>,
    stop: Option<&'a dyn Fn() -> bool>,
});

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Embedded {
    /// Rows in all.
    pub rows: u64,
    /// Those among them that an earlier run had made.
    pub resumed: u64,
    /// Numbers in a row.
    pub width: usize,
    /// Bad pictures or records that were left out.
    pub skipped_bad: u64,
    /// Texts that were longer than the model's positions and lost their end.
    pub cut: u64,
    /// The files of rows.
    pub files: Vec<PathBuf>,
    /// The list of ids, if one was asked for.
    pub ids: Option<PathBuf>,
}

/// Writes the rows of pictures, in the list's order. They are decoded and prepared on all cores, ahead of the encoder.
///
/// # Errors
/// The preprocessor gives another size than the encoder takes; an output is there or cannot be written; a run that was not finished is there, or
/// was begun with other inputs or settings; more bad pictures than may be left out; a row with a NaN; what the encoder meets with; a stop.
pub fn embed_pictures(
    encoder: &dyn EncodesPictures,
    preprocessor: &Preprocessor,
    pictures: &Arc<PictureList>,
    options: &EmbedOptions<'_>,
) -> Result<Embedded> {
    super::picture::check_size(preprocessor, encoder.image_size())?;
    let id = |index: usize| pictures.id(index).into();
    let inputs = || inputs::of_pictures(pictures);
    let mut settings = options.settings.clone();
    settings.push(("alpha", preprocessor.alpha_rule().name().to_owned()));
    let kind = Kind { name: "pictures", count: pictures.len(), width: encoder.width(), id: &id };
    let mut job = Job::begin(kind, &settings, inputs, options)?;
    let list = Arc::clone(pictures);
    let range = (job.done(), pictures.len());
    let batches = PictureBatches::start(preprocessor.clone(), move |i| list.path(i), range, options.batch_size)?;
    for batch in batches {
        let batch = batch?;
        for bad in &batch.bad {
            job.bad(bad.index, bad.error.to_string())?;
        }
        let good = batch.good();
        let rows = if good == 0 { Vec::new() } else { encoder.picture_rows(&batch.pixels, good)? };
        job.take(&rows, (batch.files, good), 0)?;
    }
    job.finish()
}

/// Writes the rows of texts, in the file's order.
///
/// # Errors
/// As [`embed_pictures`], for records in place of pictures.
pub fn embed_texts(encoder: &dyn EncodesTexts, texts: &TextList, options: &EmbedOptions<'_>) -> Result<Embedded> {
    let id = |index: usize| texts.id(index);
    let inputs = || inputs::of_texts(texts);
    let kind = Kind { name: "texts", count: texts.len(), width: encoder.width(), id: &id };
    let mut job = Job::begin(kind, &options.settings, inputs, options)?;
    let mut bad = texts.bad().iter().filter(|bad| bad.index >= job.done()).collect::<Vec<_>>().into_iter().peekable();
    let mut reader = texts.texts(job.done())?.peekable();
    while job.done() < texts.len() {
        let end = (job.done() + options.batch_size).min(texts.len());
        while let Some(bad) = bad.next_if(|bad| bad.index < end) {
            job.bad(bad.index, format!("{}: {}", texts.path().display(), bad.problem))?;
        }
        let mut batch = Vec::with_capacity(options.batch_size);
        // An error is taken, too.
        while let Some(next) =
            reader.next_if(|next| next.as_ref().is_ok_and(|(index, _)| *index < end) || next.is_err())
        {
            batch.push(next?.1);
        }
        let (rows, cut) = if batch.is_empty() { (Vec::new(), 0) } else { encoder.text_rows(&batch)? };
        job.take(&rows, (end - job.done(), batch.len()), cut)?;
    }
    job.finish()
}

/// Settings by name, as the state keeps them.
fn settings_json(kind: &Kind<'_>, more: &[(&'static str, String)], options: &EmbedOptions<'_>) -> serde_json::Value {
    let mut all = json!({
        "inputs": kind.name, "width": kind.width, "normalize": options.normalize,
        "dtype": options.element_type.to_string(), "shard_rows": options.shard_rows,
        "batch_size": options.batch_size, "out": options.out.extension().map(|end| end.to_string_lossy().to_lowercase()),
    });
    for (name, value) in more {
        all[*name] = json!(value);
    }
    all
}
