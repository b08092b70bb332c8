//! Rows that are in memory, as an `.npy` file with their names beside it.

use std::path::Path;

use super::{atomic, npy, parquet};
use crate::{ElementType, Error, Result};

/// Writes f32 `rows`, `[n, width]`, as an `.npy` file.
///
/// # Errors
/// No whole rows, a NaN or an infinity; the file exists and `force` is off; the disk refuses.
pub fn write_npy(path: &Path, rows: &[f32], width: usize, force: bool) -> Result<()> {
    if width == 0 || !rows.len().is_multiple_of(width) {
        let want = format!("whole rows of width {width}, above 0");
        return Err(Error::shape("write npy", "rows", want, format!("{} values", rows.len())));
    }
    if let Some(at) = rows.iter().position(|x| !x.is_finite()) {
        let (row, column) = ((at / width) as u64, at % width);
        return Err(Error::NonFinite { path: path.to_path_buf(), row, column, value: f64::from(rows[at]) });
    }
    let mut bytes = npy::header((rows.len() / width) as u64, width, ElementType::F32)?;
    bytes.extend_from_slice(bytemuck::cast_slice(rows));
    atomic::write_atomically(path, force, &bytes)
}

/// Writes the names of rows, one per line, as [`super::Ids::read`] takes them.
///
/// # Errors
/// A name that is empty or has a line break; the file exists and `force` is off; the disk refuses.
pub fn write_ids(path: &Path, ids: &[String], force: bool) -> Result<()> {
    if let Some(row) = ids.iter().position(|id| id.is_empty() || id.contains(['\n', '\r'])) {
        return Err(Error::argument("ids", format!("the name of row {row} is empty or has a line break")));
    }
    atomic::write_atomically(path, force, (ids.join("\n") + "\n").as_bytes())
}

/// A column of a table of results.
#[derive(Clone, Debug, PartialEq)]
pub enum TableColumn {
    /// Texts.
    Text(Vec<String>),
    /// Whole numbers.
    U64(Vec<u64>),
    /// Numbers.
    F64(Vec<f64>),
}

/// Writes named columns of one length as a `.parquet` file.
///
/// # Errors
/// Columns of several lengths; the file exists and `force` is off; the disk refuses; a build without the feature `parquet`.
pub fn write_table(path: &Path, force: bool, columns: Vec<(&str, TableColumn)>) -> Result<()> {
    parquet::write_table(path, force, columns)
}
