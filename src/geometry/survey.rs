//! One pass over a row set that keeps what every diagnostic needs: mean, covariance and a sample of rows.

use super::rows::UnitRows;
use super::spectrum::Spectrum;
use crate::device::Device;
use crate::stats::{RowSource, SecondMomentSums, StreamOptions};
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
    /// Surveys a source's unit rows, whose second moments are exact sums, on a GPU its kernel's; in one read, in memory for d² sums and
    /// `sample_rows` rows.
    ///
    /// # Errors
    /// No rows, or rows too wide; a NaN or an infinity, unless replaced; a file that cannot be read; a device lost or out of memory.
    pub fn of(
        device: &Device,
        source: &mut dyn RowSource,
        sample_rows: usize,
        options: StreamOptions<'_>,
    ) -> Result<Self> {
        let mut surveyor = Surveyor::new(device, source.width(), sample_rows)?;
        let mut rows = UnitRows::new(source, options)?;
        loop {
            let block = rows.next()?;
            if block.is_empty() {
                break;
            }
            surveyor.add_unit(&block)?;
        }
        surveyor.replaced = rows.replaced();
        surveyor.finish()
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

    /// Values that were not finite and read as 0.
    pub fn replaced(&self) -> u64 {
        self.replaced
    }
}

/// Builds a [`Survey`] from blocks of rows, as an aligner's sink gets them.
pub struct Surveyor {
    sums: SecondMomentSums,
    sample: Vec<f64>,
    most: usize,
    width: usize,
    replaced: u64,
}

impl std::fmt::Debug for Surveyor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Surveyor({} rows of width {})", self.sums.rows(), self.width)
    }
}

impl Surveyor {
    /// Of no rows yet; keeps the first `sample_rows`.
    ///
    /// # Errors
    /// Rows too wide; a device lost or out of memory.
    pub fn new(device: &Device, width: usize, sample_rows: usize) -> Result<Self> {
        let (sums, most) = (SecondMomentSums::new(device, width)?, sample_rows.saturating_mul(width));
        Ok(Surveyor { sums, sample: Vec::new(), most, width, replaced: 0 })
    }

    /// Adds tight rows `[m, d]` of f32; each is normalised.
    ///
    /// # Errors
    /// Bytes that are no whole rows; a device lost or out of memory.
    pub fn add(&mut self, rows: &[u8]) -> Result<()> {
        let tight = self.width * ElementType::F32.bytes();
        if tight == 0 || !rows.len().is_multiple_of(tight) {
            return Err(Error::shape("survey", "rows", format!("rows of {tight} bytes"), rows.len()));
        }
        rows.chunks(tight * super::rows::BLOCK_ROWS)
            .try_for_each(|part| self.add_unit(&super::rows::unit_rows(part, ElementType::F32, self.width)))
    }

    fn add_unit(&mut self, rows: &[f64]) -> Result<()> {
        let room = (self.most - self.sample.len()).min(rows.len());
        self.sample.extend_from_slice(&rows[..room]);
        self.sums.add_unit(rows)
    }

    /// The survey.
    ///
    /// # Errors
    /// No rows were added; what the device reports.
    pub fn finish(self) -> Result<Survey> {
        if self.sums.rows() == 0 {
            return Err(Error::degenerate("survey: there are no rows to measure".to_owned()));
        }
        let found = self.sums.finish()?.covariance();
        Survey::new((found.count, found.mean, found.matrix), found.error, self.sample, self.replaced)
    }
}
