//! Neighbourhoods by cosine: do the modalities mix, and are neighbours kept [spec 5; paper appendices F, G].

use rayon::prelude::*;

use super::dense;
use super::neighbours::{Rows, nearest_within};
use super::rows::count;
use crate::device::Device;
use crate::host::dispatch_simd;
use crate::host::real::dot;
use crate::{Error, Result};

/// Neighbours of [`mixing`] by default.
pub const MIXING_K: usize = 20;
/// Neighbours of [`knn_overlap`] by default.
pub const OVERLAP_K: usize = 10;
/// Queries whose cosines are taken at a time, where f64 has to decide among all rows.
const BLOCK: usize = 256;
/// Candidates that f32 chooses beyond those asked for: enough for almost all queries to need no more.
const MARGIN: usize = 16;

/// Cosines in units of which two are equal: rounding must not decide between rows that are the same.
const RESOLUTION: f64 = 1.0 / (1u64 << 40) as f64;

/// For each unit row of `[n, d]` the indices of its `k` nearest by cosine among the others, nearest first, `[n, k]`, by f64 cosines.
/// Those that agree to 2⁻⁴⁰ are ties, as of copies of one row, and the lower index wins: then copies have the same neighbours
/// before and after alignment.
///
/// # Errors
/// No whole rows; k = 0 or k >= n; a NaN or an infinity.
pub fn nearest_others(rows: &[f64], width: usize, k: usize) -> Result<Vec<u32>> {
    nearest_others_on(&Device::host(), rows, width, k)
}

/// [`nearest_others`] with a device's help, and the same result: the device's f32 cosines choose candidates, f64 ranks them, and
/// where f32's error leaves open whether they are the right ones, f64 looks at all rows. Memory: the rows in f32 and what
/// [`super::nearest`] needs; for rows with many copies 256 n numbers more.
///
/// # Errors
/// As [`nearest_others`]; a device lost or out of memory.
pub fn nearest_others_on(device: &Device, rows: &[f64], width: usize, k: usize) -> Result<Vec<u32>> {
    let n = count("neighbours", "rows", rows, width)?;
    if k == 0 || k >= n {
        let problem = format!("{k} neighbours of {n} rows; give 1 to {}, or more rows", n.saturating_sub(1));
        return Err(Error::argument("k", problem));
    }
    if u32::try_from(n).is_err() {
        return Err(Error::shape("neighbours", "rows", "below 2^32", n));
    }
    let list = n.min(k + MARGIN + 1) - 1;
    let single: Vec<f32> = rows.par_iter().map(|&x| x as f32).collect();
    let near = nearest_within(device, Rows::new(&single, width)?, list)?;
    // A sum of d products that add up to at most 1 in magnitude, of factors that are rounded twice.
    let bound = (width as f64 + 4.0) * 2f64.powi(-24);
    // Of rows that are not of norm 1 a cosine says nothing about the product.
    let unit = |row: &[f64]| (0.0..1e-19).contains(&norm_square(row)) || (norm_square(row) - 1.0).abs() < 1e-6;
    let error = if rows.par_chunks_exact(width).all(unit) { bound } else { f64::INFINITY };
    let mut out = vec![0; n * k];
    let tasks = out.par_chunks_mut(BLOCK * k).enumerate();
    let open = tasks.flat_map_iter(|(block, found)| {
        let span = block * BLOCK * list..(block * BLOCK + found.len() / k) * list;
        let (indices, cosines) = (&near.indices[span.clone()], &near.cosines[span]);
        dispatch_simd(Rank { rows, width, first: block * BLOCK, k, found, list, indices, cosines, error })
    });
    rank_among_all(rows, width, k, &open.collect::<Vec<_>>(), &mut out);
    Ok(out)
}

fn norm_square(row: &[f64]) -> f64 {
    dot(row, row)
}

/// Ranks the candidates of the queries from `first` on; returns the queries for which these may not be the right ones.
struct Rank<'a> {
    rows: &'a [f64],
    width: usize,
    first: usize,
    k: usize,
    found: &'a mut [u32],
    /// Candidates of a query.
    list: usize,
    indices: &'a [u32],
    cosines: &'a [f32],
    /// Of an f32 cosine.
    error: f64,
}

impl pulp::NullaryFnOnce for Rank<'_> {
    type Output = Vec<usize>;

    #[inline(always)]
    fn call(self) -> Vec<usize> {
        let (d, n) = (self.width, self.rows.len() / self.width);
        let row = |i: usize| &self.rows[i * d..(i + 1) * d];
        let candidates = self.indices.chunks_exact(self.list).zip(self.cosines.chunks_exact(self.list));
        let mut open = Vec::new();
        for ((query, found), (indices, cosines)) in
            (self.first..).zip(self.found.chunks_exact_mut(self.k)).zip(candidates)
        {
            let own = row(query);
            let exact = indices.iter().map(|&j| ((dot(own, row(j as usize)) / RESOLUTION).round(), j));
            let mut exact: Vec<(f64, u32)> = exact.collect();
            exact.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            found.iter_mut().zip(&exact).for_each(|(f, (_, j))| *f = *j);
            // No row that is left out has a larger cosine than this.
            let rest = f64::from(cosines[self.list - 1]) + self.error;
            let sure = self.list == n - 1 || rest < (exact[self.k - 1].0 - 1.0) * RESOLUTION;
            if !sure {
                open.push(query);
            }
        }
        open
    }
}

/// Finds the neighbours of `queries` by f64 cosines with all rows.
fn rank_among_all(rows: &[f64], width: usize, k: usize, queries: &[usize], out: &mut [u32]) {
    let n = rows.len() / width;
    let all = dense::view(rows, n, width);
    let mut cosines = vec![0.0; BLOCK.min(queries.len()) * n];
    for queries in queries.chunks(BLOCK) {
        let own: Vec<f64> = queries.iter().flat_map(|&i| &rows[i * width..(i + 1) * width]).copied().collect();
        let cosines = &mut cosines[..queries.len() * n];
        dense::product_into(dense::view(&own, queries.len(), width), all.transpose(), cosines);
        let found = cosines.par_chunks_exact(n).zip(queries).map(|(cosines, &own)| {
            let mut found = vec![0; k];
            top(cosines, own, &mut found);
            found
        });
        for (found, &i) in found.collect::<Vec<_>>().iter().zip(queries) {
            out[i * k..(i + 1) * k].copy_from_slice(found);
        }
    }
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
    mixing_on(&Device::host(), target, source, width, k)
}

/// [`mixing`] with a device's help, as [`nearest_others_on`].
///
/// # Errors
/// As [`mixing`]; a device lost or out of memory.
pub fn mixing_on(device: &Device, target: &[f64], source: &[f64], width: usize, k: usize) -> Result<Mixing> {
    let n = count("mixing", "target rows", target, width)?.min(count("mixing", "source rows", source, width)?);
    if k == 0 || k >= 2 * n {
        let problem = format!("{k} neighbours among {} pooled rows; give fewer neighbours, or more rows", 2 * n);
        return Err(Error::argument("mixing_k", problem));
    }
    let pool = [&target[..n * width], &source[..n * width]].concat();
    let found = nearest_others_on(device, &pool, width, k)?;
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
/// [`nearest_others`] of at least `k`: `lists` is their length, and `k` at most that. 0 without lists.
pub fn overlap_of(before: &[u32], after: &[u32], lists: usize, k: usize) -> f64 {
    // Lists of nothing have nothing in common.
    let (k, lists) = (k.min(lists), lists.max(1));
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
