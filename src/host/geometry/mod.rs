//! Twins of `shaders/geometry`.

pub mod angles;
pub mod histogram;
pub mod jacobi;
pub mod nearest;

/// A number that orders as the cosine does: -0 is 0, and no cosine's is 0. That of a NaN, which is no cosine, is 0.
#[inline(always)]
pub fn key(cosine: f32) -> u32 {
    if cosine.is_nan() {
        return 0;
    }
    let size = cosine.to_bits() & 0x7fff_ffff;
    if cosine.is_sign_negative() { 0x8000_0000 - size } else { 0x8000_0000 + size }
}

/// The cosine of a [`key`]; a NaN for 0.
#[inline(always)]
pub fn cosine(key: u32) -> f32 {
    let size = key.abs_diff(0x8000_0000);
    if key == 0 { f32::NAN } else { f32::from_bits(if key < 0x8000_0000 { size | 0x8000_0000 } else { size }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_as_cosines_do() {
        let all = [-1.5, -1.0, -0.5, -1e-30, -1e-45, 0.0, 1e-45, 1e-30, 0.5, 1.0, 1.5f32];
        for (a, b) in all.iter().zip(&all[1..]) {
            assert!(key(*a) < key(*b), "{a} {b}");
        }
        assert!(all.iter().all(|&c| cosine(key(c)) == c));
        assert_eq!(key(-0.0), key(0.0));
        assert!(key(f32::NEG_INFINITY) > 0 && cosine(0).is_nan());
        assert_eq!((key(f32::NAN), key(-f32::NAN)), (0, 0));
    }
}
