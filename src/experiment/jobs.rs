//! Preparations and rows on several threads. A row depends on its preparation alone: results are the same for any number.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::evaluation::{Outcome, run_arm};
use super::plan::Preparation;
use super::protocol::{Materials, Progress, ProtocolSettings};
use crate::device::{Device, DeviceKind};
use crate::{Error, Result};

/// A preparation of a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Its number in the plan.
    pub preparation: usize,
    /// The seed.
    pub seed: u64,
}

/// What the threads report. Calls come one at a time.
pub trait Reports: Send {
    /// Whether there is a result of this row from before.
    fn has(&self, place: Place, row: usize) -> bool;
    /// A preparation is done.
    ///
    /// # Errors
    /// What ends everything: a results file that cannot be written, a stop.
    fn prepared(&mut self, place: Place, materials: &Materials) -> Result<()>;
    /// A row is done.
    ///
    /// # Errors
    /// As [`Reports::prepared`].
    fn row(&mut self, place: (Place, usize), outcome: &Outcome, materials: &Materials) -> Result<()>;
    /// Something goes on.
    ///
    /// # Errors
    /// As [`Reports::prepared`].
    fn progress(&mut self, progress: Progress<'_>) -> Result<()>;
}

/// What is to be done, where, and how.
pub struct Jobs<'a> {
    /// Where everything runs.
    pub device: &'a Device,
    /// What is run.
    pub plan: &'a [Preparation],
    /// Seeds 0 to below this.
    pub seeds: u64,
    /// The folder for everything that is made.
    pub out: &'a Path,
    /// The settings of a seed, before a preparation changes them.
    pub settings: &'a (dyn Fn(u64) -> ProtocolSettings + Sync),
    /// Threads.
    pub jobs: usize,
}

enum Task {
    Prepare(Place),
    Row(Place, usize, Arc<Materials>),
}

/// What the threads share.
struct State<'a> {
    tasks: VecDeque<Task>,
    /// Preparations that are not done: their rows are not among the tasks yet.
    preparing: usize,
    failure: Option<Error>,
    reports: &'a mut dyn Reports,
}

/// Threads for so many units of work: as many as cores on the host engine, one on a GPU, which runs one after the other.
pub fn default_jobs(device: &Device, cores: usize) -> usize {
    if device.capabilities().kind == DeviceKind::Host { cores } else { 1 }
}

impl Jobs<'_> {
    /// Does what the reports do not have.
    ///
    /// # Errors
    /// No thread can be started; what a preparation, a row or the reports say.
    pub fn run(&self, reports: &mut dyn Reports) -> Result<()> {
        let places =
            (0..self.plan.len()).flat_map(|preparation| (0..self.seeds).map(move |seed| Place { preparation, seed }));
        let missing = |p: &Place| (0..self.plan[p.preparation].rows.len()).any(|row| !reports.has(*p, row));
        let tasks: VecDeque<Task> = places.filter(missing).map(Task::Prepare).collect();
        let state = State { preparing: tasks.len(), tasks, failure: None, reports };
        let shared = (Mutex::new(state), Condvar::new());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // The host engine's work runs on the pool of the thread that asks for it.
        let pools =
            (0..self.jobs).map(|_| rayon::ThreadPoolBuilder::new().num_threads((cores / self.jobs).max(1)).build());
        let pools = pools.collect::<Result<Vec<_>, _>>();
        let pools = pools.map_err(|e| Error::io("start", "threads")(std::io::Error::other(e)))?;
        std::thread::scope(|scope| {
            for pool in &pools {
                scope.spawn(|| pool.install(|| self.work(&shared)));
            }
        });
        match shared.0.into_inner().unwrap_or_else(PoisonError::into_inner).failure {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// One thread: takes tasks until there are no more, or one failed.
    fn work(&self, (state, changed): &(Mutex<State<'_>>, Condvar)) {
        let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(task) = next(lock(), changed) {
            let mut watch = |p: Progress<'_>| {
                let mut state = lock();
                if state.failure.is_some() { Err(Error::Stopped) } else { state.reports.progress(p) }
            };
            let done = match task {
                Task::Prepare(place) => self.prepare(place, &mut watch).and_then(|materials| {
                    let mut state = lock();
                    state.reports.prepared(place, &materials)?;
                    let rows = 0..self.plan[place.preparation].rows.len();
                    let rows: Vec<usize> = rows.filter(|row| !state.reports.has(place, *row)).collect();
                    state.tasks.extend(rows.into_iter().map(|row| Task::Row(place, row, materials.clone())));
                    state.preparing -= 1;
                    Ok(())
                }),
                Task::Row(place, row, materials) => {
                    let (arm, images) = self.plan[place.preparation].rows[row];
                    run_arm(self.device, &materials, arm, images, &mut watch)
                        .and_then(|outcome| lock().reports.row((place, row), &outcome, &materials))
                }
            };
            if let Err(error) = done {
                // The first one says what happened; the others were stopped by it.
                lock().failure.get_or_insert(error);
            }
            changed.notify_all();
        }
    }

    fn prepare(&self, place: Place, watch: &mut dyn FnMut(Progress<'_>) -> Result<()>) -> Result<Arc<Materials>> {
        let preparation = &self.plan[place.preparation];
        let mut settings = (self.settings)(place.seed);
        (preparation.change)(&mut settings);
        let out = folder(self.out, preparation.name, place.seed);
        // What an earlier, stopped experiment left is made again: it may be half done.
        if out.exists() {
            std::fs::remove_dir_all(&out).map_err(Error::io("remove", &out))?;
        }
        Ok(Arc::new(Materials::prepare(self.device, &out, settings, watch)?))
    }
}

fn folder(out: &Path, name: &str, seed: u64) -> PathBuf {
    out.join(name.replace(' ', "-")).join(format!("seed-{seed}"))
}

/// The next task; waits while there may be one.
fn next<'a>(mut state: MutexGuard<'a, State<'_>>, changed: &Condvar) -> Option<Task> {
    loop {
        if state.failure.is_some() {
            return None;
        }
        if let Some(task) = state.tasks.pop_front() {
            return Some(task);
        }
        if state.preparing == 0 {
            return None;
        }
        state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}
