//! Moments [spec 1, 2; paper section 4]: column sums of unit rows, or of the rows that an affine-and-project operator
//! makes of them (as in [`super::super::align::apply`]), with the sum of squares, in one read of the data.
//!
//! # Exactness
//! Everything is integer arithmetic, so results are the same bits on every device, for every order of rows and chunking.
//! * A row is brought to fixed point, `x_j` of at most 31 bits, by a power of two: exact for elements down to 2⁻⁷ of the
//!   largest (f32, f16, bf16 data), else within half of 2⁻³⁰ of the largest.
//! * `S = Σ ⌊x_j² / 2¹⁶⌋`; the weight is an integer `w` of 31 bits, the nearest to `2ᵏ / √S` for the k that makes it so long:
//!   `u_j = x_j w 2⁻⁽ᵏ⁺⁸⁾`.
//! * `u_j` is rounded to a multiple of 2⁻⁴⁰ and added in 64 bits.
//! * What the row's square lacks to 1 is summed too ("defect"), so that `T = E|u|² - |E u|²` is the trace of the very rows
//!   that were added up; for equal rows it is 0 to 1e-11.
//!
//! Together: means within 5e-10 of those in real numbers for any data and any n (a weight's error is at most 2⁻³¹ of the
//! component, an element's 2⁻³¹), traces within 1e-9. Errors have no direction: at n = 1000 both are near 1e-11. Windows
//! hold up to 2²² rows between two readings of the sums.
//!
//! Bytes: one read of the rows, with 8 to 16 loads of 16 bytes (8 of 16-bit rows) in flight to an invocation of a GPU; three reads, two of them from
//! caches, where a row has more than 4,096 columns. Integer operations per element: about 25 for the column sums, 10 for the squares, 15 for
//! each dot.

use super::super::{Binding, KernelSpec, check_device, check_rows, groups, imports as kernel_imports, record_in_parts};
use super::{moment_columns, moment_weights};
use crate::device::{Buffer, Device, Dispatch, Recorder, Tensor};
use crate::host::stats::moments::Params;
use crate::spec::shader::source;
use crate::spec::{Capabilities, Choice, Constant, Import, in_range};
use crate::{ElementType, Error, Result};

/// The kernel.
pub static SPEC: KernelSpec = KernelSpec::new(
    "moments",
    source!("stats/moments.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::texels(1, "rows"),
        Binding::texels(2, "vectors"),
        Binding::read(3, "constants"),
        Binding::read_write(4, "sums"),
    ],
    crate::host::stats::moments::twin,
)
.with_grid()
.with_overrides(&["GROUP", "LANES", "BATCH", "HELD", "VECTORS"])
.trusted(in_range::MOMENTS);

/// Rows that may be added before the sums must be read and cleared.
pub const WINDOW_ROWS: u64 = 1 << 22;

/// Binary digits after the point in the column sums.
pub const FRACTION_BITS: u32 = 40;

/// Binary digits that sums of an operator's rows have beyond those.
pub(crate) const REST_BITS: u32 = 60;

/// Rows of a tile of the shader `moments_tile`.
pub(crate) const TILE: usize = 64;

/// Workgroups that are enough for a large GPU; each adds its sums to all others' once.
const ENOUGH: usize = 2048;

/// How a workgroup takes rows: in tiles, or in batches that its invocations hold in registers, see `shaders/stats/moments_*.wgsl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    group: u32,
    /// Rows of a batch, and vectors of each to an invocation; none for tiles.
    held: Option<(u32, u32)>,
}

impl Shape {
    /// For rows of `width4` vectors.
    pub(crate) fn of(caps: &Capabilities, width4: usize) -> Self {
        // An invocation has registers for 16 vectors, and the sums of 4 columns of vectors on top. More rows at a time than 8 gain nothing, and
        // take more registers for what is computed of each.
        let (held, lanes) = (width4.div_ceil(caps.group as usize), caps.lanes as usize);
        if lanes == 1 || held > 4 {
            return Shape { group: caps.group, held: None };
        }
        // The fewest whole teams that hold a row, so that few lanes idle.
        let group = width4.div_ceil(held).next_multiple_of(lanes).min(caps.group as usize) as u32;
        Shape { group, held: Some(((16 / held as u32).min(8), held as u32)) }
    }

    fn import(self) -> Import {
        ("moments", if self.held.is_some() { "stats/moments_batch.wgsl" } else { "stats/moments_tile.wgsl" })
    }

    /// The values of the shader's overrides.
    fn constants(self, caps: &Capabilities, vectors: usize) -> [Constant; 5] {
        let (batch, held) = self.held.unwrap_or((1, 1));
        [
            ("GROUP", f64::from(self.group)),
            ("LANES", f64::from(caps.lanes)),
            ("BATCH", f64::from(batch)),
            ("HELD", f64::from(held)),
            ("VECTORS", vectors as f64),
        ]
    }

    fn groups(self, rows: usize) -> u32 {
        match self.held {
            Some((batch, _)) => groups(rows.div_ceil(batch as usize).min(ENOUGH)),
            None => groups(rows.div_ceil(TILE)),
        }
    }
}

pub use super::super::align::apply::MAX_VECTORS;

/// What is summed: the unit rows, or the rows of an operator.
#[derive(Clone, Debug)]
pub struct Summand {
    width: usize,
    vectors: Vec<Vec<f64>>,
    fixed: Buffer,
    constants: Buffer,
}

impl Summand {
    /// The unit rows themselves.
    ///
    /// # Errors
    /// A width of 0 or above [`super::super::MAX_WIDTH`]; no memory.
    pub fn unit_rows(device: &Device, width: usize) -> Result<Self> {
        Self::operator(device, 0.0, &[], width)
    }

    /// `r_{m-1}` of `r_0 = P(a u + v_0)`, `r_k = P(r_{k-1} + v_k)`, with `0 <= a <= 1`.
    ///
    /// # Errors
    /// More than [`MAX_VECTORS`] vectors, one longer than 4 or of another width; a width out of range; no memory.
    pub fn operator(device: &Device, a: f64, vectors: &[Vec<f64>], width: usize) -> Result<Self> {
        if width == 0 || width > super::super::MAX_WIDTH {
            return Err(Error::shape("moments", "rows", format!("width 1 to {}", super::super::MAX_WIDTH), width));
        }
        if vectors.len() > MAX_VECTORS {
            return Err(Error::shape("moments", "vectors", format!("at most {MAX_VECTORS}"), vectors.len()));
        }
        let norm2 = |v: &[f64]| crate::host::dot(v, v);
        if let Some(v) = vectors.iter().find(|v| v.len() != width || norm2(v).is_nan() || norm2(v) > 16.0) {
            let got = format!("width {}, norm {}", v.len(), norm2(v).sqrt());
            return Err(Error::shape("moments", "vector", format!("width {width}, norm at most 4"), got));
        }
        let stride = width.div_ceil(4) * 4;
        let mut fixed = vec![0i32; (stride * vectors.len()).max(4)];
        let mut exponents = Vec::with_capacity(vectors.len());
        for (v, row) in vectors.iter().zip(fixed.chunks_exact_mut(stride)) {
            exponents.push(to_fixed(v, row));
        }
        Ok(Summand {
            width,
            vectors: vectors.to_vec(),
            fixed: device.buffer_from("moments vectors", bytemuck::cast_slice(&fixed))?,
            constants: device
                .buffer_from("moments constants", bytemuck::cast_slice(&constants(a, vectors, &exponents)))?,
        })
    }

    /// Bytes of the sums that [`record`] adds to and [`Sums::from_bytes`] decodes.
    pub fn sums_bytes(&self) -> u64 {
        8 * (self.width.div_ceil(4) * 4 + 4 + 2 * self.vectors.len()) as u64
    }
}

/// Writes round(v 2^f) for the largest f that fits 31 bits, and returns f.
fn to_fixed(v: &[f64], out: &mut [i32]) -> u64 {
    let peak = v.iter().fold(0f64, |m, x| m.max(x.abs()));
    let exponent = if peak > 0.0 { (30 - peak.log2().floor() as i64).clamp(11, 90) } else { 31 };
    let scale = (exponent as f64).exp2();
    for (o, x) in out.iter_mut().zip(v) {
        *o = (x * scale).round().clamp(-2147483647.0, 2147483647.0) as i32;
    }
    exponent as u64
}

/// `a, 2a, a² + |v_0|², |v_0|²` and the Gram matrix as Q56, then the exponents.
fn constants(a: f64, vectors: &[Vec<f64>], exponents: &[u64]) -> Vec<u64> {
    let q56 = |x: f64| (x * 56f64.exp2()).round() as i64 as u64;
    let b2 = vectors.first().map_or(0.0, |b| crate::host::dot(b, b));
    let mut out = vec![q56(a), q56(2.0 * a), q56(a * a + b2), q56(b2)];
    for v in vectors {
        out.extend(vectors.iter().map(|w| q56(crate::host::dot(v, w))));
    }
    out.extend(exponents);
    out
}

/// Records the addition of the first `rows` rows of `input`, `[n, d]`, to `sums`. `row_base` is the number of rows added to
/// `sums` since it was cleared.
///
/// # Errors
/// Shapes that differ, more rows than the tensor or the window has, operands of another device.
pub fn record(
    recorder: &mut Recorder,
    summand: &Summand,
    input: &Tensor,
    rows: usize,
    (sums, row_base): (&Buffer, u64),
) -> Result<()> {
    check_rows("moments", input, rows)?;
    check_device("moments", recorder.device(), &[input])?;
    if summand.width != input.width() {
        return Err(Error::shape("moments", "rows", format!("width {}", summand.width), input.width()));
    }
    if sums.bytes() != summand.sums_bytes() {
        return Err(Error::shape("moments", "sums", format!("{} bytes", summand.sums_bytes()), sums.bytes()));
    }
    if row_base + rows as u64 > WINDOW_ROWS {
        return Err(Error::shape("moments", "window", format!("at most {WINDOW_ROWS} rows"), row_base + rows as u64));
    }
    if rows == 0 {
        return Ok(());
    }
    let caps = recorder.device().capabilities();
    let params = Params {
        rows: rows as u32,
        width4: input.width4() as u32,
        vectors: summand.vectors.len() as u32,
        row_base: row_base as u32,
    };
    let elements = (input.element_type(), ElementType::F32);
    let shape = Shape::of(caps, input.width4());
    let (imports, constants) = ([shape.import()], shape.constants(caps, summand.vectors.len()));
    let choice = Choice { family: "moments", elements, imports: &imports, constants: &constants };
    let variant = recorder.device().variant_for(choice, || {
        let files = kernel_imports(caps, elements.0, elements.1)?;
        Ok(([files, imports.to_vec()].concat(), constants.to_vec()))
    })?;
    let whole = Dispatch::new(&SPEC).variant(variant).params(&params).elements(elements.0, elements.1);
    let whole = whole.buffers([input.buffer(), &summand.fixed, &summand.constants, sums]);
    if caps.texel_reads {
        return record_in_two(recorder, whole, params);
    }
    record_in_parts(recorder, whole.groups([shape.groups(rows), 1, 1]))
}

/// The same sums by `moment_weights` and `moment_columns`.
fn record_in_two(recorder: &mut Recorder, whole: Dispatch, params: Params) -> Result<()> {
    let group = recorder.device().capabilities().group as usize;
    let (rows, width4) = (params.rows as usize, params.width4 as usize);
    let weights = recorder.device().buffer("row weights", (rows * moment_weights::ENTRY_BYTES) as u64)?;
    let slab = moment_columns::SLAB;
    let second =
        crate::host::stats::moment_columns::Params { rows: params.rows, width4: params.width4, slab, padding: 0 };
    let columns = Dispatch { kernel: &moment_columns::SPEC, ..whole.clone() };
    let columns = columns.params(&second).buffers([&whole.buffers[0], &weights, &whole.buffers[3]]);
    let columns = columns.groups([groups((width4 * rows.div_ceil(slab as usize)).div_ceil(group)), 1, 1]);
    let weigh = Dispatch { kernel: &moment_weights::SPEC, ..whole.clone() };
    let weigh = weigh.buffers(whole.buffers.iter().chain([&weights])).groups([groups(rows.div_ceil(group)), 1, 1]);
    record_in_parts(recorder, weigh)?;
    record_in_parts(recorder, columns)
}

/// The sums of one window, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sums {
    /// Column sums in units of 2⁻⁴⁰, rounded down, `[d]`.
    pub columns: Vec<i128>,
    /// What they lack, in units of 2⁻¹⁰⁰, `[d]`; empty for unit rows, whose sums lack nothing.
    pub rests: Vec<i128>,
    /// Rows of norm at least 1e-10.
    pub nonzero: u64,
    /// What the unit rows' squares lack to `nonzero`, in units of 2⁻⁶⁰.
    pub defect: i64,
    /// First row with a NaN or an infinity, from the window's start; such rows are not in the sums.
    pub first_bad: Option<u64>,
}

impl Sums {
    /// Decodes the bytes of the sums' buffer.
    ///
    /// # Errors
    /// A length that is not the summand's.
    pub fn from_bytes(bytes: &[u8], summand: &Summand) -> Result<Self> {
        if bytes.len() as u64 != summand.sums_bytes() {
            return Err(Error::shape("moments", "sums", format!("{} bytes", summand.sums_bytes()), bytes.len()));
        }
        let words: Vec<u64> =
            bytes.chunks_exact(8).map(|c| u64::from_le_bytes(c.try_into().unwrap_or_default())).collect();
        let (columns, tail) = words.split_at(summand.width.div_ceil(4) * 4);
        let coefficients: Vec<i128> =
            tail[4..].chunks_exact(2).map(|c| i128::from(c[0]) + (i128::from(c[1]) << 20)).collect();
        let of_vectors = |j: usize| -> i128 {
            (summand.vectors.iter().zip(&coefficients)).map(|(v, c)| (v[j] * 60f64.exp2()).round() as i128 * c).sum()
        };
        let vectors_parts: Vec<i128> = (0..summand.width).map(of_vectors).collect();
        // The parts may each wrap modulo 2^64; their sum, of rows no longer than 1, does not.
        let whole =
            |(rows_part, part): (&u64, &i128)| i128::from((*rows_part as i64).wrapping_add((part >> REST_BITS) as i64));
        let moved = !summand.vectors.is_empty();
        Ok(Sums {
            columns: columns.iter().zip(&vectors_parts).map(whole).collect(),
            rests: if moved {
                vectors_parts.iter().map(|part| part & ((1 << REST_BITS) - 1)).collect()
            } else {
                Vec::new()
            },
            nonzero: tail[0],
            defect: tail[1] as i64,
            first_bad: (tail[2] as u32 != 0).then(|| u64::from(u32::MAX - tail[2] as u32)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workgroup_holds_the_rows_of_its_batch() {
        for (group, lanes) in [(256, 32), (256, 64), (64, 8), (32, 32), (4, 4), (48, 16)] {
            let mut caps = Device::host().capabilities().clone();
            (caps.group, caps.lanes) = (group, lanes);
            for width4 in 1..1100 {
                let shape = Shape::of(&caps, width4);
                let Some((batch, held)) = shape.held else {
                    assert!(width4 > 4 * group as usize);
                    continue;
                };
                assert!(shape.group * held >= width4 as u32 && shape.group <= group, "{width4}: {shape:?}");
                assert!(shape.group.is_multiple_of(lanes) && (1..=16).contains(&(batch * held)), "{width4}: {shape:?}");
                assert!(held <= 4 && (shape.group - lanes) * held < width4 as u32, "{width4}: {shape:?}");
            }
            caps.lanes = 1;
            assert_eq!(Shape::of(&caps, 8).held, None);
        }
    }
}
