//! The measurement as a whole: every diagnostic of two sets, before and after alignment, and of their pairs.

use serde_json::{Map, Value, json};

use super::density::PAIR_ROWS;
use super::{Before, Cut, Decomposition, Diagnosis, DiagnosisOptions, Frame, Reference, Survey, principal_angles_on};
use crate::device::{Device, DeviceKind};
use crate::stats::{Covariance, RowSource, StreamOptions};
use crate::{Error, Result};

/// How to measure.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct MeasureOptions<'a> {
    /// The fixed frame; by default it is built from source and target by `cut`.
    pub frame: Option<Frame>,
    /// The cut of the frame that is built.
    pub cut: Cut,
    /// Sizes of neighbourhoods. A `q` of `None` becomes the frame's rank.
    pub diagnosis: DiagnosisOptions,
    /// Whether row i of the source is the partner of row i of the target: decomposes their differences too.
    pub paired: bool,
    /// How to stream the rows. Progress counts the rows of all sets, each once; pairs are read once more, without.
    pub stream: StreamOptions<'a>,
}

/// What is measured.
pub struct MeasuredSets<'a> {
    /// The rows before alignment, `[n, d]`: text.
    pub source: &'a mut dyn RowSource,
    /// The rows whose cloud is the target, `[m, d]`: image.
    pub target: &'a mut dyn RowSource,
    /// The source's rows after alignment, in the same order, `[n, d]`.
    pub aligned: Option<&'a mut dyn RowSource>,
}

/// What the differences of pairs are made of.
#[derive(Clone, Debug)]
pub struct MeasuredPairs {
    /// Those of source and target.
    pub before: Decomposition,
    /// Those of the aligned rows and the target, where something was aligned.
    pub after: Option<Decomposition>,
}

/// What was measured.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Measurement {
    /// The source.
    pub source: Survey,
    /// The target.
    pub target: Survey,
    /// The aligned rows, where there are any.
    pub aligned: Option<Survey>,
    /// The source against the target.
    pub before: Diagnosis,
    /// The aligned rows against the target, and against the source.
    pub after: Option<Diagnosis>,
    /// The frame; `None` where all rows are equal, so that there is none.
    pub frame: Option<Frame>,
    /// The sine of the largest angle by which the rows' own frame, of source and target and of as many directions, leans out of the frame that
    /// was given [paper section 3.1]; `None` without a given frame, or where these rows have no such frame.
    pub frame_sin_theta: Option<f64>,
    /// Of pairs, where they were asked for.
    pub pairs: Option<MeasuredPairs>,
}

/// One diagnostic of a [`Measurement`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeasuredRow {
    /// Its name, as in the JSON.
    pub name: &'static str,
    /// Its value before alignment; `None` is undefined for this data.
    pub before: Option<f64>,
    /// Its value after alignment, where something was aligned.
    pub after: Option<Option<f64>>,
}

/// Measures two sets, and what alignment made of the first: one read of each set, one more of each pair of sets for `paired`.
///
/// # Errors
/// Widths that differ; fewer rows than neighbours, or than directions of the frame asked for; pairs of unequal number, or whose rows
/// are all equal; a NaN or an infinity; a file that cannot be read; a device lost or out of memory.
pub fn measure(device: &Device, sets: MeasuredSets<'_>, options: &MeasureOptions<'_>) -> Result<Measurement> {
    let MeasuredSets { source, target, mut aligned } = sets;
    check(source, target, aligned.as_deref(), options)?;
    let sample = options.diagnosis.neighbour_rows.max(PAIR_ROWS);
    let y = Survey::of(device, source, sample, options.stream)?;
    let x = Survey::of(device, target, sample, options.stream)?;
    let z = aligned.as_deref_mut().map(|a| Survey::of(device, a, sample, options.stream)).transpose()?;
    let frame = match &options.frame {
        Some(frame) => Some(frame.clone()),
        None => frame_of_surveys(&y, &x, options.cut)?,
    };
    let frame_sin_theta = match &options.frame {
        Some(given) => leaning(device, given, (&y, &x))?,
        None => None,
    };
    let diagnosis =
        DiagnosisOptions { q: options.diagnosis.q.or(frame.as_ref().map(Frame::rank)), ..options.diagnosis };
    let reference = Reference::on(device, &x, diagnosis)?;
    let before = reference.diagnose(&y, None)?;
    let after = match &z {
        Some(z) => Some(reference.diagnose(z, Some(&Before::on(device, &y, &diagnosis)?))?),
        None => None,
    };
    let pairs = match options.paired {
        true => Some(pairs((source, target, aligned), frame.as_ref(), options)?),
        false => None,
    };
    Ok(Measurement { source: y, target: x, aligned: z, before, after, frame, frame_sin_theta, pairs })
}

/// How far the rows' own frame leans out of the one that was given.
fn leaning(device: &Device, given: &Frame, (y, x): (&Survey, &Survey)) -> Result<Option<f64>> {
    match Frame::of(y, x, Cut::Rank(given.rank())) {
        Ok(own) => Ok(Some(principal_angles_on(device, given, &own)?.sin_theta_max)),
        // Rows that span fewer directions have no frame to compare.
        Err(Error::Degenerate(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn check(
    source: &dyn RowSource,
    target: &dyn RowSource,
    aligned: Option<&dyn RowSource>,
    options: &MeasureOptions<'_>,
) -> Result<()> {
    let width = source.width();
    let frame = options.frame.as_ref().map(|f| ("the frame", f.width()));
    let others = [Some(("the target", target.width())), aligned.map(|a| ("the aligned set", a.width())), frame];
    if let Some((other, have)) = others.into_iter().flatten().find(|(_, have)| *have != width) {
        return Err(Error::shape("measure", other, format!("width {width}, as the source"), format!("width {have}")));
    }
    let sets = [("the source", Some(source.rows())), ("the aligned set", aligned.map(RowSource::rows))];
    for (set, rows) in sets {
        if let Some(rows) = rows.filter(|rows| options.paired && *rows != target.rows()) {
            let want = format!("{} rows, as the target: row i is the partner of row i", target.rows());
            return Err(Error::shape("measure pairs", set, want, format!("{rows} rows")));
        }
    }
    Ok(())
}

/// The frame of two surveys; `None` where all rows are equal, so that there is none. A cut that was asked for and cannot be had is an
/// error.
///
/// # Errors
/// As [`Frame::of`].
pub fn frame_of_surveys(y: &Survey, x: &Survey, cut: Cut) -> Result<Option<Frame>> {
    match Frame::of(y, x, cut) {
        Ok(frame) => Ok(Some(frame)),
        Err(Error::Degenerate(_)) if cut == Cut::default() => Ok(None),
        Err(error) => Err(error),
    }
}

/// A rank is small against a width of at least so many times it.
const FEW: usize = 8;

/// The frame of two covariances, and the variance that it keeps, of the sum of their traces. On a GPU few directions of wide rows
/// are found without the others; then the frame has no spectrum.
///
/// # Errors
/// As [`Frame::of`] and [`Frame::leading_on`].
pub fn frame_of_covariances(device: &Device, y: &Covariance, x: &Covariance, cut: Cut) -> Result<(Frame, f64)> {
    if let Cut::Rank(rank) = cut
        && device.capabilities().kind != DeviceKind::Host
        && rank <= y.width() / FEW
    {
        let (frame, values) = Frame::leading_on(device, (y, x), rank)?;
        return Ok((frame, values.iter().sum()));
    }
    let frame = Frame::of(y, x, cut)?;
    let kept = frame.spectrum().eigenvalues()[..frame.rank()].iter().sum();
    Ok((frame, kept))
}

/// The differences of source and target, and, where something was aligned, those of it and target.
fn pairs(
    (source, target, aligned): (&mut dyn RowSource, &mut dyn RowSource, Option<&mut dyn RowSource>),
    frame: Option<&Frame>,
    options: &MeasureOptions<'_>,
) -> Result<MeasuredPairs> {
    let Some(frame) = frame else {
        let problem = "all rows are equal on both sides, which leaves no frame; give rows that differ";
        return Err(Error::argument("paired", problem));
    };
    let stream = StreamOptions { progress: None, ..options.stream };
    let before = Decomposition::of(source, target, frame, stream)?;
    let after = aligned.map(|aligned| Decomposition::of(aligned, target, frame, stream)).transpose()?;
    Ok(MeasuredPairs { before, after })
}

/// Names and values.
type Entries = Vec<(&'static str, Option<f64>)>;

impl Measurement {
    /// The diagnosis after alignment, where something was aligned, else of the source.
    pub fn now(&self) -> &Diagnosis {
        self.after.as_ref().unwrap_or(&self.before)
    }

    /// Every diagnostic, those of pairs last.
    pub fn rows(&self) -> Vec<MeasuredRow> {
        let beside = |before: Entries, after: Option<Entries>| -> Vec<MeasuredRow> {
            let after = |i: usize| after.as_ref().map(|a| a.get(i).and_then(|(_, value)| *value));
            let rows = before.into_iter().enumerate();
            rows.map(|(i, (name, before))| MeasuredRow { name, before, after: after(i) }).collect()
        };
        let mut all = beside(self.before.entries(), self.after.as_ref().map(Diagnosis::entries));
        if let Some(pairs) = &self.pairs {
            all.extend(beside(pairs.before.entries(), pairs.after.as_ref().map(Decomposition::entries)));
        }
        all
    }

    /// Everything by name: each diagnostic as it is after alignment where there is any, with the values of before under `before`;
    /// `frame_rank`, `rows_source`, `rows_target`, `width`, `nonfinite_replaced`;
    /// `frame_sin_theta` where a frame was given and compared. What the data leaves undefined is `null`.
    pub fn json(&self) -> Map<String, Value> {
        let rows = self.rows();
        let entry = |name: &str, value: Option<f64>| (name.to_owned(), json!(value));
        let mut all: Map<String, Value> = rows.iter().map(|r| entry(r.name, r.after.unwrap_or(r.before))).collect();
        if self.after.is_some() {
            let before: Map<String, Value> = rows.iter().map(|r| entry(r.name, r.before)).collect();
            all.insert("before".to_owned(), Value::Object(before));
        }
        let sets = [Some(&self.source), Some(&self.target), self.aligned.as_ref()];
        let replaced: u64 = sets.into_iter().flatten().map(Survey::replaced).sum();
        let more = [
            ("frame_rank", json!(self.frame.as_ref().map(Frame::rank))),
            ("rows_source", json!(self.source.rows())),
            ("rows_target", json!(self.target.rows())),
            ("width", json!(self.source.width())),
            ("nonfinite_replaced", json!(replaced)),
        ];
        if let Some(sine) = self.frame_sin_theta {
            all.insert("frame_sin_theta".to_owned(), json!(sine));
        }
        all.extend(more.map(|(name, value)| (name.to_owned(), value)));
        all
    }
}
