//! Blocks of numbers to f32, for the types with blocks of 32 and those that are floats. The layouts are ggml's: a block is its f16 scale d,
//! its f16 minimum m where the type has one, high bits, then two numbers a byte: the low halves of all bytes come before the high ones.

use half::f16;
use rayon::prelude::*;

use super::k_quants;
use super::kind::Kind;
use crate::io::tensor_file::widen;

/// Numbers that a core takes at a time; a multiple of every block.
const TASK: usize = 1 << 13;

/// Whole blocks to f32; `raw` holds as many as `out` has numbers for.
pub(super) fn dequantize(kind: Kind, raw: &[u8], out: &mut [f32]) {
    let block: fn(&[u8], &mut [f32]) = match kind {
        Kind::F32 | Kind::F16 | Kind::BF16 | Kind::F64 => return widen(raw, kind.element(), out),
        Kind::Q4_0 => q4_0,
        Kind::Q4_1 => q4_1,
        Kind::Q5_0 => q5_0,
        Kind::Q5_1 => q5_1,
        Kind::Q8_0 => q8_0,
        Kind::Q2K => k_quants::q2,
        Kind::Q3K => k_quants::q3,
        Kind::Q4K => k_quants::q4,
        Kind::Q5K => k_quants::q5,
        Kind::Q6K => k_quants::q6,
    };
    let tasks = raw.par_chunks(TASK / kind.block() * kind.block_bytes()).zip(out.par_chunks_mut(TASK));
    tasks.for_each(|(raw, out)| {
        for (raw, out) in raw.chunks_exact(kind.block_bytes()).zip(out.chunks_exact_mut(kind.block())) {
            block(raw, out);
        }
    });
}

/// The f16 at a byte.
pub(super) fn half_at(raw: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([raw[at], raw[at + 1]]).to_f32()
}

/// The j-th of 32 halves of 16 bytes.
fn nibble(bytes: &[u8], j: usize) -> u8 {
    if j < 16 { bytes[j] & 15 } else { bytes[j - 16] >> 4 }
}

/// The j-th of 32 bits.
fn bit(bytes: &[u8], j: usize) -> u8 {
    (bytes[j / 8] >> (j % 8)) & 1
}

/// d (q - 8).
fn q4_0(raw: &[u8], out: &mut [f32]) {
    let d = half_at(raw, 0);
    for (j, x) in out.iter_mut().enumerate() {
        *x = d * (f32::from(nibble(&raw[2..], j)) - 8.0);
    }
}

/// d q + m.
fn q4_1(raw: &[u8], out: &mut [f32]) {
    let (d, m) = (half_at(raw, 0), half_at(raw, 2));
    for (j, x) in out.iter_mut().enumerate() {
        *x = d * f32::from(nibble(&raw[4..], j)) + m;
    }
}

/// d (q - 16), the fifth bits in four bytes of their own.
fn q5_0(raw: &[u8], out: &mut [f32]) {
    let d = half_at(raw, 0);
    for (j, x) in out.iter_mut().enumerate() {
        *x = d * (f32::from(nibble(&raw[6..], j) | (bit(&raw[2..6], j) << 4)) - 16.0);
    }
}

/// d q + m, the fifth bits in four bytes of their own.
fn q5_1(raw: &[u8], out: &mut [f32]) {
    let (d, m) = (half_at(raw, 0), half_at(raw, 2));
    for (j, x) in out.iter_mut().enumerate() {
        *x = d * f32::from(nibble(&raw[8..], j) | (bit(&raw[4..8], j) << 4)) + m;
    }
}

/// d q, q a signed byte.
fn q8_0(raw: &[u8], out: &mut [f32]) {
    let d = half_at(raw, 0);
    for (q, x) in raw[2..].iter().zip(out) {
        *x = d * f32::from(*q as i8);
    }
}
