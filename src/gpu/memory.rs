//! Buffers: device memory, with a staging buffer where the host cannot map it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::Gpu;
use super::pipelines::BindGroups;
use crate::Result;
use crate::device::Use;
use crate::kernels::TEXEL_LINE;

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// A buffer on the device.
pub(crate) struct GpuMemory {
    pub(super) buffer: wgpu::Buffer,
    /// Where the host writes or reads, if not in `buffer` itself.
    pub(super) staging: Option<wgpu::Buffer>,
    pub(super) used: Use,
    /// The texture that stands for the buffer where kernels read texels; made at its first use.
    pub(super) texels: OnceLock<Texels>,
    /// Identity, for the cache of bind groups.
    pub(super) id: u64,
    last_use: Mutex<Option<wgpu::SubmissionIndex>>,
    bind_groups: BindGroups,
}

/// A copy of a buffer as texels of four words, [`TEXEL_LINE`] to a line.
pub(super) struct Texels {
    pub(super) texture: wgpu::Texture,
    pub(super) view: wgpu::TextureView,
}

/// Bytes of a texel.
const TEXEL_BYTES: u64 = 16;

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
            texels: OnceLock::new(),
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            last_use: Mutex::new(None),
            bind_groups: self.pipelines.bind_groups.clone(),
        })
    }

    /// Records the copy of the buffer to its texture, which is made if need be.
    pub(super) fn copy_to_texels(&self, encoder: &mut wgpu::CommandEncoder, memory: &GpuMemory) -> Result<()> {
        // A buffer need not be a whole number of texels; those that kernels read as texels are.
        let texels = (memory.buffer.size() / TEXEL_BYTES) as u32;
        let (lines, rest) = (texels / TEXEL_LINE, texels % TEXEL_LINE);
        let size =
            wgpu::Extent3d { width: TEXEL_LINE, height: texels.div_ceil(TEXEL_LINE).max(1), depth_or_array_layers: 1 };
        if memory.texels.get().is_none() {
            let made = self.guarded("texels", memory.buffer.size(), || self.make_texels(size))?;
            // Another thread's is as good.
            let _ = memory.texels.set(made);
        }
        let Some(to) = memory.texels.get() else { return Ok(()) };
        let mut part = |first: u32, width: u32, height: u32| {
            let layout = wgpu::TexelCopyBufferLayout {
                offset: u64::from(first) * u64::from(TEXEL_LINE) * TEXEL_BYTES,
                bytes_per_row: Some(TEXEL_LINE * TEXEL_BYTES as u32),
                rows_per_image: None,
            };
            let mut target = to.texture.as_image_copy();
            target.origin.y = first;
            let extent = wgpu::Extent3d { width, height, depth_or_array_layers: 1 };
            let source = wgpu::TexelCopyBufferInfo { buffer: &memory.buffer, layout };
            encoder.copy_buffer_to_texture(source, target, extent);
        };
        if lines > 0 {
            part(0, TEXEL_LINE, lines);
        }
        if rest > 0 {
            part(lines, rest, 1);
        }
        Ok(())
    }

    fn make_texels(&self, size: wgpu::Extent3d) -> Texels {
        let texture = self.device.create_texture(&wgpu::TextureDescriptor {
            label: Some("texels"),
            size,
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: wgpu::TextureFormat::Rgba32Uint,
            usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST,
            view_formats: &[],
        });
        let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
        Texels { texture, view }
    }

    pub(crate) fn write(&self, memory: &GpuMemory, bytes: &[u8]) -> Result<()> {
        self.guarded("write", bytes.len() as u64, || self.queue.write_buffer(&memory.buffer, 0, bytes))
    }
}
