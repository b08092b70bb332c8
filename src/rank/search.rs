//! Exact search: the best items of every collection, then the best of all. The best of all collections' items by their dot products would be those
//! of one collection alone.

use rayon::prelude::*;

use super::map::{RowMap, unit_rows};
use super::ranking::Named;
use super::scorer::{LIST, QueryScale, Scorer, check_queries};
use super::{Ranking, Score};
use crate::device::Device;
use crate::geometry::neighbours::{Rows, nearest};
use crate::stats::{RowSource, StreamOptions, stream};
use crate::{Error, Result};

/// Bytes of a collection's rows that are in memory at a time, and the most rows.
const SLAB: (usize, usize) = (64 << 20, 8192);
/// Neighbours beyond those asked for: products of f32 choose the candidates, products of f64 order them.
const MARGIN: usize = 16;
/// The most hits of a query.
const MAX_TOP: usize = 100_000;

/// What is searched for.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SearchOptions<'a> {
    /// How scores are made comparable.
    pub score: Score,
    /// The kind of the queries: see [`Ranking::kind`].
    pub kind: Option<&'a str>,
    /// Hits of a query at most.
    pub top: usize,
    /// The share of items that may pass, above 0 and below 1: see [`QueryScale::cutoff`].
    pub pass: Option<f64>,
    /// How rows are read.
    pub stream: StreamOptions<'a>,
}

impl Default for SearchOptions<'_> {
    fn default() -> Self {
        SearchOptions { score: Score::default(), kind: None, top: 10, pass: None, stream: StreamOptions::default() }
    }
}

crate::setters::setters! {
    SearchOptions<'a> {
        score: Score, kind: Option<&'a str>, top: usize, pass: Option<f64>, stream: StreamOptions<'a>,
    }
}

/// An item that a query found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Row of the query.
    pub query: usize,
    /// From 1.
    pub rank: usize,
    /// Index of the collection among those that were searched.
    pub collection: usize,
    /// Row in the collection.
    pub row: u64,
    /// Dot product of the unit rows of query and item, in f64.
    pub raw: f64,
    /// What the hits are ordered by.
    pub score: f64,
}

/// An item of a query's list in one collection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Entry {
    pub row: u64,
    /// Dot product of unit rows.
    pub raw: f64,
    /// The same of mapped rows.
    pub product: f64,
}

/// Unit queries as they are and as they were mapped, `[b, d]` each.
pub(super) struct Queries {
    pub unit: Vec<f32>,
    pub mapped: Vec<f32>,
    pub width: usize,
    /// Whether the two differ.
    moved: bool,
}

impl Queries {
    pub fn new(queries: &[f32], map: &RowMap, width: usize) -> Result<Self> {
        check_queries(queries, width)?;
        let unit = unit_rows(queries, width);
        Ok(Queries { mapped: map.apply(&unit, width), unit, width, moved: !map.is_identity() })
    }

    pub fn count(&self) -> usize {
        self.unit.len() / self.width
    }
}

fn wide_dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

/// Indices in a slab of mapped rows that may be among each query's best `depth`, `[b, k]` flat, and k.
fn candidates(device: &Device, queries: &Queries, slab: &[f32], depth: usize) -> Result<(Vec<u32>, usize)> {
    let rows = slab.len() / queries.width;
    let k = depth.saturating_add(MARGIN);
    if k >= rows {
        return Ok(((0..queries.count()).flat_map(|_| 0..rows as u32).collect(), rows));
    }
    let (queries, base) = (Rows::new(&queries.mapped, queries.width)?, Rows::new(slab, queries.width)?);
    Ok((nearest(device, queries, base, k, None)?.indices, k))
}

/// The best `depth` items of a collection for each query, by the products of mapped rows, best first, ties by lower row. `each` is given every
/// block of mapped rows.
pub(super) fn best(
    device: &Device,
    source: &mut dyn RowSource,
    queries: &Queries,
    (map, depth): (&RowMap, usize),
    options: StreamOptions<'_>,
    mut each: impl FnMut(&[f32]) -> Result<()>,
) -> Result<Vec<Vec<Entry>>> {
    let width = queries.width;
    let mut lists: Vec<Vec<Entry>> = vec![Vec::new(); queries.count()];
    let (zeros, mut first) = (vec![0.0; width], 0u64);
    let rows = (SLAB.0 / (4 * width)).clamp(1, SLAB.1);
    stream(rows, source, options, |block| {
        let (scales, _) = block.measure();
        if let Some(row) = scales.iter().position(|s| s[0].is_nan()) {
            return Ok(Some(row));
        }
        let mut unit = vec![0f32; block.rows() * width];
        block.shifted(&scales, &zeros, &mut unit);
        let mapped = map.apply(&unit, width);
        let (found, k) = candidates(device, queries, &mapped, depth)?;
        lists.par_iter_mut().zip(found.par_chunks(k.max(1))).enumerate().for_each(|(i, (list, found))| {
            let span = i * width..(i + 1) * width;
            let (plain, moved) = (&queries.unit[span.clone()], &queries.mapped[span]);
            list.extend(found.iter().map(|&at| {
                let span = at as usize * width..(at as usize + 1) * width;
                let raw = wide_dot(plain, &unit[span.clone()]);
                // One collection's rows may stay where they are while the queries move to them.
                let product = if map.is_identity() && !queries.moved { raw } else { wide_dot(moved, &mapped[span]) };
                Entry { row: first + u64::from(at), raw, product }
            }));
            list.sort_by(|a, b| b.product.total_cmp(&a.product).then(a.row.cmp(&b.row)));
            list.truncate(depth);
        });
        each(&mapped)?;
        first += block.rows() as u64;
        Ok(None)
    })?;
    Ok(lists)
}

/// The best of one query's lists, one for each collection, by their scores; ties by the order of collections and of rows.
pub(super) fn merged(
    query: usize,
    scale: &QueryScale,
    lists: &[(&str, &[Entry])],
    (top, pass): (usize, Option<f64>),
) -> Result<Vec<Hit>> {
    let mut hits = Vec::new();
    for (collection, (name, list)) in lists.iter().enumerate() {
        let products: Vec<f64> = list.iter().map(|entry| entry.product).collect();
        let scores = scale.scores(name, &products)?;
        let least = pass.map_or(Ok(f64::NEG_INFINITY), |share| scale.cutoff(name, share))?;
        let passed = list.iter().zip(scores).filter(|(entry, _)| entry.product >= least);
        hits.extend(passed.map(|(entry, score)| Hit {
            query,
            rank: 0,
            collection,
            row: entry.row,
            raw: entry.raw,
            score,
        }));
    }
    hits.sort_by(|a, b| b.score.total_cmp(&a.score));
    hits.truncate(top);
    hits.iter_mut().enumerate().for_each(|(i, hit)| hit.rank = i + 1);
    Ok(hits)
}

/// How long the list of each collection must be.
pub(super) fn depth(score: Score, top: usize) -> usize {
    if score.of_lists() { top.max(LIST) } else { top }
}

pub(super) fn check_top(top: usize) -> Result<()> {
    match top {
        1..=MAX_TOP => Ok(()),
        _ => Err(Error::argument("top", format!("{top} hits; give 1 to {MAX_TOP}"))),
    }
}

pub(super) fn check_widths(ranking: &Ranking, collections: &[Named<'_, '_>]) -> Result<()> {
    let width = ranking.width();
    match collections.iter().find(|(_, source)| source.width() != width) {
        None if collections.is_empty() => {
            Err(Error::argument("collection", "none was given; give the rows of one or more"))
        }
        None => Ok(()),
        Some((name, source)) => {
            let want = format!("rows of {width}, as the ranking's");
            Err(Error::shape("rank", *name, want, format!("rows of {}", source.width())))
        }
    }
}

/// Each query's best items in all collections together, best first, from the queries' first to their last. Queries `[b, d]` of any norm.
///
/// In every collection the best are exact: candidates by products in f32, in their order by products in f64. Reads each collection once.
///
/// # Errors
/// Another width than the ranking's; an unknown collection or kind; `top` or `pass` out of range, or a cut-off of a score that has none; a NaN or an
/// infinity, unless replaced; a file that cannot be read; a device lost or out of memory.
pub fn search(
    device: &Device,
    ranking: &Ranking,
    queries: &[f32],
    collections: &mut [Named<'_, '_>],
    options: &SearchOptions<'_>,
) -> Result<Vec<Hit>> {
    check_top(options.top)?;
    check_widths(ranking, collections)?;
    let names: Vec<&str> = collections.iter().map(|(name, _)| *name).collect();
    let scorer = Scorer::of(ranking, device, options.score, options.kind, &names)?;
    let queries = Queries::new(queries, scorer.query_map(), ranking.width())?;
    let scales = scorer.scales(&queries.unit)?;
    if let (Some(share), Some(scale), Some(name)) = (options.pass, scales.first(), names.first()) {
        scale.cutoff(name, share)?;
    }
    let mut lists = Vec::with_capacity(names.len());
    for (name, source) in collections.iter_mut() {
        let wanted = (scorer.map(name)?, depth(options.score, options.top));
        lists.push(best(device, *source, &queries, wanted, options.stream, |_| Ok(()))?);
    }
    let mut hits = Vec::new();
    for (query, scale) in scales.iter().enumerate() {
        let lists: Vec<(&str, &[Entry])> =
            names.iter().zip(&lists).map(|(name, lists)| (*name, &lists[query][..])).collect();
        hits.extend(merged(query, scale, &lists, (options.top, options.pass))?);
    }
    Ok(hits)
}
