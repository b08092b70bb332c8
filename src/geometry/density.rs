//! Densities of pairwise cosines and their Jensen-Shannon divergence [spec 5; paper appendix E].

use super::dense;
use super::rows::{check_width, count};
use crate::{Error, Result};

/// Points of the grid on [-1, 1].
pub const GRID_POINTS: usize = 2001;
/// Gaussian bandwidth, in units of the cosine.
pub const BANDWIDTH: f64 = 0.02;
/// Rows of a side that are compared pairwise: the first ones.
pub const PAIR_ROWS: usize = 2000;
/// Bins per grid step of the histogram that is smoothed.
const FINE: usize = 10;
/// Rows whose cosines are taken at a time.
const BLOCK: usize = 256;

/// A density on the grid, which sums to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Density {
    weights: Vec<f64>,
    pairs: u64,
}

/// The k-th grid point.
pub fn grid_point(k: usize) -> f64 {
    -1.0 + k as f64 * (2.0 / (GRID_POINTS - 1) as f64)
}

/// Distance of two bins of the fine histogram.
fn fine_step() -> f64 {
    (grid_point(1) - grid_point(0)) / FINE as f64
}

impl Density {
    /// Of all pairs i < j within unit rows `[n, d]`, of which the first [`PAIR_ROWS`] are used.
    ///
    /// # Errors
    /// No whole rows; fewer than two.
    pub fn within(rows: &[f64], width: usize) -> Result<Self> {
        let n = count("cosine density", "rows", rows, width)?.min(PAIR_ROWS);
        if n < 2 {
            return Err(Error::degenerate(format!("cosine density: {n} rows make no pair; give two or more")));
        }
        Ok(Histogram::of(&rows[..n * width], &rows[..n * width], width, |i, j| i < j).smooth())
    }

    /// Of all pairs of a row of `a` with a row of `b` of another index (equal indices are left out: they may be
    /// partners). Unit rows `[n, d]`, the first [`PAIR_ROWS`] of each.
    ///
    /// # Errors
    /// No whole rows; no pair.
    pub fn across(a: &[f64], b: &[f64], width: usize) -> Result<Self> {
        let n = count("cosine density", "rows", a, width)?.min(PAIR_ROWS);
        let m = count("cosine density", "rows", b, width)?.min(PAIR_ROWS);
        if n == 0 || m == 0 || n * m < 2 {
            return Err(Error::degenerate(format!("cosine density: {n} and {m} rows make no pair")));
        }
        Ok(Histogram::of(&a[..n * width], &b[..m * width], width, |i, j| i != j).smooth())
    }

    /// Weights on the grid, `[2001]`, with sum 1.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// Pairs that were counted.
    pub fn pairs(&self) -> u64 {
        self.pairs
    }
}

/// Jensen-Shannon divergence in bits, 0 to 1.
///
/// # Errors
/// Never for densities of this module; lengths are checked.
pub fn jensen_shannon(p: &Density, q: &Density) -> Result<f64> {
    check_width("Jensen-Shannon divergence", "density", p.weights.len(), q.weights.len())?;
    let term = |a: f64, m: f64| if a > 0.0 { a * (a.ln() - m.ln()) } else { 0.0 };
    let sum: f64 = p
        .weights
        .iter()
        .zip(&q.weights)
        .map(|(&a, &b)| {
            let m = 0.5 * (a + b);
            // Half of the smallest number may round to 0, and with it the term.
            if m > 0.0 { 0.5 * (term(a, m) + term(b, m)) } else { 0.0 }
        })
        .sum();
    Ok((sum / std::f64::consts::LN_2).clamp(0.0, 1.0))
}

/// Counts in bins of 1e-4 centred on multiples of it.
struct Histogram {
    bins: Vec<u64>,
}

impl Histogram {
    fn of(a: &[f64], b: &[f64], width: usize, counts: impl Fn(usize, usize) -> bool) -> Self {
        let mut bins = vec![0; (GRID_POINTS - 1) * FINE + 1];
        let (m, step, last) = (b.len() / width, fine_step(), bins.len() - 1);
        let b = dense::view(b, m, width);
        for (block, rows) in a.chunks(BLOCK * width).enumerate() {
            let n = rows.len() / width;
            let mut cosines = vec![0.0; n * m];
            dense::product_into(dense::view(rows, n, width), b.transpose(), &mut cosines);
            for (i, row) in cosines.chunks_exact(m).enumerate() {
                for (_, c) in row.iter().enumerate().filter(|(j, _)| counts(block * BLOCK + i, *j)) {
                    // `as` takes what lies below 0 to 0.
                    bins[(((c + 1.0) / step).round_ties_even() as usize).min(last)] += 1;
                }
            }
        }
        Histogram { bins }
    }

    /// The Gaussian of [`BANDWIDTH`], cut at six of them, at every tenth bin.
    fn smooth(&self) -> Density {
        let step = fine_step();
        let reach = (6.0 * BANDWIDTH / step).ceil() as usize;
        let kernel: Vec<f64> = (0..=reach).map(|k| (-0.5 * (k as f64 * step / BANDWIDTH).powi(2)).exp()).collect();
        let at = |centre: usize| -> f64 {
            let first = centre.saturating_sub(reach);
            let bins = &self.bins[first..(centre + reach + 1).min(self.bins.len())];
            let nonzero = bins.iter().enumerate().filter(|(_, n)| **n > 0);
            nonzero.map(|(k, &n)| n as f64 * kernel[(first + k).abs_diff(centre)]).sum()
        };
        let mut weights: Vec<f64> = (0..GRID_POINTS).map(|k| at(k * FINE)).collect();
        let total: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|w| *w /= total);
        Density { weights, pairs: self.bins.iter().sum() }
    }
}
