//! What the thread of the messages tells the run.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a message between runs is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(in crate::train) enum Mail {
    /// Who each rank is, and how it was told to train.
    Introduction,
    /// What rank 0 found out before it began.
    Beginning,
    /// Rank 0 has the embeddings.
    Embeddings,
    /// What the inputs hold.
    Inputs,
    /// The checkpoint that rank 0 goes on from.
    Checkpoint,
    /// A step's losses and its gradient's norm, of one rank.
    Numbers,
    /// The same of all.
    Total,
    /// What rank 0's evaluation found.
    Evaluation,
    /// What rank 0's evaluations had found up to the checkpoint.
    Evaluations,
    /// Whether a rank was asked to stop.
    Stop,
    /// Rank 0 has written everything.
    Written,
    /// A checksum of what a rank has learnt.
    Replica,
}

/// What has come.
#[derive(Debug)]
pub(super) struct State {
    /// Sums of buckets: the step, the bucket, its numbers.
    pub(super) sums: VecDeque<(u64, usize, Vec<u8>)>,
    /// By sender, kind and number.
    pub(super) mail: HashMap<(usize, u32, u64), Vec<u8>>,
    /// The rank that ended, and why.
    pub(super) failed: Option<(usize, String)>,
    /// Of each rank, how many steps' batches it is done with.
    pub(super) progress: Vec<u64>,
    /// Whether each has ended.
    pub(super) gone: Vec<bool>,
    turns: u64,
}

/// Since when the run waits and nothing comes.
#[derive(Debug)]
struct Silence {
    turns: u64,
    since: Instant,
    /// The end of the last wait.
    last: Instant,
    told: bool,
}

/// What a wait in vain found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum InVain {
    /// A rank that is waited for has ended.
    Gone(usize),
    /// So many seconds of patience are over; these are late.
    Late(u64, Vec<usize>),
}

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    silence: Mutex<Silence>,
    waited: AtomicU64,
    sent: AtomicU64,
}

/// How long a wait lasts at the most before the run looks around.
const TURN: Duration = Duration::from_millis(50);
/// A wait that took longer was none: this process was stopped, or its machine slept.
const STOPPED: Duration = Duration::from_millis(500);

impl Shared {
    pub(super) fn new(size: usize) -> Shared {
        let (sums, mail) = (VecDeque::new(), HashMap::new());
        let (progress, gone) = (vec![0; size], vec![false; size]);
        let state = State { sums, mail, failed: None, progress, gone, turns: 0 };
        let now = Instant::now();
        let silence = Silence { turns: 0, since: now, last: now, told: false };
        Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            silence: Mutex::new(silence),
            waited: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        state.turns += 1;
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until something has come since the last wait, a moment at the most. `late` says who is waited for, by the steps that each
    /// rank is done with.
    pub(super) fn wait(&self, patience: Duration, late: impl FnOnce(&[u64]) -> Vec<usize>) -> Option<InVain> {
        let mut silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.lock();
        let began = Instant::now();
        if state.turns == silence.turns && state.failed.is_none() {
            state = self.changed.wait_timeout(state, TURN).unwrap_or_else(PoisonError::into_inner).0;
        }
        let now = Instant::now();
        // Time in which this rank itself stood still says nothing of the others.
        let goes_on = began.duration_since(silence.last) < 4 * TURN && now.duration_since(began) < STOPPED;
        silence.last = now;
        if state.turns != silence.turns || !goes_on {
            *silence = Silence { turns: state.turns, since: now, last: now, told: false };
            return None;
        }
        let late = late(&state.progress);
        if let Some(rank) = late.iter().find(|rank| state.gone.get(**rank) == Some(&true)) {
            return Some(InVain::Gone(*rank));
        }
        let lasted = now.duration_since(silence.since);
        if silence.told || lasted < patience {
            return None;
        }
        silence.told = true;
        Some(InVain::Late(lasted.as_secs(), late))
    }

    pub(super) fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited.load(Ordering::Relaxed))
    }

    pub(super) fn add_waited(&self, time: Duration) {
        self.waited.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(super) fn add_sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A wait that cannot look at what came is as one of a process that is stopped.
    #[test]
    fn a_rank_that_stood_still_blames_nobody_for_it() {
        let (shared, patience) = (Shared::new(2), Duration::from_millis(400));
        let wait = || shared.wait(patience, |_| vec![1]);
        assert_eq!(wait(), None);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(wait);
            std::thread::sleep(TURN / 2);
            let held = shared.lock();
            std::thread::sleep(2 * STOPPED);
            drop(held);
            assert_eq!(waiting.join().unwrap(), None, "its own stop");
        });
        let began = Instant::now();
        let said = std::iter::repeat_with(wait).flatten().next();
        assert!(matches!(said, Some(InVain::Late(_, late)) if late == [1]));
        assert!(began.elapsed() >= patience / 2, "{:?}", began.elapsed());
    }
}
