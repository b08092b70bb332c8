//! Staging buffers that are used again: fresh memory costs the system more than the transfer costs the bus.
//!
//! Transfers go in pieces, each through a buffer and a submission of its own, so that the host copies one while the device moves the
//! next. Nothing here waits: what the device is not done with is left alone.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Gpu, GpuMemory};
use crate::Result;

/// The most bytes of a piece: enough that a submission is little beside it, few enough to stay in a CPU's cache.
pub(super) const PIECE: u64 = 4 << 20;
/// The least bytes of a buffer.
const LEAST: u64 = 4 << 10;
/// Bytes that either direction keeps at the most; what is beyond them while much is in flight is given back to the system.
const KEPT: u64 = 64 << 20;
/// Writes of fewer bytes are wgpu's own, which come with the next submission.
const SMALL: usize = 64 << 10;

/// A buffer that is being mapped has been, or cannot be.
const MAPPED: u8 = 1;
const FAILED: u8 = 2;

/// Buffers of sizes that are powers of two.
#[derive(Default)]
pub(super) struct Staging {
    /// For reading, not mapped.
    downloads: Mutex<Vec<wgpu::Buffer>>,
    /// For writing.
    uploads: Mutex<Uploads>,
    /// Bytes of all buffers that were made.
    made: AtomicU64,
}

#[derive(Default)]
struct Uploads {
    /// Mapped.
    free: Vec<wgpu::Buffer>,
    /// With the device, to be mapped when it is done.
    busy: Vec<(wgpu::Buffer, Arc<AtomicU8>)>,
}

impl Uploads {
    /// Moves what the device is done with to what is free; a buffer of a lost device is dropped.
    fn reap(&mut self) {
        let (busy, free) = (&mut self.busy, &mut self.free);
        for i in (0..busy.len()).rev() {
            match busy[i].1.load(Ordering::Acquire) {
                0 => {}
                MAPPED => free.push(busy.swap_remove(i).0),
                _ => drop(busy.swap_remove(i)),
            }
        }
    }

    fn take(&mut self, size: u64) -> Option<wgpu::Buffer> {
        take(&mut self.free, size)
    }

    fn bytes(&self) -> u64 {
        self.free.iter().chain(self.busy.iter().map(|(buffer, _)| buffer)).map(wgpu::Buffer::size).sum()
    }
}

/// A free buffer of this size.
fn take(free: &mut Vec<wgpu::Buffer>, size: u64) -> Option<wgpu::Buffer> {
    free.iter().position(|buffer| buffer.size() == size).map(|i| free.swap_remove(i))
}

fn size_for(bytes: u64) -> u64 {
    bytes.next_power_of_two().max(LEAST)
}

/// A part of a buffer on its way to the host.
pub(super) struct Piece {
    pub(super) buffer: wgpu::Buffer,
    /// Its bytes that count.
    pub(super) bytes: u64,
    /// The submission that copies it.
    pub(super) index: wgpu::SubmissionIndex,
}

impl Staging {
    /// Bytes of all staging buffers that were made so far.
    pub(super) fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// Keeps a download's buffer, no longer mapped, for the next one.
    pub(super) fn give_back(&self, buffer: wgpu::Buffer) {
        let mut downloads = self.downloads.lock().unwrap_or_else(PoisonError::into_inner);
        if downloads.iter().map(wgpu::Buffer::size).sum::<u64>() + buffer.size() <= KEPT {
            downloads.push(buffer);
        }
    }
}

impl Gpu {
    /// Bytes of all staging buffers that were made so far.
    pub(crate) fn staging_bytes(&self) -> u64 {
        self.staging.made()
    }

    fn make_staging(&self, size: u64, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer> {
        let mapped_at_creation = usage.contains(wgpu::BufferUsages::MAP_WRITE);
        let descriptor = wgpu::BufferDescriptor { label: Some("staging"), size, usage, mapped_at_creation };
        let buffer = self.guarded("staging", size, || self.device.create_buffer(&descriptor))?;
        self.staging.made.fetch_add(size, Ordering::Relaxed);
        Ok(buffer)
    }

    /// Copies `size` bytes of a buffer from `from` on, as they are after everything submitted so far, to staging buffers, piece by piece.
    pub(super) fn stage(&self, memory: &GpuMemory, from: u64, size: u64) -> Result<Vec<Piece>> {
        let piece = |first: u64| {
            let bytes = PIECE.min(size - first);
            let free =
                take(&mut self.staging.downloads.lock().unwrap_or_else(PoisonError::into_inner), size_for(bytes));
            let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
            let buffer = free.map_or_else(|| self.make_staging(size_for(bytes), usage), Ok)?;
            let index = self.copy_now("read", (&memory.buffer, from + first), (&buffer, 0), bytes)?;
            Ok(Piece { buffer, bytes, index })
        };
        (0..size).step_by(PIECE as usize).map(piece).collect()
    }

    /// Writes bytes before whatever is submitted next.
    pub(crate) fn write(&self, memory: &GpuMemory, bytes: &[u8]) -> Result<()> {
        if bytes.len() < SMALL {
            return self.write_by_wgpu(memory, 0, bytes);
        }
        for (i, piece) in bytes.chunks(PIECE as usize).enumerate() {
            let offset = i as u64 * PIECE;
            match self.free_upload(size_for(piece.len() as u64))? {
                Some(buffer) => self.upload(memory, offset, piece, buffer)?,
                // As much is in flight as may be.
                None => self.write_by_wgpu(memory, offset, piece)?,
            }
        }
        Ok(())
    }

    fn write_by_wgpu(&self, memory: &GpuMemory, offset: u64, bytes: &[u8]) -> Result<()> {
        self.guarded("write", bytes.len() as u64, || self.queue.write_buffer(&memory.buffer, offset, bytes))
    }

    /// A mapped buffer, if there is one or there may be one more.
    fn free_upload(&self, size: u64) -> Result<Option<wgpu::Buffer>> {
        let lock = || self.staging.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(buffer) = lock().take(size) {
            return Ok(Some(buffer));
        }
        // Not under the lock: other callbacks may be called.
        self.poll()?;
        let mut uploads = lock();
        uploads.reap();
        if let Some(buffer) = uploads.take(size) {
            return Ok(Some(buffer));
        }
        if uploads.bytes() + size > KEPT {
            // Those of other sizes that lie idle make room.
            uploads.free.clear();
        }
        if uploads.bytes() + size > KEPT {
            return Ok(None);
        }
        drop(uploads);
        self.make_staging(size, wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC).map(Some)
    }

    /// Sends bytes through a mapped buffer, which is mapped again once the device is done.
    fn upload(&self, memory: &GpuMemory, offset: u64, bytes: &[u8], buffer: wgpu::Buffer) -> Result<()> {
        let count = bytes.len() as u64;
        self.guarded("write", count, || {
            buffer
                .get_mapped_range_mut(..count)
                .map(|mut view| view.copy_from_slice(bytes))
                .map_err(|e| self.unmapped(&e))
        })??;
        buffer.unmap();
        let index = self.copy_now("write", (&buffer, 0), (&memory.buffer, offset), count)?;
        memory.set_last_use(&index);
        let state = Arc::new(AtomicU8::new(0));
        let done = state.clone();
        self.guarded("map", count, || {
            buffer.map_async(wgpu::MapMode::Write, .., move |result| {
                done.store(if result.is_ok() { MAPPED } else { FAILED }, Ordering::Release);
            });
        })?;
        self.staging.uploads.lock().unwrap_or_else(PoisonError::into_inner).busy.push((buffer, state));
        Ok(())
    }

    /// Submits one copy.
    fn copy_now(
        &self,
        operation: &str,
        (from, f): (&wgpu::Buffer, u64),
        (to, t): (&wgpu::Buffer, u64),
        bytes: u64,
    ) -> Result<wgpu::SubmissionIndex> {
        self.guarded(operation, bytes, || {
            let descriptor = wgpu::CommandEncoderDescriptor { label: Some(operation) };
            let mut encoder = self.device.create_command_encoder(&descriptor);
            encoder.copy_buffer_to_buffer(from, f, to, t, Some(bytes));
            self.queue.submit([encoder.finish()])
        })
    }
}
