//! The one place that waits for the device and reads what it wrote.

use std::future::Future;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::staging::{Piece, Staging};
use super::{Gpu, GpuMemory, Timing};
use crate::spec::Use;
use crate::{Error, Result};

/// How long a wait asks in vain before it looks whether the device is still there.
const TURN: Duration = Duration::from_secs(5);
/// How long a wait on OpenGL lets other threads have the context before it asks again.
const PAUSE: Duration = Duration::from_micros(500);
/// How long a single wait may take: a submission is at most 64 dispatches of half a second, so that this is a hung device.
const TIMEOUT: Duration = Duration::from_secs(600);

impl Gpu {
    pub(crate) fn poll(&self) -> Result<()> {
        self.device.poll(wgpu::PollType::Poll).map_err(|e| self.lost_because(e.to_string()))?;
        self.check_lost()
    }

    pub(crate) fn wait(&self, index: &wgpu::SubmissionIndex) -> Result<()> {
        self.wait_for(Some(index.clone()))
    }

    /// Whether the submission is done, without waiting for it.
    pub(crate) fn is_done(&self, index: &wgpu::SubmissionIndex) -> Result<bool> {
        let now = wgpu::PollType::Wait { submission_index: Some(index.clone()), timeout: Some(Duration::ZERO) };
        match self.device.poll(now) {
            Ok(_) => self.check_lost().map(|()| true),
            Err(wgpu::PollError::Timeout) => self.check_lost().map(|()| false),
            Err(error) => Err(self.lost_because(error.to_string())),
        }
    }

    /// How many times [`Self::wait_for`] was called.
    pub(crate) fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }

    pub(crate) fn wait_for(&self, submission_index: Option<wgpu::SubmissionIndex>) -> Result<()> {
        self.waits.fetch_add(1, Ordering::Relaxed);
        let start = Instant::now();
        // wgpu holds the one context of OpenGL while it waits, and panics in threads that want it for six seconds in vain.
        let shared = self.backend == wgpu::Backend::Gl;
        let mut asked = start;
        loop {
            let timeout = Some(if shared { Duration::ZERO } else { TURN });
            let wait = wgpu::PollType::Wait { submission_index: submission_index.clone(), timeout };
            match self.device.poll(wait) {
                Ok(_) => return self.check_lost(),
                Err(wgpu::PollError::Timeout) if shared && asked.elapsed() < TURN => std::thread::sleep(PAUSE),
                Err(wgpu::PollError::Timeout) => {
                    self.check_patience(start)?;
                    asked = Instant::now();
                }
                Err(error) => return Err(self.lost_because(error.to_string())),
            }
        }
    }

    /// Checks that what is waited for since `start` may still come: the device lives and has not had [`TIMEOUT`].
    fn check_patience(&self, start: Instant) -> Result<()> {
        self.probe();
        self.check_lost()?;
        if start.elapsed() < TIMEOUT {
            return Ok(());
        }
        Err(Error::Gpu {
            adapter: self.name.clone(),
            operation: "wait".to_owned(),
            reason: format!("no answer for {} s, though the device is not lost", TIMEOUT.as_secs()),
        })
    }

    pub(super) fn unmapped(&self, error: &impl ToString) -> Error {
        self.lost_because(error.to_string())
    }

    fn lost_because(&self, reason: String) -> Error {
        match self.check_lost() {
            Err(lost) => lost,
            Ok(()) => Error::DeviceLost { adapter: self.name.clone(), reason },
        }
    }

    /// Waits until the first `bytes` of `buffer` are mapped; `last` is the last submission that uses it.
    fn map(
        &self,
        (buffer, bytes): (&wgpu::Buffer, u64),
        mode: wgpu::MapMode,
        last: Option<wgpu::SubmissionIndex>,
    ) -> Result<()> {
        let (sender, receiver) = mpsc::channel();
        self.guarded("map", bytes, || {
            buffer.map_async(mode, ..bytes, move |result| {
                // The receiver is gone only if the wait below failed.
                let _ = sender.send(result);
            });
        })?;
        self.wait_for(last)?;
        // Another thread's poll may be about to make the call, or `buffer` be in use by something later than `last`.
        let start = Instant::now();
        let answer = loop {
            match receiver.recv_timeout(Duration::from_millis(1)) {
                Ok(answer) => break answer,
                Err(_) if start.elapsed() > TIMEOUT => return self.check_patience(start),
                Err(_) => self.poll()?,
            }
        };
        answer.map_err(|e| self.lost_because(e.to_string()))
    }

    /// Waits until the upload's memory is free, then lets `f` fill it.
    pub(crate) fn fill<R>(&self, memory: &GpuMemory, f: impl FnOnce(&mut [u8]) -> Result<R>) -> Result<R> {
        let buffer = memory.mapped();
        self.map((buffer, buffer.size()), wgpu::MapMode::Write, memory.last_use())?;
        let result = match buffer.get_mapped_range_mut(..) {
            Ok(mut view) => {
                let len = view.len();
                let start = view.slice(..).as_raw_element_ptr().as_ptr();
                // SAFETY: the mapping is ours alone and stays until `view` is dropped below; wgpu zeroes buffers before
                // they are first mapped, so that all bytes are initialised. wgpu hands out a write-only view because
                // reading may be slow in uncached memory, which costs time and not soundness; `f` writes.
                #[expect(unsafe_code, reason = "files are read straight into mapped memory")]
                let bytes = unsafe { std::slice::from_raw_parts_mut(start, len) };
                let result = f(bytes);
                drop(view);
                result
            }
            Err(e) => Err(self.lost_because(e.to_string())),
        };
        buffer.unmap();
        result
    }

    /// Waits until the download is done, then lets `f` read it.
    pub(crate) fn drain<R>(&self, memory: &GpuMemory, f: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        debug_assert!(memory.used == Use::Download);
        let buffer = memory.mapped();
        self.read_mapped((buffer, buffer.size()), memory.last_use(), f)
    }

    fn read_mapped<R>(
        &self,
        (buffer, bytes): (&wgpu::Buffer, u64),
        last: Option<wgpu::SubmissionIndex>,
        f: impl FnOnce(&[u8]) -> Result<R>,
    ) -> Result<R> {
        self.map((buffer, bytes), wgpu::MapMode::Read, last)?;
        let result = match buffer.get_mapped_range(..bytes) {
            Ok(view) => f(&view),
            Err(e) => Err(self.lost_because(e.to_string())),
        };
        buffer.unmap();
        result
    }

    pub(crate) fn read_blocking(&self, memory: &GpuMemory) -> Result<Vec<u8>> {
        let size = memory.buffer.size();
        let mut all = Vec::with_capacity(size as usize);
        self.read_pieces(memory, size, |part| all.extend_from_slice(part))?;
        Ok(all)
    }

    /// Reads the buffer's first bytes to memory that is there; no more than it has.
    pub(crate) fn read_into(&self, memory: &GpuMemory, out: &mut [u8]) -> Result<()> {
        let (size, mut rest) = (out.len() as u64, out);
        self.read_pieces(memory, size, |part| {
            let (to, after) = std::mem::take(&mut rest).split_at_mut(part.len());
            to.copy_from_slice(part);
            rest = after;
        })
    }

    /// Waits for the first bytes of a buffer, which come in pieces, in order.
    fn read_pieces(&self, memory: &GpuMemory, size: u64, mut f: impl FnMut(&[u8])) -> Result<()> {
        for Piece { buffer, bytes, index } in self.stage(memory, 0, size)? {
            self.read_mapped((&buffer, bytes), Some(index), |part| {
                f(part);
                Ok(())
            })?;
            self.staging.give_back(buffer);
        }
        Ok(())
    }

    /// The buffer's bytes, once the device has been polled often enough.
    pub(crate) fn read(&self, memory: &GpuMemory) -> Result<impl Future<Output = Result<Vec<u8>>> + use<>> {
        self.read_part(memory, (0, memory.buffer.size()), Vec::new())
    }

    /// As [`Self::read`], so many bytes of the buffer from the first number on, in memory that the caller has no more use for.
    pub(crate) fn read_part(
        &self,
        memory: &GpuMemory,
        (first, size): (u64, u64),
        into: Vec<u8>,
    ) -> Result<impl Future<Output = Result<Vec<u8>>> + use<>> {
        let pieces = self.stage(memory, first, size)?;
        let arrival = Arc::new(Mutex::new(Arrival { missing: pieces.len(), ..Arrival::default() }));
        for Piece { buffer, bytes, .. } in &pieces {
            let shared = arrival.clone();
            self.guarded("map", *bytes, || {
                buffer.map_async(wgpu::MapMode::Read, ..*bytes, move |result| Arrival::came(&shared, result));
            })?;
        }
        let arrived = std::future::poll_fn(move |context| Arrival::poll(&arrival, context));
        let (name, lost, staging) = (self.name.clone(), self.lost.clone(), self.staging.clone());
        Ok(async move {
            let bytes = arrived.await.and_then(|()| gather(pieces, &staging, into));
            bytes.map_err(|reason| {
                let known = lost.lock().unwrap_or_else(PoisonError::into_inner).clone();
                Error::DeviceLost { adapter: name, reason: known.unwrap_or(reason) }
            })
        })
    }

    pub(crate) fn durations(&self, timings: &[Timing]) -> Result<Vec<(&'static str, Duration)>> {
        let parts: Vec<_> = timings.iter().map(|t| self.part_durations(t)).collect::<Result<_>>()?;
        Ok(parts.concat())
    }

    fn part_durations(&self, timing: &Timing) -> Result<Vec<(&'static str, Duration)>> {
        self.read_mapped((&timing.buffer, timing.buffer.size()), None, |bytes| {
            let ticks: Vec<u64> =
                bytes.chunks_exact(8).map(|c| u64::from_le_bytes(c.try_into().unwrap_or_default())).collect();
            let spans = ticks.chunks_exact(2).map(|t| self.ticks(t[1].saturating_sub(t[0])));
            Ok(timing.names.iter().copied().zip(spans).collect())
        })
    }
}

/// How many pieces of a read are still on their way, and who waits for the last.
#[derive(Default)]
struct Arrival {
    missing: usize,
    failed: Option<String>,
    waker: Option<Waker>,
}

impl Arrival {
    fn came(arrival: &Mutex<Self>, result: std::result::Result<(), wgpu::BufferAsyncError>) {
        let mut this = arrival.lock().unwrap_or_else(PoisonError::into_inner);
        this.missing -= 1;
        if let Err(error) = result {
            this.failed.get_or_insert_with(|| error.to_string());
        }
        let waker = if this.missing == 0 { this.waker.take() } else { None };
        drop(this);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(arrival: &Mutex<Self>, context: &Context<'_>) -> Poll<std::result::Result<(), String>> {
        let mut this = arrival.lock().unwrap_or_else(PoisonError::into_inner);
        if this.missing > 0 {
            this.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(this.failed.take().map_or(Ok(()), Err))
    }
}

/// The bytes of mapped pieces, whose buffers are kept for the next read.
fn gather(pieces: Vec<Piece>, staging: &Staging, mut all: Vec<u8>) -> std::result::Result<Vec<u8>, String> {
    all.clear();
    all.reserve(pieces.iter().map(|piece| piece.bytes as usize).sum());
    for Piece { buffer, bytes, .. } in pieces {
        let view = buffer.get_mapped_range(..bytes).map_err(|e| e.to_string())?;
        all.extend_from_slice(&view);
        drop(view);
        buffer.unmap();
        staging.give_back(buffer);
    }
    Ok(all)
}
