//! Maps of rows that centring and ReAlign are made of.

use rayon::prelude::*;

use super::profile::Profile;
use crate::host::{dot, norm};

/// ε of ReAlign's scale.
const SCALE_EPSILON: f64 = 1e-10;

/// Steps `v ← P(a v + b)` on unit rows, P the projection to norm 1; none leaves rows as they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowMap(Vec<(f64, Vec<f64>)>);

fn project(row: &mut [f64]) {
    let length = norm(row);
    if length >= 1e-10 {
        row.iter_mut().for_each(|x| *x /= length);
    }
}

impl RowMap {
    /// `P(u - μ)`.
    pub(super) fn centre(mean: &[f64]) -> Self {
        RowMap(vec![(1.0, mean.iter().map(|m| -m).collect())])
    }

    /// ReAlign from a profile's cloud to the target's: `P(P(μ_x + s (u - μ_y)) + h)`, with h by the profile's sample.
    pub(super) fn realign(source: &Profile, target: &Profile) -> Self {
        let trace = |p: &Profile| p.covariance().trace();
        let scale = (trace(target) / (trace(source) + SCALE_EPSILON)).sqrt();
        let (mean, goal) = (source.mean(), target.mean());
        let shift = goal.iter().zip(&mean).map(|(x, y)| x - scale * y).collect();
        let mut map = RowMap(vec![(scale, shift)]);
        let (weights, d) = (source.weights(), mean.len());
        let mapped = map.apply(&source.sample.rows(), d);
        let mut centroid = vec![0.0; d];
        for (row, weight) in mapped.chunks_exact(d).zip(&weights) {
            centroid.iter_mut().zip(row).for_each(|(c, x)| *c += weight * f64::from(*x));
        }
        let total: f64 = weights.iter().sum();
        map.0.push((1.0, goal.iter().zip(&centroid).map(|(x, c)| x - c / total).collect()));
        map
    }

    /// Whether rows stay as they are.
    pub fn is_identity(&self) -> bool {
        self.0.is_empty()
    }

    /// Unit rows `[n, d]` to unit rows.
    pub fn apply(&self, rows: &[f32], width: usize) -> Vec<f32> {
        let mut out = rows.to_vec();
        if self.is_identity() || width == 0 {
            return out;
        }
        out.par_chunks_exact_mut(width).for_each(|out| {
            let mut row: Vec<f64> = out.iter().map(|x| f64::from(*x)).collect();
            for (scale, shift) in &self.0 {
                row.iter_mut().zip(shift).for_each(|(x, b)| *x = *x * scale + b);
                project(&mut row);
            }
            out.iter_mut().zip(&row).for_each(|(o, x)| *o = *x as f32);
        });
        out
    }
}

/// Rows brought to norm 1 in f64 and rounded, `[n, d]`; one of norm below 1e-10 becomes zero.
pub(super) fn unit_rows(rows: &[f32], width: usize) -> Vec<f32> {
    let mut out = rows.to_vec();
    out.par_chunks_exact_mut(width.max(1)).for_each(|row| {
        let wide: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
        let length = dot(&wide, &wide).sqrt();
        let factor = if length < 1e-10 { 0.0 } else { length.recip() };
        row.iter_mut().zip(&wide).for_each(|(o, x)| *o = (x * factor) as f32);
    });
    out
}
