//! Reference queries, which items and collections are held against: nearest neighbour normalisation of items, similarity standardisation of
//! collections.

use super::neighbours::of_largest_products;
use super::profile::Profile;
use crate::device::Device;
use crate::setters::setters;
use crate::{Error, Result};

/// The most neighbours that an item's correction is a mean of.
const MAX_NEIGHBOURS: usize = 1 << 16;
/// The largest α.
const MAX_ALPHA: f64 = 100.0;

/// A cosine from which on two rows are the same one: below it rows of f32 that were normalised apart do not come.
const OWN: f64 = 1.0 - 1e-6;
/// The share of reference queries that are rows of the collection from which on it is said.
const MOST_OWN: f64 = 0.5;
/// The least deviation of best scores that is not rounding.
const LEAST_DEVIATION: f64 = 1e-5;

/// How [`Score::Nnn`](super::Score::Nnn) corrects the scores of an item; by default as its authors recommend.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct NnnOptions {
    /// α: how much of the mean is taken off, 0 to 100.
    pub alpha: f64,
    /// k: the reference queries whose products with the item are averaged, the largest ones, from 1; all where there are fewer.
    pub neighbours: usize,
}

impl Default for NnnOptions {
    fn default() -> Self {
        NnnOptions { alpha: 0.75, neighbours: 128 }
    }
}

setters! {
    NnnOptions { alpha: f64, neighbours: usize }
}

impl NnnOptions {
    pub(super) fn check(self) -> Result<()> {
        if !(0.0..=MAX_ALPHA).contains(&self.alpha) {
            return Err(Error::argument("nnn_alpha", format!("{}; give a number from 0 to {MAX_ALPHA}", self.alpha)));
        }
        if !(1..=MAX_NEIGHBOURS).contains(&self.neighbours) {
            let problem = format!("{} reference queries; give 1 to {MAX_NEIGHBOURS}", self.neighbours);
            return Err(Error::argument("nnn_neighbours", problem));
        }
        Ok(())
    }
}

/// A sample of the queries of a kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bank {
    /// Distinct unit rows, `[m, d]`.
    rows: Vec<f32>,
    /// Copies of each, `[m]`.
    weights: Vec<f64>,
}

impl Bank {
    pub fn of(kind: &Profile) -> Self {
        Bank { rows: kind.sample().rows(), weights: kind.weights() }
    }

    /// What is taken off every score of an item, for unit rows `[n, d]`: α times the mean of its k largest products with reference queries.
    pub fn corrections(&self, device: &Device, items: &[f32], width: usize, options: NnnOptions) -> Result<Vec<f64>> {
        let one = |products: &[(usize, f64)]| options.alpha * self.mean(products, options.neighbours);
        of_largest_products(device, (items, &self.rows), (width, options.neighbours), one)
    }

    /// Mean of the k first products, largest first, each counted as often as its query is there.
    fn mean(&self, products: &[(usize, f64)], k: usize) -> f64 {
        let (mut left, mut sum) = (k as f64, 0.0);
        for (query, product) in products {
            let taken = self.weights.get(*query).map_or(0.0, |weight| weight.min(left));
            (left, sum) = (left - taken, sum + taken * product);
        }
        sum / (k as f64 - left).max(1.0)
    }

    /// Mean and deviation (1/n) of the reference queries' products with their pseudo-positives in a collection: each one's best item of the
    /// reference sample, unit rows `[m, d]`.
    pub fn pseudo_positives(&self, device: &Device, name: &str, sample: &[f32], width: usize) -> Result<(f64, f64)> {
        let best = |products: &[(usize, f64)]| products.first().map_or(0.0, |best| best.1);
        let best = of_largest_products(device, (&self.rows, sample), (width, 1), best)?;
        let pairs = || self.weights.iter().copied().zip(best.iter().copied());
        let total: f64 = self.weights.iter().sum();
        let own = pairs().filter(|(_, x)| *x > OWN).map(|(w, _)| w).sum::<f64>() / total;
        if own > MOST_OWN {
            let share = format!("{:.0}% of the reference queries are rows of the collection {name:?}", 100.0 * own);
            log::warn!(
                "{share}: a row is its own best item, so that standardised scores are low there; give other queries"
            );
        }
        let mean = pairs().map(|(w, x)| w * x).sum::<f64>() / total;
        let deviation = (pairs().map(|(w, x)| w * (x - mean).powi(2)).sum::<f64>() / total).sqrt();
        if deviation > LEAST_DEVIATION {
            return Ok((mean, deviation));
        }
        let problem = format!("all reference queries score the same best in the collection {name:?}");
        let why = if own > MOST_OWN { ", for they are rows of it" } else { ", so that there is no deviation" };
        Err(Error::degenerate(format!("{problem}{why}: give more and different queries")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two items, three queries of one of which there are two copies: by hand.
    #[test]
    fn an_item_loses_the_mean_of_its_best_queries() {
        let bank = Bank { rows: vec![1.0, 0.0, 0.6, 0.8, 0.0, 1.0], weights: vec![1.0, 2.0, 1.0] };
        let (device, items) = (Device::host(), [0.0, 1.0, 0.8, 0.6]);
        let options = NnnOptions::default().alpha(0.5).neighbours(2);
        let found = bank.corrections(&device, &items, 2, options).unwrap();
        for (found, want) in found.iter().zip([0.5 * 0.9, 0.5 * 0.96]) {
            assert!((found - want).abs() < 1e-6, "{found} and {want}");
        }
        // More neighbours than there are: the mean of all.
        let all = bank.corrections(&device, &items, 2, options.neighbours(9)).unwrap();
        assert!((all[0] - 0.5 * 0.65).abs() < 1e-6, "{all:?}");
        let (mean, deviation) = bank.pseudo_positives(&device, "a", &items, 2).unwrap();
        // Best: 0.8, 0.96 twice, 1.
        let want = (0.8 + 2.0 * 0.96 + 1.0) / 4.0;
        let square = ((0.8f64 - want).powi(2) + 2.0 * (0.96f64 - want).powi(2) + (1.0 - want).powi(2)) / 4.0;
        assert!((mean - want).abs() < 1e-6 && (deviation - square.sqrt()).abs() < 1e-6, "{mean} {deviation}");
    }

    #[test]
    fn queries_that_tell_no_deviation_are_refused() {
        let bank = Bank { rows: vec![0.8, 0.6], weights: vec![5.0] };
        let error = bank.pseudo_positives(&Device::host(), "text", &[1.0, 0.0, 0.0, 1.0], 2).unwrap_err().to_string();
        assert!(error.contains("\"text\"") && error.contains("different queries"), "{error}");
        // Rows of the collection itself, whose best scores differ by rounding alone.
        let (device, rows) = (Device::host(), vec![1.0, 0.0, 0.6, 0.8, 0.0, 1.0]);
        let bank = Bank { rows: rows.clone(), weights: vec![1.0; 3] };
        let error = bank.pseudo_positives(&device, "text", &rows, 2).unwrap_err().to_string();
        assert!(error.contains("they are rows of it"), "{error}");
        let options = NnnOptions::default();
        assert!(options.alpha(f64::NAN).check().is_err() && options.alpha(-1.0).check().is_err());
        assert!(options.neighbours(0).check().is_err() && options.check().is_ok());
    }
}
