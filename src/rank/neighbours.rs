//! Products of rows with those that they are nearest to: products of f32 choose the candidates, products of f64 order them.

use rayon::prelude::*;

use crate::Result;
use crate::device::Device;
use crate::geometry::neighbours::{Rows, nearest};

/// Candidates beyond those asked for.
pub(super) const MARGIN: usize = 16;

pub(super) fn wide_dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

/// Indices among the rows of `base` that may be the `k` nearest of each of `rows`, by cosine, `[n, m]` flat, and m; all of them where there are few.
pub(super) fn candidates(
    device: &Device,
    (rows, base): (&[f32], &[f32]),
    width: usize,
    k: usize,
) -> Result<(Vec<u32>, usize)> {
    let (count, wanted) = (base.len() / width, k.saturating_add(MARGIN));
    if wanted >= count {
        return Ok(((0..rows.len() / width).flat_map(|_| 0..count as u32).collect(), count));
    }
    Ok((nearest(device, Rows::new(rows, width)?, Rows::new(base, width)?, wanted, None)?.indices, wanted))
}

/// Bytes of candidates that are looked at together.
const BLOCK: usize = 256 << 20;

/// What `fold` makes of the rows of `base` whose products with each of the unit rows `[n, d]` are the `k` largest, largest first, with these; fewer
/// where there are fewer. Memory is bounded whatever n and k are.
pub(super) fn of_largest_products<T: Send>(
    device: &Device,
    (rows, base): (&[f32], &[f32]),
    (width, k): (usize, usize),
    fold: impl Fn(&[(usize, f64)]) -> T + Sync,
) -> Result<Vec<T>> {
    let each = k.saturating_add(MARGIN).min(base.len() / width).max(1);
    let block = (BLOCK / (size_of::<u64>() * each)).max(1);
    let parts = rows.chunks(block * width).map(|rows| fold_block(device, (rows, base), (width, k), &fold));
    Ok(parts.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

fn fold_block<T: Send>(
    device: &Device,
    (rows, base): (&[f32], &[f32]),
    (width, k): (usize, usize),
    fold: &(impl Fn(&[(usize, f64)]) -> T + Sync),
) -> Result<Vec<T>> {
    let (found, m) = candidates(device, (rows, base), width, k)?;
    let one = |(row, found): (&[f32], &[u32])| {
        let product = |at: usize| (at, wide_dot(row, &base[at * width..(at + 1) * width]));
        let mut products: Vec<(usize, f64)> = found.iter().map(|at| product(*at as usize)).collect();
        products.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        products.truncate(k);
        fold(&products)
    };
    Ok(rows.par_chunks_exact(width).zip(found.par_chunks_exact(m.max(1))).map(one).collect())
}
