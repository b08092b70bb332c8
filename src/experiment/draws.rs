//! Seeded choices: the same on every machine.

use crate::host::gaussian::uniforms;

/// Numbers that are drawn at a time.
const BLOCK: usize = 1024;

/// A stream of seeded choices. Streams of one seed and different numbers have nothing in common.
#[derive(Clone, Debug)]
pub struct Draws {
    seed: u64,
    stream: u64,
    numbers: Vec<f32>,
    next: usize,
}

impl Draws {
    /// The stream `number` (below 2³²) of a seed.
    pub fn new(seed: u64, number: u32) -> Self {
        Draws { seed, stream: u64::from(number) << 32, numbers: Vec::new(), next: 0 }
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
