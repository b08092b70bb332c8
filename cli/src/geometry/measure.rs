//! `measure`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use realign::Error;
use realign::device::Device;
use realign::geometry::{Before, Cut, Decomposition, DiagnosisOptions, Frame, Reference, Survey};
use realign::io::Dataset;
use realign::stats::DatasetRows;
use serde_json::{Map, Value, json};

use crate::args::ReadArgs;
use crate::geometry::args::MeasureArgs;
use crate::geometry::measure_page::{self, Measured};
use crate::show;

/// Names and values; `null` is what this data leaves undefined.
pub fn entries(entries: Vec<(&'static str, Option<f64>)>) -> Map<String, Value> {
    entries.into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect()
}

/// One set, with a bar that tells how far it is.
pub fn survey(device: &Device, read: &ReadArgs, dataset: &Dataset, sample_rows: usize) -> Result<Survey> {
    let bar = show::progress(dataset.rows(), "measuring");
    let step = |rows| bar.inc(rows);
    let (mut rows, stream) = (DatasetRows::new(dataset), read.stream(Some(&step)));
    let survey = Survey::by(device, &mut rows, sample_rows, stream);
    bar.finish_and_clear();
    survey.with_context(|| name(dataset))
}

/// The set's first file.
pub fn name(dataset: &Dataset) -> String {
    dataset.shards().first().map_or_else(String::new, |s| s.path().display().to_string())
}

/// The frame of a file, or of two surveys; `None` where all rows are equal, so that there is none.
pub fn frame_or_built(file: Option<&Path>, (y, x): (&Survey, &Survey), cut: Cut) -> Result<Option<Frame>> {
    let Some(path) = file else {
        return match Frame::of(y, x, cut) {
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
    for set in std::iter::once(&source).chain(&aligned).filter(|_| args.paired) {
        let (a, b, have, want) = (name(set), name(&target), set.rows(), target.rows());
        anyhow::ensure!(
            have == want,
            "--paired: {a} has {have} rows, {b} has {want}; row i must be the partner of row i"
        );
    }
    Ok((source, target, aligned))
}

pub fn measure(args: &MeasureArgs) -> Result<()> {
    let outputs = args.page.check(&measure_page::charts(args.paired), &args.json)?;
    let (source, target, aligned) = open_sets(args)?;
    let sets: Vec<&Dataset> = [Some(&source), Some(&target), aligned.as_ref()].into_iter().flatten().collect();
    outputs.refuse(&sets, args.frame.as_deref())?;
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
    let pairs = match args.paired {
        true => Some(pairs(args, (&source, &target, aligned.as_ref()), frame.as_ref())?),
        false => None,
    };
    let measured = Measured {
        source: &y,
        target: &x,
        aligned: z.as_ref(),
        before: &own,
        after: after.as_ref(),
        frame: frame.as_ref(),
        pairs: pairs.as_ref().map(|(before, after)| (before, after.as_ref())),
    };
    let mut value = value(&measured);
    value.insert("device".to_owned(), json!(device.name()));
    value.insert("seconds".to_owned(), json!(start.elapsed().as_secs_f64()));
    args.page.write(args.json.force, || measure_page::page(&measured, Value::Object(value.clone())))?;
    args.json.finish(&Value::Object(value.clone()), || text(&value, &measured))
}

/// The differences of source and target, and, where something was aligned, those of it and target.
fn pairs(
    args: &MeasureArgs,
    (source, target, aligned): (&Dataset, &Dataset, Option<&Dataset>),
    frame: Option<&Frame>,
) -> Result<(Decomposition, Option<Decomposition>)> {
    let problem = "--paired: all rows are equal on both sides, which leaves no frame; give rows that differ";
    let frame = frame.context(problem)?;
    let of = |set: &Dataset| {
        let (mut a, mut b) = (DatasetRows::new(set), DatasetRows::new(target));
        Decomposition::of(&mut a, &mut b, frame, args.read.stream(None))
    };
    Ok((of(source)?, aligned.map(of).transpose()?))
}

/// Everything that was measured; what is not, before, is after alignment where there is any.
fn value(m: &Measured<'_>) -> Map<String, Value> {
    let mut value = entries(m.after.unwrap_or(m.before).entries());
    let pairs = m.pairs.map(|(before, after)| after.unwrap_or(before).entries());
    value.extend(entries(pairs.unwrap_or_default()));
    value.insert("frame_rank".to_owned(), json!(m.frame.map(Frame::rank)));
    if m.after.is_some() {
        let mut before = entries(m.before.entries());
        before.extend(entries(m.pairs.map_or_else(Vec::new, |(before, _)| before.entries())));
        value.insert("before".to_owned(), Value::Object(before));
    }
    let sets: Vec<&Survey> = [Some(m.source), Some(m.target), m.aligned].into_iter().flatten().collect();
    value.extend(totals(&sets));
    value
}

/// Counts: source, target, and what was replaced in all.
fn totals(sets: &[&Survey]) -> [(String, Value); 4] {
    let replaced: u64 = sets.iter().map(|s| s.replaced()).sum();
    let counts = [sets[0].rows(), sets[1].rows(), sets[0].width() as u64, replaced];
    let names = ["rows_source", "rows_target", "width", "nonfinite_replaced"];
    std::array::from_fn(|i| (names[i].to_owned(), json!(counts[i])))
}

/// One line a diagnostic, before and after beside each other; then the counts.
fn text(value: &Map<String, Value>, m: &Measured<'_>) -> String {
    let number = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), show::number);
    let mut lines = Vec::new();
    if m.after.is_some() {
        lines.push(format!("{:<24} {:>12} {:>12}", "", "before", "after"));
    }
    for (key, before, after) in measure_page::rows(m) {
        let after = after.map_or_else(String::new, number);
        lines.push(format!("{key:<24} {:>12} {after:>12}", number(before)).trim_end().to_owned());
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
