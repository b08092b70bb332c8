//! How to fit: options, and what can be refused of them before any row is read.

use super::{Centroid, Method, PlaneOptions, Training};
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
    /// Seed of C3's noise, and of what is random in AnisoAlign's planes and training.
    pub seed: u64,
    /// The ridge of blockwise alignment, optimal transport and least squares, as a share of the source's mean variance; by default
    /// [`super::SHRINKAGE`].
    pub shrinkage: Option<f64>,
    /// Blockwise alignment's frame, and AnisoAlign's, whose directions are an even number; by default 90% of the energy.
    pub frame: Cut,
    /// AnisoAlign's planes, and what is learnt in them.
    pub planes: PlaneOptions,
    /// How AnisoAlign's training is watched and kept.
    pub training: Training<'a>,
    /// Optimal transport's t, 0 to 1: the map is `(1 - t) s I + t A`, at 0 ReAlign's scaling; 1 by default.
    pub strength: Option<f64>,
    /// Row i of the source is the partner of row i of the target: for methods that are fitted to pairs.
    pub paired: bool,
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
        planes: PlaneOptions,
        training: Training<'a>,
        strength: Option<f64>,
        paired: bool,
        stream: StreamOptions<'a>,
    }
}

/// Refuses a method that is fitted to pairs where none are known.
pub(super) fn check_pairs(method: Method, paired: bool) -> Result<()> {
    if method.needs_pairs() && !paired {
        let problem =
            format!("{method} is fitted to pairs: say that row i of one side is the partner of row i of the other");
        return Err(Error::argument("paired", problem));
    }
    Ok(())
}

/// Refuses what can be refused before any row of width `d` is read, whether the method uses it or not.
pub(super) fn check_options(options: &FitOptions<'_>, d: usize) -> Result<()> {
    options.stream.check()?;
    options.centroid.check()?;
    options.frame.check(d)?;
    if options.method.maps() && options.centroid == Centroid::Exact {
        let problem = format!("exact is for realign; {} takes a number of steps, 1 as published", options.method);
        return Err(Error::argument("centroid", problem));
    }
    check_pairs(options.method, options.paired)?;
    options.planes.check()?;
    options.training.check()?;
    let sigma = options.sigma.unwrap_or(0.0);
    if !(0.0..=MAX_SIGMA).contains(&sigma) {
        return Err(Error::argument("sigma", format!("{sigma}; give a number from 0 to {MAX_SIGMA:e}")));
    }
    let shrinkage = options.shrinkage.unwrap_or(0.0);
    if !(0.0..=1e6).contains(&shrinkage) {
        return Err(Error::argument("shrinkage", format!("{shrinkage}; give a number from 0 to 1e6")));
    }
    let strength = options.strength.unwrap_or(1.0);
    if !(0.0..=1.0).contains(&strength) {
        let problem = format!("{strength}; give a number from 0 (ReAlign's scaling) to 1 (the whole map)");
        return Err(Error::argument("strength", problem));
    }
    Ok(())
}
