//! Pictures as a tower takes them, bit for bit as Transformers' Pillow-backed image processors prepare them.
//!
//! A [`Picture`] is a file's pixels in RGB. A [`Preprocessor`] has the steps of a model's folder: resized to its size, its middle, scaled,
//! normalised. [`PictureBatches`] does both for many files on all cores, while a device computes. A [`PictureSpace`] takes the steps on a device,
//! for a picture that lies there already, in a texture or in a buffer: with the same bits.
//!
//! | step | equal to Pillow's and Transformers' |
//! | --- | --- |
//! | decoding PNG, BMP, GIF and lossless WebP | every byte |
//! | decoding JPEG and lossy WebP | nearly: other decoders than libjpeg-turbo and libwebp, a few levels at edges of colours |
//! | 16-bit grey | scaled to 8 bits, where Pillow clips it to white |
//! | resizing and cropping | every byte |
//! | scaling and normalising | every bit of f32 |

mod batches;
mod config;
mod decode;
mod preprocess;
mod resample;
mod space;

pub use crate::kernels::picture::{Pixels, Reading};
#[cfg(feature = "encode")]
pub(crate) use batches::check_size;
pub use batches::{BadPicture, PictureBatch, PictureBatches};
pub use decode::{Alpha, MAX_PIXELS, Picture, is_picture};
pub use preprocess::Preprocessor;
pub use resample::Filter;
pub use space::PictureSpace;
