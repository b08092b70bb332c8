//! `demo` and `experiment`.

pub mod args;
pub mod demo;
pub mod full;
pub mod pictures;
