//! Twin of `shaders/common/wide_float.wgsl`: floats with 64 bits of mantissa, made of integers. Results are cut towards zero, by the same
//! steps as the shader's, so that they are the same bits.

use bytemuck::{Pod, Zeroable};

/// `m 2^e`, or its negative; the upper bit of m is set, or m is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wide {
    m: u64,
    e: i32,
    negative: bool,
}

/// As devices keep it: mantissa, low word first, exponent, sign.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Words([u32; 4]);

impl From<Words> for Wide {
    #[inline(always)]
    fn from(Words([low, high, e, sign]): Words) -> Wide {
        Wide { m: u64::from(low) | u64::from(high) << 32, e: e as i32, negative: sign == 1 }
    }
}

impl From<Wide> for Words {
    #[inline(always)]
    fn from(x: Wide) -> Words {
        Words([x.m as u32, (x.m >> 32) as u32, x.e as u32, u32::from(x.negative)])
    }
}

impl Wide {
    /// 0.
    pub const ZERO: Wide = Wide { m: 0, e: 0, negative: false };
    /// 1.
    pub const ONE: Wide = Wide { m: 1 << 63, e: -63, negative: false };

    fn normalised(m: u64, e: i32, negative: bool) -> Wide {
        match m.leading_zeros() {
            64 => Wide::ZERO,
            places => Wide { m: m << places, e: e.wrapping_sub(places as i32), negative },
        }
    }

    /// The upper 64 bits of an integer's magnitude, times `2^e`.
    pub fn of_integer(x: i128, e: i32) -> Wide {
        let size = x.unsigned_abs();
        let places = size.leading_zeros();
        match places {
            128 => Wide::ZERO,
            _ => Wide { m: ((size << places) >> 64) as u64, e: e + 64 - places as i32, negative: x < 0 },
        }
    }

    /// The same number; zero for what is no number.
    pub fn from_f64(x: f64) -> Wide {
        let bits = x.to_bits();
        let (exponent, fraction) = ((bits >> 52) as i32 & 0x7ff, bits & ((1 << 52) - 1));
        match exponent {
            0x7ff => Wide::ZERO,
            0 => Wide::normalised(fraction, -1074, x < 0.0),
            _ => Wide::normalised(fraction | 1 << 52, exponent - 1075, x < 0.0),
        }
    }

    /// Rounded to f64.
    pub fn to_f64(self) -> f64 {
        let size = self.m as f64 * f64::from(self.e).exp2();
        if self.negative { -size } else { size }
    }

    /// Whether it is zero.
    pub fn is_zero(self) -> bool {
        self.m >> 32 == 0
    }

    /// `self · b`.
    #[inline(always)]
    #[must_use]
    pub fn times(self, b: Wide) -> Wide {
        if self.is_zero() || b.is_zero() {
            return Wide::ZERO;
        }
        let product = u128::from(self.m) * u128::from(b.m);
        let (high, e) = ((product >> 64) as u64, self.e.wrapping_add(b.e).wrapping_add(64));
        let negative = self.negative ^ b.negative;
        if high >> 63 == 1 {
            return Wide { m: high, e, negative };
        }
        Wide { m: high << 1 | (product >> 63) as u64 & 1, e: e.wrapping_sub(1), negative }
    }

    /// `self + b`.
    #[inline(always)]
    #[must_use]
    pub fn plus(self, b: Wide) -> Wide {
        if self.is_zero() {
            return b;
        }
        if b.is_zero() {
            return self;
        }
        let swap = self.e < b.e || self.e == b.e && self.m < b.m;
        let (large, small) = if swap { (b, self) } else { (self, b) };
        let apart = large.e.wrapping_sub(small.e) as u32;
        let moved = if apart < 64 { small.m >> apart } else { 0 };
        if large.negative != small.negative {
            return Wide::normalised(large.m.wrapping_sub(moved), large.e, large.negative);
        }
        let (sum, over) = large.m.overflowing_add(moved);
        if over {
            return Wide { m: sum >> 1 | 1 << 63, e: large.e.wrapping_add(1), ..large };
        }
        Wide { m: sum, ..large }
    }

    /// `self · 2^places`.
    #[must_use]
    pub fn moved(self, places: i32) -> Wide {
        Wide { e: if self.is_zero() { 0 } else { self.e.wrapping_add(places) }, ..self }
    }

    /// `-self`.
    #[inline(always)]
    #[must_use]
    pub fn negated(self) -> Wide {
        Wide { negative: !self.is_zero() && !self.negative, ..self }
    }

    /// `|self|`.
    #[must_use]
    pub fn magnitude(self) -> Wide {
        Wide { negative: false, ..self }
    }

    /// With the sign of another.
    #[must_use]
    pub fn signed_as(self, other: Wide) -> Wide {
        Wide { negative: other.negative, ..self }
    }

    /// Whether it is below `b`; neither is below zero.
    #[must_use]
    pub fn lesser(self, b: Wide) -> bool {
        if self.is_zero() || b.is_zero() {
            return !b.is_zero();
        }
        self.e < b.e || self.e == b.e && self.m < b.m
    }

    /// `1 / self`, which is not zero: Newton's method from a line, whose error of 1/17 is squared four times.
    #[must_use]
    pub fn inverse(self) -> Wide {
        let x = Wide { m: self.m, e: -64, negative: false };
        let line = Wide { m: 0xf0f0_f0f0_f0f0_f0f0, e: -63, negative: true };
        let mut r = Wide { m: 0xb4b4_b4b4_b4b4_b4b4, e: -62, negative: false }.plus(line.times(x));
        for _ in 0..4 {
            r = r.plus(r.times(Wide::ONE.plus(x.times(r).negated())));
        }
        Wide { m: r.m, e: r.e.wrapping_sub(self.e.wrapping_add(64)), negative: self.negative }
    }

    /// `1 / √self`, which is above zero: as [`Wide::inverse`], from a line whose error is a ninth at most.
    #[must_use]
    pub fn inverse_sqrt(self) -> Wide {
        let odd = self.e & 1 != 0;
        let x = Wide { m: self.m, e: if odd { -65 } else { -64 }, negative: false };
        let k = self.e.wrapping_add(if odd { 65 } else { 64 }) / 2;
        let line = Wide { m: 0x9333_3333_3333_3333, e: -63, negative: true };
        let mut y = Wide { m: 0x847a_e147_ae14_7ae1, e: -62, negative: false }.plus(line.times(x));
        for _ in 0..5 {
            y = y.plus(y.times(Wide::ONE.plus(x.times(y.times(y)).negated())).moved(-1));
        }
        Wide { m: y.m, e: y.e.wrapping_sub(k), negative: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(x: f64) -> Wide {
        // Of 53 bits: by an integer of its own scale.
        let e = if x == 0.0 { 0 } else { x.abs().log2().floor() as i32 - 60 };
        let found = Wide::of_integer((x * f64::from(-e).exp2()) as i128, e);
        assert_eq!(Wide::from_f64(x), found);
        found
    }

    fn near(got: Wide, want: f64, ulps: f64) -> bool {
        (got.to_f64() - want).abs() <= ulps * f64::EPSILON * want.abs()
    }

    proptest! {
        #[test]
        fn as_f64(a in -1e6f64..1e6, b in -1e-6f64..1e6) {
            let (x, y) = (of(a), of(b));
            prop_assert!(near(x, a, 0.0) && near(y, b, 0.0));
            prop_assert!(near(x.times(y), a * b, 1.0));
            // Where much cancels f64 is the one that errs.
            prop_assert!((x.plus(y).to_f64() - (a + b)).abs() <= f64::EPSILON * (a.abs() + b.abs()));
            prop_assert_eq!(x.plus(y), y.plus(x));
            prop_assert_eq!(x.plus(x.negated()), Wide::ZERO);
            prop_assert_eq!(x.magnitude().lesser(y.magnitude()), a.abs() < b.abs());
            if a != 0.0 {
                prop_assert!(near(x.inverse(), 1.0 / a, 2.0));
                prop_assert!(near(x.magnitude().inverse_sqrt(), 1.0 / a.abs().sqrt(), 2.0));
                // To all of its bits but a few.
                let off = Wide::ONE.plus(x.times(x.inverse()).negated());
                prop_assert!(off.is_zero() || off.to_f64().abs() < 60f64.exp2().recip());
                let root = x.magnitude().inverse_sqrt();
                let off = Wide::ONE.plus(x.magnitude().times(root.times(root)).negated());
                prop_assert!(off.is_zero() || off.to_f64().abs() < 59f64.exp2().recip());
            }
            prop_assert_eq!(Wide::from(Words::from(x)), x);
        }
    }

    #[test]
    fn far_apart_and_zero() {
        let (small, one) = (Wide::ONE.moved(-200), Wide::ONE);
        assert_eq!(one.plus(small), one);
        assert_eq!(one.plus(Wide::ZERO), one);
        assert_eq!(Wide::ZERO.times(one), Wide::ZERO);
        assert_eq!(Wide::of_integer(0, 5), Wide::ZERO);
        assert_eq!(Wide::of_integer(-3, 1).to_f64(), -6.0);
        assert!(Wide::ZERO.lesser(small) && !small.lesser(Wide::ZERO) && !Wide::ZERO.lesser(Wide::ZERO));
        assert_eq!(Wide::ZERO.negated(), Wide::ZERO);
    }
}
