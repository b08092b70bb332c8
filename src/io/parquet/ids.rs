//! Decoding a column of names.

use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, Schema};

use super::{Batches, damaged};
use crate::error::{Problem, Remedy};
use crate::io::Ids;
use crate::io::source::Source;
use crate::{Error, Result};

/// Rows per decoded batch.
const BATCH: usize = 8192;

/// Appends the names in the column called `column`: texts, integers, bytes that are UTF-8, or categories of them.
pub(in super::super) fn read_ids(path: &Path, column: &str, ids: &mut Ids) -> Result<()> {
    let (file, _) = Source::open(path, "name a file")?;
    let mut batches = Batches::open(file, path, BATCH, 0, |schema| choose(schema, column, path))?;
    let mut row = 0;
    while let Some(batch) = batches.next(path)? {
        let list = batch.columns().first().ok_or_else(|| damaged("a batch without columns", path))?;
        for i in 0..list.len() {
            let name = name(list, i).map_err(|why| {
                let place = format!("row {} of column {column:?} {why}", row + i);
                Error::format(path, format!("{place}; every row needs an id that is a text or an integer"))
            })?;
            ids.push(&name);
        }
        row += list.len();
    }
    Ok(())
}

fn choose(schema: &Schema, column: &str, path: &Path) -> Result<usize> {
    let fields = schema.fields();
    let refuse = |problem: String| {
        let problem = Problem::new(problem).remedy(Remedy::ChooseIdColumn);
        Err(Error::format(path, problem))
    };
    let Some(index) = fields.iter().position(|field| field.name() == column) else {
        let names: Vec<_> = fields.iter().take(40).map(|f| format!("{:?} ({})", f.name(), f.data_type())).collect();
        return refuse(format!("no column is called {column:?}; it has: {}", names.join(", ")));
    };
    let kind = fields[index].data_type();
    match is_name(kind) {
        true => Ok(index),
        false if matches!(kind, DataType::Float16 | DataType::Float32 | DataType::Float64) => refuse(format!(
            "column {column:?} holds {kind}; ids are texts or integers (a column of integers with gaps becomes floats in pandas: \
             df[{column:?}].astype(\"Int64\"))"
        )),
        false => refuse(format!("column {column:?} holds {kind}; ids are texts or integers")),
    }
}

/// Whether a column's values can be names.
fn is_name(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => true,
        DataType::Dictionary(_, values) => is_name(values),
        kind => kind.is_integer(),
    }
}

/// The name at `i`, or why there is none.
fn name(list: &ArrayRef, i: usize) -> Result<String, String> {
    if list.is_null(i) {
        return Err("is null".to_string());
    }
    if let Some(dictionary) = list.as_any_dictionary_opt() {
        let key = dictionary.keys().slice(i, 1);
        let key = integer(&key, 0).and_then(|key| key.parse().ok());
        let key = key.filter(|key| *key < dictionary.values().len());
        return name(dictionary.values(), key.ok_or("is outside its categories")?);
    }
    let bytes = match list.data_type() {
        DataType::Utf8 => list.as_string_opt::<i32>().map(|list| list.value(i).as_bytes()),
        DataType::LargeUtf8 => list.as_string_opt::<i64>().map(|list| list.value(i).as_bytes()),
        DataType::Utf8View => list.as_string_view_opt().map(|list| list.value(i).as_bytes()),
        DataType::Binary => list.as_binary_opt::<i32>().map(|list| list.value(i)),
        DataType::LargeBinary => list.as_binary_opt::<i64>().map(|list| list.value(i)),
        DataType::BinaryView => list.as_binary_view_opt().map(|list| list.value(i)),
        DataType::FixedSizeBinary(_) => list.as_fixed_size_binary_opt().map(|list| list.value(i)),
        _ => return integer(list, i).ok_or_else(|| format!("is of type {}", list.data_type())),
    };
    let bytes = bytes.ok_or("is of another type than its column")?;
    std::str::from_utf8(bytes).map(str::to_string).map_err(|_| "has bytes that are no text in UTF-8".to_string())
}

fn integer(list: &dyn Array, i: usize) -> Option<String> {
    Some(match list.data_type() {
        DataType::Int8 => list.as_primitive_opt::<Int8Type>()?.value(i).to_string(),
        DataType::Int16 => list.as_primitive_opt::<Int16Type>()?.value(i).to_string(),
        DataType::Int32 => list.as_primitive_opt::<Int32Type>()?.value(i).to_string(),
        DataType::Int64 => list.as_primitive_opt::<Int64Type>()?.value(i).to_string(),
        DataType::UInt8 => list.as_primitive_opt::<UInt8Type>()?.value(i).to_string(),
        DataType::UInt16 => list.as_primitive_opt::<UInt16Type>()?.value(i).to_string(),
        DataType::UInt32 => list.as_primitive_opt::<UInt32Type>()?.value(i).to_string(),
        DataType::UInt64 => list.as_primitive_opt::<UInt64Type>()?.value(i).to_string(),
        _ => return None,
    })
}
