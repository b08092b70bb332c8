//! Gaussian noise on the adapter's input: the same for the same seed, step and sample, whatever the batch or the device.

use crate::host::gaussian::gaussian4;
use crate::host::split_mix::{STEP, mix};

/// The generator's key for a step of a run.
pub fn noise_key(seed: u64, step: u64) -> [u32; 2] {
    // Neighbouring seeds and steps must not give related keys.
    let key = mix(mix(seed.wrapping_add(STEP)).wrapping_add(step));
    [key as u32, (key >> 32) as u32]
}

/// The key of dropout's masks for a step of a run: another than that of its noise.
pub fn dropout_key(seed: u64, step: u64) -> [u32; 2] {
    noise_key(mix(seed ^ 0x6472_6f70_6f75_7421), step)
}

/// Standard normal numbers `[samples.len(), width]`. `samples` are the numbers of the rows' samples in the data: each
/// sample's noise depends on its number, the seed and the step alone.
pub fn noise(width: usize, samples: &[u32], (seed, step): (u64, u64)) -> Vec<f32> {
    let key = noise_key(seed, step);
    let mut rows = vec![0.0; samples.len() * width];
    for (row, sample) in rows.chunks_exact_mut(width.max(1)).zip(samples) {
        for (group, numbers) in row.chunks_mut(4).enumerate() {
            numbers.copy_from_slice(&gaussian4(u64::from(*sample), group as u32, key)[..numbers.len()]);
        }
    }
    rows
}
