//! Seeded choices: the same on every machine.

use super::words::Length;
use crate::host::gaussian::uniforms;

/// Numbers that are drawn at a time.
const BLOCK: usize = 1024;

/// What a stream of choices is for. Each purpose, and each image where it has one stream per image, has a number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Which images are in which part.
    Split,
    /// The pool of texts without images.
    Pool,
    /// Batches and captions of the dual encoder's training.
    Batches,
    /// The language model's own texts.
    Documents,
    /// Captions of the row that trains on pairs.
    Paired,
    /// The caption of an image.
    Caption(usize, Length),
    /// The questions about an image.
    Questions(usize),
}

/// Purposes that the numbering has room for.
const PURPOSES: u32 = 16;

impl Stream {
    /// Below 2³²; never 0, which initial weights draw from.
    pub fn number(self) -> u32 {
        let (purpose, image) = match self {
            Stream::Split => (1, None),
            Stream::Pool => (2, None),
            Stream::Caption(image, Length::Short) => (3, Some(image)),
            Stream::Caption(image, Length::Long) => (4, Some(image)),
            Stream::Caption(image, Length::Mixed) => (5, Some(image)),
            Stream::Batches => (6, None),
            Stream::Documents => (7, None),
            Stream::Questions(image) => (8, Some(image)),
            Stream::Paired => (9, None),
        };
        purpose + PURPOSES * image.map_or(0, |i| i as u32 + 1)
    }
}

/// A stream of seeded choices. Streams of one seed and different numbers have nothing in common.
#[derive(Clone, Debug)]
pub struct Random {
    seed: u64,
    stream: u64,
    numbers: Vec<f32>,
    next: usize,
}

impl Random {
    /// The stream of a seed for a purpose.
    pub fn of(seed: u64, stream: Stream) -> Self {
        Random::new(seed, stream.number())
    }

    /// The stream `number` (below 2³²) of a seed.
    pub fn new(seed: u64, number: u32) -> Self {
        Random { seed, stream: u64::from(number) << 32, numbers: Vec::new(), next: 0 }
    }

    /// Uniform in (0, 1), in steps of 2⁻²⁴.
    pub fn uniform(&mut self) -> f32 {
        if self.next == self.numbers.len() {
            self.numbers = uniforms(BLOCK, self.seed, self.stream);
            (self.stream, self.next) = (self.stream + 1, 0);
        }
        self.next += 1;
        self.numbers[self.next - 1]
    }

    /// Uniform from 0 to below `count` (at most 2²⁰, for fair odds); 0 for a count of 0.
    pub fn below(&mut self, count: usize) -> usize {
        ((f64::from(self.uniform()) * count as f64) as usize).min(count.saturating_sub(1))
    }

    /// One of a list.
    ///
    /// # Panics
    /// On an empty list: the lists are constants of this module.
    pub(super) fn one<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    /// Shuffles a list (Fisher and Yates).
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for i in (1..list.len()).rev() {
            list.swap(i, self.below(i + 1));
        }
    }

    /// `count` different numbers below `of`, in random order; all of them if there are no more.
    pub fn choose(&mut self, count: usize, of: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..of).collect();
        let count = count.min(of);
        for i in 0..count {
            let j = i + self.below(of - i);
            all.swap(i, j);
        }
        all.truncate(count);
        all
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_streams_have_one_number() {
        let images = 0..2000;
        let of_images = images.flat_map(|i| {
            let captions = [Length::Short, Length::Long, Length::Mixed].map(|length| Stream::Caption(i, length));
            captions.into_iter().chain([Stream::Questions(i)])
        });
        let single = [Stream::Split, Stream::Pool, Stream::Batches, Stream::Documents, Stream::Paired];
        let numbers: Vec<u32> = of_images.chain(single).map(Stream::number).collect();
        assert_eq!(numbers.len(), 8005);
        assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), numbers.len());
        assert!(!numbers.contains(&0));
    }
}
