//! Cosines of all pairs, tile by tile: neighbours and histograms.

pub mod histogram;
pub mod nearest;
