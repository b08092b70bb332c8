//! Names of rows, held compactly: what joins texts and conversations to their embeddings.

use std::path::Path;

use serde_json::Value;

use super::{Dataset, Records, Shard, parquet, plain, records, shard_names, source};
use crate::error::{Problem, Remedy};
use crate::{Error, Result};

/// A column of parquet files and a field of records that holds names unless told otherwise.
const DEFAULT_FIELD: &str = "id";

/// Many short texts in one piece of memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    text: String,
    ends: Vec<u64>,
}

impl Ids {
    /// Appends one.
    pub fn push(&mut self, id: &str) {
        self.text.push_str(id);
        self.ends.push(self.text.len() as u64);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The one at `index`; empty beyond the end.
    pub fn get(&self, index: usize) -> &str {
        let start = index.checked_sub(1).and_then(|i| self.ends.get(i)).copied().unwrap_or(0);
        self.ends.get(index).and_then(|end| self.text.get(start as usize..*end as usize)).unwrap_or("")
    }

    /// Reads the names of rows from a list: a JSON array of texts or integers (`.json`), the field `id` of records
    /// (`.jsonl`), a column (`.parquet`, `.arrow`), or one name per line (any other file). `field` is another name for the field
    /// or column. A byte order mark is no part of a name, nor is a line's end (LF or CRLF); blank lines at the end of a file are none.
    ///
    /// # Errors
    /// A file that cannot be read, is in another encoding than UTF-8, is malformed, or holds an empty name or something else than texts and
    /// integers.
    pub fn read(path: &Path, field: Option<&str>) -> Result<Ids> {
        let mut ids = Ids::default();
        let ending = path.extension().and_then(|end| end.to_str()).unwrap_or("").to_ascii_lowercase();
        let field = field.unwrap_or(DEFAULT_FIELD);
        match ending.as_str() {
            "parquet" | "arrow" => parquet::read_ids(path, field, &mut ids)?,
            "jsonl" => {
                let mut list = Records::open(path)?;
                while let Some(record) = list.next() {
                    let record = record?;
                    let id = records::id(&record.object, field).map_err(|problem| list.error(&record, problem))?;
                    ids.push(&id);
                }
            }
            "json" => ids.read_array(path)?,
            _ => ids.read_lines(path)?,
        }
        match (0..ids.len()).find(|i| ids.get(*i).is_empty()) {
            None => Ok(ids),
            Some(row) => Err(Error::format(path, format!("the name of row {row} is empty"))),
        }
    }

    fn read_lines(&mut self, path: &Path) -> Result<()> {
        let text = plain::read_text(path)?;
        // Old Macintosh programs end lines with CR alone.
        let end = if text.contains('\n') { '\n' } else { '\r' };
        // Files that were put together from others have marks in the middle.
        let names = text.split(end).map(|line| line.trim_start_matches('\u{feff}').trim_end_matches('\r'));
        let mut names: Vec<&str> = names.map(|name| if name.trim().is_empty() { "" } else { name }).collect();
        names.truncate(names.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1));
        let mut padded: (u64, usize) = (0, 0);
        for (row, name) in names.into_iter().enumerate() {
            if name.trim() != name {
                padded = (padded.0 + 1, if padded.0 == 0 { row } else { padded.1 });
            }
            self.push(name);
        }
        if let (count @ 1.., row) = padded {
            let name = self.get(row);
            let what = format!(
                "{count} names begin or end with blanks, which belong to them (first that of row {row}, {name:?})"
            );
            log::warn!("{}: {what}", path.display());
        }
        Ok(())
    }

    fn read_array(&mut self, path: &Path) -> Result<()> {
        let text = plain::read_bytes(path)?;
        let list: Vec<Value> = serde_json::from_slice(&text)
            .map_err(|e| Error::format(path, format!("a JSON array of names is needed: {e}")))?;
        for (i, value) in list.iter().enumerate() {
            let id = records::id_of(value).ok_or_else(|| {
                Error::format(path, format!("name {i} is {}, but a text or integer is needed", records::short(value)))
            })?;
            self.push(&id);
        }
        Ok(())
    }

    /// The names of a dataset's rows: from `list` if given, else from the column `id` of its parquet or arrow files, or of the files
    /// `metadata_N.parquet` that clip-retrieval puts beside the shards `img_emb_N.npy` and `text_emb_N.npy` or into a folder `metadata`
    /// beside theirs. `field` is another name for the column.
    ///
    /// # Errors
    /// As [`Ids::read`]; npy and safetensors files with neither; another number of names than of rows, for each shard with a file of its
    /// own.
    pub fn of_dataset(dataset: &Dataset, list: Option<&Path>, field: Option<&str>) -> Result<Ids> {
        let first = dataset.shards().first().map(|shard| shard.path()).unwrap_or(Path::new(""));
        let mut ids = Ids::default();
        match list {
            Some(path) => {
                ids = Ids::read(path, field)?;
                warn_of_order(dataset, path);
            }
            None => {
                for shard in dataset.shards() {
                    ids.read_shard(shard, field.unwrap_or(DEFAULT_FIELD))?;
                }
            }
        }
        if ids.len() as u64 == dataset.rows() {
            return Ok(ids);
        }
        let mut problem = format!("there are {} ids for {} rows of {}", ids.len(), dataset.rows(), first.display());
        if ids.len() as u64 == dataset.rows() + 1 && ["id", "ids", "name", "0", "image_path"].contains(&ids.get(0)) {
            problem += &format!(" (the first, {:?}, looks like a heading: remove that line)", ids.get(0));
        }
        Err(Error::format(list.unwrap_or(first), format!("{problem}; both must be in the same order and number")))
    }

    /// Appends the names of a shard's rows, from its own column or from its metadata.
    fn read_shard(&mut self, shard: &Shard, field: &str) -> Result<()> {
        if shard.rows() == 0 {
            return Ok(());
        }
        if !shard.format().is_raw() {
            return parquet::read_ids(shard.path(), field, self);
        }
        let places = shard_names::metadata(shard.path());
        let Some(metadata) = places.iter().find(|path| source::is_there(path)) else {
            let mut problem = format!("{} files hold no ids", shard.format());
            if let [beside, _] = &places[..] {
                let name = beside.file_name().unwrap_or_default().to_string_lossy();
                problem += &format!(", and there is no {name} beside it or in the folder metadata beside its own");
            }
            return Err(Error::format(shard.path(), Problem::new(problem).remedy(Remedy::GiveIds)));
        };
        let before = self.len() as u64;
        parquet::read_ids(metadata, field, self)?;
        let count = self.len() as u64 - before;
        match count == shard.rows() {
            true => Ok(()),
            false => {
                let problem = format!("has {count} rows, but {} has {}", shard.path().display(), shard.rows());
                Err(Error::format(metadata, format!("{problem}; both must be of the same shard")))
            }
        }
    }
}

/// Says that a list is taken to be in the order of the shards' numbers, where that of their names is another.
fn warn_of_order(dataset: &Dataset, list: &Path) {
    let shards = dataset.shards();
    if let Some(pair) =
        shards.windows(2).find(|pair| pair[0].path() > pair[1].path() && shard_names::kind(pair[0].path()).is_some())
    {
        let names = format!("{} before {}", pair[0].path().display(), pair[1].path().display());
        log::warn!("{}: is taken to be in the order of the shards' numbers ({names})", list.display());
    }
}

/// Finds the row of a name, by binary search: 4 bytes per row beside the names.
#[derive(Clone, Debug)]
pub struct IdIndex {
    ids: Ids,
    sorted: Vec<u32>,
}

impl IdIndex {
    /// Sorts the names; `path` is where they came from, for errors.
    ///
    /// # Errors
    /// A name that two rows have, or 2³¹ rows or more.
    pub fn new(ids: Ids, path: &Path) -> Result<IdIndex> {
        let n = u32::try_from(ids.len()).ok().filter(|n| *n < 1 << 31);
        let n = n.ok_or_else(|| Error::format(path, "more than 2^31 rows; split the run's data"))?;
        let mut sorted: Vec<u32> = (0..n).collect();
        // Stable, so that equal names keep the rows' order for the message.
        sorted.sort_by(|a, b| ids.get(*a as usize).cmp(ids.get(*b as usize)));
        let twice = sorted.windows(2).find(|pair| ids.get(pair[0] as usize) == ids.get(pair[1] as usize));
        match twice {
            None => Ok(IdIndex { ids, sorted }),
            Some(pair) => {
                let problem =
                    format!("rows {} and {} are both called {:?}", pair[0], pair[1], ids.get(pair[0] as usize));
                Err(Error::format(path, format!("{problem}; ids must be unique")))
            }
        }
    }

    /// The row called `id`.
    pub fn row(&self, id: &str) -> Option<u32> {
        let at = self.sorted.binary_search_by(|row| self.ids.get(*row as usize).cmp(id)).ok()?;
        self.sorted.get(at).copied()
    }

    /// The names in the rows' order.
    pub fn ids(&self) -> &Ids {
        &self.ids
    }
}
