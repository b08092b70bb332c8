//! The aligners' row operators.

pub mod apply;
pub mod c3;
pub mod phase_features;
pub mod phase_noise;
pub mod phase_turn;
pub mod radial;
