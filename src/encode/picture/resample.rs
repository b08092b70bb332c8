//! Resizing by Pillow's arithmetic, bit for bit: filters widened by the scale (antialiased), coefficients with 22 bits behind the point,
//! bytes between the two passes.
//!
//! `fast_image_resize` has the same filters with coefficients of 16 bits, as pillow-simd, and so gives other bytes for some pixels; it makes
//! columns first always; and it makes the whole image where an encoder takes the middle: of 30,000 x 2 pixels that would be 2 GB. So this is our
//! own.

use std::ops::Range;

use crate::host::picture::resample::BITS;
use crate::{Error, Result};

/// Bytes that are summed up at a time, in registers.
const BLOCK: usize = 32;
/// Lines that are turned at a time: as many as fill whole blocks, so few that a wide picture's stay in a core's cache.
const STRIP: usize = 32;

/// How a picture is resampled, as Pillow's numbers name it in `preprocessor_config.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// 0: the pixel at the place, without antialiasing.
    Nearest,
    /// 1: a windowed sinc over three pixels to each side.
    Lanczos,
    /// 2: a triangle over one pixel to each side.
    Bilinear,
    /// 3: Keys' cubic with a = -0.5 over two pixels to each side.
    Bicubic,
    /// 4: the mean over one pixel.
    Box,
    /// 5: a Hamming window over one pixel to each side.
    Hamming,
}

impl Filter {
    /// The filter of Pillow's number.
    pub fn of_number(number: u64) -> Option<Filter> {
        use Filter::{Bicubic, Bilinear, Box, Hamming, Lanczos, Nearest};
        [Nearest, Lanczos, Bilinear, Bicubic, Box, Hamming].get(usize::try_from(number).ok()?).copied()
    }

    /// How far it reaches at scale 1, in pixels.
    fn support(self) -> f64 {
        match self {
            Filter::Nearest => 0.0,
            Filter::Box => 0.5,
            Filter::Bilinear | Filter::Hamming => 1.0,
            Filter::Bicubic => 2.0,
            Filter::Lanczos => 3.0,
        }
    }

    /// The weight at a distance from the centre.
    fn weight(self, x: f64) -> f64 {
        let distance = x.abs();
        match self {
            Filter::Nearest => 1.0,
            Filter::Box => f64::from(u8::from(x > -0.5 && x <= 0.5)),
            Filter::Bilinear => (1.0 - distance).max(0.0),
            Filter::Hamming if distance == 0.0 => 1.0,
            Filter::Hamming if distance >= 1.0 => 0.0,
            Filter::Hamming => {
                let angle = distance * std::f64::consts::PI;
                // Pillow writes these two as f32.
                angle.sin() / angle * (f64::from(0.54f32) + f64::from(0.46f32) * angle.cos())
            }
            Filter::Bicubic => cubic(distance),
            Filter::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Filter::Lanczos => 0.0,
        }
    }
}

/// Pillow's order of operations, which decides the last bits.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    match x {
        x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
        _ => 0.0,
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let angle = x * std::f64::consts::PI;
    angle.sin() / angle
}

/// The part of a resized picture that is wanted, in its pixels; it lies within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub left: usize,
    pub top: usize,
    pub width: usize,
    pub height: usize,
}

/// The input pixels of one output pixel along a side, and their weights, with [`BITS`] bits behind the point.
#[derive(Debug)]
pub(super) struct Taps {
    pub first: usize,
    pub weights: Vec<i32>,
}

/// The taps of the output pixels `from..from + count` of `out`, made from `size` input pixels.
fn taps(filter: Filter, size: usize, out: usize, from: usize, count: usize) -> Vec<Taps> {
    if filter == Filter::Nearest {
        return nearest(size, out, from, count);
    }
    let scale = size as f64 / out as f64;
    let widened = scale.max(1.0);
    let (support, inverse) = (filter.support() * widened, 1.0 / widened);
    let place = |i: usize| {
        let centre = (i as f64 + 0.5) * scale;
        // Towards zero, as C's conversion to int; what is below 0 becomes 0.
        let first = (centre - support + 0.5) as usize;
        let end = ((centre + support + 0.5) as usize).min(size);
        let weights: Vec<f64> = (first..end).map(|x| filter.weight((x as f64 - centre + 0.5) * inverse)).collect();
        let sum: f64 = weights.iter().sum();
        let fixed = |w: &f64| {
            let scaled = if sum == 0.0 { *w } else { *w / sum } * f64::from(1u32 << BITS);
            // Rounded away from zero at halves, then cut.
            (scaled + if *w < 0.0 { -0.5 } else { 0.5 }) as i32
        };
        Taps { first, weights: weights.iter().map(fixed).collect() }
    };
    (from..from + count).map(place).collect()
}

/// Pillow's affine transform: coordinates are added up in f64 and cut. A whole weight leaves a pixel as it is.
fn nearest(size: usize, out: usize, from: usize, count: usize) -> Vec<Taps> {
    let step = size as f64 / out as f64;
    let mut at = step * 0.5;
    let mut all = Vec::with_capacity(count);
    for i in 0..from + count {
        if i >= from {
            all.push(Taps { first: (at as usize).min(size - 1), weights: vec![1 << BITS] });
        }
        at += step;
    }
    all
}

/// How a picture is resized: what becomes of its sides, and which one comes first.
#[derive(Debug)]
pub(super) struct Plan {
    pub rows: Side,
    pub columns: Side,
    /// Columns become shorter or longer before lines do.
    pub rows_first: bool,
}

impl Plan {
    /// Of a picture of this size (height, width), resized to `out` (height, width), the pixels of `window`.
    ///
    /// # Errors
    /// A side of 0, a window that is not within the output.
    pub fn new((height, width): (usize, usize), filter: Filter, out: (usize, usize), window: Window) -> Result<Plan> {
        let sides = [height, width, out.0, out.1, window.height, window.width];
        let inside = window.top + window.height <= out.0 && window.left + window.width <= out.1;
        if sides.contains(&0) || !inside {
            let got = format!("{height} x {width}, {out:?} and {window:?}");
            return Err(Error::shape("resize", "the picture", "sides above 0 and a window in the output", got));
        }
        Ok(Plan {
            rows: Side::of(filter, height, out.0, (window.top, window.height)),
            columns: Side::of(filter, width, out.1, (window.left, window.width)),
            rows_first: rows_first((height, width), out),
        })
    }
}

/// The pixels of `window` of a picture `[height, width, 3]` resized to `out` (height, width), `[window.height, window.width, 3]`.
///
/// # Errors
/// As [`Plan::new`]; bytes that are not `height * width * 3`.
pub(super) fn resize(
    rgb: &[u8],
    (height, width): (usize, usize),
    filter: Filter,
    out: (usize, usize),
    window: Window,
) -> Result<Vec<u8>> {
    let Plan { rows, columns, rows_first } = Plan::new((height, width), filter, out, window)?;
    if rgb.len() != height * width * 3 {
        let want = format!("{height} x {width} x 3 bytes");
        return Err(Error::shape("resize", "the picture", want, format!("{} bytes", rgb.len())));
    }
    // Only what the other pass reads is made by the first one.
    let (lines, places) = (rows.reach(), columns.reach());
    let part = Part::of(rgb, width, (lines.clone(), places.clone()));
    Ok(match rows_first {
        true => {
            let short = rows.down(part, lines.start);
            columns.across(Part::whole(&short, places.len()), places.start)
        }
        false => {
            let narrow = columns.across(part, places.start);
            rows.down(Part::whole(&narrow, window.width), lines.start)
        }
    })
}

/// Whether rows are made before columns: Pillow 13 does so where the height loses more than twice the pixels that the width loses; up to
/// Pillow 12 columns come first always, which gives a level more or less for some pixels of tall pictures.
fn rows_first((height, width): (usize, usize), out: (usize, usize)) -> bool {
    let lost = |from: usize, to: usize| from as i128 - to as i128;
    lost(height, out.0) > 0 && lost(height, out.0) > 2 * lost(width, out.1)
}

/// What becomes of one side of a picture.
#[derive(Debug)]
pub(super) enum Side {
    /// It keeps its size: these pixels are copied.
    Kept(Range<usize>),
    Resized(Vec<Taps>),
}

impl Side {
    /// The output pixels `from..from + count`.
    fn of(filter: Filter, size: usize, out: usize, (from, count): (usize, usize)) -> Side {
        match size == out {
            true => Side::Kept(from..from + count),
            false => Side::Resized(taps(filter, size, out, from, count)),
        }
    }

    /// The input pixels that are read, from the first to the last.
    pub fn reach(&self) -> Range<usize> {
        match self {
            Side::Kept(pixels) => pixels.clone(),
            Side::Resized(taps) => {
                let first = taps.iter().map(|t| t.first).min().unwrap_or(0);
                first..taps.iter().map(|t| t.first + t.weights.len()).max().unwrap_or(0)
            }
        }
    }

    /// Rows of a part of a picture whose first line is number `start`.
    fn down(self, part: Part<'_>, start: usize) -> Vec<u8> {
        let length = part.width * 3;
        match self {
            Side::Kept(_) => part.lines().flatten().copied().collect(),
            Side::Resized(taps) => {
                let mut out = vec![0; taps.len() * length];
                pass((part.rgb, part.stride, length), &counted_from(taps, start), &mut out);
                out
            }
        }
    }

    /// Columns of a part of a picture whose first column is number `start`. A strip of lines at a time, which stays in a core's caches, is turned, so
    /// that both passes add whole lines of bytes.
    fn across(self, part: Part<'_>, start: usize) -> Vec<u8> {
        let Side::Resized(taps) = self else { return part.lines().flatten().copied().collect() };
        let taps = counted_from(taps, start);
        let mut out = vec![0; part.height * taps.len() * 3];
        let (mut columns, mut sums) = (vec![0; STRIP * part.width * 3], vec![0; STRIP * taps.len() * 3]);
        for (i, lines) in out.chunks_mut(STRIP * taps.len() * 3).enumerate() {
            let height = lines.len() / (taps.len() * 3);
            let strip = Part { rgb: &part.rgb[i * STRIP * part.stride..], height, ..part };
            turn(strip, &mut columns);
            pass((&columns, height * 3, height * 3), &taps, &mut sums[..lines.len()]);
            turn(Part { rgb: &sums, stride: height * 3, width: height, height: taps.len() }, lines);
        }
        out
    }
}

/// A part of a picture.
#[derive(Clone, Copy)]
struct Part<'a> {
    /// Bytes from the first line's first pixel on.
    rgb: &'a [u8],
    /// Bytes from a line to the next.
    stride: usize,
    width: usize,
    height: usize,
}

impl<'a> Part<'a> {
    /// These rows and columns of a picture whose lines have `width` pixels.
    fn of(rgb: &'a [u8], width: usize, (rows, columns): (Range<usize>, Range<usize>)) -> Self {
        let rgb = &rgb[(rows.start * width + columns.start) * 3..];
        Part { rgb, stride: width * 3, width: columns.len(), height: rows.len() }
    }

    fn whole(rgb: &'a [u8], width: usize) -> Self {
        Part { rgb, stride: width * 3, width, height: rgb.len() / (width * 3) }
    }

    fn lines(self) -> impl Iterator<Item = &'a [u8]> {
        self.rgb.chunks(self.stride).take(self.height).map(move |line| &line[..self.width * 3])
    }
}

/// The taps of an input that begins with number `start`.
fn counted_from(mut taps: Vec<Taps>, start: usize) -> Vec<Taps> {
    taps.iter_mut().for_each(|t| t.first -= start);
    taps
}

/// Lines of `length` bytes, each a sum of lines of `input`, which begin `stride` bytes from each other.
fn pass((input, stride, length): (&[u8], usize, usize), taps: &[Taps], out: &mut [u8]) {
    crate::host::dispatch_simd(Pass { input, stride, length, taps, out });
}

/// A part of a picture with its columns as rows, one behind the other.
fn turn(part: Part<'_>, turned: &mut [u8]) {
    /// Pixels to a side of a tile, whose lines stay in the cache.
    const TILE: usize = 32;
    for top in (0..part.height).step_by(TILE) {
        for left in (0..part.width).step_by(TILE) {
            for x in left..(left + TILE).min(part.width) {
                let line = &mut turned[x * part.height * 3..][..part.height * 3];
                for y in top..(top + TILE).min(part.height) {
                    line[y * 3..y * 3 + 3].copy_from_slice(&part.rgb[y * part.stride + x * 3..][..3]);
                }
            }
        }
    }
}

/// One pass: each line of the output is a weighted sum of lines of the input, all of `length` bytes.
struct Pass<'a> {
    input: &'a [u8],
    stride: usize,
    length: usize,
    taps: &'a [Taps],
    out: &'a mut [u8],
}

impl pulp::NullaryFnOnce for Pass<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Pass { input, stride, length, taps, out } = self;
        for (line, taps) in out.chunks_exact_mut(length).zip(taps) {
            let mut at = 0;
            while at + BLOCK <= length {
                let sums = block::<BLOCK>(input, stride, at, taps);
                line[at..at + BLOCK].iter_mut().zip(sums).for_each(|(byte, sum)| *byte = clip(sum));
                at += BLOCK;
            }
            for (place, byte) in (at..).zip(&mut line[at..]) {
                *byte = clip(block::<1>(input, stride, place, taps)[0]);
            }
        }
    }
}

#[inline(always)]
fn block<const N: usize>(input: &[u8], stride: usize, at: usize, taps: &Taps) -> [i32; N] {
    let mut sums = [1i32 << (BITS - 1); N];
    for (i, weight) in taps.weights.iter().enumerate() {
        let from = (taps.first + i) * stride + at;
        let bytes = &input[from..from + N];
        // |weights| add up to less than 2 in this format, so that 255 times their sum stays below 2^31.
        sums.iter_mut()
            .zip(bytes)
            .for_each(|(sum, byte)| *sum = sum.wrapping_add(weight.wrapping_mul(i32::from(*byte))));
    }
    sums
}

#[inline(always)]
fn clip(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(n: usize) -> Vec<u8> {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..n).map(|_| next()).collect()
    }

    fn whole((height, width): (usize, usize)) -> Window {
        Window { left: 0, top: 0, width, height }
    }

    /// A window of the output is that part of the whole output, for every filter, larger and smaller.
    #[test]
    fn a_window_is_a_part_of_the_whole() {
        let size = (37, 53);
        let rgb = noise(size.0 * size.1 * 3);
        for number in 0..6 {
            let filter = Filter::of_number(number).unwrap();
            for out in [(11, 90), (80, 7), (37, 20), (20, 53), (37, 53), (9, 50)] {
                let all = resize(&rgb, size, filter, out, whole(out)).unwrap();
                let window = Window { left: out.1 / 3, top: out.0 / 4, width: out.1 / 2, height: out.0 / 2 };
                let part = resize(&rgb, size, filter, out, window).unwrap();
                for y in 0..window.height {
                    let from = ((window.top + y) * out.1 + window.left) * 3;
                    let row = &part[y * window.width * 3..][..window.width * 3];
                    assert_eq!(row, &all[from..from + window.width * 3], "{filter:?} {out:?} row {y}");
                }
            }
        }
        assert!(Filter::of_number(6).is_none());
    }

    #[test]
    fn one_pixel_fills_any_size_and_a_constant_stays() {
        for filter in (0..6).filter_map(Filter::of_number) {
            let big = resize(&[7, 130, 255], (1, 1), filter, (9, 4), whole((9, 4))).unwrap();
            assert!(big.chunks(3).all(|p| p == [7, 130, 255]), "{filter:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let window = whole((2, 2));
        assert!(resize(&[0; 12], (2, 2), Filter::Bicubic, (2, 2), window).is_ok());
        assert!(resize(&[0; 11], (2, 2), Filter::Bicubic, (2, 2), window).is_err());
        assert!(resize(&[], (0, 2), Filter::Bicubic, (2, 2), window).is_err());
        assert!(resize(&[0; 12], (2, 2), Filter::Bicubic, (2, 1), window).is_err());
    }
}
