//! Gaussian optimal transport: the map of least mean squared displacement from one Gaussian to another [spec 10; Olkin and Pukelsheim 1982].
//!
//! `z = μ_x + A (y - μ_y)`, `A = Σ_y^{-1/2} (Σ_y^{1/2} Σ_x Σ_y^{1/2})^{1/2} Σ_y^{-1/2}`, with a ridge on Σ_y; A is symmetric and positive, and
//! `A Σ_y A = Σ_x`. Then rows are projected, and the centroid step follows. Where Σ_x is a multiple of Σ_y the map is ReAlign's. Of the
//! maps that give the target's covariance this one moves rows least; with a strength below 1 it is mixed with ReAlign's scaling.

use faer::Mat;

use crate::Result;
use crate::geometry::roots::Roots;
use crate::geometry::{Survey, dense};

/// `(1 - t) s I + t A` of source and target, `[d, d]`, row-major and symmetric, for a strength t of 0 to 1 and the scale s of the traces.
pub(super) fn map((y, x): (&Survey, &Survey), ridge: f64, (strength, scale): (f64, f64)) -> Result<Vec<f64>> {
    let d = y.width();
    let source = Roots::of(y.covariance(), d, ridge)?.of_source()?;
    let colour = Roots::of(x.covariance(), d, 0.0)?.power(0.5);
    // Of K = Σ_x^{1/2} Σ_y^{1/2} = U S Vᵀ: the root of KᵀK is V S Vᵀ. Its small values are good to ε of the largest, where roots of
    // the eigenvalues of KᵀK were to √ε; and the map divides by the source's small ones.
    let (values, right) = dense::right_singular(dense::product(colour.as_ref(), source.power(0.5).as_ref()).as_ref())?;
    let outer = dense::product(source.power(-0.5).as_ref(), right.as_ref());
    let scaled = Mat::from_fn(d, d, |i, j| outer[(i, j)] * values[j]);
    let map = dense::product(scaled.as_ref(), outer.transpose());
    let mixed = |i: usize, j: usize| {
        let diagonal = if i == j { (1.0 - strength) * scale } else { 0.0 };
        // Half of each triangle: symmetric to the bit.
        diagonal + strength * (0.5 * map[(i, j)] + 0.5 * map[(j, i)])
    };
    Ok((0..d * d).map(|k| mixed(k / d, k % d)).collect())
}
