//! Twins of `shaders/align`.

pub mod apply;
pub mod c3;
pub mod radial;
