//! Twins of `shaders/stats`.

pub mod moment_columns;
pub mod moment_weights;
pub mod moments;
pub mod normalize;
pub mod power_sums;
