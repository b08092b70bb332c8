//! Rotary embeddings whose frequencies may depend on the length of the sequence.
//!
//! `dynamic` and `longrope` have other frequencies for longer sequences. In a packed batch each sequence has those that it would have alone; in
//! generation, new tokens have those of the length so far, and cached keys keep those that they were turned with, as Transformers does it;
//! but Phi-3's are made anew, once, where the frequencies change.

use super::{Batch, Decoder};
use crate::Result;
use crate::device::{Buffer, Device, Recorder, Tensor};
use crate::io::{Family, Rope};
use crate::kernels::nn::rotary::{self, Frequencies};

/// One rotary embedding.
#[derive(Clone, Debug)]
pub(super) struct Rotary {
    rope: Rope,
    head_dim: usize,
    /// The frequencies of the sets 0 and, where there is one, 1: see [`Rope::set_of`].
    known: Vec<Frequencies>,
}

impl Rotary {
    pub fn new(device: &Device, head_dim: usize, rope: &Rope) -> Result<Self> {
        let count = if rope.switch().is_some() { 2 } else { 1 };
        let make = |set| Frequencies::of(device, head_dim, &rope.frequencies(set), rope.amplitude());
        let known = (0..count).map(make).collect::<Result<_>>()?;
        Ok(Rotary { rope: rope.clone(), head_dim, known })
    }

    /// What turns a batch's rows, one after the other.
    pub fn turns(&self, device: &Device, batch: &Batch) -> Result<Vec<Turn>> {
        let sets: Vec<usize> = batch.lengths.iter().map(|length| self.rope.set_of(*length as usize)).collect();
        let mut distinct = sets.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let mut turns = Vec::with_capacity(distinct.len());
        for (i, &set) in distinct.iter().enumerate() {
            // Rows of another set stay where they are, at position 0; the first turn multiplies all of them by the amplitude.
            let positions = match distinct.len() {
                1 => batch.positions.clone(),
                _ => {
                    let place = |(row, position): (usize, &u32)| if sets[row] == set { *position } else { 0 };
                    let places: Vec<u32> = batch.places.iter().enumerate().map(place).collect();
                    device.buffer_from("positions of a set of frequencies", bytemuck::cast_slice(&places))?
                }
            };
            let frequencies = match self.known.get(set).filter(|_| i == 0) {
                Some(known) => known.clone(),
                None => {
                    let amplitude = if i == 0 { self.rope.amplitude() } else { 1.0 };
                    Frequencies::of(device, self.head_dim, &self.rope.frequencies(set), amplitude)?
                }
            };
            turns.push(Turn { frequencies, positions });
        }
        Ok(turns)
    }
}

/// A pass over queries or keys.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    frequencies: Frequencies,
    positions: Buffer,
}

impl Decoder {
    /// The length at which a generation's keys are to be made anew, if there is one.
    pub(super) fn restarts_at(&self) -> Option<usize> {
        let phi3 = self.config.family == Family::Phi3;
        self.config.ropes.iter().find_map(Rope::switch).filter(|_| phi3)
    }

    /// What turns the batch's rows, for each of the decoder's rotary embeddings.
    pub(super) fn turns(&self, device: &Device, batch: &Batch) -> Result<Vec<Vec<Turn>>> {
        self.rotary.iter().map(|rotary| rotary.turns(device, batch)).collect()
    }
}

/// Records the turns of `heads` heads of `x`, or back.
pub(super) fn record(recorder: &mut Recorder, turns: &[Turn], heads: usize, x: &Tensor, inverse: bool) -> Result<()> {
    turns.iter().try_for_each(|t| rotary::record(recorder, &t.frequencies, &t.positions, heads, x, inverse))
}
