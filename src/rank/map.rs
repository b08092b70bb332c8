//! Where rows go before they are multiplied: centring, ReAlign, and terms of a row alone.

use std::sync::Arc;

use rayon::prelude::*;

use super::bank::{Bank, NnnOptions};
use super::profile::Profile;
use super::{Ranking, Score};
use crate::Result;
use crate::device::Device;
use crate::stats::{normalise, trace_scale};

/// Steps `v ← P(a v + b)` on unit rows, P the projection to norm 1; none leaves rows as they are. Then, for [`Score::Nnn`], two more coordinates: with
/// those of a query the dot product has the item's correction in it, and rows keep one length, so that a search by cosine finds them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowMap {
    steps: Vec<(f64, Vec<f64>)>,
    term: Term,
}

/// What is appended to a row.
#[derive(Clone, Debug, Default, PartialEq)]
enum Term {
    #[default]
    Nothing,
    /// `(1, 0)`.
    OfQueries,
    /// `(-b, √(α² - b²))`, b the item's correction, which is α at most.
    OfItems(Arc<Bank>, NnnOptions),
}

impl RowMap {
    /// `P(u - μ)`.
    fn centre(mean: &[f64]) -> Self {
        RowMap { steps: vec![(1.0, mean.iter().map(|m| -m).collect())], term: Term::Nothing }
    }

    /// ReAlign from a profile's cloud to the target's: `P(P(μ_x + s (u - μ_y)) + h)`, with h by the profile's sample; without h where there is none.
    fn realign(source: &Profile, target: &Profile) -> Self {
        let scale = trace_scale(source.trace(), target.trace());
        let (mean, goal) = (source.mean(), target.mean());
        let shift = goal.iter().zip(&mean).map(|(x, y)| x - scale * y).collect();
        let mut map = RowMap { steps: vec![(scale, shift)], term: Term::Nothing };
        let (weights, d) = (source.weights(), mean.len());
        if weights.is_empty() {
            return map;
        }
        let mapped = map.moved(&source.sample.rows(), d);
        let mut centroid = vec![0.0; d];
        for (row, weight) in mapped.chunks_exact(d).zip(&weights) {
            centroid.iter_mut().zip(row).for_each(|(c, x)| *c += weight * f64::from(*x));
        }
        let total: f64 = weights.iter().sum();
        map.steps.push((1.0, goal.iter().zip(&centroid).map(|(x, c)| x - c / total).collect()));
        map
    }

    /// Whether rows stay as they are.
    pub fn is_identity(&self) -> bool {
        self.steps.is_empty() && self.term == Term::Nothing
    }

    /// The width of what rows of a width become.
    pub fn width(&self, width: usize) -> usize {
        width + if self.term == Term::Nothing { 0 } else { 2 }
    }

    /// The steps.
    fn moved(&self, rows: &[f32], width: usize) -> Vec<f32> {
        let mut out = rows.to_vec();
        if self.steps.is_empty() || width == 0 {
            return out;
        }
        out.par_chunks_exact_mut(width).for_each(|out| {
            let mut row: Vec<f64> = out.iter().map(|x| f64::from(*x)).collect();
            for (scale, shift) in &self.steps {
                row.iter_mut().zip(shift).for_each(|(x, b)| *x = *x * scale + b);
                normalise(&mut row);
            }
            out.iter_mut().zip(&row).for_each(|(o, x)| *o = *x as f32);
        });
        out
    }

    /// Unit rows `[n, d]` to rows `[n, RowMap::width(d)]`.
    ///
    /// # Errors
    /// A device lost or out of memory.
    pub fn apply(&self, device: &Device, rows: &[f32], width: usize) -> Result<Vec<f32>> {
        let moved = self.moved(rows, width);
        let terms: Vec<[f32; 2]> = match &self.term {
            Term::Nothing => return Ok(moved),
            Term::OfQueries => vec![[1.0, 0.0]; rows.len() / width.max(1)],
            Term::OfItems(bank, options) => {
                let found = bank.corrections(device, &moved, width, *options)?;
                let rest = |b: f64| (options.alpha.powi(2) - b * b).max(0.0).sqrt();
                found.into_iter().map(|b| [-b as f32, rest(b) as f32]).collect()
            }
        };
        Ok(moved
            .chunks_exact(width.max(1))
            .zip(&terms)
            .flat_map(|(row, term)| row.iter().chain(term))
            .copied()
            .collect())
    }
}

/// The maps of one score.
pub(super) struct Maps<'a> {
    score: Score,
    /// The queries' kind, where the score asks for it.
    kind: Option<&'a Profile>,
    /// The collection to whose cloud ReAlign takes all others: the one whose mean is farthest from the queries'.
    target: Option<&'a Profile>,
    /// The reference queries, where the score asks for them.
    pub bank: Option<Arc<Bank>>,
    nnn: NnnOptions,
}

impl<'a> Maps<'a> {
    pub fn of(ranking: &'a Ranking, (score, nnn): (Score, NnnOptions), kind: Option<&str>) -> Result<Self> {
        nnn.check()?;
        let bank = score.needs_queries().then(|| ranking.reference_queries(kind)).transpose()?;
        let asks = matches!(score, Score::Centre | Score::Realign);
        let kind = asks.then(|| ranking.kind(kind)).transpose()?;
        if asks {
            kind.map_or(Ok(()), |profile| profile.check_not_hidden("the queries' kind"))?;
            ranking.collections.iter().try_for_each(|(name, profile)| profile.check_not_hidden(name))?;
        }
        let target = kind.and_then(|kind| farthest(&ranking.all(), kind));
        Ok(Maps { score, kind, target, bank: bank.map(|profile| Arc::new(Bank::of(profile))), nnn })
    }

    fn of_rows(&self, profile: &Profile) -> RowMap {
        match (self.score, self.target) {
            (Score::Centre, _) => RowMap::centre(&profile.mean()),
            (Score::Realign, Some(target)) if target != profile => RowMap::realign(profile, target),
            _ => RowMap::default(),
        }
    }

    /// Where queries go.
    pub fn of_queries(&self) -> RowMap {
        match self.kind {
            Some(kind) => self.of_rows(kind),
            None if self.score == Score::Nnn => RowMap { steps: Vec::new(), term: Term::OfQueries },
            None => RowMap::default(),
        }
    }

    /// Where a collection's rows go.
    pub fn of_collection(&self, profile: &Profile) -> RowMap {
        match &self.bank {
            Some(bank) if self.score == Score::Nnn => {
                RowMap { steps: Vec::new(), term: Term::OfItems(bank.clone(), self.nnn) }
            }
            _ => self.of_rows(profile),
        }
    }
}

fn farthest<'a>(collections: &[&'a Profile], kind: &Profile) -> Option<&'a Profile> {
    let mean = kind.mean();
    let distance = |p: &Profile| p.mean().iter().zip(&mean).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    collections.iter().copied().max_by(|a, b| distance(a).total_cmp(&distance(b)))
}
