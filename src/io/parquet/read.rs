//! Decoding one list column, batch by batch.

use std::fmt;
use std::path::{Path, PathBuf};

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow_array::types::{ArrowPrimitiveType, Float16Type, Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, FixedSizeListArray, GenericListArray, OffsetSizeTrait, PrimitiveArray};

use arrow_schema::{Field, Schema};

use super::super::EncoderId;
use super::super::dataset::{Found, Layout};
use super::super::source::Source;
use super::{Batches, Column, arrow, batch_rows, build, choose, damaged, element_type, is_arrow, is_nested, open};
use crate::{ElementType, Error, Result};

/// Reads the footer and the first row: variable-length lists tell their width nowhere else, and a fixed-size list may
/// claim any. A file without rows has no width.
pub(in super::super) fn inspect(file: Source, path: &Path, column: Option<&str>) -> Result<Found> {
    let (mut batches, rows, column, element, encoder) = if is_arrow(path) {
        let len = file.len().map_err(Error::io("read", path))?;
        let contents = arrow::Contents::read(&file, len, path)?;
        let ((column, element), rows) = (choose(&contents.schema, column, path)?, contents.rows);
        let encoder = encoder_of(&contents.schema);
        (Batches::Arrow(contents.batches(file, path, column.index, 0)), rows, column, element, encoder)
    } else {
        let builder = open(file, path)?;
        let ((column, element), rows) = (choose(builder.schema(), column, path)?, parquet_rows(&builder, path)?);
        let mask = ProjectionMask::roots(builder.parquet_schema(), [column.index]);
        let encoder = encoder_of(builder.schema());
        let batches = build(builder.with_projection(mask).with_batch_size(1).with_limit(1), path)?;
        (Batches::Parquet(batches), rows, column, element, encoder)
    };
    let mut width = 0;
    if rows > 0 {
        let first = next_list(&mut batches, path)?.map(|list| list.slice(0, 1));
        let first = first.map(|list| unnest(list, &column.name, 0, path)).transpose()?;
        width = first.as_deref().and_then(|list| row_width(list, 0)).unwrap_or(0);
        if first.as_deref().is_some_and(|list| list.is_null(0)) {
            return Err(null_row(path, &column.name, 0));
        }
    }
    Ok(Found::new(path, rows, width as u64, element, Layout::Parquet(column))?.by(encoder))
}

/// Who made the rows, as the schema's notes say.
fn encoder_of(schema: &Schema) -> Option<EncoderId> {
    EncoderId::of_notes("", |name| schema.metadata().get(name).map(String::as_str))
}

/// The number of rows, once the row groups have proved to add up to it.
fn parquet_rows(builder: &ParquetRecordBatchReaderBuilder<Source>, path: &Path) -> Result<u64> {
    let groups = builder.metadata().row_groups().iter().map(|group| u64::try_from(group.num_rows()).ok());
    let in_groups = groups.reduce(|a, b| a?.checked_add(b?)).unwrap_or(Some(0));
    let rows =
        u64::try_from(builder.metadata().file_metadata().num_rows()).ok().filter(|rows| Some(*rows) == in_groups);
    rows.ok_or_else(|| damaged("its row groups do not add up to its number of rows", path))
}

/// The next batch's only column.
fn next_list(batches: &mut Batches, path: &Path) -> Result<Option<ArrayRef>> {
    Ok(batches.next(path)?.and_then(|batch| batch.columns().first().cloned()))
}

/// The inner lists of lists that hold one each, `(1, d)`; other lists as they are. `first` is the number of the first row.
fn unnest(list: ArrayRef, column: &str, first: u64, path: &Path) -> Result<ArrayRef> {
    if !is_nested(list.data_type()) {
        return Ok(list);
    }
    for row in 0..list.len() {
        let number = first + row as u64;
        if list.is_null(row) {
            return Err(null_row(path, column, number));
        }
        let count = row_width(&list, row).unwrap_or(0);
        if count != 1 {
            let problem = format!("row {number} of column {column:?} holds {count} lists");
            return Err(Error::format(
                path,
                format!("{problem}, but one embedding per row is needed; choose or pool them"),
            ));
        }
    }
    let (values, start) = flat(&list).ok_or_else(|| damaged("a column that is no list", path))?;
    match start + list.len() <= values.len() {
        true => Ok(values.slice(start, list.len())),
        false => Err(damaged("lists that end outside their values", path)),
    }
}

/// Decodes rows in order.
pub(in super::super) struct Reader {
    path: PathBuf,
    column: String,
    batches: Batches,
    width: usize,
    element: ElementType,
    /// The batch being handed out, and how many of its rows were.
    current: Option<ArrayRef>,
    used: usize,
    /// The next row's number in the file.
    next: u64,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("path", &self.path).field("next", &self.next).finish_non_exhaustive()
    }
}

impl Reader {
    pub(in super::super) fn open(
        file: Source,
        path: &Path,
        column: &Column,
        (width, element): (usize, ElementType),
        start: u64,
    ) -> Result<Reader> {
        let batches = Batches::open(file, path, batch_rows(width, element), start, |schema| {
            let field = schema.fields().get(column.index);
            let same = |field: &Field| *field.name() == column.name && element_type(field.data_type()) == Some(element);
            match field.is_some_and(|field| same(field)) {
                true => Ok(column.index),
                false => Err(Error::format(path, "changed while in use; run the command again")),
            }
        })?;
        let (path, column) = (path.to_path_buf(), column.name.clone());
        Ok(Reader { path, column, batches, width, element, current: None, used: 0, next: start })
    }

    /// Fills `out` with the next `rows` rows; the caller has checked its size.
    pub(in super::super) fn read(&mut self, rows: usize, mut out: &mut [u8]) -> Result<()> {
        let row_bytes = self.width * self.element.bytes();
        let mut left = rows;
        while left > 0 {
            let batch = match self.current.take() {
                Some(batch) if self.used < batch.len() => batch,
                _ => {
                    self.used = 0;
                    let list = next_list(&mut self.batches, &self.path)?
                        .ok_or_else(|| damaged(format!("it ends before row {}", self.next), &self.path))?;
                    unnest(list, &self.column, self.next, &self.path)?
                }
            };
            let n = left.min(batch.len() - self.used);
            let (now, later) = std::mem::take(&mut out).split_at_mut(n * row_bytes);
            let values = self.values(&batch.slice(self.used, n))?;
            let copied = match self.element {
                ElementType::F16 => copy::<Float16Type>(&values, now),
                ElementType::F32 => copy::<Float32Type>(&values, now),
                ElementType::F64 => copy::<Float64Type>(&values, now),
                ElementType::BF16 | ElementType::Fixed | ElementType::Q8_0 => None,
            };
            copied.ok_or_else(|| damaged("a batch of another type than its schema says", &self.path))?;
            out = later;
            left -= n;
            self.used += n;
            self.next += n as u64;
            self.current = Some(batch);
        }
        Ok(())
    }

    /// The numbers of all rows of `list`, once every row has proved to be there and of the right width.
    fn values(&self, list: &ArrayRef) -> Result<ArrayRef> {
        let n = list.len();
        for row in 0..n {
            if list.is_null(row) {
                return Err(null_row(&self.path, &self.column, self.next + row as u64));
            }
            let width = row_width(list, row).unwrap_or(0);
            if width != self.width {
                let problem = format!("row {} of column {:?} has {width} numbers", self.next + row as u64, self.column);
                let remedy = "all rows must have one width; drop or repair it";
                return Err(Error::format(
                    &self.path,
                    format!("{problem}, the first row has {}; {remedy}", self.width),
                ));
            }
        }
        let (values, start) = flat(list).ok_or_else(|| damaged("a column that is no list", &self.path))?;
        if values.len() < start + n * self.width {
            return Err(damaged("lists that end outside their numbers", &self.path));
        }
        let values = values.slice(start, n * self.width);
        if let Some(at) = (0..values.len()).find(|i| values.null_count() > 0 && values.is_null(*i)) {
            let (row, element) = (self.next + (at / self.width) as u64, at % self.width);
            let problem = format!("row {row} of column {:?} has a null at element {element}", self.column);
            return Err(Error::format(&self.path, format!("{problem}; drop the row or fill the value")));
        }
        Ok(values)
    }
}

fn null_row(path: &Path, column: &str, row: u64) -> Error {
    Error::format(path, format!("row {row} of column {column:?} is null; drop the rows without an embedding"))
}

/// How many numbers a row has; `None` if the array is no list.
fn row_width(list: &dyn Array, row: usize) -> Option<usize> {
    let any = list.as_any();
    if let Some(list) = any.downcast_ref::<FixedSizeListArray>() {
        return usize::try_from(list.value_length()).ok();
    }
    list_width::<i32>(list, row).or_else(|| list_width::<i64>(list, row))
}

fn list_width<O: OffsetSizeTrait>(list: &dyn Array, row: usize) -> Option<usize> {
    let offsets = list.as_any().downcast_ref::<GenericListArray<O>>()?.value_offsets();
    offsets.get(row + 1)?.as_usize().checked_sub(offsets.get(row)?.as_usize())
}

/// The numbers under a list array and where those of its first row start.
fn flat(list: &dyn Array) -> Option<(ArrayRef, usize)> {
    if let Some(list) = list.as_any().downcast_ref::<FixedSizeListArray>() {
        return Some((list.values().clone(), 0));
    }
    flat_list::<i32>(list).or_else(|| flat_list::<i64>(list))
}

fn flat_list<O: OffsetSizeTrait>(list: &dyn Array) -> Option<(ArrayRef, usize)> {
    let list = list.as_any().downcast_ref::<GenericListArray<O>>()?;
    Some((list.values().clone(), list.value_offsets().first()?.as_usize()))
}

fn copy<T: ArrowPrimitiveType<Native: bytemuck::NoUninit>>(values: &ArrayRef, out: &mut [u8]) -> Option<()> {
    let bytes: &[u8] = bytemuck::cast_slice(values.as_any().downcast_ref::<PrimitiveArray<T>>()?.values());
    (bytes.len() == out.len()).then(|| out.copy_from_slice(bytes))
}
