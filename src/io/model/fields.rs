//! Fields of a JSON object, with errors that name file, field, wanted and found.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::io::plain;
use crate::io::records::short;
use crate::{Error, Result};

/// An object of a JSON file; `within` names it (empty for the outermost).
#[derive(Clone)]
pub(super) struct Fields<'a> {
    pub path: &'a Path,
    within: String,
    object: &'a Map<String, Value>,
}

/// Reads a JSON file whose outermost value is an object.
pub(crate) fn read_object(path: &Path) -> Result<Map<String, Value>> {
    let text = plain::read_bytes(path)?;
    match serde_json::from_slice(&text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(Error::format(path, format!("holds {}, but an object is needed", short(&other)))),
        Err(e) => Err(Error::format(path, format!("not valid JSON: {e}"))),
    }
}

/// The object in `path`, or nothing if there is no such file.
pub(in crate::io) fn read_object_if_there(path: PathBuf) -> Result<Option<Map<String, Value>>> {
    if path.is_file() { read_object(&path).map(Some) } else { Ok(None) }
}

impl<'a> Fields<'a> {
    pub fn new(path: &'a Path, object: &'a Map<String, Value>) -> Fields<'a> {
        Fields { path, within: String::new(), object }
    }

    pub fn error(&self, name: &str, problem: &str) -> Error {
        Error::format(self.path, format!("field {}{name:?} {problem}", self.within))
    }

    /// The field's value; null counts as absent.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// The names of all fields.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.object.keys().map(String::as_str)
    }

    /// Whether the field is there and null.
    pub fn is_null(&self, name: &str) -> bool {
        self.object.get(name).is_some_and(Value::is_null)
    }

    fn wrong(&self, name: &str, value: &Value, wanted: &str) -> Error {
        self.error(name, &format!("is {}, but {wanted} is needed", short(value)))
    }

    fn needed<T>(&self, name: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| self.error(name, "is missing"))
    }

    /// An integer from 1 to 2³⁰.
    pub fn size_or(&self, name: &str, default: Option<usize>) -> Result<usize> {
        match self.get(name) {
            None => self.needed(name, default),
            Some(value) => value
                .as_u64()
                .filter(|n| (1..=1 << 30).contains(n))
                .map(|n| n as usize)
                .ok_or_else(|| self.wrong(name, value, "an integer from 1 to 2^30")),
        }
    }

    /// An integer from 0 to 2³⁰.
    pub fn count_or(&self, name: &str, default: usize) -> Result<usize> {
        match self.get(name) {
            Some(value) if value.as_u64() == Some(0) => Ok(0),
            _ => self.size_or(name, Some(default)),
        }
    }

    /// A finite number above 0.
    pub fn positive(&self, name: &str) -> Result<Option<f64>> {
        self.get(name)
            .map(|value| {
                let number = value.as_f64().filter(|x| x.is_finite() && *x > 0.0);
                number.ok_or_else(|| self.wrong(name, value, "a number above 0"))
            })
            .transpose()
    }

    pub fn bool_or(&self, name: &str, default: bool) -> Result<bool> {
        match self.get(name) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(name, value, "true or false")),
        }
    }

    pub fn text(&self, name: &str) -> Result<Option<&'a str>> {
        self.get(name).map(|value| value.as_str().ok_or_else(|| self.wrong(name, value, "a text"))).transpose()
    }

    pub fn object(&self, name: &str) -> Result<Option<Fields<'a>>> {
        self.get(name)
            .map(|value| {
                let object = value.as_object().ok_or_else(|| self.wrong(name, value, "an object"))?;
                Ok(Fields { path: self.path, within: format!("{}{name:?} → ", self.within), object })
            })
            .transpose()
    }

    /// One token id, or several.
    pub fn token_ids(&self, name: &str) -> Result<Vec<u32>> {
        let id = |value: &Value| {
            let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
            id.ok_or_else(|| self.wrong(name, value, "a token id or a list of them"))
        };
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(ids)) => ids.iter().map(id).collect(),
            Some(value) => Ok(vec![id(value)?]),
        }
    }
}
