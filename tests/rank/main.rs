//! Mixed search: against NumPy on the bundled digits, exactness of what is kept, search against sorting everything.

#[path = "../common/mod.rs"]
mod common;
mod digits;
mod search;
mod shards;

/// Reproducible numbers from -1 to 1.
pub fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// Rows `[n, width]` around a direction of their own.
pub fn cloud(n: usize, width: usize, seed: u64) -> Vec<f32> {
    let centre = numbers(width, seed + 100);
    numbers(n * width, seed)
        .chunks_exact(width)
        .flat_map(|row| row.iter().zip(&centre).map(|(x, c)| x + 2.0 * c))
        .collect()
}
