//! Rows with their names as parquet: the columns `id` and `embedding`.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::Compression;
use ::parquet::file::properties::WriterProperties;
use arrow_array::{ArrayRef, FixedSizeListArray, ListArray, RecordBatch, StringArray};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

use super::write::{DEFAULT_COLUMN, group_rows, number_array, number_type, plain_embeddings};
use super::{batch_rows, write_error};
use crate::{ElementType, Error, Result};

/// The column of names.
const IDS: &str = "id";

/// Encodes named rows in order.
pub(in super::super) struct NamedWriter {
    path: PathBuf,
    writer: ArrowWriter<File>,
    schema: SchemaRef,
    item: Arc<Field>,
    width: usize,
    element: ElementType,
}

impl fmt::Debug for NamedWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamedWriter").field("path", &self.path).field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl NamedWriter {
    pub(in super::super) fn create(
        file: File,
        path: &Path,
        (width, element): (usize, ElementType),
        notes: &BTreeMap<String, String>,
    ) -> Result<NamedWriter> {
        let item = Arc::new(Field::new("item", number_type(element, path)?, false));
        let rows = Field::new(DEFAULT_COLUMN, DataType::List(item.clone()), false);
        let fields = vec![Field::new(IDS, DataType::Utf8, false), rows];
        let notes: HashMap<_, _> = notes.iter().map(|(name, text)| (name.clone(), text.clone())).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, notes));
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_row_count(Some(group_rows(width, element)));
        let properties = plain_embeddings(properties, schema.field(1)).build();
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties)).map_err(|e| write_error(e, path))?;
        Ok(NamedWriter { path: path.to_path_buf(), writer, schema, item, width, element })
    }

    /// Appends whole rows with their names; the caller has checked the size.
    pub(in super::super) fn write<'a>(
        &mut self,
        ids: &mut dyn Iterator<Item = Cow<'a, str>>,
        rows: &[u8],
    ) -> Result<()> {
        let row_bytes = self.width * self.element.bytes();
        for block in rows.chunks(batch_rows(self.width, self.element) * row_bytes) {
            let names: ArrayRef = Arc::new(StringArray::from_iter_values(ids.take(block.len() / row_bytes)));
            let batch = self
                .batch(names, block)
                .map_err(|e| Error::format(&self.path, format!("cannot be written as parquet: {e}")))?;
            self.writer.write(&batch).map_err(|e| write_error(e, &self.path))?;
        }
        Ok(())
    }

    fn batch(&self, names: ArrayRef, block: &[u8]) -> Result<RecordBatch, ArrowError> {
        let values =
            number_array(self.element, block, &self.path).map_err(|e| ArrowError::SchemaError(e.to_string()))?;
        let width = i32::try_from(self.width).map_err(|e| ArrowError::SchemaError(e.to_string()))?;
        let lists = ListArray::from(FixedSizeListArray::try_new(self.item.clone(), width, values, None)?);
        RecordBatch::try_new(self.schema.clone(), vec![names, Arc::new(lists)])
    }

    pub(in super::super) fn finish(self) -> Result<()> {
        self.writer.close().map(drop).map_err(|e| write_error(e, &self.path))
    }
}
