//! What principal angles are made of, exactly: the cosines between the directions of two frames, `C = A Bᵀ`, and what of B lies outside of A,
//! `R = B - Cᵀ A` [spec 4]. (Frames have their directions as rows; the shaders speak of columns.)
//!
//! # Formats
//! Components are multiples of 2⁻⁶⁰, each in two integers of which the upper counts 2³² (`linalg::exact_product` takes 43 bits). C is a sum of 128 bits in
//! 2⁻¹²⁰, exact; rounded to 2⁻⁶⁰ it is the operand of `Cᵀ A`, whose sums are exact again, and so is their difference from B. R is therefore that of
//! the rounded frames but for the rounding of C, 2⁻⁶¹: angles are off by some 2⁻⁶¹ √d, and by what the frames lack to orthonormal.
//! Both become wide floats, and their singular values are found by [`super::jacobi`]. All of it is integers: the same bits on every device.

use super::super::linalg::exact_product::{self, Digits, MAX_ROWS, Placement, Sums};
use super::super::{Binding, KernelSpec, Work, check_words};
use super::jacobi::{self, Columns, Part, RotatedColumn};
use crate::device::{Buffer, Device, Recorder};
use crate::host::geometry::angles::{ColumnParams, CrossParams, FRACTION_BITS, halves};
use crate::spec::in_range;
use crate::spec::shader::source;
use crate::{Error, Result};

/// C as digits.
pub static CROSS: KernelSpec = KernelSpec::new(
    "angle cross",
    source!("geometry/angle_cross.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::read(1, "sums"),
        Binding::read_write(2, "upper"),
        Binding::read_write(3, "lower"),
    ],
    crate::host::geometry::angles::cross_twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::ANGLES);

/// The columns of `[R; C]`.
pub static COLUMNS: KernelSpec = KernelSpec::new(
    "angle columns",
    source!("geometry/angle_columns.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::read(1, "inside"),
        Binding::read(2, "cross_sums"),
        Binding::read(3, "b"),
        Binding::read_write(4, "columns"),
    ],
    crate::host::geometry::angles::columns_twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::ANGLES);

pub use super::jacobi::MAX_COLUMNS as MAX_RANK;

/// Two frames' sines and cosines on their way: what a device computes without anybody waiting.
#[derive(Clone, Debug)]
pub struct Angles {
    /// C, `[r, s]`, exact.
    cross: Sums,
    /// C as digits, and A as digits with its directions for rows.
    c: [Digits; 2],
    a: [Digits; 2],
    /// `Cᵀ A` turned, `[d, s]`.
    inside: Sums,
    /// B's components as integers, `[s, d]`.
    b: Buffer,
    columns: Columns,
}

impl Angles {
    /// Records all that follows C: its digits, R, and the rotations.
    ///
    /// # Errors
    /// Another device's memory.
    pub fn record(&self, recorder: &mut Recorder) -> Result<()> {
        self.inside.clear(recorder);
        record_digits(recorder, &self.cross, &self.c)?;
        for (i, j, placement) in PLACEMENTS {
            exact_product::record(recorder, &self.a[i], &self.c[j], placement, &self.inside)?;
        }
        record_columns(recorder, (&self.inside, &self.cross, &self.b), &self.columns)?;
        jacobi::record(recorder, &self.columns, Part::R)?;
        jacobi::record(recorder, &self.columns, Part::C)
    }

    /// The squared norms' words, see [`Columns::read_words_blocking`].
    #[cfg(feature = "bench")]
    pub(crate) fn words(&self) -> &Buffer {
        self.columns.norms()
    }

    /// The sine and the cosine of each principal angle, ascending, waiting for the device.
    ///
    /// # Errors
    /// Rotations that did not end; the device was lost.
    pub fn read_blocking(&self, device: &Device) -> Result<Vec<[f64; 2]>> {
        let of = |part, which: usize| {
            let norms = self.columns.read_norms_blocking(device, part)?;
            let mut values: Vec<f64> = norms.into_iter().map(|norm| norm[which]).collect();
            values.sort_by(f64::total_cmp);
            Ok::<_, Error>(values)
        };
        let (sines, cosines) = (of(Part::R, 0)?, of(Part::C, 1)?);
        Ok(sines.into_iter().zip(cosines.into_iter().rev()).map(|(s, c)| [s, c]).collect())
    }

    /// The directions that make the angles, by ascending angle, waiting for the device; of [`submit_with_vectors`].
    ///
    /// # Errors
    /// Angles that were started without them; rotations that did not end; the device was lost.
    pub fn read_pairs_blocking(&self, device: &Device) -> Result<Vec<Pair>> {
        if self.columns.rows()[2] == 0 {
            return Err(Error::shape("angles", "directions", "angles that were started with vectors", "angles alone"));
        }
        // Both must have ended: pairs of small angles are R's.
        self.columns.read_norms_blocking(device, Part::R)?;
        let norms = self.columns.read_norms_blocking(device, Part::C)?;
        let columns = self.columns.read_blocking(device)?;
        let pair = |([sine, cosine], column): ([f64; 2], RotatedColumn)| Pair {
            sine,
            cosine,
            of_small: column.v,
            of_large: column.c,
        };
        let mut pairs: Vec<Pair> = norms.into_iter().zip(columns).map(pair).collect();
        pairs.sort_by(|a, b| a.sine.atan2(a.cosine).total_cmp(&b.sine.atan2(b.cosine)));
        Ok(pairs)
    }

    /// Their squares' words, for those who compare bits.
    ///
    /// # Errors
    /// The device was lost.
    pub fn read_words_blocking(&self, device: &Device) -> Result<Vec<u8>> {
        let of = |part| self.columns.read_words_blocking(device, part);
        Ok([of(Part::R)?, of(Part::C)?].concat())
    }
}

/// The two directions that make an angle, as sums of the frames' directions.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The angle's sine.
    pub sine: f64,
    /// Its cosine.
    pub cosine: f64,
    /// By how much of each direction of the smaller frame, `[s]`, of length 1.
    pub of_small: Vec<f64>,
    /// The same of the larger, `[r]`, of the cosine's length: the projection of the other into its span.
    pub of_large: Vec<f64>,
}

/// Whether a device's bindings hold what [`submit`] needs for frames `[large, d]` and `[small, d]`.
pub fn fits(device: &Device, (large, small): (usize, usize), d: usize) -> bool {
    // Of R, C and V, which may be kept.
    let rows = (d.next_multiple_of(4) + large + small).max(1) as u64;
    let digits = 24 * (large.div_ceil(4) * d.next_multiple_of(4)) as u64;
    d <= super::super::MAX_WIDTH
        && digits <= device.capabilities().max_binding
        && small <= MAX_RANK
        && large <= MAX_RANK
        && 16 * rows * small.next_multiple_of(4) as u64 <= device.capabilities().max_binding
}

/// Components as multiples of 2⁻⁶⁰.
fn integers(directions: &[f64]) -> Vec<i64> {
    let unit = f64::from(FRACTION_BITS).exp2();
    directions.iter().map(|x| (x * unit).round_ties_even() as i64).collect()
}

/// Their upper and lower parts, as what exact products take.
fn parts(integers: impl Iterator<Item = i64> + Clone) -> [Vec<f64>; 2] {
    [0, 1].map(|k| integers.clone().map(|q| halves(q)[k] as f64).collect())
}

/// The places of the four products of parts: upper by upper, upper by lower and so on.
const PLACEMENTS: [(usize, usize, Placement); 4] = [
    (0, 0, Placement { upper: false, words_up: 2 }),
    (0, 1, Placement { upper: false, words_up: 1 }),
    (1, 0, Placement { upper: false, words_up: 1 }),
    (1, 1, Placement { upper: false, words_up: 0 }),
];

/// Starts the angles between the spans of `large`, `[r, d]`, and `small`, `[s, d]`, s ≤ r, orthonormal rows: those of the smaller with the larger.
/// Returns at once.
///
/// Operations: 4 exact products of `[r, d]` by `[d, s]` and 4 of `[d, r]` by `[r, s]`; then [`super::jacobi`]'s.
///
/// # Errors
/// As [`prepare`].
pub fn submit(device: &Device, large: (&[f64], usize), small: (&[f64], usize)) -> Result<Angles> {
    submitted(device, prepare(device, large, small)?)
}

/// [`submit`] that keeps the rotations, for [`Angles::read_pairs_blocking`].
///
/// # Errors
/// As [`prepare`].
pub fn submit_with_vectors(device: &Device, large: (&[f64], usize), small: (&[f64], usize)) -> Result<Angles> {
    submitted(device, prepare_columns(device, large, small, Columns::with_vectors)?)
}

fn submitted(device: &Device, angles: Angles) -> Result<Angles> {
    let mut recorder = device.recorder();
    angles.record(&mut recorder)?;
    recorder.submit()?;
    Ok(angles)
}

/// [`submit`] up to C; [`Angles::record`] is the rest.
///
/// # Errors
/// Frames that do not fit each other or the device, see [`fits`]; components beyond -1 to 1; a device lost or out of memory.
pub fn prepare(device: &Device, large: (&[f64], usize), small: (&[f64], usize)) -> Result<Angles> {
    prepare_columns(device, large, small, Columns::new)
}

fn prepare_columns(
    device: &Device,
    (large, r): (&[f64], usize),
    (small, s): (&[f64], usize),
    columns: impl Fn(&Device, (usize, usize), usize) -> Result<Columns>,
) -> Result<Angles> {
    let d = large.len().checked_div(r).unwrap_or(0);
    let shapes_fit = d > 0 && s > 0 && s <= r && large.len() == r * d && small.len() == s * d;
    if !shapes_fit || !fits(device, (r, s), d) {
        let want = format!("[r, d] and [s, d], s ≤ r ≤ {MAX_RANK}, that a binding holds");
        let got = format!("{r} and {s} directions, {} and {} numbers", large.len(), small.len());
        return Err(Error::shape("angles", "frames", want, got));
    }
    // Orthonormal up to rounding: a component is 1 and an ulp at most.
    if let Some(x) = large.iter().chain(small).find(|x| x.is_nan() || x.abs() > 1.0 + 1e-7) {
        return Err(Error::shape("angles", "directions", "components from -1 to 1", x));
    }
    let (a, b) = (integers(large), integers(small));
    let cross = Sums::new(device, r, s)?;
    add_cross(device, (&a, r), (&b, s), d, &cross)?;
    let mut rows_of_a = [Digits::new(device, r, d)?, Digits::new(device, r, d)?];
    for (digits, part) in rows_of_a.iter_mut().zip(parts(a.iter().copied())) {
        digits.write(device, &part)?;
    }
    Ok(Angles {
        cross,
        c: [Digits::to_be_written(device, r, s)?, Digits::to_be_written(device, r, s)?],
        a: rows_of_a,
        inside: Sums::new(device, d, s)?,
        b: device.buffer_from("directions", bytemuck::cast_slice(&b))?,
        columns: columns(device, (d, r), s)?,
    })
}

/// Adds `A Bᵀ`, rows of d at a time that digits have room for.
fn add_cross(device: &Device, (a, r): (&[i64], usize), (b, s): (&[i64], usize), d: usize, to: &Sums) -> Result<()> {
    let most = exact_product::rows_that_fit(device, r.max(s)).min(MAX_ROWS).min(d.next_multiple_of(4));
    for first in (0..d).step_by(most) {
        let places = first..d.min(first + most);
        // Column by column: what a product adds up lies in rows.
        let turned = |q: &[i64], n: usize| {
            let of = |at: usize| (0..n).map(move |i| i * d + at);
            parts(places.clone().flat_map(of).map(|at| q[at]).collect::<Vec<_>>().into_iter())
        };
        let digits = |q: &[i64], n: usize| {
            let [upper, lower] = turned(q, n).map(|part| {
                let mut digits = Digits::new(device, places.len(), n)?;
                digits.write(device, &part)?;
                Ok::<_, Error>(digits)
            });
            Ok::<_, Error>([upper?, lower?])
        };
        let (a, b) = (digits(a, r)?, digits(b, s)?);
        let mut recorder = device.recorder();
        for (i, j, placement) in PLACEMENTS {
            exact_product::record(&mut recorder, &a[i], &b[j], placement, to)?;
        }
        recorder.submit()?;
    }
    Ok(())
}

fn single<'a>(sums: &'a Sums, what: &str) -> Result<&'a Buffer> {
    sums.single().ok_or_else(|| Error::shape("angles", what.to_owned(), "sums in one binding", "sums in several"))
}

/// Records that C, `[r, s]`, is rounded and written as digits.
fn record_digits(recorder: &mut Recorder, cross: &Sums, to: &[Digits; 2]) -> Result<()> {
    let (r, s) = cross.shape();
    let (words, width4) = (r.div_ceil(4), s.div_ceil(4));
    let buffers = [single(cross, "cosines")?, to[0].buffer(), to[1].buffer()];
    check_words(recorder, CROSS.name, ("cosines", buffers[0]), 64 * words * width4)?;
    for buffer in &buffers[1..] {
        check_words(recorder, CROSS.name, ("digits", buffer), 24 * words * width4)?;
    }
    let params = CrossParams { words: words as u32, width4: width4 as u32, padding: [0; 2] };
    Work { kernel: &CROSS, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }
        .elements(recorder, 4 * words * width4)
}

/// Records that `[R; C]` is written.
fn record_columns(
    recorder: &mut Recorder,
    (inside, cross, b): (&Sums, &Sums, &Buffer),
    columns: &Columns,
) -> Result<()> {
    let ([rows, cross_rows, identity], count) = (columns.rows(), columns.columns());
    let stride = count.next_multiple_of(4);
    let buffers = [single(inside, "projections")?, single(cross, "cosines")?, b, columns.buffer()];
    check_words(recorder, COLUMNS.name, ("projections", buffers[0]), 4 * rows * stride)?;
    check_words(recorder, COLUMNS.name, ("cosines", buffers[1]), 4 * cross_rows * stride)?;
    check_words(recorder, COLUMNS.name, ("directions", b), 2 * rows * count)?;
    let elements = count * (rows + cross_rows + identity);
    let [rows, cross_rows, columns, stride, identity] = [rows, cross_rows, count, stride, identity].map(|x| x as u32);
    let params = ColumnParams { rows, cross_rows, columns, stride, identity, padding: [0; 3] };
    Work { kernel: &COLUMNS, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }
        .elements(recorder, elements)
}
