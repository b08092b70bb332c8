//! The order of the data: shuffled anew in each pass, with samples of like length side by side.

use super::schedule::total_steps;
use crate::host::split_mix::SplitMix64;
use crate::{Error, Result};

/// What ends a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BatchLimit {
    /// So many samples, at least 1.
    Samples(usize),
    /// So many tokens (positions, visual ones included), at least those of the longest sample: as many samples as fit, so that the
    /// memory of a step does not hang on which samples meet.
    Tokens(usize),
}

/// How batches are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OrderOptions {
    /// What ends a batch.
    pub limit: BatchLimit,
    /// Batches in a window: the samples of so many batches (by a budget of tokens, of so many of the mean length) are sorted by length
    /// before they are cut into batches. 1 sorts nothing across batches; more saves padding and attention, and makes the order a little
    /// less random.
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
    /// No samples, 2³¹ or more; a batch size or window of 0; a sample beyond the budget of tokens.
    pub fn new(lengths: Vec<u32>, options: OrderOptions) -> Result<DataOrder> {
        let longest = lengths.iter().copied().max().unwrap_or(0) as usize;
        match options.limit {
            BatchLimit::Samples(0) => return Err(Error::argument("batch_size", "at least 1 is needed")),
            BatchLimit::Tokens(most) if most < longest.max(1) => {
                let problem =
                    format!("{most} are fewer than the longest sample has, {longest}; raise it, or lower max_length");
                return Err(Error::argument("batch_tokens", problem));
            }
            _ => {}
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

    /// Batches in the present pass; the last of a pass may be smaller than the others. With a budget of tokens passes differ.
    pub fn batches(&self) -> u64 {
        self.starts.len().saturating_sub(1) as u64
    }

    /// Optimiser steps of `epochs` passes from the first on, `accumulate` batches to a step; the last step of a pass may have fewer.
    pub fn total_steps(&self, accumulate: u64, epochs: f64) -> u64 {
        if let BatchLimit::Samples(_) = self.options.limit {
            return total_steps(self.batches(), accumulate, epochs);
        }
        // Each pass is cut in its own way.
        let mut pass = DataOrder { position: Position::default(), ..self.clone() };
        let (mut steps, mut left) = (0.0, epochs);
        while left > 0.0 {
            pass.arrange();
            steps += pass.batches().div_ceil(accumulate.max(1)) as f64 * left.min(1.0);
            left -= 1.0;
            pass.position.epoch += 1;
        }
        (steps.ceil() as u64).max(1)
    }

    /// The place of the batch that comes next.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Goes to a place, as a resumed run does; the batches from there on are those of an uninterrupted run.
    ///
    /// # Errors
    /// More batches than that pass has: the position is of other data or another batch size.
    pub fn seek(&mut self, position: Position) -> Result<()> {
        let before = std::mem::replace(&mut self.position, position);
        if before.epoch != position.epoch {
            self.arrange();
        }
        let batches = self.batches();
        if position.batch < batches {
            return Ok(());
        }
        self.position = before;
        self.arrange();
        let problem = format!("batch {} of a pass of {batches}: the data or the batch size changed", position.batch);
        Err(Error::argument("data position", problem))
    }

    /// The samples of the next batch, shortest first, by their numbers; moves on.
    pub fn next_batch(&mut self) -> Vec<u32> {
        let i = self.position.batch as usize;
        let batch = match (self.starts.get(i), self.starts.get(i + 1)) {
            (Some(start), Some(end)) => self.samples.get(*start as usize..*end as usize).unwrap_or(&[]).to_vec(),
            _ => Vec::new(),
        };
        self.position.batch += 1;
        if self.position.batch == self.batches() {
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
        let window = self.samples_of_window();
        for window in self.samples.chunks_mut(window) {
            // The number decides among equals, so that the result does not hang on the sorting algorithm.
            window.sort_unstable_by_key(|sample| (self.lengths[*sample as usize], *sample));
        }
        // Within a window the batches go from short to long; shuffled, a step's length says nothing about its place.
        let n = self.samples.len();
        let (mut batches, full) = self.cut();
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

impl DataOrder {
    /// How many samples are sorted together.
    fn samples_of_window(&self) -> usize {
        let batch = match self.options.limit {
            BatchLimit::Samples(size) => size,
            BatchLimit::Tokens(most) => {
                let tokens: u64 = self.lengths.iter().map(|length| u64::from(*length)).sum();
                ((most as u128 * self.lengths.len() as u128 / u128::from(tokens.max(1))) as usize).max(1)
            }
        };
        batch.saturating_mul(self.options.window)
    }

    /// Places in [`Self::samples`] where batches begin and end, and how many of them are full.
    fn cut(&self) -> (Vec<(usize, usize)>, usize) {
        let n = self.samples.len();
        match self.options.limit {
            BatchLimit::Samples(size) => {
                ((0..n).step_by(size).map(|at| (at, at.saturating_add(size).min(n))).collect(), n / size)
            }
            BatchLimit::Tokens(most) => {
                let (mut batches, mut start, mut tokens) = (Vec::new(), 0, 0);
                for (at, sample) in self.samples.iter().enumerate() {
                    let length = self.lengths[*sample as usize] as usize;
                    if at > start && tokens + length > most {
                        batches.push((start, at));
                        (start, tokens) = (at, 0);
                    }
                    tokens += length;
                }
                // What is left over is no full one.
                let full = batches.len();
                batches.push((start, n));
                (batches, full)
            }
        }
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
