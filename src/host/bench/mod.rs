//! Twins of `shaders/bench/copy.wgsl` and `fma.wgsl`.

use rayon::prelude::*;

use super::{HostCall, dispatch_simd};
use crate::Result;
use crate::host::nn::floats_mut;
use crate::kernels::bench::fma::Params;

/// Bytes of one task of the copy.
const TASK: usize = 1 << 20;

/// Runs the copy kernel: buffers are from, to.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn copy_twin(call: &mut HostCall<'_>) -> Result<()> {
    let [vectors, ..]: [u32; 4] = call.params()?;
    let bytes = 16 * vectors as usize;
    let (from, to) = (call.read(0)?, call.write(1)?);
    let from = from[..bytes].par_chunks(TASK);
    to[..bytes].par_chunks_mut(TASK).zip(from).for_each(|(to, from)| to.copy_from_slice(from));
    Ok(())
}

/// Runs the FMA kernel: its buffer is sums.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn fma_twin(call: &mut HostCall<'_>) -> Result<()> {
    let params: Params = call.params()?;
    let sums: &mut [f32] = floats_mut(call, 0)?;
    // Two invocations at a time: eight registers of eight elements, as many chains as a core's units are deep.
    sums.par_chunks_mut(8).enumerate().for_each(|(pair, sums)| dispatch_simd(Pair { params, pair, sums }));
    Ok(())
}

struct Pair<'a> {
    params: Params,
    pair: usize,
    sums: &'a mut [f32],
}

impl pulp::NullaryFnOnce for Pair<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Params { rounds, factor, summand, .. } = self.params;
        let place = |k: usize, j: usize| match j % 4 {
            0 => k as f32,
            1 => ((2 * self.pair + j / 4) % 4) as f32,
            2 => 1.0,
            _ => 0.5,
        };
        let mut state: [[f32; 8]; 8] = std::array::from_fn(|k| std::array::from_fn(|j| place(k, j)));
        // Plain loops: what is not inlined here loses the instructions that this function may use.
        for _ in 0..4 * rounds {
            for row in &mut state {
                for value in row {
                    *value = value.mul_add(factor, summand);
                }
            }
        }
        for (j, sum) in self.sums.iter_mut().enumerate() {
            let s = |k: usize| state[k][j];
            *sum = ((s(0) + s(1)) + (s(2) + s(3))) + ((s(4) + s(5)) + (s(6) + s(7)));
        }
    }
}
