//! The gap of paired rows in a fixed frame: Δ = x - y = β + γ + δ + ζ [spec 4; paper section 3.1].

use super::consistency::{effective_dimension, residual_anisotropy};
use super::coupling::{Blocks, Coupling, RIDGE, of_blocks};
use super::dense;
use super::eigen::symmetric_eigen;
use super::frame::{Frame, Split};
use super::rows::{BLOCK_ROWS, UnitRows, check_width, unit_rows};
use super::scatter::Scatter;
use super::spectrum::Spectrum;
use crate::host::{dot, norm};
use crate::stats::{RowSource, StreamOptions};
use crate::{ElementType, Error, Result};

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
        let (y, x) = (source.rows(), target.rows());
        if y != x {
            let problem = format!("the target has {x} rows, the source {y} rows; row i of one is the partner of row i");
            return Err(Error::argument("paired", problem));
        }
        let mut pairs = Pairs::with(target, options)?;
        let mut rows = UnitRows::new(source, options)?;
        loop {
            let block = rows.next()?;
            if block.is_empty() {
                return pairs.finish(frame);
            }
            pairs.add_unit(&block)?;
        }
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
    /// Names and values as results have them, in their order; `None` is undefined for this data.
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

/// Builds a [`Decomposition`] from blocks of rows, as an aligner's sink gets them, and the rows of a target that are their partners.
pub struct Pairs<'a> {
    partners: UnitRows<'a>,
    /// Partners that were read, and how many of their numbers were used.
    block: Vec<f64>,
    used: usize,
    scatter: Scatter,
    width: usize,
}

impl std::fmt::Debug for Pairs<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pairs({} of width {})", self.scatter.count(), self.width)
    }
}

impl<'a> Pairs<'a> {
    /// No pairs yet; `target` is read from its start.
    ///
    /// # Errors
    /// The target cannot be read again.
    pub fn with(target: &'a mut dyn RowSource, options: StreamOptions<'a>) -> Result<Self> {
        let width = target.width();
        let partners = UnitRows::new(target, options)?;
        Ok(Pairs { partners, block: Vec::new(), used: 0, scatter: Scatter::new(width), width })
    }

    /// Adds tight rows `[m, d]` of f32, each normalised: partners of the target's next m rows.
    ///
    /// # Errors
    /// Bytes that are no whole rows; a target that has fewer; what it reports.
    pub fn add(&mut self, rows: &[u8]) -> Result<()> {
        let tight = self.width * ElementType::F32.bytes();
        if tight == 0 || !rows.len().is_multiple_of(tight) {
            return Err(Error::shape("pairs", "rows", format!("rows of {tight} bytes"), rows.len()));
        }
        rows.chunks(tight * BLOCK_ROWS)
            .try_for_each(|part| self.add_unit(&unit_rows(part, ElementType::F32, self.width)))
    }

    fn add_unit(&mut self, mut rows: &[f64]) -> Result<()> {
        while !rows.is_empty() {
            if self.used == self.block.len() {
                (self.block, self.used) = (self.partners.next()?, 0);
            }
            let (part, rest) = rows.split_at(rows.len().min(self.block.len() - self.used));
            if part.is_empty() {
                let got = format!("{} rows", self.scatter.count());
                return Err(Error::shape("pairs", "the target", "a partner for each row", got));
            }
            let partners = &self.block[self.used..self.used + part.len()];
            let differences: Vec<f64> = partners.iter().zip(part).map(|(x, y)| x - y).collect();
            self.scatter.add(&differences);
            self.used += part.len();
            rows = rest;
        }
        Ok(())
    }

    /// What the pairs show in a frame.
    ///
    /// # Errors
    /// No pairs; a frame of another width; no convergence.
    pub fn finish(self, frame: &Frame) -> Result<Decomposition> {
        if self.scatter.count() == 0 {
            return Err(Error::degenerate("pairs: there are none to measure"));
        }
        check_width("decomposition", "the pairs", frame.width(), self.width)?;
        Decomposition::from_moments((self.scatter.mean(), self.scatter.count()), &self.scatter.covariance(), frame)
    }
}
