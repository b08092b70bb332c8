//! Pictures and texts to vectors.

use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use rayon::prelude::*;
use realign::encode::picture::{Picture, Preprocessor};
use realign::encode::{ImageEncoder as Images, Pooling, TextEncoder as Texts, TextOptions};
use realign::nn::Precision;

use crate::devices::{device, device_for_halves};
use crate::errors::{input, parsed};
use crate::options::options;
use crate::rows::Filled;
use crate::warnings;
use crate::work;

/// Texts between two looks at Ctrl-C.
const TEXTS: usize = 64;

/// The device for a precision, and the precision.
pub fn computing(py: Python<'_>, precision: &str, device_name: &str) -> PyResult<(realign::Device, Precision)> {
    let precision: Precision = parsed("precision", precision)?;
    let device = match precision {
        Precision::F32 => device(py, device_name)?,
        Precision::Mixed => device_for_halves(py, device_name)?,
    };
    Ok((device, precision))
}

/// A picture as Python gives it: a file, a file's bytes (no sides), or RGB bytes `[height, width, 3]`.
#[derive(FromPyObject)]
struct Given {
    #[pyo3(item(0))]
    path: Option<PathBuf>,
    #[pyo3(item(1))]
    bytes: Option<Vec<u8>>,
    #[pyo3(item(2))]
    height: usize,
    #[pyo3(item(3))]
    width: usize,
}

impl Given {
    fn pixels(&self, index: usize, preprocessor: &Preprocessor) -> realign::Result<Vec<f32>> {
        let alpha = preprocessor.alpha_rule();
        let picture = match (&self.path, &self.bytes) {
            (Some(path), _) => Picture::open(path, alpha)?,
            (None, Some(bytes)) if self.height == 0 => {
                Picture::decode(bytes, Path::new(&format!("picture {index}")), alpha)?
            }
            (None, bytes) => Picture::of_rgb(bytes.clone().unwrap_or_default(), self.width, self.height)?,
        };
        preprocessor.pixels(&picture)
    }
}

/// The image tower of a model folder.
#[pyclass(frozen, module = "realign._realign")]
pub struct ImageEncoder {
    inner: Images,
}

#[pymethods]
impl ImageEncoder {
    #[new]
    fn new(py: Python<'_>, folder: PathBuf, normalize: bool, precision: &str, device_name: &str) -> PyResult<Self> {
        let (device, precision) = computing(py, precision, device_name)?;
        let inner = work::run(py, false, |_| {
            let encoder = Images::load_in(&device, &folder, precision)?;
            // A folder that cannot prepare pictures is of no use here: say so at once.
            encoder.preprocessor()?;
            if normalize { encoder.unit_rows() } else { Ok(encoder) }
        })?;
        Ok(ImageEncoder { inner })
    }

    /// Numbers of a row, pixels of a side, pictures of a batch, name of the device.
    fn numbers(&self) -> (usize, usize, usize, String) {
        let encoder = &self.inner;
        (encoder.width(), encoder.image_size().0, encoder.batch(), encoder.device().name().to_owned())
    }

    fn encode<'py>(&self, py: Python<'py>, pictures: Vec<Given>, batch: Option<usize>) -> PyResult<Bound<'py, PyAny>> {
        let batch = batch.unwrap_or(self.inner.batch());
        if batch == 0 {
            return Err(input("batch_size: 0; give 1 or more"));
        }
        let rows = work::run(py, false, |stop| {
            let (preprocessor, mut rows) = (self.inner.preprocessor()?, Vec::new());
            for (part, pictures) in pictures.chunks(batch).enumerate() {
                stop.check()?;
                let prepared = pictures.par_iter().enumerate();
                let prepared = prepared.map(|(i, picture)| picture.pixels(part * batch + i, preprocessor));
                let pixels: Vec<Vec<f32>> = prepared.collect::<realign::Result<_>>()?;
                rows.extend(self.inner.encode_blocking(&pixels.concat())?);
            }
            Ok(rows)
        })?;
        Filled::of(py, &[pictures.len(), self.inner.width()], &rows)
    }
}

/// The text tower of a model folder, a sentence encoder, or a decoder.
#[pyclass(frozen, module = "realign._realign")]
pub struct TextEncoder {
    inner: Texts,
}

options! {
    /// How a text encoder is loaded.
    struct TextArgs {
        prompt: Option<String>,
        prompt_name: Option<String>,
        pooling: Option<String>,
        bidirectional: bool,
        projection: Option<PathBuf>,
        normalize: bool,
        precision: String,
    }
}

#[pymethods]
impl TextEncoder {
    #[new]
    fn new(py: Python<'_>, folder: PathBuf, args: TextArgs, device_name: &str) -> PyResult<Self> {
        let (device, precision) = computing(py, &args.precision, device_name)?;
        let pooling = match args.pooling.as_deref() {
            None => None,
            Some("first") => Some(Pooling::First),
            Some("last") => Some(Pooling::Last),
            Some("mean") => Some(Pooling::Mean),
            Some("max") => Some(Pooling::Max),
            Some(other) => {
                return Err(input(format!("pooling: {other:?} is unknown; choose first, last, mean or max")));
            }
        };
        let options = TextOptions::default()
            .prompt(args.prompt)
            .prompt_name(args.prompt_name)
            .pooling(pooling)
            .bidirectional(args.bidirectional)
            .projection(args.projection)
            .precision(precision);
        let inner = work::run(py, false, |_| {
            let encoder = Texts::load(&device, &folder, &options)?;
            if args.normalize { encoder.unit_rows() } else { Ok(encoder) }
        })?;
        Ok(TextEncoder { inner })
    }

    /// Numbers of a row, most tokens of a text, name of the device.
    fn numbers(&self) -> (usize, usize, String) {
        (self.inner.width(), self.inner.positions(), self.inner.device().name().to_owned())
    }

    fn encode<'py>(&self, py: Python<'py>, texts: Vec<String>) -> PyResult<Bound<'py, PyAny>> {
        let rows = work::run(py, false, |stop| {
            let (mut rows, mut cut) = (Vec::new(), 0);
            for part in texts.chunks(TEXTS) {
                stop.check()?;
                let found = self.inner.encode_blocking(part)?;
                rows.extend(found.rows);
                cut += found.cut;
            }
            if cut > 0 {
                let most = self.inner.positions();
                warnings::say(format!("{cut} of {} texts have more than {most} tokens and were cut", texts.len()));
            }
            Ok(rows)
        })?;
        Filled::of(py, &[texts.len(), self.inner.width()], &rows)
    }
}
