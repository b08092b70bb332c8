//! Files of rows in a cache's folder.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::encode::identity::hexadecimal;
use crate::io::rows_file::{PlainRows, write_at, write_rows};
use crate::io::{Dataset, EmbeddingRows, EncoderId, FileFormat, OpenOptions, write_atomically};
use crate::{ElementType, Error, Result};

/// SHA-256 of a picture's file or of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(pub [u8; 32]);

impl Key {
    fn of_line(line: &str) -> Option<Key> {
        let mut key = [0; 32];
        let digits = line.as_bytes();
        if digits.len() != 64 || !digits.is_ascii() {
            return None;
        }
        for (i, byte) in key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&line[2 * i..2 * i + 2], 16).ok()?;
        }
        Some(Key(key))
    }
}

/// The files of a set of rows. The keys are written last: with them the set is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Files {
    pub rows: PathBuf,
    pub ids: PathBuf,
    keys: PathBuf,
}

/// What ends the name of a file of keys.
const KEYS: &str = ".keys.txt";

impl Files {
    pub fn of(folder: &Path, name: &str) -> Files {
        let file = |end: &str| folder.join(format!("{name}{end}"));
        Files { rows: file(".safetensors"), ids: file(".ids.json"), keys: file(KEYS) }
    }

    /// A further file of the set, for the time of the work.
    pub fn beside(&self, end: &str) -> PathBuf {
        self.rows.with_extension(end)
    }

    /// How many rows there are, if all of the set is there.
    pub fn whole(&self) -> Option<u64> {
        if !(self.keys.is_file() && self.ids.is_file()) {
            return None;
        }
        let rows = open(&self.rows).ok()?.rows();
        (self.read_keys().ok()?.len() as u64 == rows).then_some(rows)
    }

    pub fn write_keys(&self, keys: &[Key]) -> Result<()> {
        let lines: String = keys.iter().map(|key| hexadecimal(&key.0) + "\n").collect();
        write_atomically(&self.keys, true, lines.as_bytes())
    }

    fn read_keys(&self) -> Result<Vec<Key>> {
        let text = std::fs::read_to_string(&self.keys).map_err(Error::io("read", &self.keys))?;
        let keys: Option<Vec<Key>> = text.lines().map(Key::of_line).collect();
        keys.ok_or_else(|| Error::format(&self.keys, "is damaged; delete the folder, which is a cache"))
    }

    /// Removes rows that have no keys yet.
    pub fn remove_rows(&self) -> Result<()> {
        // The rows first: a run takes them for its own where ids are missing.
        remove(&self.rows)?;
        remove(&self.ids)
    }

    pub fn remove(&self) -> Result<()> {
        // The keys first: a set without them is none.
        remove(&self.keys)?;
        self.remove_rows()
    }
}

/// Removes a file that may be gone already.
fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}

fn open(rows: &Path) -> Result<Dataset> {
    Dataset::open(&[rows.to_path_buf()], &OpenOptions::default())
}

/// Where the rows of some keys are.
pub(super) struct Sets {
    folder: PathBuf,
    wanted: HashSet<Key>,
    files: Vec<EmbeddingRows>,
    /// Of each key a file and a row in it.
    places: HashMap<Key, (usize, u32)>,
}

impl Sets {
    /// Looks through all sets of a folder; those that cannot be read are passed over, and their rows computed again.
    pub fn find(folder: &Path, wanted: &[Key]) -> Result<Sets> {
        let wanted = wanted.iter().copied().collect();
        let mut sets = Sets { folder: folder.to_path_buf(), wanted, files: Vec::new(), places: HashMap::new() };
        let entries = std::fs::read_dir(folder).map_err(Error::io("list", folder))?;
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        for name in names.iter().filter_map(|name| name.strip_suffix(KEYS)) {
            let files = Files::of(folder, name);
            if let Err(e) = sets.add(&files) {
                log::warn!("what was kept there is computed again: {e}");
            }
        }
        Ok(sets)
    }

    /// Adds a set's rows of wanted keys.
    pub fn add(&mut self, files: &Files) -> Result<()> {
        let keys = files.read_keys()?;
        if !keys.iter().any(|key| self.wanted.contains(key) && !self.has(key)) {
            return Ok(());
        }
        let rows = EmbeddingRows::open(&open(&files.rows)?)?;
        if rows.rows() != keys.len() as u64 {
            return Err(Error::format(&files.rows, format!("has {} rows, but {} keys", rows.rows(), keys.len())));
        }
        let number = self.files.len();
        self.files.push(rows);
        for (row, key) in keys.iter().enumerate().filter(|(_, key)| self.wanted.contains(key)) {
            // Sets of 2^32 rows cannot be: an index of names has 2^31 at the most.
            self.places.entry(*key).or_insert((number, row as u32));
        }
        Ok(())
    }

    pub fn has(&self, key: &Key) -> bool {
        self.places.contains_key(key)
    }

    /// Writes a set: for each name the row of its key, which is there.
    pub fn write(&mut self, files: &Files, encoder: &EncoderId, rows: &[(String, Key)]) -> Result<()> {
        let width = self.files.first().map_or(0, EmbeddingRows::width);
        let plain = tempfile::tempfile_in(&self.folder).map_err(Error::io("write into", &self.folder))?;
        let (mut numbers, mut block, mut at) = (vec![0.0f32; width], Vec::new(), 0);
        for (number, (_, key)) in rows.iter().enumerate() {
            // Invariant: the caller asked `has`.
            let Some((file, row)) = self.places.get(key).copied() else { continue };
            self.files[file].read(&[row], &mut numbers)?;
            block.extend_from_slice(bytemuck::cast_slice(&numbers));
            if block.len() >= 8 << 20 || number + 1 == rows.len() {
                write_at(&plain, &block, at).map_err(Error::io("write into", &self.folder))?;
                at += block.len() as u64;
                block.clear();
            }
        }
        let ids: Vec<&str> = rows.iter().map(|(name, _)| &name[..]).collect();
        let id = |row: u64| Cow::Borrowed(ids[row as usize]);
        let of = PlainRows {
            file: &plain,
            path: &self.folder,
            rows: rows.len() as u64,
            width,
            element: ElementType::F32,
            id: &id,
            encoder: Some(encoder),
        };
        write_rows(&files.rows, FileFormat::Safetensors, true, &of)?;
        write_atomically(&files.ids, true, (serde_json::Value::from(ids).to_string() + "\n").as_bytes())?;
        files.write_keys(&rows.iter().map(|(_, key)| *key).collect::<Vec<_>>())
    }
}
