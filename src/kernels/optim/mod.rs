//! Optimisation: AdamW, with moments in f32 or in 8 bits, and the gradient's norm with clipping.

pub mod adamw;
pub mod adamw_8bit;
pub mod norm;
