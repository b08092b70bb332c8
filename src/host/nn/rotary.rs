//! Twin of `shaders/nn/rotary*.wgsl`.

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
    pub head: u32,
    pub turning: u32,
    pub width4: u32,
    pub cosine: f32,
    pub sine: f32,
}

/// How heads turn.
#[derive(Clone, Copy, Debug)]
pub struct Rotation<'a> {
    /// In units of 2⁻⁶⁴ of a turn per position: one for each pair of elements that turn.
    pub frequencies: &'a [u64],
    /// Elements of a head: the first of them, twice as many as there are frequencies, turn.
    pub head_width: usize,
    /// What the elements that turn are multiplied by.
    pub amplitude: f64,
}

struct Turn<'a> {
    rotation: Rotation<'a>,
    positions: &'a [u32],
    heads: usize,
    inverse: bool,
}

impl<R: Float> Row<R> for Turn<'_> {
    #[inline(always)]
    fn row(&self, index: usize, row: &mut [R]) {
        let Rotation { frequencies, head_width, amplitude } = self.rotation;
        let (half, position) = (frequencies.len(), u64::from(self.positions[index]));
        let amplitude = R::from_f64(amplitude);
        for (j, &frequency) in frequencies.iter().enumerate() {
            let (sine, cosine) = R::sin_cos_turns(frequency.wrapping_mul(position));
            let (sine, cosine) = (amplitude * if self.inverse { -sine } else { sine }, amplitude * cosine);
            for head in row[..head_width * self.heads].chunks_exact_mut(head_width) {
                let (a, b) = (head[j], head[j + half]);
                head[j] = a * cosine - b * sine;
                head[j + half] = b * cosine + a * sine;
            }
        }
    }
}

/// Turns every head of `x`, rows of `stride`, `heads` heads; row i by `positions[i]`, or back.
pub fn rotate<R: Float>(
    rotation: Rotation<'_>,
    positions: &[u32],
    (heads, inverse): (usize, bool),
    x: &mut [R],
    stride: usize,
) {
    for_each_row(&Turn { rotation, positions, heads, inverse }, x, stride);
}

/// Runs the kernel: buffers are positions, frequencies, x.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: Params = call.params()?;
    let (stride, heads, head_width) = (volume([4, p.width4 as usize]), p.heads as usize, p.head as usize);
    let turning = p.turning as usize;
    let fit = heads > 0 && turning > 0 && 2 * turning <= head_width && volume([heads, head_width]) <= stride;
    check_params(fit, "no heads, or more than a row has room for")?;
    // As the kernel counts: vectors of halves, or heads.
    let whole = head_width.is_multiple_of(4) && turning.is_multiple_of(4);
    let rows = p.count as usize / volume([heads, if whole { turning / 4 } else { 1 }]);
    let positions: &[u32] = call.read_as(0, rows)?;
    let filled = turning.next_multiple_of(4);
    let words: &[u32] = call.read_as(1, 2 * filled)?;
    let (high, low) = words.split_at(filled);
    let all = high.iter().zip(low).map(|(&h, &l)| (u64::from(h) << 32) | u64::from(l));
    let frequencies: Vec<u64> = all.take(turning).collect();
    let rotation = Rotation { frequencies: &frequencies, head_width, amplitude: f64::from(p.cosine) };
    let elements = volume([rows, stride]);
    let x = &mut floats_mut(call, 2, elements)?[..elements];
    rotate(rotation, positions, (heads, p.sine < 0.0), x, stride);
    Ok(())
}
