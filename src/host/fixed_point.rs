//! Fixed-point arithmetic of one row's scalars, the twin of `shaders/common/fixed_point.wgsl`. Every function is defined
//! over the integers; the shader reaches the same values by other means.

/// `2⁶¹ / √v` rounded to nearest, at most `2³¹ - 1`, and `4⁶¹ - w² v`. For `2⁶⁰ <= v < 2⁶²`.
#[inline]
pub fn inverse_root(v: u64) -> (u32, i128) {
    let one = 1u128 << 122;
    let estimate = 61f64.exp2() / (v as f64).sqrt();
    let mut w = (estimate as u64).min(0x7fff_ffff);
    while square_times(w, v) > one {
        w -= 1;
    }
    while w < 0x7fff_ffff && square_times(w + 1, v) <= one {
        w += 1;
    }
    // w is the floor. Up, if the remainder exceeds that of w + 1/2.
    if w < 0x7fff_ffff && one - square_times(w, v) > u128::from(w) * u128::from(v) + u128::from(v >> 2) {
        w += 1;
    }
    (w as u32, one as i128 - square_times(w, v) as i128)
}

/// The even number of places that brings `0 < v < 2⁶²` into `[2⁶⁰, 2⁶²)`.
#[inline]
pub fn even_shift(v: u64) -> u32 {
    (v.leading_zeros() - 1) & !1
}

#[inline]
fn square_times(w: u64, v: u64) -> u128 {
    u128::from(w * w) * u128::from(v)
}

/// `⌊a b / 2^s⌋`, which must fit 64 bits.
#[inline]
pub fn mul_shift(a: i64, b: i64, s: u32) -> i64 {
    (i128::from(a) * i128::from(b)).wrapping_shr(s) as i64
}

/// `1 / √n2` as Q40 from Q56; 1 below 2⁻⁴⁰, where the row is left unscaled.
#[inline]
pub fn inverse_norm(n2: i64) -> i64 {
    if n2 < 1 << 16 {
        return 1 << 40;
    }
    let up = even_shift(n2 as u64);
    let (w, _) = inverse_root((n2 as u64) << up);
    i64::from(w) << (up / 2 + 7)
}

/// A row's multiplier: the 31 upper bits of `product` (a Q40 number times w), and by how much the products shift right;
/// `places` is that shift for w alone.
#[inline]
pub fn weight(product: i128, places: u32) -> (u32, u32) {
    let top = (product >> 40) as u64;
    let bits = 64 - top.leading_zeros();
    let excess = (bits.max(31) - 31).min(places);
    let rounded = ((product >> (39 + excess)) + 1) >> 1;
    (rounded.min(0x7fff_ffff) as u32, places - excess)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn inverse_root_is_nearest(v in 1u64 << 60..1 << 62) {
            let (w, rest) = inverse_root(v);
            prop_assert_eq!(rest, (1i128 << 122) - i128::from(w) * i128::from(w) * i128::from(v));
            // (2w - 1)² v <= 4 · 4⁶¹ <= (2w + 1)² v, in 128 bits, but at the cap.
            let twice = |k: u64| u128::from(k) * u128::from(k) * u128::from(v);
            prop_assert!(twice(2 * u64::from(w) - 1) <= 1 << 124);
            prop_assert!(w == 0x7fff_ffff || twice(2 * u64::from(w) + 1) >= 1 << 124);
        }

        #[test]
        fn inverse_norm_is_close(n in 1e-4f64..60.0) {
            let q = inverse_norm((n * 56f64.exp2()) as i64) as f64 / 40f64.exp2();
            prop_assert!((q * n.sqrt() - 1.0).abs() < 2e-9, "{} {}", q, 1.0 / n.sqrt());
        }
    }
}
