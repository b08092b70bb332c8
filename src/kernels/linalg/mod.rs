//! Linear algebra.

pub mod epilogue;
pub mod exact_product;
pub mod matmul;
pub mod slices;
pub use crate::spec::{ExactForm, tiles};
