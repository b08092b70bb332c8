//! A study: the protocol over several seeds, and what it says to the paper's claims.

use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use super::evaluation::Outcome;
use super::jobs::{Jobs, Place, Reports, default_jobs};
use super::plan::{Preparation, plan};
use super::protocol::{Materials, Progress, ProtocolSettings};
use super::results::{Results, claim_folder};
use crate::Result;
use crate::device::Device;
use crate::train::Start;

/// What a study runs.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct StudyOptions {
    /// Seeds 0 to below this.
    pub seeds: u64,
    /// Every aligner and ablation, with and without noise; long captions; smaller pools of texts.
    pub full: bool,
    /// A tenth of the steps: a try-out whose numbers mean little.
    pub quick: bool,
    /// Rows that run side by side; results do not depend on it. By default as many as cores on the host engine, 1 on a GPU.
    pub jobs: Option<usize>,
    /// What to do about an earlier study in the folder; to resume, its rows are not run again.
    pub start: Start,
}

impl Default for StudyOptions {
    fn default() -> Self {
        StudyOptions { seeds: 3, full: false, quick: false, jobs: None, start: Start::New }
    }
}

/// What a study reports, one at a time.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum StudyEvent<'a> {
    /// It begins; in the end there will be so many rows.
    Begins {
        /// Rows of all seeds, those of an earlier study included.
        rows: u64,
    },
    /// A preparation is done.
    Prepared {
        /// Its name.
        preparation: &'a str,
        /// Its seed.
        seed: u64,
        /// Rows done so far.
        done: u64,
        /// What its rows share.
        materials: &'a Materials,
    },
    /// A row is done.
    Row {
        /// The preparation's name.
        preparation: &'a str,
        /// Its seed.
        seed: u64,
        /// Rows done so far.
        done: u64,
        /// What the row came to.
        outcome: &'a Outcome,
    },
    /// Something goes on.
    Progress(Progress<'a>),
}

/// Called with what a study reports, from whichever thread has something to say, one call at a time. Returning an error stops it.
pub type StudyWatch<'a> = dyn FnMut(StudyEvent<'_>) -> Result<()> + Send + 'a;

/// Runs a study in a folder of its own, and keeps its results there as they come. Returns what the results file holds: see
/// [`Results::save`].
///
/// # Errors
/// As [`claim_folder`] and [`Results::resume`]; what a preparation, a row, the disk or `watch` say.
pub fn study(device: &Device, out: &Path, options: &StudyOptions, watch: &mut StudyWatch<'_>) -> Result<Value> {
    let plan = plan(options.full);
    let head = json!({
        "device": device.name(), "seeds": options.seeds, "full": options.full, "quick": options.quick,
    });
    let mut results = Results::new(out, &plan, head);
    let (earlier, _lock) = claim_folder(out, options.start)?;
    if earlier {
        results = results.resume()?;
    }
    watch(StudyEvent::Begins { rows: options.seeds * plan.iter().map(|p| p.rows.len() as u64).sum::<u64>() })?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = options.jobs.unwrap_or_else(|| default_jobs(device, cores)).max(1);
    let settings = |seed| if options.quick { ProtocolSettings::quick(seed) } else { ProtocolSettings::of_seed(seed) };
    let jobs = Jobs { device, plan: &plan, seeds: options.seeds, out, settings: &settings, jobs };
    let mut live = Live { plan: &plan, results, start: Instant::now(), watch };
    jobs.run(&mut live)?;
    live.results.save(true, live.start.elapsed().as_secs_f64())
}

/// Keeps what comes, and tells it.
struct Live<'a, 'w> {
    plan: &'a [Preparation],
    results: Results<'a>,
    start: Instant,
    watch: &'a mut StudyWatch<'w>,
}

impl Live<'_, '_> {
    fn save(&self) -> Result<()> {
        self.results.save(false, self.start.elapsed().as_secs_f64()).map(drop)
    }
}

impl Reports for Live<'_, '_> {
    fn has(&self, place: Place, row: usize) -> bool {
        self.results.has(place, row)
    }

    fn prepared(&mut self, place: Place, materials: &Materials) -> Result<()> {
        self.results.prepared(place, materials);
        self.save()?;
        let (preparation, done) = (self.plan[place.preparation].name, self.results.len() as u64);
        (self.watch)(StudyEvent::Prepared { preparation, seed: place.seed, done, materials })
    }

    fn row(&mut self, (place, row): (Place, usize), outcome: &Outcome, materials: &Materials) -> Result<()> {
        self.results.add((place, row), outcome, materials);
        self.save()?;
        let (preparation, done) = (self.plan[place.preparation].name, self.results.len() as u64);
        (self.watch)(StudyEvent::Row { preparation, seed: place.seed, done, outcome })
    }

    fn progress(&mut self, progress: Progress<'_>) -> Result<()> {
        (self.watch)(StudyEvent::Progress(progress))
    }
}
