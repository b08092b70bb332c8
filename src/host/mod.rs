//! The host engine: each kernel's twin on the CPU's cores, one function per kernel on slices.
//!
//! In f32 on all cores it is the engine where no GPU is; in f64 it is the tests' oracle.

pub mod align;
pub mod bench;
pub mod fixed_point;
pub mod gaussian;
pub mod geometry;
pub mod linalg;
pub mod nn;
pub mod optim;
pub mod output;
pub mod real;
pub mod rows;
pub(crate) mod split_mix;
pub mod stats;

pub use crate::spec::{HostCall, HostSlice};

/// Dot product in f64, `[d] · [d]`.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Euclidean norm in f64.
pub(crate) fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

/// Runs `task` compiled for the best vector instructions that this CPU has. For that, its `call` and all that it calls
/// must be `inline(always)`: hence a type that implements the trait, for a closure cannot be marked so.
pub(crate) fn dispatch_simd<T: pulp::NullaryFnOnce>(task: T) -> T::Output {
    pulp::Arch::new().dispatch(task)
}
