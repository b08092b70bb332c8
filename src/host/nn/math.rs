//! Elementary functions for both floats. In f32 they are polynomials without branches, so that loops over them vectorise; in f64
//! they are exact to rounding, for the tests' oracle.

use std::ops::{Div, Neg, SubAssign};

use crate::host::real::Real;

/// A float with elementary functions.
pub trait Float:
    Real + faer::traits::ComplexField + Div<Output = Self> + Neg<Output = Self> + SubAssign + bytemuck::Pod
{
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// The largest finite number, negated.
    const LEAST: Self;
    /// e^x; in f32 at most 2.4e38, and 0 below e^-87.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// Magnitude.
    fn abs(self) -> Self;
    /// The larger of two numbers; `self` where one is a NaN, so that a NaN comes through that is kept in it.
    fn max(self, other: Self) -> Self;
    /// The smaller of two numbers; `self` where one is a NaN.
    fn min(self, other: Self) -> Self;
    /// self · a + b: fused or not, whichever the CPU does faster.
    fn mul_add_fast(self, a: Self, b: Self) -> Self;
    /// The normal distribution function.
    fn normal_cdf(self) -> Self;
    /// Sine and cosine of `turns` / 2⁶⁴ turns.
    fn sin_cos_turns(turns: u64) -> (Self, Self);

    /// 1 / (1 + e^-x).
    #[inline(always)]
    fn sigmoid(self) -> Self {
        Self::ONE / (Self::ONE + (-self.max(Self::from_f64(-80.0))).exp())
    }
}

impl Float for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;
    const LEAST: f64 = f64::MIN;

    #[inline(always)]
    fn exp(self) -> f64 {
        f64::exp(self)
    }
    #[inline(always)]
    fn ln(self) -> f64 {
        f64::ln(self)
    }
    #[inline(always)]
    fn abs(self) -> f64 {
        f64::abs(self)
    }
    #[inline(always)]
    fn max(self, other: f64) -> f64 {
        if self < other { other } else { self }
    }
    #[inline(always)]
    fn min(self, other: f64) -> f64 {
        if self > other { other } else { self }
    }
    #[inline(always)]
    fn mul_add_fast(self, a: f64, b: f64) -> f64 {
        self * a + b
    }
    #[inline(always)]
    fn normal_cdf(self) -> f64 {
        0.5 * libm::erfc(-self * std::f64::consts::FRAC_1_SQRT_2)
    }
    #[inline(always)]
    fn sin_cos_turns(turns: u64) -> (f64, f64) {
        // As a signed fraction: small angles keep their digits.
        (turns as i64 as f64 * (std::f64::consts::TAU * 2f64.powi(-64))).sin_cos()
    }
}

impl Float for f32 {
    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;
    const LEAST: f32 = f32::MIN;

    /// Cephes' `expf`, within 2 ulp.
    #[inline(always)]
    fn exp(self) -> f32 {
        const SHIFT: f32 = 12_582_912.0;
        let x = if self < 88.3 { self } else { 88.3 };
        // A NaN must come through, and the two comparisons above and below would lose it.
        let x = if self.is_nan() { self } else { x };
        let clamped = if x < -87.3 { -87.3 } else { x };
        let shifted = clamped * std::f32::consts::LOG2_E + SHIFT;
        let n = shifted - SHIFT;
        let r = clamped - n * 0.693_359_4 - n * -2.121_944_4e-4;
        let mut p = 1.987_569_1e-4f32;
        for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
            p = p * r + c;
        }
        let power = f32::from_bits((shifted.to_bits().wrapping_sub(SHIFT.to_bits()).wrapping_add(127)) << 23);
        let value = (p * r * r + r + 1.0) * power;
        if x < -87.3 { 0.0 } else { value }
    }
    #[inline(always)]
    fn ln(self) -> f32 {
        f32::ln(self)
    }
    #[inline(always)]
    fn abs(self) -> f32 {
        f32::abs(self)
    }
    #[inline(always)]
    fn max(self, other: f32) -> f32 {
        if self < other { other } else { self }
    }
    #[inline(always)]
    fn min(self, other: f32) -> f32 {
        if self > other { other } else { self }
    }
    #[inline(always)]
    fn mul_add_fast(self, a: f32, b: f32) -> f32 {
        self * a + b
    }
    /// The complementary error function of Numerical Recipes, as in `shaders/nn/gelu_forms.wgsl`.
    #[inline(always)]
    fn normal_cdf(self) -> f32 {
        let a = Float::min(Float::abs(self), 30.0);
        let t = 1.0 / (1.0 + 0.353_553_4 * a);
        let mut p = 0.170_872_77f32;
        let rest = [
            -0.822_152_2,
            1.488_515_9,
            -1.135_204,
            0.278_868_08,
            -0.186_288_06,
            0.096_784_18,
            0.374_091_96,
            1.000_023_7,
        ];
        for c in rest {
            p = p * t + c;
        }
        let tail = 0.5 * t * Float::exp(-0.5 * a * a + (-1.265_512_2 + t * p));
        if self > 0.0 { 1.0 - tail } else { tail }
    }
    /// As in `shaders/nn/rotary.wgsl`: the upper 32 bits, the nearest quarter turn, and Cephes' polynomials for the rest.
    #[inline(always)]
    fn sin_cos_turns(turns: u64) -> (f32, f32) {
        let turns = (turns >> 32) as u32;
        let quarter = turns.wrapping_add(0x2000_0000) >> 30;
        let angle = turns.wrapping_sub(quarter << 30) as i32 as f32 * 1.462_918_1e-9;
        let z = angle * angle;
        let s = angle + angle * z * (-1.666_666_5e-1 + z * (8.332_161e-3 - z * 1.951_529_6e-4));
        let c = 1.0 - 0.5 * z + z * z * (4.166_664_6e-2 + z * (-1.388_731_6e-3 + z * 2.443_315_7e-5));
        match quarter & 3 {
            0 => (s, c),
            1 => (c, -s),
            2 => (-s, -c),
            _ => (-c, s),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_2_ulp() {
        for i in -87_000..88_000 {
            let x = i as f32 * 1e-3 + 1e-4;
            let (got, want) = (f64::from(Float::exp(x)), f64::from(x).exp());
            assert!((got - want).abs() <= 2.0 * f64::from(f32::EPSILON) * want, "{x}: {got} for {want}");
        }
        assert_eq!(Float::exp(-1e30f32), 0.0);
        assert!(Float::exp(1e30f32).is_finite());
        assert!(Float::exp(f32::NAN).is_nan());
    }

    #[test]
    fn normal_cdf_is_within_1e_6_of_itself() {
        for i in -5_000..5_000 {
            let x = i as f32 * 2e-3;
            let (got, want) = (f64::from(x.normal_cdf()), f64::from(x).normal_cdf());
            // The argument of the exponential errs by its rounding, up to |x|^2 / 2 of 2^-24.
            let bound = (1e-6 + 6e-8 * f64::from(x * x)) * want;
            assert!((got - want).abs() <= bound, "{x}: {got} for {want}");
        }
    }

    #[test]
    fn sine_and_cosine_of_turns() {
        for i in 0..10_000u64 {
            let turns = i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let ((s, c), (s64, c64)) = (f32::sin_cos_turns(turns), f64::sin_cos_turns(turns));
            assert!((f64::from(s) - s64).abs() < 1.5e-7 && (f64::from(c) - c64).abs() < 1.5e-7, "{turns:x}");
        }
    }
}
