//! JSON objects one after the other, from a `.jsonl` file or from one large array, without holding the file.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::plain;
use super::source::SourceBytes;
use crate::{Error, Result};

/// A record larger than this means a quotation mark or a bracket that was never closed.
const MAX_RECORD: usize = 64 << 20;

/// Streams the objects of a file. Which of the two forms it has shows in its first character.
#[derive(Debug)]
pub struct Records {
    path: PathBuf,
    input: BufReader<SourceBytes>,
    /// The line that the next byte is on, from 1.
    line: u64,
    /// The number of the next record, from 0.
    index: u64,
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

/// One object and where it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its number in the file, from 0.
    pub index: u64,
    /// The line that it starts on, from 1.
    pub line: u64,
    /// The object.
    pub object: Map<String, Value>,
}

/// What is wrong with one record, while the others can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadRecord {
    pub index: u64,
    /// Where it is, in words: its number, its line where that says more, its id if it has one.
    pub place: String,
    pub problem: String,
}

impl Records {
    /// Opens a file of records. A byte order mark before the first is skipped.
    ///
    /// # Errors
    /// A file that cannot be read, one in UTF-16, or one that starts with neither `[` nor `{`.
    pub fn open(path: &Path) -> Result<Records> {
        let file = SourceBytes::open(path, "name a .jsonl or .json file")?;
        let input = BufReader::with_capacity(1 << 18, file);
        let mut records = Records { path: path.to_path_buf(), input, line: 1, index: 0, form: Form::Lines };
        let start = records.input.fill_buf().map_err(Error::io("read", path))?;
        plain::check_encoding(&start[..start.len().min(plain::START)], path)?;
        if start.starts_with(plain::MARK) {
            records.input.consume(plain::MARK.len());
        }
        match records.skip_space()? {
            Some(b'[') => {
                records.input.consume(1);
                records.form = Form::ArrayStart;
            }
            Some(b'{') => {}
            None => records.form = Form::Done,
            Some(_) => {
                return Err(records.error_at(records.line, "neither an object per line nor an array of objects"));
            }
        }
        Ok(records)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An error about a record of this file: it names the record's number, its line where that says more, and its id.
    pub fn error(&self, record: &Record, problem: impl std::fmt::Display) -> Error {
        Error::format(&self.path, format!("{}: {problem}", self.place(record)))
    }

    /// Where a record is, in words.
    pub(super) fn place_of(&self, record: &Record) -> String {
        self.place(record)
    }

    /// What is wrong with a record.
    #[cfg(feature = "train")]
    pub(super) fn bad(&self, record: &Record, problem: String) -> BadRecord {
        BadRecord { index: record.index, place: self.place(record), problem }
    }

    fn place(&self, record: &Record) -> String {
        place(record.index, self.telling(record.line), id(&record.object, "id").ok().as_deref())
    }

    /// The line, where it tells records apart: those of an array on one line have none.
    fn telling(&self, line: u64) -> Option<u64> {
        (matches!(self.form, Form::Lines) || line > 1).then_some(line)
    }

    fn error_at(&self, line: u64, problem: impl std::fmt::Display) -> Error {
        Error::format(&self.path, format!("line {line}: {problem}"))
    }

    /// An error in the text of the next record, or between the one before and it.
    fn error_here(&self, line: u64, problem: impl std::fmt::Display) -> Error {
        Error::format(&self.path, format!("{}: {problem}", place(self.index, self.telling(line), None)))
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
            let problem = format!("longer than {MAX_RECORD} bytes; one object per line is needed");
            return Err(self.error_here(self.line, problem));
        }
        let line = self.line;
        self.line += u64::from(text.ends_with(b"\n"));
        // Files that were put together from others have marks in the middle.
        if text.starts_with(plain::MARK) {
            text.drain(..plain::MARK.len());
        }
        Ok(Some((line, text)))
    }

    fn next_element(&mut self) -> Result<Option<(u64, Vec<u8>)>> {
        let mut found = self.skip_space()?;
        if found == Some(b']') {
            self.input.consume(1);
            self.form = Form::Done;
            return match self.skip_space()? {
                None => Ok(None),
                Some(_) => Err(self.error_at(self.line, "something follows the array's end")),
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
                return Err(self.error_here(start, "the file ends inside the object; is it truncated?"));
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
                let problem = format!("the object exceeds {MAX_RECORD} bytes; is a quote or bracket open?");
                return Err(self.error_here(start, problem));
            }
        }
    }

    fn unexpected(&self, found: Option<u8>, wanted: &str) -> Error {
        let found = match found {
            None => "the file ends (is it truncated?)".to_string(),
            Some(byte) => format!("found {:?}", char::from(byte)),
        };
        self.error_here(self.line, format!("{wanted} is needed, but {found}"))
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

impl Records {
    /// The next record, or what is wrong with it alone; nothing at the end.
    ///
    /// # Errors
    /// What ends the reading: a file that cannot be read, and broken JSON in an array, of which nobody knows where it ends.
    pub(super) fn next_record(&mut self) -> Result<Option<Result<Record, BadRecord>>> {
        let found = self.next_text();
        let Ok(Some((line, text))) = found else {
            self.form = Form::Done;
            return found.map(|_| None);
        };
        let index = self.index;
        let problem = match parse(&text) {
            Ok(Value::Object(object)) => {
                self.index += 1;
                return Ok(Some(Ok(Record { index, line, object })));
            }
            Ok(_) => "an object is needed".to_string(),
            Err(e) if e.is_eof() && self.form == Form::Lines => {
                format!("{}; a file holds one object per line, or one array of objects", broken(&e, line))
            }
            Err(e) => broken(&e, line),
        };
        let bad = BadRecord { index, place: place(index, self.telling(line), None), problem };
        self.index += 1;
        if self.form == Form::Lines {
            return Ok(Some(Err(bad)));
        }
        self.form = Form::Done;
        Err(bad.into_error(&self.path))
    }
}

impl BadRecord {
    /// As an error about the file.
    pub fn into_error(self, path: &Path) -> Error {
        Error::format(path, format!("{}: {}", self.place, self.problem))
    }
}

/// Ends after the first error.
impl Iterator for Records {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Result<Record>> {
        let record = match self.next_record().transpose()? {
            Ok(Ok(record)) => return Some(Ok(record)),
            Ok(Err(bad)) => bad.into_error(&self.path),
            Err(error) => error,
        };
        self.form = Form::Done;
        Some(Err(record))
    }
}

/// A record's place in words; its number counts from 0.
fn place(index: u64, line: Option<u64>, id: Option<&str>) -> String {
    let more: Vec<String> =
        line.map(|line| format!("line {line}")).into_iter().chain(id.map(|id| format!("id {id:?}"))).collect();
    match more.is_empty() {
        true => format!("record {index}"),
        false => format!("record {index} ({})", more.join(", ")),
    }
}

/// An object's text as JSON, or as Python writes it: `json.dumps` makes NaN and Infinity, which JSON has not, of numbers that are none.
fn parse(text: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(text).or_else(|error| {
        let plain = without_python_numbers(text).ok_or(error)?;
        serde_json::from_slice(&plain)
    })
}

/// The text with null for NaN, Infinity and -Infinity outside quotes; nothing if there are none.
fn without_python_numbers(text: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut scan, mut found, mut at) = (Vec::with_capacity(text.len()), Scan::default(), false, 0);
    while at < text.len() {
        let rest = &text[at..];
        let word =
            ["NaN", "Infinity", "-Infinity"].iter().find(|word| !scan.quoted && rest.starts_with(word.as_bytes()));
        match word {
            Some(word) => {
                out.extend_from_slice(b"null");
                (found, at) = (true, at + word.len());
            }
            None => {
                if rest[0] == b'"' || scan.quoted {
                    scan.closes(rest[0]);
                }
                out.push(rest[0]);
                at += 1;
            }
        }
    }
    found.then_some(out)
}

/// Words for broken JSON in a record that starts on `line`.
fn broken(e: &serde_json::Error, line: u64) -> String {
    let text = e.to_string();
    let reason = text.split(" at line ").next().unwrap_or_default();
    match e.line() {
        0 | 1 => format!("not valid JSON: {reason} (byte {} of the record)", e.column()),
        n => format!("not valid JSON: {reason} (line {} of the file)", line + n as u64 - 1),
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
pub(crate) fn id(object: &Map<String, Value>, name: &str) -> Result<String, String> {
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
