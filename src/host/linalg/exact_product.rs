//! Twin of `shaders/linalg/exact_product.wgsl`; formats and proofs are in [`crate::kernels::linalg::exact_product`].
//!
//! The host has no fast products of integers, but exact ones of f64: an integer is cut into a high and a low part of 22 bits, and three
//! products by faer, of the high parts, of the low ones and of their sums, give all four (Karatsuba): a sum of so many such products as
//! `exact_rows` says is an integer of at most 53 bits.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

use super::matmul::{Stored, multiply};
use crate::Result;
use crate::host::{HostCall, check_params, dispatch_simd, volume};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub words: u32,
    pub a_width4: u32,
    pub b_width4: u32,
    pub first4: u32,
    pub count4: u32,
    pub upper: u32,
    pub words_up: u32,
    pub padding: u32,
}

/// Digits of an integer, to the base 256.
pub(crate) const PLANES: usize = 6;

/// The digits of an integer of up to 47 bits, from -128 to 127, lowest first.
pub(crate) fn digits_of(q: i64) -> [u8; PLANES] {
    // 128 at the place of every digit: of a sum with it, digits are never negative, and have their upper bit turned.
    const OFFSET: u64 = 0x8080_8080_8080;
    let [a, b, c, d, e, f, ..] = ((q as u64).wrapping_add(OFFSET) ^ OFFSET).to_le_bytes();
    [a, b, c, d, e, f]
}

/// The largest magnitude of an integer.
pub const LARGEST: f64 = (1u64 << 43) as f64;

/// Rows whose products f64 adds up exactly, whatever the integers are: both parts' sum is at most 2²².
const ROWS: usize = 512;

/// Columns of A that are multiplied at a time, so that three products of wide rows fit memory.
const BAND: usize = 2048;

/// Added to a number below 2⁵¹ and taken off again, it leaves the nearest integer, ties to even.
pub(crate) const ROUND: f64 = 6_755_399_441_055_744.0;

/// A sum of 128 bits.
pub trait Sum: Copy + Send + Sync {
    /// Adds an integer, modulo 2¹²⁸.
    fn add(&mut self, x: i128);
}

impl Sum for i128 {
    #[inline(always)]
    fn add(&mut self, x: i128) {
        *self = self.wrapping_add(x);
    }
}

/// Low word first.
impl Sum for [u64; 2] {
    #[inline(always)]
    fn add(&mut self, x: i128) {
        let sum = (u128::from(self[0]) | u128::from(self[1]) << 64).wrapping_add(x as u128);
        *self = [sum as u64, (sum >> 64) as u64];
    }
}

/// Room that products use again.
#[derive(Default)]
pub struct Scratch {
    a: Parts,
    b: Parts,
    /// Products of a band, of the high parts, the low ones and their sums.
    found: [Vec<f64>; 3],
}

/// Integers cut in two, `q = high 2²² + low`, `[k, width]`.
#[derive(Default)]
struct Parts {
    high: Vec<f64>,
    low: Vec<f64>,
    /// `high + low`.
    both: Vec<f64>,
    width: usize,
    /// The largest sum of a column's squares, of any of the three.
    square: f64,
}

/// Some rows to be cut.
struct Cut<'a> {
    integers: &'a [f64],
    high: &'a mut [f64],
    low: &'a mut [f64],
    both: &'a mut [f64],
    /// Sums of the columns' squares, of the three one after the other.
    squares: &'a mut [f64],
}

impl pulp::NullaryFnOnce for Cut<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        const HALF: f64 = (1u64 << 22) as f64;
        let width = self.squares.len() / 3;
        let (high_squares, rest) = self.squares.split_at_mut(width);
        let (low_squares, both_squares) = rest.split_at_mut(width);
        let parts = self.high.chunks_exact_mut(width).zip(self.low.chunks_exact_mut(width));
        let parts = parts.zip(self.both.chunks_exact_mut(width)).zip(self.integers.chunks_exact(width));
        for (((high, low), both), integers) in parts {
            let columns = high.iter_mut().zip(&mut *low).zip(&mut *both).zip(integers);
            for (((high, low), both), q) in columns {
                *high = (q * (1.0 / HALF) + ROUND) - ROUND;
                *low = q - *high * HALF;
                *both = *high + *low;
            }
            add_squares(high_squares, high);
            add_squares(low_squares, low);
            add_squares(both_squares, both);
        }
    }
}

#[inline(always)]
fn add_squares(sums: &mut [f64], row: &[f64]) {
    sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x * x);
}

impl Parts {
    fn fill(&mut self, integers: &[f64], width: usize) {
        for part in [&mut self.high, &mut self.low, &mut self.both] {
            part.resize(integers.len(), 0.0);
        }
        let task = (integers.len() / width).div_ceil(rayon::current_num_threads()).max(1) * width;
        let cut = self.high.par_chunks_mut(task).zip(self.low.par_chunks_mut(task));
        let cut = cut.zip(self.both.par_chunks_mut(task)).zip(integers.par_chunks(task));
        let squares = cut.map(|(((high, low), both), integers)| {
            let mut squares = vec![0.0; 3 * width];
            dispatch_simd(Cut { integers, high, low, both, squares: &mut squares });
            squares
        });
        let squares: Vec<Vec<f64>> = squares.collect();
        self.square = (0..3 * width).map(|at| squares.iter().map(|s| s[at]).sum()).fold(0.0, f64::max);
        self.width = width;
    }

    fn rows(&self) -> usize {
        self.high.len() / self.width
    }

    /// Rows of the three.
    fn of_rows(&self, rows: &Range<usize>) -> [&[f64]; 3] {
        [&self.high, &self.low, &self.both].map(|part| &part[rows.start * self.width..rows.end * self.width])
    }
}

/// Rows whose products f64 adds up exactly: all of them where the columns' squares say that no sum is above 2⁵³ (Cauchy and Schwarz), else
/// as many as are at their largest.
fn exact_rows(a: &Parts, b: &Parts) -> usize {
    const ROUNDING: f64 = 1.0 + 1e-9;
    let all = a.square * b.square * ROUNDING <= 106f64.exp2();
    if all { a.rows().max(1) } else { ROWS }
}

/// Which products are added, and where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Those on the diagonal and above it alone, of a matrix with itself.
    pub upper: bool,
    /// Times `2^(32 words_up)`, 0 to 2: of upper parts of longer integers.
    pub words_up: u32,
}

/// Adds `Aᵀ B` of integers of at most [`LARGEST`], `[k, a_width]` and `[k, b_width]`, to `sums`: row i has the sums of A's column
/// `first + i`, with all columns of B or, with `Placement::upper`, for which B is A, with those from `first + i` on.
///
/// # Errors
/// Rows of sums beyond A's columns, or of another length.
pub fn add_product<S: Sum>(
    Scratch { a: left, b: right, found }: &mut Scratch,
    (a, a_width): (&[f64], usize),
    (b, b_width): (&[f64], usize),
    (first, placement): (usize, Placement),
    sums: &mut [&mut [S]],
) -> Result<()> {
    let starts = |i: usize| if placement.upper { first + i } else { 0 };
    let fits = |(i, row): (usize, &&mut [S])| starts(i) <= b_width && row.len() == b_width - starts(i);
    let whole = a.len().checked_div(a_width) == b.len().checked_div(b_width);
    check_params(
        whole && first + sums.len() <= a_width && placement.words_up <= 2 && sums.iter().enumerate().all(fits),
        "sums that do not fit the columns of an exact product",
    )?;
    if a_width == 0 || b_width == 0 {
        return Ok(());
    }
    left.fill(a, a_width);
    if !placement.upper {
        right.fill(b, b_width);
    }
    let (a, b) = (&*left, if placement.upper { &*left } else { &*right });
    let most = exact_rows(a, b);
    for start in (0..a.rows()).step_by(most) {
        let rows = start..a.rows().min(start + most);
        for (band, sums) in sums.chunks_mut(BAND).enumerate() {
            let columns = first + band * BAND..first + band * BAND + sums.len();
            add_band((a, b), (&rows, columns), placement, sums, found)?;
        }
    }
    Ok(())
}

/// Adds the products of some of A's columns in some rows.
fn add_band<S: Sum>(
    (a, b): (&Parts, &Parts),
    (rows, columns): (&Range<usize>, Range<usize>),
    Placement { upper, words_up }: Placement,
    sums: &mut [&mut [S]],
    found: &mut [Vec<f64>; 3],
) -> Result<()> {
    let (first, count) = if upper { (columns.start, b.width - columns.start) } else { (0, b.width) };
    let (m, k) = (columns.len(), rows.len());
    found.iter_mut().for_each(|part| part.resize(m * count, 0.0));
    for ((out, a_part), b_part) in found.iter_mut().zip(a.of_rows(rows)).zip(b.of_rows(rows)) {
        let left = Stored { data: &a_part[columns.start..], stride: a.width, transpose: true };
        let right = |at: usize| Stored { data: &b_part[at..], stride: b.width, transpose: false };
        let square = if upper { m } else { 0 };
        multiply((out, count), (left, right(first)), (square, square, k), (1.0, false, true))?;
        if square < count {
            let beside = (&mut out[square..], count);
            multiply(beside, (left, right(first + square)), (m, count - square, k), (1.0, false, false))?;
        }
    }
    let [high, low, both] = &*found;
    sums.par_iter_mut().enumerate().for_each(|(i, row)| {
        let place = i * count + count - row.len()..(i + 1) * count;
        let parts = high[place.clone()].iter().zip(&low[place.clone()]).zip(&both[place]);
        for (sum, ((high, low), both)) in row.iter_mut().zip(parts) {
            let (high, low, both) = (*high as i64, *low as i64, *both as i64);
            let sum_of_all = (i128::from(high) << 44) + (i128::from(both - high - low) << 22) + i128::from(low);
            sum.add(sum_of_all << (32 * words_up));
        }
    });
    Ok(())
}

/// The integers of digits `[6, words, width4]` of four rows to a word, `[4 words, 4 width4]`; or that one is too large.
fn integers(digits: &[u32], words: usize, width: usize) -> Result<Vec<f64>> {
    let mut out = vec![0.0; 4 * words * width];
    let plane = words * width;
    for (at, q) in out.iter_mut().enumerate() {
        let (row, column) = (at / width, at % width);
        let digit = |s: usize| digits[s * plane + row / 4 * width + column].to_le_bytes()[row % 4] as i8;
        *q = (0..PLANES).rev().fold(0.0, |q, s| 256.0 * q + f64::from(digit(s)));
    }
    check_params(out.iter().all(|q| q.abs() <= LARGEST), "integers of more than 43 bits in an exact product")?;
    Ok(out)
}

/// Runs the kernel: buffers are A's digits, B's digits, sums.
///
/// # Errors
/// Buffers that do not fit the parameters; integers above [`LARGEST`].
pub fn twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: Params = call.params()?;
    let [words, a_width, b_width] = [p.words as usize, 4 * p.a_width4 as usize, 4 * p.b_width4 as usize];
    let (first, count) = (4 * p.first4 as usize, 4 * p.count4 as usize);
    check_params(first + count <= a_width && (p.upper == 0 || a_width == b_width), "columns beyond A's")?;
    let read = |call: &mut HostCall<'_>, index, width| {
        let digits = call.read_as(index, volume([PLANES, words, width]))?;
        integers(digits, words, width)
    };
    let (a, b) = (read(call, 0, a_width)?, read(call, 1, b_width)?);
    let sums: &mut [[u64; 2]] = call.write_as(2, volume([count, b_width]))?;
    let placement = Placement { upper: p.upper == 1, words_up: p.words_up };
    let rows = sums.chunks_exact_mut(b_width.max(1)).take(count).enumerate();
    let mut rows: Vec<_> = rows.map(|(i, row)| if placement.upper { &mut row[first + i..] } else { row }).collect();
    add_product(&mut Scratch::default(), (&a, a_width), (&b, b_width), (first, placement), &mut rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPPER: Placement = Placement { upper: true, words_up: 0 };

    /// A sum is that of integers, at the ends of their range and at random.
    #[test]
    fn sums_are_exact() {
        let (k, m, n) = (1100, 300, 5);
        let mut state = 7u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            match state >> 61 {
                0 => LARGEST,
                1 => -LARGEST,
                _ => ((state >> 11) as f64 / 2f64.powi(52) - 1.0) * LARGEST,
            }
            .round()
        };
        let a: Vec<f64> = (0..k * m).map(|_| next()).collect();
        let b: Vec<f64> = (0..k * n).map(|_| next()).collect();
        let column = |x: &[f64], width: usize, j: usize| (0..k).map(|r| x[r * width + j] as i128).collect::<Vec<_>>();
        let sum = |x: &[i128], y: &[i128]| x.iter().zip(y).map(|(x, y)| x * y).sum::<i128>();
        let mut sums = vec![3i128; 4 * n];
        let mut rows: Vec<_> = sums.chunks_exact_mut(n).collect();
        add_product(&mut Scratch::default(), (&a, m), (&b, n), (290, Placement::default()), &mut rows).unwrap();
        for (at, got) in sums.iter().enumerate() {
            assert_eq!(*got, 3 + sum(&column(&a, m, 290 + at / n), &column(&b, n, at % n)));
        }
        let mut sums: Vec<Vec<[u64; 2]>> = (0..m).map(|i| vec![[0; 2]; m - i]).collect();
        let mut rows: Vec<&mut [_]> = sums.iter_mut().map(Vec::as_mut_slice).collect();
        add_product(&mut Scratch::default(), (&a, m), (&a, m), (0, UPPER), &mut rows).unwrap();
        for (i, j) in [(0, 0), (0, 299), (255, 256), (256, 256), (7, 250), (299, 299), (257, 298)] {
            let [low, high] = sums[i][j - i];
            let got = (i128::from(high as i64) << 64) + i128::from(low);
            assert_eq!(got, sum(&column(&a, m, i), &column(&a, m, j)), "{i}, {j}");
        }
        let mut rows: Vec<&mut [_]> = sums.iter_mut().map(Vec::as_mut_slice).collect();
        assert!(add_product(&mut Scratch::default(), (&a, m), (&a, m), (1, UPPER), &mut rows).is_err());
    }
}
