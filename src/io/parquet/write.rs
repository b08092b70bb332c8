//! Encoding rows as a list column, with the input's other columns beside it.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use ::parquet::arrow::{ARROW_SCHEMA_META_KEY, ArrowWriter, ProjectionMask};
use ::parquet::basic::Compression;
use ::parquet::file::metadata::ParquetMetaData;
use ::parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use ::parquet::schema::types::ColumnPath;
use arrow_array::types::{ArrowPrimitiveType, Float16Type, Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, FixedSizeListArray, LargeListArray, ListArray, PrimitiveArray, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use super::super::EncoderId;
use super::super::dataset::{Layout, Shard};
use super::{batch_rows, build, is_nested, next_batch, open, write_error};
use crate::{ElementType, Error, Result};

/// The column's name where the input had none.
pub(super) const DEFAULT_COLUMN: &str = "embedding";
/// A row group is held in memory until it is full: at most so many rows, and about so many bytes of embeddings.
const GROUP_ROWS: usize = 10_000;
const GROUP_BYTES: usize = 64 << 20;

/// Encodes rows in order.
pub(in super::super) struct Writer {
    path: PathBuf,
    writer: ArrowWriter<File>,
    schema: SchemaRef,
    /// The place of the rows among the columns.
    index: usize,
    others: Option<Others>,
    width: usize,
    element: ElementType,
}

/// The input's other columns, read once more, in step with the rows.
struct Others {
    path: PathBuf,
    batches: ParquetRecordBatchReader,
    pending: Option<RecordBatch>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("path", &self.path).field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl Writer {
    pub(in super::super) fn create(
        file: File,
        path: &Path,
        input: &Shard,
        (width, element): (usize, ElementType),
    ) -> Result<Writer> {
        let number = number_type(element, path)?;
        let size = i32::try_from(width)
            .map_err(|_| Error::format(path, format!("parquet lists hold at most {} numbers", i32::MAX)))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_row_count(Some(group_rows(width, element)));
        let (schema, index, others, properties) = match &input.layout {
            Layout::Parquet(column) if !column.arrow => {
                let (schema, others, properties) =
                    mirror(input, column.index, &number, batch_rows(width, element), properties)?;
                let metadata = schema.metadata().clone();
                let notes: HashMap<_, _> = EncoderId::renoted(input.encoder(), metadata).into_iter().collect();
                (Arc::new(schema.as_ref().clone().with_metadata(notes)), column.index, others, properties)
            }
            Layout::Raw { .. } | Layout::Parquet(_) => {
                let item = Arc::new(Field::new("item", number, false));
                let field = Field::new(DEFAULT_COLUMN, DataType::FixedSizeList(item, size), false);
                let notes: HashMap<_, _> = input.notes().into_iter().collect();
                (Arc::new(Schema::new_with_metadata(vec![field], notes)), 0, None, properties)
            }
        };
        let properties = plain_embeddings(properties, schema.field(index)).build();
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties)).map_err(|e| write_error(e, path))?;
        Ok(Writer { path: path.to_path_buf(), writer, schema, index, others, width, element })
    }

    /// Appends whole rows; the caller has checked the size.
    pub(in super::super) fn write(&mut self, rows: &[u8]) -> Result<()> {
        let row_bytes = self.width * self.element.bytes();
        for block in rows.chunks(batch_rows(self.width, self.element) * row_bytes) {
            let list = self.list(block)?;
            let mut done = 0;
            while done < list.len() {
                let mut columns = match &mut self.others {
                    Some(others) => others.take(list.len() - done)?,
                    None => Vec::new(),
                };
                let n = columns.first().map_or(list.len() - done, |column| column.len());
                columns.insert(self.index, list.slice(done, n));
                let batch = RecordBatch::try_new(self.schema.clone(), columns)
                    .map_err(|e| Error::format(&self.path, format!("cannot be written as parquet: {e}")))?;
                self.writer.write(&batch).map_err(|e| write_error(e, &self.path))?;
                done += n;
            }
        }
        Ok(())
    }

    pub(in super::super) fn finish(self) -> Result<()> {
        self.writer.close().map(drop).map_err(|e| write_error(e, &self.path))
    }

    /// The rows as an array of the column's kind of list.
    fn list(&self, block: &[u8]) -> Result<ArrayRef> {
        let values = number_array(self.element, block, &self.path)?;
        let kind = self.schema.field(self.index).data_type();
        // `create` checked that the width fits.
        let width = self.width as i32;
        match item_of(kind) {
            // One list in each.
            Some(item) if is_nested(kind) => self.wrap(kind, self.wrap(item.data_type(), values, width)?, 1),
            _ => self.wrap(kind, values, width),
        }
    }

    /// Lists of `size` values each, as the kind of list that `kind` is.
    fn wrap(&self, kind: &DataType, values: ArrayRef, size: i32) -> Result<ArrayRef> {
        let item = item_of(kind).ok_or_else(|| Error::format(&self.path, "its column of rows is no list"))?;
        let list = FixedSizeListArray::try_new(item.clone(), size, values, None)
            .map_err(|e| Error::format(&self.path, format!("cannot be written as parquet: {e}")))?;
        Ok(match kind {
            DataType::List(_) => Arc::new(ListArray::from(list)),
            DataType::LargeList(_) => Arc::new(LargeListArray::from(list)),
            _ => Arc::new(list),
        })
    }
}

/// Rows of a group.
pub(super) fn group_rows(width: usize, element: ElementType) -> usize {
    (GROUP_BYTES / (width * element.bytes()).max(1)).clamp(1, GROUP_ROWS)
}

/// Numbers as an array of their type.
pub(super) fn number_array(element: ElementType, block: &[u8], path: &Path) -> Result<ArrayRef> {
    match element {
        ElementType::F16 => Ok(numbers::<Float16Type>(block)),
        ElementType::F32 => Ok(numbers::<Float32Type>(block)),
        ElementType::F64 => Ok(numbers::<Float64Type>(block)),
        ElementType::BF16 | ElementType::Fixed | ElementType::Q8_0 => Err(cannot_hold(element, path)),
    }
}

/// What a list's type says of its values.
fn item_of(kind: &DataType) -> Option<&Arc<Field>> {
    match kind {
        DataType::FixedSizeList(item, _) | DataType::List(item) | DataType::LargeList(item) => Some(item),
        _ => None,
    }
}

/// The type of a list, or of lists in lists, with other numbers.
fn retyped(kind: &DataType, number: &DataType) -> DataType {
    let inner = |item: &Arc<Field>| {
        let kind = if item_of(item.data_type()).is_some() { retyped(item.data_type(), number) } else { number.clone() };
        Arc::new(item.as_ref().clone().with_data_type(kind))
    };
    match kind {
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(inner(item), *size),
        DataType::LargeList(item) => DataType::LargeList(inner(item)),
        DataType::List(item) => DataType::List(inner(item)),
        other => other.clone(),
    }
}

fn numbers<T>(block: &[u8]) -> ArrayRef
where
    T: ArrowPrimitiveType<Native: bytemuck::AnyBitPattern + bytemuck::NoUninit>,
    PrimitiveArray<T>: From<Vec<T::Native>>,
{
    Arc::new(PrimitiveArray::<T>::from(bytemuck::pod_collect_to_vec::<u8, T::Native>(block)))
}

pub(super) fn number_type(element: ElementType, path: &Path) -> Result<DataType> {
    match element {
        ElementType::F16 => Ok(DataType::Float16),
        ElementType::F32 => Ok(DataType::Float32),
        ElementType::F64 => Ok(DataType::Float64),
        ElementType::BF16 | ElementType::Fixed | ElementType::Q8_0 => Err(cannot_hold(element, path)),
    }
}

fn cannot_hold(element: ElementType, path: &Path) -> Error {
    Error::format(path, format!("parquet files cannot hold {element}; choose f32 or f16"))
}

impl Others {
    /// The next rows of the other columns: at least one, at most `rows`.
    fn take(&mut self, rows: usize) -> Result<Vec<ArrayRef>> {
        let batch = match self.pending.take() {
            Some(batch) => batch,
            None => next_batch(&mut self.batches, &self.path)?
                .ok_or_else(|| Error::format(&self.path, "changed while in use; run the command again"))?,
        };
        let n = rows.min(batch.num_rows());
        if n < batch.num_rows() {
            self.pending = Some(batch.slice(n, batch.num_rows() - n));
        }
        Ok(batch.slice(0, n).columns().to_vec())
    }
}

/// The input's schema with another number type in its column of rows, a reader of the other columns, and writer
/// properties that carry the metadata and each column's compression over.
fn mirror(
    input: &Shard,
    index: usize,
    number: &DataType,
    batch: usize,
    mut properties: WriterPropertiesBuilder,
) -> Result<(SchemaRef, Option<Others>, WriterPropertiesBuilder)> {
    let path = input.path();
    let builder = open(input.open()?.0, path)?;
    let mut fields: Vec<Arc<Field>> = builder.schema().fields().iter().cloned().collect();
    let (Some(field), columns) = (fields.get_mut(index), builder.schema().fields().len()) else {
        return Err(Error::format(path, "changed while in use; run the command again"));
    };
    let list = retyped(field.data_type(), number);
    *field = Arc::new(field.as_ref().clone().with_data_type(list));
    let schema = Arc::new(Schema::new_with_metadata(fields, builder.schema().metadata().clone()));
    properties = carry_over(properties, builder.metadata());
    let mask = ProjectionMask::roots(builder.parquet_schema(), (0..columns).filter(|i| *i != index));
    let others = match columns {
        1 => None,
        _ => {
            let batches = build(builder.with_projection(mask).with_batch_size(batch), path)?;
            Some(Others { path: path.to_path_buf(), batches, pending: None })
        }
    };
    Ok((schema, others, properties))
}

/// Notes that the new schema holds.
fn in_schema(name: &str) -> bool {
    name == ARROW_SCHEMA_META_KEY || EncoderId::is_note(name)
}

fn carry_over(mut properties: WriterPropertiesBuilder, metadata: &ParquetMetaData) -> WriterPropertiesBuilder {
    // The Arrow schema is written anew: it names the type that changes.
    let notes = metadata
        .file_metadata()
        .key_value_metadata()
        .map(|pairs| pairs.iter().filter(|pair| !in_schema(&pair.key)).cloned().collect());
    properties = properties.set_key_value_metadata(notes);
    let columns = metadata.row_groups().first().map_or(&[][..], |group| group.columns());
    for column in columns {
        properties = properties.set_column_compression(column.column_path().clone(), column.compression());
    }
    properties
}

/// Embeddings neither repeat nor compress: dictionaries, codecs and minima would cost time and save nothing.
pub(super) fn plain_embeddings(properties: WriterPropertiesBuilder, field: &Field) -> WriterPropertiesBuilder {
    let mut parts = vec![field.name().clone()];
    let mut kind = field.data_type();
    while let Some(item) = item_of(kind) {
        parts.extend(["list".to_string(), item.name().clone()]);
        kind = item.data_type();
    }
    let path = ColumnPath::new(parts);
    properties
        .set_column_dictionary_enabled(path.clone(), false)
        .set_column_statistics_enabled(path.clone(), EnabledStatistics::None)
        .set_column_compression(path, Compression::UNCOMPRESSED)
}
