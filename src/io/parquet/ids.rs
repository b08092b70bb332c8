//! Decoding a column of names.

use std::fs::File;
use std::path::Path;

use ::parquet::arrow::ProjectionMask;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

use super::{build, damaged, next_batch, open};
use crate::error::{Problem, Remedy};
use crate::io::Ids;
use crate::{Error, Result};

/// Rows per decoded batch.
const BATCH: usize = 8192;

/// Appends the names in the column called `column`: texts or integers.
pub(in super::super) fn read_ids(path: &Path, column: &str, ids: &mut Ids) -> Result<()> {
    let builder = open(File::open(path).map_err(Error::io("open", path))?, path)?;
    let fields = builder.schema().fields();
    let Some(index) = fields.iter().position(|field| field.name() == column) else {
        let names: Vec<_> = fields.iter().take(40).map(|f| format!("{:?} ({})", f.name(), f.data_type())).collect();
        let problem = Problem::new(format!("no column is called {column:?}; it has: {}", names.join(", ")));
        return Err(Error::format(path, problem.remedy(Remedy::ChooseIdColumn)));
    };
    let mask = ProjectionMask::roots(builder.parquet_schema(), [index]);
    let mut batches = build(builder.with_projection(mask).with_batch_size(BATCH), path)?;
    let mut row = 0;
    while let Some(batch) = next_batch(&mut batches, path)? {
        let list = batch.columns().first().ok_or_else(|| damaged("a batch without columns", path))?;
        for i in 0..list.len() {
            if list.is_null(i) {
                let place = format!("row {} of column {column:?} is null", row + i);
                return Err(Error::format(path, format!("{place}; every row needs an id")));
            }
            push(list, i, ids).ok_or_else(|| {
                let problem = format!("column {column:?} holds {}; ids are texts or integers", list.data_type());
                Error::format(path, Problem::new(problem).remedy(Remedy::ChooseIdColumn))
            })?;
        }
        row += list.len();
    }
    Ok(())
}

fn push(list: &ArrayRef, i: usize, ids: &mut Ids) -> Option<()> {
    match list.data_type() {
        DataType::Utf8 => ids.push(list.as_string_opt::<i32>()?.value(i)),
        DataType::LargeUtf8 => ids.push(list.as_string_opt::<i64>()?.value(i)),
        DataType::Utf8View => ids.push(list.as_string_view_opt()?.value(i)),
        DataType::Int32 => ids.push(&list.as_primitive_opt::<Int32Type>()?.value(i).to_string()),
        DataType::Int64 => ids.push(&list.as_primitive_opt::<Int64Type>()?.value(i).to_string()),
        DataType::UInt32 => ids.push(&list.as_primitive_opt::<UInt32Type>()?.value(i).to_string()),
        DataType::UInt64 => ids.push(&list.as_primitive_opt::<UInt64Type>()?.value(i).to_string()),
        _ => return None,
    }
    Some(())
}
