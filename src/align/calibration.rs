//! What calibration finds: how many rows a fit needs, how it carries over to other domains, and whether it is still valid.

use super::SizeResult;
use crate::geometry::recalibrate::{Recalibration, Stored};

/// The gaps that operators fitted on each domain leave on each: what [`transfer_matrix`](super::transfer_matrix) gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Transfer {
    /// The domains' names.
    pub domains: Vec<String>,
    /// The gap that an operator fitted on domain i leaves on domain j: `[i][j]`.
    pub gaps: Vec<Vec<f64>>,
}

/// Whatever was asked of a calibration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calibration {
    /// By number of rows: see [`sample_size_study`](super::sample_size_study). Empty where it was not asked for.
    pub sizes: Vec<SizeResult>,
    /// Between domains.
    pub transfer: Option<Transfer>,
    /// Of new rows against a stored fit: see [`recalibration`](crate::geometry::recalibrate::recalibration).
    pub drift: Option<Recalibration>,
}

impl super::Statistics {
    /// What a check for drift needs of the source's side.
    pub fn stored_source(&self) -> Stored<'_> {
        Stored { mean: &self.mean_source, trace: self.trace_source, rows: self.rows.0, noise: self.privacy.0 }
    }

    /// What a check for drift needs of the target's side.
    pub fn stored_target(&self) -> Stored<'_> {
        Stored { mean: &self.mean_target, trace: self.trace_target, rows: self.rows.1, noise: self.privacy.1 }
    }
}
