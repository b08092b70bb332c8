//! Linear algebra.

pub mod matmul;
