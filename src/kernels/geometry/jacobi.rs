//! Singular values by one-sided Jacobi rotations, to a relative accuracy of 1e-12 and more, each, however much smaller than the largest [spec 4].
//!
//! The columns of a matrix `[R; C]` are rotated in pairs until their parts in R are orthogonal; then their norms in R are R's singular values, and
//! those in C what C has along the same directions. A sweep rotates every pair once, in `n - 1` rounds of disjoint pairs (a tournament), each a
//! dispatch with a workgroup to a pair; after a sweep that rotated nothing the others end at once, so that nothing has to be read in between.
//!
//! Numbers are floats with 64 bits of mantissa made of integers (`shaders/common/wide_float.wgsl`), and sums have one order: the same bits on every
//! device. Then the same may be done for C's part, for its own singular values: those of R that are equal to all digits leave C's mixed. f32 would lose a singular value of 1e-8 beside one of 0.1, and two floats for one are what shader compilers optimise away.
//! A pair counts as orthogonal where `|x·y|` is at most 2⁻⁴⁵ of the product of its norms.
//!
//! Operations: for each pair and row three products and sums, and four products and two sums where it is rotated, some 50 instructions each;
//! the benchmark counts eight sweeps. Where singular vectors are asked for, the columns of the identity lie beneath and rotate along, deciding nothing:
//! they become V, of `[R; C] V`. Bytes: 16 for each number of a pair, read once or twice and written once.

use super::super::{Binding, KernelSpec, Work, check_words, grid};
use crate::device::{Buffer, Device, Recorder};
use crate::host::geometry::jacobi::{NormParams, Params, pairs};
use crate::host::wide_float::{Wide, Words};
use crate::spec::in_range;
use crate::spec::shader::source;
use crate::{ElementType, Error, Result};

/// A round of rotations.
pub static SPEC: KernelSpec = KernelSpec::new(
    "jacobi",
    source!("geometry/jacobi.wgsl"),
    &[Binding::uniform("params"), Binding::read_write(1, "columns"), Binding::read_write(2, "rotated")],
    crate::host::geometry::jacobi::twin,
)
.with_grid()
.trusted(in_range::ANGLES);

/// The columns' norms.
pub static NORMS: KernelSpec = KernelSpec::new(
    "jacobi norms",
    source!("geometry/jacobi_norms.wgsl"),
    &[Binding::uniform("params"), Binding::read(1, "columns"), Binding::read_write(2, "norms")],
    crate::host::geometry::jacobi::norms_twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::ANGLES);

/// The most columns.
pub const MAX_COLUMNS: usize = 512;

/// Sweeps at most.
const SWEEPS: usize = 24;

/// The columns of `[R; C]` on a device, as wide floats, and beneath them those of V where they are kept.
#[derive(Clone, Debug)]
pub struct Columns {
    held: Buffer,
    /// Of R's part made orthogonal, and of C's: pairs that were rotated in each sweep, and the norms then.
    rotated: [Buffer; 2],
    norms: [Buffer; 2],
    rows: usize,
    more: usize,
    /// Rows of V: none, or as many as columns.
    vectors: usize,
    columns: usize,
}

impl Columns {
    /// Room for columns of `rows` numbers of R and `more` of C.
    ///
    /// # Errors
    /// No rows of R, no columns or more than [`MAX_COLUMNS`]; more than a binding holds; no memory.
    pub fn new(device: &Device, shape: (usize, usize), columns: usize) -> Result<Self> {
        Columns::with_room(device, shape, columns, 0)
    }

    /// [`new`](Self::new), with room for V, the rotations' product `[columns, columns]`: the right singular vectors.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_vectors(device: &Device, shape: (usize, usize), columns: usize) -> Result<Self> {
        Columns::with_room(device, shape, columns, columns)
    }

    fn with_room(device: &Device, (rows, more): (usize, usize), columns: usize, vectors: usize) -> Result<Self> {
        let most = super::super::MAX_WIDTH;
        if !(1..=most).contains(&rows) || more > most || !(1..=MAX_COLUMNS).contains(&columns) {
            let want = format!("1 to {MAX_COLUMNS} columns of 1 to {most} numbers");
            return Err(Error::shape(SPEC.name, "columns", want, format!("{columns} of {rows} and {more}")));
        }
        let bytes = 16 * (columns * (rows + more + vectors)) as u64;
        Ok(Columns {
            held: device.buffer("columns", bytes)?,
            rotated: [
                device.buffer("rotated pairs", 4 * SWEEPS as u64)?,
                device.buffer("rotated pairs", 4 * SWEEPS as u64)?,
            ],
            norms: [device.buffer("norms", 32 * columns as u64)?, device.buffer("norms", 32 * columns as u64)?],
            rows,
            more,
            vectors,
            columns,
        })
    }

    /// The columns of R and C, `[columns, rows + more]` by columns, from f64; V becomes the identity.
    ///
    /// # Errors
    /// Another number of values; the device was lost.
    pub fn write(&self, device: &Device, values: &[f64]) -> Result<()> {
        let given = self.rows + self.more;
        if values.len() != self.columns * given {
            return Err(Error::shape(SPEC.name, "values", self.columns * given, values.len()));
        }
        let unit = |column: usize| (0..self.vectors).map(move |row| f64::from(u8::from(row == column)));
        let column = |(k, part): (usize, &[f64])| part.iter().copied().chain(unit(k)).collect::<Vec<f64>>();
        let all = values.chunks_exact(given).enumerate().flat_map(column);
        let words: Vec<Words> = all.map(|x| Wide::from_f64(x).into()).collect();
        device.write(&self.held, bytemuck::cast_slice(&words))
    }

    pub(super) fn buffer(&self) -> &Buffer {
        &self.held
    }

    #[cfg(feature = "bench")]
    pub(super) fn norms(&self) -> &Buffer {
        &self.norms[1]
    }

    /// Rows of R, of C, and of V.
    pub(super) fn rows(&self) -> [usize; 3] {
        [self.rows, self.more, self.vectors]
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    fn all_rows(&self) -> usize {
        self.rows().iter().sum()
    }

    /// The norms of each column's parts in R and in C once that part was made orthogonal, in the order in which the columns lie, waiting for the
    /// device.
    ///
    /// # Errors
    /// Rotations that did not end; the device was lost.
    pub fn read_norms_blocking(&self, device: &Device, part: Part) -> Result<Vec<[f64; 2]>> {
        let rotated: Vec<u32> = bytemuck::pod_collect_to_vec(&device.read_blocking(&self.rotated[part as usize])?);
        if rotated.get(SWEEPS - 1) != Some(&0) {
            return Err(Error::degenerate(format!("singular values did not converge in {SWEEPS} sweeps of rotations")));
        }
        let words: Vec<[Words; 2]> = bytemuck::pod_collect_to_vec(&self.read_words_blocking(device, part)?);
        Ok(words.into_iter().take(self.columns).map(|pair| pair.map(|x| Wide::from(x).to_f64().sqrt())).collect())
    }

    /// The columns as they lie after the rotations, rounded to f64, waiting for the device.
    ///
    /// # Errors
    /// The device was lost.
    pub fn read_blocking(&self, device: &Device) -> Result<Vec<RotatedColumn>> {
        let words: Vec<Words> = bytemuck::pod_collect_to_vec(&device.read_blocking(&self.held)?);
        let column = |all: &[Words]| {
            let mut c: Vec<f64> = all[self.rows..].iter().map(|&x| Wide::from(x).to_f64()).collect();
            let v = c.split_off(self.more);
            RotatedColumn { c, v }
        };
        Ok(words.chunks_exact(self.all_rows()).take(self.columns).map(column).collect())
    }

    /// The squared norms' words, for those who compare bits.
    ///
    /// # Errors
    /// The device was lost.
    pub fn read_words_blocking(&self, device: &Device, part: Part) -> Result<Vec<u8>> {
        device.read_blocking(&self.norms[part as usize])
    }
}

/// What a column of `[R; C]` has become.
#[derive(Clone, Debug, PartialEq)]
pub struct RotatedColumn {
    /// C's part, `[more]`.
    pub c: Vec<f64>,
    /// The column of V, `[columns]`, by which it is a sum of the columns that were written; empty where V is not kept.
    pub v: Vec<f64>,
}

/// Which part of the columns is made orthogonal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// R's rows.
    R,
    /// C's rows.
    C,
}

/// Records all sweeps, and the norms.
///
/// # Errors
/// Another device's memory; C's part of columns without one.
pub fn record(recorder: &mut Recorder, columns: &Columns, part: Part) -> Result<()> {
    check_words(recorder, SPEC.name, ("columns", &columns.held), 4 * columns.columns * columns.all_rows())?;
    let within = columns.rows + columns.more;
    let deciding = if part == Part::R { 0..columns.rows } else { columns.rows..within };
    if deciding.is_empty() {
        return Err(Error::shape(SPEC.name, "columns", "rows of C", "none"));
    }
    let rotated = &columns.rotated[part as usize];
    recorder.clear(rotated);
    let [first, last, all_rows, count] =
        [deciding.start, deciding.end, columns.all_rows(), columns.columns].map(|x| x as u32);
    let rounds = columns.columns.next_multiple_of(2) - 1;
    for (sweep, round) in (0..SWEEPS as u32).flat_map(|sweep| (0..rounds as u32).map(move |round| (sweep, round))) {
        let params = Params { first, last, all_rows, columns: count, round, sweep, padding: [0; 2] };
        if pairs(columns.columns, round as usize).next().is_none() {
            continue;
        }
        let buffers = [&columns.held, rotated];
        let work = Work { kernel: &SPEC, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] };
        work.check_iterations(recorder, columns.all_rows().div_ceil(32))?.dispatch(
            recorder,
            grid(columns.columns.div_ceil(2)),
            ElementType::F32,
        )?;
    }
    let params = NormParams { rows: columns.rows as u32, last: within as u32, all_rows, columns: count };
    let buffers = [&columns.held, &columns.norms[part as usize]];
    Work { kernel: &NORMS, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }
        .check_iterations(recorder, columns.all_rows())?
        .elements(recorder, columns.columns)
}
