//! Which form the records of a file have.

use std::path::Path;

use super::{captions, turns};
use crate::io::Records;
use crate::{Error, Result};

/// Whether the first record that has a form is a conversation; if not, it is a caption.
///
/// # Errors
/// A file that cannot be read, or in which no record has either form: what is wrong with the first.
pub(crate) fn first_is_conversation(path: &Path) -> Result<bool> {
    let mut records = Records::open(path)?;
    let mut first = None;
    while let Some(record) = records.next_record()? {
        let bad = match record {
            Ok(record) if turns::is_conversation(&record.object) => return Ok(true),
            Ok(record) if captions::has_caption(&record.object) => return Ok(false),
            Ok(record) => {
                let names: Vec<String> = record.object.keys().take(10).map(|key| format!("{key:?}")).collect();
                let wanted = "has neither a text (\"text\", \"caption\") nor turns (\"conversations\", \"messages\")";
                records.bad(&record, format!("{wanted}; it has {}", names.join(", ")))
            }
            Err(bad) => bad,
        };
        first.get_or_insert(bad);
    }
    Err(first.map_or_else(|| Error::format(path, "holds no record"), |bad| bad.into_error(path)))
}
