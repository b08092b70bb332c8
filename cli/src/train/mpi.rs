//! Ranks that are processes of an MPI job.

use std::collections::VecDeque;

use mpi::Threading;
use mpi::environment::Universe;
use mpi::point_to_point::MatchedReceiveVec;
use mpi::request::{Request, StaticScope};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator as _, Destination, Source};

use realign::train::Communicator;
use realign::{Error, Result};

/// Most bytes of a message: MPI counts them in 31 bits. Segments, of 4 MiB, and all else are far below.
const MOST: usize = 1 << 30;

/// A message that MPI has not sent yet.
struct Leaving {
    request: Request<'static, [u8], StaticScope>,
    bytes: *mut [u8],
}

/// The world of an MPI job.
pub struct MpiCommunicator {
    leaving: VecDeque<Leaving>,
    world: SimpleCommunicator,
    /// Last: MPI ends with it.
    _universe: Universe,
}

/// Starts MPI in this thread, which must make all further calls; it ends when the communicator is dropped.
///
/// # Errors
/// MPI was started before, or allows no threads beside the one that calls it.
pub fn mpi_communicator() -> Result<MpiCommunicator> {
    let problem = "MPI was started in this process before; it may be once";
    let (universe, threading) =
        mpi::initialize_with_threading(Threading::Funneled).ok_or_else(|| Error::argument("ranks", problem))?;
    if threading < Threading::Funneled {
        let problem =
            "this MPI library allows no other threads in its processes; take one that gives MPI_THREAD_FUNNELED";
        return Err(Error::argument("ranks", problem));
    }
    let world = universe.world();
    Ok(MpiCommunicator { leaving: VecDeque::new(), world, _universe: universe })
}

impl MpiCommunicator {
    /// Takes back the memory of messages that were sent.
    fn sweep(&mut self) {
        for _ in 0..self.leaving.len() {
            let Some(Leaving { request, bytes }) = self.leaving.pop_front() else { return };
            match request.test() {
                Ok(_) => free(bytes),
                Err(request) => self.leaving.push_back(Leaving { request, bytes }),
            }
        }
    }
}

/// Gives back the memory of a message that MPI is done with.
fn free(bytes: *mut [u8]) {
    // SAFETY: the pointer is that of `Box::into_raw` in `send`, and comes here once, when its request is complete: MPI and the
    // request's borrow are done with it.
    #[expect(unsafe_code, reason = "a message must outlive its sending, whose end is not that of any scope")]
    drop(unsafe { Box::from_raw(bytes) });
}

impl Communicator for MpiCommunicator {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn size(&self) -> usize {
        self.world.size() as usize
    }

    fn send(&mut self, to: usize, message: Vec<u8>) -> Result<()> {
        if message.len() > MOST {
            let problem = format!("a message of {} bytes; {MOST} are the most", message.len());
            return Err(Error::argument("ranks", problem));
        }
        let bytes = Box::into_raw(message.into_boxed_slice());
        // SAFETY: the memory was just given up by its box, and is freed by `free` alone, once the request is complete; nobody writes to it.
        #[expect(unsafe_code, reason = "a message must outlive its sending, whose end is not that of any scope")]
        let lent: &'static [u8] = unsafe { &*bytes };
        let request = self.world.process_at_rank(to as i32).immediate_send(StaticScope, lent);
        self.leaving.push_back(Leaving { request, bytes });
        Ok(())
    }

    fn receive(&mut self) -> Result<Option<(usize, Vec<u8>)>> {
        self.sweep();
        Ok(self.world.any_process().immediate_matched_probe().map(|message| {
            let (bytes, status) = message.matched_receive_vec::<u8>();
            (status.source_rank() as usize, bytes)
        }))
    }

    fn is_flushed(&mut self) -> Result<bool> {
        self.sweep();
        Ok(self.leaving.is_empty())
    }

    fn abort(&mut self) {
        // Ends this process, too, and does not return.
        self.world.abort(1)
    }
}

impl Drop for MpiCommunicator {
    fn drop(&mut self) {
        // MPI still reads what it was lent: that is waited for, or, where a thread panics, given up.
        for Leaving { request, bytes } in self.leaving.drain(..) {
            request.wait_without_status();
            free(bytes);
        }
    }
}
