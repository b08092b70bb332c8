//! Fitting: from two row sources, or two sides' moments, to statistics.

use super::centroid;
use super::options::{FitOptions, check_options};
use super::{Centroid, Method, Noise, Statistics};
use crate::device::Device;
use crate::error::{Problem, Remedy};
use crate::kernels::stats::moments::Summand;
use crate::stats::{Moments, RowSource, measure, measure_sampled, trace_scale};
use crate::{Error, Result};

/// Fits an operator that maps `source` (text) into the cloud of `target` (image): one read of the target, two of the source
/// for ReAlign with one centroid step, one more for each further step.
///
/// # Errors
/// Before anything is read: widths that differ, an option outside its domain. Then a side of fewer than two rows, or whose rows
/// are all equal; a NaN or an infinity; a file that cannot be read; a device lost or out of memory.
pub fn fit(
    device: &Device,
    source: &mut dyn RowSource,
    target: &mut dyn RowSource,
    options: &FitOptions<'_>,
) -> Result<Statistics> {
    if source.width() != target.width() {
        return Err(widths_differ(source.width(), target.width()));
    }
    check_options(options, source.width())?;
    if options.method.maps() {
        return super::mapped::fit(device, source, target, options);
    }
    let unit_rows = Summand::unit_rows(device, source.width())?;
    let exact = options.method == Method::ReAlign && options.centroid == Centroid::Exact;
    let (moments, sample) = if exact {
        measure_sampled(device, source, centroid::SAMPLE_ROWS, options.stream)?
    } else {
        (measure(device, source, &unit_rows, options.stream)?, Vec::new())
    };
    let encoders = (source.encoder(), target.encoder());
    let target = measure(device, target, &unit_rows, options.stream)?;
    let mut statistics = affine_statistics(&moments, &target, options)?;
    statistics.encoders = encoders;
    if options.method == Method::ReAlign {
        centroid::fit(device, source, &sample, &mut statistics, options)?;
    }
    Ok(statistics)
}

/// Fits from both sides' moments, counted before and perhaps elsewhere. ReAlign's centroid step needs the source's rows
/// once more: give them, or choose a method without that step.
///
/// # Errors
/// As [`fit`]; moments of another number of rows than `source`; ReAlign without `source`.
pub fn fit_moments(
    device: &Device,
    (source_moments, target_moments): (&Moments, &Moments),
    source: Option<&mut dyn RowSource>,
    options: &FitOptions<'_>,
) -> Result<Statistics> {
    check_options(options, source_moments.width())?;
    refuse_moments(options.method)?;
    let mut statistics = affine_statistics(source_moments, target_moments, options)?;
    if options.method != Method::ReAlign {
        return Ok(statistics);
    }
    let Some(source) = source else { return Err(needs_source_rows()) };
    if (source.rows(), source.width()) != (source_moments.rows(), source_moments.width()) {
        let want = format!("[{}, {}], as its moments", source_moments.rows(), source_moments.width());
        return Err(Error::shape("fit", "source", want, format!("[{}, {}]", source.rows(), source.width())));
    }
    let sample = match options.centroid {
        Centroid::Exact => measure_sampled(device, source, centroid::SAMPLE_ROWS, options.stream)?.1,
        Centroid::Steps(_) => Vec::new(),
    };
    centroid::fit(device, source, &sample, &mut statistics, options)?;
    Ok(statistics)
}

/// Refuses a method that moments do not determine.
pub(super) fn refuse_moments(method: Method) -> Result<()> {
    if !method.maps() {
        return Ok(());
    }
    let problem = Problem::new(format!("{method} needs covariances, which moments do not have"));
    Err(Error::argument("method", problem.remedy(Remedy::GiveRows)))
}

pub(super) fn needs_source_rows() -> Error {
    let problem = Problem::new("realign's centroid step needs the source rows once more");
    Error::argument("source", problem.remedy(Remedy::GiveSourceRows))
}

pub(super) fn widths_differ(source: usize, target: usize) -> Error {
    Error::shape("fit", "target", format!("width {source}, as the source"), format!("width {target}"))
}

/// Everything but the centroid step.
fn affine_statistics(source: &Moments, target: &Moments, options: &FitOptions<'_>) -> Result<Statistics> {
    if source.width() != target.width() {
        return Err(widths_differ(source.width(), target.width()));
    }
    let trace_source = checked_trace("source", source, options)?;
    let trace_target = checked_trace("target", target, options)?;
    let scale = if options.method.scales() { trace_scale(trace_source, trace_target) } else { 1.0 };
    let trace_matched = ((trace_target - trace_source).max(0.0) / source.width() as f64).sqrt();
    let sigma = options.sigma.unwrap_or(trace_matched);
    Ok(Statistics {
        method: options.method,
        centroid: (options.method == Method::ReAlign).then_some(options.centroid),
        mean_source: source.mean(),
        mean_target: target.mean(),
        trace_source,
        trace_target,
        scale,
        mean_projected: None,
        shifts: Vec::new(),
        residual_gap: None,
        rows: (source.rows(), target.rows()),
        noise: (options.method == Method::C3).then_some(Noise { sigma, seed: options.seed }),
        strength: None,
        map: None,
        radial: None,
        encoders: (None, None),
        privacy: (source.variance_of_mean(), target.variance_of_mean()),
        budgets: [budget(source), budget(target)],
    })
}

/// ε and δ of private moments.
fn budget(moments: &Moments) -> Option<(f64, f64)> {
    moments.noise().map(|noise| (noise.epsilon, noise.delta))
}

/// The trace, 0 if it is not told from 0; an error if the side cannot determine an operator.
fn checked_trace(side: &str, moments: &Moments, options: &FitOptions<'_>) -> Result<f64> {
    let trace = moments.trace();
    if moments.is_moved() {
        let problem = "moments are of rows that an operator moved; count the rows as they are";
        return Err(Error::degenerate(format!("fit: the {side}'s {problem}")));
    }
    if moments.hidden() == Some("mean") {
        let n = moments.rows();
        let problem = format!("fit: the {side} has {n} rows whose mean the noise of its private moments hides");
        return Err(Error::degenerate(format!("{problem}; give more rows, or a larger ε")));
    }
    let flat = trace < crate::stats::TRACE_RESOLUTION;
    if options.allow_degenerate && moments.rows() > 0 {
        return Ok(if flat { 0.0 } else { trace });
    }
    let problem = match moments.rows() {
        0 => "has no rows".to_owned(),
        1 => "has a single row, which says nothing of its spread".to_owned(),
        n if flat && moments.noise().is_some() => {
            format!("has {n} rows whose spread the noise of its private moments hides; give more rows, or a larger ε")
        }
        n if flat => format!("has {n} rows that are all equal (trace {trace:.1e})"),
        _ => return Ok(trace),
    };
    Err(Error::degenerate(Problem::new(format!("fit: the {side} {problem}")).remedy(Remedy::AllowDegenerate)))
}
