//! From pictures and texts to vectors: the towers of CLIP and SigLIP, and sentence-transformers' encoders, read from model folders in Hugging
//! Face's layout.
//!
//! An [`ImageEncoder`] takes pictures, or pixels that are preprocessed already, as [`picture`] does it; a [`TextEncoder`] takes texts. Rows are what
//! Transformers' `get_image_features` and `get_text_features` give: projected, not divided by their norms; of a sentence-transformers folder they
//! are what its modules make. [`embed`] writes the rows of many pictures or texts to files.
//!
//! Texts and images of a batch are packed one behind the other, so that a row of an activation `[n, d]` is one token; only SigLIP's texts are
//! padded, as the model was trained. In the last block only those rows are computed that pooling reads, where it reads single rows.

#[cfg(feature = "encode")]
mod blocks;
#[cfg(all(feature = "encode", feature = "pictures"))]
pub mod cache;
#[cfg(feature = "encode")]
mod decoder;
#[cfg(all(feature = "encode", feature = "pictures"))]
pub mod embed;
#[cfg(feature = "encode")]
mod heads;
#[cfg(feature = "encode")]
mod identity;
#[cfg(feature = "encode")]
mod image;
#[cfg(feature = "encode")]
mod load;
#[cfg(feature = "pictures")]
pub mod picture;
#[cfg(feature = "encode")]
mod pooling;
#[cfg(all(feature = "encode", feature = "pictures"))]
mod rgb;
#[cfg(feature = "encode")]
mod sentence;
#[cfg(feature = "encode")]
mod text;
#[cfg(feature = "encode")]
mod tokens;
#[cfg(feature = "encode")]
mod tower;

#[cfg(feature = "encode")]
pub use image::{ImageEncoder, ImageSpace};
#[cfg(feature = "encode")]
pub use text::{Pooling, TextEncoder, TextOptions, TextRows, TextSpace, TextTensor, text_width};
#[cfg(all(feature = "encode", feature = "bench"))]
pub(crate) use tower::RandomTexts;

/// Numbers in a row of the image tower of a model folder, which is not loaded for it.
///
/// # Errors
/// No such folder; a model of another kind; a field that is not known.
#[cfg(feature = "encode")]
pub fn image_width(folder: &std::path::Path) -> crate::Result<usize> {
    Ok(crate::io::encoder::ImageConfig::read(folder)?.width())
}
