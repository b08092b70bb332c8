//! Writing: outputs that mirror a dataset's shards and become visible together.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::behind::{Behind, Consume};
use super::dataset::{Layout, Shard};
use super::{Dataset, EncoderId, FileFormat, atomic, npy, parquet, positional, safetensors, url};
use crate::{ElementType, Error, Result};

/// How to write.
#[derive(Clone, Debug, Default)]
pub struct OutputOptions {
    /// The format; by default what the output's extension says, else that of each input file.
    pub format: Option<FileFormat>,
    /// The type of each number; by default that of the input.
    pub element_type: Option<ElementType>,
    /// Replace files that exist.
    pub force: bool,
}

/// Where the rows computed from a [`Dataset`] go: one file for each of its shards.
///
/// Everything is written under temporary names, and [`Output::commit`] renames them. Dropped without it, the output
/// removes them again, with the folders that it had created.
#[derive(Debug)]
pub struct Output {
    // Declared before `folders`: temporary files go first, then the folders are empty.
    targets: Vec<Target>,
    /// Kept for `drop` only: removes the created folders that are still empty.
    _folders: CreatedFolders,
    width: usize,
    element: ElementType,
    force: bool,
}

#[derive(Debug)]
struct Target {
    path: PathBuf,
    format: FileFormat,
    input: Shard,
    /// What its writer leaves when it has finished.
    written: Finished,
}

type Finished = Arc<Mutex<Option<atomic::Staged>>>;

fn locked(finished: &Finished) -> std::sync::MutexGuard<'_, Option<atomic::Staged>> {
    // A panic between taking and setting leaves it whole.
    finished.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Output {
    /// Plans the files and checks now what could only fail after the work: names, types, permissions.
    ///
    /// One named input file gives one file: `out`, or `out/<input's name>` where `out` is a folder or ends in `/`.
    /// Otherwise `out` is a folder, created if need be, and the files keep the names of the shards with the extension
    /// of the format. Parquet to parquet keeps the other columns and the schema's metadata, safetensors to safetensors
    /// keeps the other tensors and `__metadata__`, either but for the encoder ([`Output::by`]); other pairs of formats carry the rows only.
    ///
    /// # Errors
    /// An output exists and `force` is off; an output is one of the inputs (refused even with `force`: replacing what
    /// is being read would destroy the only copy of the unaligned rows); two outputs have one name; the format cannot
    /// hold the element type, or contradicts the name; the folder cannot be written.
    pub fn create(input: &Dataset, out: &Path, options: &OutputOptions) -> Result<Output> {
        let element = options.element_type.unwrap_or(input.element_type());
        let mut folders = CreatedFolders::default();
        let files = plan(input, out, options.format)?;
        for (path, format) in &files {
            format.check_holds(element)?;
            if *format == FileFormat::Parquet {
                parquet::check_available(path)?;
            }
        }
        let (first, _) = files.first().ok_or_else(|| Error::argument("input", "there is nothing to write"))?;
        if !input.single_file() || is_folder(out) {
            folders.create(atomic::folder_of(first))?;
        }
        for (path, _) in &files {
            atomic::check_target(path, options.force)?;
            refuse_inputs(path, input)?;
        }
        atomic::check_writable(first, options.force)?;
        let shards = input.shards().iter().cloned();
        let targets = files.into_iter().zip(shards).map(|((path, format), input)| Target {
            path,
            format,
            input,
            written: Finished::default(),
        });
        let targets = targets.collect();
        Ok(Output { targets, _folders: folders, width: input.width(), element, force: options.force })
    }

    /// The same for rows that are no longer those of the input's encoder: files that hold notes name this one, or none.
    #[must_use]
    pub fn by(mut self, encoder: Option<&EncoderId>) -> Output {
        self.targets.iter_mut().for_each(|target| target.input.set_encoder(encoder.cloned()));
        self
    }

    /// The type of the numbers that [`ShardWriter::write`] takes.
    pub fn element_type(&self) -> ElementType {
        self.element
    }

    /// The files to be, in the order of the dataset's shards.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.targets.iter().map(|target| target.path.as_path())
    }

    /// A writer for the shard with this index. Asking again starts that shard anew.
    ///
    /// # Errors
    /// An index out of range, a file that cannot be created, an input that cannot be read again for what passes
    /// through, a full disk.
    pub fn writer(&mut self, shard: usize) -> Result<ShardWriter> {
        let (shards, width, element) = (self.targets.len(), self.width, self.element);
        let target = self
            .targets
            .get_mut(shard)
            .ok_or_else(|| Error::argument("shard", format!("{shard} is out of range, there are {shards}")))?;
        let rows = target.input.rows();
        let bytes = rows.checked_mul(width as u64).and_then(|n| n.checked_mul(element.bytes() as u64));
        let Some(bytes) = bytes.filter(|bytes| *bytes <= i64::MAX as u64 / 2) else {
            return Err(Error::format(&target.path, "would be larger than any file can be"));
        };
        let (file, temporary) = atomic::create_beside(&target.path)?;
        let row_bytes = width * element.bytes();
        let sink = Behind::start(Sink::start(file, target, (width, element), bytes)?, row_bytes, bytes);
        target.written = Finished::default();
        let (path, finished) = (target.path.clone(), target.written.clone());
        Ok(ShardWriter { sink, temporary, path, row_bytes, rows, written: 0, finished })
    }

    /// Gives every file its final name, and returns the names in the order of the shards.
    ///
    /// # Errors
    /// A shard was not finished, or a rename fails. Nothing new is left behind then, unless `force` had replaced files
    /// that cannot be brought back.
    pub fn commit(mut self) -> Result<Vec<PathBuf>> {
        for target in &self.targets {
            if locked(&target.written).is_none() {
                return Err(Error::format(&target.path, "not all of its rows were written; nothing was kept"));
            }
        }
        let mut published = Vec::with_capacity(self.targets.len());
        for target in &mut self.targets {
            let Some(staged) = locked(&target.written).take() else { continue };
            if let Err(error) = staged.publish(&target.path, self.force) {
                if !self.force {
                    published.iter().for_each(|path: &PathBuf| atomic::remove(path));
                }
                return Err(error);
            }
            published.push(target.path.clone());
        }
        Ok(published)
    }
}

/// Whether `out` is, or is written as, a folder.
fn is_folder(out: &Path) -> bool {
    if url::is_url(out) {
        return out.to_string_lossy().ends_with('/');
    }
    out.is_dir() || out.to_string_lossy().ends_with(std::path::is_separator)
}

/// The path and format of each shard's output.
fn plan(input: &Dataset, out: &Path, format: Option<FileFormat>) -> Result<Vec<(PathBuf, FileFormat)>> {
    let named = FileFormat::from_path(out);
    if input.single_file() && !is_folder(out) {
        if let (Some(asked), Some(named)) = (format, named)
            && asked != named
        {
            let problem = format!("the format {asked} contradicts this name; end it in .{asked}");
            return Err(Error::format(out, problem));
        }
        return Ok(vec![(out.to_path_buf(), format.or(named).unwrap_or(input.shards()[0].format()))]);
    }
    if !out.is_dir() && (out.exists() || named.is_some()) {
        let why = "several input files, a folder or a pattern give a folder of outputs";
        return Err(Error::format(out, format!("is the name of a file, but {why}; name a folder")));
    }
    let mut taken: HashMap<PathBuf, &Path> = HashMap::new();
    let mut files = Vec::with_capacity(input.shards().len());
    for shard in input.shards() {
        let format = format.unwrap_or(shard.format());
        let mut path = url::join(out, shard.name());
        if shard.format() != format {
            path.set_extension(format.extension());
        }
        if let Some(other) = taken.insert(path.clone(), shard.path()) {
            let clash = format!("would hold both {} and {}", other.display(), shard.path().display());
            return Err(Error::format(path, format!("{clash}; rename one of them, or write them one by one")));
        }
        files.push((path, format));
    }
    Ok(files)
}

fn refuse_inputs(path: &Path, input: &Dataset) -> Result<()> {
    let Ok(real) = url::real_path(path) else { return Ok(()) };
    if input.shards().iter().any(|shard| url::real_path(shard.path()).is_ok_and(|other| other == real)) {
        return Err(Error::format(path, "is also an input, which is never replaced; choose another output"));
    }
    Ok(())
}

/// Folders that did not exist before, outermost first; the empty ones are removed on drop.
#[derive(Debug, Default)]
struct CreatedFolders(Vec<PathBuf>);

impl CreatedFolders {
    fn create(&mut self, folder: &Path) -> Result<()> {
        // Buckets have no folders, only names with slashes.
        if url::is_url(folder) {
            return Ok(());
        }
        let missing: Vec<&Path> =
            folder.ancestors().take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.exists()).collect();
        for folder in missing.into_iter().rev() {
            std::fs::create_dir(folder).map_err(Error::io("create", folder))?;
            self.0.push(folder.to_path_buf());
        }
        Ok(())
    }
}

impl Drop for CreatedFolders {
    fn drop(&mut self) {
        // Fails, as it should, where a file was published or someone else put one.
        self.0.iter().rev().for_each(|folder| drop(std::fs::remove_dir(folder)));
    }
}

/// Writes one shard's rows, in order. Rows are copied and written behind, by a thread of the writer's own.
#[derive(Debug)]
pub struct ShardWriter {
    // Before `temporary`: a file is closed before it is removed.
    sink: Behind<Sink>,
    temporary: atomic::Temporary,
    path: PathBuf,
    row_bytes: usize,
    rows: u64,
    written: u64,
    finished: Finished,
}

#[derive(Debug)]
enum Sink {
    Raw { file: File, at: u64, path: PathBuf },
    Parquet(Box<parquet::Writer>),
}

impl Sink {
    fn start(file: File, target: &Target, (width, element): (usize, ElementType), bytes: u64) -> Result<Sink> {
        let (rows, path) = (target.input.rows(), target.path.clone());
        match target.format {
            FileFormat::Npy => {
                let header = npy::header(rows, width, element)?;
                let at = header.len() as u64;
                positional::reserve(&file, at + bytes).map_err(Error::io("write", &path))?;
                positional::write(&file, &header, 0).map_err(Error::io("write", &path))?;
                Ok(Sink::Raw { file, at, path })
            }
            FileFormat::Safetensors => {
                let notes = target.input.notes();
                let beside = match &target.input.layout {
                    Layout::Raw { key: Some(key), .. } => safetensors::Beside::Copied { input: &target.input, key },
                    _ => safetensors::Beside::Notes(&notes),
                };
                let at = safetensors::start(&file, &path, (rows, width, element), beside)?;
                Ok(Sink::Raw { file, at, path })
            }
            // `Output::create` refused to write arrow files.
            FileFormat::Parquet | FileFormat::Arrow => {
                let writer = parquet::Writer::create(file, &path, &target.input, (width, element))?;
                Ok(Sink::Parquet(Box::new(writer)))
            }
        }
    }
}

impl Consume for Sink {
    fn write(&mut self, rows: &[u8]) -> Result<()> {
        match self {
            Sink::Raw { file, at, path } => {
                positional::write(file, rows, *at).map_err(Error::io("write", &*path))?;
                *at += rows.len() as u64;
                Ok(())
            }
            Sink::Parquet(writer) => writer.write(rows),
        }
    }

    fn finish(self) -> Result<()> {
        match self {
            Sink::Raw { .. } => Ok(()),
            Sink::Parquet(writer) => writer.finish(),
        }
    }
}

impl ShardWriter {
    /// Appends whole rows: little-endian numbers of [`Output::element_type`], without gaps.
    ///
    /// # Errors
    /// Bytes that are not whole rows, more rows than the input had, a full disk; or what writing earlier rows met with.
    pub fn write(&mut self, rows: &[u8]) -> Result<()> {
        let count = (rows.len() / self.row_bytes) as u64;
        if !rows.len().is_multiple_of(self.row_bytes) {
            let expected = format!("rows of {} bytes", self.row_bytes);
            return Err(Error::shape("write rows", "the block", expected, format!("{} bytes", rows.len())));
        }
        if count > self.rows - self.written {
            let file = self.path.display().to_string();
            let got = format!("{} rows", self.written.saturating_add(count));
            return Err(Error::shape("write rows", file, format!("{} rows", self.rows), got));
        }
        self.sink.write(rows)?;
        self.written += count;
        Ok(())
    }

    /// Waits until all rows are written and closes the file, still under its temporary name. One for a bucket is sent there, and is no object
    /// yet; it is gone from the disk then.
    ///
    /// # Errors
    /// Fewer rows were written than the input had, the disk is full, or the bucket does not take it.
    pub fn finish(self) -> Result<()> {
        if self.written != self.rows {
            let (expected, got) = (format!("{} rows", self.rows), format!("{} rows", self.written));
            return Err(Error::shape("write rows", self.path.display().to_string(), expected, got));
        }
        self.sink.finish()?;
        *locked(&self.finished) = Some(atomic::stage(self.temporary)?);
        Ok(())
    }
}
