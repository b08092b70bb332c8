//! What ranks agree on before the first step.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::super::Checkpoints;
use super::super::checkpoint::Checkpoint;
use super::super::fingerprint::Fingerprints;
use super::super::settings::Settings;
use super::{Mail, Ranks};
use crate::device::Device;
use crate::io::fingerprint::Fingerprint;
use crate::{Error, Result};

/// Numbers of 8 bytes, one after the other.
pub(super) fn to_bytes(words: impl IntoIterator<Item = u64>) -> Vec<u8> {
    words.into_iter().flat_map(u64::to_le_bytes).collect()
}

pub(super) fn to_words(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks_exact(8).map(|c| u64::from_le_bytes(c.try_into().unwrap_or_default())).collect()
}

impl Ranks {
    /// Tells the others that this rank ends by an error, unless it came from one of them.
    pub(in crate::train) fn tell_error(&self, place: &str, error: &Error) {
        if !self.are_one() && !matches!(error, Error::Rank { .. }) {
            self.tell_end(&format!("{place}: {error}"));
        }
    }

    /// Sees to it that all ranks train alike, as rank 0 completes its settings.
    ///
    /// # Errors
    /// Ranks of another version or with other settings; batches that they cannot share evenly.
    pub(in crate::train) fn agree(
        &self,
        device: &Device,
        settings: &mut Settings,
        complete: impl FnOnce(&mut Settings) -> Result<()>,
    ) -> Result<()> {
        if self.are_one() {
            return complete(settings);
        }
        let own = json!({"version": env!("CARGO_PKG_VERSION"), "adapter": device.name(), "settings": settings.told()});
        let all = self.gather((Mail::Introduction, 0), own.to_string().into_bytes(), "at the start")?;
        let said = self.broadcast((Mail::Beginning, 0), "at the start", || {
            compare(&all)?;
            let given = settings.ranks;
            complete(settings)?;
            self.check_shares(settings, given)?;
            let date = settings.date.map(|date| date.to_string());
            let precision = settings.precision.unwrap_or_default().name();
            let said = json!({"precision": precision, "date": date, "any_encoder": settings.any_encoder, "ranks": settings.ranks});
            Ok(said.to_string().into_bytes())
        })?;
        let said: Value = serde_json::from_slice(&said).unwrap_or_default();
        for key in ["precision", "date", "any_encoder", "ranks"] {
            match said.get(key) {
                None | Some(Value::Null) => {}
                Some(Value::String(text)) => settings.set(key, text)?,
                Some(value) => settings.set(key, &value.to_string())?,
            }
        }
        Ok(())
    }

    /// Refuses a step whose batches the ranks cannot share evenly; `given` is what the setting ranks was told.
    fn check_shares(&self, settings: &Settings, given: Option<usize>) -> Result<()> {
        let (batches, size) = (settings.step_batches(), self.size());
        if batches.is_multiple_of(size) {
            return Ok(());
        }
        let (accumulate, ranks) = (settings.accumulate, settings.ranks.unwrap_or(1));
        let problem = format!(
            "a step has {batches} batches (accumulate {accumulate} times ranks {ranks}), which {size} ranks cannot share evenly; start a number \
             of ranks that divides {batches}"
        );
        // As in a run.toml that another run left.
        let remedy = given.map(|ranks| {
            format!("; the setting ranks was given as {ranks}: a new run may leave it out, or set it to {size}")
        });
        Err(Error::argument("setting", format!("accumulate: {problem}{}", remedy.unwrap_or_default())))
    }

    /// Rank 0 does what fills a cache that all share, then the others, who find it filled.
    ///
    /// # Errors
    /// What `work` says.
    pub(in crate::train) fn in_turn<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.are_one() {
            return work();
        }
        if !self.is_root() {
            self.hear(0, (Mail::Embeddings, 0), "at the start")?;
            return work();
        }
        let done = work()?;
        self.post(None, Mail::Embeddings, 0, &[]);
        Ok(done)
    }

    /// Sees to it that all ranks read the same.
    ///
    /// # Errors
    /// Inputs that differ, by what they are for.
    pub(in crate::train) fn agree_on_inputs(&self, fingerprints: &Fingerprints) -> Result<()> {
        if self.are_one() {
            return Ok(());
        }
        let inputs: Value = fingerprints.wait()?.iter().map(Fingerprint::to_json).collect();
        let all = self.gather((Mail::Inputs, 0), inputs.to_string().into_bytes(), "at the start")?;
        self.broadcast((Mail::Inputs, 1), "at the start", || {
            let lists: Vec<_> = all.iter().map(|bytes| contents(bytes)).collect();
            for (rank, list) in lists.iter().enumerate() {
                let other = list.iter().find(|(role, content)| lists[0].get(*role) != Some(*content));
                let missing = lists[0].iter().find(|(role, _)| !list.contains_key(*role));
                if let Some((role, _)) = other.or(missing) {
                    let problem =
                        format!("{role} is another on rank {rank} than on rank 0; give all ranks the same files");
                    return Err(Error::argument("inputs", problem));
                }
            }
            Ok(Vec::new())
        })?;
        Ok(())
    }

    /// The checkpoint that rank 0 finds to go on from, as each rank reads it.
    ///
    /// # Errors
    /// Another rank does not see it.
    pub(in crate::train) fn same_checkpoint(
        &self,
        checkpoints: &Checkpoints,
        out: &Path,
    ) -> Result<Option<Checkpoint>> {
        let mut found = None;
        let step = self.broadcast((Mail::Checkpoint, 0), "at the start", || {
            found = checkpoints.newest()?;
            Ok(to_bytes(found.as_ref().map(|checkpoint| checkpoint.state.step)))
        })?;
        match to_words(&step).first() {
            Some(step) if !self.is_root() => checkpoints.of_step(*step).map(Some).map_err(|e| {
                let (rank, out) = (self.rank(), out.display());
                Error::argument(
                    "resume",
                    format!("rank {rank} must see rank 0's folder {out}, to go on from step {step}: {e}"),
                )
            }),
            _ => Ok(found),
        }
    }
}

/// Each input's content, by what it is for.
fn contents(bytes: &[u8]) -> BTreeMap<String, Vec<(u64, u32)>> {
    let list: Vec<Value> = serde_json::from_slice(bytes).unwrap_or_default();
    let mut contents = BTreeMap::<String, Vec<(u64, u32)>>::new();
    for found in list.iter().filter_map(Fingerprint::from_json) {
        contents.entry(found.role().to_owned()).or_default().push(found.sums());
    }
    contents
}

/// Compares what ranks say of themselves with what rank 0 does.
fn compare(all: &[Vec<u8>]) -> Result<()> {
    let all: Vec<Value> = all.iter().map(|bytes| serde_json::from_slice(bytes).unwrap_or_default()).collect();
    let refuse = |what: &str, rank: usize, (first, other): (&Value, &Value)| {
        let show = |value: &Value| value.as_str().filter(|s| !s.is_empty()).unwrap_or("unset").to_owned();
        let problem = format!("{what} is {} on rank 0 and {} on rank {rank}", show(first), show(other));
        Err(Error::argument("ranks", format!("{problem}; start all ranks alike")))
    };
    for (rank, other) in all.iter().enumerate() {
        if other["version"] != all[0]["version"] {
            return refuse("realign's version", rank, (&all[0]["version"], &other["version"]));
        }
        for (key, value) in all[0]["settings"].as_object().into_iter().flatten() {
            if other["settings"][key] != *value {
                return refuse(key, rank, (value, &other["settings"][key]));
            }
        }
    }
    let adapters: std::collections::BTreeSet<&str> = all.iter().filter_map(|rank| rank["adapter"].as_str()).collect();
    if adapters.len() > 1 {
        let names = adapters.into_iter().collect::<Vec<_>>().join(", ");
        log::warn!(
            "ranks compute on different adapters ({names}): gradients are the same on all, what they learn may come apart in the last bits, \
             and rank 0's is written"
        );
    }
    Ok(())
}
