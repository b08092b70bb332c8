//! From pictures and texts to vectors.

#[cfg(all(feature = "encode", feature = "pictures"))]
pub mod embed;
#[cfg(feature = "pictures")]
pub mod picture;
