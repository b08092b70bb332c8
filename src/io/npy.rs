//! NumPy's `.npy`: a short Python dictionary, then the array.
//!
//! The dictionary is parsed here because it needs little (three keys) and must survive anything: the npyz crate
//! multiplies the shape unchecked and parses nested brackets recursively, so a hostile header could end the process.

use std::path::Path;

use super::dataset::{Found, Layout};
use super::source::Source;
use crate::{ElementType, Error, Result};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// NumPy itself writes 128 bytes for plain arrays and refuses above 10,000 unless told otherwise.
const MAX_HEADER: u64 = 64 << 10;

/// Reads and checks the header of an open file of `len` bytes. With `vector`, a 1-D array is one row.
pub(super) fn inspect(file: &Source, len: u64, path: &Path, vector: bool) -> Result<Found> {
    let (text, offset) = read_header(file, len, path)?;
    let header = parse(&text).map_err(|problem| Error::format(path, format!("not a valid npy header: {problem}")))?;
    let element = element_type(&header.descr).map_err(|problem| Error::format(path, problem))?;
    let (rows, width) = match header.shape[..] {
        // What encoders return for one text at a time, stacked.
        [rows, width] | [rows, 1, width] => (rows, width),
        // np.save of an empty list: a shard without rows.
        [0] if !vector => (0, 0),
        [width] if vector => (1, width),
        _ => {
            let shape = &header.shape;
            let remedy = "rows of embeddings are a 2-D array; reshape it with a.reshape(-1, width) and save it again";
            return Err(Error::format(path, format!("the array is {}-D (shape {shape:?}); {remedy}", shape.len())));
        }
    };
    if header.fortran_order {
        let remedy = "save np.ascontiguousarray(a) instead";
        return Err(Error::format(path, format!("the array is stored column by column (Fortran order); {remedy}")));
    }
    let found = Found::new(path, rows, width, element, Layout::Raw { offset, key: None })?;
    let expected = found.bytes() + u128::from(offset);
    if expected > u128::from(len) {
        let body = format!("its header promises {rows} rows of {width} {element}, {expected} bytes in all");
        return Err(Error::format(path, format!("truncated: {body}, but the file has {len}; copy it again")));
    }
    if expected < u128::from(len) {
        let what = format!("{} bytes follow the array (expected {expected} bytes, the file has {len})", {
            u128::from(len) - expected
        });
        return Err(Error::format(path, format!("{what}; save the array into a file of its own")));
    }
    Ok(found)
}

/// The header of a C-ordered array, padded as NumPy pads it: the body starts at a multiple of 64.
pub(super) fn header(rows: u64, width: usize, element: ElementType) -> Result<Vec<u8>> {
    let descr = match element {
        ElementType::F16 => "<f2",
        ElementType::F32 => "<f4",
        ElementType::F64 => "<f8",
        ElementType::BF16 | ElementType::Fixed | ElementType::Q8_0 => {
            return Err(Error::argument("output type", format!("npy files cannot hold {element}; choose f32 or f16")));
        }
    };
    let dictionary = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}, {width}), }}");
    // 10 bytes of preamble and the final newline; the dictionary is below 118 bytes for any two u64, so u16 holds it.
    let total = (10 + dictionary.len() + 1).next_multiple_of(64);
    let mut header = Vec::with_capacity(total);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&[1, 0]);
    header.extend_from_slice(&((total - 10) as u16).to_le_bytes());
    header.extend_from_slice(dictionary.as_bytes());
    header.resize(total - 1, b' ');
    header.push(b'\n');
    Ok(header)
}

/// The header's text and where the array starts.
fn read_header(file: &Source, len: u64, path: &Path) -> Result<(Vec<u8>, u64)> {
    let mut start = [0; 12];
    let known = len.min(12) as usize;
    file.read(&mut start[..known], 0).map_err(Error::io("read", path))?;
    if known < 10 || start[..6] != *MAGIC {
        let hint = "np.memmap and tofile write numbers alone: read them with np.fromfile, and np.save the array";
        return Err(Error::format(path, format!("not an npy file: it does not start with \\x93NUMPY; {hint}")));
    }
    let (text_len, text_at) = match (start[6], start[7]) {
        (1, 0) => (u64::from(u16::from_le_bytes([start[8], start[9]])), 10),
        (2 | 3, 0) if known == 12 => (u64::from(u32::from_le_bytes([start[8], start[9], start[10], start[11]])), 12),
        (2 | 3, 0) => return Err(Error::format(path, "truncated inside its header; copy it again")),
        (major, minor) => {
            let remedy = "versions 1.0 to 3.0 can be read; save it again with np.save";
            return Err(Error::format(path, format!("npy version {major}.{minor}; {remedy}")));
        }
    };
    if text_len > MAX_HEADER {
        let remedy = "save the plain array with np.save";
        return Err(Error::format(path, format!("its header claims {text_len} bytes, above {MAX_HEADER}; {remedy}")));
    }
    if text_at + text_len > len {
        let problem = format!("its header claims {text_len} bytes, but the file has {len}");
        return Err(Error::format(path, format!("truncated: {problem}; copy it again")));
    }
    let mut text = vec![0; text_len as usize];
    file.read(&mut text, text_at).map_err(Error::io("read", path))?;
    Ok((text, text_at + text_len))
}

/// The element type of a `descr`, or why it is not one of ours and what to do.
fn element_type(descr: &str) -> Result<ElementType, String> {
    match descr {
        "<f2" => Ok(ElementType::F16),
        "<f4" => Ok(ElementType::F32),
        "<f8" => Ok(ElementType::F64),
        ">f2" | ">f4" | ">f8" => {
            Err(format!("big-endian numbers ({descr}); convert with a.astype('<{}')", &descr[1..]))
        }
        "=f2" | "=f4" | "=f8" | "|f2" | "|f4" | "|f8" => {
            Err(format!("numbers of unstated byte order ({descr}); convert with a.astype('<{}')", &descr[1..]))
        }
        _ => {
            // A header may hold 64 KiB of it.
            let shown: String = descr.chars().take(40).collect();
            Err(format!("elements of dtype {shown:?}; convert to floats with a.astype(np.float32)"))
        }
    }
}

#[derive(Debug)]
struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<u64>,
}

/// Parses the dictionary: three keys, each with one kind of value, in any order.
fn parse(text: &[u8]) -> Result<Header, String> {
    let mut cursor = Cursor { text };
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    cursor.expect(b'{')?;
    while !cursor.accept(b'}') {
        let key = cursor.string()?;
        cursor.expect(b':')?;
        match key.as_str() {
            "descr" => descr = Some(cursor.descr()?),
            "fortran_order" => fortran_order = Some(cursor.boolean()?),
            "shape" => shape = Some(cursor.shape()?),
            _ => return Err(format!("unknown key {:?}", key.chars().take(40).collect::<String>())),
        }
        if !cursor.accept(b',') {
            cursor.expect(b'}')?;
            break;
        }
    }
    cursor.skip_blanks();
    if !cursor.text.is_empty() {
        return Err("text after the dictionary".to_string());
    }
    Ok(Header {
        descr: descr.ok_or("key 'descr' is missing")?,
        fortran_order: fortran_order.ok_or("key 'fortran_order' is missing")?,
        shape: shape.ok_or("key 'shape' is missing")?,
    })
}

/// What is left to parse.
struct Cursor<'a> {
    text: &'a [u8],
}

impl Cursor<'_> {
    fn skip_blanks(&mut self) {
        self.text = self.text.trim_ascii_start();
    }

    fn accept(&mut self, byte: u8) -> bool {
        self.skip_blanks();
        let found = self.text.first() == Some(&byte);
        if found {
            self.text = &self.text[1..];
        }
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), String> {
        if self.accept(byte) { Ok(()) } else { Err(format!("'{}' expected", byte as char)) }
    }

    /// A quoted string; NumPy never escapes anything in the strings that we accept.
    fn string(&mut self) -> Result<String, String> {
        self.skip_blanks();
        let quote = match self.text.first() {
            Some(&quote @ (b'\'' | b'"')) => quote,
            _ => return Err("a quoted string expected".to_string()),
        };
        let rest = &self.text[1..];
        let end = rest.iter().position(|&b| b == quote).ok_or("a string without its closing quote")?;
        self.text = &rest[end + 1..];
        Ok(String::from_utf8_lossy(&rest[..end]).into_owned())
    }

    fn descr(&mut self) -> Result<String, String> {
        if self.accept(b'[') {
            return Err("a structured dtype; save one field, converted with .astype(np.float32)".to_string());
        }
        self.string()
    }

    fn boolean(&mut self) -> Result<bool, String> {
        self.skip_blanks();
        for (word, value) in [(&b"True"[..], true), (&b"False"[..], false)] {
            if let Some(rest) = self.text.strip_prefix(word) {
                self.text = rest;
                return Ok(value);
            }
        }
        Err("True or False expected for 'fortran_order'".to_string())
    }

    fn shape(&mut self) -> Result<Vec<u64>, String> {
        self.expect(b'(')?;
        let mut shape = Vec::new();
        while !self.accept(b')') {
            self.skip_blanks();
            // NumPy 2 writes np.int64(12) for a dimension that is a number of its own.
            let wrapped = self.text.strip_prefix(b"np.int64(");
            self.text = wrapped.unwrap_or(self.text);
            let digits = self.text.iter().take_while(|b| b.is_ascii_digit()).count();
            // Digits are ASCII, so the text is valid; what fails to parse is empty or above u64.
            let number = std::str::from_utf8(&self.text[..digits]).ok().and_then(|text| text.parse().ok());
            shape.push(number.ok_or("a dimension of 'shape' is not a number of 64 bits")?);
            self.text = &self.text[digits..];
            // Python 2 wrote long integers as 12L.
            self.text = self.text.strip_prefix(b"L").unwrap_or(self.text);
            if wrapped.is_some() {
                self.expect(b')')?;
            }
            if !self.accept(b',') {
                self.expect(b')')?;
                break;
            }
        }
        Ok(shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_in_any_order_and_spacing() {
        let header = parse(b"{ \"shape\" :( 3L,4L ), 'fortran_order':True,'descr': '<f8'}  \n").unwrap();
        assert_eq!((header.descr.as_str(), header.fortran_order, header.shape), ("<f8", true, vec![3, 4]));
        assert_eq!(parse(b"{'descr': '<f4', 'fortran_order': False, 'shape': (7,), }").unwrap().shape, [7]);
        assert!(parse(b"{'descr': '<f4', 'fortran_order': False, 'shape': (), }").unwrap().shape.is_empty());
        let numpy2 = b"{'descr': '<f4', 'fortran_order': False, 'shape': (np.int64(7), np.int64(5)), }";
        assert_eq!(parse(numpy2).unwrap().shape, [7, 5]);
    }

    #[test]
    fn broken_headers_say_what_is_missing() {
        for (text, words) in [
            ("", "'{' expected"),
            ("{'descr': '<f4', 'fortran_order': False}", "'shape' is missing"),
            ("{'descr': '<f4'", "'}' expected"),
            ("{'descr': '<f4", "closing quote"),
            ("{'descr': [('a', '<f4')]", "structured dtype"),
            ("{'fortran_order': 1}", "True or False"),
            ("{'shape': (99999999999999999999, 1)}", "64 bits"),
            ("{'shape': (-1, 1)}", "64 bits"),
            ("{'shape': (np.int64(3, 1)}", "')' expected"),
            ("{'shape': (np.int32(3), 1)}", "64 bits"),
            ("{'x': 1}", "unknown key"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), } x", "text after"),
        ] {
            let problem = parse(text.as_bytes()).unwrap_err();
            assert!(problem.contains(words), "{text}: {problem}");
        }
    }

    #[test]
    fn the_body_starts_on_a_cache_line() {
        for rows in [1, 1_000_000_007, u64::MAX] {
            assert_eq!(header(rows, usize::MAX, ElementType::F16).unwrap().len() % 64, 0);
        }
    }
}
