//! Apache Parquet: one column of float lists, beside others that pass through.

mod guard;
mod ids;
mod read;
mod write;

use std::fs::File;
use std::path::Path;

use ::parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use ::parquet::errors::ParquetError;
use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, DataType, Schema};

use crate::error::{Problem, Remedy};
use crate::{ElementType, Error, Result};

use guard::guarded;
pub(super) use ids::read_ids;
pub(super) use read::{Reader, inspect};
pub(super) use write::Writer;

/// Decoded rows are held in batches of about this size.
const BATCH_BYTES: usize = 8 << 20;

/// The column that holds the rows.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// Its place among the top-level columns.
    index: usize,
    name: String,
}

/// Parquet is there: the feature is on.
pub(super) fn check_available(_path: &Path) -> Result<()> {
    Ok(())
}

/// Rows per decoded batch.
fn batch_rows(width: usize, element: ElementType) -> usize {
    (BATCH_BYTES / (width * element.bytes()).max(1)).clamp(1, 8192)
}

/// The type of the numbers in a list column; `None` for any other type.
fn element_type(list: &DataType) -> Option<ElementType> {
    let (DataType::FixedSizeList(item, _) | DataType::List(item) | DataType::LargeList(item)) = list else {
        return None;
    };
    match item.data_type() {
        DataType::Float16 => Some(ElementType::F16),
        DataType::Float32 => Some(ElementType::F32),
        DataType::Float64 => Some(ElementType::F64),
        _ => None,
    }
}

/// The column called `name`, or the only one of float lists.
fn choose(schema: &Schema, name: Option<&str>, path: &Path) -> Result<(Column, ElementType)> {
    let fields = schema.fields();
    let lists =
        || fields.iter().enumerate().filter_map(|(i, field)| Some((i, field, element_type(field.data_type())?)));
    let listed = || {
        let names: Vec<_> = fields.iter().take(40).map(|f| format!("{:?} ({})", f.name(), f.data_type())).collect();
        names.join(", ")
    };
    let problem = match name {
        Some(name) => {
            if let Some((index, field, element)) = lists().find(|(_, field, _)| field.name() == name) {
                return Ok((Column { index, name: field.name().clone() }, element));
            }
            match fields.iter().any(|field| field.name() == name) {
                true => format!("column {name:?} does not hold lists of f16, f32 or f64"),
                false => format!("no column is called {name:?}"),
            }
        }
        None => {
            let mut found = lists();
            match (found.next(), found.next()) {
                (Some((index, field, element)), None) => {
                    return Ok((Column { index, name: field.name().clone() }, element));
                }
                (None, _) => "no column holds lists of f16, f32 or f64".to_string(),
                _ => "several columns hold lists of floats".to_string(),
            }
        }
    };
    Err(Error::format(path, Problem::new(format!("{problem}; it has: {}", listed())).remedy(Remedy::ChooseColumn)))
}

/// Reads the footer and checks that its places and sizes are within the file, which the library takes on trust.
fn open(file: File, path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let len = file.metadata().map_err(Error::io("read", path))?.len();
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

fn build(builder: ParquetRecordBatchReaderBuilder<File>, path: &Path) -> Result<ParquetRecordBatchReader> {
    guarded(path, || builder.build().map_err(|e| read_error(e, path)))
}

/// The next batch; `None` at the end.
fn next_batch(batches: &mut ParquetRecordBatchReader, path: &Path) -> Result<Option<RecordBatch>> {
    let batch = guarded(path, || batches.next().transpose().map_err(|e| arrow_error(e, path)))?;
    Ok(batch.filter(|batch| batch.num_rows() > 0))
}

/// The operating system's refusals keep their words; all else means a damaged file.
fn read_error(error: ParquetError, path: &Path) -> Error {
    match into_io(error) {
        Ok(io) => Error::io("read", path)(io),
        Err(error) => damaged(error, path),
    }
}

fn damaged(error: impl std::fmt::Display, path: &Path) -> Error {
    Error::format(path, format!("not a valid parquet file, or one with features that we cannot read: {error}"))
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
