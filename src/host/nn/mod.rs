//! Twins of `shaders/nn`: pure functions on slices, generic over the float, and the twins that call them.
//!
//! Matrices are rows of a common `stride`, a multiple of 4; what lies beyond a row's width is zero.

pub mod attention;
pub mod bias;
pub mod block;
pub mod cross_entropy;
pub mod elementwise;
pub mod embedding;
pub mod gelu;
pub mod info_nce;
pub mod math;
pub mod norm;
pub mod pair_sigmoid;
pub mod parallel;
pub mod rotary;
pub mod silu_gate;

use super::HostCall;
use crate::Result;

/// The call's buffer `index` as f32, for reading.
pub(crate) fn floats<'a>(call: &mut HostCall<'a>, index: usize) -> Result<&'a [f32]> {
    Ok(bytemuck::cast_slice(call.read(index)?))
}

/// The call's buffer `index` as f32, for writing.
pub(crate) fn floats_mut<'a>(call: &mut HostCall<'a>, index: usize) -> Result<&'a mut [f32]> {
    Ok(bytemuck::cast_slice_mut(call.write(index)?))
}
