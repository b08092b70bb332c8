//! The floats that the twins are generic over: f32 is the engine, f64 the tests' oracle.

use std::ops::{Add, AddAssign, Mul, MulAssign, Sub};

use half::slice::HalfFloatSliceExt;

use crate::ElementType;

/// A float.
pub trait Real:
    Copy
    + Default
    + PartialOrd
    + Send
    + Sync
    + Add<Output = Self>
    + AddAssign
    + Mul<Output = Self>
    + MulAssign
    + Sub<Output = Self>
    + 'static
{
    /// Rounds an f64.
    fn from_f64(x: f64) -> Self;
    /// Widens to f64.
    fn to_f64(self) -> f64;
    /// Square root.
    fn sqrt(self) -> Self;
    /// 1 / self.
    fn recip(self) -> Self;
}

macro_rules! real {
    ($t:ty) => {
        impl Real for $t {
            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                x as $t
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                <$t>::sqrt(self)
            }
            #[inline(always)]
            fn recip(self) -> Self {
                1.0 / self
            }
        }
    };
}
real!(f32);
real!(f64);

/// f16 or bf16 elements, as their bits, to f32.
pub fn widen(element: ElementType, from: &[u16], to: &mut [f32]) {
    if element == ElementType::F16 {
        bytemuck::cast_slice::<u16, half::f16>(from).convert_to_f32_slice(to);
    } else {
        to.iter_mut().zip(from).for_each(|(t, &f)| *t = f32::from_bits(u32::from(f) << 16));
    }
}

const LANES: usize = 16;

/// Dot product in sixteen interleaved sums, which vectorise; their order is fixed, so equal input gives equal bits.
#[inline(always)]
pub fn dot<R: Real>(a: &[R], b: &[R]) -> R {
    let mut sums = [R::default(); LANES];
    let (a, b) = (&a[..a.len().min(b.len())], &b[..a.len().min(b.len())]);
    let (blocks_a, blocks_b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = blocks_a.remainder().iter().zip(blocks_b.remainder());
    for (x, y) in blocks_a.zip(blocks_b) {
        for i in 0..LANES {
            sums[i] += x[i] * y[i];
        }
    }
    for (i, (&x, &y)) in rest.enumerate() {
        sums[i] += x * y;
    }
    sums.iter().fold(R::default(), |total, &s| total + s)
}
