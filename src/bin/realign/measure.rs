//! `measure`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use realign::Error;
use realign::device::{Device, DeviceKind};
use realign::geometry::{Before, Cut, Decomposition, Diagnosis, DiagnosisOptions, Frame, Reference, Survey};
use realign::io::Dataset;
use realign::stats::{DatasetRows, NonFinite};
use serde_json::{Map, Value, json};

use crate::args::ReadArgs;
use crate::geometry_args::MeasureArgs;
use crate::pages;
use crate::show;

/// Names and values; `null` is what this data leaves undefined.
pub fn entries(entries: Vec<(&'static str, Option<f64>)>) -> Map<String, Value> {
    entries.into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect()
}

/// One set. On a GPU the products of its covariance are f32 there, otherwise f64 on the host; so also where values are
/// replaced, to count them.
pub fn survey(device: &Device, read: &ReadArgs, dataset: &Dataset, sample_rows: usize) -> Result<Survey> {
    let bar = show::progress(dataset.rows(), "measuring");
    let step = |rows| bar.inc(rows);
    let (mut rows, stream) = (DatasetRows::new(dataset), read.stream(Some(&step)));
    let on_host = device.capabilities().kind == DeviceKind::Host || stream.nonfinite == NonFinite::Zero;
    let survey = match on_host {
        true => Survey::of(&mut rows, sample_rows, stream),
        false => Survey::on(device, &mut rows, sample_rows, stream),
    };
    bar.finish_and_clear();
    survey.with_context(|| name(dataset))
}

/// The set's first file.
fn name(dataset: &Dataset) -> String {
    dataset.shards().first().map_or_else(String::new, |s| s.path().display().to_string())
}

/// The frame of a file, or of two surveys; `None` where all rows are equal, so that there is none.
pub fn frame_or_built(file: Option<&Path>, (y, x): (&Survey, &Survey), cut: Cut) -> Result<Option<Frame>> {
    let Some(path) = file else {
        return match Frame::from_covariances(y.covariance(), x.covariance(), y.width(), cut) {
            Ok(frame) => Ok(Some(frame)),
            // A rank that was asked for and cannot be had is an error.
            Err(Error::Degenerate(_)) if cut == Cut::default() => Ok(None),
            Err(error) => Err(error.into()),
        };
    };
    let frame = Frame::load(path)?;
    let (want, have) = (y.width(), frame.width());
    anyhow::ensure!(want == have, "{}: a frame of width {have}, but the rows have {want}", path.display());
    Ok(Some(frame))
}

/// Opens sets that must have one width.
pub fn open_all<const N: usize>(read: &ReadArgs, inputs: [&[PathBuf]; N]) -> Result<[Dataset; N]> {
    let opened: Vec<Dataset> = inputs.iter().map(|i| read.open(i)).collect::<Result<_>>()?;
    for other in opened.iter().skip(1) {
        let (want, have) = (opened[0].width(), other.width());
        let (first, file) = (name(&opened[0]), name(other));
        anyhow::ensure!(want == have, "{file}: rows of width {have}, but those of {first} have {want}");
    }
    // Invariant: as many as there were inputs.
    opened.try_into().map_err(|_| anyhow::anyhow!("no inputs"))
}

/// Source, target and, where given, the aligned set; partners are counted.
fn open_sets(args: &MeasureArgs) -> Result<(Dataset, Dataset, Option<Dataset>)> {
    let [source, target] = open_all(&args.read, [&args.source, &args.target])?;
    let aligned = match &args.aligned[..] {
        [] => None,
        inputs => Some(open_all(&args.read, [&args.source, inputs])?).map(|[_, aligned]| aligned),
    };
    let measured = aligned.as_ref().unwrap_or(&source);
    if args.paired && measured.rows() != target.rows() {
        let (a, b) = (name(measured), name(&target));
        let (have, want) = (measured.rows(), target.rows());
        anyhow::bail!("--paired: {a} has {have} rows, {b} has {want}; row i must be the partner of row i");
    }
    Ok((source, target, aligned))
}

pub fn measure(args: &MeasureArgs) -> Result<()> {
    args.json.check()?;
    args.page.check(args.json.force)?;
    let (source, target, aligned) = open_sets(args)?;
    let measured = aligned.as_ref().unwrap_or(&source);
    let device = args.device.request()?;
    let start = Instant::now();
    let sample = args.neighbours.sample_rows();
    let y = survey(&device, &args.read, &source, sample)?;
    let x = survey(&device, &args.read, &target, sample)?;
    let z = aligned.as_ref().map(|a| survey(&device, &args.read, a, sample)).transpose()?;
    let frame = frame_or_built(args.frame.as_deref(), (&y, &x), args.cut.cut())?;
    let options = DiagnosisOptions { q: frame.as_ref().map(Frame::rank), ..args.neighbours.options() };
    let reference = Reference::on(&device, &x, options)?;
    let own = reference.diagnose(&y, None)?;
    let after = match &z {
        Some(z) => Some(reference.diagnose(z, Some(&Before::on(&device, &y, &options)?))?),
        None => None,
    };
    let mut pairs = None;
    let mut value = entries(after.as_ref().unwrap_or(&own).entries());
    if let (true, Some(frame)) = (args.paired, &frame) {
        let (mut a, mut b) = (DatasetRows::new(measured), DatasetRows::new(&target));
        let parts = Decomposition::of(&mut a, &mut b, frame, args.read.stream(None))?;
        value.extend(entries(parts.entries()));
        pairs = Some(parts);
    } else if args.paired {
        anyhow::bail!("--paired: all rows are equal on both sides, which leaves no frame; give rows that differ");
    }
    value.insert("frame_rank".to_owned(), json!(frame.as_ref().map(Frame::rank)));
    if after.is_some() {
        value.insert("before".to_owned(), Value::Object(entries(own.entries())));
    }
    let sets: Vec<&Survey> = [Some(&y), Some(&x), z.as_ref()].into_iter().flatten().collect();
    value.extend(totals(&sets));
    value.insert("device".to_owned(), json!(device.name()));
    value.insert("seconds".to_owned(), json!(start.elapsed().as_secs_f64()));
    let measured = pages::Measured {
        source: &y,
        target: &x,
        aligned: z.as_ref(),
        before: &own,
        after: after.as_ref(),
        frame: frame.as_ref(),
        pairs: pairs.as_ref(),
    };
    args.page.write(args.json.force, || pages::measured(&measured, Value::Object(value.clone())))?;
    args.json.finish(&Value::Object(value.clone()), || text(&value, &measured))
}

/// Counts: source, target, and what was replaced in all.
fn totals(sets: &[&Survey]) -> [(String, Value); 4] {
    let replaced: u64 = sets.iter().map(|s| s.replaced()).sum();
    let counts = [sets[0].rows(), sets[1].rows(), sets[0].width() as u64, replaced];
    let names = ["rows_source", "rows_target", "width", "nonfinite_replaced"];
    std::array::from_fn(|i| (names[i].to_owned(), json!(counts[i])))
}

/// One line a diagnostic, before and after beside each other; then the pairs' and the rest.
fn text(value: &Map<String, Value>, m: &pages::Measured<'_>) -> String {
    let number = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), show::number);
    let mut lines = Vec::new();
    let after = m.after.map(Diagnosis::entries);
    if after.is_some() {
        lines.push(format!("{:<24} {:>12} {:>12}", "", "before", "after"));
    }
    for (i, (key, before)) in m.before.entries().into_iter().enumerate() {
        let after = after.as_ref().map_or_else(String::new, |a| number(a[i].1));
        lines.push(format!("{key:<24} {:>12} {after:>12}", number(before)).trim_end().to_owned());
    }
    for (key, v) in m.pairs.map_or_else(Vec::new, Decomposition::entries) {
        lines.push(format!("{key:<24} {:>12}", number(v)));
    }
    for key in ["frame_rank", "rows_source", "rows_target", "width"] {
        let count = value.get(key).and_then(Value::as_u64).map_or_else(|| "-".to_owned(), |n| n.to_string());
        lines.push(format!("{key:<24} {count:>12}"));
    }
    if m.source.rows().max(m.target.rows()) > m.source.sample_rows().max(m.target.sample_rows()) as u64 {
        lines.push("Neighbours and cosines are of the first rows; all else is of all rows.".to_owned());
    }
    lines.join("\n")
}
