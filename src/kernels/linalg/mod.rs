//! Linear algebra.

pub mod epilogue;
pub mod matmul;
pub use crate::spec::tiles;
