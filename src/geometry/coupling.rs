//! Weak coupling: how much of the residual in V a linear map from the residual in U explains [spec 4; paper appendix C].

use faer::linalg::solvers::Solve;
use faer::{Mat, MatRef, Side};

use super::dense;
use super::frame::Frame;
use crate::Result;

/// The ridge, as a share of the mean variance of δ: λ = 1e-3 tr(Cov δ) / r.
pub const RIDGE: f64 = 1e-3;

/// The ridge map `L = Cov(ζ, δ) (Cov(δ) + λI)⁻¹` from δ to ζ.
#[derive(Clone, Debug, PartialEq)]
pub struct Coupling {
    /// `‖L‖₂`; `None` where δ vanishes.
    pub norm: Option<f64>,
    /// `R² = 1 - E‖ζ - L δ‖² / E‖ζ‖²`, pooled over all coordinates; `None` where δ or ζ vanishes.
    pub r2: Option<f64>,
    /// λ.
    pub lambda: f64,
}

/// Blocks of a covariance in a frame.
pub(crate) struct Blocks {
    /// `Uᵀ C U`, `[r, r]`.
    pub uu: Mat<f64>,
    /// `P_V C U`, `[d, r]`.
    pub vu: Mat<f64>,
    /// `P_V C P_V`, `[d, d]`.
    pub vv: Mat<f64>,
}

impl Blocks {
    pub fn of(covariance: MatRef<'_, f64>, frame: &Frame) -> Self {
        let u = dense::view(frame.directions(), frame.rank(), frame.width());
        let cu = dense::product(covariance, u.transpose());
        let uu = dense::product(u, cu.as_ref());
        let uu = Mat::from_fn(uu.nrows(), uu.ncols(), |i, j| 0.5 * (uu[(i, j)] + uu[(j, i)]));
        let vu = &cu - dense::product(u.transpose(), uu.as_ref());
        // C - U (Uᵀ C) - (C U) Uᵀ + U (Uᵀ C U) Uᵀ.
        let mixed = dense::product(vu.as_ref(), u);
        let along = dense::product(dense::product(u.transpose(), uu.as_ref()).as_ref(), u);
        let d = frame.width();
        let entry = |i: usize, j: usize| covariance[(i, j)] - mixed[(i, j)] - mixed[(j, i)] - along[(i, j)];
        let vv = Mat::from_fn(d, d, |i, j| 0.5 * (entry(i, j) + entry(j, i)));
        Blocks { uu, vu, vv }
    }

    pub fn trace(m: &Mat<f64>) -> f64 {
        (0..m.nrows()).map(|i| m[(i, i)]).sum::<f64>().max(0.0)
    }
}

/// The coupling of residuals whose covariance is `covariance`, `[d, d]`. `ridge` is [`RIDGE`] in the published figures.
///
/// # Errors
/// A covariance of another width than the frame's; no convergence.
pub fn coupling(covariance: &[f64], frame: &Frame, ridge: f64) -> Result<Coupling> {
    let covariance = dense::square("coupling", covariance, frame.width())?;
    of_blocks(&Blocks::of(covariance, frame), ridge)
}

pub(crate) fn of_blocks(blocks: &Blocks, ridge: f64) -> Result<Coupling> {
    let r = blocks.uu.nrows();
    let (delta, zeta) = (Blocks::trace(&blocks.uu), Blocks::trace(&blocks.vv));
    let lambda = ridge * delta / r as f64;
    let ridged = Mat::from_fn(r, r, |i, j| blocks.uu[(i, j)] + if i == j { lambda } else { 0.0 });
    let Ok(factor) = ridged.llt(Side::Lower) else { return Ok(Coupling { norm: None, r2: None, lambda }) };
    // Lᵀ = (Cov δ + λI)⁻¹ Cov(δ, ζ), [r, d].
    let map = factor.solve(blocks.vu.transpose());
    let norm = dense::singular_values(map.as_ref())?.first().copied();
    let norm = norm.filter(|n| n.is_finite());
    let fitted = dense::product(blocks.uu.as_ref(), map.as_ref());
    let sum = |f: &dyn Fn(usize, usize) -> f64| -> f64 {
        (0..r).map(|i| (0..map.ncols()).map(|j| f(i, j)).sum::<f64>()).sum()
    };
    let explained = 2.0 * sum(&|i, j| map[(i, j)] * blocks.vu[(j, i)]) - sum(&|i, j| map[(i, j)] * fitted[(i, j)]);
    // Rounding leaves some d ε of the whole in a block that vanishes.
    let floor = f64::EPSILON * map.ncols() as f64 * (delta + zeta);
    let r2 = (zeta > floor && norm.is_some()).then_some(explained / zeta);
    Ok(Coupling { norm, r2, lambda })
}
