//! Walking over elements and rows, on all cores and in vector lanes.

use rayon::prelude::*;

use super::math::Float;
use crate::host::dispatch_simd;

/// Elements of one task.
const TASK: usize = 8192;

/// A function of `I` numbers with `O` results. Implementations are `inline(always)`, for it runs under `dispatch_simd`.
pub trait Map<R, const I: usize, const O: usize>: Sync {
    /// From the inputs, and what the outputs hold, to the outputs.
    fn map(&self, inputs: [R; I], before: [R; O]) -> [R; O];
}

/// Applies `map` at each index. All slices have one length, or the shortest one's counts.
pub fn for_each_element<R: Float, M: Map<R, I, O>, const I: usize, const O: usize>(
    map: &M,
    inputs: [&[R]; I],
    outputs: [&mut [R]; O],
) {
    let length = inputs.iter().map(|s| s.len()).chain(outputs.iter().map(|s| s.len())).min().unwrap_or(0);
    let mut tasks = Vec::with_capacity(length.div_ceil(TASK));
    let mut rest = outputs.map(|o| &mut o[..length]);
    for first in (0..length).step_by(TASK) {
        let size = TASK.min(length - first);
        let mut split = rest.map(|o| Some(o.split_at_mut(size)));
        let part = std::array::from_fn(|i| split[i].as_mut().map_or(&mut [][..], |s| std::mem::take(&mut s.0)));
        rest = split.map(|s| s.map_or(&mut [][..], |s| s.1));
        tasks.push((inputs.map(|s| &s[first..first + size]), part));
    }
    tasks.into_par_iter().for_each(|(inputs, outputs)| dispatch_simd(Elements { map, inputs, outputs }));
}

/// The same on the core that calls; slices are as long as the first output at least.
pub fn on_one_core<R: Float, M: Map<R, I, O>, const I: usize, const O: usize>(
    map: &M,
    inputs: [&[R]; I],
    outputs: [&mut [R]; O],
) {
    dispatch_simd(Elements { map, inputs, outputs });
}

struct Elements<'a, R, M, const I: usize, const O: usize> {
    map: &'a M,
    inputs: [&'a [R]; I],
    outputs: [&'a mut [R]; O],
}

impl<R: Float, M: Map<R, I, O>, const I: usize, const O: usize> pulp::NullaryFnOnce for Elements<'_, R, M, I, O> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { map, inputs, mut outputs } = self;
        let length = outputs.first().map_or(0, |o| o.len());
        let mut first = 0;
        while first < length {
            let size = BLOCK.min(length - first);
            let block = inputs.map(|s| load(&s[first..first + size]));
            let before = std::array::from_fn(|k| load(&outputs[k][first..first + size]));
            let after = apply(map, &block, before);
            for (output, after) in outputs.iter_mut().zip(&after) {
                store(after, &mut output[first..first + size]);
            }
            first += BLOCK;
        }
    }
}

/// Elements that are computed side by side. They are held in arrays of a fixed length, apart from the slices: the compiler then
/// knows that results overwrite no operand, and vectorises.
const BLOCK: usize = 64;

#[inline(always)]
fn load<R: Float>(from: &[R]) -> [R; BLOCK] {
    match from.try_into() {
        Ok(whole) => whole,
        Err(_) => {
            let mut block = [R::ZERO; BLOCK];
            block[..from.len()].copy_from_slice(from);
            block
        }
    }
}

#[inline(always)]
fn store<R: Float>(block: &[R; BLOCK], to: &mut [R]) {
    match <&mut [R; BLOCK]>::try_from(&mut *to) {
        Ok(whole) => *whole = *block,
        Err(_) => to.copy_from_slice(&block[..to.len()]),
    }
}

#[inline(always)]
fn apply<R: Float, M: Map<R, I, O>, const I: usize, const O: usize>(
    map: &M,
    inputs: &[[R; BLOCK]; I],
    mut outputs: [[R; BLOCK]; O],
) -> [[R; BLOCK]; O] {
    for i in 0..BLOCK {
        let mut input = [R::ZERO; I];
        let mut before = [R::ZERO; O];
        for k in 0..I {
            input[k] = inputs[k][i];
        }
        for k in 0..O {
            before[k] = outputs[k][i];
        }
        let after = map.map(input, before);
        for k in 0..O {
            outputs[k][i] = after[k];
        }
    }
    outputs
}

/// What a kernel does to one row. Implementations are `inline(always)`, for it runs under `dispatch_simd`.
pub trait Row<R>: Sync {
    /// Fills row `index` of the output, `[stride]`.
    fn row(&self, index: usize, out: &mut [R]);
}

/// Applies `kernel` to every row of `out`, rows of `stride`.
pub fn for_each_row<R: Float, K: Row<R>>(kernel: &K, out: &mut [R], stride: usize) {
    for_each_result(kernel, out, stride, stride);
}

/// The same where a row of `out` is made from `work` elements of the operands.
pub fn for_each_result<R: Float, K: Row<R>>(kernel: &K, out: &mut [R], stride: usize, work: usize) {
    if stride == 0 {
        return;
    }
    let rows = (TASK / work.max(1)).max(1);
    out.par_chunks_mut(rows * stride).enumerate().for_each(|(task, out)| {
        dispatch_simd(Rows { kernel, out, first: task * rows, stride });
    });
}

struct Rows<'a, R, K> {
    kernel: &'a K,
    out: &'a mut [R],
    first: usize,
    stride: usize,
}

impl<R: Float, K: Row<R>> pulp::NullaryFnOnce for Rows<'_, R, K> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (index, out) in (self.first..).zip(self.out.chunks_exact_mut(self.stride)) {
            self.kernel.row(index, out);
        }
    }
}

/// Sum of a function of the elements of some slices, as far as all go, in sixteen interleaved sums, which vectorise; their order is
/// fixed.
#[inline(always)]
pub fn sum_of<R: Float, const I: usize>(slices: [&[R]; I], term: impl Fn([R; I]) -> R) -> R {
    const LANES: usize = 16;
    let length = slices.iter().map(|s| s.len()).min().unwrap_or(0);
    let mut sums = [R::ZERO; LANES];
    let whole = length / LANES * LANES;
    let mut first = 0;
    while first < whole {
        let blocks = slices.map(|s| &s[first..first + LANES]);
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum += term(blocks.map(|b| b[i]));
        }
        first += LANES;
    }
    for (i, sum) in sums.iter_mut().enumerate().take(length - whole) {
        *sum += term(slices.map(|s| s[whole + i]));
    }
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            let other = sums[i + width];
            sums[i] += other;
        }
        width /= 2;
    }
    sums[0]
}
