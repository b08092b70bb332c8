//! Twins of the kernels of linear algebra.

pub mod exact_product;
pub mod join_slices;
pub mod matmul;
mod parts;
