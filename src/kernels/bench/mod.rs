//! Kernels that measure a device: what its memory and its arithmetic units give at most.

pub mod copy;
pub mod fma;
