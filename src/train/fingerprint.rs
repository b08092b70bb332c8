//! What a run's inputs were: so that it is not resumed on others.
//!
//! Of each file, its length and a CRC-32: of all of it up to 64 MiB and for texts, of 256 blocks of 64 KiB spread over it beyond. What a file is
//! called and where it lies does not count.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use super::settings::Settings;
use crate::io::input_files;
use crate::{Error, Result};

/// Files up to so many bytes are read as a whole.
const WHOLE: u64 = 64 << 20;
const BLOCK: usize = 64 << 10;
/// Blocks that are read of larger ones.
const BLOCKS: u64 = 256;

/// A file that a run reads, and what it is to the run.
#[derive(Clone, Debug, PartialEq, Eq)]
struct InputFile {
    /// Such as `data`, or `model/config.json`; several files of one role are in order.
    role: String,
    path: PathBuf,
    /// Read as a whole, however large.
    text: bool,
}

/// What a file holds, in few bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    role: String,
    path: PathBuf,
    bytes: u64,
    crc32: u32,
}

/// The fingerprints of a run's inputs, taken beside its first steps.
#[derive(Debug)]
pub(super) struct Fingerprints(Mutex<State>);

#[derive(Debug)]
enum State {
    Running(JoinHandle<Result<Vec<Fingerprint>>>),
    Done(Vec<Fingerprint>),
    Failed(String),
}

impl Fingerprints {
    /// Begins to read the files that the settings name, in a thread of its own.
    pub(super) fn begin(settings: &Settings) -> Result<Self> {
        let files = files(settings)?;
        let work = move || files.into_iter().map(Fingerprint::of).collect();
        let thread = std::thread::Builder::new().name("fingerprints".to_string()).spawn(work);
        Ok(Fingerprints(Mutex::new(State::Running(
            thread.map_err(Error::io("start a thread for", Path::new("inputs")))?,
        ))))
    }

    /// All of them, once they are there.
    ///
    /// # Errors
    /// A file that can no longer be read.
    pub(super) fn wait(&self) -> Result<Vec<Fingerprint>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = "the thread that reads them was lost; start the run again";
        let taken = std::mem::replace(&mut *state, State::Failed(lost.to_string()));
        let done = match taken {
            State::Running(thread) => thread.join().unwrap_or_else(|_| Err(Error::argument("inputs", lost))),
            State::Done(found) => Ok(found),
            State::Failed(problem) => Err(Error::argument("inputs", problem)),
        };
        match done {
            Ok(found) => {
                *state = State::Done(found.clone());
                Ok(found)
            }
            Err(e) => {
                *state = State::Failed(e.to_string());
                Err(e)
            }
        }
    }
}

impl Fingerprint {
    fn of(input: InputFile) -> Result<Fingerprint> {
        let InputFile { role, path, text } = input;
        let failed = || Error::io("read", &path);
        let mut file = File::open(&path).map_err(failed())?;
        let bytes = file.metadata().map_err(failed())?.len();
        let mut crc = crc32fast::Hasher::new();
        let mut block = vec![0; BLOCK];
        if text || bytes <= WHOLE {
            loop {
                match file.read(&mut block).map_err(failed())? {
                    0 => break,
                    n => crc.update(&block[..n]),
                }
            }
        } else {
            let last = bytes - BLOCK as u64;
            for i in 0..BLOCKS {
                // The first and the last among them.
                let at = (u128::from(last) * u128::from(i) / u128::from(BLOCKS - 1)) as u64;
                file.seek(SeekFrom::Start(at)).map_err(failed())?;
                file.read_exact(&mut block).map_err(failed())?;
                crc.update(&block);
            }
        }
        Ok(Fingerprint { role, path, bytes, crc32: crc.finalize() })
    }

    /// The file's length and checksum.
    #[cfg(all(feature = "encode", feature = "pictures"))]
    pub(crate) fn sums(&self) -> (u64, u32) {
        (self.bytes, self.crc32)
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

/// The fingerprint of one file; `text` has it read as a whole, however large.
#[cfg(all(feature = "encode", feature = "pictures"))]
pub(crate) fn of_file(role: &str, path: &Path, text: bool) -> Result<Fingerprint> {
    Fingerprint::of(InputFile { role: role.to_owned(), path: path.to_path_buf(), text })
}

/// What a checkpoint keeps; `None` in those of before there was such.
pub(super) fn of_checkpoint(value: Option<&Value>) -> Option<Vec<Fingerprint>> {
    value?.as_array()?.iter().map(Fingerprint::from_json).collect()
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

/// The files that the settings name.
fn files(settings: &Settings) -> Result<Vec<InputFile>> {
    let mut files = Vec::new();
    let mut add = |role: &str, path: &Path, text: bool| {
        files.push(InputFile { role: role.to_string(), path: path.to_path_buf(), text })
    };
    add("data", &settings.data, true);
    let texts = [
        ("ids", &settings.ids),
        ("stats", &settings.stats),
        ("init_adapter", &settings.init_adapter),
        ("init_lora", &settings.init_lora),
    ];
    for (role, path) in texts.into_iter().filter_map(|(role, path)| Some((role, path.as_ref()?))) {
        match path.is_dir() {
            true => listed(path)?.iter().for_each(|file| add(role, file, false)),
            false => add(role, path, role == "ids"),
        }
    }
    for (role, inputs) in [("embeddings", &settings.embeddings), ("noise_images", &settings.noise_images)] {
        if !inputs.is_empty() {
            input_files(inputs)?.iter().for_each(|file| add(role, file, false));
        }
    }
    match settings.model.is_dir() {
        false => add("model", &settings.model, false),
        true => {
            for file in listed(&settings.model)? {
                let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let counts = MODEL_FILES.contains(&&name[..]) || name.ends_with(".safetensors");
                if counts {
                    add(&format!("model/{name}"), &file, false);
                }
            }
        }
    }
    Ok(files)
}

/// Files of a model's folder that decide what a run computes, beside its weights.
const MODEL_FILES: [&str; 8] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    "model.safetensors.index.json",
];

/// The files of a folder, by name.
fn listed(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(Error::io("list", folder))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io("list", folder))?.path();
        files.extend(path.is_file().then_some(path));
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(path: &Path, text: bool) -> Fingerprint {
        Fingerprint::of(InputFile { role: "x".to_string(), path: path.to_path_buf(), text }).unwrap()
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
