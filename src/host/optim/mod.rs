//! Twins of `shaders/optim`.

pub mod adamw;
pub mod norm;
