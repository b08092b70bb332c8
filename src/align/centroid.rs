//! ReAlign's third step [spec 2]: shift the projected rows so that their mean is μ_x, and project again.
//!
//! As often as asked, or exactly: the shift h with `E[P(e' + h)] = μ_x` is found by Newton. The Jacobian
//! `E[(I - ê êᵀ) / ‖e''‖]` is taken over a sample of rows and never formed: its eigenvalues lie between about 0.5 and 1,
//! so that conjugate gradients solve with it in some ten products, each of O(m d). The residual is over all rows.

use rayon::prelude::*;

use super::options::FitOptions;
use super::{Centroid, Statistics};
use crate::Result;
use crate::device::Device;
use crate::host::{dot, norm};
use crate::stats::RowSource;

/// Rows of the Jacobian's sample.
pub(super) const SAMPLE_ROWS: u64 = 4096;
/// Passes over the data after the first; Newton needs 3 to 5.
const MAX_PASSES: usize = 10;
/// Residual at which Newton stops: the resolution of the means, see `kernels::stats::moments`.
const TOLERANCE: f64 = 1e-12;
/// Longest shift that the kernels take; between means of unit rows 2 is the most.
const LONGEST_SHIFT: f64 = 4.0;

/// Adds the centroid step to statistics that have the affine part.
pub(super) fn fit(
    device: &Device,
    source: &mut dyn RowSource,
    sample: &[f64],
    statistics: &mut Statistics,
    options: &FitOptions<'_>,
) -> Result<()> {
    let mut mean = |statistics: &Statistics| -> Result<Vec<f64>> {
        Ok(super::apart::sum_moved(device, statistics, source, options.stream)?.mean())
    };
    let projected = mean(statistics)?;
    statistics.shifts = vec![subtract(&statistics.mean_target, &projected)];
    statistics.mean_projected = Some(projected);
    match options.centroid {
        Centroid::Steps(steps) => {
            for _ in 1..steps {
                let now = mean(statistics)?;
                statistics.shifts.push(subtract(&statistics.mean_target, &now));
            }
        }
        Centroid::Exact => newton(statistics, sample, mean)?,
    }
    Ok(())
}

/// Improves the one shift until the mean of the final rows is μ_x, or stops getting closer.
fn newton(
    statistics: &mut Statistics,
    sample: &[f64],
    mut mean: impl FnMut(&Statistics) -> Result<Vec<f64>>,
) -> Result<()> {
    let d = statistics.width();
    let projected = project_sample(statistics, sample);
    let mut best = (f64::INFINITY, statistics.shifts[0].clone());
    for pass in 0..=MAX_PASSES {
        let residual = subtract(&statistics.mean_target, &mean(statistics)?);
        let gap = norm(&residual);
        log::debug!("centroid: residual gap {gap:.3e} after {pass} Newton steps");
        let stalled = gap > 0.5 * best.0;
        if gap < best.0 {
            best = (gap, statistics.shifts[0].clone());
        }
        if gap < TOLERANCE || stalled || pass == MAX_PASSES {
            break;
        }
        let step = Jacobian::at(&projected, &statistics.shifts[0], d).solve(&residual);
        statistics.shifts[0].iter_mut().zip(step).for_each(|(h, s)| *h += s);
        // Where no shift reaches μ_x, as with equal source rows, the Jacobian is singular and the step is wild.
        let length = norm(&statistics.shifts[0]);
        if !length.is_finite() || length > LONGEST_SHIFT {
            log::debug!("centroid: no better shift after {pass} Newton steps");
            break;
        }
    }
    statistics.residual_gap = Some(best.0);
    statistics.shifts[0] = best.1;
    Ok(())
}

/// e' of the sample's unit rows, `[m, d]`.
fn project_sample(statistics: &Statistics, sample: &[f64]) -> Vec<f64> {
    let (a, first) = statistics.affine();
    let mut out = sample.to_vec();
    out.par_chunks_exact_mut(first.len()).for_each(|row| {
        row.iter_mut().zip(&first).for_each(|(u, v)| *u = a * *u + v);
        let inverse = norm(row).max(1e-10).recip();
        row.iter_mut().for_each(|r| *r *= inverse);
    });
    out
}

/// `E[(I - ê êᵀ) / ‖e''‖]` as a product with vectors.
struct Jacobian {
    /// ê, `[m, d]`.
    rows: Vec<f64>,
    /// 1 / ‖e''‖, `[m]`.
    weights: Vec<f64>,
    width: usize,
}

impl Jacobian {
    fn at(projected: &[f64], shift: &[f64], width: usize) -> Self {
        let mut rows = projected.to_vec();
        let weights = (rows.par_chunks_exact_mut(width))
            .map(|row| {
                row.iter_mut().zip(shift).for_each(|(r, h)| *r += h);
                let inverse = norm(row).max(1e-10).recip();
                row.iter_mut().for_each(|r| *r *= inverse);
                inverse
            })
            .collect();
        Jacobian { rows, weights, width }
    }

    fn times(&self, v: &[f64]) -> Vec<f64> {
        let m = self.weights.len().max(1) as f64;
        // Blocks of fixed size, added in order: the same bits whatever the number of threads.
        let parts: Vec<Vec<f64>> = (self.rows.par_chunks(self.width * 256).zip(self.weights.par_chunks(256)))
            .map(|(rows, weights)| {
                let mut part = vec![0.0; self.width];
                for (row, w) in rows.chunks_exact(self.width).zip(weights) {
                    let along = w * dot(row, v);
                    part.iter_mut().zip(row).for_each(|(p, r)| *p += along * r);
                }
                part
            })
            .collect();
        let mean_weight = self.weights.iter().sum::<f64>() / m;
        let mut out: Vec<f64> = v.iter().map(|v| v * mean_weight).collect();
        for part in parts {
            out.iter_mut().zip(part).for_each(|(o, p)| *o -= p / m);
        }
        out
    }

    /// Conjugate gradients, to 1e-8 of the right side: more is lost in the sample anyway.
    fn solve(&self, right: &[f64]) -> Vec<f64> {
        let mut x = vec![0.0; right.len()];
        let mut r = right.to_vec();
        let mut p = r.clone();
        let (mut square, end) = (dot(&r, &r), 1e-16 * dot(right, right));
        for _ in 0..100 {
            let q = self.times(&p);
            let curvature = dot(&p, &q);
            // A sample on a line through the origin has a null direction.
            if square <= end || curvature <= 0.0 {
                break;
            }
            let step = square / curvature;
            x.iter_mut().zip(&p).for_each(|(x, p)| *x += step * p);
            r.iter_mut().zip(&q).for_each(|(r, q)| *r -= step * q);
            let next = dot(&r, &r);
            p.iter_mut().zip(&r).for_each(|(p, r)| *p = r + next / square * *p);
            square = next;
        }
        x
    }
}

fn subtract(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}
