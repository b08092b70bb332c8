//! What is kept of a set of rows: exact sums and a sample.

use super::sample::Sample;
use crate::device::Device;
use crate::io::EncoderId;
use crate::stats::{Covariance, RowSource, SecondMomentSums, SecondMoments, StreamOptions, stream};
use crate::{Error, Result};

/// Rows of a block.
const BLOCK_ROWS: usize = 1024;

/// A collection, or a kind of query: exact second moments of its unit rows, and a sample of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    pub(super) moments: SecondMoments,
    pub(super) sample: Sample,
    /// Who made the rows, as far as their files said it.
    pub(super) encoder: Option<EncoderId>,
}

impl Profile {
    /// Of a source's rows, in one read.
    pub(super) fn of(
        device: &Device,
        source: &mut dyn RowSource,
        (seed, capacity): (u64, usize),
        options: StreamOptions<'_>,
    ) -> Result<Self> {
        let width = source.width();
        let mut sums = SecondMomentSums::new(device, width)?;
        let mut sample = Sample::empty(width, seed, capacity);
        let mut unit = Vec::new();
        stream(BLOCK_ROWS, source, options, |block| {
            let bad = sums.add(block)?;
            if bad.is_none() {
                unit.resize(block.rows() * width, 0f32);
                block.unit(&block.measure().0, &mut unit);
                sample.add(&mut unit);
            }
            Ok(bad)
        })?;
        Ok(Profile { moments: sums.finish()?, sample, encoder: source.encoder() })
    }

    /// Takes another part's rows in: exact, in any order.
    pub(super) fn merge(&mut self, other: &Profile) -> Result<()> {
        self.sample.merge(&other.sample)?;
        self.encoder = EncoderId::of_both(self.encoder.take(), other.encoder.clone());
        self.moments.merge(&other.moments)
    }

    /// The encoder that made the rows, where their files said it and no other beside it.
    pub fn encoder(&self) -> Option<&EncoderId> {
        self.encoder.as_ref().filter(|encoder| !encoder.is_several())
    }

    /// n.
    pub fn rows(&self) -> u64 {
        self.moments.rows()
    }

    /// Mean of the unit rows, `[d]`.
    pub fn mean(&self) -> Vec<f64> {
        self.moments.mean()
    }

    /// Mean and covariance (1/n) of the unit rows.
    pub fn covariance(&self) -> Covariance {
        self.moments.covariance()
    }

    /// The reference sample.
    pub fn sample(&self) -> &Sample {
        &self.sample
    }

    /// What a copy of each row of the sample weighs, `[m]`.
    pub(super) fn weights(&self) -> Vec<f64> {
        self.sample.copies().iter().map(|c| *c as f64).collect()
    }

    /// Scores of a collection whose rows are all one cannot be placed among each other.
    pub(super) fn check(&self, name: &str) -> Result<()> {
        if self.sample.len() < 2 {
            let rows = self.rows();
            let problem =
                format!("the collection {name:?} has {rows} rows, all equal: give two different rows or more");
            return Err(Error::degenerate(problem));
        }
        let (held, effective) = (self.sample.len() as f64, self.sample.effective_rows());
        if effective < 0.25 * held {
            log::warn!(
                "the collection {name:?} has so many copies of few rows that its sample of {held} rows tells as much as {effective:.0} would; \
                 take copies out, or keep a larger sample"
            );
        }
        Ok(())
    }
}
