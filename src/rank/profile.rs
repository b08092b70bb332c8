//! What is kept of a set of rows: exact sums and a sample; or, where rows must not be told, a mean and a trace with noise.

use super::sample::Sample;
use crate::device::Device;
use crate::io::EncoderId;
use crate::kernels::stats::moments::Summand;
use crate::stats::{
    Covariance, Moments, Noise, Privacy, RowSource, SecondMomentSums, SecondMoments, StreamOptions, measure, stream,
};
use crate::{Error, Result};

/// Rows of a block.
const BLOCK_ROWS: usize = 1024;

/// A collection, or a kind of query: exact second moments of its unit rows, and a sample of them. Of a private one a mean and a trace with noise
/// ([`Moments::private`]), and an empty sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    pub(super) sums: Sums,
    pub(super) sample: Sample,
    /// Who made the rows, as far as their files said it.
    pub(super) encoder: Option<EncoderId>,
}

/// What is summed.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Sums {
    Exact(SecondMoments),
    Private(Moments),
}

impl Profile {
    /// Of a source's rows, in one read: what hides every single one of them.
    pub(super) fn private(
        device: &Device,
        source: &mut dyn RowSource,
        (seed, capacity): (u64, usize),
        (budget, options): (Privacy, StreamOptions<'_>),
    ) -> Result<Self> {
        let unit_rows = Summand::unit_rows(device, source.width())?;
        let moments = measure(device, source, &unit_rows, options)?.private(budget)?;
        if let Some(what) = moments.hidden() {
            let n = moments.rows();
            log::warn!("the noise hides the {what} of {n} rows: merge with other parts, give more rows, or a larger ε");
        }
        let encoder = moments.encoder().cloned();
        let sample = Sample::empty(source.width(), seed, capacity);
        Ok(Profile { sums: Sums::Private(moments), sample, encoder })
    }

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
        Ok(Profile { sums: Sums::Exact(sums.finish()?), sample, encoder: source.encoder() })
    }

    /// Takes another part's rows in: exact, in any order. The noise of private parts adds up.
    pub(super) fn merge(&mut self, other: &Profile) -> Result<()> {
        match (&mut self.sums, &other.sums) {
            (Sums::Exact(mine), Sums::Exact(theirs)) => mine.merge(theirs)?,
            (Sums::Private(mine), Sums::Private(theirs)) => mine.merge(theirs)?,
            _ => {
                let problem = "merge: some parts are private and others are not: their sums would tell the rows of the others; count those with noise, too";
                return Err(Error::degenerate(problem));
            }
        }
        self.encoder = EncoderId::of_both(self.encoder.take(), other.encoder.clone());
        self.sample.merge(&other.sample)
    }

    /// The budget and the noise of a private one.
    pub fn noise(&self) -> Option<&Noise> {
        match &self.sums {
            Sums::Exact(_) => None,
            Sums::Private(moments) => moments.noise(),
        }
    }

    /// The encoder that made the rows, where their files said it and no other beside it.
    pub fn encoder(&self) -> Option<&EncoderId> {
        self.encoder.as_ref().filter(|encoder| !encoder.is_several())
    }

    /// n.
    pub fn rows(&self) -> u64 {
        match &self.sums {
            Sums::Exact(moments) => moments.rows(),
            Sums::Private(moments) => moments.rows(),
        }
    }

    /// Mean of the unit rows, `[d]`.
    pub fn mean(&self) -> Vec<f64> {
        match &self.sums {
            Sums::Exact(moments) => moments.mean(),
            Sums::Private(moments) => moments.mean(),
        }
    }

    /// Trace of the covariance (1/n) of the unit rows.
    pub fn trace(&self) -> f64 {
        match &self.sums {
            Sums::Exact(moments) => moments.covariance().trace(),
            Sums::Private(moments) => moments.trace(),
        }
    }

    /// Mean and covariance (1/n) of the unit rows; nothing of a private one.
    pub fn covariance(&self) -> Option<Covariance> {
        match &self.sums {
            Sums::Exact(moments) => Some(moments.covariance()),
            Sums::Private(_) => None,
        }
    }

    /// The reference sample; empty of a private one.
    pub fn sample(&self) -> &Sample {
        &self.sample
    }

    /// What a copy of each row of the sample weighs, `[m]`.
    pub(super) fn weights(&self) -> Vec<f64> {
        self.sample.copies().iter().map(|c| *c as f64).collect()
    }

    /// Refuses a private mean and trace of which the noise leaves nothing, for scores that are told by them.
    pub(super) fn check_not_hidden(&self, name: &str) -> Result<()> {
        let Sums::Private(moments) = &self.sums else { return Ok(()) };
        match moments.hidden() {
            None => Ok(()),
            Some(what) => {
                let n = moments.rows();
                let problem =
                    format!("the noise of the private ranking hides the {what} of {name:?}, which has {n} rows");
                Err(Error::degenerate(format!("{problem}; fit it to more rows, or with a larger ε")))
            }
        }
    }

    /// Scores of a collection whose rows are all one cannot be placed among each other.
    pub(super) fn check(&self, name: &str) -> Result<()> {
        if self.noise().is_some() {
            return Ok(());
        }
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
