//! Dynamic quantisation to 8 bits, the twin of `shaders/optim/dynamic.wgsl`.
//!
//! The map of Dettmers et al. (2022), "8-bit optimizers via block-wise quantization" (arXiv 2110.02861): decades of numbers from 1e-7 on,
//! each with twice as many steps as the one below. With u = 2^e + k, 0 <= k < 2^e, the step u stands for unit · 5^e (18 u + 9 - 16 · 2^e): the
//! middle of the k-th of 2^e parts of its decade.

/// Elements of a block, which share their largest moments.
pub const BLOCK: usize = 256;

const FIRST_UNIT: f32 = 5e-8;
const SECOND_UNIT: f32 = 5e-9;

/// Half of the smallest step, then halfway between the last of a decade and the first of the next.
const FIRST_DECADES: [f32; 7] = [2.75e-7, 1.9e-6, 1.45e-5, 1.225e-4, 1.1125e-3, 1.056_25e-2, 1.028_125e-1];
const SECOND_DECADES: [f32; 6] = [1.45e-6, 1.225e-5, 1.1125e-4, 1.056_25e-3, 1.028_125e-2, 1.014_062_5e-1];

/// From here on 1 is nearest.
const FIRST_ONE: f32 = 0.996_484_4;
const SECOND_ONE: f32 = 0.998_242_2;

/// 5^e, e below 8.
#[inline(always)]
fn fives(e: u32) -> f32 {
    let low = if e & 1 != 0 { 5.0 } else { 1.0 };
    let middle = if e & 2 != 0 { 25.0 } else { 1.0 };
    low * middle * if e & 4 != 0 { 625.0 } else { 1.0 }
}

/// What the step u, 1 to 255, stands for.
#[inline(always)]
fn step_value(u: i32, unit: f32) -> f32 {
    let x = u as f32;
    let bits = x.to_bits() & 0x7f80_0000;
    let e = (bits >> 23).wrapping_sub(127);
    unit * (fives(e) * (18.0 * x + 9.0 - 16.0 * f32::from_bits(bits)))
}

/// The step of the e-th decade that is nearest to y.
#[inline(always)]
fn nearest_step(y: f32, e: u32, unit: f32) -> i32 {
    let power = f32::from_bits((e + 127) << 23);
    let place = y * (1.0 / (18.0 * unit)) / fives(e) + (power * (16.0 / 18.0) - 0.5);
    let (least, most) = (power, 2.0 * power - 1.0);
    // No `clamp`: the comparisons are vector instructions.
    let place = if place < least { least } else { place };
    let place = if place > most { most } else { place };
    // To nearest, as an addition: below 2^23 a float's last bit is then 1.
    ((place + 8_388_608.0).to_bits() & 255) as i32
}

#[inline(always)]
fn decades<const N: usize>(y: f32, thresholds: [f32; N]) -> u32 {
    let mut sum = 0;
    for threshold in thresholds {
        sum += u32::from(y >= threshold);
    }
    sum
}

/// A first moment over its block's largest magnitude.
#[inline(always)]
pub fn first_value(byte: u8) -> f32 {
    let signed = i32::from(byte as i8);
    let u = signed.abs();
    let value = if u == 0 { 0.0 } else { step_value(u, FIRST_UNIT) };
    // -128 would be the most negative number; its byte is that of 1.
    if u == 128 {
        1.0
    } else if signed < 0 {
        -value
    } else {
        value
    }
}

/// The nearest byte for a first moment over its block's largest magnitude.
#[inline(always)]
pub fn first_byte(x: f32) -> u8 {
    let y = x.abs();
    let decades = decades(y, FIRST_DECADES);
    let u = nearest_step(y, if decades == 0 { 0 } else { decades - 1 }, FIRST_UNIT);
    let u = if decades == 0 { 0 } else { u };
    let signed = if x < 0.0 { -u } else { u };
    (if x >= FIRST_ONE { 128 } else { signed }) as u8
}

/// A second moment over its block's largest.
#[inline(always)]
pub fn second_value(byte: u8) -> f32 {
    let u = i32::from(byte) + 1;
    let value = step_value(if u > 255 { 255 } else { u }, SECOND_UNIT);
    if u == 1 {
        0.0
    } else if u == 256 {
        1.0
    } else {
        value
    }
}

/// The nearest byte for a second moment over its block's largest; the smallest step for what is nearer to zero, but zero itself: a second
/// moment that is lost would make the next step of its parameter as long as can be.
#[inline(always)]
pub fn second_byte(y: f32) -> u8 {
    let u = nearest_step(y, decades(y, SECOND_DECADES) + 1, SECOND_UNIT);
    let byte = if y <= 0.0 { 0 } else { u - 1 };
    (if y >= SECOND_ONE { 255 } else { byte }) as u8
}

/// 1 over a block's largest; 0 where that is as good as zero.
#[inline(always)]
pub fn inverse(largest: f32) -> f32 {
    if largest >= 1.2e-38 { 1.0 / largest } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The map as the paper's authors build it, in f64: of each decade the middles of its parts, with 0 and 1.
    fn published(signed: bool) -> Vec<f64> {
        let decade = |i: i32| {
            let parts = 1 << (i + i32::from(!signed));
            (0..parts).map(move |k| 10f64.powi(i - 6) * (0.1 + 0.9 * (f64::from(k) + 0.5) / f64::from(parts)))
        };
        let mut all: Vec<f64> = (0..7).flat_map(decade).collect();
        if signed {
            all.extend(all.clone().into_iter().map(|x| -x));
        }
        all.extend([0.0, 1.0]);
        all.sort_by(f64::total_cmp);
        all
    }

    #[test]
    fn bytes_are_the_published_map() {
        for (signed, value) in [(true, first_value as fn(u8) -> f32), (false, second_value)] {
            let mut ours: Vec<f32> = (0..=255).map(value).collect();
            ours.sort_by(f32::total_cmp);
            let theirs = published(signed);
            assert_eq!(theirs.len(), 256);
            for (ours, theirs) in ours.iter().zip(theirs) {
                // The unit, the product of integers beyond 2^24, and the product of both are rounded.
                assert!((f64::from(*ours) - theirs).abs() <= 3.0 * 6e-8 * theirs.abs(), "{ours} for {theirs}");
            }
        }
    }

    #[test]
    fn every_byte_comes_back_and_the_nearest_is_found() {
        let (firsts, seconds) = (published(true), published(false));
        let nearest = |x: f64, map: &[f64]| map.iter().map(|m| (m - x).abs()).fold(f64::MAX, f64::min);
        for byte in 0..=255 {
            assert_eq!((first_byte(first_value(byte)), second_byte(second_value(byte))), (byte, byte));
        }
        for i in 0..200_000 {
            // From 1e-8 to 1, evenly in the logarithm.
            let y = (10f64.powf(-8.0 * f64::from(i) / 200_000.0)) as f32;
            let wide = f64::from(y);
            for x in [y, -y] {
                let error = (f64::from(first_value(first_byte(x))) - f64::from(x)).abs();
                assert!(error <= nearest(f64::from(x), &firsts) + 1e-6 * wide, "{x}: {error}");
            }
            let error = (f64::from(second_value(second_byte(y))) - wide).abs();
            // Zero is not taken for what is above it.
            assert!(error <= nearest(wide, &seconds[1..]) + 1e-6 * wide, "{y}: {error}");
        }
        assert_eq!((first_byte(0.0), first_byte(-0.0), second_byte(0.0), second_byte(1e-30)), (0, 0, 0, 1));
        assert_eq!((first_value(first_byte(1.1)), second_value(second_byte(1.1))), (1.0, 1.0));
        assert_eq!((inverse(0.0), inverse(1e-39), inverse(0.5)), (0.0, 0.0, 2.0));
    }
}
