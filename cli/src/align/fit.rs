//! `stats`, `merge` and `fit`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use realign::align::{FitOptions, Method, Statistics, fit as fit_rows, fit_moments};
use realign::device::Device;
use realign::geometry::Cut;
use realign::io::{Dataset, Shard, check_writable};
use realign::kernels::stats::moments::Summand;
use realign::stats::{DatasetRows, Moments, RowSource, Summary, measure};
use serde_json::json;

use crate::args::{FitArgs, MergeArgs, StatsArgs};
use crate::outputs::refuse_input;
use crate::show;

pub fn stats(args: &StatsArgs) -> Result<()> {
    check_writable(&args.out, args.force)?;
    let dataset = args.read.open(&args.inputs)?;
    refuse_input(&args.out, dataset.shards().iter().map(Shard::path))?;
    let device = args.device.request()?;
    let start = Instant::now();
    let summary = count(&device, &dataset, args)?;
    summary.save(&args.out, args.force)?;
    let mut value = show::summary_json(&summary);
    value["device"] = json!(device.name());
    value["seconds"] = json!(start.elapsed().as_secs_f64());
    value["out"] = json!(args.out.display().to_string());
    show::result(args.json, &value)
}

fn count(device: &Device, dataset: &Dataset, args: &StatsArgs) -> Result<Summary> {
    let reads = if args.covariance { 2 } else { 1 };
    let bar = show::progress(reads * dataset.rows(), "counting");
    let step = |rows| bar.inc(rows);
    let (mut rows, stream) = (DatasetRows::new(dataset), args.read.stream(Some(&step)));
    let summary = Summary::of(device, &mut rows, args.covariance, stream)?;
    bar.finish_and_clear();
    Ok(summary)
}

pub fn merge(args: &MergeArgs) -> Result<()> {
    check_writable(&args.out, args.force)?;
    let mut total: Option<Summary> = None;
    for path in &args.inputs {
        let summary = match args.without_covariance {
            true => Summary { moments: Moments::load(path)?, covariance: None },
            false => Summary::load(path)?,
        };
        match &mut total {
            None => total = Some(summary),
            Some(total) => total.merge(&summary).map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?,
        }
    }
    // Invariant: clap demands one input or more.
    let total = total.unwrap_or_else(|| Summary { moments: Moments::empty(1), covariance: None });
    total.save(&args.out, args.force)?;
    let mut value = show::summary_json(&total);
    value["files"] = json!(args.inputs.len());
    value["out"] = json!(args.out.display().to_string());
    show::result(args.json, &value)
}

pub fn fit(args: &FitArgs) -> Result<()> {
    check_writable(&args.out, args.force)?;
    let source = open(args, &args.source)?;
    let target = open(args, &args.target)?;
    let source_moments = load(args.source_stats.as_deref())?;
    let target_moments = load(args.target_stats.as_deref())?;
    let shards = source.iter().chain(&target).flat_map(Dataset::shards).map(Shard::path);
    refuse_input(&args.out, shards.chain(args.source_stats.as_deref()).chain(args.target_stats.as_deref()))?;
    let device = args.device.request()?;
    let start = Instant::now();
    let rows = source.as_ref().map_or(0, Dataset::rows) + target.as_ref().map_or(0, Dataset::rows);
    let bar = show::progress(rows, "fitting");
    // Passes over the source are not known beforehand: the bar grows with them.
    let step = |rows| {
        if bar.position() + rows > bar.length().unwrap_or(0) {
            bar.inc_length(rows);
        }
        bar.inc(rows);
    };
    let options = options(args, source.is_some(), args.read.stream(Some(&step)));
    let moments = (source_moments, target_moments);
    let statistics = operator(&device, (&source, &target), moments, &options).map_err(|e| name_sides(e, args))?;
    bar.finish_and_clear();
    statistics.save(&args.out, args.force)?;
    let mut value = show::statistics_json(&statistics);
    value["device"] = json!(device.name());
    value["seconds"] = json!(start.elapsed().as_secs_f64());
    value["out"] = json!(args.out.display().to_string());
    show::result(args.json, &value)
}

/// Fits from rows where there are rows on both sides and no moments; otherwise counts what is missing.
fn operator(
    device: &Device,
    (source, target): (&Option<Dataset>, &Option<Dataset>),
    (source_moments, target_moments): (Option<Moments>, Option<Moments>),
    options: &FitOptions<'_>,
) -> realign::Result<Statistics> {
    if let (Some(source), Some(target), None, None) = (source, target, &source_moments, &target_moments) {
        return fit_rows(device, &mut DatasetRows::new(source), &mut DatasetRows::new(target), options);
    }
    let side = |data: &Option<Dataset>, moments: Option<Moments>| match (moments, data) {
        (Some(moments), _) => Ok(moments),
        (None, Some(data)) => {
            let summand = Summand::unit_rows(device, data.width())?;
            measure(device, &mut DatasetRows::new(data), &summand, options.stream)
        }
        // Invariant: clap demands one of the two.
        (None, None) => Ok(Moments::empty(1)),
    };
    let moments = (side(source, source_moments)?, side(target, target_moments)?);
    let mut rows = source.as_ref().map(DatasetRows::new);
    let rows = rows.as_mut().map(|r| r as &mut dyn RowSource);
    fit_moments(device, (&moments.0, &moments.1), rows, options)
}

/// Says which files the error is about: the library knows rows, not names.
fn name_sides(error: realign::Error, args: &FitArgs) -> anyhow::Error {
    if !matches!(error, realign::Error::Shape { .. } | realign::Error::Degenerate(_)) {
        return error.into();
    }
    let side = |rows: &[PathBuf], moments: &Option<PathBuf>| {
        let all: Vec<_> = rows.iter().chain(moments).map(|p| p.display().to_string()).collect();
        all.join(" ")
    };
    let (source, target) = (side(&args.source, &args.source_stats), side(&args.target, &args.target_stats));
    anyhow::anyhow!("{error} (source: {source}; target: {target})")
}

fn open(args: &FitArgs, inputs: &[PathBuf]) -> Result<Option<Dataset>> {
    if inputs.is_empty() { Ok(None) } else { args.read.open(inputs).map(Some) }
}

fn load(path: Option<&Path>) -> Result<Option<Moments>> {
    Ok(path.map(Moments::load).transpose()?)
}

/// With moments alone the centroid step cannot be done: unless asked for, it is left out, and said.
fn options<'a>(args: &FitArgs, has_source: bool, stream: realign::stats::StreamOptions<'a>) -> FitOptions<'a> {
    let method = args.method.unwrap_or_else(|| {
        if has_source {
            return Method::ReAlign;
        }
        eprintln!(
            "note: the centroid step needs the source rows once more; without --source this makes an anchor-trace operator"
        );
        Method::AnchorTrace
    });
    FitOptions {
        method,
        centroid: args.centroid,
        allow_degenerate: args.allow_degenerate,
        sigma: args.sigma,
        seed: args.seed,
        shrinkage: args.shrinkage,
        frame: args.energy.map_or(Cut::default(), Cut::Energy),
        stream,
    }
}
