//! Mean and covariance of f64 rows, in one pass and in f64.

use faer::Mat;

use super::dense;

/// Sums of rows about a shift: the mean of the first block, so that a large mean costs no digits.
pub(crate) struct Scatter {
    count: u64,
    shift: Vec<f64>,
    /// Σ (x - shift), `[d]`.
    sum: Vec<f64>,
    /// Σ (x - shift)(x - shift)ᵀ, lower triangle.
    square: Mat<f64>,
    centred: Vec<f64>,
}

impl Scatter {
    pub fn new(width: usize) -> Self {
        let zeros = || vec![0.0; width];
        Scatter { count: 0, shift: zeros(), sum: zeros(), square: Mat::zeros(width, width), centred: Vec::new() }
    }

    /// Adds rows `[m, d]`.
    pub fn add(&mut self, rows: &[f64]) {
        let d = self.shift.len();
        let m = rows.len() / d;
        if m == 0 {
            return;
        }
        if self.count == 0 {
            rows.chunks_exact(d).for_each(|r| self.shift.iter_mut().zip(r).for_each(|(s, x)| *s += x / m as f64));
        }
        self.centred.clear();
        for row in rows.chunks_exact(d) {
            self.centred.extend(row.iter().zip(&self.shift).map(|(x, s)| x - s));
        }
        for row in self.centred.chunks_exact(d) {
            self.sum.iter_mut().zip(row).for_each(|(s, x)| *s += x);
        }
        dense::add_gram(&mut self.square, dense::view(&self.centred, m, d));
        self.count += m as u64;
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// E\[x\], `[d]`; zeros for no rows.
    pub fn mean(&self) -> Vec<f64> {
        let n = self.count.max(1) as f64;
        self.shift.iter().zip(&self.sum).map(|(s, x)| s + x / n).collect()
    }

    /// Cov(x) with 1/n, `[d, d]`, symmetric.
    pub fn covariance(&self) -> Vec<f64> {
        let (d, n) = (self.shift.len(), self.count.max(1) as f64);
        let mut out = vec![0.0; d * d];
        for i in 0..d {
            for j in 0..=i {
                let value = self.square[(i, j)] / n - (self.sum[i] / n) * (self.sum[j] / n);
                (out[i * d + j], out[j * d + i]) = (value, value);
            }
        }
        // Rounding may leave a variance just below 0.
        (0..d).for_each(|i| out[i * d + i] = out[i * d + i].max(0.0));
        out
    }
}
