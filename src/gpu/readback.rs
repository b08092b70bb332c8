//! The one place that maps buffers and waits for the device.

use std::future::Future;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

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

    fn lost_because(&self, reason: String) -> Error {
        match self.check_lost() {
            Err(lost) => lost,
            Ok(()) => Error::DeviceLost { adapter: self.name.clone(), reason },
        }
    }

    /// Waits until `buffer` is mapped; `last` is the last submission that uses it.
    fn map(&self, buffer: &wgpu::Buffer, mode: wgpu::MapMode, last: Option<wgpu::SubmissionIndex>) -> Result<()> {
        let (sender, receiver) = mpsc::channel();
        self.guarded("map", buffer.size(), || {
            buffer.map_async(mode, .., move |result| {
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
        self.map(buffer, wgpu::MapMode::Write, memory.last_use())?;
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
        self.read_mapped(memory.mapped(), memory.last_use(), f)
    }

    fn read_mapped<R>(
        &self,
        buffer: &wgpu::Buffer,
        last: Option<wgpu::SubmissionIndex>,
        f: impl FnOnce(&[u8]) -> Result<R>,
    ) -> Result<R> {
        self.map(buffer, wgpu::MapMode::Read, last)?;
        let result = match buffer.get_mapped_range(..) {
            Ok(view) => f(&view),
            Err(e) => Err(self.lost_because(e.to_string())),
        };
        buffer.unmap();
        result
    }

    /// Copies a buffer to a fresh staging buffer.
    fn stage(&self, memory: &GpuMemory) -> Result<(wgpu::Buffer, wgpu::SubmissionIndex)> {
        let size = memory.buffer.size();
        self.guarded("read", size, || {
            let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("read"),
                size,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            let mut encoder =
                self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("read") });
            encoder.copy_buffer_to_buffer(&memory.buffer, 0, &staging, 0, Some(size));
            let index = self.queue.submit([encoder.finish()]);
            (staging, index)
        })
    }

    pub(crate) fn read_blocking(&self, memory: &GpuMemory) -> Result<Vec<u8>> {
        let (staging, index) = self.stage(memory)?;
        self.read_mapped(&staging, Some(index), |bytes| Ok(bytes.to_vec()))
    }

    /// The buffer's bytes, once the device has been polled often enough.
    pub(crate) fn read(&self, memory: &GpuMemory) -> Result<impl Future<Output = Result<Vec<u8>>> + use<>> {
        let (staging, _) = self.stage(memory)?;
        let state = Arc::new(Mutex::new((None, None::<Waker>)));
        let (shared, name, lost) = (state.clone(), self.name.clone(), self.lost.clone());
        self.guarded("map", staging.size(), || {
            staging.map_async(wgpu::MapMode::Read, .., move |result| {
                let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                state.0 = Some(result);
                if let Some(waker) = state.1.take() {
                    waker.wake();
                }
            });
        })?;
        let mapped = std::future::poll_fn(move |context| {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            match state.0.take() {
                Some(result) => Poll::Ready(result),
                None => {
                    state.1 = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        });
        Ok(async move {
            let result = mapped.await.map_err(|e| e.to_string());
            let bytes =
                result.and_then(|()| staging.get_mapped_range(..).map(|v| v.to_vec()).map_err(|e| e.to_string()));
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
        self.read_mapped(&timing.buffer, None, |bytes| {
            let ticks: Vec<u64> =
                bytes.chunks_exact(8).map(|c| u64::from_le_bytes(c.try_into().unwrap_or_default())).collect();
            let spans = ticks.chunks_exact(2).map(|t| self.ticks(t[1].saturating_sub(t[0])));
            Ok(timing.names.iter().copied().zip(spans).collect())
        })
    }
}
