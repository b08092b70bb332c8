//! Fitting and applying.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use realign::align::{
    Evidence, FitOptions, Method, Mix, PlaneOptions, Statistics as Fitted, apply, apply_to_files, fit_evidence,
    moved_moments,
};
use realign::io::{FileFormat, Output, OutputOptions};
use realign::stats::{Moments as Sums, RowSource};

use crate::devices::{cache_folder, device};
use crate::errors::{input, parsed, raised};
use crate::options::options;
use crate::rows::{Filled, NumberOrName, Reading, Rows, cut, element_of, whole};
use crate::stats::{Covariance, Moments};
use crate::warnings;
use crate::work;

options! {
    /// Keyword arguments of a fit.
    pub struct FitArgs {
        method: Option<String>,
        centroid: Option<NumberOrName>,
        sigma: Option<f64>,
        seed: Option<u64>,
        shrinkage: Option<f64>,
        strength: Option<f64>,
        energy: Option<f64>,
        rank: Option<usize>,
        mix: Option<String>,
        fit_rows: Option<u64>,
        paired: bool,
        allow_degenerate: bool,
    }
}

impl FitArgs {
    /// The method, where one is named.
    pub fn method(&self) -> PyResult<Option<Method>> {
        self.method.as_deref().map(|name| parsed("method", name)).transpose()
    }

    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or_default()
    }

    pub fn cut(&self) -> PyResult<realign::geometry::Cut> {
        cut(self.energy, self.rank)
    }

    /// The first option of a method's that is given.
    pub fn given(&self) -> Option<&'static str> {
        self.flags().into_iter().find_map(|(name, _, given)| given.then_some(name))
    }

    /// A keyword, the library's option that it sets, and whether it was given.
    fn flags(&self) -> [(&'static str, &'static str, bool); 8] {
        [
            ("mix", "planes", self.mix.is_some()),
            ("fit_rows", "planes", self.fit_rows.is_some()),
            ("strength", "strength", self.strength.is_some()),
            ("sigma", "sigma", self.sigma.is_some()),
            ("shrinkage", "shrinkage", self.shrinkage.is_some()),
            ("centroid", "centroid", self.centroid.is_some()),
            ("energy", "frame", self.energy.is_some()),
            ("rank", "frame", self.rank.is_some()),
        ]
    }

    /// Refuses an option that none of the methods heeds. With `framed`, the frame is heeded by what calls, whatever the methods.
    pub fn refuse_unused(&self, methods: &[Method], framed: bool) -> PyResult<()> {
        refuse_unused(&self.flags(), methods, framed)
    }

    /// Refuses what else a fit alone does not heed.
    fn refuse_unused_of_fit(&self, method: Method) -> PyResult<()> {
        let more = [("paired", "paired", self.paired), ("seed", "seed", self.seed.is_some())];
        refuse_unused(&more, &[method], false)
    }

    /// The library's options.
    pub fn options(&self, reading: &Reading) -> PyResult<FitOptions<'static>> {
        let mix = match self.mix.as_deref() {
            None | Some("none") => Mix::None,
            Some("haar") => Mix::Haar,
            Some(other) => return Err(input(format!("mix: {other:?} is unknown; give \"none\" or \"haar\""))),
        };
        let planes = PlaneOptions::default().mix(mix);
        let planes = self.fit_rows.map_or(planes, |rows| planes.fit_rows(rows));
        let centroid = self.centroid.as_ref().map(NumberOrName::centroid).transpose()?;
        Ok(FitOptions::default()
            .centroid(centroid.unwrap_or_default())
            .allow_degenerate(self.allow_degenerate)
            .sigma(self.sigma)
            .seed(self.seed())
            .shrinkage(self.shrinkage)
            .strength(self.strength)
            .paired(self.paired)
            .frame(self.cut()?)
            .planes(planes)
            .stream(reading.stream()?))
    }
}

fn refuse_unused(flags: &[(&str, &str, bool)], methods: &[Method], framed: bool) -> PyResult<()> {
    for &(name, option, given) in flags {
        let heeded = methods.iter().any(|method| method.options().contains(&option)) || (framed && option == "frame");
        if given && !heeded {
            let asked: Vec<&str> = methods.iter().map(|method| method.name()).collect();
            let takers = Method::every().filter(|m| m.options().contains(&option)).map(Method::name);
            let (asked, takers) = (asked.join(", "), takers.collect::<Vec<_>>().join(" or "));
            return Err(input(format!("{name}: is no option of {asked}; leave it out, or take {takers}")));
        }
    }
    Ok(())
}

/// What there is of a side.
enum Side {
    Rows(Rows),
    Counted(Sums),
}

impl Side {
    fn of(object: &Bound<'_, PyAny>, name: &str, reading: &Reading) -> PyResult<Side> {
        if let Ok(moments) = object.cast::<Moments>() {
            return Ok(Side::Counted(moments.get().sums()));
        }
        if let Ok(covariance) = object.cast::<Covariance>() {
            return Ok(Side::Counted(covariance.get().summary().moments));
        }
        Rows::of(object, name, reading).map(Side::Rows)
    }

    fn source<'a>(&'a self, stop: &'a work::Stop) -> realign::Result<Option<crate::rows::Source<'a>>> {
        match self {
            Side::Rows(rows) => rows.source(stop).map(Some),
            Side::Counted(_) => Ok(None),
        }
    }

    fn width(&self) -> usize {
        match self {
            Side::Rows(rows) => rows.width(),
            Side::Counted(moments) => moments.width(),
        }
    }

    fn quick(&self) -> bool {
        match self {
            Side::Rows(rows) => rows.quick(),
            Side::Counted(_) => true,
        }
    }
}

/// Fits what maps text into the cloud of image.
#[pyfunction]
pub fn fit(
    py: Python<'_>,
    text: Bound<'_, PyAny>,
    image: Bound<'_, PyAny>,
    args: FitArgs,
    reading: Reading,
    device_name: &str,
) -> PyResult<Statistics> {
    let (source, target) = (Side::of(&text, "text", &reading)?, Side::of(&image, "image", &reading)?);
    let widths = (source.width(), target.width());
    if widths.0 != widths.1 {
        return Err(input(format!("image: rows of width {}, but text is of width {}", widths.1, widths.0)));
    }
    let method = match (args.method()?, &source) {
        (Some(method), _) => method,
        (None, Side::Rows(_)) => Method::default(),
        (None, Side::Counted(_)) => {
            warnings::say(
                "the centroid step needs the text's rows once more; with its moments alone this makes an anchor-trace operator"
                    .to_owned(),
            );
            Method::AnchorTrace
        }
    };
    args.refuse_unused(&[method], false)?;
    args.refuse_unused_of_fit(method)?;
    let options = args.options(&reading)?.method(method);
    let device = device(py, device_name)?;
    let inner = work::run(py, source.quick() && target.quick(), |stop| {
        let (mut y, mut x) = (source.source(stop)?, target.source(stop)?);
        let source = evidence(&mut y, &source)?;
        fit_evidence(&device, source, evidence(&mut x, &target)?, &options)
    })?;
    Ok(Statistics { inner })
}

fn evidence<'a>(rows: &'a mut Option<crate::rows::Source<'_>>, side: &'a Side) -> realign::Result<Evidence<'a>> {
    let moments = match side {
        Side::Rows(_) => None,
        Side::Counted(moments) => Some(moments),
    };
    let rows = rows.as_mut().map(|rows| rows as &mut dyn RowSource);
    Evidence::of(rows, moments).ok_or_else(|| realign::Error::degenerate("a side has neither rows nor moments"))
}

/// A fitted operator.
#[pyclass(frozen, module = "realign._realign")]
pub struct Statistics {
    pub inner: Fitted,
}

options! {
    /// How rows are applied to.
    struct ApplyArgs {
        dtype: Option<String>,
        side: String,
        out: Option<PathBuf>,
        format: Option<String>,
        overwrite: bool,
        any_encoder: bool,
    }
}

#[pymethods]
impl Statistics {
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        Ok(Statistics { inner: work::run(py, true, |_| Fitted::load(&path))? })
    }

    #[staticmethod]
    fn from_bytes(bytes: &[u8]) -> PyResult<Self> {
        Ok(Statistics { inner: Fitted::from_bytes(bytes).map_err(raised)? })
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.inner.to_bytes().map_err(raised)?))
    }

    fn save(&self, py: Python<'_>, path: PathBuf, overwrite: bool) -> PyResult<()> {
        work::run(py, true, |_| self.inner.save(&path, overwrite))
    }

    fn equals(&self, other: &Statistics) -> bool {
        self.inner == other.inner
    }

    /// Method, centroid step, width, rows, traces, scale, gap, what is left of it.
    #[allow(clippy::type_complexity, reason = "a tuple for Python")]
    fn numbers(&self) -> (&str, Option<String>, usize, (u64, u64), (f64, f64), f64, f64, Option<f64>) {
        let s = &self.inner;
        let traces = (s.trace_source, s.trace_target);
        let centroid = s.centroid.map(|centroid| centroid.to_string());
        (s.method.name(), centroid, s.width(), s.rows, traces, s.scale, s.gap(), s.residual_gap)
    }

    fn means<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let mean = |mean: &[f64]| Filled::of(py, &[mean.len()], mean);
        Ok((mean(&self.inner.mean_source)?, mean(&self.inner.mean_target)?))
    }

    /// Moments of rows as this operator moves them.
    fn moved_moments(&self, rows: &Bound<'_, PyAny>, reading: Reading, device_name: &str) -> PyResult<Moments> {
        let py = rows.py();
        let rows = Rows::of(rows, "rows", &reading)?;
        crate::rows::check_width(&rows, "rows", (self.inner.width(), "the operator"))?;
        let (stream, device) = (reading.stream()?, device(py, device_name)?);
        Moments::of(work::run(py, rows.quick(), |stop| {
            moved_moments(&device, &self.inner, &mut rows.source(stop)?, stream)
        })?)
    }

    fn with_centroid_step(&self, moved: &Moments) -> PyResult<Self> {
        Ok(Statistics { inner: self.inner.with_centroid_step(&moved.sums()).map_err(raised)? })
    }

    /// Aligned rows as an array, or the files that were written.
    fn apply<'py>(
        &self,
        rows: &Bound<'py, PyAny>,
        args: &Bound<'py, PyAny>,
        reading: Reading,
        device_name: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, args) = (rows.py(), args.extract::<ApplyArgs>()?);
        let rows = Rows::of(rows, "rows", &reading)?;
        crate::rows::check_width(&rows, "rows", (self.inner.width(), "the operator"))?;
        let (encoders, any) = (rows.encoders(), args.any_encoder);
        let aligner = match &args.side[..] {
            "text" => {
                self.inner.check_source_encoders(&encoders, any).map_err(raised)?;
                self.inner.aligner()
            }
            "image" => {
                self.inner.check_target_encoders(&encoders, any).map_err(raised)?;
                let method = self.inner.method;
                self.inner.target_aligner().ok_or_else(|| {
                    input(format!("side: {method} leaves the image's rows as they are; only centre moves them"))
                })?
            }
            other => return Err(input(format!("side: {other:?} is unknown; give \"text\" or \"image\""))),
        };
        let (stream, device) = (reading.stream()?, device(py, device_name)?);
        let dtype = args.dtype.as_deref().map(|name| element_of("dtype", name)).transpose()?;
        let Some(out) = &args.out else {
            let element = match (dtype.unwrap_or(rows.element()), dtype) {
                (realign::ElementType::BF16, Some(_)) => {
                    return Err(input("dtype: NumPy has no bfloat16; choose another, or give out="));
                }
                (realign::ElementType::BF16, None) => realign::ElementType::F32,
                (element, _) => element,
            };
            let shape = [whole(rows.count()).map_err(raised)?, rows.width()];
            let mut filled = Filled::new(py, &shape, element)?;
            let mut memory = filled.memory();
            work::run(py, rows.quick(), |stop| {
                let (memory, mut at) = (memory.get(), 0);
                let mut source = rows.source(stop)?;
                let mut sink = |bytes: &[u8], _: usize| {
                    memory[at..at + bytes.len()].copy_from_slice(bytes);
                    at += bytes.len();
                    Ok(())
                };
                apply(&device, &*aligner, &mut source, element, stream, &mut sink)
            })?;
            return Ok(filled.array);
        };
        let Rows::Files(dataset) = &rows else {
            return Err(input("out: is for rows that are files; save the array that is returned without it"));
        };
        let format: Option<FileFormat> = args.format.as_deref().map(|name| parsed("format", name)).transpose()?;
        let options = OutputOptions { format, element_type: dtype, force: args.overwrite };
        let cloud = self.inner.encoders.1.as_ref().filter(|_| self.inner.method != Method::Centre);
        let written = work::run(py, false, |_| {
            let output = Output::create(dataset, out, &options)?.by(cloud);
            apply_to_files(&device, &*aligner, dataset, output, stream)
        })?;
        Ok(written.files.into_pyobject(py)?.into_any())
    }
}

/// Where embeddings that were computed are kept.
pub fn embeddings_folder() -> PyResult<PathBuf> {
    let folder = cache_folder().ok_or_else(|| input("this user has no home folder for a cache; pass cache="))?;
    Ok(folder.join("embeddings"))
}
