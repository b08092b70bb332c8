//! Reading: shards of rows, opened header by header and streamed block by block.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::source::{Pin, Source};
use super::{EncoderId, FileFormat, inputs, npy, parquet, safetensors, url};
use crate::{ElementType, Error, Result};

/// Which part of a file holds the rows.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// The tensor's name in safetensors files; by default the only 2-D float tensor. Other formats ignore it.
    pub key: Option<String>,
    /// The column's name in parquet files; by default the only column of float lists. Other formats ignore it.
    pub column: Option<String>,
    /// Whether a 1-D array of an npy file is read as one row; otherwise it is refused.
    pub vector: bool,
}

/// One or several files whose rows have one width and one element type.
#[derive(Debug)]
pub struct Dataset {
    shards: Vec<Shard>,
    rows: u64,
    width: usize,
    element: ElementType,
    single_file: bool,
}

/// One file of a [`Dataset`].
#[derive(Clone, Debug)]
pub struct Shard {
    path: PathBuf,
    rows: u64,
    format: FileFormat,
    /// Its length when it was opened: another length later means that someone wrote to it.
    pub(super) bytes: u64,
    /// What it was, where it is an object in a bucket.
    pin: Pin,
    pub(super) layout: Layout,
    encoder: Option<EncoderId>,
}

/// A file and what was found in it.
struct Inspected {
    found: Found,
    format: FileFormat,
    bytes: u64,
    pin: Pin,
}

/// Where a shard's rows are.
#[derive(Clone, Debug)]
pub(super) enum Layout {
    /// One after the other from `offset`; `key` names them in a safetensors file.
    Raw { offset: u64, key: Option<String> },
    /// In a column.
    #[cfg_attr(not(feature = "parquet"), expect(dead_code, reason = "no such file is opened"))]
    Parquet(parquet::Column),
}

/// What a format's reader found in a file.
pub(super) struct Found {
    rows: u64,
    width: usize,
    element: ElementType,
    layout: Layout,
    /// Who made the rows, where the file says it.
    encoder: Option<EncoderId>,
}

impl Found {
    /// The same, of rows that an encoder made.
    pub(super) fn by(self, encoder: Option<EncoderId>) -> Found {
        Found { encoder, ..self }
    }

    /// Checks what holds for every format: rows have numbers, and their size fits the machine's integers. There may be none, as in the
    /// empty shard of a job that had nothing to do.
    pub(super) fn new(path: &Path, rows: u64, width: u64, element: ElementType, layout: Layout) -> Result<Found> {
        if rows > 0 && width == 0 {
            return Err(empty(path, rows, width));
        }
        let total = rows.checked_mul(width).and_then(|numbers| numbers.checked_mul(element.bytes() as u64));
        let width = usize::try_from(width).ok();
        match (total.filter(|bytes| *bytes <= i64::MAX as u64), width) {
            (Some(_), Some(width)) => Ok(Found { rows, width, element, layout, encoder: None }),
            _ => {
                Err(Error::format(path, "truncated or damaged: its header promises more bytes than any file can have"))
            }
        }
    }

    /// Bytes of all rows.
    pub(super) fn bytes(&self) -> u128 {
        u128::from(self.rows) * (self.width as u128) * (self.element.bytes() as u128)
    }
}

fn empty(path: &Path, rows: u64, width: u64) -> Error {
    Error::format(path, format!("empty: {rows} rows of {width} numbers; name a file with rows"))
}

impl Dataset {
    /// Opens files, folders (every `.npy`, `.safetensors`, `.parquet` or `.arrow` file in them, sorted by name, all of one
    /// format, hidden files left out) and patterns (`*?[`, sorted), in the order given. The files of clip-retrieval's layout, `img_emb_N.npy`
    /// or `text_emb_N.npy`, are sorted by the number N; a folder that has them in a folder `img_emb` or `text_emb` may be named itself.
    ///
    /// Reads headers only (of parquet and arrow files also the first row, which tells the width of its lists). A file without rows may be
    /// among others that have some.
    ///
    /// With the feature `cloud` a name may be a URL: `s3://bucket/key`, `gs://…`, `az://…`, a pattern of such or a folder of them that ends in a
    /// slash, and `https://host/file`. What is read later must be the object that was opened here.
    ///
    /// # Errors
    /// A file that cannot be read, is malformed, holds something else than rows of floats, is named twice, or
    /// differs from the first in width or element type; files without any row. The message names the file and the remedy.
    pub fn open(inputs: &[PathBuf], options: &OpenOptions) -> Result<Dataset> {
        let (files, single_file) = inputs::expand(inputs)?;
        let mut shards: Vec<Shard> = Vec::with_capacity(files.len());
        let (mut kind, mut vacant) = (None, None);
        let mut rows = 0u64;
        let inspected = inspect_all(&files, options);
        for (path, inspected) in files.into_iter().zip(inspected) {
            let Inspected { found, format, bytes, pin } = inspected?;
            if found.rows == 0 {
                // Its width and type are those of nothing.
                vacant.get_or_insert_with(|| (path.clone(), found.width));
                shards.push(Shard { path, rows: 0, format, bytes, pin, layout: found.layout, encoder: None });
                continue;
            }
            let this = (found.width, found.element);
            let first = *kind.get_or_insert(this);
            if first != this {
                let (a, b) = (format!("{} {}", this.0, this.1), format!("{} {}", first.0, first.1));
                let other = shards.iter().find(|shard| shard.rows > 0);
                let other = other.map(|shard| shard.path.display().to_string()).unwrap_or_default();
                let problem = format!("its rows are {a}, but those of {other} are {b}");
                return Err(Error::format(path, format!("{problem}; files read together must agree in both")));
            }
            rows = rows
                .checked_add(found.rows)
                .ok_or_else(|| Error::format(&path, "all files together have more than 2^64 rows"))?;
            let Found { rows, layout, encoder, .. } = found;
            shards.push(Shard { path, rows, format, bytes, pin, layout, encoder });
        }
        let (width, element) = kind.ok_or_else(|| match vacant {
            Some((path, width)) => empty(&path, 0, width as u64),
            None => Error::argument("input", "no file was named"),
        })?;
        Ok(Dataset { shards, rows, width, element, single_file })
    }

    /// Rows of all shards together.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Numbers in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The type of each number in the files.
    pub fn element_type(&self) -> ElementType {
        self.element
    }

    /// The files, in reading order.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// The encoders that made the rows, each once, as far as the files say it: those of safetensors and parquet that this library made do.
    pub fn encoders(&self) -> Vec<EncoderId> {
        let mut all: Vec<EncoderId> = Vec::new();
        for encoder in self.shards.iter().filter_map(|shard| shard.encoder.as_ref()) {
            if all.iter().all(|known| known.hash != encoder.hash) {
                all.push(encoder.clone());
            }
        }
        all
    }

    /// Whether exactly one file was named, itself and not through a folder or a pattern: its output is a file too.
    pub fn single_file(&self) -> bool {
        self.single_file
    }

    /// A reader at the first row of the shard with this index.
    ///
    /// # Errors
    /// An index out of range, or a file that has gone or changed its length since the dataset was opened.
    pub fn reader(&self, shard: usize) -> Result<RowReader> {
        let shards = self.shards.len();
        let shard = self
            .shards
            .get(shard)
            .ok_or_else(|| Error::argument("shard", format!("{shard} is out of range, there are {shards}")))?;
        RowReader::open(shard.clone(), self.width, self.element)
    }
}

impl Shard {
    /// Opens it again; of an object in a bucket, that which was opened before.
    pub(super) fn open(&self) -> Result<(Source, u64)> {
        Source::reopen(&self.path, &self.pin, REMEDY)
    }

    /// The encoder of its rows, where it is known.
    pub(super) fn encoder(&self) -> Option<&EncoderId> {
        self.encoder.as_ref()
    }

    /// Says that what is made of it is of another encoder.
    pub(super) fn set_encoder(&mut self, encoder: Option<EncoderId>) {
        self.encoder = encoder;
    }

    /// What a file made of this one says of its rows.
    pub(super) fn notes(&self) -> BTreeMap<String, String> {
        self.encoder.as_ref().map(|encoder| encoder.notes("")).unwrap_or_default()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Its format.
    pub fn format(&self) -> FileFormat {
        self.format
    }

    /// Its file name, without the folder.
    pub fn name(&self) -> &OsStr {
        // A path whose last component is `..` is a folder, never a shard; an empty name would be the harmless answer.
        self.path.file_name().unwrap_or_default()
    }
}

/// What is done about a pipe or a device.
const REMEDY: &str = "write the rows to a file first";
/// Objects in buckets that are looked at at a time: each look is a wait for an answer or two.
const LOOKS: usize = 16;

/// What to do with a file of another type.
fn unknown_type(path: &Path) -> Error {
    let ending = path.extension().and_then(|end| end.to_str()).unwrap_or("").to_ascii_lowercase();
    let hint = match ending.as_str() {
        "npz" => "; save one of its arrays: np.save(\"rows.npy\", np.load(…)[\"name\"])",
        "pt" | "pth" | "bin" | "pkl" | "pickle" => {
            "; pickles are not read: np.save(\"rows.npy\", torch.load(…).float().numpy())"
        }
        "csv" | "tsv" | "json" | "jsonl" => "; texts are not read as rows: np.save(\"rows.npy\", …)",
        _ => "",
    };
    let problem = "unknown file type; the name must end in .npy, .safetensors, .parquet or .arrow";
    Error::format(path, format!("{problem}{hint}"))
}

/// Looks at every file; at those in buckets several at a time.
fn inspect_all(files: &[PathBuf], options: &OpenOptions) -> Vec<Result<Inspected>> {
    if files.len() == 1 || !files.iter().any(|file| url::is_url(file)) {
        return files.iter().map(|file| inspect(file, options)).collect();
    }
    let mut results: Vec<Option<Result<Inspected>>> = files.iter().map(|_| None).collect();
    let each = files.len().div_ceil(LOOKS);
    std::thread::scope(|scope| {
        for (files, results) in files.chunks(each).zip(results.chunks_mut(each)) {
            scope.spawn(move || files.iter().zip(results).for_each(|(file, out)| *out = Some(inspect(file, options))));
        }
    });
    // Every thread has come to its end, or its panic has gone on here.
    results.into_iter().flatten().collect()
}

fn inspect(path: &Path, options: &OpenOptions) -> Result<Inspected> {
    let format = FileFormat::from_path(path).ok_or_else(|| unknown_type(path))?;
    let (file, len) = Source::open(path, REMEDY)?;
    let pin = file.pin();
    let found = match format {
        FileFormat::Npy => npy::inspect(&file, len, path, options.vector),
        FileFormat::Safetensors => safetensors::inspect(&file, len, path, options.key.as_deref()),
        FileFormat::Parquet | FileFormat::Arrow => parquet::inspect(file, path, options.column.as_deref()),
    }?;
    Ok(Inspected { found, format, bytes: len, pin })
}

/// Reads one shard's rows, in order, into blocks that the caller owns.
#[derive(Debug)]
pub struct RowReader {
    shard: Shard,
    source: Rows,
    width: usize,
    row_bytes: usize,
    element: ElementType,
    next: u64,
}

#[derive(Debug)]
enum Rows {
    Raw { file: Source, offset: u64 },
    Parquet(Box<parquet::Reader>),
}

impl RowReader {
    fn open(shard: Shard, width: usize, element: ElementType) -> Result<RowReader> {
        let (file, len) = shard.open()?;
        if len != shard.bytes {
            let change = format!("had {} bytes when it was opened and has {len} now", shard.bytes);
            return Err(Error::format(&shard.path, format!("changed while in use: {change}; run the command again")));
        }
        let source = match &shard.layout {
            Layout::Raw { offset, .. } => {
                // No overflow: `Found::new` checked the product.
                file.plan(std::iter::once(*offset..offset + shard.rows * (width * element.bytes()) as u64));
                Rows::Raw { file, offset: *offset }
            }
            // An empty file's column may be of another type, and is never read.
            Layout::Parquet(_) if shard.rows == 0 => Rows::Raw { file, offset: 0 },
            Layout::Parquet(column) => {
                Rows::Parquet(Box::new(parquet::Reader::open(file, &shard.path, column, (width, element), 0)?))
            }
        };
        // No overflow: `Found::new` checked the product with the rows.
        Ok(RowReader { source, width, row_bytes: width * element.bytes(), element, next: 0, shard })
    }

    /// The next row to be read, from 0.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// Fills `out` with the next `rows` rows: `rows × width` little-endian numbers of the dataset's element type,
    /// without gaps. `.npy` and `.safetensors` files are read by all rayon threads straight into `out`.
    ///
    /// # Errors
    /// An `out` of another size, fewer rows left than asked for, a file truncated since it was opened, an operating
    /// system's refusal; in parquet files also nulls, lists of another length and damaged pages.
    pub fn read(&mut self, rows: usize, out: &mut [u8]) -> Result<()> {
        self.check(self.next, rows, out)?;
        match &mut self.source {
            Rows::Raw { file, offset } => {
                let at = *offset + self.next * self.row_bytes as u64;
                file.read(out, at)
                    .map_err(|e| read_error(e, &self.shard, self.next, out.len() / self.row_bytes.max(1)))?;
            }
            Rows::Parquet(reader) => reader.read(rows, out)?,
        }
        self.next += rows as u64;
        Ok(())
    }

    /// Fills `out` with rows `start .. start + rows`, wherever the reader is, and leaves it there. Parquet files are
    /// decoded anew up to `start`: meant for a second look at a few rows.
    ///
    /// # Errors
    /// As [`RowReader::read`].
    pub fn read_at(&mut self, start: u64, rows: usize, out: &mut [u8]) -> Result<()> {
        self.check(start, rows, out)?;
        match (&self.source, &self.shard.layout) {
            (Rows::Raw { file, offset }, _) => {
                let read = file.read_apart(out, offset + start * self.row_bytes as u64);
                read.map_err(|e| read_error(e, &self.shard, start, rows))
            }
            (Rows::Parquet(_), Layout::Parquet(column)) => {
                let (file, _) = self.shard.open()?;
                parquet::Reader::open(file, &self.shard.path, column, (self.width, self.element), start)?
                    .read(rows, out)
            }
            (Rows::Parquet(_), Layout::Raw { .. }) => Err(Error::format(&self.shard.path, "not a parquet file")),
        }
    }

    fn check(&self, start: u64, rows: usize, out: &[u8]) -> Result<()> {
        if rows.checked_mul(self.row_bytes) != Some(out.len()) {
            let expected = format!("{rows} rows of {} bytes", self.row_bytes);
            return Err(Error::shape("read rows", "the block", expected, format!("{} bytes", out.len())));
        }
        if start.checked_add(rows as u64).is_none_or(|end| end > self.shard.rows) {
            let file = self.shard.path.display().to_string();
            let got = format!("{} rows", self.shard.rows);
            return Err(Error::shape("read rows", file, format!("{rows} rows from row {start}"), got));
        }
        Ok(())
    }
}

/// What went wrong with rows that lie one after the other. `check` has proved that they are within what the header promised.
fn read_error(error: std::io::Error, shard: &Shard, start: u64, rows: usize) -> Error {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            let rows = format!("rows {start} to {}", start + rows as u64 - 1);
            Error::format(&shard.path, format!("truncated while in use: it ended inside {rows}; run the command again"))
        }
        _ => Error::io("read", &shard.path)(error),
    }
}
