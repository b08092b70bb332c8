//! Data-parallel training: several processes, *ranks* of a *communicator*, share each step's batches.
//!
//! Rank `r` of `n` computes the batches `r`, `r + n`, `r + 2n`, … of a step. What of a batch's gradients is complete, layer by layer from the
//! last, is read from the device and sent while the device goes on with the next layer. A bucket is cut into segments; each has an owner, who
//! adds up the batches' segments in the order of the batches and sends the sum to all (a reduce-scatter and an all-gather). Since one rank adds
//! up whole batches in the same order ([`Trainer::sum_whole_batches`](super::Trainer::sum_whole_batches)), `n` ranks come to its bits.
//!
//! All that is asked of a network is [`Communicator`]: messages that nobody waits for. A thread of its own drives it, see [`Ranks`].

mod agree;
mod local;
mod segments;
mod share;
#[cfg(test)]
mod simulation;
mod state;
mod worker;

use std::fmt::Debug;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use local::{Link, LocalCommunicator, local_communicators};
pub(super) use share::Exchange;

use crate::{Error, Result};
pub(super) use segments::Contribution;
pub(super) use state::Mail;
use state::{InVain, Shared};
use worker::{Job, Worker};

/// How long a rank waits in silence before it says for whom.
const PATIENCE: Duration = Duration::from_secs(10);

/// Messages between the ranks of a run, from 0 to `size() - 1`. All calls come from the thread that made it.
pub trait Communicator {
    /// The number of this rank.
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn size(&self) -> usize;

    /// Begins to send a message to another rank. Never waits; messages between two ranks arrive in the order in which they were sent.
    ///
    /// # Errors
    /// The other rank is gone.
    fn send(&mut self, to: usize, message: Vec<u8>) -> Result<()>;

    /// The next message that has come, and the rank that sent it. Never waits.
    ///
    /// # Errors
    /// A rank is gone.
    fn receive(&mut self) -> Result<Option<(usize, Vec<u8>)>>;

    /// Whether all that was sent has left this process.
    ///
    /// # Errors
    /// A rank is gone.
    fn is_flushed(&mut self) -> Result<bool>;

    /// Ends the processes of all ranks, where these are such: one of them does not answer any more.
    fn abort(&mut self);
}

/// The ranks that share a run, as one of them sees them. A clone is the same.
#[derive(Clone, Debug)]
pub struct Ranks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    rank: usize,
    size: usize,
    jobs: Mutex<Option<Sender<Job>>>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    patience: Duration,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The thread ends when nobody can give it anything to do.
        *self.jobs.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
        if let Some(thread) = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take()
            && thread.join().is_err()
        {
            log::error!("the thread of rank {}'s messages was lost", self.rank);
        }
    }
}

impl Ranks {
    /// A run of one process, which sends nothing.
    pub fn alone() -> Ranks {
        Ranks(Arc::new(Inner {
            rank: 0,
            size: 1,
            jobs: Mutex::new(None),
            shared: Arc::new(Shared::new(1)),
            thread: Mutex::new(None),
            patience: PATIENCE,
        }))
    }

    /// The ranks of a communicator, which `make` makes in the thread that drives it.
    ///
    /// # Errors
    /// What `make` says; no thread can be made.
    pub fn new<C: Communicator>(make: impl FnOnce() -> Result<C> + Send + 'static) -> Result<Ranks> {
        let (jobs, to_do) = channel();
        let (said, hear) = channel();
        let work = move || {
            let communicator = match make() {
                Ok(communicator) => communicator,
                Err(e) => return drop(said.send(Err(e))),
            };
            let (rank, size) = (communicator.rank(), communicator.size());
            let shared = Arc::new(Shared::new(size));
            if said.send(Ok((rank, size, shared.clone()))).is_ok() {
                Worker::new(communicator, to_do, shared).run();
            }
        };
        let thread = std::thread::Builder::new().name("ranks".to_owned()).spawn(work);
        let thread = thread.map_err(Error::io("start a thread for", "the ranks' messages"))?;
        let lost = || Err(Error::argument("ranks", "the thread of their messages was lost"));
        let (rank, size, shared) = hear.recv().unwrap_or_else(|_| lost())?;
        let (jobs, thread) = (Mutex::new(Some(jobs)), Mutex::new(Some(thread)));
        Ok(Ranks(Arc::new(Inner { rank, size, jobs, shared, thread, patience: PATIENCE })))
    }

    /// The same with another time in silence before it is said who is late, by default 10 s. To be called before it is cloned.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Ranks {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.patience = patience;
        }
        self
    }

    /// The number of this rank, from 0.
    pub fn rank(&self) -> usize {
        self.0.rank
    }

    /// How many ranks there are.
    pub fn size(&self) -> usize {
        self.0.size
    }

    /// Whether this is the rank that writes: rank 0.
    pub fn is_root(&self) -> bool {
        self.rank() == 0
    }

    /// Whether there is no other.
    pub fn are_one(&self) -> bool {
        self.size() == 1
    }

    /// How long this rank has waited for others so far, with nothing else to do.
    pub fn waited(&self) -> Duration {
        self.0.shared.waited()
    }

    /// Bytes that this rank has sent so far.
    pub fn sent(&self) -> u64 {
        self.0.shared.sent()
    }

    fn give(&self, job: Job) {
        let jobs = self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(jobs) = &*jobs {
            // A thread that has ended has said why.
            let _ = jobs.send(job);
        }
    }

    /// The error of another rank, if there was one.
    ///
    /// # Errors
    /// That one.
    pub(super) fn check(&self) -> Result<()> {
        match self.0.shared.lock().failed.clone() {
            None => Ok(()),
            Some((rank, problem)) => Err(Error::Rank { rank, problem }),
        }
    }

    /// Tells the others that this rank's part of the run ends here, and why. An error that came from another rank they know.
    pub(super) fn tell_end(&self, problem: &str) {
        self.give(Job::Abort(problem.to_owned()));
    }

    /// Says that this rank is done with a step's batches.
    pub(super) fn tell_progress(&self, step: u64) {
        self.give(Job::Progress(step));
    }

    pub(super) fn contribute(&self, contribution: Contribution) {
        self.give(Job::Contribute(contribution));
    }

    /// A bucket's sum that has come and was not taken.
    pub(super) fn take_sum(&self) -> Option<(u64, usize, Vec<u8>)> {
        self.0.shared.lock().sums.pop_front()
    }

    /// Sends bytes to one rank or all others, under a name and a number.
    pub(super) fn post(&self, to: Option<usize>, mail: Mail, number: u64, bytes: &[u8]) {
        self.give(Job::Post { to, mail, number, bytes: bytes.to_vec() });
    }

    /// What another rank posted, if it has come.
    pub(super) fn take(&self, from: usize, mail: Mail, number: u64) -> Option<Vec<u8>> {
        self.0.shared.lock().mail.remove(&(from, mail as u32, number))
    }

    /// Waits for news of any kind, a moment at the most; says who is late when that lasts.
    ///
    /// # Errors
    /// That of another rank.
    pub(super) fn wait(&self, what: &str, late: impl FnOnce(&[u64]) -> Vec<usize>) -> Result<()> {
        let began = Instant::now();
        let in_vain = self.0.shared.wait(self.0.patience, late);
        self.0.shared.add_waited(began.elapsed());
        self.check()?;
        match in_vain {
            None => Ok(()),
            Some(InVain::Gone(rank)) => Err(Error::Rank { rank, problem: "ended before the others".to_owned() }),
            Some(InVain::Late(seconds, late)) => {
                // One rank says it: the first of those that wait.
                if (0..self.rank()).all(|rank| late.contains(&rank)) && !late.is_empty() {
                    let names: Vec<String> = late.iter().map(usize::to_string).collect();
                    let ranks = if late.len() == 1 { "rank" } else { "ranks" };
                    // Where rank 0 is the late one, another says it, of which nothing but errors may be shown.
                    let level = if self.is_root() { log::Level::Warn } else { log::Level::Error };
                    log::log!(level, "{what}: waiting for {ranks} {}, {seconds} s so far", names.join(", "));
                }
                Ok(())
            }
        }
    }

    /// Waits for what a rank posts.
    ///
    /// # Errors
    /// That of another rank.
    pub(super) fn hear(&self, from: usize, (mail, number): (Mail, u64), what: &str) -> Result<Vec<u8>> {
        loop {
            if let Some(bytes) = self.take(from, mail, number) {
                return Ok(bytes);
            }
            self.wait(what, |_| vec![from])?;
        }
    }

    /// What each rank says, by rank: an all-gather, which waits for all.
    ///
    /// # Errors
    /// That of another rank.
    pub(super) fn gather(&self, mail: (Mail, u64), bytes: Vec<u8>, what: &str) -> Result<Vec<Vec<u8>>> {
        self.post(None, mail.0, mail.1, &bytes);
        let mut own = Some(bytes);
        let mut one = |rank| match rank == self.rank() {
            true => Ok(own.take().unwrap_or_default()),
            false => self.hear(rank, mail, what),
        };
        (0..self.size()).map(&mut one).collect()
    }

    /// What rank 0 says, which it computes by `say`; the others wait for it: a broadcast.
    ///
    /// # Errors
    /// What `say` or another rank says.
    pub(super) fn broadcast(
        &self,
        mail: (Mail, u64),
        what: &str,
        say: impl FnOnce() -> Result<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        if !self.is_root() {
            return self.hear(0, mail, what);
        }
        let bytes = say()?;
        self.post(None, mail.0, mail.1, &bytes);
        Ok(bytes)
    }
}
