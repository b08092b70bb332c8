//! Principal angles between subspaces [spec 4; paper section 3.1].

use faer::MatRef;

use super::dense;
use super::frame::Frame;
use super::rows::check_width;
use crate::Result;

/// Angles between two frames.
#[derive(Clone, Debug, PartialEq)]
pub struct PrincipalAngles {
    /// All min(r_a, r_b) angles in radians, ascending.
    pub radians: Vec<f64>,
    /// `‖P_{V_a} P_{U_b}‖₂`: how far b leans out of a. The sine of the largest angle where b has no more directions than
    /// a, and 1 where it has more.
    pub sin_theta_max: f64,
}

/// The angles between the spans of `a` and `b`. Angles up to 45° come from their sines, larger ones from their cosines, so
/// that small ones keep their digits (Björck and Golub): absolute error some 1e-16 √d, in every angle.
///
/// In f64 on the host: products in f32 on a device would be off by 1e-7 and leave an angle of 1e-6 no digit. FLOPs: some 8 r² d.
///
/// # Errors
/// Frames of different widths.
pub fn principal_angles(a: &Frame, b: &Frame) -> Result<PrincipalAngles> {
    check_width("principal angles", "the second frame", a.width(), b.width())?;
    let d = a.width();
    let basis = |f: &Frame| dense::view(f.directions(), f.rank(), d).transpose().qr().compute_thin_Q();
    let (qa, qb) = (basis(a), basis(b));
    let (qa, qb) = (qa.as_ref(), qb.as_ref());
    // The smaller space is the one whose directions are split into inside and outside.
    let (large, small) = if a.rank() >= b.rank() { (qa, qb) } else { (qb, qa) };
    let cross = dense::product(large.transpose(), small);
    let cosines = dense::singular_values(cross.as_ref())?;
    let mut sines = dense::singular_values(outside(large, small, cross.as_ref()).as_ref())?;
    // Descending cosines and ascending sines belong together.
    sines.reverse();
    let angle = |(&c, &s): (&f64, &f64)| if c * c >= 0.5 { s.min(1.0).asin() } else { c.min(1.0).acos() };
    let mut radians: Vec<f64> = cosines.iter().zip(&sines).map(angle).collect();
    radians.sort_by(f64::total_cmp);
    let sin_theta_max = if b.rank() > a.rank() { 1.0 } else { sines.last().copied().unwrap_or(0.0).min(1.0) };
    Ok(PrincipalAngles { radians, sin_theta_max })
}

/// `(I - large largeᵀ) small`, subtracted twice: once leaves the rounding of the first.
fn outside(large: MatRef<'_, f64>, small: MatRef<'_, f64>, cross: MatRef<'_, f64>) -> faer::Mat<f64> {
    let once = small - dense::product(large, cross);
    let rest = dense::product(large.transpose(), once.as_ref());
    &once - dense::product(large, rest.as_ref())
}
