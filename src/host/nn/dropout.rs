//! Twin of `shaders/nn/dropout.wgsl`.

use bytemuck::{Pod, Zeroable};

use super::math::Float;
use super::parallel::{Row, for_each_row};
use super::{floats, floats_mut};
use crate::Result;
use crate::host::gaussian::{BLOCK, words};
use crate::host::{HostCall, check_params, volume};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub count: u32,
    pub width4: u32,
    pub threshold: u32,
    pub module: u32,
    pub key0: u32,
    pub key1: u32,
    pub factor: f32,
    pub accumulate: u32,
}

/// Which elements are left out.
#[derive(Clone, Copy, Debug)]
pub struct Mask<'a> {
    /// Of each row: its place in its sequence.
    pub positions: &'a [u32],
    /// Of each row: the number of its sample.
    pub samples: &'a [u32],
    /// What else the words hang on.
    pub module: u32,
    /// The generator's key.
    pub key: [u32; 2],
    /// Words below it leave their element out: the probability times 2³².
    pub threshold: u32,
}

struct Dropped<'a, R> {
    mask: Mask<'a>,
    factor: R,
    x: &'a [R],
    accumulate: bool,
}

impl<R: Float> Row<R> for Dropped<'_, R> {
    #[inline(always)]
    fn row(&self, index: usize, out: &mut [R]) {
        let Mask { positions, samples, module, key, threshold } = self.mask;
        let rest = [samples[index], positions[index], module];
        let x = &self.x[index * out.len()..][..out.len()];
        for (block, (out, x)) in out.chunks_mut(4 * BLOCK).zip(x.chunks(4 * BLOCK)).enumerate() {
            let words = words((block * BLOCK) as u32, rest, key);
            for ((y, &x), word) in out.iter_mut().zip(x).zip(words) {
                let kept = if word >= threshold { self.factor * x } else { R::ZERO };
                *y = if self.accumulate { *y + kept } else { kept };
            }
        }
    }
}

/// `y = factor x` where the mask leaves elements, else 0, or `y +=` that; rows of `stride`.
pub fn dropout<R: Float>(mask: Mask<'_>, factor: R, x: &[R], (y, stride): (&mut [R], usize), accumulate: bool) {
    for_each_row(&Dropped { mask, factor, x, accumulate }, y, stride);
}

/// Runs the kernel: buffers are positions, samples, x, y. The engine widens and rounds.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: Params = call.params()?;
    check_params(p.width4 > 0 && p.count.is_multiple_of(p.width4), "rows without elements, or a part of one")?;
    let (rows, stride) = ((p.count / p.width4) as usize, volume([4, p.width4 as usize]));
    let (positions, samples): (&[u32], &[u32]) = (call.read_as(0, rows)?, call.read_as(1, rows)?);
    let elements = volume([rows, stride]);
    let (x, y) = (floats(call, 2, elements)?, floats_mut(call, 3, elements)?);
    let mask = Mask { positions, samples, module: p.module, key: [p.key0, p.key1], threshold: p.threshold };
    dropout(mask, p.factor, &x[..elements], (&mut y[..elements], stride), p.accumulate == 1);
    Ok(())
}
