//! The run's log: one JSON object per line and step. The first line also says how the run was begun, so that every line is of a step.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::{Error, Result};

/// What is logged of an optimiser step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogRecord {
    /// Optimiser steps done, so the first line has 1.
    pub step: u64,
    /// Mean negative log-likelihood per target token.
    pub loss: f64,
    /// The step's learning rate.
    pub lr: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Positions seen since the run's start, visual ones included.
    pub tokens: u64,
    /// Other numbers, such as `eval_loss`.
    pub more: Vec<(&'static str, f64)>,
}

impl LogRecord {
    /// All its numbers but the step, by name.
    pub fn numbers(&self) -> Vec<(&'static str, f64)> {
        let own = [("loss", self.loss), ("lr", self.lr), ("grad_norm", self.grad_norm), ("tokens", self.tokens as f64)];
        own.into_iter().chain(self.more.iter().copied()).collect()
    }
}

/// Appends to the log; every line is handed to the system at once.
#[derive(Debug)]
pub struct RunLog {
    path: PathBuf,
    file: File,
    /// Whether it has a line.
    begun: bool,
}

impl RunLog {
    /// Starts an empty log.
    ///
    /// # Errors
    /// The file exists and `force` is off, or cannot be created.
    pub fn create(path: &Path, force: bool) -> Result<RunLog> {
        let mut options = File::options();
        options.write(true);
        if force {
            options.create(true).truncate(true)
        } else {
            options.create_new(true)
        };
        match options.open(path) {
            Ok(file) => Ok(RunLog { path: path.to_path_buf(), file, begun: false }),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Err(Error::OutputExists(path.to_path_buf())),
            Err(e) => Err(Error::io("create", path)(e)),
        }
    }

    /// Continues a log after `step`: later lines, and a last line that was cut short, are removed. Without a file, one is
    /// started.
    ///
    /// # Errors
    /// The file cannot be read or written, or has a line that is no record of a step.
    pub fn resume(path: &Path, step: u64) -> Result<RunLog> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).map_err(Error::io("open", path))?;
        let mut input = BufReader::new(&file);
        let (mut kept, mut line, mut number) = (0u64, Vec::new(), 0);
        loop {
            line.clear();
            number += 1;
            let read = input.read_until(b'\n', &mut line).map_err(Error::io("read", path))?;
            if read == 0 || !line.ends_with(b"\n") {
                break;
            }
            let record: Option<Value> = serde_json::from_slice(&line).ok();
            let found = record.as_ref().and_then(|record| record.get("step")).and_then(Value::as_u64);
            let found = found.ok_or_else(|| {
                let remedy = "move the file away, or name another output folder";
                Error::format(path, format!("line {number} is no record of a step; {remedy}"))
            })?;
            if found > step {
                break;
            }
            kept += read as u64;
        }
        file.set_len(kept).map_err(Error::io("truncate", path))?;
        file.seek(SeekFrom::Start(kept)).map_err(Error::io("write", path))?;
        Ok(RunLog { path: path.to_path_buf(), file, begun: kept > 0 })
    }

    /// Appends a line. Numbers that are not finite, which JSON cannot hold, are written as null.
    ///
    /// # Errors
    /// The system refuses, as on a full disk.
    pub fn write(&mut self, record: &LogRecord) -> Result<()> {
        self.write_with(record, Map::new())
    }

    /// Whether no line was written yet.
    pub fn is_empty(&self) -> bool {
        !self.begun
    }

    /// As [`Self::write`], with `notes` behind the numbers: what is no number, such as how the run was begun.
    ///
    /// # Errors
    /// As there.
    pub fn write_with(&mut self, record: &LogRecord, notes: Map<String, Value>) -> Result<()> {
        let mut object = Map::new();
        object.insert("step".to_string(), record.step.into());
        let numbers = [("loss", record.loss), ("lr", record.lr), ("grad_norm", record.grad_norm)];
        for (name, number) in numbers.into_iter().chain(record.more.iter().copied()) {
            object.insert(name.to_string(), Value::from(number));
        }
        object.insert("tokens".to_string(), record.tokens.into());
        object.extend(notes);
        let line = format!("{}\n", Value::Object(object));
        self.file.write_all(line.as_bytes()).map_err(Error::io("write", &self.path))?;
        self.begun = true;
        Ok(())
    }
}

/// How the run of a log was begun: the object `start` of its first line; `None` without a log, or in one of before there was such.
pub(super) fn start_of(path: &Path) -> Option<Map<String, Value>> {
    let mut line = String::new();
    BufReader::new(File::open(path).ok()?).read_line(&mut line).ok()?;
    let record: Value = serde_json::from_str(&line).ok()?;
    record.get("start")?.as_object().cloned()
}
