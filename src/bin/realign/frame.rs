//! `frame`, `angles` and `drift`.

use std::time::Instant;

use anyhow::{Context, Result};
use realign::device::{Device, DeviceKind};
use realign::geometry::drift::{adjacent_cosine, phantom_drift, pob_drift};
use realign::geometry::{Cut, Frame, Split, Survey, principal_angles};
use realign::io::Dataset;
use realign::stats::{DatasetRows, covariance};
use serde_json::{Value, json};

use crate::geometry_args::{AnglesArgs, DriftArgs, FrameArgs};
use crate::measure::{frame_or_built, open_all, survey};
use crate::outputs::Outputs;
use crate::show;

/// A rank is small against a width of at least so many times it.
const FEW: usize = 8;

pub fn frame(args: &FrameArgs) -> Result<()> {
    let outputs = Outputs::check(args.json.file().into_iter().chain([args.out.clone()]), args.json.force)?;
    let [source, target] = open_all(&args.read, [&args.source, &args.target])?;
    outputs.refuse(&[&source, &target], None)?;
    let device = args.device.request()?;
    let start = Instant::now();
    let Built { frame, kept, trace, rows } = build(&device, args, (&source, &target))?;
    frame.save(&args.out, args.json.force)?;
    let value = json!({
        "rank": frame.rank(), "width": frame.width(), "energy": kept / trace, "trace": trace,
        "rows_source": rows.0, "rows_target": rows.1, "seconds": start.elapsed().as_secs_f64(),
        "out": args.out.display().to_string(),
    });
    args.json.finish(&value, || lines(&value))
}

/// A frame, the variance that it keeps, that of both sets, and their rows.
struct Built {
    frame: Frame,
    kept: f64,
    trace: f64,
    rows: (u64, u64),
}

/// On a device few directions of wide rows are found without the others; then the file has no spectrum.
fn build(device: &Device, args: &FrameArgs, (source, target): (&Dataset, &Dataset)) -> Result<Built> {
    let cut = args.cut.cut();
    if let Cut::Rank(rank) = cut
        && device.capabilities().kind != DeviceKind::Host
        && rank <= source.width() / FEW
    {
        let of = |set| covariance(device, &mut DatasetRows::new(set), args.read.stream(None));
        let (y, x) = (of(source)?, of(target)?);
        let (frame, values) = Frame::leading_on(device, (&y, &x), rank)?;
        let (kept, trace) = (values.iter().sum(), y.trace() + x.trace());
        return Ok(Built { frame, kept, trace, rows: (y.count, x.count) });
    }
    let (y, x) = (survey(device, &args.read, source, 0)?, survey(device, &args.read, target, 0)?);
    let frame = Frame::of(&y, &x, cut)?;
    let kept = frame.spectrum().eigenvalues()[..frame.rank()].iter().sum();
    let trace = frame.spectrum().trace();
    Ok(Built { frame, kept, trace, rows: (y.rows(), x.rows()) })
}

pub fn angles(args: &AnglesArgs) -> Result<()> {
    let outputs = Outputs::check(args.json.file(), args.json.force)?;
    outputs.refuse(&[], [args.a.as_path(), &args.b])?;
    let (a, b) = (Frame::load(&args.a)?, Frame::load(&args.b)?);
    let angles = principal_angles(&a, &b)
        .with_context(|| format!("{}, {}: frames to be compared", args.a.display(), args.b.display()))?;
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
    let [source, target, source_now, target_now] = open_all(&args.read, inputs)?;
    outputs.refuse(&[&source, &target, &source_now, &target_now], args.frame.as_deref())?;
    let device = args.device.request()?;
    let read = |dataset| survey(&device, &args.read, dataset, 0);
    let (y, x, y_now, x_now) = (read(&source)?, read(&target)?, read(&source_now)?, read(&target_now)?);
    let frame = frame_or_built(args.frame.as_deref(), (&y, &x), args.cut.cut())?
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
