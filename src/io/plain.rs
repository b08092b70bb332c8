//! Text files as people have them: a byte order mark is no part of the text, and other encodings than UTF-8 are refused by name.

use std::path::Path;

use super::source;
use crate::{Error, Result};

/// The mark that Windows programs put before UTF-8.
pub(crate) const MARK: &[u8] = b"\xef\xbb\xbf";
/// Bytes from a file's start that tell its encoding.
pub(crate) const START: usize = 512;

/// The bytes of a text file without its byte order mark; whether they are UTF-8 throughout is left to the parser.
///
/// # Errors
/// A file that cannot be read, UTF-16 or UTF-32 text, a binary file.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = source::read_whole(path)?;
    check_encoding(&bytes[..bytes.len().min(START)], path)?;
    if bytes.starts_with(MARK) {
        bytes.drain(..MARK.len());
    }
    Ok(bytes)
}

/// A text file without its byte order mark.
///
/// # Errors
/// As [`read_bytes`]; bytes that are no UTF-8, with their line.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read_bytes(path)?).map_err(|e| {
        let (at, bytes) = (e.utf8_error().valid_up_to(), e.as_bytes());
        let line = 1 + bytes[..at].iter().filter(|b| **b == b'\n').count();
        let byte = bytes.get(at).copied().unwrap_or(0);
        let problem =
            format!("line {line} is not UTF-8: it has the byte {byte:#04x}, perhaps of Latin-1 or Windows-1252");
        Error::format(path, format!("{problem}; save the file as UTF-8"))
    })
}

/// Refuses a file whose first bytes are those of UTF-16, UTF-32 or no text at all.
pub(crate) fn check_encoding(start: &[u8], path: &Path) -> Result<()> {
    let name = match start {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => "UTF-32",
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "UTF-16",
        [0, 1..=255, 0, 1..=255, ..] | [1..=255, 0, 1..=255, 0, ..] => "UTF-16",
        _ if start.contains(&0) => {
            return Err(Error::format(path, "a binary file, but text in UTF-8 is needed; name another file"));
        }
        _ => return Ok(()),
    };
    let writers = "as PowerShell's > and Excel's \"Unicode Text\" write it";
    Err(Error::format(path, format!("the text is {name} ({writers}), but UTF-8 is needed; save it as UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_dropped_and_other_encodings_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            read_text(&path)
        };
        assert_eq!(read(b"\xef\xbb\xbfa\xc3\xa9").unwrap(), "a\u{e9}");
        assert_eq!(read(b"").unwrap(), "");
        let utf16 = |mark: &[u8], swap: bool| {
            let bytes = "id\n\u{e9}".encode_utf16().flat_map(|u| if swap { u.to_be_bytes() } else { u.to_le_bytes() });
            [mark, &bytes.collect::<Vec<u8>>()].concat()
        };
        let cases = [
            (utf16(b"\xff\xfe", false), "UTF-16"),
            (utf16(b"\xfe\xff", true), "UTF-16"),
            (utf16(b"", false), "UTF-16"),
            (utf16(b"", true), "UTF-16"),
            (b"\xff\xfe\0\0a\0\0\0".to_vec(), "UTF-32"),
            (b"\x93NUMPY\x01\0".to_vec(), "binary"),
            (b"a\nb\xe9c\n".to_vec(), "line 2 is not UTF-8: it has the byte 0xe9"),
        ];
        for (bytes, word) in cases {
            let error = read(&bytes).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("a.txt"), "{word:?} is not in: {error}");
        }
    }
}
