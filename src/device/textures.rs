//! What lies in an app's textures, for kernels, which read buffers.

use super::{Buffer, Command, Recorder};
use crate::{Error, Result};

/// Bytes of a line of a buffer that a texture is copied to are a multiple of this.
pub const LINE_BYTES: u32 = wgpu::COPY_BYTES_PER_ROW_ALIGNMENT;

/// A part of a texture on its way to a buffer: of its first layer and level, texels of 4 bytes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TextureCopy {
    /// The texture.
    pub texture: wgpu::Texture,
    /// The first texel, from the left and from the top.
    pub origin: [u32; 2],
    /// Texels from the left to the right, and lines.
    pub size: [u32; 2],
    /// Where they come to.
    pub buffer: Buffer,
    /// Bytes from a line of the buffer to the next.
    pub line_bytes: u32,
}

impl Recorder {
    /// Records the copy of a part of a texture of the device's to a buffer: `size` texels of 4 bytes from `origin` on (across, down), of the first
    /// layer and level, line by line with `line_bytes` from one to the next. What is in the texture when the commands are submitted counts.
    ///
    /// # Errors
    /// The host engine, which has no textures; a texture that cannot be copied from, has not two dimensions, has several samples or texels of another
    /// size; a part that it does not have; lines that are no multiple of [`LINE_BYTES`] or too short; a buffer that is too small or another device's.
    pub fn copy_texture(
        &mut self,
        texture: &wgpu::Texture,
        (origin, size): ([u32; 2], [u32; 2]),
        (buffer, line_bytes): (&Buffer, u32),
    ) -> Result<()> {
        if self.device().wgpu().is_none() {
            let problem = format!("{} has none; give it the pixels in memory", self.device().name());
            return Err(Error::argument("texture", problem));
        }
        buffer.check_device("copy a texture", self.device())?;
        check_texture(texture)?;
        let whole = [texture.width(), texture.height()];
        let inside = |i: usize| size[i] > 0 && origin[i].checked_add(size[i]).is_some_and(|end| end <= whole[i]);
        if !inside(0) || !inside(1) {
            let got = format!("{} x {} from {}, {}", size[0], size[1], origin[0], origin[1]);
            let want = format!("a part of {} x {} texels", whole[0], whole[1]);
            return Err(Error::shape("copy a texture", "part", want, got));
        }
        let (line, needed) = (u64::from(line_bytes), u64::from(line_bytes) * u64::from(size[1]));
        if !line_bytes.is_multiple_of(LINE_BYTES) || line < 4 * u64::from(size[0]) || buffer.bytes() < needed {
            let want =
                format!("lines of {} bytes or more, a multiple of {LINE_BYTES}, for {} lines", 4 * size[0], size[1]);
            let got = format!("lines of {line_bytes} bytes in {} bytes", buffer.bytes());
            return Err(Error::shape("copy a texture", "buffer", want, got));
        }
        let (texture, buffer) = (texture.clone(), buffer.clone());
        self.push(Command::CopyTexture(TextureCopy { texture, origin, size, buffer, line_bytes }));
        Ok(())
    }
}

fn check_texture(texture: &wgpu::Texture) -> Result<()> {
    let format = texture.format();
    let problem = if !texture.usage().contains(wgpu::TextureUsages::COPY_SRC) {
        "was made without COPY_SRC among its usages".to_owned()
    } else if texture.dimension() != wgpu::TextureDimension::D2 || texture.sample_count() != 1 {
        format!(
            "is {:?} with {} samples; one of D2 with one sample is read",
            texture.dimension(),
            texture.sample_count()
        )
    } else if format.block_dimensions() != (1, 1) || format.block_copy_size(None) != Some(4) {
        format!("has the format {format:?}; texels of 4 bytes are read")
    } else {
        return Ok(());
    };
    Err(Error::argument("texture", problem))
}
