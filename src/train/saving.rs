//! Checkpoints that are written while the run goes on.
//!
//! What a checkpoint holds changes in one place of a step, the optimiser. So the checkpoint of a step is copied from the device piece by
//! piece while the passes of the next step run, and its optimiser is not submitted before the last of the copies was: a device does what it
//! is given in order, and so every piece is as it was. A thread of its own checks the pieces, sums them, writes and hands them to the disk,
//! and gives the folder its name; the run does not wait for that.
//!
//! On the device this takes no memory but the copies' staging buffers, [`IN_FLIGHT`] bytes at the most. In the host's memory, pieces that
//! the thread has not written yet take [`Settings::checkpoint_memory`](super::Settings::checkpoint_memory) at the most; what is beyond is
//! copied as the disk takes in what came before, and if the next step's passes are done by then, its optimiser waits for that.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;

use super::checkpoint::CheckpointWriter;
use super::run::Run;
use super::step::{Phase, Tick};
use crate::device::{Buffer, Device, Pending};
use crate::optim::Content;
use crate::{Error, Result};

/// Bytes that are on their way from the device at the most.
pub(super) const IN_FLIGHT: u64 = 64 << 20;
/// Bytes of a piece, unless a single row has more.
const PIECE: u64 = 4 << 20;
/// Bytes that are copied within a frame.
pub(super) const FRAME: u64 = 16 << 20;

/// A buffer of the checkpoint.
#[derive(Debug)]
pub(super) struct Source {
    tensor: Arc<str>,
    buffer: Buffer,
    /// Bytes that count; rows are padded.
    bytes: u64,
    rows: Option<Rows>,
}

/// How the rows of a tensor of numbers lie in its buffer.
#[derive(Clone, Copy, Debug)]
struct Rows {
    padded: usize,
    tight: usize,
}

impl Source {
    /// The buffers of a tensor, in order.
    pub(super) fn of(name: &str, content: &Content) -> Vec<Source> {
        let tensor: Arc<str> = name.into();
        match content {
            Content::Numbers(table) => {
                let shards = table.shards().map(|(_, shard)| {
                    let (padded, tight) = (shard.row_bytes(), shard.width() * shard.element_type().bytes());
                    let (bytes, rows) = ((shard.rows() * padded) as u64, Some(Rows { padded, tight }));
                    Source { tensor: tensor.clone(), buffer: shard.buffer().clone(), bytes, rows }
                });
                shards.collect()
            }
            Content::Bytes(buffers) => {
                let one = |(buffer, count): &(Buffer, usize)| Source {
                    tensor: tensor.clone(),
                    buffer: buffer.clone(),
                    bytes: *count as u64,
                    rows: None,
                };
                buffers.iter().map(one).collect()
            }
        }
    }

    /// Bytes of a piece: whole rows, or a multiple of 4.
    fn piece(&self) -> u64 {
        self.rows.map_or(PIECE, |rows| (PIECE / rows.padded as u64).max(1) * rows.padded as u64)
    }
}

/// A piece that the thread is to write.
#[derive(Debug)]
struct Block {
    tensor: Arc<str>,
    bytes: Vec<u8>,
    /// Those that count.
    count: usize,
    rows: Option<Rows>,
}

/// What the run and the thread tell each other.
#[derive(Debug, Default)]
struct State {
    /// Bytes of pieces that were begun and are not written.
    held: u64,
    /// Pieces' memory, to be used again.
    spare: Vec<Vec<u8>>,
    /// Whether the thread is at its end.
    ended: bool,
    /// Changes of the two above.
    turns: u64,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        state.turns += 1;
        drop(state);
        self.changed.notify_all();
    }
}

/// A checkpoint on its way. Dropped, it is finished first.
#[derive(Debug)]
pub(super) struct Saving {
    step: u64,
    device: Device,
    /// Buffers of which something is left to copy, and how much of the first one was.
    sources: VecDeque<Source>,
    copied: u64,
    /// Copies that have not come yet, in order.
    coming: VecDeque<(Block, Pending<Vec<u8>>)>,
    in_flight: u64,
    most_held: u64,
    blocks: Option<mpsc::Sender<Block>>,
    shared: Arc<Shared>,
    /// The last of the thread's turns that was looked at.
    seen: u64,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Saving {
    /// Begins to copy buffers of a step's checkpoint, holding `most` bytes in the host's memory.
    ///
    /// # Errors
    /// No thread can be made.
    pub(super) fn begin(
        device: &Device,
        (step, most_held): (u64, u64),
        sources: Vec<Source>,
        writer: CheckpointWriter,
    ) -> Result<Saving> {
        let shared = Arc::new(Shared::default());
        let (blocks, to_write) = mpsc::channel();
        let theirs = shared.clone();
        let path = writer.path().to_path_buf();
        let work = move || {
            // Said however the thread ends.
            let ending = Ending(theirs);
            write(writer, &to_write, &ending.0)
        };
        let thread = std::thread::Builder::new().name("checkpoint".to_owned()).spawn(work);
        let thread = Some(thread.map_err(Error::io("start a thread for", &path))?);
        let sources = sources.into_iter().filter(|source| source.bytes > 0).collect();
        let (coming, device) = (VecDeque::new(), device.clone());
        let blocks = Some(blocks);
        let mut saving = Saving {
            step,
            device,
            sources,
            copied: 0,
            coming,
            in_flight: 0,
            most_held,
            blocks,
            shared,
            seen: 0,
            thread,
        };
        saving.close_if_complete();
        Ok(saving)
    }

    /// The checkpoint's step.
    pub(super) fn step(&self) -> u64 {
        self.step
    }

    /// Whether every copy was submitted: what it holds may change.
    pub(super) fn is_copied(&self) -> bool {
        self.sources.is_empty()
    }

    /// Whether nothing goes on before the thread has written something.
    pub(super) fn is_behind(&self) -> bool {
        self.coming.is_empty()
    }

    /// Whether the thread is done, so that [`Self::finish`] does not wait.
    pub(super) fn has_ended(&self) -> bool {
        self.shared.lock().ended
    }

    /// Waits until the thread has written a piece more than when it was last looked at, or has ended.
    pub(super) fn wait(&self) {
        let mut state = self.shared.lock();
        while state.turns == self.seen && !state.ended {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Hands on what has come from the device, and submits copies of at most so many bytes, as there is room. Waits for nothing.
    ///
    /// # Errors
    /// The device was lost.
    pub(super) fn pump(&mut self, most: u64) -> Result<()> {
        let mut left = most;
        loop {
            self.collect()?;
            let before = left;
            while left > 0 && self.has_room() {
                left = left.saturating_sub(self.copy_next()?);
            }
            // The host's copies have come already.
            if left == before || self.device.wgpu().is_some() {
                return self.collect();
            }
        }
    }

    /// Whether a piece may be begun: there is one, and memory for it.
    fn has_room(&mut self) -> bool {
        let state = self.shared.lock();
        self.seen = state.turns;
        let Some(source) = self.sources.front() else { return false };
        let piece = source.piece().min(source.bytes - self.copied);
        let fits = |held: u64, most: u64| held == 0 || held + piece <= most;
        !state.ended && fits(state.held, self.most_held) && fits(self.in_flight, IN_FLIGHT)
    }

    /// Submits the copy of the next piece; its bytes.
    fn copy_next(&mut self) -> Result<u64> {
        let Some(source) = self.sources.front() else { return Ok(0) };
        let (first, count) = (self.copied, source.piece().min(source.bytes - self.copied));
        let mut state = self.shared.lock();
        state.held += count;
        let spare = state.spare.pop().unwrap_or_default();
        drop(state);
        let block =
            Block { tensor: source.tensor.clone(), bytes: Vec::new(), count: count as usize, rows: source.rows };
        let whole = count.next_multiple_of(4);
        let pending = self.device.begin_read_part(&source.buffer, (first, whole), spare)?;
        self.coming.push_back((block, pending));
        self.in_flight += count;
        self.copied += count;
        if self.copied == source.bytes {
            self.sources.pop_front();
            self.copied = 0;
        }
        Ok(count)
    }

    /// Hands on what has come.
    fn collect(&mut self) -> Result<()> {
        while let Some((block, pending)) = self.coming.front_mut() {
            let Some(bytes) = pending.try_take(&self.device)? else { break };
            block.bytes = bytes;
            if let Some((block, _)) = self.coming.pop_front() {
                self.in_flight -= block.count as u64;
                if let Some(blocks) = &self.blocks {
                    // A thread that has ended says why when it is joined.
                    let _ = blocks.send(block);
                }
            }
        }
        self.close_if_complete();
        Ok(())
    }

    /// Tells the thread that nothing more comes.
    fn close_if_complete(&mut self) {
        if self.sources.is_empty() && self.coming.is_empty() && self.blocks.is_some() {
            let end = Block { tensor: Arc::from(""), bytes: Vec::new(), count: 0, rows: None };
            let _ = self.blocks.take().map(|blocks| blocks.send(end));
        }
    }

    /// Copies what is left, and waits until the checkpoint is whole.
    ///
    /// # Errors
    /// A number that is not finite; a full disk; the device was lost. Then nothing appears, and the older checkpoints stay.
    pub(super) fn finish(mut self) -> Result<()> {
        self.complete()
    }

    fn complete(&mut self) -> Result<()> {
        let copied = self.copy_all();
        // Without the last block the thread throws away what it has.
        self.blocks = None;
        let written = match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(()),
        };
        copied.and(written)
    }

    fn copy_all(&mut self) -> Result<()> {
        while !self.has_ended() && self.blocks.is_some() {
            self.pump(u64::MAX)?;
            match self.is_behind() {
                true if self.blocks.is_some() => self.wait(),
                true => {}
                false => self.device.wait()?,
            }
        }
        Ok(())
    }
}

impl Drop for Saving {
    fn drop(&mut self) {
        if self.thread.is_some()
            && let Err(e) = self.complete()
        {
            log::error!("the checkpoint of step {} was not written: {e}", self.step);
        }
    }
}

/// Says that the thread has ended.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.change(|state| state.ended = true);
    }
}

/// Writes pieces until the last, and publishes the checkpoint. Where the last never comes, the run gave it up.
fn write(mut writer: CheckpointWriter, blocks: &mpsc::Receiver<Block>, shared: &Shared) -> Result<()> {
    let mut tight = Vec::new();
    while let Ok(Block { tensor, bytes, count, rows }) = blocks.recv() {
        if tensor.is_empty() {
            return writer.commit().map(drop);
        }
        match rows {
            Some(rows) if rows.padded > rows.tight => {
                tight.clear();
                bytes[..count].chunks_exact(rows.padded).for_each(|row| tight.extend_from_slice(&row[..rows.tight]));
                writer.write_stored(&tensor, &tight)?;
            }
            Some(_) => writer.write_stored(&tensor, &bytes[..count])?,
            None => writer.write_bytes(&tensor, &bytes[..count])?,
        }
        shared.change(|state| {
            state.held -= count as u64;
            // As many as may be on their way.
            if state.spare.len() < (IN_FLIGHT / PIECE) as usize {
                state.spare.push(bytes);
            }
        });
    }
    Ok(())
}

impl Run {
    /// Begins the present step's checkpoint.
    pub(super) fn start_saving(&mut self) -> Result<()> {
        self.saving = Some(self.begin_saving()?);
        self.saved = Some(self.step());
        Ok(())
    }

    /// Waits until the checkpoint that is on its way is whole, if there is one.
    pub(super) fn finish_saving(&mut self) -> Result<()> {
        let Some(saving) = self.saving.take() else { return Ok(()) };
        saving.finish().inspect_err(|_| {
            // It may be tried again.
            self.saved = None;
        })
    }

    /// Looks after the checkpoint that is on its way: copies more of it, and hears how it ended. Whether something is left to copy: then
    /// the device gets its work in pieces, for copies to come between them.
    pub(super) fn tend_saving(&mut self, in_frames: bool) -> Result<bool> {
        self.is_behind = false;
        let Some(saving) = &mut self.saving else { return Ok(false) };
        if saving.has_ended() {
            return self.finish_saving().map(|()| false);
        }
        saving.pump(if in_frames { FRAME } else { u64::MAX })?;
        Ok(!saving.is_copied())
    }

    /// Whether what a checkpoint holds may change.
    pub(super) fn is_copied(&self) -> bool {
        self.saving.as_ref().is_none_or(Saving::is_copied)
    }

    /// Stays in a phase until more of the checkpoint is copied or written.
    pub(super) fn wait_for_copies(&mut self, phase: Phase) -> Result<Tick> {
        self.is_behind = self.saving.as_ref().is_some_and(Saving::is_behind);
        self.wait_in(phase)
    }

    /// Begins the checkpoint of a step that is done, once the one before is written. Whether the run may go on meanwhile.
    pub(super) fn may_go_on_saving(&mut self, step: u64, in_frames: bool) -> Result<bool> {
        if self.saved != Some(step) {
            if let Some(before) = &self.saving {
                if !std::mem::replace(&mut self.told, true) {
                    let before = before.step();
                    log::warn!(
                        "step {step}: its checkpoint waits for that of step {before}, which is still being written; with a larger \
                         checkpoint_every it would not"
                    );
                }
                self.is_behind = self.saving.as_ref().is_some_and(Saving::is_behind);
                return Ok(false);
            }
            self.start_saving()?;
            self.tend_saving(in_frames)?;
        }
        let Some(saving) = &self.saving else { return Ok(true) };
        self.is_behind = saving.is_behind();
        if self.settings.checkpoint_memory == 0 {
            return Ok(false);
        }
        // The device has nothing else to do now: what there is memory for is copied at once, unless an app's frames wait.
        Ok(in_frames || saving.is_copied() || saving.is_behind())
    }

    /// Waits for what the run cannot go on without.
    pub(super) fn rest(&self) -> Result<()> {
        match &self.saving {
            Some(saving) if self.is_behind => {
                saving.wait();
                Ok(())
            }
            _ if self.rest_for_ranks()? => Ok(()),
            _ => self.device.wait(),
        }
    }
}
