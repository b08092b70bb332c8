//! The aligners' row operators.

pub mod apply;
pub mod c3;
pub mod radial;
