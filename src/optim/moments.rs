//! The optimiser's state of one parameter: its two moments in f32, or in 8 bits.

use crate::Result;
use crate::device::{Buffer, Device, Purpose, Recorder};
use crate::kernels::optim::adamw::{self, Hyper, Rounding};
use crate::kernels::optim::adamw_8bit::{self, Moments8};
use crate::nn::ShardedMatrix;

/// How an optimiser keeps its moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MomentType {
    /// f32: 8 bytes a parameter.
    #[default]
    F32,
    /// 8 bits by blocks of 256, see [`adamw_8bit`]: 2 1/32 bytes a parameter. Vectors, and matrices of fewer than [`LEAST`] elements, keep
    /// f32: they are few bytes, and what norms and biases learn is felt everywhere.
    Dynamic8,
}

/// Elements from which on a matrix has moments in 8 bits, as in bitsandbytes.
pub const LEAST: usize = 4096;

/// Moments of one parameter, cut as it is.
#[derive(Clone, Debug)]
pub enum Moments {
    /// First and second, in f32.
    F32(ShardedMatrix, ShardedMatrix),
    /// Those of each shard, in 8 bits.
    Dynamic8(Vec<Moments8>),
}

impl Moments {
    /// Zero moments for a parameter whose gradient is `gradient`.
    ///
    /// # Errors
    /// No memory.
    pub fn zeros(device: &Device, gradient: &ShardedMatrix, kind: MomentType) -> Result<Self> {
        let (rows, elements) = (gradient.rows(), gradient.rows() * gradient.width());
        if kind == MomentType::Dynamic8 && rows > 1 && elements >= LEAST {
            let shards = gradient.shards().map(|(_, shard)| Moments8::zeros(device, shard));
            return Ok(Moments::Dynamic8(shards.collect::<Result<_>>()?));
        }
        let zeros = || gradient.zeros_like(device, (Purpose::Moments, "of a parameter"));
        Ok(Moments::F32(zeros()?, zeros()?))
    }

    /// Tensors that they are cut into.
    pub fn shards(&self) -> usize {
        match self {
            Moments::F32(m, _) => m.shards().len(),
            Moments::Dynamic8(shards) => shards.len(),
        }
    }

    /// Bytes of both.
    pub fn bytes(&self) -> u64 {
        let of = |m: &Moments8| m.first.bytes() + m.second.bytes() + m.largest.bytes();
        match self {
            Moments::F32(m, v) => m.bytes() + v.bytes(),
            Moments::Dynamic8(shards) => shards.iter().map(of).sum(),
        }
    }

    /// Records one step of a parameter's shards. `first` is the number of the first among all that are stepped.
    pub(super) fn step(
        &self,
        recorder: &mut Recorder,
        hyper: &Hyper,
        (scale, first): (&Buffer, Rounding),
        (parameter, gradient): (&ShardedMatrix, &ShardedMatrix),
    ) -> Result<()> {
        let rounding = |shard: usize| Rounding { tensor: first.tensor.wrapping_add(shard as u32), ..first };
        let shards = parameter.shards().zip(gradient.shards()).map(|((_, p), (_, g))| (p, g)).enumerate();
        match self {
            Moments::F32(m, v) => {
                shards.zip(m.shards().zip(v.shards())).try_for_each(|((i, both), ((_, m), (_, v)))| {
                    adamw::step_rounded(recorder, hyper, (scale, rounding(i)), both, (m, v))
                })
            }
            Moments::Dynamic8(moments) => shards.zip(moments).try_for_each(|((i, both), moments)| {
                adamw_8bit::step(recorder, hyper, (scale, rounding(i)), both, moments)
            }),
        }
    }

    /// What a checkpoint keeps, in a fixed order.
    #[cfg(feature = "train")]
    pub(crate) fn parts(&self) -> Vec<Part> {
        match self {
            Moments::F32(m, v) => {
                let part = |name, moments: &ShardedMatrix| Part { name, content: Content::Numbers(moments.clone()) };
                vec![part("adamw.m", m), part("adamw.v", v)]
            }
            Moments::Dynamic8(shards) => {
                let all = |name, of: fn(&Moments8) -> &Buffer, elements: fn(usize) -> usize| {
                    let buffers = shards.iter().map(|s| (of(s).clone(), elements(s.elements())));
                    Part { name, content: Content::Bytes(buffers.collect()) }
                };
                vec![
                    all("adamw8bit.m", |s| &s.first, |n| n),
                    all("adamw8bit.v", |s| &s.second, |n| n),
                    all("adamw8bit.largest", |s| &s.largest, |n| 8 * n.div_ceil(adamw_8bit::BLOCK)),
                ]
            }
        }
    }
}

/// A piece of a parameter's state.
#[cfg(feature = "train")]
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// What comes before the parameter's name.
    pub name: &'static str,
    /// Where it is.
    pub content: Content,
}

/// Where a piece of a parameter's state is.
#[cfg(feature = "train")]
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// f32 of the parameter's shape.
    Numbers(ShardedMatrix),
    /// Buffers with the bytes of each that count, in order.
    Bytes(Vec<(Buffer, usize)>),
}
