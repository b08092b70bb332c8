//! The host engine: each kernel's twin on the CPU's cores, one function per kernel on slices.
//!
//! In f32 on all cores it is the engine where no GPU is; in f64 it is the tests' oracle. What a kernel of an app's own needs is here:
//! [`HostCall`], whose [`read_as`](HostCall::read_as) and [`write_as`](HostCall::write_as) give a twin its buffers or an error, and
//! [`volume`]. A twin is given whatever was recorded: it checks its parameters and lengths, and never panics.
//!
//! The modules are hidden from the documentation and may change at any time. Their functions expect slices that fit each other, as each
//! one's comment says, and may panic otherwise; the twins, which call them, check that first.

#[doc(hidden)]
pub mod align;
pub(crate) mod bench;
pub(crate) mod fixed_point;
#[doc(hidden)]
pub mod gaussian;
#[doc(hidden)]
pub mod geometry;
#[doc(hidden)]
pub mod linalg;
#[doc(hidden)]
pub mod nn;
#[doc(hidden)]
pub mod optim;
pub(crate) mod output;
#[doc(hidden)]
pub mod picture;
#[doc(hidden)]
pub mod real;
#[doc(hidden)]
pub mod rows;
pub(crate) mod split_mix;
#[doc(hidden)]
pub mod stats;
pub(crate) mod wide_float;

pub(crate) use crate::spec::check_params;
pub use crate::spec::{HostCall, HostSlice, volume};

/// Dot product in f64, `[d] · [d]`.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Euclidean norm in f64.
pub(crate) fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

/// Divides a row by its Euclidean norm, which is summed in f64 and returned; a row of zeros stays as it is.
#[cfg(feature = "train")]
pub(crate) fn to_unit(row: &mut [f32]) -> f64 {
    let norm = norm_of(row);
    if norm > 0.0 {
        row.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
    }
    norm
}

/// Euclidean norm of a row, summed in f64.
#[cfg(feature = "train")]
pub(crate) fn norm_of(row: &[f32]) -> f64 {
    row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt()
}

/// Runs `task` compiled for the best vector instructions that this CPU has. For that, its `call` and all that it calls
/// must be `inline(always)`: hence a type that implements the trait, for a closure cannot be marked so.
pub(crate) fn dispatch_simd<T: pulp::NullaryFnOnce>(task: T) -> T::Output {
    pulp::Arch::new().dispatch(task)
}
