//! Blocks of 256 numbers to f32: the types Q2_K to Q6_K of ggml. A block is cut into groups of 16 or 32, whose scales (and minima) are
//! small integers, times one f16 for all.

use super::dequantize::half_at;

/// 16 bytes of scales (low half) and minima (high half) of groups of 16, 64 bytes of 2-bit numbers, d, dmin. Of each 32 bytes the lowest two
/// bits are the first 32 numbers, the next two bits the next 32, and so on.
pub(super) fn q2(raw: &[u8], out: &mut [f32]) {
    let (d, dmin) = (half_at(raw, 80), half_at(raw, 82));
    for (group, out) in out.chunks_exact_mut(16).enumerate() {
        let scale = d * f32::from(raw[group] & 15);
        let minimum = dmin * f32::from(raw[group] >> 4);
        let (bytes, shift) = two_bits(&raw[16..80], group);
        for (byte, x) in bytes.iter().zip(out) {
            *x = scale * f32::from((byte >> shift) & 3) - minimum;
        }
    }
}

/// The 16 bytes that hold the 2-bit numbers of a group of 16, and how far to shift them.
fn two_bits(bytes: &[u8], group: usize) -> (&[u8], usize) {
    // A run of 128 numbers is 32 bytes; within it, 32 numbers for each shift.
    let start = group / 8 * 32 + group % 2 * 16;
    (&bytes[start..start + 16], group % 8 / 2 * 2)
}

/// 32 bytes of high bits, 64 bytes of low bits, 12 bytes of 6-bit scales, d. A number is its low bits, less 4 where its high bit is off.
pub(super) fn q3(raw: &[u8], out: &mut [f32]) {
    let d = half_at(raw, 108);
    let scales = &raw[96..108];
    for (group, out) in out.chunks_exact_mut(16).enumerate() {
        let low = if group < 8 { scales[group] & 15 } else { scales[group - 8] >> 4 };
        let high = (scales[8 + group % 4] >> (group / 4 * 2)) & 3;
        let scale = d * (f32::from(low | (high << 4)) - 32.0);
        let (bytes, shift) = two_bits(&raw[32..96], group);
        // One bit a byte for each 32 numbers.
        let masks = &raw[group % 2 * 16..][..16];
        for ((byte, mask), x) in bytes.iter().zip(masks).zip(out) {
            let borrow = if (mask >> (group / 2)) & 1 == 1 { 0 } else { 4 };
            *x = scale * f32::from(((byte >> shift) & 3) as i8 - borrow);
        }
    }
}

/// The 6-bit scale and minimum of a group of 32 out of the 12 bytes that hold eight of each.
fn scale_and_minimum(bytes: &[u8], group: usize) -> (f32, f32) {
    let (scale, minimum) = if group < 4 {
        (bytes[group] & 63, bytes[group + 4] & 63)
    } else {
        let low = bytes[group + 4];
        ((low & 15) | (bytes[group - 4] >> 6 << 4), (low >> 4) | (bytes[group] >> 6 << 4))
    };
    (f32::from(scale), f32::from(minimum))
}

/// d, dmin, 12 bytes of scales and minima, 128 bytes of two numbers each: of each 32 bytes the low halves come first.
pub(super) fn q4(raw: &[u8], out: &mut [f32]) {
    let (d, dmin) = (half_at(raw, 0), half_at(raw, 2));
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, minimum) = scale_and_minimum(&raw[4..16], group);
        let (scale, minimum) = (d * scale, dmin * minimum);
        let bytes = &raw[16 + group / 2 * 32..][..32];
        for (byte, x) in bytes.iter().zip(out) {
            *x = scale * f32::from((byte >> (group % 2 * 4)) & 15) - minimum;
        }
    }
}

/// As [`q4`], with 32 bytes of fifth bits between, one bit a byte for each group.
pub(super) fn q5(raw: &[u8], out: &mut [f32]) {
    let (d, dmin) = (half_at(raw, 0), half_at(raw, 2));
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, minimum) = scale_and_minimum(&raw[4..16], group);
        let (scale, minimum) = (d * scale, dmin * minimum);
        let bytes = &raw[48 + group / 2 * 32..][..32];
        for ((byte, high), x) in bytes.iter().zip(&raw[16..48]).zip(out) {
            let q = ((byte >> (group % 2 * 4)) & 15) | (((high >> group) & 1) << 4);
            *x = scale * f32::from(q) - minimum;
        }
    }
}

/// 128 bytes of low halves, 64 bytes of high pairs of bits, 16 signed scales of groups of 16, d. A number is its six bits less 32.
pub(super) fn q6(raw: &[u8], out: &mut [f32]) {
    let d = half_at(raw, 208);
    for (part, out) in out.chunks_exact_mut(32).enumerate() {
        // A run of 128 numbers is 64 bytes of halves and 32 of pairs: four times 32 numbers.
        let (run, quarter) = (part / 4, part % 4);
        let low = &raw[run * 64 + quarter % 2 * 32..][..32];
        let high = &raw[128 + run * 32..][..32];
        for (j, x) in out.iter_mut().enumerate() {
            let q = ((low[j] >> (quarter / 2 * 4)) & 15) | (((high[j] >> (quarter * 2)) & 3) << 4);
            let scale = raw[192 + part * 2 + j / 16] as i8;
            *x = d * f32::from(scale) * (f32::from(q) - 32.0);
        }
    }
}
