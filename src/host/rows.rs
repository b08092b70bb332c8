//! Reading rows of any device element type: the twin of the `shaders/common/rows_*.wgsl` files.

use bytemuck::{Pod, Zeroable};
use half::{bf16, f16};

/// Peak below which a row counts as zero: 2⁻⁶⁰ as f32 bits.
pub const TINY: u32 = 0x2180_0000;

/// f32 bits from which on a value is not finite.
pub const NOT_FINITE: u32 = 0x7f80_0000;

/// An element type that devices hold.
pub trait RowElement: Pod + Send + Sync {
    /// f32 bits of the magnitude.
    fn magnitude(self) -> u32;
    /// The element in units of `1 / scale`, ties to even.
    fn fixed(self, scale: f32) -> i32;
    /// The element times `scale`.
    fn float(self, scale: f32) -> f32;
}

/// A value of at most 31 bits as an integer, ties to even.
#[inline(always)]
fn to_int(value: f32) -> i32 {
    let rounded = value.round_ties_even();
    // `as` would cost a comparison and two blends per element. SAFETY: a row's scale brings its peak below 2^31, and
    // rows with a NaN or an infinity have scale 0 and never come here (their product would be NaN): `debug_assert` says so.
    debug_assert!(rounded.abs() < 2147483648.0);
    #[expect(unsafe_code, reason = "hot loop; the invariant stands above")]
    unsafe {
        rounded.to_int_unchecked()
    }
}

impl RowElement for f32 {
    #[inline(always)]
    fn magnitude(self) -> u32 {
        self.to_bits() & 0x7fff_ffff
    }
    #[inline(always)]
    fn fixed(self, scale: f32) -> i32 {
        to_int(self * scale)
    }
    #[inline(always)]
    fn float(self, scale: f32) -> f32 {
        self * scale
    }
}

/// f16 to f32 with integers, so that loops over rows vectorise without the F16C instructions.
#[inline(always)]
fn widen(h: f16) -> f32 {
    let h = u32::from(h.to_bits());
    let (sign, exponent, mantissa) = ((h & 0x8000) << 16, (h >> 10) & 31, h & 0x3ff);
    let magnitude = match exponent {
        0 => (mantissa as f32 * 5.960_464_5e-8).to_bits(),
        31 => NOT_FINITE | (mantissa << 13),
        _ => ((exponent + 112) << 23) | (mantissa << 13),
    };
    f32::from_bits(sign | magnitude)
}

macro_rules! through_f32 {
    ($type:ty, $convert:expr) => {
        impl RowElement for $type {
            #[inline(always)]
            fn magnitude(self) -> u32 {
                $convert(self).magnitude()
            }
            #[inline(always)]
            fn fixed(self, scale: f32) -> i32 {
                $convert(self).fixed(scale)
            }
            #[inline(always)]
            fn float(self, scale: f32) -> f32 {
                $convert(self) * scale
            }
        }
    };
}
through_f32!(f16, widen);
through_f32!(bf16, |b: bf16| f32::from_bits(u32::from(b.to_bits()) << 16));

/// An element of an f64 row brought to fixed point by [`fixed_row`].
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Fixed(pub i32);

impl RowElement for Fixed {
    #[inline(always)]
    fn magnitude(self) -> u32 {
        if self.0 == 0 { 0 } else { 0x3f80_0000 }
    }
    #[inline(always)]
    fn fixed(self, _scale: f32) -> i32 {
        self.0
    }
    #[inline(always)]
    fn float(self, scale: f32) -> f32 {
        self.0 as f32 * (scale * 9.313_226e-10)
    }
}

/// The largest magnitude of a row as f32 bits; [`NOT_FINITE`] and above if it has a NaN or an infinity.
#[inline(always)]
pub fn peak<E: RowElement>(row: &[E]) -> u32 {
    row.iter().fold(0, |m, x| m.max(x.magnitude()))
}

/// Whether a row of this peak is finite and not certainly below norm 1e-10.
#[inline(always)]
pub fn usable(peak: u32) -> bool {
    (TINY..NOT_FINITE).contains(&peak)
}

/// The power of two that brings the peak into [2³⁰, 2³¹).
#[inline(always)]
pub fn fixed_scale(peak: u32) -> f32 {
    f32::from_bits((284 - (peak >> 23)) << 23)
}

/// The power of two that brings the peak into [1, 4), for floating-point sums.
#[inline(always)]
pub fn float_scale(peak: u32) -> f32 {
    f32::from_bits((254 - (peak >> 23).min(253)) << 23)
}

/// Brings a row of f64 to fixed point: the largest magnitude lands in [2³⁰, 2³¹); a row of norm below 1e-10 becomes zero.
/// Returns the column of the first NaN or infinity, if any, and then leaves `out` alone.
pub fn fixed_row(row: &[f64], out: &mut [i32]) -> Option<usize> {
    let peak = row.iter().fold(0f64, |m, x| if x.abs() > m { x.abs() } else { m });
    if let Some(column) = row.iter().position(|x| !x.is_finite()) {
        return Some(column);
    }
    // |row| >= peak; in units of the peak the sum of squares cannot overflow.
    let norm = if peak > 0.0 { peak * row.iter().map(|x| (x / peak).powi(2)).sum::<f64>().sqrt() } else { 0.0 };
    if norm < 1e-10 {
        out.fill(0);
        return None;
    }
    // The exponent from the bits: log2 may round up to the next integer.
    let exponent = ((peak.to_bits() >> 52) as i32) - 1023;
    let (half, rest) = ((30 - exponent) / 2, (30 - exponent) - (30 - exponent) / 2);
    let (s, t) = (f64::from(half).exp2(), f64::from(rest).exp2());
    for (o, x) in out.iter_mut().zip(row) {
        *o = (x * s * t).round_ties_even().clamp(-2147483647.0, 2147483647.0) as i32;
    }
    None
}
