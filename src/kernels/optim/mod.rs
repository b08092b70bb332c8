//! Optimisation: AdamW, and the gradient's norm with clipping.

pub mod adamw;
pub mod norm;
