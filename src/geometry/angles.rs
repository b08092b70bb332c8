//! Principal angles between subspaces [spec 4; paper section 3.1].

use faer::{Mat, MatRef};

use super::dense;
use super::frame::Frame;
use super::rows::check_width;
use crate::Result;
use crate::device::Device;
use crate::kernels::geometry::angles as kernel;
pub use crate::kernels::geometry::angles::MAX_RANK;

/// Angles between two frames.
#[derive(Clone, Debug, PartialEq)]
pub struct PrincipalAngles {
    /// All min(r_a, r_b) angles in radians, ascending.
    pub radians: Vec<f64>,
    /// `‖P_{V_a} P_{U_b}‖₂`: how far b leans out of a. The sine of the largest angle where b has no more directions than
    /// a, and 1 where it has more.
    pub sin_theta_max: f64,
}

impl PrincipalAngles {
    /// From pairs of a sine and a cosine: angles up to 45° by their sines, larger ones by their cosines.
    fn of(pairs: impl Iterator<Item = [f64; 2]>, leans_out: bool) -> Self {
        let angle = |[s, c]: [f64; 2]| if c >= s { s.min(1.0).asin() } else { c.min(1.0).acos() };
        let (mut radians, mut largest) = (Vec::new(), 0f64);
        for pair in pairs {
            radians.push(angle(pair));
            largest = largest.max(pair[0].min(1.0));
        }
        radians.sort_by(f64::total_cmp);
        PrincipalAngles { radians, sin_theta_max: if leans_out { 1.0 } else { largest } }
    }
}

/// The two frames' directions, orthonormal to f64's rounding, `[d, r]`; the larger first. Equal ones have angles of 0, and need no more.
pub(super) enum Spans {
    Equal(usize),
    Different { large: Mat<f64>, small: Mat<f64>, leans_out: bool },
}

impl Spans {
    pub(super) fn of(a: &Frame, b: &Frame) -> Result<Self> {
        check_width("principal angles", "the second frame", a.width(), b.width())?;
        if a.directions() == b.directions() {
            return Ok(Spans::Equal(a.rank()));
        }
        let basis = |f: &Frame| dense::view(f.directions(), f.rank(), f.width()).transpose().qr().compute_thin_Q();
        let (large, small) = if a.rank() >= b.rank() { (a, b) } else { (b, a) };
        Ok(Spans::Different { large: basis(large), small: basis(small), leans_out: b.rank() > a.rank() })
    }
}

fn equal(rank: usize) -> PrincipalAngles {
    PrincipalAngles { radians: vec![0.0; rank], sin_theta_max: 0.0 }
}

/// The angles between the spans of `a` and `b`. Angles up to 45° come from their sines, larger ones from their cosines, so
/// that small ones keep their digits (Björck and Golub): absolute error some 1e-16 √d, in every angle; 0 for equal directions.
///
/// In f64 on the host: products in f32 on a device would be off by 1e-7 and leave an angle of 1e-6 no digit. FLOPs: some 8 r² d.
///
/// # Errors
/// Frames of different widths.
pub fn principal_angles(a: &Frame, b: &Frame) -> Result<PrincipalAngles> {
    let (large, small, leans_out) = match Spans::of(a, b)? {
        Spans::Equal(rank) => return Ok(equal(rank)),
        Spans::Different { large, small, leans_out } => (large, small, leans_out),
    };
    let (large, small) = (large.as_ref(), small.as_ref());
    let cross = dense::product(large.transpose(), small);
    let cosines = dense::singular_values(cross.as_ref())?;
    let mut sines = dense::singular_values(outside(large, small, cross.as_ref()).as_ref())?;
    // Descending cosines and ascending sines belong together.
    sines.reverse();
    Ok(PrincipalAngles::of(sines.into_iter().zip(cosines).map(|(s, c)| [s, c]), leans_out))
}

/// [`principal_angles`] on a GPU, by exact products and rotations of integers ([`kernels::geometry::angles`](crate::kernels::geometry::angles)): as
/// accurate, sines and cosines with the same bits on every device that is given the same bases. On the host engine, on drivers that run on the CPU, and for
/// frames of more than [`MAX_RANK`] directions, or that no binding holds, it is [`principal_angles`].
///
/// # Errors
/// Frames of different widths; a device lost or out of memory.
pub fn principal_angles_on(device: &Device, a: &Frame, b: &Frame) -> Result<PrincipalAngles> {
    match takes_kernels(device, a, b) {
        true => principal_angles_by_kernel(device, a, b),
        false => principal_angles(a, b),
    }
}

/// Whether a device is a GPU whose bindings hold what the kernels need.
pub(super) fn takes_kernels(device: &Device, a: &Frame, b: &Frame) -> bool {
    let ranks = (a.rank().max(b.rank()), a.rank().min(b.rank()));
    device.capabilities().kind.is_gpu() && kernel::fits(device, ranks, a.width())
}

/// [`principal_angles_on`] by the kernels, whatever the device.
///
/// # Errors
/// As [`principal_angles_on`]; frames of more than [`MAX_RANK`] directions, or that no binding holds.
pub fn principal_angles_by_kernel(device: &Device, a: &Frame, b: &Frame) -> Result<PrincipalAngles> {
    match Spans::of(a, b)? {
        Spans::Equal(rank) => Ok(equal(rank)),
        Spans::Different { large, small, leans_out } => {
            let rows = |m: &Mat<f64>| dense::rows_of(m.transpose());
            let started = kernel::submit(device, (&rows(&large), large.ncols()), (&rows(&small), small.ncols()))?;
            Ok(PrincipalAngles::of(started.read_blocking(device)?.into_iter(), leans_out))
        }
    }
}

/// `(I - large largeᵀ) small`, subtracted twice: once leaves the rounding of the first.
pub(super) fn outside(large: MatRef<'_, f64>, small: MatRef<'_, f64>, cross: MatRef<'_, f64>) -> faer::Mat<f64> {
    let once = small - dense::product(large, cross);
    let rest = dense::product(large.transpose(), once.as_ref());
    &once - dense::product(large, rest.as_ref())
}
