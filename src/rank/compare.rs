//! Every score side by side: what its lists are worth, and what passes its cut-off.

use rayon::prelude::*;

use super::bank::NnnOptions;
use super::evaluation::{Estimate, TOP, judge};
use super::map::RowMap;
use super::ranking::Named;
use super::relevance::Relevance;
use super::scorer::{LIST, QueryScale, References, Scorer};
use super::search::{Entry, Hit, Queries, best, check_widths, merged};
use super::{Ranking, Score};
use crate::device::Device;
use crate::stats::StreamOptions;
use crate::{Error, Result};

/// Shares that cut-offs are set for.
pub const NOMINAL_SHARES: [f64; 4] = [0.1, 0.05, 0.01, 0.001];

/// Queries whose products with a block of rows are taken at a time.
const QUERIES: usize = 256;
/// Queries whose scores are drawn.
const DRAWN: usize = 64;
/// Bins of a density: of cosines from -1 to 1, of shares from 0 to 1.
pub(super) const BINS: (usize, usize) = (200, 50);

/// What is compared.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct CompareOptions<'a> {
    /// The kind of the queries: see [`Ranking::kind`].
    pub kind: Option<&'a str>,
    /// Which scores, in this order; none for all that the ranking can give ([`Ranking::possible_scores`]).
    pub scores: &'a [Score],
    /// What [`Score::Nnn`] takes off.
    pub nnn: NnnOptions,
    /// How rows are read.
    pub stream: StreamOptions<'a>,
}

crate::setters::setters! {
    CompareOptions<'a> { kind: Option<&'a str>, scores: &'a [Score], nnn: NnnOptions, stream: StreamOptions<'a> }
}

/// What passed a cut-off.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibrated {
    /// The share that should.
    pub nominal: f64,
    /// The share of each collection's items that did, over queries.
    pub passed: Vec<Estimate>,
}

/// One score's results.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// Which.
    pub score: Score,
    /// Normalised discounted cumulative gain of the first [`TOP`] hits: `Σ grade / log2(rank + 1)` over queries, divided by that of the ideal
    /// rankings of all graded items.
    pub ndcg: Estimate,
    /// Share of a query's items of grade above 0 that are among the first [`TOP`] hits; over queries that have any.
    pub recall: Estimate,
    /// Share of each collection among these hits.
    pub shares: Vec<Estimate>,
    /// Cut-offs for [`NOMINAL_SHARES`]; none for scores of lists.
    pub calibration: Vec<Calibrated>,
}

/// The results, and what is needed to draw them.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Names of the collections.
    pub collections: Vec<String>,
    /// Their rows.
    pub rows: Vec<u64>,
    /// Queries.
    pub queries: usize,
    /// Each score's results.
    pub scores: Vec<Compared>,
    /// Of each collection the cosines of some queries with all items, in bins from -1 to 1.
    pub(super) cosines: Vec<Vec<u64>>,
    /// The same on the common scale: shares of the collection that score lower, in bins from 0 to 1.
    pub(super) placed: Vec<Vec<u64>>,
}

/// A score with its scales, one for each query.
struct Judged {
    score: Score,
    /// Whether a share of the items is above a value that it knows.
    has_cutoffs: bool,
    scales: Vec<QueryScale>,
}

/// Counts above thresholds, of every query.
struct Passed {
    /// For each threshold and query a dot product.
    thresholds: Vec<Vec<f64>>,
    counts: Vec<Vec<u64>>,
}

impl Passed {
    fn new(name: &str, judged: &[Judged]) -> Result<Self> {
        let mut thresholds = Vec::new();
        for one in judged.iter().filter(|one| one.has_cutoffs) {
            for share in NOMINAL_SHARES {
                thresholds
                    .push(one.scales.par_iter().map(|scale| scale.cutoff(name, share)).collect::<Result<Vec<_>>>()?);
            }
        }
        let counts = thresholds.iter().map(|t: &Vec<f64>| vec![0; t.len()]).collect();
        Ok(Passed { thresholds, counts })
    }

    /// Takes products `[b, n]` of the queries from `first` on in.
    fn add(&mut self, first: usize, products: &[f32], n: usize) {
        for (thresholds, counts) in self.thresholds.iter().zip(&mut self.counts) {
            let rows = products.par_chunks_exact(n).zip(&mut counts[first..]).zip(&thresholds[first..]);
            rows.for_each(|((row, count), least)| {
                *count += row.iter().filter(|x| f64::from(**x) >= *least).count() as u64;
            });
        }
    }
}

/// Counts of cosines and of places, of one collection.
#[derive(Default)]
struct Drawn {
    cosines: Vec<u64>,
    placed: Vec<u64>,
}

fn count(bins: &mut [u64], place: f64) {
    let last = bins.len().saturating_sub(1);
    // `as` takes what lies below 0 to 0.
    if let Some(bin) = bins.get_mut(((place * bins.len() as f64) as usize).min(last)) {
        *bin += 1;
    }
}

impl Drawn {
    fn add(&mut self, name: &str, products: &[f32], n: usize, scales: Option<&[QueryScale]>) -> Result<()> {
        for (i, row) in products.chunks_exact(n).enumerate() {
            for x in row {
                count(&mut self.cosines, 0.5 * (f64::from(*x) + 1.0));
                if let Some(scale) = scales.and_then(|scales| scales.get(i))
                    && let Some(above) = scale.share_above(name, f64::from(*x))?
                {
                    count(&mut self.placed, 1.0 - above);
                }
            }
        }
        Ok(())
    }
}

/// Scores whose lists are ordered by products of the same rows.
struct Space {
    judged: Vec<Judged>,
    queries: Queries,
    maps: Vec<RowMap>,
}

impl Space {
    fn new(
        device: &Device,
        ranking: &Ranking,
        queries: &[f32],
        (names, scores): (&[&str], Vec<Score>),
        options: &CompareOptions<'_>,
    ) -> Result<Option<Self>> {
        let mut space: Option<Space> = None;
        for score in scores {
            let scorer = Scorer::of(ranking, device, (score, options.nnn), options.kind, names)?;
            let judged = Judged { score, has_cutoffs: scorer.has_cutoffs(), scales: scorer.scales(queries)? };
            match &mut space {
                Some(space) => space.judged.push(judged),
                None => {
                    let maps = names.iter().map(|name| scorer.map(name).cloned()).collect::<Result<_>>()?;
                    let queries = Queries::new(device, queries, scorer.query_map(), ranking.width())?;
                    space = Some(Space { judged: vec![judged], queries, maps });
                }
            }
        }
        Ok(space)
    }

    /// Whether rows stay as they are.
    fn plain(&self) -> bool {
        self.judged.iter().all(|one| !one.score.moves_rows())
    }

    /// Reads a collection: each query's list, and what passes.
    fn read(
        &self,
        device: &Device,
        (at, (name, source)): (usize, &mut Named<'_, '_>),
        options: StreamOptions<'_>,
        drawn: &mut Drawn,
    ) -> Result<(Vec<Vec<Entry>>, Passed)> {
        let mut passed = Passed::new(name, &self.judged)?;
        let quantile = self.judged.iter().find(|one| one.score == Score::Quantile);
        let width = self.queries.mapped_width;
        let wanted = (&self.maps[at], TOP.max(LIST));
        let lists = best(device, *source, &self.queries, wanted, options, |rows| {
            let n = rows.len() / width;
            let references = References::new(device, rows.to_vec(), width)?;
            for (i, queries) in self.queries.mapped.chunks(QUERIES * width).enumerate() {
                let products = references.products(device, queries)?;
                passed.add(i * QUERIES, &products, n);
                if i == 0 && self.plain() {
                    let some = &products[..products.len().min(DRAWN * n)];
                    drawn.add(name, some, n, quantile.map(|one| &one.scales[..]))?;
                }
            }
            Ok(())
        })?;
        Ok((lists, passed))
    }
}

/// Holds scores against graded answers, and their cut-offs against what passes. Queries `[b, d]` of any norm; `relevance` is of these queries and
/// of these collections in their order. Reads each collection once for scores of the rows as they are, and once more for each that moves them.
///
/// Operations: for each read two products of all queries with all rows, one to search and one to count.
///
/// # Errors
/// As [`search`](super::search()); a relevance of another number of queries; no query.
pub fn compare(
    device: &Device,
    ranking: &Ranking,
    queries: &[f32],
    collections: &mut [Named<'_, '_>],
    relevance: &Relevance,
    options: &CompareOptions<'_>,
) -> Result<Comparison> {
    check_widths(ranking, collections)?;
    let (n, names) = (queries.len() / ranking.width(), collections.iter().map(|c| c.0).collect::<Vec<_>>());
    if n == 0 || n != relevance.queries() {
        let want = format!("grades for {n} queries, one or more");
        return Err(Error::shape("rank", "relevance", want, format!("those of {}", relevance.queries())));
    }
    let rows: Vec<u64> = collections.iter().map(|(_, source)| source.rows()).collect();
    let wanted =
        if options.scores.is_empty() { ranking.possible_scores(options.kind, &names) } else { options.scores.to_vec() };
    let mut found: Vec<Compared> = Vec::new();
    let mut drawn: Vec<Drawn> = names.iter().map(|_| Drawn::default()).collect();
    drawn.iter_mut().for_each(|d| *d = Drawn { cosines: vec![0; BINS.0], placed: vec![0; BINS.1] });
    let plain = wanted.iter().copied().filter(|score| !score.moves_rows()).collect();
    let moving = wanted.iter().copied().filter(|score| score.moves_rows()).map(|score| vec![score]);
    for scores in std::iter::once(plain).chain(moving) {
        let Some(space) = Space::new(device, ranking, queries, (&names, scores), options)? else { continue };
        let mut read = Vec::with_capacity(names.len());
        for (at, collection) in collections.iter_mut().enumerate() {
            read.push(space.read(device, (at, collection), options.stream, &mut drawn[at])?);
        }
        found.extend(results(&space, &names, &rows, &read, relevance)?);
    }
    let order = |score: Score| wanted.iter().position(|s| *s == score);
    found.sort_by_key(|line| order(line.score));
    Ok(Comparison {
        collections: names.iter().map(|name| (*name).to_owned()).collect(),
        rows,
        queries: n,
        scores: found,
        cosines: drawn.iter().map(|d| d.cosines.clone()).collect(),
        placed: drawn.into_iter().map(|d| d.placed).collect(),
    })
}

/// The results of a space's scores.
fn results(
    space: &Space,
    names: &[&str],
    rows: &[u64],
    read: &[(Vec<Vec<Entry>>, Passed)],
    relevance: &Relevance,
) -> Result<Vec<Compared>> {
    let (mut out, mut cutoffs) = (Vec::new(), 0);
    for one in &space.judged {
        let hits = one.scales.iter().enumerate().map(|(query, scale)| {
            let lists: Vec<(&str, &[Entry])> =
                names.iter().zip(read).map(|(name, (lists, _))| (*name, &lists[query][..])).collect();
            merged(query, scale, &lists, (TOP, None))
        });
        let hits: Vec<Vec<Hit>> = hits.collect::<Result<_>>()?;
        let worth = judge(&hits, relevance, names.len());
        let mut calibration = Vec::new();
        if one.has_cutoffs {
            for (i, nominal) in NOMINAL_SHARES.into_iter().enumerate() {
                let passed = read.iter().zip(rows).map(|((_, passed), n)| {
                    Estimate::mean(passed.counts[cutoffs + i].iter().map(|count| *count as f64 / (*n).max(1) as f64))
                });
                calibration.push(Calibrated { nominal, passed: passed.collect() });
            }
            cutoffs += NOMINAL_SHARES.len();
        }
        let (ndcg, recall, shares) = (worth.ndcg, worth.recall, worth.shares);
        out.push(Compared { score: one.score, ndcg, recall, shares, calibration });
    }
    Ok(out)
}
