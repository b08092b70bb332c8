//! From pictures and texts to vectors: the towers of CLIP and SigLIP, and sentence-transformers' encoders, read from model folders in Hugging
//! Face's layout.
//!
//! An [`ImageEncoder`] takes pixels that are preprocessed already, a [`TextEncoder`] takes texts. Rows are what Transformers'
//! `get_image_features` and `get_text_features` give: projected, not divided by their norms; of a sentence-transformers folder they are what its
//! modules make.
//!
//! Texts and images of a batch are packed one behind the other, so that a row of an activation `[n, d]` is one token; only SigLIP's texts are
//! padded, as the model was trained. In the last block only those rows are computed that pooling reads, where it reads single rows.

mod blocks;
mod decoder;
mod heads;
mod image;
mod load;
mod pooling;
mod sentence;
mod text;
mod tokens;
mod tower;

pub use image::{ImageEncoder, ImageSpace};
pub use text::{Pooling, TextEncoder, TextOptions, TextRows};
