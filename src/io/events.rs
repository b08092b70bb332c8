//! TensorBoard's event files: scalars by step.
//!
//! A file is a sequence of records: the length as a 64-bit integer, its masked CRC-32C, the bytes, and their masked CRC-32C, all
//! little-endian. The bytes of each are an `Event` of protocol buffers (`event.proto` and `summary.proto` of TensorBoard). TensorBoard reads the files
//! of a folder in the order of their names; one that begins with a session log takes back all that earlier ones have from its step on.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crc::{CRC_32_ISCSI, Crc};

use crate::{Error, Result};

const PREFIX: &str = "events.out.tfevents.";
const CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
/// `SessionLog.START`.
const START: u64 = 1;

/// Appends scalars to an event file of its own, which is made with the first of them; every record is handed to the system at once.
#[derive(Debug)]
pub struct EventWriter {
    folder: PathBuf,
    takes_back: Option<u64>,
    open: Option<(PathBuf, File)>,
}

impl EventWriter {
    /// Writes into `folder`. Beside the files of a run that was interrupted, what those have of step `takes_back` and later no longer counts.
    pub fn new(folder: &Path, takes_back: Option<u64>) -> EventWriter {
        EventWriter { folder: folder.to_path_buf(), takes_back, open: None }
    }

    /// Appends numbers of a step under their names, as of now. They are rounded to f32; NaN and infinities are shown as such.
    ///
    /// # Errors
    /// The file cannot be made; a full disk.
    pub fn write(&mut self, step: u64, numbers: &[(&str, f64)]) -> Result<()> {
        if self.open.is_none() {
            self.open = Some(self.begin()?);
        }
        let mut summary = Vec::new();
        for (name, number) in numbers {
            let mut value = Vec::new();
            bytes_field(&mut value, 1, name.as_bytes());
            value.push(tag(2, 5));
            value.extend((*number as f32).to_le_bytes());
            bytes_field(&mut summary, 1, &value);
        }
        let mut event = event(step);
        bytes_field(&mut event, 5, &summary);
        // Invariant: it was opened above.
        let Some((path, file)) = &mut self.open else { return Ok(()) };
        file.write_all(&record(&event)).map_err(Error::io("write", &*path))
    }

    /// Removes all event files of a folder.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove_all(folder: &Path) -> Result<()> {
        for path in event_files(folder)? {
            std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
        Ok(())
    }

    /// Makes the file, behind all others in the order of names, with what stands at its beginning.
    fn begin(&self) -> Result<(PathBuf, File)> {
        let newest = event_files(&self.folder)?.iter().filter_map(|path| seconds_of(path)).max();
        let mut seconds = now().as_secs().max(newest.map_or(0, |newest| newest + 1));
        let (path, mut file) = loop {
            let name = format!("{PREFIX}{seconds:010}.realign.{}.0", std::process::id());
            let path = self.folder.join(name);
            match File::options().write(true).create_new(true).open(&path) {
                Ok(file) => break (path, file),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => seconds += 1,
                Err(e) => return Err(Error::io("create", &path)(e)),
            }
        };
        let mut version = event(self.takes_back.unwrap_or(0));
        bytes_field(&mut version, 3, b"brain.Event:2");
        let mut head = record(&version);
        if let Some(step) = self.takes_back {
            let mut session = event(step);
            let mut status = vec![tag(1, 0)];
            varint(&mut status, START);
            bytes_field(&mut session, 7, &status);
            head.extend(record(&session));
        }
        file.write_all(&head).map_err(Error::io("write", &path))?;
        Ok((path, file))
    }
}

fn now() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn event_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(Error::io("list", folder))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()).map_err(Error::io("list", folder)));
    let paths = paths.collect::<Result<Vec<_>>>()?;
    let ours = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
    Ok(paths.into_iter().filter(ours).collect())
}

/// The seconds that a file's name has.
fn seconds_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix(PREFIX)?.split('.').next()?.parse().ok()
}

/// An event of now, before what it is about.
fn event(step: u64) -> Vec<u8> {
    let mut event = vec![tag(1, 1)];
    event.extend(now().as_secs_f64().to_le_bytes());
    event.push(tag(2, 0));
    varint(&mut event, step);
    event
}

/// A field's number, below 16, and how its value is written.
fn tag(field: u8, wire: u8) -> u8 {
    (field << 3) | wire
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes_field(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(tag(field, 2));
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn record(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), bytes, &masked(bytes)].concat()
}

/// A sum of data that may itself hold sums.
fn masked(bytes: &[u8]) -> [u8; 4] {
    CRC32C.checksum(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}
