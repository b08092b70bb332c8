//! Columns of texts and numbers as a parquet file: results, not rows of embeddings.

use std::path::Path;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::Compression;
use ::parquet::file::properties::WriterProperties;
use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt64Array};

use super::super::{TableColumn, write_atomically};
use super::write_error;
use crate::{Error, Result};

/// Writes the columns, which must be of one length.
pub(in super::super) fn write_table(path: &Path, force: bool, columns: Vec<(&str, TableColumn)>) -> Result<()> {
    let array = |column| -> ArrayRef {
        match column {
            TableColumn::Text(texts) => Arc::new(StringArray::from(texts)),
            TableColumn::U64(numbers) => Arc::new(UInt64Array::from(numbers)),
            TableColumn::F64(numbers) => Arc::new(Float64Array::from(numbers)),
        }
    };
    let columns = columns.into_iter().map(|(name, column)| (name, array(column)));
    let batch = RecordBatch::try_from_iter(columns)
        .map_err(|e| Error::format(path, format!("cannot be written as parquet: {e}")))?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut bytes = Vec::new();
    let mut writer =
        ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).map_err(|e| write_error(e, path))?;
    writer.write(&batch).map_err(|e| write_error(e, path))?;
    writer.close().map_err(|e| write_error(e, path))?;
    write_atomically(path, force, &bytes)
}
