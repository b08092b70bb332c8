//! Hits on disk.

use std::path::Path;

use serde_json::json;

use super::search::Hit;
use crate::io::{FileFormat, Ids, TableColumn, write_atomically, write_table};
use crate::{Error, Result};

/// Hits with the names of what they are.
#[derive(Clone, Copy, Debug)]
pub struct Hits<'a> {
    /// In the order in which they are written.
    pub hits: &'a [Hit],
    /// Names of the queries' rows.
    pub queries: &'a Ids,
    /// The collections' names, in the order of [`Hit::collection`], with those of their rows.
    pub collections: &'a [(&'a str, &'a Ids)],
}

impl Hits<'_> {
    fn names(&self, hit: &Hit) -> (&str, &str, &str) {
        let (name, id) = self
            .collections
            .get(hit.collection)
            .map_or(("", ""), |(name, ids)| (name, usize::try_from(hit.row).map_or("", |row| ids.get(row))));
        (self.queries.get(hit.query), name, id)
    }
}

/// Writes hits as `.jsonl`, one record `{query, rank, collection, row, id, raw, score}` a line, or as a `.parquet` file of these columns.
///
/// # Errors
/// Another ending; the file exists and `force` is not given; it cannot be written.
pub fn write_hits(path: &Path, hits: Hits<'_>, force: bool) -> Result<()> {
    match FileFormat::from_path(path) {
        Some(FileFormat::Parquet) => {
            let text = |of: fn((String, String, String)) -> String| {
                let owned = hits.hits.iter().map(|hit| {
                    let (query, collection, id) = hits.names(hit);
                    of((query.to_owned(), collection.to_owned(), id.to_owned()))
                });
                TableColumn::Text(owned.collect())
            };
            let number = |of: fn(&Hit) -> f64| TableColumn::F64(hits.hits.iter().map(of).collect());
            let whole = |of: fn(&Hit) -> u64| TableColumn::U64(hits.hits.iter().map(of).collect());
            let columns = [
                ("query", text(|names| names.0)),
                ("rank", whole(|hit| hit.rank as u64)),
                ("collection", text(|names| names.1)),
                ("row", whole(|hit| hit.row)),
                ("id", text(|names| names.2)),
                ("raw", number(|hit| hit.raw)),
                ("score", number(|hit| hit.score)),
            ];
            write_table(path, force, columns.into_iter().collect())
        }
        _ if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("jsonl")) => {
            let mut text = String::new();
            for hit in hits.hits {
                let (query, collection, id) = hits.names(hit);
                let record = json!({
                    "query": query, "rank": hit.rank, "collection": collection, "row": hit.row, "id": id,
                    "raw": hit.raw, "score": hit.score,
                });
                text += &format!("{record}\n");
            }
            write_atomically(path, force, text.as_bytes())
        }
        _ => Err(Error::format(path, "hits are written as .jsonl or .parquet; choose one of these endings")),
    }
}
