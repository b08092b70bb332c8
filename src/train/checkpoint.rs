//! Checkpoints: a folder each, `step-00000120`, that is whole or not there.
//!
//! A checkpoint holds `tensors.safetensors` (parameters and optimiser) and `state.json`, which also has the size and the CRC-32 of
//! the tensors: a file that was cut short or changed is found before it is used.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::order::Position;
use crate::io::atomic_folder::{FolderWriter, TEMPORARY};
use crate::io::tensor_writer::{TensorWriter, notes};
use crate::io::{TensorFile, TensorSpec};
use crate::{Error, Result};

const PREFIX: &str = "step-";
const TENSORS: &str = "tensors.safetensors";
const STATE: &str = "state.json";
const VERSION: u64 = 1;
/// Files are summed through a block of this size.
const BLOCK: usize = 1 << 20;

/// Everything of a run that is not a tensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunState {
    /// Optimiser steps done.
    pub step: u64,
    /// The place in the data of the batch that comes next.
    pub position: Position,
    /// The run's seed.
    pub seed: u64,
    /// Positions seen since the start.
    pub tokens: u64,
    /// The settings that the result depends on, see [`super::Settings::essence`].
    pub settings: BTreeMap<String, String>,
    /// What else the loop wants back: adapter name, best evaluation, sums since the last log line.
    pub more: Map<String, Value>,
}

/// A run's folder of checkpoints.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    keep: usize,
}

/// A checkpoint that proved whole.
#[derive(Debug)]
pub struct Checkpoint {
    /// Its folder.
    pub path: PathBuf,
    /// The run at that step.
    pub state: RunState,
    /// Parameters and optimiser state.
    pub tensors: TensorFile,
}

/// A checkpoint in the making.
#[derive(Debug)]
pub struct CheckpointWriter {
    checkpoints: Checkpoints,
    folder: FolderWriter,
    tensors: TensorWriter,
    state: RunState,
}

impl Checkpoints {
    /// Opens or makes the folder, and removes what an earlier process left half done in it. One run at a time may use it:
    /// [`Run::start`](super::Run::start) locks its own folder before, others do so with [`FolderLock`](crate::io::FolderLock). The newest
    /// `keep` checkpoints stay, at least 1.
    ///
    /// # Errors
    /// The folder cannot be made or listed, or `keep` is 0.
    pub fn open(folder: &Path, keep: usize) -> Result<Checkpoints> {
        if keep == 0 {
            return Err(Error::argument("keep", "at least 1 checkpoint must be kept"));
        }
        crate::io::url::create_folders(folder)?;
        for entry in std::fs::read_dir(folder).map_err(Error::io("list", folder))? {
            let path = entry.map_err(Error::io("list", folder))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with(TEMPORARY) && name.ends_with(".tmp") && path.is_dir() {
                std::fs::remove_dir_all(&path).map_err(Error::io("remove", &path))?;
            }
        }
        Ok(Checkpoints { folder: folder.to_path_buf(), keep })
    }

    /// Those of a folder that another process writes into: nothing of it is changed.
    pub(super) fn of_another(folder: &Path, keep: usize) -> Checkpoints {
        Checkpoints { folder: folder.to_path_buf(), keep }
    }

    /// The checkpoint of a step.
    ///
    /// # Errors
    /// There is none, or it is not whole.
    pub(super) fn of_step(&self, step: u64) -> Result<Checkpoint> {
        Checkpoint::open(&self.folder.join(format!("{PREFIX}{step:08}")))
    }

    /// The checkpoints that are there, by step; none is opened.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn list(&self) -> Result<Vec<(u64, PathBuf)>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(Error::io("list", &self.folder))? {
            let path = entry.map_err(Error::io("list", &self.folder))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if let Some(step) = name.strip_prefix(PREFIX).and_then(|digits| digits.parse().ok()) {
                found.push((step, path));
            }
        }
        found.sort();
        Ok(found)
    }

    /// The newest checkpoint that is whole; broken ones are skipped with a warning. All of it is read once, to check it.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn newest(&self) -> Result<Option<Checkpoint>> {
        for (_, path) in self.list()?.into_iter().rev() {
            match Checkpoint::open(&path) {
                Ok(checkpoint) => return Ok(Some(checkpoint)),
                Err(e) => log::warn!("checkpoint skipped: {e}"),
            }
        }
        Ok(None)
    }

    /// Begins a checkpoint of `state` with these tensors. One of the same step is replaced.
    ///
    /// # Errors
    /// A tensor named twice, or the disk refuses.
    pub fn begin(&self, state: RunState, tensors: &[TensorSpec]) -> Result<CheckpointWriter> {
        self.begin_with_bytes(state, (tensors, &[]))
    }

    /// As [`Self::begin`], with tensors of bytes: a name, and how many.
    pub(super) fn begin_with_bytes(
        &self,
        state: RunState,
        tensors: (&[TensorSpec], &[(String, usize)]),
    ) -> Result<CheckpointWriter> {
        let path = self.folder.join(format!("{PREFIX}{:08}", state.step));
        let folder = FolderWriter::create(&path, true)?;
        let tensors = TensorWriter::start_with_bytes(folder.file(TENSORS)?, &path.join(TENSORS), tensors, notes(&[]))?;
        Ok(CheckpointWriter { checkpoints: self.clone(), folder, tensors, state })
    }

    /// Removes all but the newest.
    fn prune(&self) -> Result<()> {
        let mut all = self.list()?;
        all.truncate(all.len().saturating_sub(self.keep));
        for (_, path) in all {
            // Renamed first: a process killed while removing must not leave a folder that looks like a checkpoint.
            let aside = self.folder.join(format!("{TEMPORARY}{}.tmp", path.file_name().unwrap_or_default().display()));
            let gone = std::fs::rename(&path, &aside).and_then(|()| std::fs::remove_dir_all(&aside));
            gone.map_err(Error::io("remove", &path))?;
        }
        Ok(())
    }
}

impl CheckpointWriter {
    /// The folder that it will be.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Appends numbers to a tensor.
    ///
    /// # Errors
    /// No such tensor, too many numbers, one that is not finite, a full disk.
    pub fn write(&mut self, name: &str, numbers: &[f32]) -> Result<()> {
        self.tensors.write(name, numbers)
    }

    /// Appends bytes to a tensor of bytes.
    pub(super) fn write_bytes(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.tensors.write_bytes(name, bytes)
    }

    /// Appends numbers to a tensor, as bytes of the type that it was begun with.
    pub(super) fn write_stored(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.tensors.write_stored(name, bytes)
    }

    /// Publishes the checkpoint, then removes those that are too many. Returns its folder.
    ///
    /// # Errors
    /// A tensor is incomplete, or the disk refuses; then nothing appears and the older checkpoints stay.
    pub fn commit(self) -> Result<PathBuf> {
        let path = self.folder.path().to_path_buf();
        let (bytes, crc) = self.tensors.finish_summed()?;
        let state = &self.state;
        let text = json!({
            "version": VERSION,
            "step": state.step,
            "epoch": state.position.epoch,
            "batch": state.position.batch,
            "seed": state.seed,
            "tokens": state.tokens,
            "settings": state.settings,
            "more": state.more,
            "tensors": {"bytes": bytes, "crc32": crc},
        });
        self.folder.write(STATE, format!("{text:#}\n").as_bytes())?;
        self.folder.publish()?;
        self.checkpoints.prune()?;
        Ok(path)
    }
}

impl Checkpoint {
    /// Opens a checkpoint and checks that it is whole.
    ///
    /// # Errors
    /// A file is missing, malformed, cut short or changed.
    pub fn open(path: &Path) -> Result<Checkpoint> {
        let state_path = path.join(STATE);
        let text = std::fs::read(&state_path).map_err(Error::io("read", &state_path))?;
        let value: Value = serde_json::from_slice(&text)
            .map_err(|e| Error::format(&state_path, format!("not a valid checkpoint: {e}")))?;
        let number = |object: &Value, name: &str| {
            let number = object.get(name).and_then(Value::as_u64);
            number.ok_or_else(|| Error::format(&state_path, format!("not a valid checkpoint: no integer {name:?}")))
        };
        let version = number(&value, "version")?;
        if version != VERSION {
            let problem = format!("a checkpoint of version {version}; this program reads version {VERSION}");
            return Err(Error::format(&state_path, problem));
        }
        let settings = value.get("settings").and_then(Value::as_object).into_iter().flatten();
        let settings = settings.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_string()))).collect();
        let state = RunState {
            step: number(&value, "step")?,
            position: Position { epoch: number(&value, "epoch")?, batch: number(&value, "batch")? },
            seed: number(&value, "seed")?,
            tokens: number(&value, "tokens")?,
            settings,
            more: value.get("more").and_then(Value::as_object).cloned().unwrap_or_default(),
        };
        let sums = value.get("tensors").unwrap_or(&Value::Null);
        let expected = (number(sums, "bytes")?, number(sums, "crc32")?);
        let file = path.join(TENSORS);
        let found = checksum(File::open(&file).map_err(Error::io("read", &file))?, &file)?;
        if (found.0, u64::from(found.1)) != expected {
            let problem = match found.0 == expected.0 {
                true => "its checksum is wrong: the file was changed or the disk is failing".to_string(),
                false => format!("it has {} bytes instead of {}", found.0, expected.0),
            };
            return Err(Error::format(&file, format!("damaged: {problem}")));
        }
        Ok(Checkpoint { path: path.to_path_buf(), state, tensors: TensorFile::open(&file)? })
    }
}

/// Length and CRC-32 of a file.
fn checksum(mut file: File, path: &Path) -> Result<(u64, u32)> {
    let mut hasher = crc32fast::Hasher::new();
    let mut block = vec![0; BLOCK];
    let mut bytes = 0;
    loop {
        match file.read(&mut block).map_err(Error::io("read", path))? {
            0 => return Ok((bytes, hasher.finalize())),
            n => {
                hasher.update(&block[..n]);
                bytes += n as u64;
            }
        }
    }
}
