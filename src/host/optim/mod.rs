//! Twins of `shaders/optim`.

pub mod adamw;
pub mod adamw_8bit;
pub mod dynamic;
pub mod norm;
