//! Blockwise covariance alignment: the strategy that the paper reports to fail [spec 3; paper appendix F].
//!
//! In the fixed frame of both sides' covariances each block B, U and V, is whitened and coloured by
//! `T_B = Σ_x,B^{1/2} Σ_y,B^{-1/2}` (symmetric roots, a ridge on both); `z = μ_x + A (y - μ_y)`, `A = Σ_B B T_B Bᵀ`; then
//! rows are projected, and the centroid step follows.

use faer::{Mat, MatRef};

use crate::Result;
use crate::geometry::roots::Roots;
use crate::geometry::{Cut, Frame, Survey, dense};

/// A of source and target, `[d, d]`, row-major.
pub(super) fn map((y, x): (&Survey, &Survey), ridge: f64, cut: Cut) -> Result<Vec<f64>> {
    let d = x.width();
    let frame = Frame::of(y, x, cut)?;
    let complement = frame.complement()?;
    let mut map = Mat::zeros(d, d);
    for block in [frame.directions(), &complement] {
        if block.is_empty() {
            continue;
        }
        let basis = dense::view(block, block.len() / d, d);
        let colour = Roots::of(&inside(basis, x), basis.nrows(), ridge)?.power(0.5);
        let whiten = Roots::of(&inside(basis, y), basis.nrows(), ridge)?.of_source()?.power(-0.5);
        let inner = dense::product(colour.as_ref(), whiten.as_ref());
        map += dense::product(dense::product(basis.transpose(), inner.as_ref()).as_ref(), basis);
    }
    Ok(dense::rows_of(map.as_ref()))
}

/// `Bᵀ C B`, row-major and symmetric; the basis has directions as rows. Where a block vanishes, as V does for fewer rows than
/// dimensions, what is left is rounding, whose triangles differ by as much as they hold: they are averaged.
fn inside(basis: MatRef<'_, f64>, survey: &Survey) -> Vec<f64> {
    let d = survey.width();
    let half = dense::product(basis, dense::view(survey.covariance(), d, d));
    let block = dense::product(half.as_ref(), basis.transpose());
    dense::rows_of(
        Mat::from_fn(block.nrows(), block.ncols(), |i, j| 0.5 * block[(i, j)] + 0.5 * block[(j, i)]).as_ref(),
    )
}
