//! Has the data moved since a fit? A test of a new batch against stored means and traces.
//!
//! The mean: `S = ‖m - μ‖²` of a batch of n rows against a mean of N rows. If nothing moved, S is a sum of squared
//! normals with weights `λ_i (1/n + 1/N)`; as usual (Satterthwaite; Box) it is taken for `g χ²_ν` with the same mean and
//! variance, `ν = tr(Σ)² / tr(Σ²)`, of which the batch gives both traces, the second without bias for normal rows (Bai and
//! Saranadasa). So a batch of few rows, fewer than d, will do, and no covariance need be stored.
//!
//! The trace: the mean of `q = ‖u - μ‖²` over the batch against the stored trace, in units of its standard error.

use statrs::function::erf::erfc;
use statrs::function::gamma::checked_gamma_ur;

use super::dense;
use super::rows::{UnitRows, check_width};
use super::scatter::Scatter;
use crate::host::{dot, norm};
use crate::stats::{RowSource, StreamOptions};
use crate::{Error, Result};

/// Fewest rows of a batch: the estimate of tr(Σ²) needs some.
pub const FEWEST_ROWS: u64 = 8;
/// Rows that tr(Σ²) is estimated from.
const GRAM_ROWS: usize = 2048;

/// What is stored of the rows that an operator was fitted on.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// μ, `[d]`.
    pub mean: &'a [f64],
    /// T.
    pub trace: f64,
    /// N.
    pub rows: u64,
    /// Variance that privacy's noise gave each component of μ; 0 without.
    pub noise: f64,
}

/// The outcome of the test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recalibration {
    /// Rows of the batch.
    pub rows: u64,
    /// `S / E[S]`: about 1 if the mean has not moved.
    pub statistic: f64,
    /// ν.
    pub degrees: f64,
    /// Probability of a statistic as large if the mean has not moved.
    pub p_mean: f64,
    /// Deviation of the batch's trace in standard errors.
    pub trace_z: f64,
    /// Probability of a deviation as large if the trace has not moved.
    pub p_trace: f64,
    /// `min(1, 2 min(p_mean, p_trace))`: of the two tests together (Bonferroni).
    pub p_value: f64,
    /// Distance that the mean has moved: `√max(0, S - E[S])`, an estimate free of sampling noise. It is what an operator
    /// fitted before would leave of a gap, about; a large batch finds differences too small to matter.
    pub drift: f64,
}

impl Recalibration {
    /// Whether the data has moved, at a level of significance such as 0.01.
    pub fn recalibrate(&self, significance: f64) -> bool {
        self.p_value < significance
    }
}

/// Tests a batch's unit rows against what is stored.
///
/// # Errors
/// A batch of fewer than 8 rows, or of equal rows; another width; a NaN or an infinity; a file that cannot be read.
pub fn recalibration(
    batch: &mut dyn RowSource,
    stored: Stored<'_>,
    options: StreamOptions<'_>,
) -> Result<Recalibration> {
    let d = stored.mean.len();
    check_width("drift check", "the batch", d, batch.width())?;
    let seen = Seen::of(batch, stored.mean, options)?;
    if seen.rows < FEWEST_ROWS {
        let problem = format!("drift check: the batch has {} rows; give {FEWEST_ROWS} or more", seen.rows);
        return Err(Error::degenerate(problem));
    }
    let (n, big) = (seen.rows as f64, stored.rows.max(1) as f64);
    // Unbiased: 1/(n - 1).
    let trace = seen.trace * n / (n - 1.0);
    if trace < crate::stats::TRACE_RESOLUTION || seen.square <= 0.0 {
        let problem = "drift check: the batch's rows are all equal, which says nothing of their spread";
        return Err(Error::degenerate(problem.to_owned()));
    }
    let expected = trace / n + stored.trace / big + d as f64 * stored.noise;
    let distance: f64 = seen.mean.iter().zip(stored.mean).map(|(m, s)| (m - s).powi(2)).sum();
    let degrees = (trace * trace / seen.square).clamp(1.0, d as f64);
    let statistic = distance / expected;
    // A probability below the smallest float is 0.
    let p_mean = checked_gamma_ur(0.5 * degrees, 0.5 * degrees * statistic).unwrap_or(1.0).clamp(0.0, 1.0);
    // Of a private trace: noise of the squares, of twice its product with μ, and of its own square.
    let length = stored.mean.iter().map(|m| m * m).sum::<f64>();
    let of_noise = stored.noise * (4.0 * length + 1.0) + 2.0 * d as f64 * stored.noise * stored.noise;
    let error = (seen.spread / n + seen.spread / big + of_noise).sqrt();
    let deviation = seen.about_stored - stored.trace;
    let trace_z = if error > 0.0 { deviation / error } else { 0.0 };
    let p_trace = erfc(trace_z.abs() / std::f64::consts::SQRT_2).clamp(0.0, 1.0);
    Ok(Recalibration {
        rows: seen.rows,
        statistic,
        degrees,
        p_mean,
        trace_z,
        p_trace,
        p_value: (2.0 * p_mean.min(p_trace)).min(1.0),
        drift: (distance - expected).max(0.0).sqrt(),
    })
}

/// One pass over a batch.
struct Seen {
    rows: u64,
    mean: Vec<f64>,
    /// With 1/n.
    trace: f64,
    /// An estimate of tr(Σ²).
    square: f64,
    /// Mean of q, `‖u - μ‖²` with the stored μ.
    about_stored: f64,
    /// Variance of q.
    spread: f64,
}

impl Seen {
    fn of(batch: &mut dyn RowSource, stored: &[f64], options: StreamOptions<'_>) -> Result<Self> {
        let d = stored.len();
        let mut rows = UnitRows::new(batch, options)?;
        let (mut sum, mut n) = (vec![0.0; d], 0u64);
        let (mut q, mut qq, mut own) = (0.0, 0.0, 0.0);
        let mut first: Vec<f64> = Vec::new();
        loop {
            let block = rows.next()?;
            if block.is_empty() {
                break;
            }
            for row in block.chunks_exact(d) {
                let off: f64 = row.iter().zip(stored).map(|(u, m)| (u - m).powi(2)).sum();
                n += 1;
                // Welford's recurrence.
                let step = off - q;
                q += step / n as f64;
                qq += step * (off - q);
                own += dot(row, row);
                sum.iter_mut().zip(row).for_each(|(s, u)| *s += u);
            }
            let room = (GRAM_ROWS * d - first.len()).min(block.len());
            first.extend_from_slice(&block[..room]);
        }
        let count = n.max(1) as f64;
        let mean: Vec<f64> = sum.iter().map(|s| s / count).collect();
        let trace = (own / count - norm(&mean).powi(2)).max(0.0);
        let spread = qq / (count - 1.0).max(1.0);
        Ok(Seen { rows: n, mean, trace, square: squared_trace(&first, d), about_stored: q, spread })
    }
}

/// tr(Σ²) without bias for normal rows: `(n-1)² / ((n-2)(n+1)) (tr S² - tr(S)² / (n-1))`, S with 1/(n-1).
fn squared_trace(rows: &[f64], d: usize) -> f64 {
    let n = rows.len() / d;
    if n < FEWEST_ROWS as usize {
        return 0.0;
    }
    let mut centred = Scatter::new(d);
    let mean = {
        let mut mean = vec![0.0; d];
        rows.chunks_exact(d).for_each(|r| mean.iter_mut().zip(r).for_each(|(m, x)| *m += x / n as f64));
        mean
    };
    let about: Vec<f64> = rows.chunks_exact(d).flat_map(|r| r.iter().zip(&mean).map(|(x, m)| x - m)).collect();
    // The smaller of rows·rowsᵀ and rowsᵀ·rows has the same square.
    let square = if n <= d {
        let rows = dense::view(&about, n, d);
        dense::product(rows, rows.transpose()).as_ref().squared_norm_l2()
    } else {
        centred.add(&about);
        let scale = n as f64;
        centred.covariance().iter().map(|c| (c * scale).powi(2)).sum()
    };
    let n = n as f64;
    let trace = about.iter().map(|x| x * x).sum::<f64>() / (n - 1.0);
    let square = square / (n - 1.0).powi(2);
    (n - 1.0).powi(2) / ((n - 2.0) * (n + 1.0)) * (square - trace * trace / (n - 1.0))
}
