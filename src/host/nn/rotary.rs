//! Twin of `shaders/nn/rotary.wgsl`.

use bytemuck::{Pod, Zeroable};

use super::floats_mut;
use super::math::Float;
use super::parallel::{Row, for_each_row};
use crate::Result;
use crate::host::{HostCall, check_params, volume};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub count: u32,
    pub heads: u32,
    pub half4: u32,
    pub width4: u32,
    pub sign: f32,
}

struct Turn<'a> {
    /// In units of 2⁻⁶⁴ of a turn per position.
    frequencies: &'a [u64],
    positions: &'a [u32],
    heads: usize,
    inverse: bool,
}

impl<R: Float> Row<R> for Turn<'_> {
    #[inline(always)]
    fn row(&self, index: usize, row: &mut [R]) {
        let (half, position) = (self.frequencies.len(), u64::from(self.positions[index]));
        for (j, &frequency) in self.frequencies.iter().enumerate() {
            let (sine, cosine) = R::sin_cos_turns(frequency.wrapping_mul(position));
            let sine = if self.inverse { -sine } else { sine };
            for head in row[..2 * half * self.heads].chunks_exact_mut(2 * half) {
                let (a, b) = (head[j], head[j + half]);
                head[j] = a * cosine - b * sine;
                head[j + half] = b * cosine + a * sine;
            }
        }
    }
}

/// Turns every head of `x`, rows of `stride`, `heads` heads of twice as many elements as there are frequencies (in units of 2⁻⁶⁴
/// of a turn per position); row i by `positions[i]`, or back.
pub fn rotate<R: Float>(
    frequencies: &[u64],
    positions: &[u32],
    (heads, inverse): (usize, bool),
    x: &mut [R],
    stride: usize,
) {
    for_each_row(&Turn { frequencies, positions, heads, inverse }, x, stride);
}

/// Runs the kernel: buffers are positions, frequencies, x.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: Params = call.params()?;
    let (stride, half, turned) =
        (4 * p.width4 as usize, 4 * p.half4 as usize, volume([p.heads as usize, p.half4 as usize]));
    check_params(turned > 0 && volume([8, turned]) <= stride, "no heads, or more than a row has room for")?;
    let rows = p.count as usize / turned;
    let positions: &[u32] = call.read_as(0, rows)?;
    let words: &[u32] = call.read_as(1, 2 * half)?;
    let (high, low) = words.split_at(half);
    let frequencies: Vec<u64> = high.iter().zip(low).map(|(&h, &l)| (u64::from(h) << 32) | u64::from(l)).collect();
    let elements = volume([rows, stride]);
    let x = &mut floats_mut(call, 2, elements)?[..elements];
    rotate(&frequencies, positions, (p.heads as usize, p.sign < 0.0), x, stride);
    Ok(())
}
