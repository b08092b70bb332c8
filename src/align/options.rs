//! How to fit: options, and what can be refused of them before any row is read.

use super::{Centroid, Method};
use crate::geometry::Cut;
use crate::setters::setters;
use crate::stats::StreamOptions;
use crate::{Error, Result};

/// Largest σ of C3: rows are unit vectors, so that more is noise alone, and in f32 it would overflow.
pub(super) const MAX_SIGMA: f64 = 1e6;

/// How to fit.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct FitOptions<'a> {
    /// Which operator.
    pub method: Method,
    /// How to do ReAlign's centroid step.
    pub centroid: Centroid,
    /// Accept one row, or rows that are all equal, with the published script's result.
    pub allow_degenerate: bool,
    /// C3's σ; by default what makes up the difference of the traces, `√(max(0, T_x - T_y) / d)`.
    pub sigma: Option<f64>,
    /// C3's seed.
    pub seed: u64,
    /// Blockwise alignment's ridge, as a share of the source's mean variance; by default [`super::SHRINKAGE`].
    pub shrinkage: Option<f64>,
    /// Blockwise alignment's frame; by default 90% of the energy.
    pub frame: Cut,
    /// How to stream the rows.
    pub stream: StreamOptions<'a>,
}

setters! {
    FitOptions<'a> {
        method: Method,
        centroid: Centroid,
        allow_degenerate: bool,
        sigma: Option<f64>,
        seed: u64,
        shrinkage: Option<f64>,
        frame: Cut,
        stream: StreamOptions<'a>,
    }
}

/// Refuses what can be refused before any row of width `d` is read, whether the method uses it or not.
pub(super) fn check_options(options: &FitOptions<'_>, d: usize) -> Result<()> {
    options.stream.check()?;
    options.centroid.check()?;
    options.frame.check(d)?;
    if options.method == Method::Blockwise && options.centroid == Centroid::Exact {
        let problem = "exact is for realign; blockwise takes a number of steps, 1 as published";
        return Err(Error::argument("centroid", problem));
    }
    let sigma = options.sigma.unwrap_or(0.0);
    if !(0.0..=MAX_SIGMA).contains(&sigma) {
        return Err(Error::argument("sigma", format!("{sigma}; give a number from 0 to {MAX_SIGMA:e}")));
    }
    let shrinkage = options.shrinkage.unwrap_or(0.0);
    if !(0.0..=1e6).contains(&shrinkage) {
        return Err(Error::argument("shrinkage", format!("{shrinkage}; give a number from 0 to 1e6")));
    }
    Ok(())
}
