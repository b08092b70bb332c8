//! The encoders of model folders as what runs ask for.

use super::{EncodesPictures, EncodesTexts};
use crate::Result;
use crate::encode::{ImageEncoder, TextEncoder};

impl EncodesPictures for ImageEncoder {
    fn width(&self) -> usize {
        ImageEncoder::width(self)
    }

    fn image_size(&self) -> (usize, usize) {
        ImageEncoder::image_size(self)
    }

    fn picture_rows(&self, pixels: &[f32], _count: usize) -> Result<Vec<f32>> {
        self.encode_blocking(pixels)
    }
}

impl EncodesTexts for TextEncoder {
    fn width(&self) -> usize {
        TextEncoder::width(self)
    }

    fn text_rows(&self, texts: &[String]) -> Result<(Vec<f32>, u64)> {
        let encoded = self.encode_blocking(texts)?;
        Ok((encoded.rows, encoded.cut as u64))
    }
}
