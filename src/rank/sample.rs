//! A sample of a collection's rows that does not depend on their order, on chunks or on shards, and merges exactly.
//!
//! Each row has a key of 64 bits, made of the seed and of the row's own numbers (its unit row in f32). The sample is the rows of the smallest
//! keys: a uniform sample of the *distinct* rows, since keys of different rows are as good as random. Rows that are equal have one key, and
//! come in together or not at all; their number is kept, and weighs them. A row whose key is among the smallest of a union is among the smallest
//! of every part that has it, and its copies were all counted there: so that samples merge to the bits of the whole's.
//!
//! The index of a row would not do in place of its numbers: a shard does not know how many rows are before it.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::host::split_mix::{STEP, mix};
use crate::{Error, Result};

/// The key, and the row's bits: equal keys of different rows, if that ever happens, are in the order of the bits.
type Key = (u64, Box<[u32]>);

/// Unit rows `[m, d]` in f32, each with the number of its copies in the collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    width: usize,
    seed: u64,
    capacity: usize,
    rows: BTreeMap<Key, u64>,
}

/// The key of a unit row without negative zeros.
fn key(seed: u64, row: &[f32]) -> u64 {
    let start = mix(seed.wrapping_add(STEP));
    row.chunks(2).fold(start, |hash, pair| {
        let word = pair.iter().rev().fold(0, |word, x| word << 32 | u64::from(x.to_bits()));
        mix((hash ^ word).wrapping_add(STEP))
    })
}

impl Sample {
    /// Of no rows yet: it will hold `capacity` distinct ones at most.
    pub(super) fn empty(width: usize, seed: u64, capacity: usize) -> Self {
        Sample { width, seed, capacity, rows: BTreeMap::new() }
    }

    /// Takes unit rows in, `[n, d]`; zeros lose their sign.
    pub(super) fn add(&mut self, rows: &mut [f32]) {
        let (seed, width) = (self.seed, self.width);
        rows.par_iter_mut().with_min_len(1 << 14).for_each(|x| *x += 0.0);
        let keys: Vec<u64> = rows.par_chunks_exact(width).map(|row| key(seed, row)).collect();
        for (row, key) in rows.chunks_exact(width).zip(keys) {
            let full = self.rows.len() >= self.capacity;
            if full && self.rows.last_key_value().is_some_and(|(last, _)| last.0 < key) {
                continue;
            }
            self.count((key, row.iter().map(|x| x.to_bits()).collect()), 1);
        }
    }

    fn count(&mut self, key: Key, copies: u64) {
        let count = self.rows.entry(key).or_insert(0);
        *count = count.saturating_add(copies);
        if self.rows.len() > self.capacity {
            self.rows.pop_last();
        }
    }

    /// Takes another part's sample in.
    pub(super) fn merge(&mut self, other: &Sample) -> Result<()> {
        if (self.seed, self.capacity, self.width) != (other.seed, other.capacity, other.width) {
            let of = |s: &Sample| format!("{} rows of {} with seed {}", s.capacity, s.width, s.seed);
            return Err(Error::shape("merge", "sample", of(self), of(other)));
        }
        other.rows.iter().for_each(|(key, copies)| self.count(key.clone(), *copies));
        Ok(())
    }

    /// From a file's rows, which are in the order of their keys; or what is wrong with them.
    pub(super) fn from_parts(
        (width, seed, capacity): (usize, u64, usize),
        rows: &[f32],
        copies: &[u64],
    ) -> Result<Self, &'static str> {
        if rows.len() != copies.len() * width || copies.len() > capacity || copies.contains(&0) {
            return Err("the sample's rows and their copies do not fit each other");
        }
        let keys: Vec<u64> = rows.par_chunks_exact(width).map(|row| key(seed, row)).collect();
        let bits = |row: &[f32]| row.iter().map(|x| x.to_bits()).collect();
        let keys = keys.into_iter().zip(rows.chunks_exact(width).map(bits));
        let all: Vec<(Key, u64)> = keys.zip(copies.iter().copied()).collect();
        if !all.is_sorted_by(|a, b| a.0 < b.0) {
            return Err("the sample's rows are not those of its seed");
        }
        Ok(Sample { width, seed, capacity, rows: all.into_iter().collect() })
    }

    /// Distinct rows in it.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it holds no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The distinct rows, `[m, d]`.
    pub fn rows(&self) -> Vec<f32> {
        self.rows.keys().flat_map(|(_, bits)| bits.iter().map(|b| f32::from_bits(*b))).collect()
    }

    /// Copies of each in the whole collection, `[m]`.
    pub fn copies(&self) -> Vec<u64> {
        self.rows.values().copied().collect()
    }

    /// `(Σ w)² / Σ w²`: as many rows without copies would tell as much. Far below [`Sample::len`] where few rows make up most of a collection.
    pub fn effective_rows(&self) -> f64 {
        let copies = || self.rows.values().map(|c| *c as f64);
        copies().sum::<f64>().powi(2) / copies().map(|c| c * c).sum::<f64>().max(f64::MIN_POSITIVE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(n: usize) -> Vec<f32> {
        // Every third row is the copy of another.
        (0..n).flat_map(|i| [(i - i % 3 / 2) as f32, 1.0, if i % 2 == 0 { -0.0 } else { 0.0 }]).collect()
    }

    fn sample(capacity: usize, parts: &[&[f32]]) -> Sample {
        let mut sample = Sample::empty(3, 7, capacity);
        parts.iter().for_each(|part| sample.add(&mut part.to_vec()));
        sample
    }

    #[test]
    fn order_chunks_and_shards_do_not_matter() {
        let all = rows(200);
        for capacity in [1, 5, 64, 1000] {
            let whole = sample(capacity, &[&all]);
            assert_eq!(whole.len(), capacity.min(134));
            let backwards: Vec<f32> = all.chunks_exact(3).rev().flatten().copied().collect();
            assert_eq!(sample(capacity, &[&backwards]), whole);
            for shards in [2, 4, 200] {
                let parts: Vec<&[f32]> = all.chunks(200 / shards * 3).collect();
                assert_eq!(sample(capacity, &parts), whole, "chunks");
                let mut merged = sample(capacity, &[]);
                parts.iter().rev().for_each(|part| merged.merge(&sample(capacity, &[part])).unwrap());
                assert_eq!(merged, whole, "{shards} shards");
            }
        }
        let everything = sample(1000, &[&all]);
        assert_eq!(everything.copies().iter().sum::<u64>(), 200);
        assert!(everything.effective_rows() < 134.0);
    }

    #[test]
    fn another_seed_is_another_sample_and_does_not_merge() {
        let mut other = Sample::empty(3, 8, 5);
        other.add(&mut rows(200));
        let one = sample(5, &[&rows(200)]);
        assert_ne!(one.rows(), other.rows());
        let error = other.merge(&one).unwrap_err().to_string();
        assert!(error.contains("seed 8") && error.contains("seed 7"), "{error}");
    }

    #[test]
    fn a_changed_row_is_found() {
        let one = sample(5, &[&rows(200)]);
        let (mut data, copies) = (one.rows(), one.copies());
        assert_eq!(Sample::from_parts((3, 7, 5), &data, &copies).unwrap(), one);
        data.swap(0, 3);
        assert!(Sample::from_parts((3, 7, 5), &data, &copies).is_err());
        assert!(Sample::from_parts((3, 7, 5), &data, &copies[1..]).is_err());
    }
}
