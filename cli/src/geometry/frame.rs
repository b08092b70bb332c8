//! `frame`, `angles` and `drift`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use realign::device::Device;
use realign::geometry::drift::{adjacent_cosine, phantom_drift, pob_drift};
use realign::geometry::{
    Frame, Split, Survey, frame_of_covariances, frame_of_surveys, principal_angles_on, principal_vectors_on,
};
use realign::io::Dataset;
use realign::stats::{Covariance, DatasetRows, Summary, covariance};
use serde_json::{Value, json};

use crate::geometry::args::{AnglesArgs, DriftArgs, FrameArgs};
use crate::geometry::measure::{load_frame, name, open_all, survey};
use crate::shared::outputs::Outputs;
use crate::shared::read::ReadArgs;
use crate::shared::show;

pub fn frame(args: &FrameArgs) -> Result<()> {
    let outputs = Outputs::check(args.json.file().into_iter().chain([args.out.clone()]), args.json.force)?;
    let source = Side::open(&args.read, &args.source, args.source_stats.as_deref())?;
    let target = Side::open(&args.read, &args.target, args.target_stats.as_deref())?;
    let (want, have) = (source.width(), target.width());
    let (first, other) = (source.name(), target.name());
    anyhow::ensure!(want == have, "{other}: rows of width {have}, but those of {first} have {want}");
    let sets: Vec<&Dataset> = [&source, &target].into_iter().filter_map(Side::rows).collect();
    let counted = [&args.source_stats, &args.target_stats];
    outputs.refuse(&sets, counted.into_iter().flatten().map(PathBuf::as_path))?;
    let device = args.device.request_for_halves()?;
    let start = Instant::now();
    let (y, x) = (source.covariance(&device, &args.read)?, target.covariance(&device, &args.read)?);
    let (frame, kept) = frame_of_covariances(&device, &y, &x, args.cut.cut())?;
    frame.save(&args.out, args.json.force)?;
    let trace = y.trace() + x.trace();
    let value = json!({
        "rank": frame.rank(), "width": frame.width(), "energy": kept / trace, "trace": trace,
        "rows_source": y.count, "rows_target": x.count, "seconds": start.elapsed().as_secs_f64(),
        "out": args.out.display().to_string(),
    });
    args.json.finish(&value, || lines(&value))
}

/// One side of a frame.
enum Side {
    Rows(Dataset),
    Counted { path: PathBuf, covariance: Covariance },
}

impl Side {
    fn open(read: &ReadArgs, rows: &[PathBuf], stats: Option<&Path>) -> Result<Side> {
        let Some(path) = stats else { return Ok(Side::Rows(read.open(rows)?)) };
        let covariance = Summary::load(path)?.covariance.with_context(|| {
            let remedy = "count the rows again with realign stats --covariance";
            format!("{}: it holds moments alone, but a frame needs a covariance; {remedy}", path.display())
        })?;
        Ok(Side::Counted { path: path.to_path_buf(), covariance: covariance.covariance() })
    }

    fn rows(&self) -> Option<&Dataset> {
        match self {
            Side::Rows(rows) => Some(rows),
            Side::Counted { .. } => None,
        }
    }

    fn width(&self) -> usize {
        match self {
            Side::Rows(rows) => rows.width(),
            Side::Counted { covariance, .. } => covariance.width(),
        }
    }

    fn name(&self) -> String {
        match self {
            Side::Rows(rows) => name(rows),
            Side::Counted { path, .. } => path.display().to_string(),
        }
    }

    fn covariance(self, device: &Device, read: &ReadArgs) -> Result<Covariance> {
        let rows = match self {
            Side::Rows(rows) => rows,
            Side::Counted { covariance, .. } => return Ok(covariance),
        };
        let bar = show::progress(rows.rows(), "measuring");
        let step = |count| bar.inc(count);
        let found = covariance(device, &mut DatasetRows::new(&rows), read.stream(Some(&step)));
        bar.finish_and_clear();
        found.with_context(|| name(&rows))
    }
}

pub fn angles(args: &AnglesArgs) -> Result<()> {
    let outputs = Outputs::check(args.json.file().into_iter().chain(args.vectors.clone()), args.json.force)?;
    outputs.refuse(&[], [args.a.as_path(), &args.b])?;
    let (a, b) = (Frame::load(&args.a)?, Frame::load(&args.b)?);
    let device = args.device.request()?;
    let angles = principal_angles_on(&device, &a, &b)
        .with_context(|| format!("{}, {}: frames to be compared", args.a.display(), args.b.display()))?;
    if let Some(path) = &args.vectors {
        principal_vectors_on(&device, &a, &b)?.save(path, &angles, args.json.force)?;
    }
    let value = json!({
        "angles_rad": angles.radians, "sin_theta_max": angles.sin_theta_max, "rank_a": a.rank(), "rank_b": b.rank(),
        "width": a.width(),
    });
    args.json.finish(&value, || {
        let degrees: Vec<String> = angles.radians.iter().map(|r| show::number(r.to_degrees())).collect();
        format!("degrees  {}\nsin of the largest  {}", degrees.join(" "), show::number(angles.sin_theta_max))
    })
}

pub fn drift(args: &DriftArgs) -> Result<()> {
    let outputs = Outputs::check(args.json.file(), args.json.force)?;
    let inputs = [&args.source[..], &args.target, &args.source_now, &args.target_now];
    let [source, target, source_now, target_now] = open_all(&|inputs| args.read.open(inputs), inputs)?;
    outputs.refuse(&[&source, &target, &source_now, &target_now], args.frame.as_deref())?;
    let device = args.device.request_for_halves()?;
    let read = |dataset| survey(&device, &args.read, dataset, 0);
    let (y, x, y_now, x_now) = (read(&source)?, read(&target)?, read(&source_now)?, read(&target_now)?);
    let frame = match load_frame(args.frame.as_deref(), y.width())? {
        Some(frame) => Some(frame),
        None => frame_of_surveys(&y, &x, args.cut.cut())?,
    };
    let frame = frame
        .context("all rows of the earlier snapshot are equal on both sides, which leaves no frame; give --frame")?;
    let (then, now) = (split(&frame, &y, &x)?, split(&frame, &y_now, &x_now)?);
    let mean_trace = (x_now.mean(), x_now.spectrum().trace());
    let phantom = phantom_drift(&mut DatasetRows::new(&source_now), &y_now, mean_trace, args.read.stream(None))?;
    let length = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
    let value = json!({
        "frame_rank": frame.rank(), "beta_norm": then.beta_norm, "beta_norm_now": now.beta_norm,
        "gamma_norm": then.gamma_norm, "gamma_norm_now": now.gamma_norm,
        "pob_drift": pob_drift(&now.gamma, &then.gamma)?,
        "adjacent_cosine": adjacent_cosine(&now.gamma, &then.gamma)?,
        "phantom_drift": length(&phantom.unit_rows.measured),
        "phantom_drift_predicted": length(&phantom.unit_rows.predicted),
        "phantom_error": phantom.unit_rows.relative_error(),
        "phantom_from_direction": length(&phantom.expansion.measured),
        "phantom_expansion_predicted": length(&phantom.expansion.predicted),
        "phantom_expansion_error": phantom.expansion.relative_error(),
        "phantom_ratio": phantom.ratio,
    });
    args.json.finish(&value, || lines(&value))
}

/// β and γ of the difference of the means: needs no pairs.
fn split(frame: &Frame, source: &Survey, target: &Survey) -> Result<Split> {
    let m: Vec<f64> = target.mean().iter().zip(source.mean()).map(|(x, y)| x - y).collect();
    Ok(frame.split(&m)?)
}

/// One `key  value` line an entry.
fn lines(value: &Value) -> String {
    let entries = value.as_object().into_iter().flatten();
    let line = |(key, v): (&String, &Value)| match (v.as_u64(), v.as_f64(), v.as_str()) {
        (Some(n), _, _) => format!("{key:<28} {n}"),
        (_, Some(x), _) => format!("{key:<28} {}", show::number(x)),
        (_, _, Some(text)) => format!("{key:<28} {text}"),
        _ => format!("{key:<28} -"),
    };
    entries.map(line).collect::<Vec<_>>().join("\n")
}
