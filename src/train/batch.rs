//! Batches without padding: sequences one after the other, with the tables that kernels need to tell them apart.

use crate::io::{Samples, TARGET, TOKEN, VISUAL};
use crate::{Error, Result};

pub use crate::kernels::nn::cross_entropy::IGNORED;

// Files and kernels mark visual tokens alike, though neither knows the other.
const _: () = assert!(VISUAL == crate::kernels::nn::embedding::VISUAL);

/// Sequences packed end to end. Arrays over positions have one length, [`Batch::tokens`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Per position: a token id, or [`VISUAL`] | row, where the row is one of the adapter's output. A sample's visual tokens are copies
    /// of one embedding, so all of them name the same row: the adapter runs once per sample.
    pub ids: Vec<u32>,
    /// Per position: its place in its sequence, from 0.
    pub positions: Vec<u32>,
    /// Per position: the token that it is trained to predict, which is the next one; [`IGNORED`] where that is no target, and at a
    /// sequence's end.
    pub labels: Vec<i32>,
    /// Per sequence: its first position and how many it has.
    pub sequences: Vec<(u32, u32)>,
    /// Per sequence: the number of its sample in the data.
    pub samples: Vec<u32>,
    /// Per row of the adapter: which sequence of this batch it is for.
    pub visual_sequences: Vec<u32>,
    /// Per row of the adapter: the row of the embeddings that it is made from.
    pub embedding_rows: Vec<u32>,
    /// Positions whose label is not [`IGNORED`]: what the loss is divided by.
    pub targets: u32,
}

impl Batch {
    /// Packs these samples, in this order.
    ///
    /// # Errors
    /// A sample beyond the end, a sample with visual tokens and no embedding, or 2³⁰ positions or more.
    pub fn pack(samples: &Samples, chosen: &[u32]) -> Result<Batch> {
        let mut batch = Batch::default();
        for number in chosen {
            let sample = samples.get(*number as usize).ok_or_else(|| {
                let count = samples.len();
                Error::shape("pack a batch", format!("sample {number}"), format!("below {count}"), "beyond the end")
            })?;
            batch.push(*number, sample.entries, sample.row)?;
        }
        Ok(batch)
    }

    /// Positions of all sequences together.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Appends a sequence: `entries` as in [`crate::io::Sample::entries`].
    fn push(&mut self, number: u32, entries: &[u32], row: Option<u32>) -> Result<()> {
        let first = self.ids.len();
        if first + entries.len() >= 1 << 30 {
            return Err(Error::argument("batch_size", "the batch has 2^30 positions or more; lower it"));
        }
        let mut visual = None;
        if entries.iter().any(|entry| entry & VISUAL != 0) {
            let row = row.ok_or_else(|| {
                Error::argument("samples", format!("sample {number} has visual tokens, but no embedding"))
            })?;
            visual = Some(VISUAL | self.embedding_rows.len() as u32);
            self.visual_sequences.push(self.sequences.len() as u32);
            self.embedding_rows.push(row);
        }
        for (t, entry) in entries.iter().enumerate() {
            self.ids.push(visual.filter(|_| entry & VISUAL != 0).unwrap_or(entry & TOKEN));
            self.positions.push(t as u32);
            let label = match entries.get(t + 1) {
                Some(next) if next & (VISUAL | TARGET) == TARGET => (next & TOKEN) as i32,
                _ => IGNORED,
            };
            self.targets += u32::from(label != IGNORED);
            self.labels.push(label);
        }
        self.sequences.push((first as u32, entries.len() as u32));
        self.samples.push(number);
        Ok(())
    }
}
