//! The directions that make the principal angles between two frames [spec 4; paper section 3.1]: which way one span leans out of another.
//!
//! For angles up to 45° they are the right singular vectors of `R = (I - A Aᵀ) B`, whose singular values are the angles' sines, for larger ones
//! those of `C = Aᵀ B`, of the cosines, among what is left (Björck and Golub 1973; Knyazev and Argentati 2002): cosines of small angles are 1 to all digits,
//! and sines of large ones, so that either alone would mix their directions.

use std::f64::consts::FRAC_1_SQRT_2;
use std::path::Path;

use faer::{Mat, MatRef};
use safetensors::tensor::Dtype;

use super::angles::{PrincipalAngles, Spans, outside};
use super::dense;
use super::frame::Frame;
use crate::Result;
use crate::device::Device;
use crate::host::{dot, norm};
use crate::kernels::geometry::angles::{self as kernel, Pair};
use crate::stats::file::{Contents, entry, format_of, read_bytes, write};

const FORMAT: &str = "realign-principal-vectors";
const VERSION: u32 = 1;

/// A direction of the larger frame that is shorter than this, of its projection's length, was found by rounding alone: another takes its place.
const FOUND: f64 = 0.5;

/// The directions that make the angles between two frames: k pairs, k the lesser number of directions.
#[derive(Clone, Debug, PartialEq)]
pub struct PrincipalVectors {
    /// In the first frame's span, `[k, d]`, orthonormal rows by ascending angle: row i makes angle i with row i of `b`, and right angles with its others.
    pub a: Vec<f64>,
    /// In the second frame's span, `[k, d]`, orthonormal. Each row's largest component is positive, the first of several.
    pub b: Vec<f64>,
    /// d.
    pub width: usize,
}

impl PrincipalVectors {
    /// Writes tensors `a` and `b`, `[k, d]` f64, and `angles_rad`, `[k]` f64, atomically.
    ///
    /// # Errors
    /// Angles of other frames; the file exists and `force` is false; it cannot be written.
    pub fn save(&self, path: &Path, angles: &PrincipalAngles, force: bool) -> Result<()> {
        let k = self.a.len() / self.width.max(1);
        if angles.radians.len() != k {
            return Err(crate::Error::shape("principal vectors", "angles", k, angles.radians.len()));
        }
        let entries = [
            entry("a", Dtype::F64, vec![k, self.width], &self.a),
            entry("b", Dtype::F64, vec![k, self.width], &self.b),
            entry("angles_rad", Dtype::F64, vec![k], &angles.radians),
        ];
        write(path, force, (FORMAT, VERSION), &[("width", self.width.to_string())], &entries)
    }

    /// Reads what [`PrincipalVectors::save`] wrote: the vectors, and their angles, `[k]` in radians.
    ///
    /// # Errors
    /// No such file, a newer format, or a damaged one.
    pub fn load(path: &Path) -> Result<(Self, Vec<f64>)> {
        let bytes = read_bytes(path)?;
        let file = Contents::parse(path, &bytes, (FORMAT, VERSION))?;
        let (width, radians) = (file.parsed::<usize>("width")?, file.finite("angles_rad", None)?);
        let count = width.checked_mul(radians.len()).filter(|_| width > 0);
        let count = count.ok_or_else(|| file.damaged("the width is out of range"))?;
        let vectors = |name| file.finite(name, Some(count));
        Ok((PrincipalVectors { a: vectors("a")?, b: vectors("b")?, width }, radians))
    }

    /// Whether the file says that it holds principal vectors.
    pub fn is_file(path: &Path) -> bool {
        format_of(path).as_deref() == Some(FORMAT)
    }

    /// Directions from sums of the frames' own, by ascending angle.
    fn of(pairs: Vec<Pair>, (large, small): (MatRef<'_, f64>, MatRef<'_, f64>), a_is_large: bool) -> Self {
        let (r, s, d) = (large.ncols(), small.ncols(), large.nrows());
        let mut of_large: Vec<Vec<f64>> = Vec::with_capacity(s);
        for pair in &pairs {
            let found = unlike(&of_large, pair.of_large.clone());
            of_large.push(found.unwrap_or_else(|| another(&of_large, r)));
        }
        let of_small: Vec<f64> = pairs.into_iter().flat_map(|pair| pair.of_small).collect();
        let directions = |sums: &[f64], basis: MatRef<'_, f64>| {
            dense::rows_of(dense::product(dense::view(sums, s, basis.ncols()), basis.transpose()).as_ref())
        };
        let (large, small) = (directions(&of_large.concat(), large), directions(&of_small, small));
        let (mut a, mut b) = if a_is_large { (large, small) } else { (small, large) };
        for (a, b) in a.chunks_exact_mut(d).zip(b.chunks_exact_mut(d)) {
            let largest = b.iter().copied().fold(0f64, |most, x| if x.abs() > most.abs() { x } else { most });
            if largest < 0.0 {
                a.iter_mut().chain(b).for_each(|x| *x = -*x);
            }
        }
        PrincipalVectors { a, b, width: d }
    }
}

/// The part of `row` that is orthogonal to `rows`, orthonormal ones, of length 1; `None` where next to nothing of it is.
fn unlike(rows: &[Vec<f64>], mut row: Vec<f64>) -> Option<Vec<f64>> {
    for _ in 0..2 {
        let length = norm(&row);
        if length == 0.0 {
            return None;
        }
        row.iter_mut().for_each(|x| *x /= length);
        for other in rows {
            let c = dot(other, &row);
            row.iter_mut().zip(other).for_each(|(x, y)| *x -= c * y);
        }
        if norm(&row) < FOUND {
            return None;
        }
    }
    let length = norm(&row);
    row.iter_mut().for_each(|x| *x /= length);
    Some(row)
}

/// A row of length 1 that is orthogonal to `rows`, fewer than `r`: of the axes that which has most outside of them.
fn another(rows: &[Vec<f64>], r: usize) -> Vec<f64> {
    let inside = |axis: usize| rows.iter().map(|row| row[axis] * row[axis]).sum::<f64>();
    let axis = (0..r).min_by(|&i, &j| inside(i).total_cmp(&inside(j))).unwrap_or(0);
    let mut row = vec![0.0; r];
    row[axis] = 1.0;
    for _ in 0..2 {
        for other in rows {
            let c = dot(other, &row);
            row.iter_mut().zip(other).for_each(|(x, y)| *x -= c * y);
        }
        let length = norm(&row);
        row.iter_mut().for_each(|x| *x /= length);
    }
    row
}

fn columns(m: MatRef<'_, f64>) -> impl Iterator<Item = Vec<f64>> {
    (0..m.ncols()).map(move |j| (0..m.nrows()).map(|i| m[(i, j)]).collect())
}

/// The pairs in f64 on the host, by ascending angle.
fn pairs(large: MatRef<'_, f64>, small: MatRef<'_, f64>) -> Result<Vec<Pair>> {
    let cross = dense::product(large.transpose(), small);
    let r = outside(large, small, cross.as_ref());
    let (sines, v) = dense::right_singular(r.as_ref())?;
    // Descending sines: the angles above 45°, whose directions only cosines tell apart, and then the others.
    let steep = sines.iter().take_while(|sine| **sine > FRAC_1_SQRT_2).count();
    let among = v.as_ref().subcols(0, steep);
    let (cosines, turned) = dense::right_singular(dense::product(cross.as_ref(), among).as_ref())?;
    let steep_v = dense::product(among, turned.as_ref());
    let flat_v = v.as_ref().subcols(steep, v.ncols() - steep).reverse_cols();
    let of_large = |m: MatRef<'_, f64>| dense::product(cross.as_ref(), m);
    let (flat, outer) = (of_large(flat_v), dense::product(r.as_ref(), steep_v.as_ref()));
    let flat = columns(flat_v)
        .zip(columns(flat.as_ref()))
        .zip(sines[steep..].iter().rev())
        .map(|((v, u), &sine)| Pair { sine, cosine: norm(&u), of_small: v, of_large: u });
    let above = of_large(steep_v.as_ref());
    let above = columns(steep_v.as_ref()).zip(columns(above.as_ref())).zip(columns(outer.as_ref())).zip(cosines);
    let above = above.map(|(((v, u), r), cosine)| Pair { sine: norm(&r), cosine, of_small: v, of_large: u });
    Ok(flat.chain(above).collect())
}

/// The directions that make the angles between the spans of `a` and `b`, in the order of [`principal_angles`](super::principal_angles)'s, in f64 on the
/// host. Those of angles that are equal to all digits are any basis of theirs. FLOPs: some 20 r² d.
///
/// # Errors
/// Frames of different widths.
pub fn principal_vectors(a: &Frame, b: &Frame) -> Result<PrincipalVectors> {
    with(a, b, pairs)
}

/// [`principal_vectors`] where [`principal_angles_on`](super::principal_angles_on) finds the angles: on a GPU the rotations are kept.
///
/// # Errors
/// Frames of different widths; a device lost or out of memory.
pub fn principal_vectors_on(device: &Device, a: &Frame, b: &Frame) -> Result<PrincipalVectors> {
    match super::angles::takes_kernels(device, a, b) {
        true => principal_vectors_by_kernel(device, a, b),
        false => principal_vectors(a, b),
    }
}

/// [`principal_vectors_on`] by the kernels, whatever the device.
///
/// # Errors
/// As [`principal_vectors_on`]; frames of more than [`MAX_RANK`](super::angles::MAX_RANK) directions, or that no binding holds.
pub fn principal_vectors_by_kernel(device: &Device, a: &Frame, b: &Frame) -> Result<PrincipalVectors> {
    with(a, b, |large, small| {
        let rows = |m: MatRef<'_, f64>| dense::rows_of(m.transpose());
        let (large, small) = ((&rows(large)[..], large.ncols()), (&rows(small)[..], small.ncols()));
        kernel::submit_with_vectors(device, large, small)?.read_pairs_blocking(device)
    })
}

fn with(
    a: &Frame,
    b: &Frame,
    pairs: impl Fn(MatRef<'_, f64>, MatRef<'_, f64>) -> Result<Vec<Pair>>,
) -> Result<PrincipalVectors> {
    let turned = |basis: &[f64]| Mat::from_fn(a.width(), a.rank(), |i, j| basis[j * a.width() + i]);
    let (large, small, leans_out) = match Spans::of(a, b)? {
        Spans::Equal(rank) => {
            let basis = turned(a.directions());
            let unit = |i: usize| (0..rank).map(|j| f64::from(u8::from(i == j))).collect::<Vec<_>>();
            let pair = |i| Pair { sine: 0.0, cosine: 1.0, of_small: unit(i), of_large: unit(i) };
            let pairs = (0..rank).map(pair).collect();
            return Ok(PrincipalVectors::of(pairs, (basis.as_ref(), basis.as_ref()), true));
        }
        Spans::Different { large, small, leans_out } => (large, small, leans_out),
    };
    let (large, small) = (large.as_ref(), small.as_ref());
    Ok(PrincipalVectors::of(pairs(large, small)?, (large, small), !leans_out))
}
