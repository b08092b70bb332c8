//! Twin of `shaders/optim/adamw_8bit.wgsl`, in f32 alone: bytes have no other precision.

use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

use super::adamw::{Params as Plain, Rounding, Step, round, widened};
use super::dynamic::{BLOCK, first_byte, first_value, inverse, second_byte, second_value};
use crate::host::nn::floats;
use crate::host::nn::parallel::Map;
use crate::host::{HostCall, check_params, dispatch_simd};
use crate::{ElementType, Result};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub count: u32,
    pub blocks: u32,
    pub keep: f32,
    pub beta1: f32,
    pub beta2: f32,
    pub rest1: f32,
    pub rest2: f32,
    pub rate: f32,
    pub correction: f32,
    pub eps: f32,
    pub rounding: Rounding,
}

/// Parameters of a block, to and from f32.
trait Stored: Pod + Send + Sync {
    fn widen(self) -> f32;
    fn narrow(numbers: &[f32; BLOCK], rounding: Rounding, first: usize, out: &mut [Self]);
}

impl Stored for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    fn narrow(numbers: &[f32; BLOCK], _: Rounding, _: usize, out: &mut [f32]) {
        out.copy_from_slice(&numbers[..out.len()]);
    }
}

impl Stored for u16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        widened(self)
    }

    #[inline(always)]
    fn narrow(numbers: &[f32; BLOCK], rounding: Rounding, first: usize, out: &mut [u16]) {
        round(numbers, rounding, first, out);
    }
}

/// A block of parameters with their gradients and moments, slices of one length up to [`BLOCK`].
struct Block<'a, P> {
    step: &'a Step<f32>,
    rounding: Rounding,
    first: usize,
    g: &'a [f32],
    p: &'a mut [P],
    m: &'a mut [u8],
    v: &'a mut [u8],
    largest: &'a mut [f32; 2],
}

impl<P: Stored> pulp::NullaryFnOnce for Block<'_, P> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        // Arrays of a fixed length, so that loops over them vectorise; what lies beyond a last block's end is zero.
        let (mut g, mut p, mut m, mut v) = ([0f32; BLOCK], [0f32; BLOCK], [0f32; BLOCK], [0f32; BLOCK]);
        let (mut first, mut second) = ([0u8; BLOCK], [0u8; BLOCK]);
        let length = self.p.len();
        g[..length].copy_from_slice(self.g);
        first[..length].copy_from_slice(self.m);
        second[..length].copy_from_slice(self.v);
        p.iter_mut().zip(&*self.p).for_each(|(wide, p)| *wide = p.widen());
        for i in 0..BLOCK {
            let before = [p[i], self.largest[0] * first_value(first[i]), self.largest[1] * second_value(second[i])];
            [p[i], m[i], v[i]] = self.step.map([g[i]], before);
        }
        P::narrow(&p, self.rounding, self.first, self.p);
        *self.largest = [most(&m), most(&v)];
        let inverses = self.largest.map(inverse);
        for i in 0..BLOCK {
            (first[i], second[i]) = (first_byte(m[i] * inverses[0]), second_byte(v[i] * inverses[1]));
        }
        self.m.copy_from_slice(&first[..length]);
        self.v.copy_from_slice(&second[..length]);
    }
}

/// The largest magnitude, in lanes.
#[inline(always)]
fn most(numbers: &[f32; BLOCK]) -> f32 {
    let mut lanes = [0f32; 16];
    for part in numbers.as_chunks::<16>().0 {
        for (lane, x) in lanes.iter_mut().zip(part) {
            *lane = if x.abs() > *lane { x.abs() } else { *lane };
        }
    }
    lanes.into_iter().fold(0.0, f32::max)
}

/// One step on all blocks; a scale of 0 changes nothing. Slices of one length, with a pair of largest moments to each block.
fn run<P: Stored>(
    (step, rounding): (&Step<f32>, Rounding),
    g: &[f32],
    p: &mut [P],
    (m, v): (&mut [u8], &mut [u8]),
    largest: &mut [[f32; 2]],
) {
    if step.scale == 0.0 {
        return;
    }
    let moments = m.par_chunks_mut(BLOCK).zip(v.par_chunks_mut(BLOCK)).zip(largest);
    let blocks = g.par_chunks(BLOCK).zip(p.par_chunks_mut(BLOCK)).zip(moments).enumerate();
    // Blocks are small: a core takes many of them.
    blocks.with_min_len(16).for_each(|(block, ((g, p), ((m, v), largest)))| {
        dispatch_simd(Block { step, rounding, first: block * BLOCK, g, p, m, v, largest });
    });
}

/// Runs the kernel: buffers are scale, g, p, m, v, largest; p is f32 or, where rows of that type are written, bf16.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: Params = call.params()?;
    let (elements, blocks) = (4 * p.count as usize, p.blocks as usize);
    check_params(blocks == elements.div_ceil(BLOCK), "a block for each 256 elements")?;
    let plain = Plain {
        count: p.count,
        keep: p.keep,
        beta1: p.beta1,
        beta2: p.beta2,
        rest1: p.rest1,
        rest2: p.rest2,
        rate: p.rate,
        correction: p.correction,
        eps: p.eps,
        rounding: p.rounding,
    };
    let step = plain.step(floats(call, 0, 1)?[0]);
    let g = &floats(call, 1, elements)?[..elements];
    let m = &mut call.write_as::<u8>(3, elements)?[..elements];
    let v = &mut call.write_as::<u8>(4, elements)?[..elements];
    let largest = &mut call.write_as::<[f32; 2]>(5, blocks)?[..blocks];
    if call.elements.1 == ElementType::BF16 {
        let params = &mut call.write_as::<u16>(2, elements)?[..elements];
        run((&step, p.rounding), g, params, (m, v), largest);
    } else {
        let params = &mut call.write_as::<f32>(2, elements)?[..elements];
        run((&step, p.rounding), g, params, (m, v), largest);
    }
    Ok(())
}
