//! Buffers: device memory, with a staging buffer where the host cannot map it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Gpu;
use super::pipelines::BindGroups;
use crate::Result;
use crate::device::Use;

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// A buffer on the device.
pub(crate) struct GpuMemory {
    pub(super) buffer: wgpu::Buffer,
    /// Where the host writes or reads, if not in `buffer` itself.
    pub(super) staging: Option<wgpu::Buffer>,
    pub(super) used: Use,
    /// Identity, for the cache of bind groups.
    pub(super) id: u64,
    last_use: Mutex<Option<wgpu::SubmissionIndex>>,
    bind_groups: BindGroups,
}

impl GpuMemory {
    /// The buffer that the host maps.
    pub(super) fn mapped(&self) -> &wgpu::Buffer {
        self.staging.as_ref().unwrap_or(&self.buffer)
    }

    pub(super) fn set_last_use(&self, index: &wgpu::SubmissionIndex) {
        *self.last_use.lock().unwrap_or_else(PoisonError::into_inner) = Some(index.clone());
    }

    pub(super) fn last_use(&self) -> Option<wgpu::SubmissionIndex> {
        self.last_use.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for GpuMemory {
    fn drop(&mut self) {
        self.bind_groups.forget(self.id);
    }
}

impl Gpu {
    pub(crate) fn allocate(&self, label: &str, bytes: u64, used: Use, mapped_storage: bool) -> Result<GpuMemory> {
        let (map, copy) = match used {
            Use::Compute => (wgpu::BufferUsages::empty(), None),
            Use::Upload => (wgpu::BufferUsages::MAP_WRITE, Some(wgpu::BufferUsages::COPY_SRC)),
            Use::Download => (wgpu::BufferUsages::MAP_READ, Some(wgpu::BufferUsages::COPY_DST)),
        };
        let direct = if mapped_storage { map } else { wgpu::BufferUsages::empty() };
        let create = |label: &str, usage| {
            let descriptor =
                wgpu::BufferDescriptor { label: Some(label), size: bytes, usage, mapped_at_creation: false };
            self.guarded(label, bytes, || self.device.create_buffer(&descriptor))
        };
        let storage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let buffer = create(label, storage | direct)?;
        let staging = match copy {
            Some(copy) if !mapped_storage => Some(create(&format!("staging of {label}"), map | copy)?),
            _ => None,
        };
        Ok(GpuMemory {
            buffer,
            staging,
            used,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            last_use: Mutex::new(None),
            bind_groups: self.pipelines.bind_groups.clone(),
        })
    }

    pub(crate) fn write(&self, memory: &GpuMemory, bytes: &[u8]) -> Result<()> {
        self.guarded("write", bytes.len() as u64, || self.queue.write_buffer(&memory.buffer, 0, bytes))
    }
}
