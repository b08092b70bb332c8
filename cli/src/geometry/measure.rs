//! `measure`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use realign::device::Device;
use realign::geometry::{Frame, MeasureOptions, MeasuredSets, Measurement, Survey, measure as measure_sets};
use realign::io::Dataset;
use realign::stats::{DatasetRows, RowSource};
use serde_json::{Value, json};

use crate::geometry::args::MeasureArgs;
use crate::shared::read::ReadArgs;
use crate::shared::show;
use crate::shared::sources::LazyDevice;

/// One set, with a bar that tells how far it is.
pub fn survey(device: &Device, read: &ReadArgs, dataset: &Dataset, sample_rows: usize) -> Result<Survey> {
    let bar = show::progress(dataset.rows(), "measuring");
    let step = |rows| bar.inc(rows);
    let (mut rows, stream) = (DatasetRows::new(dataset), read.stream(Some(&step)));
    let survey = Survey::of(device, &mut rows, sample_rows, stream);
    bar.finish_and_clear();
    survey.with_context(|| name(dataset))
}

/// The set's first file.
pub fn name(dataset: &Dataset) -> String {
    dataset.shards().first().map_or_else(String::new, |s| s.path().display().to_string())
}

/// The frame of a file, which must have the rows' width.
pub fn load_frame(file: Option<&Path>, width: usize) -> Result<Option<Frame>> {
    let Some(path) = file else { return Ok(None) };
    let frame = Frame::load(path)?;
    let have = frame.width();
    anyhow::ensure!(width == have, "{}: a frame of width {have}, but the rows have {width}", path.display());
    Ok(Some(frame))
}

/// Opens sets that must have one width.
pub fn open_all<const N: usize>(
    open: &dyn Fn(&[PathBuf]) -> Result<Dataset>,
    inputs: [&[PathBuf]; N],
) -> Result<[Dataset; N]> {
    let opened: Vec<Dataset> = inputs.iter().map(|i| open(i)).collect::<Result<_>>()?;
    for other in opened.iter().skip(1) {
        let (want, have) = (opened[0].width(), other.width());
        let (first, file) = (name(&opened[0]), name(other));
        anyhow::ensure!(want == have, "{file}: rows of width {have}, but those of {first} have {want}");
    }
    // Invariant: as many as there were inputs.
    opened.try_into().map_err(|_| anyhow::anyhow!("no inputs"))
}

/// Source, target and, where given, the aligned set; partners are counted.
fn open_sets(args: &MeasureArgs, device: &LazyDevice<'_>) -> Result<(Dataset, Dataset, Option<Dataset>)> {
    let open = |inputs: &[PathBuf]| args.encoder.open(device, &args.read, inputs);
    let (source, target, aligned) = match &args.aligned[..] {
        [] => open_all(&open, [&args.source, &args.target]).map(|[source, target]| (source, target, None))?,
        aligned => open_all(&open, [&args.source, &args.target, aligned])
            .map(|[source, target, aligned]| (source, target, Some(aligned)))?,
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
    let outputs = args.page.check(&Measurement::charts(args.paired), &args.json)?;
    let device = LazyDevice::new(&args.device);
    let (source, target, aligned) = open_sets(args, &device)?;
    let sets: Vec<&Dataset> = [Some(&source), Some(&target), aligned.as_ref()].into_iter().flatten().collect();
    let inputs = args.source.iter().chain(&args.target).chain(&args.aligned).chain(&args.frame);
    outputs.refuse(&sets, inputs.map(PathBuf::as_path))?;
    let device = device.get()?;
    let start = Instant::now();
    let bar = show::progress(sets.iter().map(|set| set.rows()).sum(), "measuring");
    let step = |rows| bar.inc(rows);
    let mut options = MeasureOptions::default();
    options.frame = load_frame(args.frame.as_deref(), source.width())?;
    (options.cut, options.diagnosis, options.paired) = (args.cut.cut(), args.neighbours.options(), args.paired);
    options.diagnosis.seed = args.seed;
    options.stream = args.read.stream(Some(&step));
    let (mut y, mut x) = (DatasetRows::new(&source), DatasetRows::new(&target));
    let mut z = aligned.as_ref().map(DatasetRows::new);
    let aligned = z.as_mut().map(|rows| rows as &mut dyn RowSource);
    let measured = measure_sets(device, MeasuredSets { source: &mut y, target: &mut x, aligned }, &options)?;
    bar.finish_and_clear();
    let mut value = measured.json();
    value.insert("device".to_owned(), json!(device.name()));
    value.insert("seconds".to_owned(), json!(start.elapsed().as_secs_f64()));
    let value = Value::Object(value);
    args.page.write(args.json.force, || measured.page(value.clone()))?;
    args.json.finish(&value, || text(&value, &measured))
}

/// One line a diagnostic, before and after beside each other; then the counts.
fn text(value: &Value, m: &Measurement) -> String {
    let number = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), show::number);
    let mut lines = Vec::new();
    if m.after.is_some() {
        lines.push(format!("{:<24} {:>12} {:>12}", "", "before", "after"));
    }
    for row in m.rows() {
        let (name, after) = (row.name, row.after.map_or_else(String::new, number));
        lines.push(format!("{name:<24} {:>12} {after:>12}", number(row.before)).trim_end().to_owned());
    }
    for key in ["frame_rank", "rows_source", "rows_target", "width"] {
        let count = value.get(key).and_then(Value::as_u64).map_or_else(|| "-".to_owned(), |n| n.to_string());
        lines.push(format!("{key:<24} {count:>12}"));
    }
    if let Some(sine) = m.frame_sin_theta {
        lines.push(format!("{:<24} {:>12}", "frame_sin_theta", show::number(sine)));
    }
    if m.source.rows().max(m.target.rows()) > m.source.sample_rows().max(m.target.sample_rows()) as u64 {
        lines.push("Neighbours and cosines are of the first rows; all else is of all rows.".to_owned());
    }
    lines.join("\n")
}
