//! Linear algebra.

pub mod epilogue;
pub mod exact_product;
pub mod matmul;
pub use crate::spec::tiles;
