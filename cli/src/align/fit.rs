//! `stats`, `merge` and `fit`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use realign::align::{Evidence, FitOptions, Method, Statistics, Training, TrainingStep, fit_evidence, moved_moments};
use realign::device::Device;
use realign::io::{Dataset, Shard, Start, check_writable};
use realign::stats::{DatasetRows, Moments, RowSource, StreamOptions, Summary};
use serde_json::json;

use crate::align::args::{Covariance, FitArgs, MergeArgs, StatsArgs};
use crate::align::unused::refuse_unused;
use crate::shared::outputs::{refuse_input, refuse_twice};
use crate::shared::sources::LazyDevice;
use crate::shared::{show, zero_rows};
use crate::wording::words;

pub fn stats(args: &StatsArgs) -> Result<()> {
    check_writable(&args.out, args.force)?;
    let dataset = args.read.open(&args.inputs)?;
    refuse_input(&args.out, dataset.shards().iter().map(Shard::path).chain(args.moved_by.as_deref()))?;
    let device = args.device.request_for_halves()?;
    let start = Instant::now();
    let counted = count(&device, &dataset, args)?;
    let summary = match args.private {
        Some(budget) => {
            // Here alone: the file does not tell.
            if let replaced @ 1.. = counted.moments.replaced() {
                log::warn!("{replaced} values that are not finite were read as 0");
            }
            counted.private(budget.0)?
        }
        None => counted,
    };
    summary.save(&args.out, args.force)?;
    let mut value = show::summary_json(&summary);
    value["device"] = json!(device.name());
    value["seconds"] = json!(start.elapsed().as_secs_f64());
    value["out"] = json!(args.out.display().to_string());
    show::result(args.json, &value)
}

fn count(device: &Device, dataset: &Dataset, args: &StatsArgs) -> Result<Summary> {
    let reads = if args.covariance.is_some() { 2 } else { 1 };
    let bar = show::progress(reads * dataset.rows(), "counting");
    let step = |rows| bar.inc(rows);
    let rows = DatasetRows::new(dataset).nonfinite(args.read.nonfinite());
    let (mut rows, stream) = (rows, args.read.stream(Some(&step)));
    let summary = match &args.moved_by {
        Some(path) => {
            let statistics = Statistics::load(path)?;
            let method = statistics.method;
            anyhow::ensure!(
                method == Method::AnchorTrace,
                "--moved-by: {} is of {method}; give an operator that realign fit made of --source-stats and --target-stats alone ({})",
                path.display(),
                Method::AnchorTrace
            );
            statistics.check_source_encoders(&dataset.encoders(), args.force)?;
            Summary { moments: moved_moments(device, &statistics, &mut rows, stream)?, covariance: None }
        }
        None => Summary::of(device, &mut rows, args.covariance.map(Covariance::mode), stream)?,
    };
    bar.finish_and_clear();
    zero_rows::warn(dataset, rows.zero_rows());
    Ok(summary)
}

pub fn merge(args: &MergeArgs) -> Result<()> {
    check_writable(&args.out, args.force)?;
    refuse_input(&args.out, args.inputs.iter().map(PathBuf::as_path))?;
    refuse_twice(&args.inputs)?;
    let mut total: Option<Summary> = None;
    for path in &args.inputs {
        let summary = match args.without_covariance {
            true => Summary { moments: Moments::load(path)?, covariance: None },
            false => Summary::load(path)?,
        };
        match &mut total {
            None => total = Some(summary),
            Some(total) => total.merge(&summary).with_context(|| path.display().to_string())?,
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
    refuse_unused_of(args)?;
    let device = LazyDevice::new(&args.device);
    let source = open(args, &device, &args.source)?;
    let target = open(args, &device, &args.target)?;
    let source_moments = load(args.source_stats.as_deref())?;
    let target_moments = load(args.target_stats.as_deref())?;
    let shards = source.iter().chain(&target).flat_map(Dataset::shards).map(Shard::path);
    let shards = shards.chain(args.source.iter().chain(&args.target).map(PathBuf::as_path));
    let moments = [&args.source_stats, &args.target_stats, &args.moved_stats];
    refuse_input(&args.out, shards.chain(moments.into_iter().flat_map(Option::as_deref)))?;
    let device = device.get()?;
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
    let state = state_of(&args.out);
    let tell = |step: &TrainingStep| match bar.is_hidden() {
        true if args.json => {}
        true => eprintln!("{}", told(step)),
        false => bar.set_message(told(step)),
    };
    let (mut source_rows, mut target_rows) = (rows_of(&source, args), rows_of(&target, args));
    let source_evidence = evidence(&mut source_rows, source_moments.as_ref())?;
    let training = training(args, &state, &tell);
    let options = options(args, &source_evidence, args.read.stream(Some(&step))).training(training);
    let target_evidence = evidence(&mut target_rows, target_moments.as_ref())?;
    let statistics =
        fit_evidence(device, source_evidence, target_evidence, &options).map_err(|e| name_sides(e, args))?;
    let statistics = match &args.moved_stats {
        Some(path) => {
            statistics.with_centroid_step(&Moments::load(path)?).with_context(|| path.display().to_string())?
        }
        None => statistics,
    };
    bar.finish_and_clear();
    let zero_source = zero((&source, &source_rows), (source_moments.as_ref(), args.source_stats.as_deref()));
    let zero_target = zero((&target, &target_rows), (target_moments.as_ref(), args.target_stats.as_deref()));
    statistics.save(&args.out, args.force)?;
    training.finish()?;
    let mut value = show::statistics_json(&statistics);
    value["zero_rows"] = json!(zero_source + zero_target);
    value["zero_rows_source"] = json!(zero_source);
    value["zero_rows_target"] = json!(zero_target);
    value["device"] = json!(device.name());
    value["seconds"] = json!(start.elapsed().as_secs_f64());
    value["out"] = json!(args.out.display().to_string());
    show::result(args.json, &value)
}

/// Refuses options that the method does not heed, or the one that moments alone make.
fn refuse_unused_of(args: &FitArgs) -> Result<()> {
    let alone = if args.source.is_empty() { Method::AnchorTrace } else { Method::default() };
    let (cut, planes) = (args.cut.given(), args.planes.given());
    refuse_unused(
        &[args.method.unwrap_or(alone)],
        &[
            (cut.unwrap_or_default(), "frame", cut.is_some()),
            (planes.unwrap_or_default(), "planes", planes.is_some()),
            ("--strength", "strength", args.strength.is_some()),
            ("--paired", "paired", args.paired),
            ("--sigma", "sigma", args.sigma.is_some()),
            ("--seed", "seed", args.seed.is_some()),
            ("--shrinkage", "shrinkage", args.shrinkage.is_some()),
            ("--centroid", "centroid", args.centroid.is_some()),
            ("--resume", "planes", args.resume),
        ],
    )?;
    let stages = args.planes.stages();
    anyhow::ensure!(
        !args.resume || !stages.options().is_empty(),
        "--resume: stages {stages} train nothing that could be gone on with; leave it out, or give --stages full"
    );
    args.planes.refuse_untrained()
}

/// Where a training keeps its state: beside the output.
fn state_of(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".training");
    name.into()
}

/// A training that tells its losses, and keeps its state where the stages train anything.
fn training<'a>(args: &FitArgs, state: &'a Path, told: &'a (dyn Fn(&TrainingStep) + Sync)) -> Training<'a> {
    let start = match (args.resume, args.force) {
        (true, _) => Start::Resume,
        (false, true) => Start::Replace,
        (false, false) => Start::New,
    };
    let trains = !args.planes.stages().options().is_empty();
    Training::default().checkpoint(trains.then_some(state)).start(start).progress(Some(told))
}

/// A step's losses, for people.
fn told(step: &TrainingStep) -> String {
    let TrainingStep { step: done, steps, score_loss, phase_loss, .. } = step;
    format!("{} {done}/{steps}: losses {score_loss:.4} (score) {phase_loss:.6} (phases)", step.network.name())
}

fn rows_of<'a>(side: &'a Option<Dataset>, args: &FitArgs) -> Option<DatasetRows<'a>> {
    side.as_ref().map(|set| DatasetRows::new(set).nonfinite(args.read.nonfinite()))
}

/// One side: clap demands its rows or its moments.
fn evidence<'a>(rows: &'a mut Option<DatasetRows<'_>>, moments: Option<&'a Moments>) -> Result<Evidence<'a>> {
    let rows = rows.as_mut().map(|rows| rows as &mut dyn RowSource);
    Evidence::of(rows, moments).context("a side has neither rows nor moments")
}

/// Rows of zeros of one side, with a warning if there are any: those counted before, or those seen in the files.
fn zero(
    (dataset, rows): (&Option<Dataset>, &Option<DatasetRows<'_>>),
    (moments, path): (Option<&Moments>, Option<&Path>),
) -> u64 {
    if let (Some(moments), Some(path)) = (moments, path) {
        zero_rows::warn_of_counted(&path.display().to_string(), (moments.zero_rows(), moments.rows()));
        return moments.zero_rows();
    }
    let (Some(dataset), Some(rows)) = (dataset, rows) else { return 0 };
    zero_rows::warn(dataset, rows.zero_rows());
    rows.zero_rows().count
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
    anyhow::anyhow!("{} (source: {source}; target: {target})", words(&error))
}

fn open(args: &FitArgs, device: &LazyDevice<'_>, inputs: &[PathBuf]) -> Result<Option<Dataset>> {
    if inputs.is_empty() { Ok(None) } else { args.encoder.open(device, &args.read, inputs).map(Some) }
}

fn load(path: Option<&Path>) -> Result<Option<Moments>> {
    Ok(path.map(Moments::load).transpose()?)
}

/// With moments alone the centroid step cannot be done: unless asked for, it is left out, and said.
fn options<'a>(args: &FitArgs, source: &Evidence<'_>, stream: StreamOptions<'a>) -> FitOptions<'a> {
    let method = args.method.unwrap_or_else(|| source.default_method());
    if args.method.is_none() && method != Method::default() && args.moved_stats.is_none() {
        eprintln!(
            "note: the centroid step needs the source rows once more; without --source or --moved-stats this makes an {method} operator"
        );
    }
    FitOptions::default()
        .method(method)
        .centroid(args.centroid.unwrap_or_default())
        .allow_degenerate(args.allow_degenerate)
        .sigma(args.sigma)
        .seed(args.seed.unwrap_or_default())
        .shrinkage(args.shrinkage)
        .strength(args.strength)
        .paired(args.paired)
        .frame(args.cut.cut())
        .planes(args.planes.options())
        .stream(stream)
}
