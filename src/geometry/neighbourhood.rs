//! Neighbourhoods by cosine: do the modalities mix, and are neighbours kept [spec 5; paper appendices F, G].

use rayon::prelude::*;

use super::dense;
use super::rows::count;
use crate::{Error, Result};

/// Neighbours of [`mixing`] by default.
pub const MIXING_K: usize = 20;
/// Neighbours of [`knn_overlap`] by default.
pub const OVERLAP_K: usize = 10;
/// Queries whose cosines are taken at a time.
const BLOCK: usize = 256;

/// Cosines in units of which two are equal: rounding must not decide between rows that are the same.
const RESOLUTION: f64 = 1.0 / (1u64 << 40) as f64;

/// For each unit row of `[n, d]` the indices of its `k` nearest by cosine among the others, nearest first, `[n, k]`. Cosines are f64
/// on the host, in blocks: memory for 256 n of them. Those that agree to 2⁻⁴⁰ are ties, as of copies of one row, and the lower
/// index wins: then copies have the same neighbours before and after alignment.
///
/// # Errors
/// No whole rows; k = 0 or k >= n.
pub fn nearest_others(rows: &[f64], width: usize, k: usize) -> Result<Vec<u32>> {
    let n = count("neighbours", "rows", rows, width)?;
    if k == 0 || k >= n {
        let problem = format!("{k} neighbours of {n} rows; give 1 to {}, or more rows", n.saturating_sub(1));
        return Err(Error::argument("k", problem));
    }
    if u32::try_from(n).is_err() {
        return Err(Error::shape("neighbours", "rows", "below 2^32", n));
    }
    let all = dense::view(rows, n, width);
    let mut out = vec![0; n * k];
    let mut cosines = vec![0.0; BLOCK.min(n) * n];
    for (block, (queries, found)) in rows.chunks(BLOCK * width).zip(out.chunks_mut(BLOCK * k)).enumerate() {
        let m = queries.len() / width;
        let cosines = &mut cosines[..m * n];
        dense::product_into(dense::view(queries, m, width), all.transpose(), cosines);
        let each = cosines.par_chunks_exact(n).zip(found.par_chunks_exact_mut(k)).enumerate();
        each.for_each(|(i, (cosines, found))| top(cosines, block * BLOCK + i, found));
    }
    Ok(out)
}

/// The indices of the largest, but for `own`.
fn top(cosines: &[f64], own: usize, found: &mut [u32]) {
    let k = found.len();
    let mut best: Vec<(f64, u32)> = Vec::with_capacity(k + 1);
    for (j, &c) in cosines.iter().enumerate() {
        let c = (c / RESOLUTION).round();
        if j == own || (best.len() == k && c <= best[k - 1].0) {
            continue;
        }
        // After its equals: of those the lower index came first.
        let at = best.partition_point(|&(b, _)| b >= c);
        best.insert(at, (c, j as u32));
        best.truncate(k);
    }
    found.iter_mut().zip(best).for_each(|(f, (_, j))| *f = j);
}

/// How far two clouds mix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mixing {
    /// Share of neighbours from the other side, over all rows; about 0.5 for clouds that cannot be told apart.
    pub rate: f64,
    /// Over the queries from the target (X).
    pub target: f64,
    /// Over the queries from the source or the aligned set (Z).
    pub source: f64,
    /// M_k^X: `target` over its expectation n_z / (n_x + n_z - 1) for clouds that cannot be told apart.
    pub normalised_target: f64,
    /// M_k^Z: `source` over n_x / (n_x + n_z - 1).
    pub normalised_source: f64,
    /// Rows of each side that were pooled.
    pub rows: usize,
}

/// Mixing of unit rows `[n, d]` of the target and of the source: both are pooled, equally many of each (the first ones of
/// the larger), and the `k` nearest of each row, itself excluded, are counted by side.
///
/// # Errors
/// No whole rows; k = 0 or not below the number of rows pooled.
pub fn mixing(target: &[f64], source: &[f64], width: usize, k: usize) -> Result<Mixing> {
    let n = count("mixing", "target rows", target, width)?.min(count("mixing", "source rows", source, width)?);
    if k == 0 || k >= 2 * n {
        let problem = format!("{k} neighbours among {} pooled rows; give fewer neighbours, or more rows", 2 * n);
        return Err(Error::argument("--mixing-k", problem));
    }
    let pool = [&target[..n * width], &source[..n * width]].concat();
    let found = nearest_others(&pool, width, k)?;
    let other = |range: std::ops::Range<usize>| -> f64 {
        let neighbours = range.clone().flat_map(|i| found[i * k..(i + 1) * k].iter().map(move |&j| (i, j as usize)));
        neighbours.filter(|(i, j)| (*i < n) != (*j < n)).count() as f64 / (range.len() * k) as f64
    };
    let (target, source) = (other(0..n), other(n..2 * n));
    let expected = n as f64 / (2 * n - 1) as f64;
    Ok(Mixing {
        rate: 0.5 * (target + source),
        target,
        source,
        normalised_target: target / expected,
        normalised_source: source / expected,
        rows: n,
    })
}

/// Mean share of each row's `k` neighbours within its own cloud that are neighbours both before and after, for lists of
/// [`nearest_others`] of at least `k`: `lists` is their length.
pub fn overlap_of(before: &[u32], after: &[u32], lists: usize, k: usize) -> f64 {
    let pairs = before.chunks_exact(lists).zip(after.chunks_exact(lists));
    let shared = |(a, b): (&[u32], &[u32])| a[..k].iter().filter(|j| b[..k].contains(j)).count();
    let n = before.len() / lists;
    pairs.map(shared).sum::<usize>() as f64 / (n * k).max(1) as f64
}

/// Overlap of the `k`-neighbourhoods of unit rows `[n, d]` before and after alignment, 0 to 1.
///
/// # Errors
/// Shapes that differ; k = 0 or k >= n.
pub fn knn_overlap(before: &[f64], after: &[f64], width: usize, k: usize) -> Result<f64> {
    let n = count("neighbour overlap", "rows before", before, width)?;
    if count("neighbour overlap", "rows after", after, width)? != n {
        return Err(Error::shape("neighbour overlap", "rows after", format!("{n} rows"), after.len() / width));
    }
    let (a, b) = (nearest_others(before, width, k)?, nearest_others(after, width, k)?);
    Ok(overlap_of(&a, &b, k, k))
}
