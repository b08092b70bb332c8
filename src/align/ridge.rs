//! The least-squares map from rows to their partners: what a linear map can do at most where pairs are known.
//!
//! `z = μ_x + A (y - μ_y)`, `A = Σ_xy (Σ_y + ridge I)⁻¹`, for which `E‖x - z‖²` is least; then rows are projected, and the centroid step
//! follows. It shrinks what the source does not tell, so that its cloud is narrower than the target's.

use faer::{Accum, Mat};

use crate::geometry::roots::Roots;
use crate::geometry::rows::UnitRows;
use crate::geometry::{Survey, dense};
use crate::stats::{RowSource, StreamOptions};
use crate::{Error, Result};

/// A of pairs, `[d, d]`, row-major: one more read of both sides.
pub(super) fn map(
    (source, target): (&mut dyn RowSource, &mut dyn RowSource),
    (y, x): (&Survey, &Survey),
    ridge: f64,
    stream: StreamOptions<'_>,
) -> Result<Vec<f64>> {
    let d = y.width();
    let inverse = Roots::of(y.covariance(), d, ridge)?.of_source()?.power(-1.0);
    let mut common = Mat::<f64>::zeros(d, d);
    let (mut sources, mut targets) = (UnitRows::new(source, stream)?, UnitRows::new(target, stream)?);
    loop {
        let (mut from, mut to) = (sources.next()?, targets.next()?);
        if from.len() != to.len() {
            return Err(Error::shape("fit", "the target", "as many rows as the source", "another number of rows"));
        }
        if from.is_empty() {
            break;
        }
        for (rows, mean) in [(&mut from, y.mean()), (&mut to, x.mean())] {
            rows.chunks_exact_mut(d).for_each(|row| row.iter_mut().zip(mean).for_each(|(u, m)| *u -= m));
        }
        let n = from.len() / d;
        dense::product_to(&mut common, Accum::Add, dense::view(&to, n, d).transpose(), dense::view(&from, n, d));
    }
    let n = y.rows() as f64;
    let map = dense::product(common.as_ref(), inverse.as_ref());
    Ok(dense::rows_of(map.as_ref()).into_iter().map(|a| a / n).collect())
}
