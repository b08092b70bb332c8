//! Twins of `shaders/bench/copy.wgsl` and `fma.wgsl`.

use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

use super::{HostCall, check_params, volume};
use crate::Result;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub rounds: u32,
    pub factor: f32,
    pub summand: f32,
    pub padding: u32,
}

/// Bytes of one task of the copy.
const TASK: usize = 1 << 20;

/// Runs the copy kernel: buffers are from, to.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn copy_twin(call: &mut HostCall<'_>) -> Result<()> {
    let [vectors, ..]: [u32; 4] = call.params()?;
    let bytes = volume([16, vectors as usize]);
    let (from, to): (&[u8], &mut [u8]) = (call.read_as(0, bytes)?, call.write_as(1, bytes)?);
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
    check_params(params.rounds <= MAX_ROUNDS, "more rounds than a dispatch may have")?;
    let sums: &mut [f32] = call.write_as(0, 0)?;
    let tasks = sums.par_chunks_mut(CHUNK).enumerate();
    tasks.for_each(|(i, sums)| pulp::Arch::new().dispatch(Chunk { params, first: i * CHUNK, sums }));
    Ok(())
}

/// Rounds of a dispatch at most: a driver ends loops at 65,535 iterations.
pub const MAX_ROUNDS: u32 = 16_384;

/// Elements of one task of the FMA kernel: a multiple of the widest vector.
const CHUNK: usize = 64;

/// Sums from the `first` element on.
struct Chunk<'a> {
    params: Params,
    first: usize,
    sums: &'a mut [f32],
}

/// Vectors by name: left to itself, the compiler keeps this loop scalar, and a CPU would seem to have an eighth of its speed.
impl pulp::WithSimd for Chunk<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, simd: S) {
        let Params { rounds, factor, summand, .. } = self.params;
        let (x, y) = (simd.splat_f32s(factor), simd.splat_f32s(summand));
        for (v, sums) in self.sums.chunks_mut(S::F32_LANES).enumerate() {
            // As many chains as a core's units are deep.
            let mut state = [x; 8];
            for (k, vector) in state.iter_mut().enumerate() {
                for (lane, sum) in sums.iter_mut().enumerate() {
                    let element = self.first + v * S::F32_LANES + lane;
                    *sum = match element % 4 {
                        0 => k as f32,
                        1 => (element / 4 % 4) as f32,
                        2 => 1.0,
                        _ => 0.5,
                    };
                }
                *vector = simd.partial_load_f32s(sums);
            }
            for _ in 0..4 * rounds {
                for vector in &mut state {
                    *vector = simd.mul_add_f32s(*vector, x, y);
                }
            }
            let [a, b, c, d, e, f, g, h] = state;
            let low = simd.add_f32s(simd.add_f32s(a, b), simd.add_f32s(c, d));
            let high = simd.add_f32s(simd.add_f32s(e, f), simd.add_f32s(g, h));
            simd.partial_store_f32s(sums, simd.add_f32s(low, high));
        }
    }
}
