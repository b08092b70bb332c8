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

struct Elements<'a, R, M, const I: usize, const O: usize> {
    map: &'a M,
    inputs: [&'a [R]; I],
    outputs: [&'a mut [R]; O],
}

impl<R: Float, M: Map<R, I, O>, const I: usize, const O: usize> pulp::NullaryFnOnce for Elements<'_, R, M, I, O> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let length = self.outputs.first().map_or(0, |o| o.len());
        // One length for all, which the loop's checks then vanish by.
        if self.inputs.iter().any(|s| s.len() != length) || self.outputs.iter().any(|s| s.len() != length) {
            return;
        }
        for i in 0..length {
            let inputs = std::array::from_fn(|k| self.inputs[k][i]);
            let before = std::array::from_fn(|k| self.outputs[k][i]);
            let after = self.map.map(inputs, before);
            for (k, value) in after.into_iter().enumerate() {
                self.outputs[k][i] = value;
            }
        }
    }
}

/// What a kernel does to one row. Implementations are `inline(always)`, for it runs under `dispatch_simd`.
pub trait Row<R>: Sync {
    /// Fills row `index` of the output, `[stride]`.
    fn row(&self, index: usize, out: &mut [R]);
}

/// Applies `kernel` to every row of `out`, rows of `stride`.
pub fn for_each_row<R: Float, K: Row<R>>(kernel: &K, out: &mut [R], stride: usize) {
    if stride == 0 {
        return;
    }
    let rows = (TASK / stride).max(1);
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

/// Sum in sixteen interleaved sums, which vectorise; their order is fixed.
#[inline(always)]
pub fn sum_of<R: Float>(length: usize, term: impl Fn(usize) -> R) -> R {
    const LANES: usize = 16;
    let mut sums = [R::ZERO; LANES];
    let whole = length / LANES * LANES;
    let mut first = 0;
    while first < whole {
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum += term(first + i);
        }
        first += LANES;
    }
    for i in whole..length {
        sums[i - whole] += term(i);
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
