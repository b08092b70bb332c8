//! All methods side by side: fitted on half of the rows, measured on the other half [paper appendices D to G].

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::centre::Centred;
use super::options::{check_options, check_pairs};
use super::{Centroid, FitOptions, Method, apply, fit};
use crate::device::Device;
use crate::geometry::{
    Before, Cut, Decomposition, Diagnosis, DiagnosisOptions, Frame, Pairs, Reference, Survey, Surveyor,
};
use crate::stats::{RowSource, Subset};
use crate::{ElementType, Error, Result};

/// How to compare.
#[derive(Clone, Copy, Debug, Default)]
pub struct CompareOptions<'a> {
    /// For every method; `method` is overruled. An exact centroid step is realign's alone: methods with a map then take one step.
    pub fit: FitOptions<'a>,
    /// For every diagnosis. A `q` of `None` becomes the rank of the held-out sets' frame.
    pub diagnosis: DiagnosisOptions,
    /// The cut of that frame.
    pub frame: Cut,
    /// Row i of the source is the partner of row i of the target: decomposes their differences too, and allows methods that are fitted
    /// to pairs.
    pub paired: bool,
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
    /// What the target's held-out rows became, where the method moves them, too: the diagnosis and the pairs are between these and the source's.
    pub target: Option<Survey>,
    /// What their differences from their partners are made of, for paired sets.
    pub pairs: Option<Decomposition>,
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
    /// The held-out sets' frame, before alignment; its rank is q of the subspace overlap. `None` where all rows are equal.
    pub frame: Option<Frame>,
}

impl Compared {
    fn json(&self) -> Map<String, Value> {
        let pairs = self.pairs.as_ref();
        let entries = self.diagnosis.entries().into_iter().chain(pairs.into_iter().flat_map(Decomposition::entries));
        let mut value: Map<String, Value> = entries.map(|(name, value)| (name.to_owned(), json!(value))).collect();
        let rank = pairs.map(|pairs| ("frame_rank", json!(pairs.rank)));
        let times = [
            ("fit_seconds", json!(self.fit_time.as_secs_f64())),
            ("apply_seconds", json!(self.apply_time.as_secs_f64())),
            ("seconds", json!((self.fit_time + self.apply_time).as_secs_f64())),
        ];
        value.extend(rank.into_iter().chain(times).map(|(name, value)| (name.to_owned(), value)));
        value
    }
}

impl Comparison {
    /// Rank of the frame.
    pub fn frame_rank(&self) -> Option<usize> {
        self.frame.as_ref().map(Frame::rank)
    }

    /// Everything by name: under `methods` each method's diagnostics with `fit_seconds`, `apply_seconds` and their sum `seconds`, of pairs their
    /// own and `frame_rank`; `fitted_rows_source`, `fitted_rows_target`, `rows_source`, `rows_target`, `width`, `frame_rank`. What the data leaves
    /// undefined is `null`.
    pub fn json(&self) -> Map<String, Value> {
        let methods: Map<String, Value> =
            self.methods.iter().map(|line| (line.method.name().to_owned(), Value::Object(line.json()))).collect();
        let all = [
            ("methods", json!(methods)),
            ("fitted_rows_source", json!(self.fitted_rows.0)),
            ("fitted_rows_target", json!(self.fitted_rows.1)),
            ("rows_source", json!(self.source.rows())),
            ("rows_target", json!(self.target.rows())),
            ("width", json!(self.source.width())),
            ("frame_rank", json!(self.frame_rank())),
        ];
        all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// Fits each of `methods` on rows 0, 2, 4, … of both sides, applies it to the source's rows 1, 3, 5, … and measures these
/// against the target's rows 1, 3, 5, …. Even rows against odd: files are often sorted, and partners stay partners.
///
/// Covariances are exact sums, neighbours and cosines the same on all devices. Memory: d² numbers and the sample of neighbours' rows for each
/// method; data are streamed.
///
/// # Errors
/// Widths that differ; fewer rows than neighbours asked for; a frame that cannot be had; pairs of unequal number, or none for a method that is fitted to them; whatever fitting
/// and applying report.
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
    check_options(&FitOptions { method: Method::default(), ..options.fit }, source.width())?;
    options.frame.check(source.width())?;
    if options.paired && source.rows() != target.rows() {
        let (y, x) = (source.rows(), target.rows());
        let problem = format!("the target has {x} rows, the source {y} rows; row i of one is the partner of row i");
        return Err(Error::argument("paired", problem));
    }
    methods.iter().try_for_each(|method| check_pairs(*method, options.paired))?;
    let stream = options.fit.stream;
    let sample = options.diagnosis.neighbour_rows.max(crate::geometry::density::PAIR_ROWS);
    let y = Survey::of(device, &mut Subset::odd(source), sample, stream)?;
    let x = Survey::of(device, &mut Subset::odd(target), sample, stream)?;
    let frame = frame(&y, &x, options)?;
    let diagnosis =
        DiagnosisOptions { q: options.diagnosis.q.or(frame.as_ref().map(Frame::rank)), ..options.diagnosis };
    let before = Before::on(device, &y, &diagnosis)?;
    let reference = Reference::on(device, &x, diagnosis)?;
    let paired = frame.as_ref().filter(|_| options.paired);
    let mut table = Vec::with_capacity(methods.len());
    let mut fitted_rows = (0, 0);
    for &method in methods {
        let (moved, rows) = held_out(device, (&mut *source, &mut *target), (method, sample), paired, options)?;
        let diagnosis = match &moved.target {
            Some(target) => Reference::on(device, target, diagnosis)?.diagnose(&moved.survey, Some(&before))?,
            None => reference.diagnose(&moved.survey, Some(&before))?,
        };
        let Moved { survey, target, pairs, fit_time, apply_time } = moved;
        fitted_rows = rows;
        table.push(Compared { method, diagnosis, fit_time, apply_time, survey, target, pairs });
    }
    Ok(Comparison { methods: table, source: y.clone(), target: x.clone(), fitted_rows, frame })
}

/// What the source's held-out rows became, and the target's where they are moved.
struct Moved {
    survey: Survey,
    target: Option<Survey>,
    pairs: Option<Decomposition>,
    fit_time: Duration,
    apply_time: Duration,
}

/// Fits on one half and applies to the other; also the rows fitted on. `paired` is the frame of the pairs.
fn held_out(
    device: &Device,
    (source, target): (&mut dyn RowSource, &mut dyn RowSource),
    (method, sample): (Method, usize),
    paired: Option<&Frame>,
    options: &CompareOptions<'_>,
) -> Result<(Moved, (u64, u64))> {
    let start = Instant::now();
    let mut fit_options = FitOptions { method, paired: options.paired, ..options.fit };
    if method.maps() && fit_options.centroid == Centroid::Exact {
        fit_options.centroid = Centroid::default();
    }
    let statistics = fit(device, &mut Subset::even(source), &mut Subset::even(target), &fit_options)?;
    let fit_time = start.elapsed();
    let mut surveyor = Surveyor::new(device, source.width(), sample)?;
    let mut held_out = Subset::odd(target);
    let mut centred;
    let partners: &mut dyn RowSource = match method.centres() {
        true => {
            centred = Centred::new(&mut held_out, &statistics.mean_target, options.fit.stream.nonfinite);
            &mut centred
        }
        false => &mut held_out,
    };
    let target =
        method.centres().then(|| Survey::of(device, &mut *partners, sample, options.fit.stream)).transpose()?;
    let mut pairs = paired.map(|_| Pairs::with(partners, options.fit.stream)).transpose()?;
    let mut apply_time = Duration::ZERO;
    let mut lap = Instant::now();
    let mut sink = |bytes: &[u8], _: usize| {
        apply_time += lap.elapsed();
        surveyor.add(bytes)?;
        pairs.as_mut().map_or(Ok(()), |pairs| pairs.add(bytes))?;
        lap = Instant::now();
        Ok(())
    };
    let aligner = statistics.aligner();
    apply(device, &*aligner, &mut Subset::odd(source), ElementType::F32, options.fit.stream, &mut sink)?;
    let pairs = pairs.zip(paired).map(|(pairs, frame)| pairs.finish(frame)).transpose()?;
    Ok((Moved { survey: surveyor.finish()?, target, pairs, fit_time, apply_time }, statistics.rows))
}

/// Both sides' frame; `None` where all rows are equal, so that there is none, and none was asked for.
fn frame(source: &Survey, target: &Survey, options: &CompareOptions<'_>) -> Result<Option<Frame>> {
    match Frame::of(source, target, options.frame) {
        Ok(frame) => Ok(Some(frame)),
        Err(Error::Degenerate(_)) if options.frame == Cut::default() && !options.paired => Ok(None),
        Err(error) => Err(error),
    }
}
