//! The gap of paired rows in a fixed frame: Δ = x - y = β + γ + δ + ζ [spec 4; paper section 3.1].

use super::consistency::{effective_dimension, residual_anisotropy};
use super::coupling::{Blocks, Coupling, RIDGE, of_blocks};
use super::dense;
use super::eigen::symmetric_eigen;
use super::frame::{Frame, Split};
use super::rows::{UnitRows, check_width};
use super::scatter::Scatter;
use super::spectrum::Spectrum;
use crate::host::{dot, norm};
use crate::stats::{RowSource, StreamOptions};
use crate::{Error, Result};

/// What paired rows show in a frame.
#[derive(Clone, Debug)]
pub struct Decomposition {
    /// Pairs.
    pub rows: u64,
    /// r of the frame.
    pub rank: usize,
    /// m = E\[Δ\], `[d]`.
    pub mean: Vec<f64>,
    /// β and γ.
    pub bias: Split,
    /// Spectrum of Σ_U = Cov(δ), `[r]`.
    pub spectrum_u: Spectrum,
    /// Spectrum of Σ_V = Cov(ζ), `[d - r]`.
    pub spectrum_v: Spectrum,
    /// Angle between the lines of γ and of Σ_V's first eigenvector, 0 to 90 degrees; `None` where γ or Σ_V vanishes.
    pub gamma_v1_angle_deg: Option<f64>,
    /// From δ to ζ.
    pub coupling: Coupling,
    /// `λ_max / (tr / d)` of Cov(Δ); `None` where all Δ are equal.
    pub residual_anisotropy: Option<f64>,
    /// `tr² / tr(Σ²)` of Cov(Δ); `None` where all Δ are equal.
    pub effective_dimension: Option<f64>,
}

impl Decomposition {
    /// Streams paired rows, row i of `source` (text, y) with row i of `target` (image, x): one read of each, in f64, with
    /// memory for d² numbers. All that is measured follows from the mean and the covariance of Δ.
    ///
    /// # Errors
    /// Numbers of rows that differ, or none; widths that differ from the frame's; a NaN or an infinity; a file that cannot
    /// be read.
    pub fn of(
        source: &mut dyn RowSource,
        target: &mut dyn RowSource,
        frame: &Frame,
        options: StreamOptions<'_>,
    ) -> Result<Self> {
        check_width("decomposition", "the source", frame.width(), source.width())?;
        check_width("decomposition", "the target", frame.width(), target.width())?;
        let (scatter, rows) = differences(source, target, options)?;
        Self::from_moments((scatter.mean(), rows), &scatter.covariance(), frame)
    }

    /// From m `[d]` and its number of pairs, and Cov(Δ) `[d, d]`: for covariances averaged over a window of steps.
    ///
    /// # Errors
    /// Widths that differ from the frame's; no convergence.
    pub fn from_moments((mean, rows): (Vec<f64>, u64), covariance: &[f64], frame: &Frame) -> Result<Self> {
        let bias = frame.split(&mean)?;
        let whole = dense::square("decomposition", covariance, frame.width())?;
        let blocks = Blocks::of(whole, frame);
        let spectrum = Spectrum::from_eigenvalues(dense::eigenvalues(whole)?);
        let outside = symmetric_eigen(&dense::rows_of(blocks.vv.as_ref()), frame.width())?;
        // The r directions of U add as many zeros, give or take rounding: among the last in descending order.
        let values = outside.values[..frame.width() - frame.rank()].to_vec();
        let (spectrum_v, floor) = (Spectrum::from_eigenvalues(values), resolution(&spectrum, &mean));
        let defined = spectrum_v.trace() > floor && bias.gamma_norm > f64::EPSILON * norm(&mean).max(floor);
        Ok(Decomposition {
            rows,
            rank: frame.rank(),
            gamma_v1_angle_deg: defined.then(|| line_angle(&bias.gamma, outside.vector(0)).to_degrees()),
            bias,
            mean,
            spectrum_u: Spectrum::from_eigenvalues(dense::eigenvalues(blocks.uu.as_ref())?),
            spectrum_v,
            coupling: of_blocks(&blocks, RIDGE)?,
            residual_anisotropy: residual_anisotropy(&spectrum),
            effective_dimension: effective_dimension(&spectrum),
        })
    }
}

impl Decomposition {
    /// Names and values as the command line prints them, in its order; `None` is undefined for this data.
    pub fn entries(&self) -> Vec<(&'static str, Option<f64>)> {
        vec![
            ("beta_norm", Some(self.bias.beta_norm)),
            ("gamma_norm", Some(self.bias.gamma_norm)),
            ("trace_u", Some(self.spectrum_u.trace())),
            ("trace_v", Some(self.spectrum_v.trace())),
            ("kappa_u", self.spectrum_u.kappa()),
            ("kappa_v", self.spectrum_v.kappa()),
            ("gamma_v1_angle_deg", self.gamma_v1_angle_deg),
            ("coupling_norm", self.coupling.norm),
            ("coupling_r2", self.coupling.r2),
            ("residual_anisotropy", self.residual_anisotropy),
            ("effective_dimension", self.effective_dimension),
        ]
    }
}

/// Variance that rounding alone may leave.
fn resolution(spectrum: &Spectrum, mean: &[f64]) -> f64 {
    f64::EPSILON * mean.len() as f64 * (spectrum.trace() + f64::EPSILON * dot(mean, mean))
}

/// The acute angle of two lines, in radians, accurate for small angles too; `along` has norm 1.
fn line_angle(v: &[f64], along: &[f64]) -> f64 {
    let c = dot(v, along);
    let rest: Vec<f64> = v.iter().zip(along).map(|(v, a)| v - c * a).collect();
    norm(&rest).atan2(c.abs())
}

fn differences(
    source: &mut dyn RowSource,
    target: &mut dyn RowSource,
    options: StreamOptions<'_>,
) -> Result<(Scatter, u64)> {
    if source.rows() != target.rows() {
        let want = format!("{} rows, as many as the source: row i of one is the partner of row i", source.rows());
        return Err(Error::shape("--paired", "the target", want, format!("{} rows", target.rows())));
    }
    let mut scatter = Scatter::new(source.width());
    let mut sides = (UnitRows::new(source, options)?, UnitRows::new(target, options)?);
    loop {
        let (y, mut x) = (sides.0.next()?, sides.1.next()?);
        if y.is_empty() || x.len() != y.len() {
            break;
        }
        x.iter_mut().zip(&y).for_each(|(x, y)| *x -= y);
        scatter.add(&x);
    }
    let rows = scatter.count();
    if rows == 0 {
        return Err(Error::Degenerate("--paired: there are no pairs to measure".to_owned()));
    }
    Ok((scatter, rows))
}
