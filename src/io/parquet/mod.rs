//! Apache Parquet: one column of float lists, beside others that pass through. Arrow's own files, which hold the same, are read here, too.

mod arrow;
mod choose;
mod chunks;
mod guard;
mod ids;
mod named;
mod read;
mod table;
mod write;

use std::path::Path;

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use ::parquet::errors::ParquetError;
use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, Schema};

use super::FileFormat;
use super::source::Source;
use crate::{ElementType, Error, Result};

use choose::{choose, element_type, is_nested};
use guard::guarded;
pub(super) use ids::read_ids;
pub(super) use named::NamedWriter;
pub(super) use read::{Reader, inspect};
pub(super) use table::write_table;
pub(super) use write::Writer;

/// Decoded rows are held in batches of about this size.
const BATCH_BYTES: usize = 8 << 20;

/// The column that holds the rows.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// Its place among the top-level columns.
    index: usize,
    name: String,
    /// Whether the file is Arrow's own, and no parquet file.
    arrow: bool,
}

/// Parquet is there: the feature is on.
pub(super) fn check_available(_path: &Path) -> Result<()> {
    Ok(())
}

/// Rows per decoded batch.
fn batch_rows(width: usize, element: ElementType) -> usize {
    (BATCH_BYTES / (width * element.bytes()).max(1)).clamp(1, 8192)
}

/// Decodes one column of a file of either format.
enum Batches {
    Parquet(ParquetRecordBatchReader),
    Arrow(arrow::Batches),
}

impl Batches {
    /// A reader of the column that `choose` takes, from row `start` on, in batches of `rows` rows where the format has no own.
    fn open(
        file: Source,
        path: &Path,
        rows: usize,
        start: u64,
        choose: impl FnOnce(&Schema) -> Result<usize>,
    ) -> Result<Batches> {
        if is_arrow(path) {
            let len = file.len().map_err(Error::io("read", path))?;
            let contents = arrow::Contents::read(&file, len, path)?;
            let column = choose(&contents.schema)?;
            return Ok(Batches::Arrow(contents.batches(file, path, column, start)));
        }
        let builder = open(file.clone(), path)?;
        let column = choose(builder.schema())?;
        chunks::plan(&file, builder.metadata(), column, start);
        let mask = ProjectionMask::roots(builder.parquet_schema(), [column]);
        let builder = builder.with_projection(mask).with_batch_size(rows);
        Ok(Batches::Parquet(build(builder.with_offset(start as usize), path)?))
    }

    /// The next batch that has rows; `None` at the end.
    fn next(&mut self, path: &Path) -> Result<Option<RecordBatch>> {
        match self {
            Batches::Parquet(batches) => next_batch(batches, path),
            Batches::Arrow(batches) => batches.next(),
        }
    }
}

/// Whether a file is Arrow's own, by its name.
fn is_arrow(path: &Path) -> bool {
    FileFormat::from_path(path) == Some(FileFormat::Arrow)
}

/// Reads the footer and checks that its places and sizes are within the file, which the library takes on trust.
fn open(file: Source, path: &Path) -> Result<ParquetRecordBatchReaderBuilder<Source>> {
    let len = file.len().map_err(Error::io("read", path))?;
    let builder = guarded(path, || ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| read_error(e, path)))?;
    for column in builder.metadata().row_groups().iter().flat_map(|group| group.columns()) {
        let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
        let end = start.checked_add(column.compressed_size());
        let inside = end.and_then(|end| u64::try_from(end).ok()).is_some_and(|end| end <= len);
        if start < 0 || column.compressed_size() < 0 || column.num_values() < 0 || !inside {
            let name = column.column_path();
            return Err(damaged(format!("column {name} is said to lie outside the file"), path));
        }
    }
    Ok(builder)
}

fn build(builder: ParquetRecordBatchReaderBuilder<Source>, path: &Path) -> Result<ParquetRecordBatchReader> {
    guarded(path, || builder.build().map_err(|e| read_error(e, path)))
}

/// The next batch; `None` at the end.
fn next_batch(batches: &mut ParquetRecordBatchReader, path: &Path) -> Result<Option<RecordBatch>> {
    loop {
        // An empty row group may give an empty batch, and more come after it.
        let batch = guarded(path, || {
            batches.next().transpose().map_err(|e| on_the_way(path).unwrap_or_else(|| arrow_error(e, path)))
        })?;
        if batch.as_ref().is_none_or(|batch| batch.num_rows() > 0) {
            return Ok(batch);
        }
    }
}

/// The failure of a request, if it was one.
fn on_the_way(path: &Path) -> Option<Error> {
    chunks::failed().map(Error::io("read", path))
}

/// The operating system's refusals keep their words; all else means a damaged file.
fn read_error(error: ParquetError, path: &Path) -> Error {
    if let Some(failure) = on_the_way(path) {
        return failure;
    }
    match into_io(error) {
        Ok(io) => Error::io("read", path)(io),
        Err(error) => damaged(error, path),
    }
}

fn damaged(error: impl std::fmt::Display, path: &Path) -> Error {
    let format = if is_arrow(path) { "arrow" } else { "parquet" };
    Error::format(path, format!("not a valid {format} file, or one with features that we cannot read: {error}"))
}

fn write_error(error: ParquetError, path: &Path) -> Error {
    match into_io(error) {
        Ok(io) => Error::io("write", path)(io),
        Err(error) => Error::format(path, format!("cannot be written as parquet: {error}")),
    }
}

fn into_io(error: ParquetError) -> Result<std::io::Error, ParquetError> {
    match error {
        ParquetError::External(inner) => {
            inner.downcast::<std::io::Error>().map(|io| *io).map_err(ParquetError::External)
        }
        other => Err(other),
    }
}

fn arrow_error(error: ArrowError, path: &Path) -> Error {
    match error {
        ArrowError::IoError(_, io) => Error::io("read", path)(io),
        other => damaged(other, path),
    }
}
