//! Linear algebra.

pub mod matmul;
pub mod tiles;
