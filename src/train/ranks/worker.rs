//! The thread that drives a communicator: it cuts, sends, adds up and puts together.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::super::settings::Reduce;
use super::Communicator;
use super::segments::{Contribution, Sum, cut, decode, encode, owner};
use super::state::{Mail, Shared};
use crate::Result;

/// What the run asks the thread for.
#[derive(Debug)]
pub(super) enum Job {
    Contribute(Contribution),
    /// So many steps' batches are done.
    Progress(u64),
    Post {
        to: Option<usize>,
        mail: Mail,
        number: u64,
        bytes: Vec<u8>,
    },
    /// The run ends here, for this reason.
    Abort(String),
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Kind {
    Part,
    Sum,
    Progress,
    Post,
    Abort,
    Bye,
    /// Rank 0 has heard of an error, and its run has not ended yet.
    Closing,
}

/// The head of a message.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Head {
    kind: u32,
    /// Of buckets: whether numbers are bf16. Of mail: what it is about.
    about: u32,
    bucket: u32,
    segment: u32,
    place: u32,
    count: u32,
    /// The step, or mail's number.
    number: u64,
    /// Of the whole bucket.
    numbers: u64,
}

const HEAD: usize = size_of::<Head>();

impl Head {
    fn of(kind: Kind, about: u32, number: u64) -> Head {
        Head { kind: kind as u32, about, bucket: 0, segment: 0, place: 0, count: 0, number, numbers: 0 }
    }

    fn reduce(&self) -> Reduce {
        if self.about == 0 { Reduce::F32 } else { Reduce::Bf16 }
    }

    fn message(&self, body: &[u8]) -> Vec<u8> {
        let mut message = Vec::with_capacity(HEAD + body.len());
        message.extend_from_slice(bytemuck::bytes_of(self));
        message.extend_from_slice(body);
        message
    }
}

/// A bucket's sum, as far as its segments have come.
#[derive(Debug)]
struct Assembly {
    bytes: Vec<u8>,
    missing: usize,
}

/// How long the thread sleeps at the most where nothing happens.
const LONGEST: Duration = Duration::from_millis(1);
/// How long the other ranks have to end in order, once one has told them that it does. That rank 0 lives begins it anew.
const GRACE: Duration = Duration::from_secs(10);
/// Signs of life of rank 0 within that time.
const SIGNS: u32 = 10;

pub(super) struct Worker<C> {
    communicator: C,
    jobs: Receiver<Job>,
    shared: Arc<Shared>,
    /// By step, bucket and segment.
    sums: HashMap<(u64, u32, u32), Sum>,
    /// By step and bucket.
    assemblies: HashMap<(u64, u32), Assembly>,
    /// Ranks that have ended.
    gone: Vec<bool>,
    /// Whether this run ended by an error, its own or another's.
    aborted: bool,
    grace: Duration,
    /// When rank 0 was last heard of.
    heard: Instant,
    /// When it last said that it lives.
    told: Instant,
}

impl<C: Communicator> Worker<C> {
    pub(super) fn new(communicator: C, jobs: Receiver<Job>, shared: Arc<Shared>) -> Self {
        let gone = vec![false; communicator.size()];
        let (sums, assemblies, now) = (HashMap::new(), HashMap::new(), Instant::now());
        let (aborted, grace, heard, told) = (false, GRACE, now, now);
        Worker { communicator, jobs, shared, sums, assemblies, gone, aborted, grace, heard, told }
    }

    /// Until nobody is left who could ask for something.
    pub(super) fn run(mut self) {
        let mut pause = Duration::ZERO;
        loop {
            let job = self.jobs.recv_timeout(pause);
            let done = match job {
                Ok(job) => self.work(job).map(|()| true),
                Err(RecvTimeoutError::Timeout) => Ok(false),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let done = done.and_then(|done| Ok(self.receive()? || done));
            self.tell_closing();
            match done {
                Ok(true) => pause = Duration::ZERO,
                Ok(false) => pause = (2 * pause).clamp(Duration::from_micros(20), LONGEST),
                Err(e) => {
                    self.fail(e);
                    pause = LONGEST;
                }
            }
        }
        self.end();
    }

    /// A rank is gone without a word.
    fn fail(&mut self, error: crate::Error) {
        let (rank, problem) = match error {
            crate::Error::Rank { rank, problem } => (rank, problem),
            other => (self.communicator.rank(), other.to_string()),
        };
        self.aborted = true;
        if let Some(gone) = self.gone.get_mut(rank) {
            *gone = true;
        }
        self.shared.change(|state| {
            state.failed.get_or_insert((rank, problem));
        });
    }

    /// Rank 0 may have a checkpoint to finish, or an evaluation, before its run ends by an error: the others, whose runs have ended, must not
    /// end it meanwhile.
    fn tell_closing(&mut self) {
        if self.aborted && self.communicator.rank() == 0 && self.told.elapsed() >= self.grace / SIGNS {
            self.told = Instant::now();
            self.say(Kind::Closing);
        }
    }

    /// To all others, even those that have said goodbye: they may wait for this rank's.
    fn say(&mut self, kind: Kind) {
        let message = Head::of(kind, 0, 0).message(&[]);
        let (rank, size) = (self.communicator.rank(), self.communicator.size());
        for to in (0..size).filter(|to| *to != rank) {
            self.shared.add_sent(message.len() as u64);
            if let Err(e) = self.communicator.send(to, message.clone())
                && !self.gone[to]
            {
                self.fail(e);
            }
        }
    }

    /// Says goodbye, and waits for the others' where an error ended the run; those that do not answer are ended.
    fn end(&mut self) {
        let began = Instant::now();
        self.say(Kind::Bye);
        let rank = self.communicator.rank();
        loop {
            // Nobody is left to be told of errors, but one that is gone without a word says no goodbye.
            if let Err(crate::Error::Rank { rank, .. }) = self.receive()
                && let Some(gone) = self.gone.get_mut(rank)
            {
                *gone = true;
            }
            let flushed = self.communicator.is_flushed().unwrap_or(true);
            let all_gone = self.gone.iter().enumerate().all(|(r, gone)| *gone || r == rank);
            if flushed && (all_gone || !self.aborted) {
                return;
            }
            if self.aborted && began.max(self.heard).elapsed() > self.grace {
                return self.communicator.abort();
            }
            std::thread::sleep(LONGEST);
        }
    }

    fn work(&mut self, job: Job) -> Result<()> {
        match job {
            Job::Contribute(contribution) => self.contribute(&contribution),
            Job::Progress(steps) => {
                let rank = self.communicator.rank();
                self.shared.lock().progress[rank] = steps;
                self.send_all(&Head::of(Kind::Progress, 0, steps).message(&[]))
            }
            Job::Post { to, mail, number, bytes } => {
                let message = Head::of(Kind::Post, mail as u32, number).message(&bytes);
                match to {
                    Some(to) => self.send(to, message),
                    None => self.send_all(&message),
                }
            }
            Job::Abort(problem) => {
                self.aborted = true;
                self.send_all(&Head::of(Kind::Abort, 0, 0).message(problem.as_bytes()))
            }
        }
    }

    fn send(&mut self, to: usize, message: Vec<u8>) -> Result<()> {
        if self.gone.get(to).copied().unwrap_or(true) {
            return Ok(());
        }
        self.shared.add_sent(message.len() as u64);
        self.communicator.send(to, message)
    }

    /// To all others.
    fn send_all(&mut self, message: &[u8]) -> Result<()> {
        let others = (0..self.communicator.size()).filter(|to| *to != self.communicator.rank()).collect::<Vec<_>>();
        others.into_iter().try_for_each(|to| self.send(to, message.to_vec()))
    }

    /// Sends the segments of a bucket to their owners.
    fn contribute(&mut self, given: &Contribution) -> Result<()> {
        let (numbers, ranks) = (given.bytes.len() / 4, self.communicator.size());
        let about = u32::from(given.reduce == Reduce::Bf16);
        for (segment, range) in cut(numbers, ranks).enumerate() {
            let head = Head {
                bucket: given.bucket as u32,
                segment: segment as u32,
                place: given.place.0 as u32,
                count: given.place.1 as u32,
                numbers: numbers as u64,
                ..Head::of(Kind::Part, about, given.step)
            };
            let mut message = head.message(&[]);
            encode(&given.bytes[4 * range.start..4 * range.end], given.reduce, &mut message);
            match owner(given.bucket, segment, ranks) {
                to if to == self.communicator.rank() => self.add(head, message.split_off(HEAD))?,
                to => self.send(to, message)?,
            }
        }
        Ok(())
    }

    /// Adds to the sum of a segment that this rank owns; all get it when it is complete.
    fn add(&mut self, head: Head, body: Vec<u8>) -> Result<()> {
        let key = (head.number, head.bucket, head.segment);
        let (place, reduce) = ((head.place as usize, head.count as usize), head.reduce());
        let sum = self.sums.entry(key).or_default();
        if !sum.take(place, body, reduce) {
            return Ok(());
        }
        let bytes = sum.encoded(reduce);
        self.sums.remove(&key);
        self.send_all(&Head { kind: Kind::Sum as u32, ..head }.message(&bytes))?;
        self.assemble(head, &bytes);
        Ok(())
    }

    /// Puts a segment's sum where it belongs; the run gets the bucket when it is complete.
    fn assemble(&mut self, head: Head, body: &[u8]) {
        let (key, numbers) = ((head.number, head.bucket), head.numbers as usize);
        let mut cuts = cut(numbers, self.communicator.size());
        let fresh = || Assembly { bytes: vec![0; 4 * numbers], missing: cuts.len() };
        let assembly = self.assemblies.entry(key).or_insert_with(fresh);
        if let Some(range) = cuts.nth(head.segment as usize) {
            decode(body, head.reduce(), &mut assembly.bytes[4 * range.start..4 * range.end]);
        }
        assembly.missing -= 1;
        if assembly.missing == 0
            && let Some(assembly) = self.assemblies.remove(&key)
        {
            let sum = (head.number, head.bucket as usize, assembly.bytes);
            self.shared.change(|state| state.sums.push_back(sum));
        }
    }

    /// Takes what has come; whether there was anything.
    fn receive(&mut self) -> Result<bool> {
        let mut any = false;
        loop {
            let (from, mut message) = match self.communicator.receive() {
                Ok(Some(came)) => came,
                Ok(None) => return Ok(any),
                // It had said goodbye.
                Err(crate::Error::Rank { rank, .. }) if self.gone.get(rank) == Some(&true) => return Ok(any),
                Err(e) => return Err(e),
            };
            any = true;
            if message.len() < HEAD {
                continue;
            }
            let body = message.split_off(HEAD);
            self.sort(from, bytemuck::pod_read_unaligned(&message), body)?;
        }
    }

    fn sort(&mut self, from: usize, head: Head, body: Vec<u8>) -> Result<()> {
        const PART: u32 = Kind::Part as u32;
        const SUM: u32 = Kind::Sum as u32;
        const PROGRESS: u32 = Kind::Progress as u32;
        const POST: u32 = Kind::Post as u32;
        const ABORT: u32 = Kind::Abort as u32;
        const CLOSING: u32 = Kind::Closing as u32;
        if from == 0 {
            self.heard = Instant::now();
        }
        match head.kind {
            PART => return self.add(head, body),
            SUM => self.assemble(head, &body),
            PROGRESS => self.shared.change(|state| state.progress[from] = head.number),
            POST => self.shared.change(|state| {
                state.mail.insert((from, head.about, head.number), body);
            }),
            ABORT => {
                self.aborted = true;
                let problem = String::from_utf8_lossy(&body).into_owned();
                self.shared.change(|state| {
                    state.failed.get_or_insert((from, problem));
                });
            }
            // It was heard of.
            CLOSING => {}
            _ => {
                self.gone[from] = true;
                self.shared.change(|state| state.gone[from] = true);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Sender, channel};
    use std::thread::{JoinHandle, sleep, spawn};

    use super::super::{Link, LocalCommunicator, local_communicators};
    use super::*;

    /// Threads that count how often one of them would have ended all.
    struct Counting(LocalCommunicator, Arc<AtomicUsize>);

    impl Communicator for Counting {
        fn rank(&self) -> usize {
            self.0.rank()
        }

        fn size(&self) -> usize {
            self.0.size()
        }

        fn send(&mut self, to: usize, message: Vec<u8>) -> Result<()> {
            self.0.send(to, message)
        }

        fn receive(&mut self) -> Result<Option<(usize, Vec<u8>)>> {
            self.0.receive()
        }

        fn is_flushed(&mut self) -> Result<bool> {
            self.0.is_flushed()
        }

        fn abort(&mut self) {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }

    const SHORT: Duration = Duration::from_secs(1);

    /// A thread, and what it is asked for.
    type Running = (Sender<Job>, JoinHandle<()>);

    /// Ranks whose grace is short, and how often one of them ended all.
    fn workers(size: usize) -> (Vec<Running>, Arc<AtomicUsize>) {
        let aborts = Arc::new(AtomicUsize::new(0));
        let one = |communicator| {
            let (jobs, to_do) = channel();
            let shared = Arc::new(Shared::new(size));
            let worker = Worker::new(Counting(communicator, aborts.clone()), to_do, shared);
            (jobs, spawn(move || Worker { grace: SHORT, ..worker }.run()))
        };
        let workers = local_communicators(size, Link::default()).into_iter().map(one).collect();
        (workers, aborts)
    }

    /// Rank 1 fails, and rank 2 hears of it at once; rank 0 has something to finish.
    #[test]
    fn rank_0_is_waited_for_as_long_as_it_lives() {
        let (workers, aborts) = workers(3);
        let (mut jobs, threads): (Vec<_>, Vec<_>) = workers.into_iter().unzip();
        jobs[1].send(Job::Abort("a full disk".to_owned())).unwrap();
        sleep(SHORT / 10);
        jobs.truncate(1);
        sleep(3 * SHORT);
        assert_eq!(aborts.load(Ordering::SeqCst), 0);
        assert!(threads.iter().all(|thread| !thread.is_finished()));
        let began = Instant::now();
        drop(jobs);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(aborts.load(Ordering::SeqCst), 0);
        assert!(began.elapsed() < SHORT, "no goodbye was lost: {:?}", began.elapsed());
    }

    /// Another one that does not come to its end is not waited for.
    #[test]
    fn a_rank_that_does_not_answer_is_ended() {
        let (workers, aborts) = workers(3);
        let (mut jobs, mut threads): (Vec<_>, Vec<_>) = workers.into_iter().unzip();
        jobs[1].send(Job::Abort("a full disk".to_owned())).unwrap();
        sleep(SHORT / 10);
        let hangs = (jobs.pop(), threads.pop());
        drop(jobs);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(aborts.load(Ordering::SeqCst), 2);
        drop(hangs.0);
        hangs.1.into_iter().for_each(|thread| thread.join().unwrap());
    }
}
