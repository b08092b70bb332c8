//! Packed batches against a definition that walks the samples one position at a time.

use proptest::prelude::*;
use realign::io::{Samples, TARGET, TOKEN, VISUAL};
use realign::train::{Batch, IGNORED};

use super::refused;

fn samples(list: &[(Vec<u32>, Option<u32>)]) -> Samples {
    let mut samples = Samples::default();
    list.iter().for_each(|(entries, row)| samples.push("", entries, *row, usize::MAX));
    samples
}

#[test]
fn a_small_batch_by_hand() {
    let list = [
        (vec![1, VISUAL, VISUAL | 1, 20 | TARGET, 21 | TARGET], Some(7)),
        (vec![30, 31 | TARGET, 32], None),
        (vec![VISUAL, 40 | TARGET], Some(5)),
    ];
    let batch = Batch::pack(&samples(&list), &[2, 1, 0]).unwrap();
    assert_eq!(batch.ids, [VISUAL, 40, 30, 31, 32, 1, VISUAL | 1, VISUAL | 1, 20, 21]);
    assert_eq!(batch.positions, [0, 1, 0, 1, 2, 0, 1, 2, 3, 4]);
    let n = IGNORED;
    assert_eq!(batch.labels, [40, n, 31, n, n, n, n, 20, 21, n]);
    assert_eq!(batch.sequences, [(0, 2), (2, 3), (5, 5)]);
    assert_eq!((batch.samples, batch.visual_sequences, batch.embedding_rows), (vec![2, 1, 0], vec![0, 2], vec![5, 7]));
    assert_eq!(batch.targets, 4);
}

#[test]
fn impossible_batches_are_refused() {
    let list = samples(&[(vec![VISUAL, 1 | TARGET], None)]);
    refused(Batch::pack(&list, &[0]), &["sample 0", "no embedding"]);
    refused(Batch::pack(&list, &[1]), &["sample 1", "below 1"]);
    assert_eq!(Batch::pack(&list, &[]).unwrap(), Batch::default());
}

fn entry() -> impl Strategy<Value = u32> {
    prop_oneof![2 => 0u32..TOKEN, 3 => (0u32..TOKEN).prop_map(|id| id | TARGET), 1 => Just(VISUAL)]
}

proptest! {
    #[test]
    fn packing_loses_and_invents_nothing(
        list in prop::collection::vec((prop::collection::vec(entry(), 1..20), 0u32..1000), 1..12),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..10),
        max in 2usize..20,
    ) {
        let mut all = Samples::default();
        list.iter().for_each(|(entries, row)| all.push("", entries, Some(*row), max));
        prop_assert_eq!(all.len() as u64 + all.without_target(), list.len() as u64);
        prop_assume!(!all.is_empty());
        let chosen: Vec<u32> = picks.iter().map(|pick| pick.index(all.len()) as u32).collect();
        let batch = Batch::pack(&all, &chosen).unwrap();

        let (mut at, mut targets) = (0, 0);
        prop_assert_eq!((&batch.samples, batch.sequences.len()), (&chosen, chosen.len()));
        for (sequence, number) in chosen.iter().enumerate() {
            let sample = all.get(*number as usize).unwrap();
            prop_assert!(sample.entries.len() <= max);
            prop_assert_eq!(batch.sequences[sequence], (at as u32, sample.entries.len() as u32));
            for (t, entry) in sample.entries.iter().enumerate() {
                prop_assert_eq!(batch.positions[at + t], t as u32);
                if entry & VISUAL != 0 {
                    let row = (batch.ids[at + t] ^ VISUAL) as usize;
                    prop_assert_eq!(batch.visual_sequences[row] as usize, sequence);
                    prop_assert_eq!(Some(batch.embedding_rows[row]), sample.row);
                } else {
                    prop_assert_eq!(batch.ids[at + t], entry & TOKEN);
                }
                let next = sample.entries.get(t + 1).filter(|next| **next & VISUAL == 0 && **next & TARGET != 0);
                prop_assert_eq!(batch.labels[at + t], next.map_or(IGNORED, |next| (next & TOKEN) as i32));
                targets += u32::from(next.is_some());
            }
            at += sample.entries.len();
        }
        prop_assert_eq!((batch.tokens(), batch.labels.len(), batch.positions.len()), (at, at, at));
        prop_assert_eq!(batch.targets, targets);
        prop_assert!(targets > 0);
    }
}
