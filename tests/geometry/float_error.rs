//! What an error of a covariance does to the numbers that are read from it: first-order bounds, from a spectrum itself.

use realign::geometry::{Spectrum, Survey};

/// How far each diagnostic may be off for two sets whose covariances are known to their spectra's resolution, which bounds an error E
/// in Frobenius norm.
pub struct Bounds {
    sides: [Side; 2],
    overlap: f64,
    correlation: f64,
}

struct Side {
    trace: f64,
    alpha: f64,
    /// Relative.
    effective_rank: f64,
    /// Relative.
    kappa: f64,
}

impl Bounds {
    pub fn of(source: &Survey, target: &Survey, q: usize) -> Bounds {
        let sides = [source.spectrum(), target.spectrum()];
        // Davis and Kahan: the span of the first q turns by ‖E‖ / (λ_q - λ_q+1), and O_q is tr(P_A P_B) / q.
        let turned = |s: &Spectrum| s.resolution() / (s.eigenvalues()[q - 1] - s.eigenvalues()[q]);
        let overlap = (2.0 / q as f64).sqrt() * sides.iter().map(|s| turned(s)).sum::<f64>();
        // Hoffman and Wielandt: Σ (Δλ)² <= ‖E‖²; a correlation turns by the angle of each centred vector at most.
        let spread = |s: &Spectrum| {
            let mean = s.trace() / s.eigenvalues().len() as f64;
            s.eigenvalues().iter().map(|l| (l - mean).powi(2)).sum::<f64>().sqrt()
        };
        let correlation = sides.iter().map(|s| s.resolution() / spread(s)).sum();
        Bounds { sides: sides.map(Side::of), overlap, correlation }
    }

    /// Absolute, or relative for numbers above 1.
    pub fn of_key(&self, key: &str) -> f64 {
        let side = &self.sides[usize::from(key.ends_with("_target"))];
        match key.trim_end_matches("_source").trim_end_matches("_target") {
            "trace" => side.trace,
            "alpha" => side.alpha,
            "effective_rank" => side.effective_rank,
            "kappa" => side.kappa,
            "subspace_overlap" => self.overlap,
            "spectral_correlation" => self.correlation,
            // From means and rows, which are f64 on every device.
            _ => 0.0,
        }
    }
}

impl Side {
    fn of(s: &Spectrum) -> Side {
        let (l, e, trace) = (s.eigenvalues(), s.resolution(), s.trace());
        let (first, last) = s.fitted_ranks();
        let logs: Vec<f64> = (first..=last).map(|k| (k as f64).ln()).collect();
        let mean = logs.iter().sum::<f64>() / logs.len() as f64;
        let square: f64 = logs.iter().map(|x| (x - mean).powi(2)).sum();
        // The slope is Σ w_k ln λ_k, and ln λ_k is off by e / λ_k (Weyl).
        let alpha = logs.iter().zip(&l[first - 1..]).map(|(x, l)| (x - mean).abs() / square * e / l).sum();
        let rank = s.rank_at(0.99);
        // Σ |Δλ| <= √d ‖E‖; the entropy's slope along λ_k is -(ln p_k + H) / trace.
        let entropy = s.effective_rank().ln();
        let slope = l.iter().filter(|l| **l > 0.0).map(|l| ((l / trace).ln() + entropy).powi(2)).sum::<f64>().sqrt();
        Side {
            trace: e * (l.len() as f64).sqrt(),
            alpha,
            effective_rank: slope * e / trace,
            kappa: e / l[0] + e / l[rank - 1],
        }
    }
}
