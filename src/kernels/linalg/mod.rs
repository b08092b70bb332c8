//! Linear algebra.

pub mod epilogue;
pub mod matmul;
pub mod tiles;
