//! Pictures to embeddings in one call: an image tower with its folder's preprocessor.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::image::{ImageEncoder, ImageSpace};
use super::picture::{Picture, PictureSpace, Preprocessor, check_size};
use crate::device::{Purpose, Recorder, Tensor};
use crate::{ElementType, Error, Result};

/// An encoder's preprocessor, if its folder has one that is known, else why not; and the space that pictures on the device used last.
#[derive(Debug)]
pub(super) struct Pictures {
    preprocessor: Result<Preprocessor>,
    kept: Mutex<Option<PictureSpace>>,
}

impl Default for Pictures {
    fn default() -> Self {
        let none = Error::argument("model", "has no preprocessor");
        Pictures { preprocessor: Err(none), kept: Mutex::new(None) }
    }
}

impl Pictures {
    /// Whatever the folder has: a tower takes ready pixels without.
    pub fn load(folder: &Path) -> Pictures {
        Pictures { preprocessor: Preprocessor::load(folder), ..Pictures::default() }
    }
}

/// Pictures, where the model's folder has a `preprocessor_config.json` (feature `pictures`).
impl ImageEncoder {
    /// The preprocessor of the encoder's folder.
    ///
    /// # Errors
    /// The folder has none, or one that is not known; it makes pictures of another size than the tower takes, or of no fixed size.
    pub fn preprocessor(&self) -> Result<&Preprocessor> {
        let unknown = |e: &Error| Error::argument("model", format!("pictures cannot be prepared for it: {e}"));
        let preprocessor = self.pictures.preprocessor.as_ref().map_err(unknown)?;
        check_size(preprocessor, self.image_size())?;
        Ok(preprocessor)
    }

    /// The same encoder with another preprocessor: one of another folder, or one that drops alpha.
    #[must_use]
    pub fn with_preprocessor(mut self, preprocessor: Preprocessor) -> Self {
        self.pictures = Pictures { preprocessor: Ok(preprocessor), ..Pictures::default() };
        self
    }

    /// The embedding `[1, width]` of a picture from its RGB bytes `[height, width, 3]`: prepared by the host, the rest submitted to the device. Nothing
    /// waits; the row is the caller's own, see [`ImageEncoder::encode`].
    ///
    /// # Errors
    /// As [`ImageEncoder::preprocessor`] and [`Preprocessor::of_rgb`]; no memory; the device was lost.
    pub fn encode_rgb(&self, rgb: &[u8], width: usize, height: usize) -> Result<Tensor> {
        self.encode(&self.preprocessor()?.of_rgb(rgb, width, height)?)
    }

    /// As [`ImageEncoder::encode_rgb`], waiting for the row's numbers.
    ///
    /// # Errors
    /// As there.
    pub fn encode_rgb_blocking(&self, rgb: &[u8], width: usize, height: usize) -> Result<Vec<f32>> {
        self.encode_rgb(rgb, width, height)?.to_f32_blocking(self.device())
    }

    /// As [`ImageEncoder::encode_rgb`], from a file, which is read and decoded before this returns.
    ///
    /// # Errors
    /// As there, and as [`Picture::open`].
    pub fn encode_file(&self, path: &Path) -> Result<Tensor> {
        let preprocessor = self.preprocessor()?;
        self.encode(&preprocessor.pixels(&Picture::open(path, preprocessor.alpha_rule())?)?)
    }

    /// As [`ImageEncoder::encode_file`], waiting for the row's numbers.
    ///
    /// # Errors
    /// As there.
    pub fn encode_file_blocking(&self, path: &Path) -> Result<Vec<f32>> {
        self.encode_file(path)?.to_f32_blocking(self.device())
    }

    /// As [`ImageEncoder::encode_rgb`], of the picture in a texture of the encoder's device, which is prepared there: see
    /// [`PictureSpace::record_texture`]. The numbers are those of the same bytes by way of the host.
    ///
    /// # Errors
    /// As there, and as [`ImageEncoder::preprocessor`].
    pub fn encode_texture(&self, texture: &wgpu::Texture) -> Result<Tensor> {
        let size = (texture.height() as usize, texture.width() as usize);
        let kept = self.pictures.kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        let space = match kept.filter(|space| space.size() == size) {
            Some(space) => space,
            None => PictureSpace::new(self.device(), self.preprocessor()?, size.1, size.0)?,
        };
        let out = self.rows(1)?;
        self.submit_with((&out, 0), 1, |recorder| {
            let pixels = self.pixels_for(1)?;
            space.record_texture(recorder, texture, (&pixels, 0))?;
            Ok(pixels)
        })?;
        *self.pictures.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(space);
        Ok(out)
    }

    /// Records the embedding of a picture from its RGB bytes, which are prepared at once; `space` is one for one image. As [`ImageEncoder::record`],
    /// for apps that submit by themselves, all at once or in [`Pieces`](crate::device::Pieces).
    ///
    /// # Errors
    /// As [`ImageEncoder::encode_rgb`]; a space for another number of images.
    pub fn record_rgb(
        &self,
        recorder: &mut Recorder,
        (rgb, width, height): (&[u8], usize, usize),
        space: &ImageSpace,
    ) -> Result<Tensor> {
        let pixels = self.preprocessor()?.of_rgb(rgb, width, height)?;
        self.record(recorder, &Tensor::from_f32(self.device(), &pixels, pixels.len())?, space)
    }

    /// Room for the pixels of so many images, `[images, 3 · height · width]` in f32, as [`ImageEncoder::record`] takes them and
    /// [`PictureSpace::record`] fills them row by row.
    ///
    /// # Errors
    /// No memory; more than a binding holds.
    pub fn pixels_for(&self, images: usize) -> Result<Tensor> {
        let (height, width) = self.image_size();
        let label = (Purpose::Data, "pixels of images");
        Tensor::labelled(self.device(), label, (images, 3 * height * width), ElementType::F32)
    }
}
