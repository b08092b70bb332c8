//! Columns of texts and numbers as a parquet file: results, not rows of embeddings.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::Compression;
use ::parquet::file::properties::WriterProperties;
use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt64Array};

use super::super::{TableColumn, write_atomically};
use super::write_error;
use crate::{Error, Result};

/// Bytes of the texts of a batch: a batch's texts have offsets of 31 bits in one column.
const BATCH_BYTES: usize = 64 << 20;

/// Writes the columns, which must be of one length.
pub(in super::super) fn write_table(path: &Path, force: bool, columns: Vec<(&str, TableColumn)>) -> Result<()> {
    let bytes = table(path, &columns, BATCH_BYTES)?;
    write_atomically(path, force, &bytes)
}

fn table(path: &Path, columns: &[(&str, TableColumn)], most: usize) -> Result<Vec<u8>> {
    let mut lengths = columns.iter().map(|(_, column)| length(column));
    let rows = lengths.next().unwrap_or(0);
    if lengths.any(|other| other != rows) {
        return Err(Error::format(path, "cannot be written as parquet: its columns are not of one length"));
    }
    let batch = |rows: Range<usize>| {
        let arrays = columns.iter().map(|(name, column)| (*name, array(column, rows.clone())));
        RecordBatch::try_from_iter(arrays)
            .map_err(|e| Error::format(path, format!("cannot be written as parquet: {e}")))
    };
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let schema = batch(0..0)?.schema();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties)).map_err(|e| write_error(e, path))?;
    let mut first = 0;
    while first < rows {
        let last = end_of_batch(columns, first..rows, most);
        writer.write(&batch(first..last)?).map_err(|e| write_error(e, path))?;
        first = last;
    }
    writer.into_inner().map_err(|e| write_error(e, path))
}

fn length(column: &TableColumn) -> usize {
    match column {
        TableColumn::Text(texts) => texts.len(),
        TableColumn::U64(numbers) => numbers.len(),
        TableColumn::F64(numbers) => numbers.len(),
    }
}

/// Where the batch ends that begins with these rows: with its texts' bytes at most so many, one row at least.
fn end_of_batch(columns: &[(&str, TableColumn)], rows: Range<usize>, most: usize) -> usize {
    let (start, end) = (rows.start, rows.end);
    let (mut total, mut last) = (0, start);
    for row in rows {
        let texts = columns.iter().map(|(_, column)| match column {
            TableColumn::Text(texts) => texts[row].len(),
            TableColumn::U64(_) | TableColumn::F64(_) => 8,
        });
        total += texts.sum::<usize>();
        if total > most && row > start {
            break;
        }
        last = row + 1;
    }
    last.min(end)
}

fn array(column: &TableColumn, rows: Range<usize>) -> ArrayRef {
    match column {
        TableColumn::Text(texts) => Arc::new(StringArray::from_iter_values(&texts[rows])),
        TableColumn::U64(numbers) => Arc::new(UInt64Array::from(numbers[rows].to_vec())),
        TableColumn::F64(numbers) => Arc::new(Float64Array::from(numbers[rows].to_vec())),
    }
}

#[cfg(test)]
mod tests {
    use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use arrow_array::cast::AsArray;

    use super::*;

    /// However many batches there are, the rows are those that were given.
    #[test]
    fn batches_of_any_size_are_one_table() {
        let path = Path::new("table.parquet");
        let texts: Vec<String> = (0..100).map(|i| format!("{i}").repeat(i % 7)).collect();
        let numbers: Vec<u64> = (0..100).collect();
        let columns = [("text", TableColumn::Text(texts.clone())), ("number", TableColumn::U64(numbers.clone()))];
        for most in [1, 40, 1 << 20] {
            let bytes = table(path, &columns, most).unwrap();
            let mut file = tempfile::tempfile().unwrap();
            std::io::Write::write_all(&mut file, &bytes).unwrap();
            let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
            let (mut read_texts, mut read_numbers) = (Vec::new(), Vec::new());
            for batch in reader.map(Result::unwrap) {
                let strings = batch.column(0).as_string::<i32>();
                read_texts.extend(strings.iter().map(|text| text.unwrap_or_default().to_owned()));
                let values = batch.column(1).as_primitive::<arrow_array::types::UInt64Type>();
                read_numbers.extend(values.values().iter().copied());
            }
            assert!(read_texts == texts && read_numbers == numbers, "batches of {most} bytes");
        }
        assert_eq!(end_of_batch(&columns, 0..100, 40), 4);
        assert_eq!(end_of_batch(&columns, 99..100, 1), 100);
        assert!(table(path, &[("text", TableColumn::Text(Vec::new()))], 40).is_ok());
        let uneven = [columns[0].clone(), ("number", TableColumn::U64(vec![1]))];
        assert!(table(path, &uneven, 40).unwrap_err().to_string().contains("one length"));
    }
}
