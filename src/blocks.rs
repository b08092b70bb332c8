//! Blocks of Q8_0, as GGUF has them: 32 numbers of 8 bits that share a scale d in f16, so that each stands for d q. The product of 8 and 11
//! bits is exact in f32.
//!
//! On a device, two blocks are 17 words: the 64 numbers, four to a word, and a word with both scales. Rows of a multiple of 32 elements
//! follow each other without padding; where the number of blocks is odd, the last pair's second half is zero.

use half::f16;

use crate::{Error, Result};

/// Numbers of a block.
pub(crate) const BLOCK: usize = 32;
/// Words of two blocks on a device.
pub(crate) const PAIR_WORDS: usize = 17;

/// The scale of a block, and its numbers: the largest magnitude over 127, and each number over it, rounded to nearest, halves away from zero.
/// As ggml does it: the quotients are products with 1 / d before d is rounded.
pub(crate) fn quantize(numbers: &[f32], mut put: impl FnMut(usize, i8)) -> f16 {
    let largest = numbers.iter().fold(0f32, |most, x| most.max(x.abs()));
    let d = largest / 127.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    numbers.iter().enumerate().for_each(|(i, x)| put(i, (x * inverse).round() as i8));
    f16::from_f32(d)
}

/// Whether a block may hold the number: its scale would be finite.
pub(crate) fn holds(x: f32) -> bool {
    f16::from_f32(x / 127.0).is_finite()
}

/// Bytes on a device of so many numbers, a multiple of 32; `None` above what 64 bits count.
pub(crate) fn device_bytes(numbers: u64) -> Option<u64> {
    numbers.div_ceil(2 * BLOCK as u64).checked_mul(4 * PAIR_WORDS as u64)
}

/// The words of numbers on a device, whole blocks.
///
/// # Errors
/// A number that no block holds, with `name`.
pub(crate) fn to_device(name: &str, numbers: &[f32]) -> Result<Vec<u32>> {
    if let Some(x) = numbers.iter().find(|x| !holds(**x)) {
        let problem = format!("{name} has {x}, which q8_0 cannot hold; take bf16");
        return Err(Error::argument("storage type", problem));
    }
    let mut words = vec![0u32; numbers.len().div_ceil(2 * BLOCK) * PAIR_WORDS];
    for (pair, words) in numbers.chunks(2 * BLOCK).zip(words.chunks_exact_mut(PAIR_WORDS)) {
        let (of_numbers, of_scales) = words.split_at_mut(PAIR_WORDS - 1);
        for (half, block) in pair.chunks(BLOCK).enumerate() {
            let bytes = bytemuck::cast_slice_mut::<u32, u8>(&mut of_numbers[8 * half..]);
            let d = quantize(block, |i, q| bytes[i] = q as u8);
            of_scales[0] |= u32::from(d.to_bits()) << (16 * half);
        }
    }
    Ok(words)
}

/// Numbers of a device's words as f32, from the first on, which begins a block, as is the end of one. What lies beyond the words is zero.
pub(crate) fn from_device(words: &[u32], first: usize, to: &mut [f32]) {
    for (i, block) in to.chunks_mut(BLOCK).enumerate() {
        let number = first / BLOCK + i;
        let start = (number / 2).saturating_mul(PAIR_WORDS);
        let pair = words.get(start..).and_then(|rest| rest.get(..PAIR_WORDS));
        let Some((numbers, scales)) = pair.map(|pair| pair.split_at(PAIR_WORDS - 1)) else {
            block.fill(0.0);
            continue;
        };
        let half = number % 2;
        let d = f16::from_bits((scales[0] >> (16 * half)) as u16).to_f32();
        let bytes = &bytemuck::cast_slice::<u32, u8>(numbers)[BLOCK * half..];
        block.iter_mut().zip(bytes).for_each(|(x, q)| *x = d * f32::from(*q as i8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each number comes back as its block's d q, whatever the number of blocks, and again the same.
    #[test]
    fn blocks_come_back() {
        for blocks in [1, 2, 3, 8] {
            let numbers: Vec<f32> =
                (0..32 * blocks).map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.01 * (1 + i / 32) as f32).collect();
            let words = to_device("x", &numbers).unwrap();
            assert_eq!(4 * words.len() as u64, device_bytes(numbers.len() as u64).unwrap());
            let mut back = vec![f32::NAN; numbers.len()];
            from_device(&words, 0, &mut back);
            for (x, y) in numbers.chunks(32).zip(back.chunks(32)) {
                let most = x.iter().fold(0f32, |most, x| most.max(x.abs()));
                // Half a step, and what the rounding of d does to 127 of them.
                let bound = most / 127.0 * 0.5 + most * 2f32.powi(-11);
                assert!(x.iter().zip(y).all(|(x, y)| (x - y).abs() <= bound), "{x:?} {y:?}");
            }
            // Quantised again, they are as they were.
            assert_eq!(to_device("x", &back).unwrap(), words);
            let mut part = vec![0.0; 32];
            from_device(&words, 32 * (blocks - 1), &mut part);
            assert_eq!(part, back[32 * (blocks - 1)..]);
        }
    }

    #[test]
    fn extremes() {
        // A half away from zero: 127 steps of 1, and 2.5 of them.
        let mut numbers = [0.0; 32];
        (numbers[0], numbers[1], numbers[2]) = (127.0, 2.5, -2.5);
        let words = to_device("x", &numbers).unwrap();
        let mut back = [0.0; 32];
        from_device(&words, 0, &mut back);
        assert_eq!(back[..4], [127.0, 3.0, -3.0, 0.0]);
        // A subnormal scale.
        let tiny = [1e-5; 32];
        from_device(&to_device("x", &tiny).unwrap(), 0, &mut back);
        assert!(back.iter().all(|x| (x - 1e-5).abs() < 127.0 * 2f32.powi(-25)), "{back:?}");
        for bad in [f32::NAN, f32::INFINITY, 1e8] {
            numbers[5] = bad;
            let error = to_device("w", &numbers).unwrap_err().to_string();
            assert!(error.contains("w has") && error.contains("q8_0"), "{error}");
        }
        from_device(&[], 64, &mut back);
        assert_eq!(back, [0.0; 32]);
    }
}
