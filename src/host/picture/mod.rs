//! Twins of `shaders/picture`: integers and tables alone, so that they are the shaders' bits.

pub mod colours;
pub mod planes;
pub mod resample;
