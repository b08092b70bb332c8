//! What moves: the passive bias between two snapshots, and the mean under projection [spec 4; paper section 3.4, B.14].

use super::dense;
use super::rows::{UnitRows, check_width};
use super::survey::Survey;
use crate::host::{dot, norm};
use crate::stats::{RowSource, StreamOptions, normalise};
use crate::{Error, Result};

/// Shortest γ(t0) that a drift is measured against.
const SHORTEST: f64 = 1e-12;

/// POB drift `‖γ(t) - γ(t0)‖ / max(‖γ(t0)‖, 1e-12)` of vectors `[d]`.
///
/// # Errors
/// Vectors of different widths.
pub fn pob_drift(now: &[f64], reference: &[f64]) -> Result<f64> {
    check_width("drift", "the second snapshot", now.len(), reference.len())?;
    let moved: Vec<f64> = now.iter().zip(reference).map(|(a, b)| a - b).collect();
    Ok(norm(&moved) / norm(reference).max(SHORTEST))
}

/// `cos(γ(t), γ(t-1))` of vectors `[d]`; `None` where one is shorter than 1e-12.
///
/// # Errors
/// Vectors of different widths.
pub fn adjacent_cosine(now: &[f64], before: &[f64]) -> Result<Option<f64>> {
    check_width("drift", "the second snapshot", now.len(), before.len())?;
    let (a, b) = (norm(now), norm(before));
    Ok((a >= SHORTEST && b >= SHORTEST).then(|| (dot(now, before) / a / b).clamp(-1.0, 1.0)))
}

/// A measured displacement beside a prediction of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Predicted {
    /// As measured, `[d]`.
    pub measured: Vec<f64>,
    /// As predicted, `[d]`.
    pub predicted: Vec<f64>,
}

impl Predicted {
    /// `‖predicted - measured‖ / ‖measured‖`; `None` where nothing moved.
    pub fn relative_error(&self) -> Option<f64> {
        let off: Vec<f64> = self.predicted.iter().zip(&self.measured).map(|(p, m)| p - m).collect();
        let size = norm(&self.measured);
        (size >= SHORTEST).then(|| norm(&off) / size)
    }
}

/// Phantom drift of ReAlign's first two steps, `z = μ_x + s (u - μ_y)`, under `π(z) = z / ‖z‖`.
#[derive(Clone, Debug, PartialEq)]
pub struct PhantomDrift {
    /// `E[π(z)] - π(μ_x)` and the paper's expansion about μ_x, good for `tr Σ ≪ ‖μ_x‖²`.
    pub expansion: Predicted,
    /// `E[π(z)] - μ_x` and the expansion for unit rows, where `‖z‖²` is `1 + 2 s b·ε`.
    pub unit_rows: Predicted,
    /// `tr(s² Σ_y) / ‖μ_x‖²`: the paper's expansion wants it well below 1.
    pub ratio: f64,
}

/// The paper's second-order expansion of `E[π(μ + ε)] - π(μ)` for ε of covariance Σ, `[d, d]`: with r = ‖μ‖, a = μ / r,
/// `(-Σa - ½ tr(Σ) a + 1.5 (aᵀΣa) a) / r²`.
///
/// # Errors
/// Shapes that do not fit; μ = 0, which has no direction.
pub fn expansion(mu: &[f64], covariance: &[f64]) -> Result<Vec<f64>> {
    let d = mu.len();
    let sigma = dense::square("phantom drift", covariance, d)?;
    let r = norm(mu);
    if r < SHORTEST {
        return Err(Error::degenerate("phantom drift: the mean is 0, which has no direction".to_owned()));
    }
    let a: Vec<f64> = mu.iter().map(|m| m / r).collect();
    let sa = dense::rows_of(dense::product(sigma, dense::view(&a, d, 1)).as_ref());
    let trace: f64 = (0..d).map(|i| sigma[(i, i)]).sum();
    let along = 1.5 * dot(&a, &sa) - 0.5 * trace;
    Ok(sa.iter().zip(&a).map(|(s, a)| (along * a - s) / (r * r)).collect())
}

/// The expansion of `E[π(z)] - μ_x` for unit rows, Σ_y `[d, d]`: with `b = μ_x - s μ_y`, to second order in `s b·ε`,
/// `-s² Σ_y b + 1.5 s² (bᵀ Σ_y b) μ_x`.
///
/// # Errors
/// Shapes that do not fit.
pub fn unit_row_expansion(target: &[f64], source: &[f64], covariance: &[f64], scale: f64) -> Result<Vec<f64>> {
    let d = target.len();
    check_width("phantom drift", "the source's mean", d, source.len())?;
    let sigma = dense::square("phantom drift", covariance, d)?;
    let b: Vec<f64> = target.iter().zip(source).map(|(x, y)| x - scale * y).collect();
    let sb = dense::rows_of(dense::product(sigma, dense::view(&b, d, 1)).as_ref());
    let (square, along) = (scale * scale, 1.5 * dot(&b, &sb));
    Ok(sb.iter().zip(target).map(|(s, x)| square * (along * x - s)).collect())
}

/// Measures the phantom drift of `source`'s rows (whose survey is `moments`) about `mean_target`, beside both predictions:
/// one more read of the source.
///
/// # Errors
/// Widths that differ; a mean of the target that is 0; what the source reports.
pub fn phantom_drift(
    source: &mut dyn RowSource,
    moments: &Survey,
    (mean_target, trace_target): (&[f64], f64),
    options: StreamOptions<'_>,
) -> Result<PhantomDrift> {
    let d = moments.width();
    check_width("phantom drift", "the target's mean", d, mean_target.len())?;
    check_width("phantom drift", "the source", d, source.width())?;
    let scale = (trace_target / (moments.spectrum().trace() + 1e-10)).sqrt();
    let mut total = vec![0.0; d];
    let (mut rows, mut count) = (UnitRows::new(source, options)?, 0usize);
    loop {
        let mut block = rows.next()?;
        if block.is_empty() {
            break;
        }
        for row in block.chunks_exact_mut(d) {
            for ((z, x), y) in row.iter_mut().zip(mean_target).zip(moments.mean()) {
                *z = x + scale * (*z - y);
            }
            normalise(row);
            total.iter_mut().zip(&*row).for_each(|(t, z)| *t += z);
            count += 1;
        }
    }
    let moved = |from: &[f64]| total.iter().zip(from).map(|(t, f)| t / count.max(1) as f64 - f).collect();
    let scaled: Vec<f64> = moments.covariance().iter().map(|c| scale * scale * c).collect();
    let length = norm(mean_target);
    let direction: Vec<f64> = mean_target.iter().map(|m| m / length.max(SHORTEST)).collect();
    Ok(PhantomDrift {
        expansion: Predicted { measured: moved(&direction), predicted: expansion(mean_target, &scaled)? },
        unit_rows: Predicted {
            measured: moved(mean_target),
            predicted: unit_row_expansion(mean_target, moments.mean(), moments.covariance(), scale)?,
        },
        ratio: scale * scale * moments.spectrum().trace() / (length * length),
    })
}
