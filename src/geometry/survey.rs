//! One pass over a row set that keeps what every diagnostic needs: mean, covariance and a sample of rows.

use super::rows::UnitRows;
use super::scatter::Scatter;
use super::spectrum::Spectrum;
use crate::device::{Device, DeviceKind};
use crate::stats::{
    BLOCK_ROWS as COVARIANCE_ROWS, Block, CovarianceSums, NonFinite, RowSource, StreamOptions, covariance,
};
use crate::{ElementType, Error, Result};

/// Rows that diagnostics on neighbours look at by default.
pub const SAMPLE_ROWS: usize = 10_000;

/// What one pass over unit rows leaves.
#[derive(Clone, Debug)]
pub struct Survey {
    rows: u64,
    mean: Vec<f64>,
    covariance: Vec<f64>,
    sample: Vec<f64>,
    spectrum: Spectrum,
    replaced: u64,
}

impl Survey {
    /// Surveys a source's unit rows, all sums in f64, in memory for d² numbers and `sample_rows` rows.
    ///
    /// # Errors
    /// No rows; a NaN or an infinity, unless replaced; a file that cannot be read.
    pub fn of(source: &mut dyn RowSource, sample_rows: usize, options: StreamOptions<'_>) -> Result<Self> {
        let mut surveyor = Surveyor::new(source.width(), sample_rows);
        let mut rows = UnitRows::new(source, options)?;
        loop {
            let block = rows.next()?;
            if block.is_empty() {
                break;
            }
            surveyor.add_unit(&block);
        }
        surveyor.replaced = rows.replaced();
        surveyor.finish()
    }

    /// [`Survey::on`] the device; on the host engine [`Survey::of`], and so where values are to be replaced, to count them.
    ///
    /// # Errors
    /// As [`Survey::on`].
    pub fn by(
        device: &Device,
        source: &mut dyn RowSource,
        sample_rows: usize,
        options: StreamOptions<'_>,
    ) -> Result<Self> {
        if device.capabilities().kind == DeviceKind::Host || options.nonfinite == NonFinite::Zero {
            return Self::of(source, sample_rows, options);
        }
        Self::on(device, source, sample_rows, options)
    }

    /// As [`Survey::of`] with the covariance's products in f32 on a device: its relative error in Frobenius norm is at most
    /// [`COVARIANCE_ERROR`](crate::stats::COVARIANCE_ERROR), and eigenvalues below that are not told from 0. One read of all rows, one of the sample.
    ///
    /// # Errors
    /// As [`Survey::of`]; a device lost or out of memory.
    pub fn on(
        device: &Device,
        source: &mut dyn RowSource,
        sample_rows: usize,
        options: StreamOptions<'_>,
    ) -> Result<Self> {
        let found = covariance(device, source, options)?;
        let most = sample_rows.saturating_mul(source.width());
        let (mut sample, mut rows) = (Vec::new(), UnitRows::new(source, StreamOptions { progress: None, ..options })?);
        while sample.len() < most {
            let block = rows.next()?;
            if block.is_empty() {
                break;
            }
            sample.extend_from_slice(&block[..block.len().min(most - sample.len())]);
        }
        Self::new((found.count, found.mean, found.matrix), found.error, sample, rows.replaced())
    }

    fn new(
        (rows, mean, mut covariance): (u64, Vec<f64>, Vec<f64>),
        error: f64,
        sample: Vec<f64>,
        replaced: u64,
    ) -> Result<Survey> {
        let spectrum = Spectrum::of_unit_rows(&covariance, mean.len(), error)?;
        if spectrum.trace() == 0.0 {
            covariance.fill(0.0);
        }
        Ok(Survey { rows, mean, covariance, sample, spectrum, replaced })
    }

    /// n.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// d.
    pub fn width(&self) -> usize {
        self.mean.len()
    }

    /// E\[u\], `[d]`.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Cov(u) with 1/n, `[d, d]`, symmetric; zeros where all rows are equal, up to rounding.
    pub fn covariance(&self) -> &[f64] {
        &self.covariance
    }

    /// Its spectrum.
    pub fn spectrum(&self) -> &Spectrum {
        &self.spectrum
    }

    /// The first unit rows, `[m, d]`.
    pub fn sample(&self) -> &[f64] {
        &self.sample
    }

    /// The first `most` rows of the sample.
    pub fn first(&self, most: usize) -> &[f64] {
        &self.sample[..self.sample.len().min(most.saturating_mul(self.width()))]
    }

    /// Rows in the sample.
    pub fn sample_rows(&self) -> usize {
        self.sample.len() / self.width().max(1)
    }

    /// Values that were not finite and read as 0; after [`Survey::on`] those of the sample alone.
    pub fn replaced(&self) -> u64 {
        self.replaced
    }
}

/// Builds a [`Survey`] from blocks of rows, as an aligner's sink gets them: products in f64 on the host engine, in f32 on any
/// other device, as [`Survey::by`].
pub struct Surveyor {
    sums: Sums,
    sample: Vec<f64>,
    most: usize,
    width: usize,
    replaced: u64,
}

/// Of f64 rows on the host, or of a block of tight f32 rows that fills up for the device.
enum Sums {
    Host(Scatter),
    Device { sums: CovarianceSums, block: Vec<u8>, rows: u64 },
}

impl std::fmt::Debug for Surveyor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Surveyor({} rows of width {})", self.rows(), self.width)
    }
}

impl Surveyor {
    /// Of no rows yet; keeps the first `sample_rows`.
    pub fn new(width: usize, sample_rows: usize) -> Self {
        let most = sample_rows.saturating_mul(width);
        Surveyor { sums: Sums::Host(Scatter::new(width)), sample: Vec::new(), most, width, replaced: 0 }
    }

    /// [`Surveyor::new`] with a device's products.
    ///
    /// # Errors
    /// Rows too wide; a device lost or out of memory.
    pub fn on(device: &Device, width: usize, sample_rows: usize) -> Result<Self> {
        let mut surveyor = Self::new(width, sample_rows);
        if device.capabilities().kind != DeviceKind::Host {
            let sums = CovarianceSums::new(device, COVARIANCE_ROWS, width)?;
            surveyor.sums = Sums::Device { sums, block: Vec::new(), rows: 0 };
        }
        Ok(surveyor)
    }

    fn rows(&self) -> u64 {
        match &self.sums {
            Sums::Host(scatter) => scatter.count(),
            Sums::Device { rows, .. } => *rows,
        }
    }

    /// Adds tight rows `[m, d]` of f32; each is normalised.
    ///
    /// # Errors
    /// Bytes that are no whole rows; on a device a NaN or an infinity, and what the device reports.
    pub fn add(&mut self, rows: &[u8]) -> Result<()> {
        let tight = self.width * ElementType::F32.bytes();
        if tight == 0 || !rows.len().is_multiple_of(tight) {
            return Err(Error::shape("survey", "rows", format!("rows of {tight} bytes"), rows.len()));
        }
        for part in rows.chunks(tight * super::rows::BLOCK_ROWS) {
            let on_host = matches!(self.sums, Sums::Host(_));
            if on_host || self.sample.len() < self.most {
                let values = super::rows::unit_rows(part, ElementType::F32, self.width);
                self.add_unit(&values);
            }
            if let Sums::Device { sums, block, rows } = &mut self.sums {
                *rows += (part.len() / tight) as u64;
                fill(sums, block, part, tight)?;
            }
        }
        Ok(())
    }

    fn add_unit(&mut self, rows: &[f64]) {
        let room = (self.most - self.sample.len()).min(rows.len());
        self.sample.extend_from_slice(&rows[..room]);
        if let Sums::Host(scatter) = &mut self.sums {
            scatter.add(rows);
        }
    }

    /// The survey.
    ///
    /// # Errors
    /// No rows were added; what the device reports.
    pub fn finish(self) -> Result<Survey> {
        if self.rows() == 0 {
            return Err(Error::degenerate("survey: there are no rows to measure".to_owned()));
        }
        let (found, error) = match self.sums {
            Sums::Host(scatter) => ((scatter.count(), scatter.mean(), scatter.covariance()), f64::EPSILON),
            Sums::Device { mut sums, block, .. } => {
                take(&mut sums, &block, 4 * self.width)?;
                let found = sums.finish()?;
                ((found.count, found.mean, found.matrix), found.error)
            }
        };
        Survey::new(found, error, self.sample, self.replaced)
    }
}

/// Fills `block` up to what the device takes at a time, and hands it over whenever it is full.
fn fill(sums: &mut CovarianceSums, block: &mut Vec<u8>, mut rows: &[u8], tight: usize) -> Result<()> {
    while !rows.is_empty() {
        let (part, rest) = rows.split_at(rows.len().min(COVARIANCE_ROWS * tight - block.len()));
        block.extend_from_slice(part);
        rows = rest;
        if block.len() == COVARIANCE_ROWS * tight {
            take(sums, block, tight)?;
            block.clear();
        }
    }
    Ok(())
}

fn take(sums: &mut CovarianceSums, bytes: &[u8], tight: usize) -> Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    match sums.add(Block { bytes, tight, element: ElementType::F32 })? {
        None => Ok(()),
        Some(_) => Err(Error::degenerate("survey: a row to be measured is not finite".to_owned())),
    }
}
