//! Exact search: the best items of every collection, then the best of all. The best of all collections' items by their dot products would be those
//! of one collection alone.

use rayon::prelude::*;

use super::bank::NnnOptions;
use super::map::RowMap;
use super::neighbours::{candidates, wide_dot};
use super::ranking::Named;
use super::scorer::{LIST, QueryScale, Scorer, check_queries};
use super::{Ranking, Score};
use crate::device::Device;
use crate::stats::{
    NonFinite, RowSource, StreamOptions, decode, first_nonfinite, nonfinite_error, stream, unit_rows, zero_nonfinite,
};
use crate::{Error, Result};

/// Bytes of a collection's rows that are in memory at a time, and the most rows.
const SLAB: (usize, usize) = (64 << 20, 8192);
/// Rows of queries that are read at a time.
const READ_ROWS: usize = 1024;
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
    /// What [`Score::Nnn`] takes off.
    pub nnn: NnnOptions,
    /// How rows are read.
    pub stream: StreamOptions<'a>,
}

impl Default for SearchOptions<'_> {
    fn default() -> Self {
        let (score, stream) = (Score::default(), StreamOptions::default());
        SearchOptions { score, kind: None, top: 10, pass: None, nnn: NnnOptions::default(), stream }
    }
}

crate::setters::setters! {
    SearchOptions<'a> {
        score: Score,
        kind: Option<&'a str>,
        top: usize,
        pass: Option<f64>,
        nnn: NnnOptions,
        stream: StreamOptions<'a>,
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

/// Unit queries as they are, `[b, d]`, and as they were mapped, `[b, w]`.
pub(super) struct Queries {
    pub unit: Vec<f32>,
    pub mapped: Vec<f32>,
    pub width: usize,
    /// w.
    pub mapped_width: usize,
    /// Whether the two differ.
    moved: bool,
}

impl Queries {
    pub fn new(device: &Device, queries: &[f32], map: &RowMap, width: usize) -> Result<Self> {
        check_queries(queries, width)?;
        let unit = unit_rows(queries, width);
        let (mapped, mapped_width) = (map.apply(device, &unit, width)?, map.width(width));
        Ok(Queries { mapped, unit, width, mapped_width, moved: !map.is_identity() })
    }

    pub fn count(&self) -> usize {
        self.unit.len() / self.width
    }
}

/// The best `depth` items of a collection for each query, by the products of mapped rows, best first, ties by lower row. `each` is given every
/// block of mapped rows, `[n, w]`.
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
    let (mapped_width, mut first) = (queries.mapped_width, 0u64);
    let rows = (SLAB.0 / (4 * width)).clamp(1, SLAB.1);
    stream(rows, source, options, |block| {
        let (scales, _) = block.measure();
        if let Some(row) = scales.iter().position(|s| s[0].is_nan()) {
            return Ok(Some(row));
        }
        let mut unit = vec![0f32; block.rows() * width];
        block.unit(&scales, &mut unit);
        let mapped = map.apply(device, &unit, width)?;
        let (found, k) = candidates(device, (&queries.mapped, &mapped), mapped_width, depth)?;
        lists.par_iter_mut().zip(found.par_chunks(k.max(1))).enumerate().for_each(|(i, (list, found))| {
            let (span, mapped_span) =
                (|at: usize| at * width..(at + 1) * width, |at: usize| at * mapped_width..(at + 1) * mapped_width);
            let (plain, moved) = (&queries.unit[span(i)], &queries.mapped[mapped_span(i)]);
            list.extend(found.iter().map(|&at| {
                let raw = wide_dot(plain, &unit[span(at as usize)]);
                let product = match map.is_identity() && !queries.moved {
                    true => raw,
                    // One collection's rows may stay where they are while the queries move to them.
                    false => wide_dot(moved, &mapped[mapped_span(at as usize)]),
                };
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

/// A source's rows as queries, `[b, d]` in f32, of the norms that they have.
///
/// # Errors
/// A NaN or an infinity, unless replaced, which is logged; a file that cannot be read.
pub fn read_queries(source: &mut dyn RowSource, nonfinite: NonFinite) -> Result<Vec<f32>> {
    let (width, element) = (source.width(), source.element_type());
    let tight = width * element.bytes();
    let (mut bytes, mut out, mut replaced) = (vec![0; READ_ROWS * tight], Vec::new(), 0);
    source.rewind()?;
    loop {
        let rows = source.next(READ_ROWS, &mut bytes)?;
        if rows == 0 {
            break;
        }
        let bytes = &mut bytes[..rows * tight];
        if nonfinite == NonFinite::Zero {
            replaced += zero_nonfinite(bytes, element);
        } else if let Some(at) = first_nonfinite(bytes, element) {
            return Err(nonfinite_error(source, (out.len() / width + at / width) as u64));
        }
        out.extend(bytes.chunks_exact(element.bytes()).map(|e| decode(e, element) as f32));
    }
    if replaced > 0 {
        log::warn!("{replaced} values of the queries that are not finite were read as 0");
    }
    Ok(out)
}

/// Each query's best items in all collections together, best first, from the queries' first to their last. Queries `[b, d]` of any norm.
///
/// In every collection the best are exact: candidates by products in f32, in their order by products in f64. Reads each collection once.
///
/// # Errors
/// Another width than the ranking's; an unknown collection or kind; a score that needs reference queries where there are none; `top` or `pass` out of range, or a cut-off of a score that has none; a NaN or an
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
    let scorer = Scorer::of(ranking, device, (options.score, options.nnn), options.kind, &names)?;
    let queries = Queries::new(device, queries, scorer.query_map(), ranking.width())?;
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
