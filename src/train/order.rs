//! The order of the data: shuffled anew in each pass, with samples of like length side by side.

use crate::host::split_mix::SplitMix64;
use crate::{Error, Result};

/// How batches are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OrderOptions {
    /// Samples in a batch, at least 1.
    pub batch_size: usize,
    /// Batches in a window: the samples of so many batches are sorted by length before they are cut into batches. 1 sorts
    /// nothing across batches; more saves padding and attention, and makes the order a little less random.
    pub window: usize,
    /// What the shuffling depends on, besides the number of the pass.
    pub seed: u64,
}

/// A place between two batches.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Position {
    /// The pass, from 0.
    pub epoch: u64,
    /// Batches of that pass that are done.
    pub batch: u64,
}

/// Hands out batches, pass after pass, without end.
#[derive(Clone, Debug)]
pub struct DataOrder {
    options: OrderOptions,
    lengths: Vec<u32>,
    position: Position,
    /// The samples of the current pass, and where the batches start: `starts[i]..starts[i + 1]`.
    samples: Vec<u32>,
    starts: Vec<u32>,
}

impl DataOrder {
    /// Starts at the first batch of the first pass over samples of these `lengths` (in tokens).
    ///
    /// # Errors
    /// No samples, 2³¹ or more, or a batch size or window of 0.
    pub fn new(lengths: Vec<u32>, options: OrderOptions) -> Result<DataOrder> {
        if options.batch_size == 0 {
            return Err(Error::argument("batch_size", "at least 1 is needed"));
        }
        if options.window == 0 {
            return Err(Error::argument("window", "at least 1 batch is needed"));
        }
        if lengths.is_empty() || lengths.len() >= 1 << 31 {
            return Err(Error::argument("samples", format!("{} of them; 1 to 2^31 - 1 are needed", lengths.len())));
        }
        let mut order =
            DataOrder { options, lengths, position: Position::default(), samples: Vec::new(), starts: Vec::new() };
        order.arrange();
        Ok(order)
    }

    /// Batches in a pass; the last of a pass may be smaller than the others.
    pub fn batches_per_epoch(&self) -> u64 {
        self.lengths.len().div_ceil(self.options.batch_size) as u64
    }

    /// The place of the batch that comes next.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Goes to a place, as a resumed run does; the batches from there on are those of an uninterrupted run.
    ///
    /// # Errors
    /// More batches than a pass has: the position is of other data or another batch size.
    pub fn seek(&mut self, position: Position) -> Result<()> {
        let batches = self.batches_per_epoch();
        if position.batch >= batches {
            let problem =
                format!("batch {} of a pass of {batches}: the data or the batch size changed", position.batch);
            return Err(Error::argument("data position", problem));
        }
        let arranged = self.position.epoch == position.epoch;
        self.position = position;
        if !arranged {
            self.arrange();
        }
        Ok(())
    }

    /// The samples of the next batch, shortest first, by their numbers; moves on.
    pub fn next_batch(&mut self) -> Vec<u32> {
        let i = self.position.batch as usize;
        let batch = match (self.starts.get(i), self.starts.get(i + 1)) {
            (Some(start), Some(end)) => self.samples.get(*start as usize..*end as usize).unwrap_or(&[]).to_vec(),
            _ => Vec::new(),
        };
        self.position.batch += 1;
        if self.position.batch == self.batches_per_epoch() {
            self.position = Position { epoch: self.position.epoch + 1, batch: 0 };
            self.arrange();
        }
        batch
    }

    /// Lays out the current pass.
    fn arrange(&mut self) {
        let mut random = Random::new(self.options.seed, self.position.epoch);
        self.samples = (0..self.lengths.len() as u32).collect();
        random.shuffle(&mut self.samples);
        let size = self.options.batch_size;
        for window in self.samples.chunks_mut(size.saturating_mul(self.options.window)) {
            // The number decides among equals, so that the result does not hang on the sorting algorithm.
            window.sort_unstable_by_key(|sample| (self.lengths[*sample as usize], *sample));
        }
        // Within a window the batches go from short to long; shuffled, a step's length says nothing about its place.
        let n = self.samples.len();
        let mut batches: Vec<(usize, usize)> = (0..n).step_by(size).map(|at| (at, (at + size).min(n))).collect();
        let full = n / size;
        random.shuffle(&mut batches[..full]);
        let mut samples = Vec::with_capacity(n);
        self.starts.clear();
        self.starts.push(0);
        for (start, end) in batches {
            samples.extend_from_slice(&self.samples[start..end]);
            self.starts.push(samples.len() as u32);
        }
        self.samples = samples;
    }
}

/// The numbers of one of a seed's streams.
struct Random(SplitMix64);

impl Random {
    fn new(seed: u64, stream: u64) -> Random {
        Random(SplitMix64::new(SplitMix64::new(seed).next() ^ stream.wrapping_mul(0xD1B5_4A32_D192_ED03)))
    }

    /// Fisher and Yates. The upper half of the product is uniform to within n / 2⁶⁴.
    fn shuffle<T>(&mut self, list: &mut [T]) {
        for i in (1..list.len()).rev() {
            let j = ((u128::from(self.0.next()) * (i as u128 + 1)) >> 64) as usize;
            list.swap(i, j);
        }
    }
}
