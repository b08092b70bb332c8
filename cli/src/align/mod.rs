//! `stats`, `merge`, `fit` and `apply`.

pub mod apply;
pub mod fit;
