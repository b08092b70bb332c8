//! Buffers: device memory, with a staging buffer where the host cannot map it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::Gpu;
use super::pipelines::BindGroups;
use crate::Result;
use crate::spec::{TEXEL_LINE, Use};

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
    /// The buffer's last bytes, if they are no whole texel.
    rest: wgpu::Buffer,
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

    /// Records the copy of the buffer to its texture, which is made if need be. What is left of the buffer after its whole
    /// texels (half a texel, for rows of 16-bit elements) goes by way of a buffer of one texel.
    pub(super) fn copy_to_texels(&self, encoder: &mut wgpu::CommandEncoder, memory: &GpuMemory) -> Result<()> {
        let bytes = memory.buffer.size();
        let (whole, rest) = ((bytes / TEXEL_BYTES) as u32, bytes % TEXEL_BYTES);
        if memory.texels.get().is_none() {
            let height = bytes.div_ceil(TEXEL_BYTES).div_ceil(u64::from(TEXEL_LINE)).max(1) as u32;
            let made = self.guarded("texels", bytes, || self.make_texels(height))?;
            // Another thread's is as good.
            let _ = memory.texels.set(made);
        }
        let Some(to) = memory.texels.get() else { return Ok(()) };
        if rest > 0 {
            encoder.copy_buffer_to_buffer(&memory.buffer, bytes - rest, &to.rest, 0, Some(rest));
        }
        let mut part = |(buffer, offset): (&wgpu::Buffer, u64), texel: u32, (width, height): (u32, u32)| {
            let bytes_per_row = Some(TEXEL_LINE * TEXEL_BYTES as u32);
            let layout = wgpu::TexelCopyBufferLayout { offset, bytes_per_row, rows_per_image: None };
            let mut target = to.texture.as_image_copy();
            target.origin = wgpu::Origin3d { x: texel % TEXEL_LINE, y: texel / TEXEL_LINE, z: 0 };
            let extent = wgpu::Extent3d { width, height, depth_or_array_layers: 1 };
            encoder.copy_buffer_to_texture(wgpu::TexelCopyBufferInfo { buffer, layout }, target, extent);
        };
        let last_line = whole / TEXEL_LINE * TEXEL_LINE;
        if last_line > 0 {
            part((&memory.buffer, 0), 0, (TEXEL_LINE, whole / TEXEL_LINE));
        }
        if whole > last_line {
            part((&memory.buffer, u64::from(last_line) * TEXEL_BYTES), last_line, (whole - last_line, 1));
        }
        if rest > 0 {
            part((&to.rest, 0), whole, (1, 1));
        }
        Ok(())
    }

    fn make_texels(&self, height: u32) -> Texels {
        let size = wgpu::Extent3d { width: TEXEL_LINE, height, depth_or_array_layers: 1 };
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
        let rest = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("rest of the texels"),
            size: TEXEL_BYTES,
            usage: wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Texels { texture, view, rest }
    }
}
