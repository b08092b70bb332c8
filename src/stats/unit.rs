//! Rows of any element type to unit rows, a block at a time, in f64 on all cores; a row of norm below 1e-10 becomes zero [spec 1].

use rayon::prelude::*;

use crate::ElementType;
use crate::host::dispatch_simd;
use crate::host::linalg::exact_product::ROUND;
use crate::host::real::{Real, dot};
use crate::host::rows::RowElement;

/// Tight rows in memory.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a> {
    pub bytes: &'a [u8],
    /// Bytes of a row.
    pub tight: usize,
    pub element: ElementType,
}

/// Factors that bring a row to norm 1, one after the other: their product may be out of range. NaN for a row with a NaN or an
/// infinity.
pub(crate) type Scale = [f64; 2];

impl<'a> Block<'a> {
    pub fn width(&self) -> usize {
        self.tight / self.element.bytes()
    }

    pub fn rows(&self) -> usize {
        self.bytes.len() / self.tight
    }

    /// Rows of a task: every core has one task.
    fn task_rows(&self) -> usize {
        self.rows().div_ceil(rayon::current_num_threads()).max(1)
    }

    fn tasks(&self) -> impl IndexedParallelIterator<Item = Block<'a>> {
        let (tight, element) = (self.tight, self.element);
        self.bytes.par_chunks(self.task_rows() * tight).map(move |bytes| Block { bytes, tight, element })
    }

    /// Each row's scale, and the sum of the unit rows, `[d]`.
    pub fn measure(&self) -> (Vec<Scale>, Vec<f64>) {
        let mut scales = vec![[0.0; 2]; self.rows()];
        let tasks = self.tasks().zip(scales.par_chunks_mut(self.task_rows()));
        let parts = tasks.map(|(block, scales)| {
            let mut sum = vec![0.0; block.width()];
            dispatch_simd(Measure { block, scales, sum: &mut sum });
            sum
        });
        let mut total = vec![0.0; self.width()];
        for part in parts.collect::<Vec<_>>() {
            total.iter_mut().zip(&part).for_each(|(t, p)| *t += p);
        }
        (scales, total)
    }

    /// The block in parts of so many rows.
    pub fn parts(&self, rows: usize) -> impl Iterator<Item = Block<'a>> {
        let (tight, element) = (self.tight, self.element);
        self.bytes.chunks(rows * tight).map(move |bytes| Block { bytes, tight, element })
    }

    /// Unit rows in units of `1 / unit`, a power of two, rounded to whole numbers, ties to even, `[n, d]`.
    pub fn fixed(&self, scales: &[Scale], unit: f64, out: &mut [f64]) {
        let rows = self.task_rows();
        let tasks = self.tasks().zip(scales.par_chunks(rows)).zip(out.par_chunks_mut(rows * self.width()));
        tasks.for_each(|((block, scales), out)| dispatch_simd(Round { block, scales, unit, out }));
    }

    /// Unit rows rounded to `R`, `[n, d]`.
    pub fn unit<R: Real>(&self, scales: &[Scale], out: &mut [R]) {
        self.shifted(scales, &vec![0.0; self.width()], out);
    }

    /// Unit rows less `mean`, rounded to `R`, `[n, d]`.
    pub fn shifted<R: Real>(&self, scales: &[Scale], mean: &[f64], out: &mut [R]) {
        let rows = self.task_rows();
        let tasks = self.tasks().zip(scales.par_chunks(rows)).zip(out.par_chunks_mut(rows * self.width()));
        tasks.for_each(|((block, scales), out)| dispatch_simd(Shift { block, scales, mean, out }));
    }
}

/// A row's elements in f64.
#[inline(always)]
fn widen(bytes: &[u8], element: ElementType, out: &mut [f64]) {
    match element {
        ElementType::F32 => {
            let elements = bytes.as_chunks::<4>().0;
            out.iter_mut().zip(elements).for_each(|(o, &e)| *o = f64::from(f32::from_le_bytes(e)));
        }
        ElementType::F16 => {
            let elements = bytes.as_chunks::<2>().0;
            out.iter_mut().zip(elements).for_each(|(o, &e)| *o = f64::from(half::f16::from_le_bytes(e).float(1.0)));
        }
        ElementType::BF16 => {
            let elements = bytes.as_chunks::<2>().0;
            out.iter_mut().zip(elements).for_each(|(o, &e)| *o = f64::from(half::bf16::from_le_bytes(e).float(1.0)));
        }
        // No file of rows holds fixed point or blocks.
        ElementType::F64 | ElementType::Fixed | ElementType::Q8_0 => {
            out.iter_mut().zip(bytes.as_chunks::<8>().0).for_each(|(o, &e)| *o = f64::from_le_bytes(e));
        }
    }
}

#[inline(always)]
fn scale(row: &[f64]) -> Scale {
    let square = dot(row, row);
    if square < 1e-20 {
        return [0.0; 2];
    }
    if square < 1e300 {
        return [1.0, square.sqrt().recip()];
    }
    // Rows of f64 alone come here, and what is not finite: in units of the peak nothing overflows.
    if row.iter().any(|x| !x.is_finite()) {
        return [f64::NAN; 2];
    }
    let peak = row.iter().fold(0f64, |m, x| m.max(x.abs()));
    [peak.recip(), row.iter().map(|x| (x / peak).powi(2)).sum::<f64>().sqrt().recip()]
}

/// Rows `[n, width]` brought to norm 1 in f64 and rounded; one of norm below 1e-10 becomes zero. All are finite.
pub(crate) fn unit_rows(rows: &[f32], width: usize) -> Vec<f32> {
    let block = Block { bytes: bytemuck::cast_slice(rows), tight: 4 * width, element: ElementType::F32 };
    let mut out = vec![0.0; rows.len()];
    block.unit(&block.measure().0, &mut out);
    out
}

/// Brings a row to norm 1, safe from overflow; one of norm below 1e-10 stays as it is.
pub(crate) fn normalise(row: &mut [f64]) {
    let [a, b] = scale(row);
    if a != 0.0 {
        row.iter_mut().for_each(|x| *x = *x * a * b);
    }
}

/// Rows as [`normalise`] left them in units of `1 / unit`, rounded as [`Block::fixed`] does, so that the integers are the same; zeros for
/// rows that are shorter.
pub(crate) fn fixed_unit(rows: &[f64], width: usize, unit: f64, out: &mut [f64]) {
    rows.par_chunks_exact(width).zip(out.par_chunks_exact_mut(width)).for_each(|(row, out)| {
        let unit = if dot(row, row) < 0.5 { 0.0 } else { unit };
        out.iter_mut().zip(row).for_each(|(o, x)| *o = (x * unit + ROUND) - ROUND);
    });
}

struct Round<'a> {
    block: Block<'a>,
    scales: &'a [Scale],
    unit: f64,
    out: &'a mut [f64],
}

impl pulp::NullaryFnOnce for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let mut row = vec![0.0; self.block.width()];
        let rows = self.block.bytes.chunks_exact(self.block.tight).zip(self.out.chunks_exact_mut(row.len()));
        for ((bytes, out), &[a, b]) in rows.zip(self.scales) {
            widen(bytes, self.block.element, &mut row);
            out.iter_mut().zip(&row).for_each(|(o, x)| *o = (x * a * b * self.unit + ROUND) - ROUND);
        }
    }
}

struct Measure<'a> {
    block: Block<'a>,
    scales: &'a mut [Scale],
    sum: &'a mut [f64],
}

impl pulp::NullaryFnOnce for Measure<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let mut row = vec![0.0; self.sum.len()];
        for (bytes, to) in self.block.bytes.chunks_exact(self.block.tight).zip(self.scales) {
            widen(bytes, self.block.element, &mut row);
            let [a, b] = scale(&row);
            *to = [a, b];
            self.sum.iter_mut().zip(&row).for_each(|(s, x)| *s += x * a * b);
        }
    }
}

struct Shift<'a, R> {
    block: Block<'a>,
    scales: &'a [Scale],
    mean: &'a [f64],
    out: &'a mut [R],
}

impl<R: Real> pulp::NullaryFnOnce for Shift<'_, R> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let mut row = vec![0.0; self.mean.len()];
        let rows = self.block.bytes.chunks_exact(self.block.tight).zip(self.out.chunks_exact_mut(self.mean.len()));
        for ((bytes, out), &[a, b]) in rows.zip(self.scales) {
            widen(bytes, self.block.element, &mut row);
            out.iter_mut().zip(&row).zip(self.mean).for_each(|((o, x), m)| *o = R::from_f64(x * a * b - m));
        }
    }
}
