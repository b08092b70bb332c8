//! The fixed frame: the span U of the leading directions of both sides' covariance, and its complement V
//! [spec 4; paper section 3.1].

use std::path::Path;

use safetensors::tensor::Dtype;

use super::dense;
use super::eigen::{Eigen, symmetric_eigen};
use super::rows::check_width;
use super::spectrum::{EQUAL_ROWS, Spectrum};
use super::subspace::{Leading, LeadingOptions, leading};
use super::survey::Survey;
use crate::device::Device;
use crate::error::{Problem, Remedy};
use crate::host::{dot, norm};
use crate::stats::Covariance;
use crate::stats::file::{Contents, IN_MEMORY, entry, file_bytes, format_of, read_bytes, write_atomically};
use crate::{Error, Result};

const FORMAT: &str = "realign-frame";
const VERSION: u32 = 1;

/// Cumulative energy of a frame by default.
pub const FRAME_ENERGY: f64 = 0.90;

/// How many directions a frame has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cut {
    /// The fewest that hold this share of the energy, above 0 and at most 1.
    Energy(f64),
    /// This many.
    Rank(usize),
}

impl Default for Cut {
    fn default() -> Self {
        Cut::Energy(FRAME_ENERGY)
    }
}

impl Cut {
    /// Refuses, before any row is read, what no rows of width `d` have.
    pub(crate) fn check(self, d: usize) -> Result<()> {
        match self {
            Cut::Energy(e) if e > 0.0 && e <= 1.0 => Ok(()),
            Cut::Energy(e) => Err(Error::argument("energy", format!("{e}; give a share above 0, at most 1"))),
            Cut::Rank(r) => check_rank(r, d),
        }
    }
}

/// An orthonormal basis of U and the spectrum that it was cut from.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    width: usize,
    /// `[r, d]`: one direction a row.
    directions: Vec<f64>,
    spectrum: Spectrum,
}

/// A side's covariance as a frame takes it: a symmetric matrix `[d, d]`, and how far it may be off in spectral norm.
#[derive(Clone, Copy, Debug)]
pub struct CovarianceView<'a> {
    matrix: &'a [f64],
    width: usize,
    error: f64,
}

impl<'a> CovarianceView<'a> {
    /// An exact matrix.
    pub fn new(matrix: &'a [f64], width: usize) -> Self {
        CovarianceView { matrix, width, error: 0.0 }
    }

    /// The sum of two, and how far it may be off in spectral norm.
    fn plus(&self, other: &CovarianceView<'_>) -> Result<(Vec<f64>, f64)> {
        check_width("frame", "the target", self.width, other.width)?;
        check_width("frame", "the target's covariance", self.matrix.len(), other.matrix.len())?;
        Ok((self.matrix.iter().zip(other.matrix).map(|(a, b)| a + b).collect(), self.error + other.error))
    }
}

impl<'a> From<&'a Survey> for CovarianceView<'a> {
    fn from(survey: &'a Survey) -> Self {
        let error = survey.spectrum().error();
        CovarianceView { matrix: survey.covariance(), width: survey.width(), error }
    }
}

impl<'a> From<&'a Covariance> for CovarianceView<'a> {
    fn from(covariance: &'a Covariance) -> Self {
        let error = (covariance.error * norm(&covariance.matrix)).max(EQUAL_ROWS);
        CovarianceView { matrix: &covariance.matrix, width: covariance.width(), error }
    }
}

impl Frame {
    /// From the sides' covariances, of surveys, of files, or as matrices: the leading eigenvectors of their sum, in descending order.
    /// Directions below the covariances' errors do not count.
    ///
    /// Where eigenvalues at the cut are nearly equal, so is the choice of directions there arbitrary.
    ///
    /// # Errors
    /// Widths that differ, or matrices that are not `[d, d]`; an energy outside (0, 1], a rank of 0 or above d; covariances that vanish
    /// (all rows equal), or that have fewer directions than asked for (too few rows).
    pub fn of<'a>(
        source: impl Into<CovarianceView<'a>>,
        target: impl Into<CovarianceView<'a>>,
        cut: Cut,
    ) -> Result<Self> {
        let (source, target) = (source.into(), target.into());
        let (sum, error) = source.plus(&target)?;
        Self::from_eigen(symmetric_eigen(&sum, source.width)?, error, cut)
    }

    /// The leading `rank` directions alone, by [`leading`] on a device, and their eigenvalues, `[rank]`: for wide rows and a rank that
    /// is small against the width. Directions are as good as that function says; the frame's spectrum is empty.
    ///
    /// # Errors
    /// Widths that differ; a rank of 0 or above d, or beyond what the rows span up to the covariances' error; no convergence; a device
    /// lost or out of memory.
    pub fn leading_on(
        device: &Device,
        (source, target): (&Covariance, &Covariance),
        rank: usize,
    ) -> Result<(Self, Vec<f64>)> {
        let d = source.width();
        let (sum, error) = CovarianceView::from(source).plus(&target.into())?;
        check_rank(rank, d)?;
        let Leading { values, vectors, .. } = leading(device, &sum, d, rank, LeadingOptions::default())?;
        let found = Spectrum::within(values, error);
        match found.numerical_rank() {
            0 => Err(no_direction()),
            available if available < rank => Err(too_few(rank, available)),
            _ => Ok((Self::from_directions(vectors, d)?, found.eigenvalues().to_vec())),
        }
    }

    /// As [`Frame::of`], for planes of two directions each: their number is rounded up to an even one, or down where there is no further
    /// direction. `None` where that leaves no plane.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn of_planes<'a>(
        source: impl Into<CovarianceView<'a>>,
        target: impl Into<CovarianceView<'a>>,
        cut: Cut,
    ) -> Result<Option<Self>> {
        let (source, target) = (source.into(), target.into());
        let (sum, error) = source.plus(&target)?;
        let eigen = symmetric_eigen(&sum, source.width)?;
        let (rank, available) = Self::rank_of(&Spectrum::within(eigen.values.clone(), error), cut)?;
        let even = if rank < available { rank.next_multiple_of(2) } else { rank / 2 * 2 };
        if even == 0 { Ok(None) } else { Self::from_eigen(eigen, error, Cut::Rank(even)).map(Some) }
    }

    /// The rank of a cut, and the most that there is.
    fn rank_of(spectrum: &Spectrum, cut: Cut) -> Result<(usize, usize)> {
        cut.check(spectrum.eigenvalues().len())?;
        match (spectrum.numerical_rank(), cut) {
            (0, _) => Err(no_direction()),
            (available, Cut::Energy(e)) => Ok((spectrum.rank_at(e).min(available), available)),
            (available, Cut::Rank(r)) if r > available => Err(too_few(r, available)),
            (available, Cut::Rank(r)) => Ok((r, available)),
        }
    }

    fn from_eigen(eigen: Eigen, error: f64, cut: Cut) -> Result<Self> {
        let d = eigen.order();
        let spectrum = Spectrum::within(eigen.values, error);
        let (rank, _) = Self::rank_of(&spectrum, cut)?;
        let directions = eigen.vectors[..rank * d].to_vec();
        Ok(Frame { width: d, directions, spectrum })
    }

    /// From directions `[r, d]`, orthonormal to 1e-8: for bases made elsewhere. The spectrum is then empty.
    ///
    /// # Errors
    /// No directions, more than d, or not orthonormal.
    pub fn from_directions(directions: Vec<f64>, width: usize) -> Result<Self> {
        let rank = super::rows::count("frame", "directions", &directions, width)?;
        if rank == 0 || rank > width {
            return Err(Error::shape("frame", "directions", format!("1 to {width}"), rank));
        }
        let frame = Frame { width, directions, spectrum: Spectrum::from_eigenvalues(Vec::new()) };
        match frame.orthonormality_error() {
            error if error <= 1e-8 => Ok(frame),
            error => Err(Error::argument("directions", format!("off orthonormal by {error:.1e}; allowed is 1e-8"))),
        }
    }

    fn orthonormality_error(&self) -> f64 {
        let u = dense::view(&self.directions, self.rank(), self.width);
        let gram = dense::product(u, u.transpose());
        let off = |i: usize, j: usize| (gram[(i, j)] - f64::from(u8::from(i == j))).abs();
        let all = (0..self.rank()).flat_map(|i| (0..=i).map(move |j| (i, j)));
        // `max` would drop a NaN.
        all.map(|(i, j)| off(i, j)).fold(0.0, |m, e| if e <= m { m } else { e })
    }

    /// d.
    pub fn width(&self) -> usize {
        self.width
    }

    /// r.
    pub fn rank(&self) -> usize {
        self.directions.len() / self.width
    }

    /// The directions, `[r, d]`, orthonormal, in descending order of their eigenvalues.
    pub fn directions(&self) -> &[f64] {
        &self.directions
    }

    /// Spectrum of `Cov(x) + Cov(y)`, `[d]`; empty if the frame was made from directions.
    pub fn spectrum(&self) -> &Spectrum {
        &self.spectrum
    }

    /// Coordinates `Uᵀ v` of a vector `[d]`, `[r]`.
    ///
    /// # Errors
    /// Another width.
    pub fn coordinates(&self, v: &[f64]) -> Result<Vec<f64>> {
        check_width("projection", "vector", self.width, v.len())?;
        Ok(self.directions.chunks_exact(self.width).map(|u| dot(u, v)).collect())
    }

    /// `P_U v`, `[d]`.
    ///
    /// # Errors
    /// Another width.
    pub fn project_u(&self, v: &[f64]) -> Result<Vec<f64>> {
        let mut out = vec![0.0; self.width];
        for (c, u) in self.coordinates(v)?.into_iter().zip(self.directions.chunks_exact(self.width)) {
            out.iter_mut().zip(u).for_each(|(o, u)| *o += c * u);
        }
        Ok(out)
    }

    /// `P_V v`, `[d]`.
    ///
    /// # Errors
    /// Another width.
    pub fn project_v(&self, v: &[f64]) -> Result<Vec<f64>> {
        let along = self.project_u(v)?;
        Ok(v.iter().zip(along).map(|(v, u)| v - u).collect())
    }

    /// An orthonormal basis of V, `[d - r, d]`: one of many.
    ///
    /// # Errors
    /// None for a frame that was built or loaded; the decomposition may in theory fail.
    pub fn complement(&self) -> Result<Vec<f64>> {
        let u = dense::view(&self.directions, self.rank(), self.width);
        let q = u.transpose().qr().compute_Q();
        Ok(dense::rows_of(q.as_ref().subcols(self.rank(), self.width - self.rank()).transpose()))
    }

    /// Writes a safetensors file: `directions` F64 `[r, d]`, `spectrum` F64 `[d]` (or `[0]`); metadata `format` =
    /// `realign-frame`, `format_version`, `crate_version`.
    ///
    /// # Errors
    /// The file exists and `force` is not given; it cannot be written.
    pub fn save(&self, path: &Path, force: bool) -> Result<()> {
        write_atomically(path, force, &self.to_bytes()?)
    }

    /// The bytes of the file that [`Self::save`] writes: for another process.
    ///
    /// # Errors
    /// None that data can cause.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let eigenvalues = self.spectrum.eigenvalues();
        let entries = [
            entry("directions", Dtype::F64, vec![self.rank(), self.width], &self.directions),
            entry("spectrum", Dtype::F64, vec![eigenvalues.len()], eigenvalues),
        ];
        file_bytes((FORMAT, VERSION), &[("width", self.width.to_string())], &entries)
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// No frame file, a newer format, or a damaged one: directions that are not orthonormal are an error.
    pub fn load(path: &Path) -> Result<Self> {
        Self::parse(path, &read_bytes(path)?)
    }

    /// From the bytes of such a file.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::parse(Path::new(IN_MEMORY), bytes)
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let file = Contents::parse(path, bytes, (FORMAT, VERSION))?;
        let width: usize = file.parsed("width")?;
        let directions = file.finite("directions", None)?;
        let spectrum = file.finite("spectrum", None)?;
        let frame = Frame::from_directions(directions, width).map_err(|e| file.damaged(&e.to_string()))?;
        if !(spectrum.is_empty() || spectrum.len() == width) || spectrum.iter().any(|&l| l < 0.0) {
            return Err(file.damaged("tensor 'spectrum' does not fit the directions"));
        }
        Ok(Frame { spectrum: Spectrum::from_eigenvalues(spectrum), ..frame })
    }

    /// Whether the file says that it holds a frame.
    pub fn is_file(path: &Path) -> bool {
        format_of(path).as_deref() == Some(FORMAT)
    }

    /// β = P_U m and γ = P_V m of a mean difference, and their norms.
    ///
    /// # Errors
    /// Another width.
    pub fn split(&self, m: &[f64]) -> Result<Split> {
        let (beta, gamma) = (self.project_u(m)?, self.project_v(m)?);
        Ok(Split { beta_norm: norm(&beta), gamma_norm: norm(&gamma), beta, gamma })
    }
}

fn check_rank(rank: usize, d: usize) -> Result<()> {
    if rank == 0 || rank > d {
        return Err(Error::argument("rank", format!("{rank}; rows of width {d} have 1 to {d} directions")));
    }
    Ok(())
}

fn no_direction() -> Error {
    let problem = "frame: all rows are equal on both sides, which leaves no direction; give rows that differ";
    Error::degenerate(problem.to_owned())
}

fn too_few(rank: usize, available: usize) -> Error {
    let problem = format!("frame: {rank} directions asked for, but the rows span {available}");
    Error::degenerate(Problem::new(problem).remedy(Remedy::SmallerRank))
}

/// A mean difference in the frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// β, principal mean bias, `[d]`.
    pub beta: Vec<f64>,
    /// γ, passive orthogonal bias, `[d]`.
    pub gamma: Vec<f64>,
    /// ‖β‖.
    pub beta_norm: f64,
    /// ‖γ‖.
    pub gamma_norm: f64,
}
