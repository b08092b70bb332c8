//! Gradients of one batch, bucket by bucket: what of a model is complete at the same time in a backward pass.
//!
//! A step of several batches adds up their gradients as wholes, in the order of the batches: `((0 + g0) + g1) + g2`, each `g` summed from
//! zero. So the sum does not hang on who computes which batch, and several processes that share a step's batches come to the bits of one.
//! Layers of a batch are complete one after the other and share the memory of one layer.

use crate::Result;
use crate::device::{Device, Recorder};
use crate::kernels::nn::elementwise;
use crate::nn::{Gradients, Model, ShardedMatrix};

/// The adapter's and the decoder's gradients.
pub(super) type Both<'a> = (&'a Gradients, &'a Gradients);

/// The buckets of a model, perhaps with room for one batch's gradients.
#[derive(Debug)]
pub(super) struct Buckets {
    /// By number, in the order in which they are complete: parameters of the decoder, and last of all those of the adapter.
    groups: Vec<Vec<usize>>,
    /// Of the adapter and of the decoder.
    room: Option<(Gradients, Gradients)>,
    /// The embedding table where it is the output matrix, too: its gradient begins with the loss and ends behind the first layer.
    tied: Option<usize>,
}

impl Buckets {
    /// Those of a model, without room: batches add to the step's gradients as they go.
    pub(super) fn of_model(model: &Model) -> Buckets {
        let decoder = &model.decoder;
        let mut groups = decoder.gradient_groups();
        groups.push((0..model.adapter.parameters.len()).collect());
        let tied = (decoder.output == decoder.embedding).then_some(decoder.embedding);
        Buckets { groups, room: None, tied }
    }

    /// The same with room for one batch's gradients, of what trains in `totals`, the step's.
    ///
    /// # Errors
    /// No memory.
    pub(super) fn with_room(self, device: &Device, totals: Both<'_>) -> Result<Buckets> {
        let (of_decoder, of_adapter) = self.groups.split_at(self.adapter());
        let adapter = totals.0.shared_by(device, of_adapter, |_| true)?;
        let decoder = totals.1.shared_by(device, of_decoder, |slot| self.tied == Some(slot))?;
        Ok(Buckets { room: Some((adapter, decoder)), ..self })
    }

    /// How many there are, those in which nothing trains included.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// The number of the adapter's, the last.
    pub(super) fn adapter(&self) -> usize {
        self.groups.len() - 1
    }

    /// What a batch's backward pass adds to: the room, or else the step's gradients themselves.
    pub(super) fn target<'a>(&'a self, totals: Both<'a>) -> Both<'a> {
        self.room.as_ref().map_or(totals, |(adapter, decoder)| (adapter, decoder))
    }

    /// Of `gradients` those of a bucket, in a fixed order.
    pub(super) fn of<'a>(&'a self, gradients: Both<'a>, number: usize) -> impl Iterator<Item = &'a ShardedMatrix> {
        let all = if number == self.adapter() { gradients.0 } else { gradients.1 };
        self.groups.get(number).into_iter().flatten().filter_map(|slot| all.get(*slot))
    }

    /// Records the zeroing of what a batch begins with.
    pub(super) fn begin(&self, recorder: &mut Recorder) {
        self.clear(recorder, 0);
        let table = self.room.as_ref().zip(self.tied).and_then(|((_, decoder), slot)| decoder.get(slot));
        if let Some(table) = table {
            table.clear(recorder);
        }
    }

    /// Records the zeroing of the bucket behind `number`, whose turn it is.
    pub(super) fn begin_after(&self, recorder: &mut Recorder, number: usize) {
        self.clear(recorder, number + 1);
    }

    /// The tied table stays: it has been added to since the loss.
    fn clear(&self, recorder: &mut Recorder, number: usize) {
        let Some((adapter, decoder)) = &self.room else { return };
        let (gradients, kept) = if number == self.adapter() { (adapter, None) } else { (decoder, self.tied) };
        let slots = self.groups.get(number).into_iter().flatten().filter(|slot| Some(**slot) != kept);
        slots.filter_map(|slot| gradients.get(*slot)).for_each(|gradient| gradient.clear(recorder));
    }

    /// Records the adding of a bucket that is complete to the step's.
    pub(super) fn add(&self, recorder: &mut Recorder, number: usize, totals: Both<'_>) -> Result<()> {
        let Some((adapter, decoder)) = &self.room else { return Ok(()) };
        for (batch, total) in self.of((adapter, decoder), number).zip(self.of(totals, number)) {
            for ((_, batch), (_, total)) in batch.shards().zip(total.shards()) {
                elementwise::add(recorder, batch, total)?;
            }
        }
        Ok(())
    }
}
