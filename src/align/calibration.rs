//! What calibration finds: how many rows a fit needs, how it carries over to other domains, and whether it is still valid.

use serde_json::{Map, Value, json};

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

impl Calibration {
    /// Everything that was asked for by name, with a verdict at this `significance` (0 to 1) where there is a drift check: `drift` (its test, `significance`,
    /// `recalibrate`), `sizes` (for each `rows`, `gap_mean`, `gap_sd`, `gaps`) and `transfer` (`domains`, `gap`).
    pub fn json(&self, significance: f64) -> Map<String, Value> {
        let drift = self.drift.as_ref().map(|r| {
            json!({
                "rows": r.rows, "statistic": r.statistic, "degrees_of_freedom": r.degrees, "p_mean": r.p_mean,
                "trace_z": r.trace_z, "p_trace": r.p_trace, "p_value": r.p_value, "drift": r.drift,
                "significance": significance, "recalibrate": r.recalibrate(significance),
            })
        });
        let size =
            |s: &SizeResult| json!({ "rows": s.rows, "gap_mean": s.mean(), "gap_sd": s.deviation(), "gaps": s.gaps });
        let sizes = (!self.sizes.is_empty()).then(|| self.sizes.iter().map(size).collect());
        let transfer = self.transfer.as_ref().map(|t| json!({ "domains": t.domains, "gap": t.gaps }));
        let all = [("drift", drift), ("sizes", sizes), ("transfer", transfer)];
        all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
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
