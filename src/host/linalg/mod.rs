//! Twins of the kernels of linear algebra.

pub mod matmul;
