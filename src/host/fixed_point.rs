//! Fixed-point arithmetic of one row's scalars, the twin of `shaders/common/fixed_point.wgsl`. Every function is defined
//! over the integers; the shader reaches the same values by other means.

/// The largest `w < 2³¹` with `w² v <= 4^e`, and `4^e - w² v`. For `0 < v < 2⁶³`, `e` 53 or 61.
#[inline]
pub fn inverse_root(v: u64, e: u32) -> (u32, u128) {
    let one = 1u128 << (2 * e);
    let estimate = f64::from(e).exp2() / (v as f64).sqrt();
    let mut w = (estimate as u64).min(0x7fff_ffff);
    while square_times(w, v) > one {
        w -= 1;
    }
    while w < 0x7fff_ffff && square_times(w + 1, v) <= one {
        w += 1;
    }
    (w as u32, one - square_times(w, v))
}

#[inline]
fn square_times(w: u64, v: u64) -> u128 {
    u128::from(w * w) * u128::from(v)
}

/// `⌊a b / 2^s⌋`, which must fit 64 bits.
#[inline]
pub fn mul_shift(a: i64, b: i64, s: u32) -> i64 {
    ((i128::from(a) * i128::from(b)) >> s) as i64
}

/// `1 / √n2` as Q40 from Q56; 1 below 2⁻⁴⁰, where the row is left unscaled.
#[inline]
pub fn inverse_norm(n2: i64) -> i64 {
    if n2 < 1 << 16 {
        return 1 << 40;
    }
    let zeros = n2.leading_zeros();
    let up = zeros - 1 - u32::from(zeros % 2 == 0);
    let (w, _) = inverse_root((n2 as u64) << up, 61);
    i64::from(w) << (up / 2 + 7)
}

/// A row's multiplier: the 31 upper bits of `product` (Q40 times 2⁶¹), and by how much the products shift right.
#[inline]
pub fn weight(product: i128) -> (u32, u32) {
    let top = (product >> 40) as u64;
    let bits = 64 - top.leading_zeros();
    let excess = (bits.max(31) - 31).min(21);
    let rounded = ((product >> (39 + excess)) + 1) >> 1;
    (rounded.min(0x7fff_ffff) as u32, 21 - excess)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn inverse_root_is_the_largest(v in 1u64..1 << 62, wide in any::<bool>()) {
            let (v, e) = if wide { (v | 1 << 60, 61) } else { (v | 1 << 44, 53) };
            let (w, rest) = inverse_root(v, e);
            prop_assert_eq!(rest, (1u128 << (2 * e)) - u128::from(w) * u128::from(w) * u128::from(v));
            prop_assert!(w == 0x7fff_ffff || square_times(u64::from(w) + 1, v) > 1u128 << (2 * e));
        }

        #[test]
        fn inverse_norm_is_close(n in 1e-4f64..60.0) {
            let q = inverse_norm((n * 56f64.exp2()) as i64) as f64 / 40f64.exp2();
            prop_assert!((q * n.sqrt() - 1.0).abs() < 2e-9, "{} {}", q, 1.0 / n.sqrt());
        }
    }
}
