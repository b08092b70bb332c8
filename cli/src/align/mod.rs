//! `stats`, `merge`, `fit` and `apply`.

pub mod apply;
pub mod args;
pub mod fit;
pub mod unused;
