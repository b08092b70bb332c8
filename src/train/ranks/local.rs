//! Ranks within one process, a thread each: for tests, and to see what a network would do to a run.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use super::Communicator;
use crate::{Error, Result};

/// What messages take on their way. Each rank sends its own one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Link {
    /// Of each message.
    pub latency: Duration,
    /// That a rank sends; 0 is without a limit.
    pub bytes_per_second: f64,
}

type Timed = (Instant, Vec<u8>);

/// One of the ranks of [`local_communicators`].
#[derive(Debug)]
pub struct LocalCommunicator {
    rank: usize,
    link: Link,
    /// When the link is free again.
    free: Instant,
    to: Vec<Sender<Timed>>,
    from: Vec<Receiver<Timed>>,
    /// What has come and is not due.
    coming: Vec<VecDeque<Timed>>,
    /// Ranks that were said to be gone: each once, so that none hides another.
    lost: Vec<bool>,
}

/// The communicators of `size` threads of this process, over such a link.
pub fn local_communicators(size: usize, link: Link) -> Vec<LocalCommunicator> {
    let mut to: Vec<Vec<Sender<Timed>>> = (0..size).map(|_| Vec::new()).collect();
    let mut from: Vec<Vec<Receiver<Timed>>> = (0..size).map(|_| Vec::new()).collect();
    for sender in &mut to {
        for receiver in &mut from {
            let (send, receive) = channel();
            sender.push(send);
            receiver.push(receive);
        }
    }
    let one = |(rank, (to, from))| {
        let coming = (0..size).map(|_| VecDeque::new()).collect();
        LocalCommunicator { rank, link, free: Instant::now(), to, from, coming, lost: vec![false; size] }
    };
    to.into_iter().zip(from).enumerate().map(one).collect()
}

fn gone(rank: usize) -> Error {
    Error::Rank { rank, problem: "is gone without a word".to_owned() }
}

impl Communicator for LocalCommunicator {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.to.len()
    }

    fn send(&mut self, to: usize, message: Vec<u8>) -> Result<()> {
        let rate = self.link.bytes_per_second;
        let takes = if rate > 0.0 { Duration::from_secs_f64(message.len() as f64 / rate) } else { Duration::ZERO };
        self.free = self.free.max(Instant::now()) + takes;
        // One that has ended needs nothing more; whether it was to end, what came from it tells.
        let _ = self.to.get(to).map(|to| to.send((self.free + self.link.latency, message)));
        Ok(())
    }

    fn receive(&mut self) -> Result<Option<(usize, Vec<u8>)>> {
        let now = Instant::now();
        let mut lost = None;
        for (rank, (from, coming)) in self.from.iter().zip(&mut self.coming).enumerate() {
            loop {
                match from.try_recv() {
                    Ok(message) => coming.push_back(message),
                    Err(TryRecvError::Disconnected) if coming.is_empty() && rank != self.rank && !self.lost[rank] => {
                        lost = lost.or(Some(rank));
                        break;
                    }
                    Err(_) => break,
                }
            }
            if coming.front().is_some_and(|(due, _)| *due <= now)
                && let Some((_, message)) = coming.pop_front()
            {
                return Ok(Some((rank, message)));
            }
        }
        let Some(rank) = lost else { return Ok(None) };
        self.lost[rank] = true;
        Err(gone(rank))
    }

    fn is_flushed(&mut self) -> Result<bool> {
        Ok(true)
    }

    /// Threads cannot be ended from outside: each ends when it hears of it.
    fn abort(&mut self) {}
}
