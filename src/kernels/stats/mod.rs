//! Row statistics.

pub mod moments;
pub mod normalize;
