//! Cosines of all pairs, tile by tile: neighbours and histograms; and principal angles.

pub mod angles;
pub mod histogram;
pub mod jacobi;
pub mod nearest;
