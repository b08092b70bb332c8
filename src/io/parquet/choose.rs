//! Which column holds the rows.

use std::path::Path;

use arrow_schema::{DataType, Field, Schema};

use super::{Column, is_arrow};
use crate::error::{Problem, Remedy};
use crate::{ElementType, Error, Result};

/// Columns that an error lists.
const LISTED: usize = 40;
/// So many columns of numbers look like one for each dimension.
const DIMENSIONS: usize = 8;

/// What a list's rows are; `None` for any other type.
fn item(list: &DataType) -> Option<&DataType> {
    match list {
        DataType::FixedSizeList(item, _) | DataType::List(item) | DataType::LargeList(item) => Some(item.data_type()),
        _ => None,
    }
}

fn number(kind: &DataType) -> Option<ElementType> {
    match kind {
        DataType::Float16 => Some(ElementType::F16),
        DataType::Float32 => Some(ElementType::F32),
        DataType::Float64 => Some(ElementType::F64),
        _ => None,
    }
}

/// The type of the numbers in a list column, or in one of lists that hold one list each, `(1, d)`; `None` for any other type.
pub(super) fn element_type(list: &DataType) -> Option<ElementType> {
    let item = item(list)?;
    number(item).or_else(|| number(self::item(item)?))
}

/// Whether a column of rows has lists in its lists.
pub(super) fn is_nested(list: &DataType) -> bool {
    item(list).is_some_and(|kind| item(kind).is_some())
}

/// The column called `name`, or the only one of float lists.
pub(super) fn choose(schema: &Schema, name: Option<&str>, path: &Path) -> Result<(Column, ElementType)> {
    let fields = schema.fields();
    let lists =
        || fields.iter().enumerate().filter_map(|(i, field)| Some((i, field, element_type(field.data_type())?)));
    let column = |index, field: &Field| Column { index, name: field.name().clone(), arrow: is_arrow(path) };
    let listed = || {
        let names: Vec<_> = fields.iter().take(LISTED).map(|f| format!("{:?} ({})", f.name(), f.data_type())).collect();
        let more = if fields.len() > LISTED { format!(" and {} more", fields.len() - LISTED) } else { String::new() };
        names.join(", ") + &more
    };
    let (problem, hint) = match name {
        Some(name) => {
            if let Some((index, field, element)) = lists().find(|(_, field, _)| field.name() == name) {
                return Ok((column(index, field), element));
            }
            match fields.iter().find(|field| field.name() == name) {
                Some(field) => (format!("column {name:?} does not hold lists of f16, f32 or f64"), hint(&[field])),
                None => (format!("no column is called {name:?}"), None),
            }
        }
        None => {
            let mut found = lists();
            match (found.next(), found.next()) {
                (Some((index, field, element)), None) => return Ok((column(index, field), element)),
                (None, _) => {
                    let all: Vec<&Field> = fields.iter().map(AsRef::as_ref).collect();
                    ("no column holds lists of f16, f32 or f64".to_string(), hint(&all))
                }
                _ => ("several columns hold lists of floats".to_string(), None),
            }
        }
    };
    let problem = format!("{problem}; it has: {}", listed());
    Err(match hint {
        Some(hint) => Error::format(path, format!("{problem}; {hint}")),
        None => Error::format(path, Problem::new(problem).remedy(Remedy::ChooseColumn)),
    })
}

/// What to do where rows are written as something else.
fn hint(fields: &[&Field]) -> Option<String> {
    let named = |wanted: fn(&DataType) -> bool| fields.iter().find(|f| wanted(f.data_type())).map(|f| f.name());
    let list_of_numbers = |kind: &DataType| item(kind).is_some_and(|item| item.is_numeric());
    if fields.iter().filter(|f| f.data_type().is_numeric()).count() >= DIMENSIONS {
        return Some(
            "one column per dimension is read as an array: np.save(\"rows.npy\", df.to_numpy(np.float32))".to_string(),
        );
    }
    if let Some(field) = fields.iter().find(|f| list_of_numbers(f.data_type())) {
        return Some(format!("convert the numbers of {:?} to float32", field.name()));
    }
    if let Some(name) = named(|kind| matches!(kind, DataType::Struct(_))) {
        return Some(format!("make the list within {name:?} a column of its own"));
    }
    let bytes = |kind: &DataType| matches!(kind, DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
    if let Some(name) = named(bytes) {
        return Some(format!(
            "if {name:?} has rows as bytes, make lists of them: df[{name:?}].map(lambda b: np.frombuffer(b, np.float32))"
        ));
    }
    let text = |kind: &DataType| matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let mut texts = fields.iter().filter(|f| text(f.data_type()) && f.name() != "id");
    match (texts.next(), texts.next()) {
        (Some(field), None) => {
            let name = field.name();
            Some(format!("if {name:?} has rows as JSON, make lists of them: df[{name:?}].map(json.loads)"))
        }
        _ => None,
    }
}
