//! One pass over a row set that keeps what every diagnostic needs: mean, covariance and a sample of rows.

use super::rows::{UnitRows, normalise};
use super::scatter::Scatter;
use super::spectrum::Spectrum;
use crate::device::Device;
use crate::stats::{RowSource, StreamOptions, covariance, decode};
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

    /// As [`Survey::of`] with the covariance's products in f32 on a device: relative error in Frobenius norm as
    /// [`covariance`] says. One read of all rows, one of the sample.
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
        let spectrum = Spectrum::of(&found.matrix, found.mean.len())?;
        let replaced = rows.replaced();
        Ok(Survey { rows: found.count, mean: found.mean, covariance: found.matrix, sample, spectrum, replaced })
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

    /// Cov(u) with 1/n, `[d, d]`, symmetric.
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

/// Builds a [`Survey`] from blocks of rows, as an aligner's sink gets them.
pub struct Surveyor {
    scatter: Scatter,
    sample: Vec<f64>,
    most: usize,
    width: usize,
    replaced: u64,
}

impl std::fmt::Debug for Surveyor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Surveyor({} rows of width {})", self.scatter.count(), self.width)
    }
}

impl Surveyor {
    /// Of no rows yet; keeps the first `sample_rows`.
    pub fn new(width: usize, sample_rows: usize) -> Self {
        let most = sample_rows.saturating_mul(width);
        Surveyor { scatter: Scatter::new(width), sample: Vec::new(), most, width, replaced: 0 }
    }

    /// Adds tight rows `[m, d]` of a file's type; each is normalised.
    ///
    /// # Errors
    /// Bytes that are no whole rows.
    pub fn add(&mut self, rows: &[u8], element: ElementType) -> Result<()> {
        let tight = self.width * element.bytes();
        if tight == 0 || !rows.len().is_multiple_of(tight) {
            return Err(Error::shape("survey", "rows", format!("rows of {tight} bytes"), rows.len()));
        }
        for block in rows.chunks(tight * super::rows::BLOCK_ROWS) {
            let mut values: Vec<f64> = block.chunks_exact(element.bytes()).map(|e| decode(e, element)).collect();
            values.chunks_exact_mut(self.width).for_each(normalise);
            self.add_unit(&values);
        }
        Ok(())
    }

    fn add_unit(&mut self, rows: &[f64]) {
        let room = (self.most - self.sample.len()).min(rows.len());
        self.sample.extend_from_slice(&rows[..room]);
        self.scatter.add(rows);
    }

    /// The survey.
    ///
    /// # Errors
    /// No rows were added.
    pub fn finish(self) -> Result<Survey> {
        if self.scatter.count() == 0 {
            return Err(Error::Degenerate("survey: there are no rows to measure".to_owned()));
        }
        let covariance = self.scatter.covariance();
        let spectrum = Spectrum::of(&covariance, self.width)?;
        let (rows, mean) = (self.scatter.count(), self.scatter.mean());
        Ok(Survey { rows, mean, covariance, sample: self.sample, spectrum, replaced: self.replaced })
    }
}
