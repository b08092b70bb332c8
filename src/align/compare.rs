//! All methods side by side: fitted on half of the rows, measured on the other half [paper appendices D to G].

use std::time::{Duration, Instant};

use super::{FitOptions, Method, apply, fit};
use crate::device::Device;
use crate::geometry::{Before, Cut, Diagnosis, DiagnosisOptions, Frame, Reference, Survey, Surveyor};
use crate::stats::{RowSource, Subset};
use crate::{ElementType, Error, Result};

/// How to compare.
#[derive(Clone, Copy, Debug, Default)]
pub struct CompareOptions<'a> {
    /// For every method; `method` is overruled.
    pub fit: FitOptions<'a>,
    /// For every diagnosis. A `q` of `None` becomes the rank of the held-out sets' frame.
    pub diagnosis: DiagnosisOptions,
    /// The cut of that frame.
    pub frame: Cut,
}

/// One method's line.
#[derive(Clone, Debug)]
pub struct Compared {
    /// Which.
    pub method: Method,
    /// Of the held-out rows.
    pub diagnosis: Diagnosis,
    /// Fitting on one half.
    pub fit_time: Duration,
    /// Applying to the other.
    pub apply_time: Duration,
    /// What the held-out rows became.
    pub survey: Survey,
}

/// The table and what it was measured on.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// In the order of the methods asked for.
    pub methods: Vec<Compared>,
    /// The source's held-out rows before alignment.
    pub source: Survey,
    /// The target's held-out rows.
    pub target: Survey,
    /// Rows fitted on, source and target.
    pub fitted_rows: (u64, u64),
    /// Rank of the held-out sets' frame: q of the subspace overlap.
    pub frame_rank: Option<usize>,
}

/// Fits each of `methods` on rows 0, 2, 4, … of both sides, applies it to the source's rows 1, 3, 5, … and measures these
/// against the target's rows 1, 3, 5, …. Even rows against odd: files are often sorted, and partners stay partners.
///
/// Memory: d² numbers and the sample of neighbours' rows for each method; data are streamed.
///
/// # Errors
/// Widths that differ; fewer rows than neighbours asked for; whatever fitting and applying report.
pub fn compare(
    device: &Device,
    source: &mut dyn RowSource,
    target: &mut dyn RowSource,
    methods: &[Method],
    options: &CompareOptions<'_>,
) -> Result<Comparison> {
    if source.width() != target.width() {
        let (want, got) = (format!("width {}, as the source", source.width()), format!("width {}", target.width()));
        return Err(Error::shape("compare", "the target", want, got));
    }
    let stream = options.fit.stream;
    let sample = options.diagnosis.neighbour_rows.max(crate::geometry::density::PAIR_ROWS);
    let y = Survey::of(&mut Subset::odd(source), sample, stream)?;
    let x = Survey::of(&mut Subset::odd(target), sample, stream)?;
    let frame_rank = frame_rank(&y, &x, options.frame)?;
    let diagnosis = DiagnosisOptions { q: options.diagnosis.q.or(frame_rank), ..options.diagnosis };
    let before = Before::on(device, &y, &diagnosis)?;
    let reference = Reference::on(device, &x, diagnosis)?;
    let mut table = Vec::with_capacity(methods.len());
    let mut fitted_rows = (0, 0);
    for &method in methods {
        let start = Instant::now();
        let fit_options = FitOptions { method, ..options.fit };
        let statistics = fit(device, &mut Subset::even(source), &mut Subset::even(target), &fit_options)?;
        let fit_time = start.elapsed();
        fitted_rows = statistics.rows;
        let mut surveyor = Surveyor::new(y.width(), sample);
        let mut applying = Duration::ZERO;
        let mut lap = Instant::now();
        let mut sink = |bytes: &[u8], _: usize| {
            applying += lap.elapsed();
            surveyor.add(bytes, ElementType::F32)?;
            lap = Instant::now();
            Ok(())
        };
        let aligner = statistics.aligner();
        apply(device, &*aligner, &mut Subset::odd(source), ElementType::F32, stream, &mut sink)?;
        let survey = surveyor.finish()?;
        let diagnosis = reference.diagnose(&survey, Some(&before))?;
        table.push(Compared { method, diagnosis, fit_time, apply_time: applying, survey });
    }
    Ok(Comparison { methods: table, source: y.clone(), target: x.clone(), fitted_rows, frame_rank })
}

/// The rank of both sides' frame; `None` where all rows are equal, so that there is none.
fn frame_rank(source: &Survey, target: &Survey, cut: Cut) -> Result<Option<usize>> {
    match Frame::from_covariances(source.covariance(), target.covariance(), source.width(), cut) {
        Ok(frame) => Ok(Some(frame.rank())),
        Err(Error::Degenerate(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
