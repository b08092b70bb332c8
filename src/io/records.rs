//! JSON objects one after the other, from a `.jsonl` file or from one large array, without holding the file.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::{Error, Result};

/// A record larger than this means a quotation mark or a bracket that was never closed.
const MAX_RECORD: usize = 64 << 20;

/// Streams the objects of a file. Which of the two forms it has shows in its first character.
#[derive(Debug)]
pub struct Records {
    path: PathBuf,
    input: BufReader<File>,
    /// The line that the next byte is on, from 1.
    line: u64,
    form: Form,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Lines,
    /// An array, at its first element.
    ArrayStart,
    /// An array, after an element.
    Array,
    Done,
}

/// One object and the line that it starts on, from 1.
pub type Record = (u64, Map<String, Value>);

impl Records {
    /// Opens a file of records.
    ///
    /// # Errors
    /// A file that cannot be read, or one that starts with neither `[` nor `{`.
    pub fn open(path: &Path) -> Result<Records> {
        let kind = std::fs::metadata(path).map_err(Error::io("open", path))?;
        if !kind.is_file() {
            return Err(Error::format(path, "not a regular file; name a .jsonl or .json file"));
        }
        let file = File::open(path).map_err(Error::io("open", path))?;
        let input = BufReader::with_capacity(1 << 18, file);
        let mut records = Records { path: path.to_path_buf(), input, line: 1, form: Form::Lines };
        if records.input.fill_buf().map_err(Error::io("read", path))?.starts_with(b"\xef\xbb\xbf") {
            records.input.consume(3);
        }
        match records.skip_space()? {
            Some(b'[') => {
                records.input.consume(1);
                records.form = Form::ArrayStart;
            }
            Some(b'{') => {}
            None => records.form = Form::Done,
            Some(_) => return Err(records.error(records.line, "neither an object per line nor an array of objects")),
        }
        Ok(records)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An error at a line of this file.
    pub fn error(&self, line: u64, problem: impl std::fmt::Display) -> Error {
        Error::format(&self.path, format!("line {line}: {problem}"))
    }

    /// The next byte that is no white space, not consumed.
    fn skip_space(&mut self) -> Result<Option<u8>> {
        loop {
            let buffer = self.input.fill_buf().map_err(Error::io("read", &self.path))?;
            if buffer.is_empty() {
                return Ok(None);
            }
            let space = buffer.iter().position(|b| !b.is_ascii_whitespace());
            let n = space.unwrap_or(buffer.len());
            let found = space.map(|i| buffer[i]);
            self.line += buffer[..n].iter().filter(|b| **b == b'\n').count() as u64;
            self.input.consume(n);
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    fn next_text(&mut self) -> Result<Option<(u64, Vec<u8>)>> {
        match self.form {
            Form::Done => Ok(None),
            Form::Lines => self.next_line(),
            Form::ArrayStart | Form::Array => self.next_element(),
        }
    }

    fn next_line(&mut self) -> Result<Option<(u64, Vec<u8>)>> {
        if self.skip_space()?.is_none() {
            return Ok(None);
        }
        let mut text = Vec::new();
        let limit = MAX_RECORD as u64 + 1;
        let mut limited = std::io::Read::take(&mut self.input, limit);
        limited.read_until(b'\n', &mut text).map_err(Error::io("read", &self.path))?;
        if text.len() > MAX_RECORD {
            return Err(self.error(self.line, format!("longer than {MAX_RECORD} bytes; one object per line is needed")));
        }
        let line = self.line;
        self.line += u64::from(text.ends_with(b"\n"));
        Ok(Some((line, text)))
    }

    fn next_element(&mut self) -> Result<Option<(u64, Vec<u8>)>> {
        let mut found = self.skip_space()?;
        if found == Some(b']') {
            self.input.consume(1);
            self.form = Form::Done;
            return match self.skip_space()? {
                None => Ok(None),
                Some(_) => Err(self.error(self.line, "something follows the array's end")),
            };
        }
        if self.form == Form::Array {
            if found != Some(b',') {
                return Err(self.unexpected(found, "a comma or ] after an object of the array"));
            }
            self.input.consume(1);
            found = self.skip_space()?;
        }
        if found != Some(b'{') {
            return Err(self.unexpected(found, "an object"));
        }
        self.form = Form::Array;
        let start = self.line;
        let mut scan = Scan::default();
        let mut text = Vec::new();
        loop {
            let buffer = self.input.fill_buf().map_err(Error::io("read", &self.path))?;
            if buffer.is_empty() {
                return Err(self.error(start, "the file ends inside the object that starts here; is it truncated?"));
            }
            let end = buffer.iter().position(|b| scan.closes(*b));
            let n = end.map_or(buffer.len(), |i| i + 1);
            self.line += buffer[..n].iter().filter(|b| **b == b'\n').count() as u64;
            text.extend_from_slice(&buffer[..n]);
            self.input.consume(n);
            if end.is_some() {
                return Ok(Some((start, text)));
            }
            if text.len() > MAX_RECORD {
                let problem =
                    format!("the object that starts here exceeds {MAX_RECORD} bytes; is a quote or bracket open?");
                return Err(self.error(start, problem));
            }
        }
    }

    fn unexpected(&self, found: Option<u8>, wanted: &str) -> Error {
        let found = match found {
            None => "the file ends (is it truncated?)".to_string(),
            Some(byte) => format!("found {:?}", char::from(byte)),
        };
        self.error(self.line, format!("{wanted} is needed, but {found}"))
    }
}

/// Where in an object's text we are, as far as its end depends on it.
#[derive(Default)]
struct Scan {
    depth: usize,
    quoted: bool,
    escaped: bool,
}

impl Scan {
    /// Takes the next byte; true if it closes the object.
    fn closes(&mut self, byte: u8) -> bool {
        if self.quoted {
            let quote = byte == b'"' && !self.escaped;
            self.escaped = byte == b'\\' && !self.escaped;
            self.quoted = !quote;
            return false;
        }
        match byte {
            b'"' => self.quoted = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
        self.depth == 0
    }
}

impl Iterator for Records {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Result<Record>> {
        let (line, text) = match self.next_text().transpose()? {
            Ok(found) => found,
            Err(e) => {
                self.form = Form::Done;
                return Some(Err(e));
            }
        };
        let record = match serde_json::from_slice(&text) {
            Ok(Value::Object(object)) => Ok((line, object)),
            Ok(_) => Err(self.error(line, "an object is needed")),
            Err(e) => Err(self.error(line + (e.line() as u64).saturating_sub(1), format!("not valid JSON: {e}"))),
        };
        if record.is_err() {
            self.form = Form::Done;
        }
        Some(record)
    }
}

/// A record's text field.
pub(super) fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Result<&'a str, String> {
    match object.get(name) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(format!("field {name:?} is {}, but a text is needed", short(other))),
        None => {
            let names: Vec<String> = object.keys().take(10).map(|key| format!("{key:?}")).collect();
            Err(format!("there is no field {name:?}; the record has {}", names.join(", ")))
        }
    }
}

/// A record's identity: a text, or an integer in decimal.
pub(super) fn id(object: &Map<String, Value>, name: &str) -> Result<String, String> {
    match object.get(name) {
        Some(value @ Value::Number(_)) => id_of(value).ok_or_else(|| format!("field {name:?} is no integer: {value}")),
        _ => text(object, name).map(str::to_string),
    }
}

/// An identity by itself.
pub(super) fn id_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(n) if n.is_i64() || n.is_u64() => Some(n.to_string()),
        _ => None,
    }
}

/// A value's first characters.
pub(super) fn short(value: &Value) -> String {
    let text = value.to_string();
    let shown: String = text.chars().take(40).collect();
    if shown.len() < text.len() { format!("{shown}…") } else { shown }
}
