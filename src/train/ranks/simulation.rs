//! What the overlap hides, by simulation: a device that takes its time, and a link that does. The figures of docs/training.md.

use std::time::{Duration, Instant};

use super::super::settings::Reduce;
use super::{Contribution, Link, Ranks, local_communicators};

/// A step of a decoder of SmolLM2-135M's shape, a quarter of its numbers on a quarter of the link's rate: 30 layers, the tied table behind
/// them, an adapter. The backward pass of each layer takes a time in which a rank does nothing but wait, as for a device.
const LAYERS: usize = 30;
const LAYER: usize = 3_540_000 / 4;
const TABLE: usize = 28_300_000 / 4;
const STEPS: u64 = 3;

/// How a step's buckets leave.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sending {
    /// Nothing does: what the device takes alone.
    Never,
    /// All behind the backward pass.
    Behind,
    /// Each as it is complete.
    Beside,
}

fn contribution(ranks: &Ranks, step: u64, bucket: usize, reduce: Reduce) -> Contribution {
    let numbers = if bucket == LAYERS { TABLE } else { LAYER };
    Contribution { step, bucket, place: (ranks.rank(), ranks.size()), reduce, bytes: vec![0; 4 * numbers] }
}

/// One rank's steps: forward as long as half of the backward pass.
fn steps(ranks: &Ranks, layer: Duration, (sending, reduce): (Sending, Reduce)) {
    for step in 0..STEPS {
        std::thread::sleep(layer * LAYERS as u32 / 2);
        for bucket in 0..=LAYERS {
            let wanted = layer * if bucket == LAYERS { 0 } else { 1 };
            let began = Instant::now();
            if sending == Sending::Beside && bucket > 0 {
                ranks.contribute(contribution(ranks, step, bucket - 1, reduce));
            }
            std::thread::sleep(wanted.saturating_sub(began.elapsed()));
        }
        let last = if sending == Sending::Behind { 0 } else { LAYERS };
        (last..=LAYERS).for_each(|bucket| {
            if sending != Sending::Never {
                ranks.contribute(contribution(ranks, step, bucket, reduce));
            }
        });
        let mut missing = if sending == Sending::Never { 0 } else { LAYERS + 1 };
        while missing > 0 {
            match ranks.take_sum() {
                Some((of, _, bytes)) => {
                    assert!(of == step && !bytes.is_empty());
                    missing -= 1;
                }
                None => ranks.wait("a step", |_| Vec::new()).unwrap(),
            }
        }
    }
}

/// Seconds a step.
fn simulated(size: usize, link: Link, layer: Duration, how: (Sending, Reduce)) -> f64 {
    let began = Instant::now();
    std::thread::scope(|scope| {
        for communicator in local_communicators(size, link) {
            scope.spawn(move || steps(&Ranks::new(move || Ok(communicator)).unwrap(), layer, how));
        }
    });
    began.elapsed().as_secs_f64() / STEPS as f64
}

#[test]
#[ignore = "takes a minute and wants a quiet machine: figures, no judgement"]
fn what_the_overlap_hides() {
    for (size, gigabits, layer) in [(2, 10.0, 40), (2, 10.0, 20), (4, 10.0, 40), (4, 25.0, 20)] {
        let layer = Duration::from_millis(layer);
        let rate = gigabits * 1e9 / 8.0 / 4.0;
        let link = Link { latency: Duration::from_micros(50), bytes_per_second: rate };
        let alone = simulated(size, link, layer, (Sending::Never, Reduce::F32));
        for reduce in [Reduce::F32, Reduce::Bf16] {
            let of = |sending| simulated(size, link, layer, (sending, reduce)) - alone;
            let (behind, beside) = (of(Sending::Behind), of(Sending::Beside));
            println!(
                "{size} ranks, {gigabits} Gbit/s, {layer:?} a layer, {reduce:?}: {alone:.2} s alone, {behind:.2} s more behind, {beside:.2} s \
                 more beside: {:.0}% hidden, efficiency {:.0}%",
                100.0 * (1.0 - beside / behind),
                100.0 * alone / (alone + beside)
            );
        }
    }
}
