//! Sums that are counted apart and merged.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use realign::kernels::stats::moments::Summand;
use realign::stats::{
    Covariance as Matrix, CovarianceMode, CovarianceSums, Moments as Sums, SecondMoments, Summary, measure,
};

use crate::devices::{device, device_for_halves, host};
use crate::errors::{input, raised};
use crate::rows::{Filled, Reading, Rows, check_width};
use crate::work;

fn held<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The widest rows: far beyond any encoder's.
const MAX_WIDTH: usize = 1 << 20;

fn check(width: usize) -> PyResult<()> {
    // Sums are allocated at once, and what cannot be allocated ends the process.
    match (1..=MAX_WIDTH).contains(&width) {
        true => Ok(()),
        false => Err(input(format!("width: {width}; give 1 to {MAX_WIDTH}"))),
    }
}

/// Mean and trace.
#[pyclass(frozen, module = "realign._realign")]
pub struct Moments {
    inner: Mutex<Sums>,
    width: usize,
    /// What batches of this width are summed by, on the host: made once.
    prepared: Summand,
}

impl Moments {
    /// From sums.
    pub fn of(inner: Sums) -> PyResult<Self> {
        check(inner.width())?;
        let prepared = Summand::unit_rows(&host(), inner.width()).map_err(raised)?;
        Ok(Moments { width: inner.width(), inner: Mutex::new(inner), prepared })
    }

    /// What was counted so far.
    pub fn sums(&self) -> Sums {
        held(&self.inner).clone()
    }
}

#[pymethods]
impl Moments {
    #[new]
    fn new(width: usize) -> PyResult<Self> {
        check(width)?;
        Self::of(Sums::empty(width))
    }

    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        Self::of(work::run(py, true, |_| Sums::load(&path))?)
    }

    #[staticmethod]
    fn from_bytes(bytes: &[u8]) -> PyResult<Self> {
        Self::of(Sums::from_bytes(bytes).map_err(raised)?)
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.sums().to_bytes().map_err(raised)?))
    }

    fn save(&self, py: Python<'_>, path: PathBuf, overwrite: bool) -> PyResult<()> {
        let sums = self.sums();
        work::run(py, true, |_| sums.save(&path, overwrite))
    }

    /// Counts rows on a device.
    fn update(&self, rows: &Bound<'_, PyAny>, reading: Reading, device_name: &str) -> PyResult<()> {
        let py = rows.py();
        let rows = Rows::of(rows, "batch", &reading)?;
        let stream = reading.stream()?;
        check_width(&rows, "batch", (self.width, "what was counted"))?;
        let device = device(py, device_name)?;
        let other = match device.wgpu() {
            Some(_) => Some(Summand::unit_rows(&device, rows.width()).map_err(raised)?),
            None => None,
        };
        let summand = other.as_ref().unwrap_or(&self.prepared);
        work::run(py, rows.quick(), |stop| {
            let counted = measure(&device, &mut rows.source(stop)?, summand, stream)?;
            held(&self.inner).merge(&counted)
        })
    }

    fn merge(&self, other: &Moments) -> PyResult<()> {
        let other = other.sums();
        held(&self.inner).merge(&other).map_err(raised)
    }

    fn copy(&self) -> PyResult<Self> {
        Self::of(self.sums())
    }

    fn equals(&self, other: &Moments) -> bool {
        let other = other.sums();
        *held(&self.inner) == other
    }

    /// Rows, rows of zeros, values that were replaced, width, trace.
    fn numbers(&self) -> (u64, u64, u64, usize, f64) {
        let sums = held(&self.inner);
        (sums.rows(), sums.zero_rows(), sums.replaced(), sums.width(), sums.trace())
    }

    fn mean<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let mean = self.sums().mean();
        Filled::of(py, &[mean.len()], &mean)
    }
}

/// Mean, trace and covariance.
#[pyclass(frozen, module = "realign._realign")]
pub struct Covariance {
    inner: Mutex<Summary>,
    mode: CovarianceMode,
}

impl Covariance {
    fn of(inner: Summary) -> PyResult<Self> {
        let mode = match &inner.covariance {
            Some(CovarianceSums::Exact(_)) => CovarianceMode::Exact,
            Some(CovarianceSums::Rounded(_)) => CovarianceMode::Fast,
            None => return Err(input("these are moments alone; realign.Moments.load reads such files")),
        };
        Ok(Covariance { inner: Mutex::new(inner), mode })
    }

    /// What was counted so far.
    pub fn summary(&self) -> Summary {
        held(&self.inner).clone()
    }

    /// Mean and matrix as they are now.
    pub fn matrix_now(&self, py: Python<'_>) -> PyResult<Matrix> {
        let summary = held(&self.inner).clone();
        let sums = summary.covariance.filter(|_| summary.moments.rows() > 0);
        let sums = sums.ok_or_else(|| input("covariance: no rows were counted yet; update it first"))?;
        work::run(py, true, move |_| Ok(sums.covariance()))
    }
}

#[pymethods]
impl Covariance {
    #[new]
    fn new(width: usize, mode: &str) -> PyResult<Self> {
        check(width)?;
        let sums = match mode {
            "exact" => CovarianceSums::Exact(SecondMoments::empty(width).map_err(raised)?),
            "fast" => CovarianceSums::Rounded(Matrix::empty(width).map_err(raised)?),
            other => return Err(input(format!("mode: {other:?} is unknown; give \"exact\" or \"fast\""))),
        };
        Self::of(Summary { moments: Sums::empty(width), covariance: Some(sums) })
    }

    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        Self::of(work::run(py, false, |_| Summary::load(&path))?)
    }

    #[staticmethod]
    fn from_bytes(py: Python<'_>, bytes: &[u8]) -> PyResult<Self> {
        Self::of(work::run(py, true, |_| Summary::from_bytes(bytes))?)
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let summary = self.summary();
        Ok(PyBytes::new(py, &work::run(py, true, |_| summary.to_bytes())?))
    }

    fn save(&self, py: Python<'_>, path: PathBuf, overwrite: bool) -> PyResult<()> {
        let summary = self.summary();
        if summary.moments.rows() == 0 {
            return Err(input("covariance: no rows were counted yet; update it first"));
        }
        work::run(py, true, |_| summary.save(&path, overwrite))
    }

    /// Counts rows on a device.
    fn update(&self, rows: &Bound<'_, PyAny>, reading: Reading, device_name: &str) -> PyResult<()> {
        let py = rows.py();
        let rows = Rows::of(rows, "batch", &reading)?;
        let stream = reading.stream()?;
        let width = held(&self.inner).moments.width();
        check_width(&rows, "batch", (width, "what was counted"))?;
        if rows.count() == 0 {
            return Ok(());
        }
        let device = device_for_halves(py, device_name)?;
        work::run(py, false, |stop| {
            let counted = Summary::of(&device, &mut rows.source(stop)?, Some(self.mode), stream)?;
            held(&self.inner).merge(&counted)
        })
    }

    fn merge(&self, py: Python<'_>, other: &Covariance) -> PyResult<()> {
        let other = other.summary();
        if other.moments.rows() == 0 && other.moments.width() == held(&self.inner).moments.width() {
            return Ok(());
        }
        work::run(py, true, |_| held(&self.inner).merge(&other))
    }

    fn copy(&self) -> PyResult<Self> {
        Self::of(self.summary())
    }

    fn equals(&self, other: &Covariance) -> bool {
        let other = other.summary();
        *held(&self.inner) == other
    }

    fn moments(&self) -> PyResult<Moments> {
        Moments::of(self.summary().moments)
    }

    fn mode(&self) -> &'static str {
        match self.mode {
            CovarianceMode::Exact => "exact",
            CovarianceMode::Fast => "fast",
        }
    }

    /// Rows and width.
    fn numbers(&self) -> (u64, usize) {
        let summary = held(&self.inner);
        (summary.moments.rows(), summary.moments.width())
    }

    /// Mean `[d]`, matrix `[d, d]` and its relative error.
    fn matrix<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>, f64)> {
        let found = self.matrix_now(py)?;
        let d = found.width();
        Ok((Filled::of(py, &[d], &found.mean)?, Filled::of(py, &[d, d], &found.matrix)?, found.error))
    }
}
