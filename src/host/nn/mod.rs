//! Twins of `shaders/nn`: pure functions on slices, generic over the float, and the twins that call them.
//!
//! Matrices are rows of a common `stride`, a multiple of 4; what lies beyond a row's width is zero.

pub mod add_rows;
pub mod attention;
pub mod attention_twins;
pub mod bias;
pub(crate) mod block;
pub mod cross_entropy;
pub mod dropout;
pub mod elementwise;
pub mod embedding;
pub mod gate;
pub mod gelu;
pub mod info_nce;
pub mod math;
pub mod norm;
pub mod pair_sigmoid;
pub mod parallel;
pub mod patches;
pub mod pool;
pub mod rotary;

use super::HostCall;
use crate::Result;

/// The call's buffer `index` as f32, at least so many, for reading.
pub(crate) fn floats<'a>(call: &mut HostCall<'a>, index: usize, at_least: usize) -> Result<&'a [f32]> {
    call.read_as(index, at_least)
}

/// The call's buffer `index` as f32, at least so many, for writing.
pub(crate) fn floats_mut<'a>(call: &mut HostCall<'a>, index: usize, at_least: usize) -> Result<&'a mut [f32]> {
    call.write_as(index, at_least)
}
