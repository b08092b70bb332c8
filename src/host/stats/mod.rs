//! Twins of `shaders/stats`.

pub mod moments;
pub mod normalize;
