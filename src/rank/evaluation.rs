//! How good lists of hits are, with intervals over queries.

use super::relevance::Relevance;
use super::search::Hit;

/// Hits of a query that are judged.
pub const TOP: usize = 10;

/// A mean over queries.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// The mean, or the ratio of two means.
    pub value: f64,
    /// Half of its 95% interval over queries; 0 for fewer than two.
    pub half_width: f64,
}

impl Estimate {
    /// Σ a / Σ b over pairs; its interval by the residuals a - (Σ a / Σ b) b. 0 where no b is above 0.
    pub(super) fn ratio(pairs: &[(f64, f64)]) -> Self {
        let (a, b) = pairs.iter().fold((0.0, 0.0), |(a, b), pair| (a + pair.0, b + pair.1));
        if b <= 0.0 {
            return Estimate::default();
        }
        let (value, n) = (a / b, pairs.len() as f64);
        let squares: f64 = pairs.iter().map(|(x, y)| (x - value * y).powi(2)).sum();
        let half_width = if n < 2.0 { 0.0 } else { 1.96 * (squares / (n - 1.0) / n).sqrt() / (b / n) };
        Estimate { value, half_width }
    }

    /// The mean.
    pub(super) fn mean(values: impl Iterator<Item = f64>) -> Self {
        Self::ratio(&values.map(|x| (x, 1.0)).collect::<Vec<_>>())
    }
}

/// What one score's lists are worth.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Worth {
    pub ndcg: Estimate,
    pub recall: Estimate,
    /// Share of each collection among the hits.
    pub shares: Vec<Estimate>,
}

/// Judges the hits of each query, of which the first [`TOP`] count.
pub(super) fn judge(hits: &[Vec<Hit>], relevance: &Relevance, collections: usize) -> Worth {
    let discount = |rank: usize| 1.0 / (rank as f64 + 1.0).log2();
    let (mut gains, mut recalls) = (Vec::with_capacity(hits.len()), Vec::new());
    for (query, hits) in hits.iter().enumerate() {
        let grade = |hit: &Hit| relevance.grade(query, (hit.collection, hit.row));
        let ideal = relevance.ideal(query);
        let best: f64 = ideal.iter().take(TOP).zip(1..).map(|(grade, rank)| grade * discount(rank)).sum();
        gains.push((hits.iter().take(TOP).map(|hit| grade(hit) * discount(hit.rank)).sum(), best));
        if !ideal.is_empty() {
            let found = hits.iter().take(TOP).filter(|hit| grade(hit) > 0.0).count();
            recalls.push(found as f64 / ideal.len() as f64);
        }
    }
    let share = |collection: usize| {
        let of = |hits: &Vec<Hit>| {
            let top = &hits[..hits.len().min(TOP)];
            top.iter().filter(|hit| hit.collection == collection).count() as f64 / top.len().max(1) as f64
        };
        Estimate::mean(hits.iter().map(of))
    };
    Worth {
        ndcg: Estimate::ratio(&gains),
        recall: Estimate::mean(recalls.into_iter()),
        shares: (0..collections).map(share).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_worth_what_they_hold() {
        let mut relevance = Relevance::new(2);
        relevance.add(0, (0, 5), 4.0).unwrap();
        relevance.add(0, (1, 6), 1.0).unwrap();
        let hit = |rank, collection, row| Hit { query: 0, rank, collection, row, raw: 0.0, score: 0.0 };
        let worth = judge(&[vec![hit(1, 1, 6), hit(2, 0, 7), hit(3, 0, 5)], vec![hit(1, 0, 5)]], &relevance, 2);
        let (dcg, ideal) = (1.0 + 4.0 / 2.0, 4.0 + 1.0 / 3f64.log2());
        assert!((worth.ndcg.value - dcg / ideal).abs() < 1e-12);
        assert_eq!(worth.recall.value, 1.0);
        assert!((worth.shares[0].value - (2.0 / 3.0 + 1.0) / 2.0).abs() < 1e-12);
        assert!(relevance.add(0, (0, 5), 1.0).is_err() && relevance.add(2, (0, 0), 1.0).is_err());
        assert!(relevance.add(1, (0, 0), f64::NAN).is_err());
    }

    #[test]
    fn intervals_are_those_of_means() {
        let values = [0.0, 1.0, 1.0, 0.0];
        let found = Estimate::mean(values.into_iter());
        assert_eq!(found.value, 0.5);
        assert!((found.half_width - 1.96 * (1.0f64 / 3.0).sqrt() / 2.0).abs() < 1e-12);
        assert_eq!(Estimate::mean([3.0].into_iter()).half_width, 0.0);
        assert_eq!(Estimate::ratio(&[(0.0, 0.0)]), Estimate::default());
    }
}
