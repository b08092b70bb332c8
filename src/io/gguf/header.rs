//! The header of a GGUF file: metadata, and where the tensors are.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use super::kind::Kind;
use super::value::{Value, ValueKind};
use crate::io::positional;
use crate::{Error, Result};

/// The vocabularies of today's models, 262,144 tokens with merges, take some 15 MB.
const MAX_HEADER: u64 = 64 << 20;
/// Keys, and tensors, of which the largest models have some thousands.
const MAX_ENTRIES: u64 = 1 << 16;
/// Keys and names are short; the format allows no longer ones.
const MAX_NAME: u64 = 65_535;
const MAX_DIMENSIONS: u32 = 4;
/// Arrays of arrays are read over, so deep and no deeper.
const MAX_NESTING: u32 = 4;
/// The least bytes of an entry: a key's length, a type, a value of one byte.
const LEAST_ENTRY: u64 = 13;
/// The least bytes of a tensor's entry: name's length, dimensions, type, offset.
const LEAST_TENSOR: u64 = 24;
const DEFAULT_ALIGNMENT: u64 = 32;

/// An open GGUF file: its metadata, and where its tensors are. No tensor is held.
#[derive(Debug)]
pub(in crate::io) struct GgufFile {
    path: PathBuf,
    file: File,
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, Stored>,
}

/// Where and how a tensor is stored.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::io) struct Stored {
    pub kind: Kind,
    /// Rows first, as everywhere here; files give the width first.
    pub shape: Vec<usize>,
    /// Bytes from the start of the file.
    pub offset: u64,
    pub bytes: u64,
}

impl GgufFile {
    /// Reads and checks the header.
    ///
    /// # Errors
    /// A file that cannot be read or is no GGUF file of version 2 or 3 in little-endian order; a part of a file split in several; a count,
    /// length or offset that the file has no room for; a tensor of a type that is not read; the message says at which byte.
    pub fn open(path: &Path) -> Result<GgufFile> {
        crate::io::check_local(path)?;
        let there = std::fs::metadata(path).map_err(Error::io("open", path))?;
        if !there.is_file() {
            return Err(Error::format(path, "not a regular file; name a GGUF file"));
        }
        let file = File::open(path).map_err(Error::io("open", path))?;
        let again = file.try_clone().map_err(Error::io("open", path))?;
        let (metadata, tensors) = Cursor { path, reader: BufReader::new(again), at: 0, len: there.len() }.header()?;
        Ok(GgufFile { path: path.to_path_buf(), file, metadata, tensors })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keys and values.
    pub fn metadata(&self) -> &BTreeMap<String, Value> {
        &self.metadata
    }

    /// The tensors under the file's own names.
    pub fn tensors(&self) -> &BTreeMap<String, Stored> {
        &self.tensors
    }

    /// Fills `raw` from the file's byte `offset` on.
    pub fn read_raw(&self, raw: &mut [u8], offset: u64, name: &str) -> Result<()> {
        positional::read(&self.file, raw, offset).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                let problem = format!("truncated while in use: it ended inside tensor {name:?}");
                Error::format(&self.path, format!("{problem}; run the command again"))
            }
            _ => Error::io("read", &self.path)(e),
        })
    }

    fn wrong(&self, key: &str, value: &Value, wanted: &str) -> Error {
        Error::format(&self.path, format!("key {key:?} is {}, but {wanted} is needed", value.describe()))
    }

    /// A text, if the key is there.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(key, other, "a text")),
        }
    }

    /// An integer from 0 to 2³² - 1, if the key is there. An array of equal ones, as some files have one for each layer, counts as it.
    pub fn integer(&self, key: &str) -> Result<Option<u64>> {
        let Some(value) = self.metadata.get(key) else { return Ok(None) };
        let number = match value {
            Value::Integer(n) => u64::try_from(*n).ok(),
            Value::Numbers(..) => value.numbers().and_then(|list| {
                let first = *list.first()?;
                let equal = list.iter().all(|x| *x == first) && first.fract() == 0.0 && first >= 0.0;
                equal.then_some(first as u64)
            }),
            _ => None,
        };
        let number = number.filter(|n| u32::try_from(*n).is_ok());
        number
            .map(Some)
            .ok_or_else(|| self.wrong(key, value, "an integer from 0 to 2^32 - 1, the same for all layers,"))
    }

    /// A finite number, if the key is there.
    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Float(x)) if x.is_finite() => Ok(Some(*x)),
            Some(Value::Integer(n)) => Ok(Some(*n as f64)),
            Some(other) => Err(self.wrong(key, other, "a finite number")),
        }
    }

    /// A truth value, if the key is there.
    #[cfg(feature = "train")]
    pub fn boolean(&self, key: &str) -> Result<Option<bool>> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Bool(b)) => Ok(Some(*b)),
            Some(other) => Err(self.wrong(key, other, "true or false")),
        }
    }

    /// A list of texts, if the key is there.
    #[cfg(feature = "train")]
    pub fn texts(&self, key: &str) -> Result<Option<&[String]>> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Texts(list)) => Ok(Some(list)),
            // An empty array may have any type.
            Some(Value::Numbers(_, raw)) if raw.is_empty() => Ok(Some(&[])),
            Some(other) => Err(self.wrong(key, other, "an array of texts")),
        }
    }

    /// A list of numbers, if the key is there.
    pub fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>> {
        let Some(value) = self.metadata.get(key) else { return Ok(None) };
        value.numbers().map(Some).ok_or_else(|| self.wrong(key, value, "an array of numbers"))
    }
}

type Header = (BTreeMap<String, Value>, BTreeMap<String, Stored>);

/// Reads forward, and knows how much is left.
struct Cursor<'a> {
    path: &'a Path,
    reader: BufReader<File>,
    at: u64,
    len: u64,
}

impl Cursor<'_> {
    fn error(&self, problem: &str) -> Error {
        Error::format(self.path, format!("{problem}, at byte {}; copy or convert the file again", self.at))
    }

    fn left(&self) -> u64 {
        self.len.min(MAX_HEADER).saturating_sub(self.at)
    }

    /// So many bytes, once it is known that there are so many.
    fn bytes(&mut self, count: u64, what: &str) -> Result<Vec<u8>> {
        if count > self.left() {
            let problem = match self.len.saturating_sub(self.at) >= count {
                true => format!("the header is longer than {} MB: {what} needs {count} bytes", MAX_HEADER >> 20),
                false => {
                    format!("truncated: {what} needs {count} bytes, and {} are left", self.len.saturating_sub(self.at))
                }
            };
            return Err(self.error(&problem));
        }
        let mut out = vec![0; count as usize];
        self.reader.read_exact(&mut out).map_err(Error::io("read", self.path))?;
        self.at += count;
        Ok(out)
    }

    fn word<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let raw = self.bytes(N as u64, what)?;
        raw.try_into().map_err(|_| self.error("a word is too short"))
    }

    fn u32(&mut self, what: &str) -> Result<u32> {
        Ok(u32::from_le_bytes(self.word(what)?))
    }

    fn u64(&mut self, what: &str) -> Result<u64> {
        Ok(u64::from_le_bytes(self.word(what)?))
    }

    fn text(&mut self, what: &str, longest: u64) -> Result<String> {
        let length = self.u64(what)?;
        if length > longest {
            return Err(self.error(&format!("{what} claims {length} bytes (limit {longest})")));
        }
        let raw = self.bytes(length, what)?;
        String::from_utf8(raw).map_err(|_| self.error(&format!("{what} is not UTF-8")))
    }

    fn header(mut self) -> Result<Header> {
        self.version()?;
        let tensors = self.entries("the count of tensors", LEAST_TENSOR)?;
        let entries = self.entries("the count of keys", LEAST_ENTRY)?;
        let mut metadata = BTreeMap::new();
        for _ in 0..entries {
            let key = self.text("a key", MAX_NAME)?;
            let value = self.value(&key)?;
            if metadata.insert(key.clone(), value).is_some() {
                return Err(self.error(&format!("key {key:?} is there twice")));
            }
        }
        if let Some(Value::Integer(parts)) = metadata.get("split.count").filter(|parts| **parts != Value::Integer(1)) {
            let remedy = "merge them into one with llama-gguf-split";
            return Err(Error::format(self.path, format!("is one of {parts} files of a model; {remedy}")));
        }
        let mut found = Vec::new();
        for _ in 0..tensors {
            found.push(self.tensor()?);
        }
        let tensors = self.place(found, &metadata)?;
        Ok((metadata, tensors))
    }

    fn version(&mut self) -> Result<()> {
        let magic: [u8; 4] = self.word("the first word")?;
        if &magic != b"GGUF" {
            let shown = String::from_utf8_lossy(&magic).into_owned();
            return Err(Error::format(
                self.path,
                format!("not a GGUF file: it begins with {shown:?}; name a model's file or folder"),
            ));
        }
        match self.u32("the version")? {
            2 | 3 => Ok(()),
            n if n.swap_bytes() <= 16 && n > 16 => {
                let problem = "is in big-endian byte order, which is not read";
                Err(Error::format(self.path, format!("{problem}; convert it with gguf-convert-endian FILE little")))
            }
            n => Err(Error::format(self.path, format!("has version {n}; 2 and 3 are read; convert the model again"))),
        }
    }

    fn entries(&mut self, what: &str, least: u64) -> Result<u64> {
        match self.count(what, least)? {
            count if count > MAX_ENTRIES => Err(self.error(&format!("{what} is {count} (limit {MAX_ENTRIES})"))),
            count => Ok(count),
        }
    }

    fn count(&mut self, what: &str, least: u64) -> Result<u64> {
        let count = self.u64(what)?;
        match count <= self.left() / least {
            true => Ok(count),
            false => Err(self.error(&format!("{what} is {count}, for which the file has no room"))),
        }
    }

    fn value_kind(&mut self, key: &str) -> Result<ValueKind> {
        let number = self.u32("the type of a value")?;
        ValueKind::parse(number)
            .ok_or_else(|| self.error(&format!("key {key:?} has a value of type {number}, which is unknown")))
    }

    fn value(&mut self, key: &str) -> Result<Value> {
        let what = format!("the value of {key:?}");
        match self.value_kind(key)? {
            ValueKind::Text => Ok(Value::Text(self.text(&what, u64::MAX)?)),
            ValueKind::Array => self.array(key, 0),
            kind => {
                let raw = self.bytes(kind.bytes().unwrap_or(0) as u64, &what)?;
                Value::scalar(kind, &raw).ok_or_else(|| self.error(&format!("{what} is malformed")))
            }
        }
    }

    fn array(&mut self, key: &str, depth: u32) -> Result<Value> {
        let what = format!("the array of {key:?}");
        let kind = self.value_kind(key)?;
        match kind {
            ValueKind::Text => {
                let count = self.count(&what, 8)?;
                let mut list = Vec::new();
                for _ in 0..count {
                    list.push(self.text(&what, u64::MAX)?);
                }
                Ok(Value::Texts(list))
            }
            ValueKind::Array if depth >= MAX_NESTING => Err(self.error(&format!("{what} is nested too deeply"))),
            ValueKind::Array => {
                let count = self.count(&what, 12)?;
                for _ in 0..count {
                    self.array(key, depth + 1)?;
                }
                Ok(Value::Nested(count as usize))
            }
            kind => {
                let size = kind.bytes().unwrap_or(1) as u64;
                let count = self.count(&what, size)?;
                Ok(Value::Numbers(kind, self.bytes(count * size, &what)?))
            }
        }
    }

    /// A tensor's entry; its offset is still from the start of the data.
    fn tensor(&mut self) -> Result<(String, Stored)> {
        let name = self.text("a tensor's name", MAX_NAME)?;
        let what = format!("the entry of tensor {name:?}");
        let dimensions = self.u32(&what)?;
        if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
            return Err(
                self.error(&format!("tensor {name:?} has {dimensions} dimensions; 1 to {MAX_DIMENSIONS} are possible"))
            );
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            shape.push(self.u64(&what)?);
        }
        let kind = Kind::parse(self.u32(&what)?).map_err(|other| {
            let remedy = "F32, F16, BF16, F64, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and Q2_K to Q6_K are read; convert the model to one of these";
            Error::format(self.path, format!("tensor {name:?} holds {other}; {remedy}"))
        })?;
        let offset = self.u64(&what)?;
        let width = shape.first().copied().unwrap_or(0);
        let count = shape.iter().try_fold(1u64, |n, side| n.checked_mul(*side).filter(|n| *n < 1 << 48));
        let Some(count) = count.filter(|_| width.is_multiple_of(kind.block() as u64)) else {
            let problem = format!("tensor {name:?} has the sides {shape:?}, which {} cannot hold", kind.name());
            return Err(self.error(&problem));
        };
        let bytes = count / kind.block() as u64 * kind.block_bytes() as u64;
        let shape = shape.into_iter().rev().map(|side| side as usize).collect();
        Ok((name, Stored { kind, shape, offset, bytes }))
    }

    /// Checks that the tensors lie within the file, aligned, and not one upon the other.
    fn place(
        &self,
        found: Vec<(String, Stored)>,
        metadata: &BTreeMap<String, Value>,
    ) -> Result<BTreeMap<String, Stored>> {
        let alignment = match metadata.get("general.alignment") {
            None => DEFAULT_ALIGNMENT,
            Some(Value::Integer(n)) if (1..=1 << 20).contains(n) && n.count_ones() == 1 => *n as u64,
            Some(other) => {
                let problem =
                    format!("key \"general.alignment\" is {}, but a power of two is needed", other.describe());
                return Err(Error::format(self.path, problem));
            }
        };
        let start = self.at.next_multiple_of(alignment);
        let mut spans = Vec::new();
        let mut tensors = BTreeMap::new();
        for (name, mut stored) in found {
            let end = stored.offset.checked_add(stored.bytes).and_then(|end| end.checked_add(start));
            let wrong = |problem: String| Err(Error::format(self.path, format!("tensor {name:?} {problem}")));
            if !stored.offset.is_multiple_of(alignment) {
                return wrong(format!(
                    "is {} bytes into the data, not at a multiple of {alignment}; convert the file again",
                    stored.offset
                ));
            }
            if end.is_none_or(|end| end > self.len) {
                let (offset, bytes) = (stored.offset, stored.bytes);
                let problem =
                    format!("has {bytes} bytes from {start} + {offset} on, but the file ends at {}", self.len);
                return wrong(format!("{problem}; it is truncated: copy it again"));
            }
            stored.offset += start;
            spans.push((stored.offset, stored.bytes));
            if tensors.insert(name.clone(), stored).is_some() {
                return wrong("is there twice; convert the file again".to_owned());
            }
        }
        spans.sort_unstable();
        match spans.windows(2).find(|pair| pair[0].0 + pair[0].1 > pair[1].0) {
            None => Ok(tensors),
            Some(pair) => {
                let problem = format!("two tensors lie one upon the other, at byte {}", pair[1].0);
                Err(Error::format(self.path, format!("{problem}; convert the file again")))
            }
        }
    }
}
