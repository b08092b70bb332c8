//! What share of a collection a query scores above a value, from the query's products with the collection's reference sample.
//!
//! Between the sample's values the share is interpolated: at the i-th value half of its own weight counts as above. Above its maximum it goes on as the
//! generalised Pareto distribution that has the mean and the first probability-weighted moment (Hosking and Wallis 1987) of the excesses of the highest 2% (10
//! values at least): what excesses of a high threshold tend to, whatever the distribution (Pickands, Balkema and de Haan). Its shape is 0, an exponential tail,
//! or above: a shape below 0 has an end, which some hundred excesses place near the sample's maximum as often as not, and beyond it scores of two collections
//! would be compared by chance. The step of the sample's own
//! distribution has nothing to say above its maximum, which is where a search's answers are; a normal tail misplaces them, since scores are not
//! normal. `docs/mixed-search.md` has what was measured.

use rayon::prelude::*;

/// The share of a sample's weight that is in the tail.
pub(super) const TAIL: f64 = 0.02;
/// The fewest values of a tail.
const TAIL_VALUES: usize = 10;

/// A weighted sample's survival function, smooth and decreasing everywhere.
#[derive(Clone, Debug)]
pub struct Distribution {
    /// Ascending.
    values: Vec<f32>,
    /// Share above each of them.
    above: Vec<f64>,
    /// The threshold whose excesses the tail is fitted to.
    threshold: f64,
    /// Scale and shape of the tail.
    tail: (f64, f64),
    /// Scale of the exponential below the lowest value.
    low: f64,
}

/// Scale σ and shape ξ of a generalised Pareto distribution with the weighted excesses' moments, ascending.
fn pareto(excesses: impl Iterator<Item = (f64, f64)> + Clone) -> (f64, f64) {
    let total: f64 = excesses.clone().map(|(_, w)| w).sum();
    let (mut mean, mut moment, mut before) = (0.0, 0.0, 0.0);
    for (excess, weight) in excesses {
        mean += weight * excess / total;
        moment += weight * excess * (total - before - 0.5 * weight) / (total * total);
        before += weight;
    }
    let spread = mean - 2.0 * moment;
    // Values that are nearly equal tell no shape.
    let shape = if spread > 1e-3 * mean { (2.0 - mean / spread).clamp(0.0, 0.5) } else { 0.0 };
    ((mean * (1.0 - shape)).max(1e-9), shape)
}

/// ln of the share of a generalised Pareto distribution above `excess`.
fn ln_tail(excess: f64, (scale, shape): (f64, f64)) -> f64 {
    if shape < 1e-9 {
        return -excess / scale;
    }
    -(shape * excess / scale).ln_1p() / shape
}

/// Values with their weights, ascending; such that are the same are one with the weight of all, as copies of a row are.
fn sorted(values: impl Iterator<Item = f32>, weights: impl Iterator<Item = f64>) -> Vec<(f32, f64)> {
    let mut pairs: Vec<(f32, f64)> = values.zip(weights).collect();
    pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    pairs.dedup_by(|next, kept| {
        let equal = next.0 == kept.0;
        kept.1 += if equal { next.1 } else { 0.0 };
        equal
    });
    pairs
}

/// How many of the weights, from the first on, are in the tail of a sample that weighs `total`.
pub(super) fn tail_values(weights: impl Iterator<Item = f64>, total: f64) -> usize {
    let mut weight = 0.0;
    let below = |(i, w): &(usize, f64)| {
        let below = weight < total * TAIL || *i < TAIL_VALUES;
        weight += w;
        below
    };
    weights.enumerate().take_while(below).count()
}

impl Distribution {
    /// Of values with weights above 0; two values or more.
    pub(super) fn new(values: impl Iterator<Item = f32>, weights: impl Iterator<Item = f64>) -> Self {
        let pairs = sorted(values, weights);
        let total = pairs.iter().map(|p| p.1).sum();
        let tail = tail_values(pairs.iter().rev().map(|p| p.1), total).min(pairs.len().saturating_sub(1));
        let mut found = Distribution::of_sorted(&pairs, total, tail);
        let lowest = pairs.get(tail).zip(pairs.first()).map_or(0.0, |(a, b)| f64::from(a.0 - b.0));
        found.low = lowest.max(found.low);
        found
    }

    /// Of a sample that weighs `total` all values from some value on: says of what is above this value what [`Self::new`] of all says, in the same bits
    /// where weights are whole numbers. Nothing if they are too few for the tail.
    pub(super) fn of_top(
        values: impl Iterator<Item = f32>,
        weights: impl Iterator<Item = f64>,
        total: f64,
    ) -> Option<Self> {
        let pairs = sorted(values, weights);
        let tail = tail_values(pairs.iter().rev().map(|p| p.1), total);
        (tail < pairs.len()).then(|| Distribution::of_sorted(&pairs, total, tail))
    }

    /// Of distinct values, ascending, the last `tail` of which are the tail.
    fn of_sorted(pairs: &[(f32, f64)], total: f64, tail: usize) -> Self {
        let mut higher = 0.0;
        let share = |&(_, weight): &(f32, f64)| {
            higher += weight;
            (higher - 0.5 * weight) / total
        };
        let mut above: Vec<f64> = pairs.iter().rev().map(share).collect();
        above.reverse();
        let threshold = pairs.len().saturating_sub(1 + tail);
        let from = pairs.get(threshold).map_or(0.0, |p| f64::from(p.0));
        let tail = pareto(pairs.iter().skip(threshold + 1).map(|p| (f64::from(p.0) - from, p.1)));
        Distribution { values: pairs.iter().map(|p| p.0).collect(), above, threshold: from, tail, low: 1e-9 }
    }

    /// Whether there is no value.
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The lowest value.
    pub(super) fn lowest(&self) -> f64 {
        self.values.first().map_or(f64::INFINITY, |x| f64::from(*x))
    }

    /// One for each query, from its products `[queries, m]` with a sample of m rows.
    pub(super) fn of_products(products: &[f32], weights: &[f64]) -> Vec<Self> {
        let one = |row: &[f32]| Distribution::new(row.iter().copied(), weights.iter().copied());
        products.par_chunks_exact(weights.len()).map(one).collect()
    }

    /// ln of the share above `x`.
    pub fn ln_share_above(&self, x: f64) -> f64 {
        let at = |i: usize| (f64::from(self.values[i]), self.above[i]);
        let (Some(&first), Some(&last)) = (self.values.first(), self.values.last()) else { return 0.0 };
        let last = f64::from(last);
        if x > last {
            let tail = |x: f64| ln_tail(x - self.threshold, self.tail);
            return self.above[self.above.len() - 1].ln() + tail(x) - tail(last);
        }
        let next = self.values.partition_point(|v| f64::from(*v) < x);
        if next == 0 {
            let below = 1.0 - self.above[0];
            return (-below * ((x - f64::from(first)) / self.low).exp()).ln_1p();
        }
        let ((a, above_a), (b, above_b)) = (at(next - 1), at(next));
        (above_a + (above_b - above_a) * (x - a) / (b - a)).ln()
    }

    /// The quantile scores of values: -log10 of the share above.
    pub(super) fn scores(&self, values: &[f64]) -> Vec<f64> {
        values.iter().map(|x| -self.ln_share_above(*x) / std::f64::consts::LN_10).collect()
    }

    /// The share above `x`, from 1 to 0.
    pub fn share_above(&self, x: f64) -> f64 {
        self.ln_share_above(x).exp()
    }

    /// The value that a share, above 0 and below 1, is above.
    pub fn value_at(&self, share: f64) -> f64 {
        let goal = share.ln();
        // Cosines are between -1 and 1; standardised ones may lie anywhere.
        let (mut low, mut high) = (-4.0, 4.0);
        while self.ln_share_above(low) < goal && low > -1e12 {
            low *= 2.0;
        }
        while self.ln_share_above(high) > goal && high < 1e12 {
            high *= 2.0;
        }
        for _ in 0..64 {
            let middle = 0.5 * (low + high);
            if self.ln_share_above(middle) > goal { low = middle } else { high = middle }
        }
        high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f32]) -> Distribution {
        Distribution::new(values.iter().copied(), values.iter().map(|_| 1.0))
    }

    #[test]
    fn the_share_falls_everywhere_and_is_the_samples_own() {
        let values: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.618_034).fract() * 0.5).collect();
        let found = of(&values);
        let shares: Vec<f64> = (-300..=1000).map(|i| found.ln_share_above(f64::from(i) * 1e-3)).collect();
        assert!(shares.windows(2).all(|pair| pair[1] < pair[0] && pair[1].is_finite()), "{shares:?}");
        for share in [0.9, 0.5, 0.1, 0.05] {
            assert!((found.value_at(share) - 0.5 * (1.0 - share)).abs() < 2e-3, "{share}");
            assert!((found.share_above(found.value_at(share)) - share).abs() < 1e-9);
        }
    }

    /// Values of any size have their cut-offs.
    #[test]
    fn cutoffs_are_found_wherever_they_lie() {
        for (scale, shift) in [(30.0f32, -200.0f32), (50.0, 90.0)] {
            let values: Vec<f32> = (0..1000).map(|i| shift + scale * (i as f32 * 0.618_034).fract()).collect();
            for share in [0.9, 0.1] {
                let want = f64::from(shift) + f64::from(scale) * (1.0 - share);
                assert!((of(&values).value_at(share) - want).abs() < 4e-3 * f64::from(scale), "{scale} {share}");
            }
        }
    }

    #[test]
    fn the_tail_of_an_exponential_goes_on_as_one() {
        let n = 4096;
        let values: Vec<f32> = (0..n).map(|i| -0.05 * ((i as f32 + 0.5) / n as f32).ln()).collect();
        let found = of(&values);
        for share in [1e-2, 1e-3, 1e-4, 1e-5] {
            let ratio = found.share_above(-0.05 * f64::ln(share)) / share;
            assert!((0.7..1.4).contains(&ratio), "{share}: {ratio}");
        }
    }

    #[test]
    fn weights_are_copies() {
        let copied = of(&[0.1, 0.2, 0.2, 0.2, 0.3, 0.4, 0.5]);
        let weighted =
            Distribution::new([0.1f32, 0.2, 0.3, 0.4, 0.5].into_iter(), [1.0, 3.0, 1.0, 1.0, 1.0].into_iter());
        for x in [0.05, 0.1, f64::from(0.2f32), 0.25, 0.35, 0.5, 0.7] {
            assert!((copied.ln_share_above(x) - weighted.ln_share_above(x)).abs() < 1e-12, "{x}");
        }
        assert!((weighted.share_above(0.2f32.into()) - 4.5 / 7.0).abs() < 1e-6);
    }

    /// What the top of a sample says is what all of it says.
    #[test]
    fn the_top_has_the_bits_of_the_whole() {
        let values: Vec<f32> = (0..3000).map(|i| (i as f32 * 0.618_034).fract().powi(3)).collect();
        let weights = |i: usize| (1 + i % 5) as f64;
        let total = (0..3000).map(weights).sum();
        let whole = Distribution::new(values.iter().copied(), (0..3000).map(weights));
        for from in [0.0, 0.4, 0.9] {
            let kept = || (0..3000).filter(|i| values[*i] >= from);
            let top = Distribution::of_top(kept().map(|i| values[i]), kept().map(weights), total).unwrap();
            for x in (1..2000).map(|i| top.lowest() + f64::from(i) * 1e-3) {
                assert_eq!(top.ln_share_above(x).to_bits(), whole.ln_share_above(x).to_bits(), "{from} {x}");
            }
            assert_eq!(top.value_at(0.01), whole.value_at(0.01));
        }
        let few = Distribution::of_top([0.9, 0.95].into_iter(), [1.0, 1.0].into_iter(), total);
        assert!(few.is_none());
    }

    #[test]
    fn equal_values_and_few_values_have_shares() {
        for values in [&[0.5f32, 0.5][..], &[0.5; 100], &[0.1, 0.2]] {
            let found = of(values);
            for x in [-1.0, 0.15, 0.5, 0.50001, 1.0] {
                assert!(!found.ln_share_above(x).is_nan() && found.ln_share_above(x) <= 0.0, "{values:?} at {x}");
            }
        }
    }
}
