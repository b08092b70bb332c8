//! What a run's inputs were: so that it does not go on with others.

use std::fmt::Write as _;
use std::time::UNIX_EPOCH;

use crate::io::{PictureList, TextList, fingerprint};
use crate::{Error, Result};

/// The inputs in lines, one for each picture: bytes, time of the last change, id.
///
/// # Errors
/// A file that can no longer be asked.
pub(super) fn of_pictures(list: &PictureList) -> Result<String> {
    let mut lines = String::new();
    for index in 0..list.len() {
        let path = list.path(index);
        let known = std::fs::metadata(&path).map_err(Error::io("open", &path))?;
        let changed = known.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        // Writing to a text cannot fail.
        let _ = writeln!(lines, "{} {} {}", known.len(), changed.as_nanos(), list.id(index));
    }
    Ok(lines)
}

/// The file of texts in one line: bytes and checksum.
///
/// # Errors
/// A file that can no longer be read.
pub(super) fn of_texts(list: &TextList) -> Result<String> {
    let (bytes, crc32) = fingerprint::of_file("texts", list.path(), true)?.sums();
    Ok(format!("{bytes} {crc32} {}\n", list.len()))
}

/// Refuses other inputs than those of a run that is to go on.
///
/// # Errors
/// They differ: the first difference is named.
pub(super) fn check(then: &str, now: &str, kind: &str) -> Result<()> {
    if then == now {
        return Ok(());
    }
    let id = |line: &str| line.splitn(3, ' ').nth(2).unwrap_or_default().to_owned();
    let (before, after): (Vec<&str>, Vec<&str>) = (then.lines().collect(), now.lines().collect());
    let at = before.iter().zip(&after).position(|(a, b)| a != b).unwrap_or(before.len().min(after.len()));
    let what = match (before.get(at).map(|l| id(l)), after.get(at).map(|l| id(l))) {
        _ if kind == "texts" => "the file of texts has another content".to_owned(),
        (Some(a), Some(b)) if a == b => format!("{a} was changed"),
        (Some(a), Some(b)) => format!("where {a} was is {b} now"),
        (Some(a), None) => format!("{a} and what followed it are gone"),
        (None, b) => format!("{} is new", b.unwrap_or_default()),
    };
    let counts = format!("{} were listed then and {} now", before.len(), after.len());
    let counts = if kind == "texts" { String::new() } else { format!(" ({counts})") };
    let remedy = "go on with the inputs as they were, or begin again";
    Err(Error::argument("resume", format!("the run's {kind} changed: {what}{counts}; {remedy}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named() {
        let then = "10 1 a.png\n20 2 b c.png\n30 3 d.png\n";
        let said = |now: &str| check(then, now, "pictures").unwrap_err().to_string();
        assert!(check(then, then, "pictures").is_ok());
        assert!(
            said("10 1 a.png\n20 9 b c.png\n30 3 d.png\n")
                .contains("b c.png was changed (3 were listed then and 3 now)")
        );
        assert!(said("10 1 a.png\n30 3 d.png\n").contains("where b c.png was is d.png now"));
        assert!(said("10 1 a.png\n20 2 b c.png\n").contains("d.png and what followed it are gone"));
        assert!(said(&format!("{then}1 1 e.png\n")).contains("e.png is new"));
        assert!(check("5 1 3\n", "5 2 3\n", "texts").unwrap_err().to_string().contains("another content"));
    }
}
