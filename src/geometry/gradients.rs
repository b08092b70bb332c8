//! Gradients of embeddings against a frame: how much of them leaves it, and whether the residual's spectrum follows theirs
//! [spec 4; paper section 3.2, Lemma B.7].

use super::consistency::spectral_correlation;
use super::dense;
use super::frame::Frame;
use super::rows::count;
use super::spectrum::Spectrum;
use crate::host::dot;
use crate::{Error, Result};

/// Eigenvalues that [`spectral_lock`] compares at most.
pub const TRACKED: usize = 128;

fn check(gradients: &[f64], frame: &Frame) -> Result<usize> {
    let n = count("gradients", "rows", gradients, frame.width())?;
    match gradients.iter().position(|g| !g.is_finite()) {
        None => Ok(n),
        Some(at) => {
            let got = format!("{} at row {}, column {}", gradients[at], at / frame.width(), at % frame.width());
            Err(Error::shape("gradients", "rows", "finite values", got))
        }
    }
}

/// `rms‖P_V g‖ / rms‖g‖` over gradients `[m, d]`: 0 where all stay in the frame, 1 where none does. `None` where there are
/// none, or all vanish.
///
/// # Errors
/// Rows of another width; a NaN or an infinity.
pub fn leakage(gradients: &[f64], frame: &Frame) -> Result<Option<f64>> {
    let n = check(gradients, frame)?;
    // In units of the largest, so that no square vanishes.
    let peak = gradients.iter().fold(0f64, |m, g| m.max(g.abs()));
    if n == 0 || peak == 0.0 {
        return Ok(None);
    }
    let scaled: Vec<f64> = gradients.iter().map(|g| g / peak).collect();
    let (d, u) = (frame.width(), dense::view(frame.directions(), frame.rank(), frame.width()));
    let rows = dense::view(&scaled, n, d);
    let inside = dense::product(rows, u.transpose());
    let outside = rows - dense::product(inside.as_ref(), u);
    // A second time: the first leaves the rounding of what lies inside.
    let rest = dense::product(outside.as_ref(), u.transpose());
    let outside = &outside - dense::product(rest.as_ref(), u);
    Ok(Some((outside.as_ref().squared_norm_l2() / dot(&scaled, &scaled)).sqrt()))
}

/// The spectrum of `G_U`, the covariance of the gradients' coordinates in the frame, `[r]`, by 1/m.
///
/// # Errors
/// As [`leakage`]; no gradients.
pub fn gradient_spectrum(gradients: &[f64], frame: &Frame) -> Result<Spectrum> {
    let n = check(gradients, frame)?;
    if n == 0 {
        return Err(Error::degenerate("gradients: there are none; accumulate at least one batch".to_owned()));
    }
    let u = dense::view(frame.directions(), frame.rank(), frame.width());
    let coordinates = dense::product(dense::view(gradients, n, frame.width()), u.transpose());
    let r = frame.rank();
    let mean: Vec<f64> = (0..r).map(|j| (0..n).map(|i| coordinates[(i, j)]).sum::<f64>() / n as f64).collect();
    let centred = faer::Mat::from_fn(n, r, |i, j| coordinates[(i, j)] - mean[j]);
    let gram = dense::product(centred.transpose(), centred.as_ref());
    let covariance: Vec<f64> = dense::rows_of(gram.as_ref()).iter().map(|g| g / n as f64).collect();
    Spectrum::of(&covariance, r)
}

/// `ρ_eig`: Pearson's correlation of the eigenvalues of `Σ_U` and `G_U`, in descending order, the first [`TRACKED`] at most. `None`
/// where one has no variation.
///
/// # Errors
/// Spectra of different lengths.
pub fn spectral_lock(residual: &Spectrum, gradients: &Spectrum) -> Result<Option<f64>> {
    let first = |s: &Spectrum| Spectrum::from_eigenvalues(s.eigenvalues().iter().take(TRACKED).copied().collect());
    if residual.eigenvalues().len() != gradients.eigenvalues().len() {
        return spectral_correlation(residual, gradients);
    }
    spectral_correlation(&first(residual), &first(gradients))
}
