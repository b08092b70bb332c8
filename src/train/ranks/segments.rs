//! A bucket's numbers in segments, added up by their owners in the order of the batches.

use std::collections::BTreeMap;
use std::ops::Range;

use super::super::settings::Reduce;

/// Most numbers of a segment: 4 MiB of f32.
const MOST: usize = 1 << 20;

/// One batch's numbers of a bucket, or one rank's.
#[derive(Debug)]
pub(in crate::train) struct Contribution {
    pub(in crate::train) step: u64,
    pub(in crate::train) bucket: usize,
    /// Its place in the sum, of so many.
    pub(in crate::train) place: (usize, usize),
    pub(in crate::train) reduce: Reduce,
    /// f32, as the device has them.
    pub(in crate::train) bytes: Vec<u8>,
}

/// Where a bucket of so many numbers is cut: the same everywhere.
pub(super) fn cut(numbers: usize, ranks: usize) -> impl ExactSizeIterator<Item = Range<usize>> {
    // Each rank owns something, unless that is hardly worth a message.
    let length = numbers.div_ceil(ranks.max(1)).next_multiple_of(16).clamp(16, MOST);
    let count = numbers.div_ceil(length);
    (0..count).map(move |i| i * length..numbers.min((i + 1) * length))
}

/// The rank that adds up a segment.
pub(super) fn owner(bucket: usize, segment: usize, ranks: usize) -> usize {
    // Buckets of a single segment must not all go to rank 0.
    (bucket + segment) % ranks
}

/// A number of 4 bytes, little end first, as everywhere here.
fn float(bytes: &[u8]) -> f32 {
    f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// f32 as it is sent.
pub(super) fn encode(numbers: &[u8], reduce: Reduce, to: &mut Vec<u8>) {
    match reduce {
        Reduce::F32 => to.extend_from_slice(numbers),
        Reduce::Bf16 => {
            let halves = numbers.chunks_exact(4).map(|x| half::bf16::from_f32(float(x)).to_bits());
            to.extend(halves.flat_map(u16::to_le_bytes));
        }
    }
}

/// What was sent, as f32.
fn decoded(bytes: &[u8], reduce: Reduce) -> impl Iterator<Item = f32> {
    let width = if reduce == Reduce::F32 { 4 } else { 2 };
    bytes.chunks_exact(width).map(move |x| match reduce {
        Reduce::F32 => float(x),
        Reduce::Bf16 => half::bf16::from_bits(u16::from_le_bytes([x[0], x[1]])).to_f32(),
    })
}

/// Writes what was sent as f32.
pub(super) fn decode(bytes: &[u8], reduce: Reduce, to: &mut [u8]) {
    for (to, x) in to.chunks_exact_mut(4).zip(decoded(bytes, reduce)) {
        to.copy_from_slice(&x.to_le_bytes());
    }
}

/// The sum of a segment so far.
#[derive(Debug, Default)]
pub(super) struct Sum {
    total: Vec<f32>,
    /// The place whose turn it is.
    next: usize,
    /// What came before its turn.
    early: BTreeMap<usize, Vec<u8>>,
}

impl Sum {
    /// Takes the numbers for a place; whether the sum of `count` is complete.
    pub(super) fn take(&mut self, (place, count): (usize, usize), bytes: Vec<u8>, reduce: Reduce) -> bool {
        self.early.insert(place, bytes);
        while let Some(bytes) = self.early.remove(&self.next) {
            let numbers = decoded(&bytes, reduce);
            if self.next == 0 {
                // As a device does that adds to zeros: -0 becomes 0.
                self.total = numbers.map(|x| 0.0 + x).collect();
            } else {
                self.total.iter_mut().zip(numbers).for_each(|(total, x)| *total += x);
            }
            self.next += 1;
        }
        self.next >= count
    }

    /// The sum, as it is sent.
    pub(super) fn encoded(&self, reduce: Reduce) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 * self.total.len());
        match reduce {
            Reduce::F32 => self.total.iter().for_each(|x| bytes.extend(x.to_le_bytes())),
            Reduce::Bf16 => {
                self.total.iter().for_each(|x| bytes.extend(half::bf16::from_f32(*x).to_bits().to_le_bytes()));
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(numbers: &[f32]) -> Vec<u8> {
        numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    #[test]
    fn the_sum_is_in_the_order_of_places_whatever_comes_first() {
        let parts = [bytes(&[1e8, -0.0]), bytes(&[1.0, -0.0]), bytes(&[-1e8, -0.0])];
        let expected: Vec<u8> = bytes(&[((0.0f32 + 1e8) + 1.0) - 1e8, 0.0]);
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
            let mut sum = Sum::default();
            let done = order.map(|i| sum.take((i, 3), parts[i].clone(), Reduce::F32));
            assert_eq!(done, [false, false, true]);
            assert_eq!(sum.encoded(Reduce::F32), expected);
        }
        // In another order it would be another sum.
        assert_ne!(bytes(&[(1e8f32 - 1e8) + 1.0, 0.0]), expected);
    }

    #[test]
    fn segments_cover_all_numbers_once_and_have_owners_everywhere() {
        for (numbers, ranks) in [(0, 3), (1, 4), (17, 4), (1000, 3), (5 << 20, 2)] {
            let cuts: Vec<_> = cut(numbers, ranks).collect();
            let ends: Vec<usize> = cuts.iter().map(|c| c.end).collect();
            let starts: Vec<usize> = cuts.iter().map(|c| c.start).collect();
            assert_eq!(starts.iter().skip(1).copied().collect::<Vec<_>>(), ends[..ends.len().saturating_sub(1)]);
            assert_eq!(cuts.iter().map(|c| c.len()).sum::<usize>(), numbers);
            assert!(cuts.iter().all(|c| c.len() <= MOST));
        }
        let owners: std::collections::BTreeSet<usize> = (0..8).map(|bucket| owner(bucket, 0, 4)).collect();
        assert_eq!(owners.len(), 4);
    }

    #[test]
    fn bf16_is_rounded_once_each_way() {
        let numbers = bytes(&[1.0, 1.0 + 1.0 / 256.0, -3.3]);
        let mut sent = Vec::new();
        encode(&numbers, Reduce::Bf16, &mut sent);
        assert_eq!(sent.len(), 6);
        let mut back = vec![0; 12];
        decode(&sent, Reduce::Bf16, &mut back);
        // Halves go to the even neighbour.
        assert_eq!(back, bytes(&[1.0, 1.0, -3.296875]));
    }
}
