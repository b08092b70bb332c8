//! The ReAlign operator and its rivals behind one trait [spec 2, 3; paper section 4].
//!
//! [`fit`] turns two row sources into [`Statistics`]; [`Statistics::aligner`] turns those into an [`Aligner`], which
//! works on tensors of any device; [`apply()`] streams a whole source through it, [`apply_to_files`] a data set into files.

mod aligner;
mod anisoalign;
mod apart;
mod apply;
mod blockwise;
mod calibration;
mod centre;
mod centroid;
mod compare;
mod evidence;
mod file;
mod fit;
mod mapped;
mod method;
mod options;
#[cfg(feature = "report")]
mod pages;
mod radial;
mod ridge;
mod shards;
mod study;
mod transport;

pub use aligner::{Affine, Aligner, OnDevice, Perturbed, Target, Unchanged};
pub use anisoalign::{
    Layer, Mix, Network, Phases, PlaneOptions, Refinement, Stages, Trained, Training, TrainingState, TrainingStep,
};
pub use apart::moved_moments;
pub use apply::{Applied, Sink, apply, apply_rows};
pub use calibration::{Calibration, Transfer};
pub use compare::{CompareOptions, Compared, Comparison, compare};
pub use evidence::{Evidence, fit_evidence};
pub use fit::{fit, fit_moments};
pub use mapped::{Mapped, SHRINKAGE};
pub use method::{Centroid, Method};
pub use options::FitOptions;
pub use radial::Radial;
pub use shards::{AlignedFiles, apply_to_files};
pub use study::{Domain, SizeResult, sample_size_study, sizes, transfer_matrix};

pub use crate::kernels::align::c3::Noise;

use crate::error::{Problem, Remedy};
use crate::io::EncoderId;
use crate::{Error, Result};

/// What a fitted operator is made of; the file format is in [`Statistics::save`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Statistics {
    /// Which operator.
    pub method: Method,
    /// How the centroid step was done; `None` for methods without one.
    pub centroid: Option<Centroid>,
    /// μ_y, `[d]`: mean of the source's unit rows.
    pub mean_source: Vec<f64>,
    /// μ_x, `[d]`: mean of the target's unit rows.
    pub mean_target: Vec<f64>,
    /// T_y.
    pub trace_source: f64,
    /// T_x.
    pub trace_target: f64,
    /// s: 1 for methods without trace alignment, and without a part of it.
    pub scale: f64,
    /// μ', `[d]`: mean of the rows before the first centroid step, where there is one.
    pub mean_projected: Option<Vec<f64>>,
    /// The centroid steps' shifts h, each `[d]`.
    pub shifts: Vec<Vec<f64>>,
    /// Distance of the aligned rows' mean from μ_x as far as the fit knows it: after `exact`.
    pub residual_gap: Option<f64>,
    /// n_y and n_x.
    pub rows: (u64, u64),
    /// C3's noise.
    pub noise: Option<Noise>,
    /// t of optimal transport: how much of the map is A, and how much `s I`.
    pub strength: Option<f64>,
    /// The map of blockwise alignment, optimal transport and least squares, `[d, d]`, row-major; AnisoAlign's outside of its planes.
    pub map: Option<Vec<f64>>,
    /// AnisoAlign's planes, and what is learnt in them; `None` also where rows span a single direction.
    pub radial: Option<Radial>,
    /// The encoders of source and target, where the rows' files say it.
    pub encoders: (Option<EncoderId>, Option<EncoderId>),
    /// Variance that the noise of private moments gave each component of μ_y and of μ_x; 0 without.
    pub privacy: (f64, f64),
    /// ε and δ of private moments of the source and of the target, where the fit was to such.
    pub budgets: [Option<(f64, f64)>; 2],
}

impl Statistics {
    /// d.
    pub fn width(&self) -> usize {
        self.mean_source.len()
    }

    /// Refuses rows that are to stand for the source but were made by another encoder than the source's: their cloud is another, even where
    /// widths agree. Rows and statistics that say nothing are taken; with `any` all are, with a warning.
    ///
    /// # Errors
    /// The encoders differ: both are named.
    pub fn check_source_encoders(&self, rows: &[EncoderId], any: bool) -> Result<()> {
        EncoderId::check("statistics' source", self.encoders.0.as_ref(), rows, any)
    }

    /// As [`Self::check_source_encoders`], for the target's side.
    ///
    /// # Errors
    /// The encoders differ: both are named.
    pub fn check_target_encoders(&self, rows: &[EncoderId], any: bool) -> Result<()> {
        EncoderId::check("statistics' target", self.encoders.1.as_ref(), rows, any)
    }

    /// ‖μ_x - μ_y‖, the gap before alignment.
    pub fn gap(&self) -> f64 {
        self.mean_target.iter().zip(&self.mean_source).map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt()
    }

    /// b = μ_x - s μ_y, `[d]`; of centring -μ_y.
    pub fn shift(&self) -> Vec<f64> {
        if self.method.centres() {
            return self.mean_source.iter().map(|y| -y).collect();
        }
        self.mean_target.iter().zip(&self.mean_source).map(|(x, y)| x - self.scale * y).collect()
    }

    /// The statistics of another method that needs no more than these hold: any for its own method, `none`, mean shift, centring and the
    /// anchor step always, the trace step always, ReAlign where the centroid step was fitted.
    ///
    /// # Errors
    /// What the method needs was not fitted.
    pub fn as_method(mut self, method: Method) -> Result<Self> {
        if method == self.method {
            return Ok(self);
        }
        let scale = crate::stats::trace_scale(self.trace_source, self.trace_target);
        match method {
            Method::None | Method::MeanShift | Method::Centre | Method::Anchor | Method::AnchorTrace => {
                self.scale = if method == Method::AnchorTrace { scale } else { 1.0 };
                self.shifts.clear();
                (self.centroid, self.mean_projected, self.residual_gap) = (None, None, None);
            }
            Method::ReAlign
            | Method::C3
            | Method::Blockwise
            | Method::OptimalTransport
            | Method::AnisoAlign
            | Method::Ridge => {
                let problem = Problem::new(format!("the statistics were fitted for {}", self.method));
                let remedy = Remedy::FitFor { method: method.name() };
                return Err(Error::argument("aligner", problem.remedy(remedy)));
            }
        }
        (self.method, self.noise, self.strength) = (method, None, None);
        (self.map, self.radial) = (None, None);
        Ok(self)
    }

    /// `a` and `v_0` of `P(a u + v_0) = P(s u + b)`, scaled so that `a <= 1` and no number is large.
    pub(crate) fn affine(&self) -> (f64, Vec<f64>) {
        let divisor = self.scale.max(1.0);
        (self.scale / divisor, self.shift().into_iter().map(|b| b / divisor).collect())
    }

    /// The affine step's vector and the centroid steps', as the kernels take them.
    pub(crate) fn vectors(&self) -> (f64, Vec<Vec<f64>>) {
        let (a, first) = self.affine();
        (a, std::iter::once(first).chain(self.shifts.iter().cloned()).collect())
    }

    /// The operator.
    pub fn aligner(&self) -> Box<dyn Aligner> {
        if let Some(map) = &self.map {
            return Box::new(Mapped::of(self, map));
        }
        match (self.method, self.noise) {
            (Method::None, _) => Box::new(Unchanged { width: self.width() }),
            (Method::C3, Some(noise)) => Box::new(Perturbed { shift: self.shift(), noise }),
            _ => {
                let (scale, vectors) = self.vectors();
                Box::new(Affine { method: self.method, scale, vectors })
            }
        }
    }
}
