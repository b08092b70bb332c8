//! One run: rows as they come, into files.

use std::borrow::Cow;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use half::f16;

use super::output::Output;
use super::state::{Identity, State, Work};
use super::{EmbedOptions, Embedded, settings_json};
use crate::encode::identity;
use crate::host::norm_of;
use crate::io::rows_file::{PlainRows, check_format, write_at, write_rows};
use crate::io::{EncoderId, FileFormat, Start, check_writable, write_atomically};
use crate::{ElementType, Error, Result};

/// What is embedded.
pub(super) struct Kind<'a> {
    /// In the plural: pictures or texts.
    pub name: &'static str,
    pub count: usize,
    pub width: usize,
    /// The id of an input.
    pub id: &'a dyn Fn(usize) -> Cow<'a, str>,
}

/// A run under way.
pub(super) struct Job<'a> {
    kind: Kind<'a>,
    options: &'a EmbedOptions<'a>,
    output: Output,
    work: Work,
    state: State,
    /// Rows that were there when it began.
    resumed: u64,
    rows: File,
    rows_path: PathBuf,
    bytes: Vec<u8>,
    saved: Instant,
    /// Who makes the rows, where it has a folder.
    encoder: Option<EncoderId>,
}

impl<'a> Job<'a> {
    /// Begins a run, or goes on with one.
    pub fn begin(
        kind: Kind<'a>,
        settings: &[(&'static str, String)],
        inputs: impl FnOnce() -> Result<String>,
        options: &'a EmbedOptions<'a>,
    ) -> Result<Job<'a>> {
        if options.batch_size == 0 {
            return Err(Error::argument("batch_size", "0; give 1 or more"));
        }
        if !matches!(options.element_type, ElementType::F32 | ElementType::F16) {
            let problem = format!("{} is not made; choose f32 or f16", options.element_type);
            return Err(Error::argument("dtype", problem));
        }
        let output = Output::new(&options.out, options.shard_rows, kind.count as u64)?;
        check_format(&options.out, output.format, options.element_type)?;
        check_ids(options)?;
        let model = options.model.map_or(Ok(Vec::new()), |model| identity::fingerprints(model, &options.files))?;
        let encoder = options.model.map(|folder| identity::of_fingerprints(folder, &model));
        let settings = settings_json(&kind, settings, options);
        let identity = Identity { kind: kind.name, settings, model, inputs: inputs()? };
        let (work, found) = Work::begin(&output, options.start, &identity)?;
        let resumed = found.as_ref().map_or(0, |state| state.rows);
        let state = found.unwrap_or(State { replace: options.start == Start::Replace, ..State::default() });
        let row_bytes = (kind.width * options.element_type.bytes()) as u64;
        let (rows, rows_path) = work.rows(state.file, state.in_file * row_bytes)?;
        let job = Job {
            kind,
            options,
            output,
            work,
            state,
            resumed,
            rows,
            rows_path,
            bytes: Vec::new(),
            saved: Instant::now(),
            encoder,
        };
        job.show();
        Ok(job)
    }

    /// Inputs that are done.
    pub fn done(&self) -> usize {
        self.state.done as usize
    }

    /// Counts an input that cannot be used; they come in order, each before its batch's rows.
    pub fn bad(&mut self, index: usize, problem: String) -> Result<()> {
        self.state.bad.add(index, problem, self.kind.name, self.options.skip_bad)
    }

    /// Takes the rows of the next `inputs` inputs, of which `good` have one.
    pub fn take(&mut self, rows: &[f32], (inputs, good): (usize, usize), cut: u64) -> Result<()> {
        let width = self.kind.width;
        if width == 0 || rows.len() != good * width {
            let expected = format!("{good} rows of {width}");
            return Err(Error::shape("embed", "the encoder's result", expected, format!("{} numbers", rows.len())));
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        for (i, row) in rows.chunks_exact(width).enumerate() {
            self.encode(row, self.state.rows + i as u64, &mut bytes)?;
        }
        let published = self.write(&bytes)?;
        self.bytes = bytes;
        self.state.done += inputs as u64;
        self.state.cut += cut;
        self.show();
        let stop = self.options.stop.is_some_and(|stop| stop());
        if published || stop || self.saved.elapsed() >= self.options.save_every {
            self.save()?;
        }
        if stop && self.done() < self.kind.count { Err(Error::Stopped) } else { Ok(()) }
    }

    fn save(&mut self) -> Result<()> {
        self.work.save(&self.state, &self.rows)?;
        self.saved = Instant::now();
        Ok(())
    }

    fn show(&self) {
        if let Some(progress) = self.options.progress {
            progress(self.state.done);
        }
    }

    fn id_of_row(&self, row: u64) -> Cow<'a, str> {
        (self.kind.id)(self.state.bad.input_of(row) as usize)
    }

    /// A row's bytes in the file's type.
    fn encode(&self, row: &[f32], number: u64, bytes: &mut Vec<u8>) -> Result<()> {
        let failed = |what: &str| {
            let problem = format!("the row of {:?} {what}", self.id_of_row(number));
            Err(Error::degenerate(problem))
        };
        if let Some(bad) = row.iter().find(|x| !x.is_finite()) {
            return failed(&format!("has {bad}: the model is damaged, or its numbers overflow"));
        }
        let norm = if self.options.normalize { norm_of(row) } else { 1.0 };
        if norm == 0.0 {
            return failed("is all zeros and has no direction; leave out the division by its norm");
        }
        let values = row.iter().map(|x| if self.options.normalize { (f64::from(*x) / norm) as f32 } else { *x });
        match self.options.element_type {
            ElementType::F16 => {
                for x in values {
                    let half = f16::from_f32(x);
                    if !half.is_finite() {
                        return failed(&format!("has {x}, which f16 cannot hold; choose f32"));
                    }
                    bytes.extend(half.to_le_bytes());
                }
            }
            _ => values.for_each(|x| bytes.extend(x.to_le_bytes())),
        }
        Ok(())
    }

    /// Appends rows, and publishes the files that are full. Whether there were such.
    fn write(&mut self, mut bytes: &[u8]) -> Result<bool> {
        let row_bytes = self.kind.width * self.options.element_type.bytes();
        let mut published = false;
        while !bytes.is_empty() {
            let rows = (bytes.len() / row_bytes) as u64;
            let room = self.output.shard_rows.map_or(rows, |most| (most - self.state.in_file).min(rows));
            let (now, later) = bytes.split_at(room as usize * row_bytes);
            let at = self.state.in_file * row_bytes as u64;
            write_at(&self.rows, now, at).map_err(Error::io("write", &self.rows_path))?;
            self.state.in_file += room;
            self.state.rows += room;
            bytes = later;
            if self.output.shard_rows == Some(self.state.in_file) {
                self.publish()?;
                self.state.file += 1;
                self.state.in_file = 0;
                (self.rows, self.rows_path) = self.work.rows(self.state.file, 0)?;
                published = true;
            }
        }
        Ok(published)
    }

    /// Whether files that are there may be replaced: asked for, or perhaps left by this run where it was killed.
    fn force(&self) -> bool {
        self.state.replace || self.work.kept().is_some()
    }

    /// Gives the file that is being filled its name.
    fn publish(&self) -> Result<()> {
        let first = self.state.rows - self.state.in_file;
        let id = |row: u64| self.id_of_row(first + row);
        let rows = PlainRows {
            file: &self.rows,
            path: &self.rows_path,
            rows: self.state.in_file,
            width: self.kind.width,
            element: self.options.element_type,
            id: &id,
            encoder: self.encoder.as_ref(),
        };
        write_rows(&self.output.file(self.state.file), self.output.format, self.force(), &rows)
    }

    /// Publishes what is left, and the ids.
    pub fn finish(mut self) -> Result<Embedded> {
        if self.state.rows == 0 && self.options.may_be_empty {
            self.state.bad.warn(self.kind.name);
            let (skipped_bad, width) = (self.state.bad.places.len() as u64, self.kind.width);
            self.work.remove();
            return Ok(Embedded { rows: 0, resumed: 0, width, skipped_bad, cut: 0, files: Vec::new(), ids: None });
        }
        if self.state.rows == 0 {
            let problem = format!("all {} {} are bad, so that there is no row", self.kind.count, self.kind.name);
            return Err(Error::degenerate(problem));
        }
        // Killed from here on, the run only publishes again.
        self.save()?;
        let mut count = self.state.file;
        if self.state.in_file > 0 {
            self.publish()?;
            count += 1;
        }
        if self.state.replace {
            // An earlier run's files beyond the last would be taken for this one's.
            for (_, path) in self.output.there().into_iter().filter(|(number, _)| *number >= count) {
                std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            }
        }
        if let Some(path) = &self.options.ids_out {
            write_atomically(path, self.force(), &self.ids(path))?;
        }
        self.state.bad.warn(self.kind.name);
        if !self.state.bad.places.is_empty()
            && self.options.ids_out.is_none()
            && self.output.format != FileFormat::Parquet
        {
            log::warn!("{}: nothing says which rows are whose; have the ids written too", self.options.out.display());
        }
        let state = self.state;
        let embedded = Embedded {
            rows: state.rows,
            resumed: self.resumed,
            width: self.kind.width,
            skipped_bad: state.bad.places.len() as u64,
            cut: state.cut,
            files: (0..count).map(|number| self.output.file(number)).collect(),
            ids: self.options.ids_out.clone(),
        };
        self.work.remove();
        Ok(embedded)
    }

    /// The ids of all rows, as their file holds them.
    fn ids(&self, path: &Path) -> Vec<u8> {
        let ids = (0..self.state.rows).map(|row| self.id_of_row(row));
        if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json")) {
            return (serde_json::Value::from_iter(ids.map(Cow::into_owned)).to_string() + "\n").into_bytes();
        }
        ids.fold(String::new(), |all, id| all + &id + "\n").into_bytes()
    }
}

/// Fails before the work where the list of ids could not be written after it.
fn check_ids(options: &EmbedOptions<'_>) -> Result<()> {
    let Some(path) = &options.ids_out else { return Ok(()) };
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
    if ["jsonl", "parquet", "arrow", "npy", "safetensors"].contains(&ending.as_str()) {
        let problem = format!("{}: ids are written as lines (.txt) or as a JSON array (.json)", path.display());
        return Err(Error::argument("ids_out", problem));
    }
    check_writable(path, options.start != Start::New)
}
