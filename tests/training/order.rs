//! Order of the data, schedule and noise.

use std::collections::BTreeSet;

use proptest::prelude::*;
use realign::train::{BatchLimit, DataOrder, OrderOptions, Position, Schedule, ScheduleKind, noise, schedule};

use super::{golden, refused};

fn order(n: usize, batch_size: usize, window: usize, seed: u64) -> DataOrder {
    let lengths = (0..n as u32).map(|i| i.wrapping_mul(2_654_435_761) % 97).collect();
    DataOrder::new(lengths, OrderOptions { limit: BatchLimit::Samples(batch_size), window, seed }).unwrap()
}

fn pass(order: &mut DataOrder) -> Vec<Vec<u32>> {
    (0..order.batches()).map(|_| order.next_batch()).collect()
}

#[test]
fn seeds_and_passes_give_their_own_order() {
    let (mut a, mut b, mut c) = (order(103, 4, 5, 1), order(103, 4, 5, 1), order(103, 4, 5, 2));
    let (first, second) = (pass(&mut a), pass(&mut a));
    assert_eq!((&first, &second), (&pass(&mut b), &pass(&mut b)));
    assert_ne!(first, second);
    assert_ne!(first, pass(&mut c));
    assert_eq!(first.last().unwrap().len(), 3);
}

#[test]
fn windows_put_like_lengths_together() {
    let spread = |window| {
        let length = |i: &u32| i.wrapping_mul(2_654_435_761) % 97;
        let batches = pass(&mut order(4096, 8, window, 3));
        let of = |b: &Vec<u32>| b.iter().map(length).max().unwrap() - b.iter().map(length).min().unwrap();
        batches.iter().map(of).sum::<u32>() as f64 / batches.len() as f64
    };
    assert!(spread(32) < 0.1 * spread(1), "{} {}", spread(32), spread(1));
}

/// A pass without a window is a uniform shuffle: each sample is in each place equally often.
#[test]
fn the_shuffle_is_uniform() {
    let (n, runs) = (5usize, 20_000);
    let mut counts = [[0f64; 5]; 5];
    for seed in 0..runs {
        let mut order =
            DataOrder::new(vec![1; n], OrderOptions { limit: BatchLimit::Samples(1), window: 1, seed }).unwrap();
        for (place, batch) in pass(&mut order).iter().enumerate() {
            counts[place][batch[0] as usize] += 1.0;
        }
    }
    let expected = runs as f64 / n as f64;
    // Five standard errors.
    let bound = 5.0 * (expected * 0.8).sqrt();
    assert!(counts.iter().flatten().all(|count| (count - expected).abs() < bound), "{counts:?}");
}

proptest! {
    #[test]
    fn a_pass_has_every_sample_once_and_resumes_anywhere(
        n in 1usize..200, size in 1usize..17, window in 1usize..9, seed: u64, stop in 0u64..500,
    ) {
        let mut whole = order(n, size, window, seed);
        let batches = pass(&mut whole);
        let seen: BTreeSet<u32> = batches.iter().flatten().copied().collect();
        prop_assert_eq!(seen.len(), n);
        prop_assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), n);
        prop_assert!(batches[..batches.len() - 1].iter().all(|batch| batch.len() == size));

        let (mut a, mut b) = (order(n, size, window, seed), order(n, size, window, seed));
        (0..stop).for_each(|_| drop(a.next_batch()));
        b.seek(a.position()).unwrap();
        for _ in 0..2 * b.batches() {
            prop_assert_eq!(a.next_batch(), b.next_batch());
        }
        prop_assert_eq!(a.position(), b.position());
    }
}

/// With a budget of tokens batches hold as many samples as fit, all of them in a pass, and a resumed run gets the same ones.
#[test]
fn a_budget_of_tokens_is_kept_and_used() {
    let lengths: Vec<u32> = (0..500u32).map(|i| 1 + i.wrapping_mul(2_654_435_761) % 97).collect();
    let total: u64 = lengths.iter().map(|length| u64::from(*length)).sum();
    let new = |budget, window, seed| {
        DataOrder::new(lengths.clone(), OrderOptions { limit: BatchLimit::Tokens(budget), window, seed }).unwrap()
    };
    let tokens = |batch: &[u32]| batch.iter().map(|i| lengths[*i as usize] as usize).sum::<usize>();
    for (budget, window, seed) in [(97, 1, 0), (256, 4, 1), (1024, 32, 2), (1 << 30, 1, 3)] {
        let mut order = new(budget, window, seed);
        let batches = pass(&mut order);
        assert_eq!(batches.iter().flatten().collect::<BTreeSet<_>>().len(), 500);
        assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 500);
        assert!(batches.iter().all(|batch| !batch.is_empty() && tokens(batch) <= budget), "{budget}");
        // No batch but the last has room for a longest sample, so that none could take its neighbour's.
        let (_, full) = batches.split_last().unwrap();
        assert!(full.iter().all(|batch| tokens(batch) + 97 > budget), "{budget}");
        assert!(batches.len() as u64 <= total.div_ceil((budget as u64).saturating_sub(96)), "{budget}");
        let second = pass(&mut order);
        assert!(budget == 1 << 30 || batches != second, "{budget}");
        // From any place on.
        let mut at = new(budget, window, seed);
        at.seek(Position { epoch: 1, batch: second.len() as u64 / 2 }).unwrap();
        assert_eq!(at.next_batch(), second[second.len() / 2]);
        let wrong = Position { epoch: 1, batch: second.len() as u64 };
        refused(at.seek(wrong), &["batch", "the data or the batch size changed"]);
        if let Some(next) = second.get(second.len() / 2 + 1) {
            assert_eq!(&at.next_batch(), next);
        }
    }
    // A pass's own steps are counted: passes are cut differently.
    let mut order = new(256, 4, 1);
    let counts: Vec<u64> = (0..3).map(|_| pass(&mut order).len() as u64).collect();
    let steps = |n: u64| n.div_ceil(3);
    assert_eq!(new(256, 4, 1).total_steps(3, 3.0), counts.iter().map(|n| steps(*n)).sum::<u64>());
    let half = (steps(counts[0]) as f64 + 0.5 * steps(counts[1]) as f64).ceil() as u64;
    assert_eq!(new(256, 4, 1).total_steps(3, 1.5), half);
    let order = |limit| DataOrder::new(vec![7, 9, 3], OrderOptions { limit, window: 1, seed: 0 });
    refused(order(BatchLimit::Tokens(8)), &["batch_tokens", "8", "9", "max_length"]);
    refused(order(BatchLimit::Tokens(0)), &["batch_tokens"]);
}

#[test]
fn impossible_orders_are_refused() {
    let new = |n, batch_size, window| {
        DataOrder::new(vec![1; n], OrderOptions { limit: BatchLimit::Samples(batch_size), window, seed: 0 })
    };
    refused(new(0, 1, 1), &["samples"]);
    refused(new(1, 0, 1), &["batch_size"]);
    refused(new(1, 1, 0), &["window"]);
    refused(order(10, 4, 1, 0).seek(Position { epoch: 0, batch: 3 }), &["batch 3", "pass of 3"]);
}

#[test]
fn the_schedule_is_that_of_transformers() {
    let table: Vec<f64> =
        serde_json::from_slice(&std::fs::read(golden("models/cosine_w3_n100.json")).unwrap()).unwrap();
    let schedule = Schedule::with_ratio(ScheduleKind::Cosine, 1.0, 0.03, 100).unwrap();
    assert_eq!((schedule.warmup, table.len()), (3, 100));
    for (step, expected) in table.iter().enumerate() {
        assert!((schedule.rate(step as u64) - expected).abs() <= 1e-15, "{step}");
    }
    assert_eq!((schedule.rate(100), schedule.rate(1000)), (0.0, 0.0));
    let at = |kind, step| Schedule { kind, base: 2.0, warmup: 2, total: 6 }.rate(step);
    assert_eq!([0, 1, 2, 4, 6, 9].map(|step| at(ScheduleKind::Linear, step)), [0.0, 1.0, 2.0, 1.0, 0.0, 0.0]);
    assert_eq!([0, 1, 2, 4, 6, 9].map(|step| at(ScheduleKind::Constant, step)), [0.0, 1.0, 2.0, 2.0, 2.0, 2.0]);
    // No warm-up, one step; more warm-up than steps.
    assert_eq!(Schedule::with_ratio(ScheduleKind::Cosine, 1.0, 0.0, 1).unwrap().rate(0), 1.0);
    let short = Schedule { kind: ScheduleKind::Cosine, base: 1.0, warmup: 10, total: 5 };
    assert!((0..20).all(|step| (0.0..=1.0).contains(&short.rate(step))));
    refused(Schedule::with_ratio(ScheduleKind::Cosine, 1.0, 1.5, 1), &["warmup_ratio"]);
    refused(Schedule::with_ratio(ScheduleKind::Cosine, f64::NAN, 0.5, 1), &["lr"]);
    assert_eq!(
        [(10, 4, 1.0), (10, 4, 2.0), (1, 4, 0.1), (12, 4, 1.5)].map(|(b, a, e)| schedule::total_steps(b, a, e)),
        [3, 6, 1, 5]
    );
}

#[test]
fn noise_hangs_on_seed_step_and_sample_alone() {
    let noise = |samples: &[u32], seed, step| noise::noise(7, samples, (seed, step));
    let (a, b) = (noise(&[3, 9], 1, 2), noise(&[9, 4, 3], 1, 2));
    assert_eq!((&a[..7], &a[7..]), (&b[14..], &b[..7]));
    assert!(a[..7] != noise(&[3], 2, 2)[..] && a[..7] != noise(&[3], 1, 3)[..] && a[..7] != a[7..]);
    let samples: Vec<u32> = (0..20_000).collect();
    let all = noise(&samples, 5, 5);
    let n = all.len() as f64;
    let mean = all.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
    let variance = all.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n;
    assert!(mean.abs() < 5.0 / n.sqrt(), "{mean}");
    assert!((variance - 1.0).abs() < 5.0 * (2.0 / n).sqrt(), "{variance}");
}
