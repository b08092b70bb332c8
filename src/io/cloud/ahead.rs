//! Fetching ahead: of what will be read, in pieces, several at once.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use tokio::task::JoinHandle;

use super::object::Asked;
use super::store;

/// Bytes of a request: a store gives a connection some 50 MB a second after a tenth of a second.
const PIECE: u64 = 4 << 20;
/// Pieces on their way or waiting to be read: all the memory that reading takes, 24 MiB.
const PIECES: usize = 6;
/// A read up to this size may look back: readers of pages look at a header and then at what it begins.
const PEEK: usize = 64 << 10;

/// Pieces of a plan, in order.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    planned: VecDeque<Range<u64>>,
    flying: VecDeque<Piece>,
    /// Memory of pieces that were read, for those to come: given back and taken anew, it would be scattered over the threads' own heaps.
    spare: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Piece {
    range: Range<u64>,
    state: State,
}

#[derive(Debug)]
enum State {
    Coming(Receiver<io::Result<Vec<u8>>>, JoinHandle<()>),
    Here(Vec<u8>),
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let State::Coming(_, task) = &self.state {
            task.abort();
        }
    }
}

impl Ahead {
    /// A plan of ranges, each behind the one before. Those that touch are fetched as one.
    pub fn new(ranges: impl IntoIterator<Item = Range<u64>>) -> Ahead {
        let mut joined: Vec<Range<u64>> = Vec::new();
        for range in ranges.into_iter().filter(|range| range.start < range.end) {
            match joined.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => joined.push(range),
            }
        }
        let pieces = |range: Range<u64>| {
            let end = range.end;
            range.step_by(PIECE as usize).map(move |at| at..(at + PIECE).min(end))
        };
        Ahead { planned: joined.into_iter().flat_map(pieces).collect(), ..Ahead::default() }
    }

    /// Fills the start of `out` as far as it was planned, and says how far.
    pub fn read(&mut self, asked: &Arc<Asked>, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        if !out.is_empty() {
            self.pass(offset);
        }
        while done < out.len() {
            let at = offset + done as u64;
            if out.len() > PEEK {
                self.pass(at);
            }
            self.start(asked)?;
            let Some(piece) = self.flying.iter_mut().find(|piece| piece.range.contains(&at)) else { break };
            let from = (at - piece.range.start) as usize;
            let bytes = piece.bytes()?;
            let n = (out.len() - done).min(bytes.len() - from);
            out[done..done + n].copy_from_slice(&bytes[from..from + n]);
            done += n;
        }
        Ok(done)
    }

    /// Forgets the pieces before a place.
    fn pass(&mut self, at: u64) {
        while self.flying.front().is_some_and(|piece| piece.range.end <= at) {
            if let Some(State::Here(bytes)) = self.flying.pop_front().as_mut().map(|piece| &mut piece.state) {
                self.spare.push(std::mem::take(bytes));
            }
        }
        while self.flying.is_empty() && self.planned.front().is_some_and(|range| range.end <= at) {
            self.planned.pop_front();
        }
    }

    /// Has as many pieces fetched as may be.
    fn start(&mut self, asked: &Arc<Asked>) -> io::Result<()> {
        while self.flying.len() < PIECES
            && let Some(range) = self.planned.pop_front()
        {
            let (tell, told) = sync_channel(1);
            let fetch = asked.clone().fetch(range.clone(), self.spare.pop().unwrap_or_default());
            let task = store::runtime()?.spawn(async move {
                // Whoever asked may be gone.
                let _ = tell.send(fetch.await);
            });
            self.flying.push_back(Piece { range, state: State::Coming(told, task) });
        }
        Ok(())
    }
}

impl Piece {
    /// Waits for it.
    fn bytes(&mut self) -> io::Result<&[u8]> {
        if let State::Coming(told, _) = &self.state {
            let lost = || Err(io::Error::other("the request ended without an answer"));
            self.state = State::Here(told.recv().unwrap_or_else(|_| lost())?);
        }
        match &self.state {
            State::Here(bytes) => Ok(bytes),
            State::Coming(..) => Ok(&[]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_cut_into_pieces_and_touching_ranges_are_one() {
        let plan = Ahead::new([0..10, 10..PIECE, 5..5, PIECE + 7..2 * PIECE + 8]);
        let pieces: Vec<_> = plan.planned.into_iter().collect();
        assert_eq!(pieces, [0..PIECE, PIECE + 7..2 * PIECE + 7, 2 * PIECE + 7..2 * PIECE + 8]);
    }
}
