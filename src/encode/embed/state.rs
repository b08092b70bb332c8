//! How far a run came, and the folder that holds it.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::bad::Bad;
use super::inputs;
use super::output::Output;
use crate::error::{Problem, Remedy};
use crate::io::fingerprint::{self, Fingerprint};
use crate::io::{FolderLock, Start, check_writable, read_json_object, write_atomically};
use crate::{Error, Result};

/// The state's file; the inputs' list.
const STATE: &str = "state.json";
const INPUTS: &str = "inputs.txt";
/// Settings that may differ when a run goes on, since rows do not depend on them but for rounding.
const FREE: [&str; 1] = ["batch_size"];

/// How far a run came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Inputs that were taken, bad ones among them.
    pub done: u64,
    /// Rows that were made.
    pub rows: u64,
    /// The file that is being filled, and its rows so far.
    pub file: u64,
    pub in_file: u64,
    /// Texts that were cut.
    pub cut: u64,
    /// Whether files that are there may be replaced.
    pub replace: bool,
    pub bad: Bad,
}

impl State {
    fn to_json(&self) -> Value {
        json!({
            "done": self.done, "rows": self.rows, "file": self.file, "in_file": self.in_file, "cut": self.cut,
            "replace": self.replace, "bad": self.bad.to_json(),
        })
    }

    fn of_json(value: &Value) -> Option<State> {
        let number = |name: &str| value.get(name)?.as_u64();
        Some(State {
            done: number("done")?,
            rows: number("rows")?,
            file: number("file")?,
            in_file: number("in_file")?,
            cut: number("cut")?,
            replace: value.get("replace")?.as_bool()?,
            bad: Bad::of_json(value.get("bad")?)?,
        })
    }
}

/// What a run is: what must be the same when it goes on.
pub(super) struct Identity {
    pub kind: &'static str,
    pub settings: Value,
    pub model: Vec<Fingerprint>,
    pub inputs: String,
}

/// The folder of what is not finished. Dropped before anything was kept in it, it vanishes.
#[derive(Debug)]
pub(super) struct Work {
    folder: PathBuf,
    lock: Option<FolderLock>,
    /// What the state's file holds beside the state.
    fixed: Map<String, Value>,
    kept: bool,
}

impl Work {
    /// Begins a run, or goes on with one: then with its state.
    ///
    /// # Errors
    /// An output that is there; a run that was not finished, unless it is to go on or to be replaced; another process at work; inputs or settings
    /// that differ from those of the run that is to go on.
    pub fn begin(output: &Output, start: Start, identity: &Identity) -> Result<(Work, Option<State>)> {
        let folder = output.unfinished();
        let there = folder.join(STATE).is_file();
        if there && start == Start::New {
            let problem = Problem::new("holds a run that was not finished").remedy(Remedy::ResumeOrReplace);
            return Err(Error::format(&folder, problem));
        }
        let resumes = there && start == Start::Resume;
        if !resumes {
            check_outputs(output, start == Start::Replace)?;
        }
        // A killed run may have left it without a state.
        if !folder.is_dir() {
            std::fs::create_dir(&folder).map_err(Error::io("create", &folder))?;
        }
        let lock = FolderLock::acquire(&folder)?;
        let fixed = json!({
            "settings": identity.settings, "model": identity.model.iter().map(Fingerprint::to_json).collect::<Vec<_>>(),
        });
        let fixed = fixed.as_object().cloned().unwrap_or_default();
        let mut work = Work { folder, lock: Some(lock), fixed, kept: resumes };
        if resumes {
            let state = work.read(identity)?;
            check_foreign(output, &state, identity.inputs.lines().count() as u64)?;
            return Ok((work, Some(state)));
        }
        if let Some(lock) = &work.lock {
            lock.clear_folder()?;
        }
        work.kept = false;
        write_atomically(&work.folder.join(INPUTS), true, identity.inputs.as_bytes())?;
        Ok((work, None))
    }

    /// The state, if it is that of this run.
    fn read(&self, identity: &Identity) -> Result<State> {
        let path = self.folder.join(STATE);
        let damaged = |what: &str| {
            let problem = Problem::new(format!("{what}, so that the run cannot go on")).remedy(Remedy::ResumeOrReplace);
            Error::format(&path, problem)
        };
        let object = read_json_object(&path)?;
        let prints = object.get("model").and_then(Value::as_array);
        let prints: Option<Vec<Fingerprint>> =
            prints.and_then(|list| list.iter().map(Fingerprint::from_json).collect());
        let state = object.get("state").and_then(State::of_json);
        let (Some(settings), Some(prints), Some(state)) = (object.get("settings"), prints, state) else {
            return Err(damaged("is damaged"));
        };
        check_settings(settings, &identity.settings)?;
        fingerprint::check(&prints, &identity.model)?;
        let list = self.folder.join(INPUTS);
        let then = std::fs::read_to_string(&list).map_err(Error::io("read", &list))?;
        inputs::check(&then, &identity.inputs, identity.kind)?;
        Ok(state)
    }

    /// The file that takes the rows of the output's file `number`, with room behind the first `bytes` bytes alone.
    pub fn rows(&self, number: u64, bytes: u64) -> Result<(File, PathBuf)> {
        let path = self.rows_path(number);
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(Error::io("create", &path))?;
        let there = file.metadata().map_err(Error::io("read", &path))?.len();
        if there < bytes {
            let problem = format!("has {there} bytes, but the run's state counts {bytes}; begin the run again");
            return Err(Error::format(&path, problem));
        }
        // What was written after the state was kept is made again.
        file.set_len(bytes).map_err(Error::io("write", &path))?;
        Ok((file, path))
    }

    fn rows_path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("rows_{number:05}"))
    }

    /// Keeps the state: what it counts of `rows` has reached the disk.
    pub fn save(&mut self, state: &State, rows: &File) -> Result<()> {
        rows.sync_data().map_err(Error::io("write", &self.folder))?;
        let mut all = self.fixed.clone();
        all.insert("state".to_owned(), state.to_json());
        let text = format!("{:#}\n", Value::Object(all));
        write_atomically(&self.folder.join(STATE), true, text.as_bytes())?;
        self.kept = true;
        // Rows of files that are whole.
        for number in (0..state.file).rev() {
            match std::fs::remove_file(self.rows_path(number)) {
                Ok(()) => {}
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// Whether a state was kept.
    pub fn kept(&self) -> Option<&Path> {
        self.kept.then_some(&self.folder)
    }

    /// Removes the folder: the run is finished.
    pub fn remove(mut self) {
        self.kept = false;
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if !self.kept {
            // Nobody is left to hear of an error; a folder that stays is cleared by the next run.
            let _ = self.lock.as_ref().map(FolderLock::clear_folder);
            self.lock = None;
            let _ = std::fs::remove_dir(&self.folder);
        }
    }
}

/// Fails before the work where an output is there or could not be written.
fn check_outputs(output: &Output, replace: bool) -> Result<()> {
    if let (Some((_, path)), false) = (output.there().first(), replace) {
        return Err(Error::OutputExists(path.clone()));
    }
    check_writable(&output.file(0), replace)
}

/// Refuses to replace a file that someone else has put where the run's next ones go.
fn check_foreign(output: &Output, state: &State, inputs: u64) -> Result<()> {
    if state.replace {
        return Ok(());
    }
    let first = match output.shard_rows {
        // The run may have ended between a file's publication and its state.
        Some(_) => state.file + 1,
        None => u64::from(state.done == inputs),
    };
    match output.there().into_iter().find(|(number, _)| *number >= first) {
        Some((_, path)) => Err(Error::OutputExists(path)),
        None => Ok(()),
    }
}

/// Refuses settings that differ from those of the run that is to go on.
fn check_settings(then: &Value, now: &Value) -> Result<()> {
    let none = Map::new();
    let (then, now) = (then.as_object().unwrap_or(&none), now.as_object().unwrap_or(&none));
    let mut names: Vec<&String> = then.keys().chain(now.keys()).collect();
    names.sort();
    names.dedup();
    let mut changes = Vec::new();
    for name in names {
        let (a, b) = (then.get(name).unwrap_or(&Value::Null), now.get(name).unwrap_or(&Value::Null));
        if a != b && FREE.contains(&&name[..]) {
            log::warn!("{name} is {b} and was {a}: rows that come may differ from those of one run by rounding");
        } else if a != b {
            changes.push(format!("{name} is {b} and was {a}"));
        }
    }
    match changes.is_empty() {
        true => Ok(()),
        false => {
            let remedy = "go on with the settings as they were, or begin again";
            Err(Error::argument("resume", format!("the run's settings changed: {}; {remedy}", changes.join("; "))))
        }
    }
}
