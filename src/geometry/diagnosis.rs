//! All diagnostics of one pair of clouds at once [spec 5; paper appendices D to G].

use faer::Mat;

use super::consistency::{
    instance_consistency, leading_directions, overlap_of_spans, relative_geometry, spectral_correlation,
};
use super::density::{Density, jensen_shannon};
use super::neighbourhood::{MIXING_K, Mixing, OVERLAP_K, mixing_on, nearest_others_on, overlap_of};
use super::rows::check_width;
use super::survey::{SAMPLE_ROWS, Survey};
use super::transport::{self, DIRECTIONS, Frechet, Slices};
use crate::device::Device;
use crate::error::{Problem, Remedy};
use crate::{Error, Result};

/// Sizes that the diagnostics use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiagnosisOptions {
    /// k of the mixing rate and of Ω_k.
    pub mixing_k: usize,
    /// k of the neighbour overlap.
    pub overlap_k: usize,
    /// Rows of the neighbour overlap, the first ones; mixing pools half as many of each side.
    pub neighbour_rows: usize,
    /// q of the subspace overlap; a frame's rank, usually. `None` leaves it out.
    pub q: Option<usize>,
    /// Directions of the sliced Wasserstein distance, 1 to [`transport::MAX_DIRECTIONS`].
    pub directions: usize,
    /// What these directions depend on.
    pub seed: u64,
}

impl Default for DiagnosisOptions {
    fn default() -> Self {
        DiagnosisOptions {
            mixing_k: MIXING_K,
            overlap_k: OVERLAP_K,
            neighbour_rows: SAMPLE_ROWS,
            q: None,
            directions: DIRECTIONS,
            seed: 0,
        }
    }
}

/// One side's spectrum in numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Side {
    /// Trace of the covariance.
    pub trace: f64,
    /// Power-law exponent.
    pub alpha: Option<f64>,
    /// Effective rank.
    pub effective_rank: f64,
    /// Effective condition number.
    pub kappa: Option<f64>,
}

impl Side {
    /// Of a survey.
    pub fn of(survey: &Survey) -> Self {
        let s = survey.spectrum();
        Side { trace: s.trace(), alpha: s.alpha(), effective_rank: s.effective_rank(), kappa: s.kappa() }
    }
}

/// What alignment kept of the source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kept {
    /// Neighbour overlap before and after.
    pub knn_overlap: f64,
    /// Ω_k: the overlap at the k of mixing.
    pub omega: f64,
    /// Φ.
    pub phi: f64,
    /// Ψ.
    pub psi: Option<f64>,
}

/// The numbers of a comparison of two clouds.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnosis {
    /// `‖E x - E z‖`.
    pub gap: f64,
    /// The squared Fréchet distance, split into means and shapes.
    pub frechet: Frechet,
    /// The sliced Wasserstein distance of the samples.
    pub sliced_wasserstein: f64,
    /// The measured set: the source, or the aligned rows.
    pub source: Side,
    /// The target.
    pub target: Side,
    /// Divergence of the cosines within the target from those within the measured set, in bits.
    pub jsd: f64,
    /// Divergence of the cosines within the target from those between the two.
    pub jsd_cross: f64,
    /// How far the two mix.
    pub mixing: Mixing,
    /// C_λ.
    pub spectral_correlation: Option<f64>,
    /// O_q.
    pub subspace_overlap: Option<f64>,
    /// Against the rows before alignment, where they are given.
    pub kept: Option<Kept>,
}

/// The reference that sets are measured against: the target, with what is computed of it only once.
#[derive(Debug)]
pub struct Reference<'a> {
    target: &'a Survey,
    density: Density,
    /// The leading q directions.
    leading: Option<Vec<f64>>,
    /// Σ_x^{1/2}.
    root: Mat<f64>,
    slices: Slices,
    options: DiagnosisOptions,
    device: Device,
}

/// The rows before alignment, with their neighbours found once.
#[derive(Debug)]
pub struct Before<'a> {
    survey: &'a Survey,
    neighbours: Vec<u32>,
    list: usize,
    rows: usize,
    device: Device,
}

impl<'a> Before<'a> {
    /// Finds the neighbours of the source's sample.
    ///
    /// # Errors
    /// Fewer rows than neighbours asked for.
    pub fn of(survey: &'a Survey, options: &DiagnosisOptions) -> Result<Self> {
        Self::on(&Device::host(), survey, options)
    }

    /// [`Before::of`] with a device's help, and the same result.
    ///
    /// # Errors
    /// As [`Before::of`]; a device lost or out of memory.
    pub fn on(device: &Device, survey: &'a Survey, options: &DiagnosisOptions) -> Result<Self> {
        let rows = survey.sample_rows().min(options.neighbour_rows);
        let list = options.mixing_k.max(options.overlap_k);
        if options.overlap_k == 0 || list >= rows {
            let problem = Problem::new(format!("{list} neighbours of {rows} rows"));
            return Err(Error::argument("neighbours", problem.remedy(Remedy::FewerNeighbours)));
        }
        let neighbours = nearest_others_on(device, survey.first(rows), survey.width(), list)?;
        Ok(Before { survey, neighbours, list, rows, device: device.clone() })
    }

    fn kept(&self, after: &Survey, options: &DiagnosisOptions) -> Result<Kept> {
        if after.rows() != self.survey.rows() || after.sample_rows() < self.rows {
            let want = format!("{} rows, as the source: row i is row i aligned", self.survey.rows());
            return Err(Error::shape("measure", "the aligned set", want, format!("{} rows", after.rows())));
        }
        let width = self.survey.width();
        let found = nearest_others_on(&self.device, after.first(self.rows), width, self.list)?;
        let overlap = |k| overlap_of(&self.neighbours, &found, self.list, k);
        let common = self.survey.sample_rows().min(after.sample_rows());
        let (before, after) = (self.survey.first(common), after.first(common));
        Ok(Kept {
            knn_overlap: overlap(options.overlap_k),
            omega: overlap(options.mixing_k),
            phi: instance_consistency(before, after, width)?,
            psi: relative_geometry(before, after, width)?,
        })
    }
}

impl<'a> Reference<'a> {
    /// Computes the target's part.
    ///
    /// # Errors
    /// A target of fewer than two rows; q of 0 or above d; directions out of range.
    pub fn of(target: &'a Survey, options: DiagnosisOptions) -> Result<Self> {
        Self::on(&Device::host(), target, options)
    }

    /// [`Reference::of`] with a device's help in the search of neighbours, and the same results.
    ///
    /// # Errors
    /// As [`Reference::of`].
    pub fn on(device: &Device, target: &'a Survey, options: DiagnosisOptions) -> Result<Self> {
        let density = Density::within(target.sample(), target.width())?;
        let leading = options.q.map_or(Ok(None), |q| leading_directions(target, q))?;
        let root = transport::root(target)?;
        let slices = Slices::of(target.sample(), target.width(), (options.directions, options.seed))?;
        Ok(Reference { target, density, leading, root, slices, options, device: device.clone() })
    }

    /// The target's density of cosines.
    pub fn density(&self) -> &Density {
        &self.density
    }

    /// Measures `set`, the source or its aligned rows, against the target; `before` are the rows before alignment.
    ///
    /// # Errors
    /// Widths that differ; fewer rows than neighbours asked for; rows before and after of different number.
    pub fn diagnose(&self, set: &Survey, before: Option<&Before<'_>>) -> Result<Diagnosis> {
        let (target, d, options) = (self.target, self.target.width(), &self.options);
        check_width("measure", "the measured set", d, set.width())?;
        let within = Density::within(set.sample(), d)?;
        let across = Density::across(target.sample(), set.sample(), d)?;
        let half = options.neighbour_rows.div_ceil(2);
        // Without directions of the target there is nothing to overlap with.
        let q = options.q.filter(|_| self.leading.is_some());
        let leading = q.map_or(Ok(None), |q| leading_directions(set, q))?;
        let slices = Slices::of(set.sample(), d, (options.directions, options.seed))?;
        Ok(Diagnosis {
            gap: gap(target.mean(), set.mean()),
            frechet: Frechet::with(set, (target, &self.root))?,
            sliced_wasserstein: slices.distance(&self.slices),
            source: Side::of(set),
            target: Side::of(target),
            jsd: jensen_shannon(&self.density, &within)?,
            jsd_cross: jensen_shannon(&self.density, &across)?,
            mixing: mixing_on(&self.device, target.first(half), set.first(half), d, options.mixing_k)?,
            spectral_correlation: spectral_correlation(set.spectrum(), target.spectrum())?,
            subspace_overlap: q.and_then(|q| overlap_of_spans(leading.as_deref(), self.leading.as_deref(), q)),
            kept: before.map(|b| b.kept(set, options)).transpose()?,
        })
    }
}

/// `‖a - b‖` of means.
pub(crate) fn gap(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

impl Diagnosis {
    /// Names and values as results have them, in their order; `None` is undefined for this data.
    pub fn entries(&self) -> Vec<(&'static str, Option<f64>)> {
        let kept = |f: fn(&Kept) -> Option<f64>| self.kept.as_ref().and_then(f);
        vec![
            ("gap", Some(self.gap)),
            ("frechet_mean", Some(self.frechet.mean)),
            ("frechet_covariance", Some(self.frechet.covariance)),
            ("sliced_wasserstein", Some(self.sliced_wasserstein)),
            ("trace_source", Some(self.source.trace)),
            ("trace_target", Some(self.target.trace)),
            ("alpha_source", self.source.alpha),
            ("alpha_target", self.target.alpha),
            ("effective_rank_source", Some(self.source.effective_rank)),
            ("effective_rank_target", Some(self.target.effective_rank)),
            ("kappa_source", self.source.kappa),
            ("kappa_target", self.target.kappa),
            ("jsd", Some(self.jsd)),
            ("jsd_cross", Some(self.jsd_cross)),
            ("mixing_rate", Some(self.mixing.rate)),
            ("mixing_z", Some(self.mixing.normalised_source)),
            ("mixing_x", Some(self.mixing.normalised_target)),
            ("knn_overlap", kept(|k| Some(k.knn_overlap))),
            ("spectral_correlation", self.spectral_correlation),
            ("subspace_overlap", self.subspace_overlap),
            ("phi", kept(|k| Some(k.phi))),
            ("psi", kept(|k| k.psi)),
            ("omega", kept(|k| Some(k.omega))),
        ]
    }
}
