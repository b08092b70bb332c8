//! Measuring, comparing, calibrating, and the fixed frame.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use realign::align::{
    Calibration, CompareOptions, Domain, FitOptions, Method, Transfer, compare as compare_methods, sample_size_study,
    sizes, transfer_matrix,
};
use realign::device::Device;
use realign::geometry::recalibrate::recalibration;
use realign::geometry::{
    DiagnosisOptions, Frame as Directions, MeasureOptions, MeasuredSets, frame_of_covariances, measure as measure_sets,
    principal_angles_on,
};
use realign::report::Page as Html;
use realign::stats::{Covariance as Matrix, RowSource, covariance};
use serde_json::{Map, Value, json};

use crate::align::{FitArgs, Statistics};
use crate::devices::{device, device_for_halves};
use crate::errors::{input, parsed, raised};
use crate::options::options;
use crate::rows::{Filled, Reading, Rows, check_width, cut};
use crate::stats::Covariance;
use crate::work::{self, Stop};

/// A result's page.
#[pyclass(frozen, module = "realign._realign")]
pub struct Page {
    page: Html,
}

#[pymethods]
impl Page {
    fn html(&self) -> String {
        self.page.html()
    }

    fn svgs(&self) -> Vec<(String, String)> {
        self.page.svgs()
    }

    fn write(&self, py: Python<'_>, path: PathBuf, overwrite: bool) -> PyResult<()> {
        work::run(py, true, |_| self.page.write(&path, overwrite))
    }
}

/// A result's JSON, and its page.
type Found = (String, Page);

fn found(
    mut value: Map<String, Value>,
    device: &Device,
    page: impl FnOnce(Value) -> realign::Result<Html>,
) -> realign::Result<Found> {
    value.insert("device".to_owned(), json!(device.name()));
    let text = Value::Object(value.clone()).to_string();
    Ok((text, Page { page: page(Value::Object(value))? }))
}

options! {
    /// Sizes of neighbourhoods and the frame of a measurement.
    pub struct MeasureArgs {
        paired: bool,
        frame: Option<Py<Frame>>,
        energy: Option<f64>,
        rank: Option<usize>,
        mixing_k: usize,
        overlap_k: usize,
        neighbour_rows: usize,
        seed: u64,
    }
}

impl MeasureArgs {
    fn diagnosis(&self) -> DiagnosisOptions {
        let (mixing_k, overlap_k, neighbour_rows) = (self.mixing_k, self.overlap_k, self.neighbour_rows);
        DiagnosisOptions { mixing_k, overlap_k, neighbour_rows, seed: self.seed, ..Default::default() }
    }
}

/// Rows that must have one width.
fn open<const N: usize>(objects: [(&Bound<'_, PyAny>, &str); N], reading: &Reading) -> PyResult<[Rows; N]> {
    let opened = objects.iter().map(|(object, name)| Rows::of(object, name, reading)).collect::<PyResult<Vec<_>>>()?;
    for (rows, (_, name)) in opened.iter().zip(&objects).skip(1) {
        check_width(rows, name, (opened[0].width(), objects[0].1))?;
    }
    opened.try_into().map_err(|_| input("rows are missing"))
}

/// Every diagnostic of two sets, before and after alignment.
#[pyfunction]
#[pyo3(signature = (text, image, aligned, args, reading, device_name))]
pub fn measure(
    py: Python<'_>,
    text: Bound<'_, PyAny>,
    image: Bound<'_, PyAny>,
    aligned: Option<Bound<'_, PyAny>>,
    args: MeasureArgs,
    reading: Reading,
    device_name: &str,
) -> PyResult<Found> {
    let [source, target] = open([(&text, "text"), (&image, "image")], &reading)?;
    let aligned = aligned.map(|aligned| Rows::of(&aligned, "aligned", &reading)).transpose()?;
    let mut options = MeasureOptions::default();
    if args.frame.is_some() && (args.energy, args.rank) != (None, None) {
        return Err(input("energy, rank: are for a frame that is built; leave them out with frame="));
    }
    options.frame = args.frame.as_ref().map(|frame| frame.get().inner.clone());
    (options.cut, options.diagnosis, options.paired) = (cut(args.energy, args.rank)?, args.diagnosis(), args.paired);
    options.stream = reading.stream()?;
    let device = device(py, device_name)?;
    work::run(py, false, |stop| {
        let (mut y, mut x) = (source.source(stop)?, target.source(stop)?);
        let mut z = aligned.as_ref().map(|rows| rows.source(stop)).transpose()?;
        let aligned = z.as_mut().map(|rows| rows as &mut dyn RowSource);
        let measured = measure_sets(&device, MeasuredSets { source: &mut y, target: &mut x, aligned }, &options)?;
        found(measured.json(), &device, |value| measured.page(value))
    })
}

/// All methods side by side on held-out rows.
#[pyfunction]
#[pyo3(signature = (text, image, methods, args, fit, reading, device_name))]
pub fn compare(
    text: Bound<'_, PyAny>,
    image: Bound<'_, PyAny>,
    methods: Vec<String>,
    args: MeasureArgs,
    fit: FitArgs,
    reading: Reading,
    device_name: &str,
) -> PyResult<Found> {
    let py = text.py();
    let asked = methods.iter().map(|name| parsed("methods", name)).collect::<PyResult<Vec<Method>>>()?;
    let methods: Vec<Method> = match &asked[..] {
        [] if args.paired => Method::every().collect(),
        [] => Method::ALL.to_vec(),
        _ => asked,
    };
    fit.refuse_unused(&methods, true)?;
    let [source, target] = open([(&text, "text"), (&image, "image")], &reading)?;
    let options = CompareOptions {
        fit: fit.options(&reading)?,
        diagnosis: args.diagnosis(),
        frame: cut(args.energy, args.rank)?,
        paired: args.paired,
    };
    let device = device(py, device_name)?;
    work::run(py, false, |stop| {
        let (mut y, mut x) = (source.source(stop)?, target.source(stop)?);
        let comparison = compare_methods(&device, &mut y, &mut x, &methods, &options)?;
        found(comparison.json(), &device, |value| comparison.page(value))
    })
}

options! {
    /// What is asked of a calibration.
    pub struct CalibrateArgs<'py> {
        text: Option<Bound<'py, PyAny>>,
        image: Option<Bound<'py, PyAny>>,
        sizes: Vec<u64>,
        trials: u32,
        domains: Vec<(String, Bound<'py, PyAny>, Bound<'py, PyAny>)>,
        statistics: Option<Py<Statistics>>,
        batch: Option<Bound<'py, PyAny>>,
        side: String,
        significance: f64,
    }
}

/// A calibration's rows, opened.
struct Opened {
    study: Option<[Rows; 2]>,
    domains: Vec<(String, [Rows; 2])>,
    batch: Option<(Py<Statistics>, Rows)>,
}

impl Opened {
    fn of(args: CalibrateArgs<'_>, reading: &Reading) -> PyResult<Opened> {
        let study = match (&args.text, &args.image) {
            (Some(text), Some(image)) => Some(open([(text, "text"), (image, "image")], reading)?),
            (None, None) => None,
            _ => return Err(input("text, image: a study of sizes needs both")),
        };
        let domain = |(name, text, image): &(String, Bound<'_, PyAny>, Bound<'_, PyAny>)| {
            Ok((name.clone(), open([(text, "text"), (image, "image")], reading)?))
        };
        let domains = args.domains.iter().map(domain).collect::<PyResult<Vec<_>>>()?;
        if domains.len() == 1 {
            return Err(input("domains: one domain; give two or more"));
        }
        let batch = match (args.statistics, &args.batch) {
            (Some(statistics), Some(batch)) => Some((statistics, Rows::of(batch, "batch", reading)?)),
            (None, None) => None,
            _ => return Err(input("statistics, batch: a check for drift needs both")),
        };
        if study.is_none() && domains.is_empty() && batch.is_none() {
            return Err(input("nothing to do: give text and image, domains, or statistics and batch"));
        }
        Ok(Opened { study, domains, batch })
    }
}

/// How many rows a fit needs, how it carries over to other domains, and whether it is still valid.
#[pyfunction]
pub fn calibrate(
    py: Python<'_>,
    args: CalibrateArgs<'_>,
    fit: FitArgs,
    reading: Reading,
    device_name: &str,
) -> PyResult<Found> {
    let (asked, trials, significance, side) = (args.sizes.clone(), args.trials, args.significance, args.side.clone());
    if !(significance > 0.0 && significance < 1.0) {
        return Err(input(format!("significance: {significance}; give a probability between 0 and 1")));
    }
    if !matches!(&side[..], "text" | "image") {
        return Err(input(format!("side: {side:?} is unknown; give \"text\" or \"image\"")));
    }
    let opened = Opened::of(args, &reading)?;
    let method = fit.method()?;
    if opened.study.is_some() || !opened.domains.is_empty() {
        fit.refuse_unused(&[method.unwrap_or_default()], false)?;
    } else if let Some(given) = method.map(|_| "method").or(fit.given()) {
        return Err(input(format!(
            "{given}: a batch is held against statistics, which are fitted already; leave it out"
        )));
    }
    let options = fit.options(&reading)?.method(method.unwrap_or_default());
    let device = device(py, device_name)?;
    work::run(py, false, |stop| {
        let mut all = Calibration::default();
        let mut value = Map::new();
        if let Some((statistics, batch)) = &opened.batch {
            let statistics = &statistics.get().inner;
            let stored = if side == "image" { statistics.stored_target() } else { statistics.stored_source() };
            all.drift = Some(recalibration(&mut batch.source(stop)?, stored, options.stream)?);
        }
        if let Some([source, target]) = &opened.study {
            let every = sizes(source.count().max(target.count()).div_ceil(2));
            let asked = if asked.is_empty() { &every } else { &asked };
            let (mut y, mut x) = (source.source(stop)?, target.source(stop)?);
            all.sizes = sample_size_study(&device, &mut y, &mut x, (asked, trials, options.seed), &options)?;
        }
        if !opened.domains.is_empty() {
            all.transfer = Some(transfer(&device, &opened.domains, &options, stop)?);
        }
        if !all.sizes.is_empty() || all.transfer.is_some() {
            value.insert("method".to_owned(), json!(options.method.name()));
        }
        value.extend(all.json(significance));
        found(value, &device, |value| all.page(significance, value))
    })
}

fn transfer(
    device: &Device,
    opened: &[(String, [Rows; 2])],
    options: &FitOptions<'_>,
    stop: &Stop,
) -> realign::Result<Transfer> {
    let mut all = Vec::with_capacity(opened.len());
    for (name, [source, target]) in opened {
        let (source, target) = (Box::new(source.source(stop)?), Box::new(target.source(stop)?));
        all.push(Domain { name: name.clone(), source, target });
    }
    let gaps = transfer_matrix(device, &mut all, options)?;
    Ok(Transfer { domains: opened.iter().map(|(name, _)| name.clone()).collect(), gaps })
}

/// An orthonormal basis of the task's subspace.
#[pyclass(frozen, module = "realign._realign")]
pub struct Frame {
    inner: Directions,
    /// The share of the energy that its directions hold, where it was built here.
    energy: Option<f64>,
}

/// One side of a frame.
enum Side {
    Rows(Rows),
    Counted(Matrix),
}

impl Side {
    fn of(object: &Bound<'_, PyAny>, name: &str, reading: &Reading) -> PyResult<Side> {
        match object.cast::<Covariance>() {
            Ok(counted) => counted.get().matrix_now(object.py()).map(Side::Counted),
            Err(_) => Rows::of(object, name, reading).map(Side::Rows),
        }
    }

    fn width(&self) -> usize {
        match self {
            Side::Rows(rows) => rows.width(),
            Side::Counted(matrix) => matrix.width(),
        }
    }
}

#[pymethods]
impl Frame {
    #[staticmethod]
    #[pyo3(signature = (text, image, energy, rank, reading, device_name))]
    fn fit(
        py: Python<'_>,
        text: Bound<'_, PyAny>,
        image: Bound<'_, PyAny>,
        energy: Option<f64>,
        rank: Option<usize>,
        reading: Reading,
        device_name: &str,
    ) -> PyResult<Self> {
        let (source, target) = (Side::of(&text, "text", &reading)?, Side::of(&image, "image", &reading)?);
        if source.width() != target.width() {
            let (y, x) = (source.width(), target.width());
            return Err(input(format!("image: rows of width {x}, but text is of width {y}")));
        }
        let (cut, stream) = (cut(energy, rank)?, reading.stream()?);
        let device = device_for_halves(py, device_name)?;
        work::run(py, false, |stop| {
            // Borrowed: an array is let go of with the interpreter, not on this thread.
            let matrix = |side: &Side| match side {
                Side::Rows(rows) => covariance(&device, &mut rows.source(stop)?, stream),
                Side::Counted(matrix) => Ok(matrix.clone()),
            };
            let (y, x) = (matrix(&source)?, matrix(&target)?);
            let (inner, kept) = frame_of_covariances(&device, &y, &x, cut)?;
            Ok(Frame { inner, energy: Some(kept / (y.trace() + x.trace())) })
        })
    }

    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        Ok(Frame { inner: work::run(py, true, |_| Directions::load(&path))?, energy: None })
    }

    #[staticmethod]
    fn from_bytes(bytes: &[u8], energy: Option<f64>) -> PyResult<Self> {
        Ok(Frame { inner: Directions::from_bytes(bytes).map_err(raised)?, energy })
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.inner.to_bytes().map_err(raised)?))
    }

    fn save(&self, py: Python<'_>, path: PathBuf, overwrite: bool) -> PyResult<()> {
        work::run(py, true, |_| self.inner.save(&path, overwrite))
    }

    fn equals(&self, other: &Frame) -> bool {
        self.inner == other.inner
    }

    /// Rank, width, share of the energy.
    fn numbers(&self) -> (usize, usize, Option<f64>) {
        (self.inner.rank(), self.inner.width(), self.energy)
    }

    fn directions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Filled::of(py, &[self.inner.rank(), self.inner.width()], self.inner.directions())
    }

    /// β, γ of a mean difference, `[d]` each.
    fn split<'py>(&self, py: Python<'py>, m: Vec<f64>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let split = self.inner.split(&m).map_err(raised)?;
        let d = [self.inner.width()];
        Ok((Filled::of(py, &d, &split.beta)?, Filled::of(py, &d, &split.gamma)?))
    }

    /// Principal angles in radians, and the sine of the largest.
    fn angles<'py>(&self, py: Python<'py>, other: &Frame, device_name: &str) -> PyResult<(Bound<'py, PyAny>, f64)> {
        let device = device(py, device_name)?;
        let found = work::run(py, false, |_| principal_angles_on(&device, &self.inner, &other.inner))?;
        Ok((Filled::of(py, &[found.radians.len()], &found.radians)?, found.sin_theta_max))
    }
}
