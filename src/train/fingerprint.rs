//! What a run's inputs were: so that it is not resumed on others.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use serde_json::Value;

use super::settings::Settings;
use crate::io::fingerprint::{Fingerprint, InputFile};
use crate::io::input_files;
use crate::{Error, Result};

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

/// What a checkpoint keeps; `None` in those of before there was such.
pub(super) fn of_checkpoint(value: Option<&Value>) -> Option<Vec<Fingerprint>> {
    value?.as_array()?.iter().map(Fingerprint::from_json).collect()
}

/// The files that the settings name.
fn files(settings: &Settings) -> Result<Vec<InputFile>> {
    let mut files = Vec::new();
    let mut add = |role: &str, path: &Path, whole: bool| {
        files.push(InputFile { role: role.to_string(), path: path.to_path_buf(), whole })
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
            input_files(inputs)?.iter().for_each(|file| match kept(file) {
                // Computed again, on another device perhaps, they differ by rounding: what they are of counts, and who made them.
                Some((keys, encoder)) => add(&format!("{role} by {encoder}"), &keys, true),
                None => add(role, file, false),
            });
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

/// Of a file of the cache its keys, and the name of their encoder's folder.
fn kept(rows: &Path) -> Option<(PathBuf, String)> {
    let keys = rows.with_extension("keys.txt");
    let encoder = rows.parent()?.file_name()?.to_string_lossy().into_owned();
    keys.is_file().then_some((keys, encoder))
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
