//! What a file held: so that a run does not go on with another.
//!
//! Of each file, its length and a CRC-32: of all of it up to 64 MiB, for texts and for encoders' files, of 256 blocks of 64 KiB spread over it beyond. What a file is
//! called and where it lies does not count.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::source::Source;
use crate::{Error, Result};

/// Files up to so many bytes are read as a whole.
const WHOLE: u64 = 64 << 20;
const BLOCK: usize = 64 << 10;
/// Blocks that are read of larger ones.
const BLOCKS: u64 = 256;

/// A file that a run reads, and what it is to the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InputFile {
    /// Such as `data`, or `model/config.json`; several files of one role are in order.
    pub role: String,
    pub path: PathBuf,
    /// Whether it is read as a whole, however large.
    pub whole: bool,
}

/// What a file holds, in few bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    role: String,
    path: PathBuf,
    bytes: u64,
    crc32: u32,
}

impl Fingerprint {
    pub(crate) fn of(input: InputFile) -> Result<Fingerprint> {
        let InputFile { role, path, whole } = input;
        let failed = || Error::io("read", &path);
        let (file, bytes) = Source::open(&path, "name a file")?;
        let mut crc = crc32fast::Hasher::new();
        let mut block = vec![0; BLOCK];
        if whole || bytes <= WHOLE {
            file.plan(std::iter::once(0..bytes));
            for at in (0..bytes).step_by(BLOCK) {
                let block = &mut block[..(bytes - at).min(BLOCK as u64) as usize];
                file.read(block, at).map_err(failed())?;
                crc.update(block);
            }
        } else {
            let last = bytes - BLOCK as u64;
            for i in 0..BLOCKS {
                // The first and the last among them.
                let at = (u128::from(last) * u128::from(i) / u128::from(BLOCKS - 1)) as u64;
                file.read(&mut block, at).map_err(failed())?;
                crc.update(&block);
            }
        }
        Ok(Fingerprint { role, path, bytes, crc32: crc.finalize() })
    }

    /// The file's length and checksum.
    pub(crate) fn sums(&self) -> (u64, u32) {
        (self.bytes, self.crc32)
    }

    /// What the file is to the run.
    pub(crate) fn role(&self) -> &str {
        &self.role
    }

    /// As a checkpoint keeps it.
    pub(crate) fn to_json(&self) -> Value {
        json!({"role": self.role, "file": self.path.display().to_string(), "bytes": self.bytes, "crc32": self.crc32})
    }

    pub(crate) fn from_json(value: &Value) -> Option<Fingerprint> {
        Some(Fingerprint {
            role: value.get("role")?.as_str()?.to_owned(),
            path: value.get("file")?.as_str()?.into(),
            bytes: value.get("bytes")?.as_u64()?,
            crc32: u32::try_from(value.get("crc32")?.as_u64()?).ok()?,
        })
    }
}

/// The fingerprint of one file; `whole` has it read as a whole, however large.
#[cfg(feature = "encode")]
pub(crate) fn of_file(role: &str, path: &std::path::Path, whole: bool) -> Result<Fingerprint> {
    Fingerprint::of(InputFile { role: role.to_owned(), path: path.to_path_buf(), whole })
}

/// Checks that a run's inputs are those of its checkpoint.
///
/// # Errors
/// Names each file that is another, or was added or is gone.
pub(crate) fn check(then: &[Fingerprint], now: &[Fingerprint]) -> Result<()> {
    let mut changes = Vec::new();
    let of = |list: &[Fingerprint], role: &str| list.iter().filter(|f| f.role == role).cloned().collect::<Vec<_>>();
    let mut roles: Vec<&str> = then.iter().chain(now).map(|f| &f.role[..]).collect();
    roles.sort_unstable();
    roles.dedup();
    for role in roles {
        let (before, after) = (of(then, role), of(now, role));
        for (a, b) in before.iter().zip(&after) {
            if a.bytes != b.bytes {
                changes.push(format!("{role}: {} has {} bytes and had {}", b.path.display(), b.bytes, a.bytes));
            } else if a.crc32 != b.crc32 {
                changes.push(format!("{role}: {} has another content of the same length", b.path.display()));
            }
        }
        let paths =
            |list: &[Fingerprint]| list.iter().map(|f| f.path.display().to_string()).collect::<Vec<_>>().join(", ");
        if before.len() > after.len() {
            changes.push(format!("{role}: {} is gone", paths(&before[after.len()..])));
        } else if after.len() > before.len() {
            changes.push(format!("{role}: {} is new", paths(&after[before.len()..])));
        }
    }
    if changes.is_empty() {
        return Ok(());
    }
    let remedy = "resume with the files as they were, or start anew in another folder";
    Err(Error::argument("resume", format!("the run's inputs changed: {}; {remedy}", changes.join("; "))))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn taken(path: &Path, whole: bool) -> Fingerprint {
        Fingerprint::of(InputFile { role: "x".to_string(), path: path.to_path_buf(), whole }).unwrap()
    }

    #[test]
    fn changes_are_found_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
        std::fs::write(&a, b"some lines").unwrap();
        std::fs::write(&b, b"some lines").unwrap();
        let (first, moved) = (taken(&a, true), taken(&b, true));
        check(std::slice::from_ref(&first), &[moved]).unwrap();
        assert_eq!(Fingerprint::from_json(&first.to_json()), Some(first.clone()));
        let said = |now: &[Fingerprint]| check(std::slice::from_ref(&first), now).unwrap_err().to_string();
        std::fs::write(&b, b"some linez").unwrap();
        assert!(said(&[taken(&b, true)]).contains("x: ") && said(&[taken(&b, true)]).contains("another content"));
        std::fs::write(&b, b"some lines more").unwrap();
        assert!(said(&[taken(&b, true)]).contains("has 15 bytes and had 10"));
        assert!(said(&[]).contains("is gone") && said(&[first.clone(), first.clone()]).contains("is new"));
    }

    /// Beyond the size up to which a file is read as a whole, its first and last bytes count, and rows in another order.
    #[test]
    fn large_files_are_sampled_from_end_to_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = vec![7u8; WHOLE as usize + 4097];
        bytes.iter_mut().enumerate().for_each(|(i, b)| *b = (i / 4096) as u8);
        let print = |bytes: &[u8]| {
            std::fs::write(file.path(), bytes).unwrap();
            taken(file.path(), false).crc32
        };
        let first = print(&bytes);
        let last = bytes.len() - 1;
        for at in [0, last, last / 2] {
            // In the middle, as many as a block may be apart from the next.
            let end = if at == last / 2 { at + (bytes.len() / BLOCKS as usize) } else { at + 1 };
            bytes[at..end].iter_mut().for_each(|b| *b ^= 1);
            assert_ne!(print(&bytes), first, "{at}");
            bytes[at..end].iter_mut().for_each(|b| *b ^= 1);
        }
        assert_eq!(print(&bytes), first);
    }
}
