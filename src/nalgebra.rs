//! Small matrices as nalgebra's types, for apps that hold those (feature `nalgebra`, nalgebra 0.35).
//!
//! Ours are f64 and row-major; nalgebra's are column-major and columns are its vectors. So a covariance or a map `[d, d]` keeps its rows
//! and columns, a mean `[d]` is a column, and a frame's directions, rows of `[r, d]` here, are the columns of a matrix `[d, r]` there:
//! `Uᵀ x` are the coordinates of x.
//!
//! ```
//! use realign::geometry::Frame;
//! use realign::nalgebra::DMatrix;
//!
//! # fn main() -> realign::Result<()> {
//! let directions = DMatrix::from_column_slice(3, 1, &[0.6, 0.8, 0.0]);
//! let frame = Frame::from_nalgebra(&directions)?;
//! assert_eq!((frame.width(), frame.rank()), (3, 1));
//! assert_eq!(frame.to_nalgebra(), directions);
//! # Ok(())
//! # }
//! ```

pub use ::nalgebra::{DMatrix, DVector};

use crate::align::{Mapped, Method, Statistics};
use crate::geometry::{CovarianceView, Frame};
use crate::stats::Covariance;
use crate::{Error, Result};

/// How much a covariance's two triangles may differ, as a fraction of its largest magnitude: what rounding leaves.
const ASYMMETRY: f64 = 1e-12;

/// Row-major values of a matrix.
fn rows_of(matrix: &DMatrix<f64>) -> Vec<f64> {
    // The columns of the transposed matrix, one after the other.
    matrix.transpose().as_slice().to_vec()
}

/// A matrix `[rows, columns]` of row-major values; fields are public, so that they may not fit.
fn matrix_of(what: &'static str, values: &[f64], (rows, columns): (usize, usize)) -> Result<DMatrix<f64>> {
    if rows.checked_mul(columns) != Some(values.len()) {
        return Err(Error::shape("nalgebra", what, format!("[{rows}, {columns}]"), format!("{} values", values.len())));
    }
    Ok(DMatrix::from_row_slice(rows, columns, values))
}

fn check_square(what: &'static str, matrix: &DMatrix<f64>, d: usize) -> Result<()> {
    if d == 0 || matrix.shape() != (d, d) {
        return Err(Error::shape(
            "nalgebra",
            what,
            format!("[{d}, {d}], d at least 1"),
            format!("{:?}", matrix.shape()),
        ));
    }
    Ok(())
}

/// Refuses values that are not finite.
fn check_finite(what: &'static str, values: &[f64]) -> Result<()> {
    match values.iter().find(|x| !x.is_finite()) {
        Some(value) => Err(Error::shape("nalgebra", what, "finite values", value)),
        None => Ok(()),
    }
}

/// As [`crate::stats`] has it: the population form, by 1/n.
impl Covariance {
    /// The mean, `[d]`, and the matrix, `[d, d]`.
    ///
    /// # Errors
    /// Fields that do not fit each other.
    pub fn to_nalgebra(&self) -> Result<(DVector<f64>, DMatrix<f64>)> {
        let d = self.width();
        Ok((DVector::from_column_slice(&self.mean), matrix_of("covariance", &self.matrix, (d, d))?))
    }

    /// From the mean, `[d]`, and the covariance, `[d, d]`, of `count` unit rows; `error` is the matrix's relative error in Frobenius norm,
    /// `f64::EPSILON` where products were f64. The two triangles are averaged.
    ///
    /// # Errors
    /// Shapes that do not fit; a width of 0 or above [`MAX_COVARIANCE_WIDTH`](crate::stats::MAX_COVARIANCE_WIDTH); a NaN or an infinity; a
    /// matrix that is not symmetric, or has a negative variance; an error outside 0 to 1.
    pub fn from_nalgebra(count: u64, mean: &DVector<f64>, matrix: &DMatrix<f64>, error: f64) -> Result<Self> {
        let mut made = Covariance::empty(mean.len())?;
        check_square("covariance", matrix, mean.len())?;
        check_finite("covariance", matrix.as_slice())?;
        check_finite("mean", mean.as_slice())?;
        let off = (matrix - matrix.transpose()).amax();
        if off > ASYMMETRY * matrix.amax() || matrix.diagonal().iter().any(|variance| *variance < 0.0) {
            let got = format!("triangles that differ by {off:.1e}, or a negative variance");
            return Err(Error::shape("nalgebra", "covariance", "a symmetric matrix, no variance below 0", got));
        }
        if !(0.0..1.0).contains(&error) {
            return Err(Error::argument("error", format!("{error}; give a relative error from 0 to 1")));
        }
        // Half of each, so that nothing overflows: symmetric to the bit.
        (made.mean, made.matrix) = (mean.as_slice().to_vec(), rows_of(&(matrix * 0.5 + matrix.transpose() * 0.5)));
        (made.count, made.error) = (count, error);
        Ok(made)
    }
}

/// An exact, symmetric matrix `[d, d]`, as [`Frame::of`] takes it; what is not square or not symmetric is an error there.
impl<'a> From<&'a DMatrix<f64>> for CovarianceView<'a> {
    fn from(matrix: &'a DMatrix<f64>) -> Self {
        // By columns or by rows: it is symmetric.
        CovarianceView::new(matrix.as_slice(), matrix.nrows())
    }
}

impl Frame {
    /// The directions as the columns of U, `[d, r]`.
    pub fn to_nalgebra(&self) -> DMatrix<f64> {
        // A direction a row, one after the other: the columns.
        DMatrix::from_column_slice(self.width(), self.rank(), self.directions())
    }

    /// From the orthonormal columns of U, `[d, r]`, as [`Frame::from_directions`].
    ///
    /// # Errors
    /// As there.
    pub fn from_nalgebra(directions: &DMatrix<f64>) -> Result<Self> {
        Self::from_directions(directions.as_slice().to_vec(), directions.nrows())
    }
}

impl Statistics {
    /// μ_y and μ_x, `[d]` each: the means of the source's and of the target's unit rows.
    pub fn means_to_nalgebra(&self) -> (DVector<f64>, DVector<f64>) {
        (DVector::from_column_slice(&self.mean_source), DVector::from_column_slice(&self.mean_target))
    }

    /// The operator as a map and shifts: A, b and the centroid steps' h, see [`Mapped::to_nalgebra`]. A is `s I` for methods without a
    /// map of their own.
    ///
    /// # Errors
    /// C3, whose noise is no part of any map, `none`, which normalises nothing, and AnisoAlign, which maps lengths; fields that do not fit each other.
    pub fn operator_to_nalgebra(&self) -> Result<(DMatrix<f64>, DVector<f64>, Vec<DVector<f64>>)> {
        let d = self.width();
        match (&self.map, self.method) {
            (_, Method::None | Method::C3) => {
                Err(Error::argument("method", format!("{} is no map that is followed by a projection", self.method)))
            }
            (Some(_), _) if self.radial.is_some() => {
                Err(Error::argument("method", format!("{} maps lengths, too: it is no linear map", self.method)))
            }
            (Some(map), _) => {
                let (source, target) = self.means_to_nalgebra();
                check_length("means", &self.mean_target, d)?;
                let map = matrix_of("map", map, (d, d))?;
                let shift = target - &map * source;
                Ok((map, shift, steps_of(&self.shifts, d)?))
            }
            (None, _) => {
                check_length("means", &self.mean_target, d)?;
                let shift = DVector::from_vec(self.shift());
                Ok((DMatrix::from_diagonal_element(d, d, self.scale), shift, steps_of(&self.shifts, d)?))
            }
        }
    }
}

impl Mapped {
    /// A, `[d, d]`, b, `[d]`, and h of each centroid step, `[d]`: rows are mapped as `r = P(A u + b)`, then `r = P(r + h)` for each h,
    /// where P divides by the norm.
    ///
    /// # Errors
    /// Planes, whose lengths are mapped, too; fields that do not fit each other.
    pub fn to_nalgebra(&self) -> Result<(DMatrix<f64>, DVector<f64>, Vec<DVector<f64>>)> {
        let d = self.shift.len();
        if self.radial.is_some() {
            return Err(Error::argument("method", format!("{} maps lengths, too: it is no linear map", self.method)));
        }
        let shift = DVector::from_column_slice(&self.shift);
        Ok((matrix_of("map", &self.map, (d, d))?, shift, steps_of(&self.steps, d)?))
    }

    /// An operator of an app's own, as [`Mapped::to_nalgebra`] gives them: an [`Aligner`](crate::align::Aligner) for
    /// [`apply()`](crate::align::apply()) and for devices. It goes by the name of blockwise alignment, whose form it has.
    ///
    /// # Errors
    /// Shapes that do not fit, a width of 0, a NaN or an infinity.
    pub fn from_nalgebra(map: &DMatrix<f64>, shift: &DVector<f64>, steps: &[DVector<f64>]) -> Result<Self> {
        let d = shift.len();
        check_square("map", map, d)?;
        check_finite("map", map.as_slice())?;
        check_finite("shift", shift.as_slice())?;
        for step in steps {
            check_length("step", step.as_slice(), d)?;
            check_finite("step", step.as_slice())?;
        }
        let steps = steps.iter().map(|h| h.as_slice().to_vec()).collect();
        let (map, shift) = (rows_of(map), shift.as_slice().to_vec());
        Ok(Mapped { method: Method::Blockwise, map, shift, radial: None, steps })
    }
}

fn check_length(what: &'static str, values: &[f64], d: usize) -> Result<()> {
    if values.len() != d {
        return Err(Error::shape("nalgebra", what, format!("width {d}"), format!("width {}", values.len())));
    }
    Ok(())
}

fn steps_of(steps: &[Vec<f64>], d: usize) -> Result<Vec<DVector<f64>>> {
    steps.iter().map(|h| check_length("step", h, d).map(|()| DVector::from_column_slice(h))).collect()
}
