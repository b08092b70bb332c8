//! Histograms of cosines: every device counts as f64 does, to the last one.

use realign::device::{Device, Tensor};
use realign::kernels::geometry::histogram::{Histogram, MAX_BINS, Pairs, record};

use crate::common::{Rng, devices, gpu};
use crate::nn::{run, tensor, zeros};
use crate::rows::variants;

/// The bin as documented, written without the crate; a NaN is in none.
fn bin(c: f32, bins: usize) -> usize {
    let place = (f64::from(c) + 1.0) * ((bins - 1) as f64 / 2.0);
    (place.round_ties_even().max(0.0) as usize).min(bins - 1)
}

/// Cosines, half of them within some units in the last place of an edge, some beyond -1 and 1.
fn cosines(count: usize, bins: usize) -> Vec<f32> {
    let mut rng = Rng((count + bins) as u64);
    let number = |_| match rng.next() % 8 {
        0 => {
            let special = [-1.0, 1.0, -1.000_001, 1.000_001, 0.0, -0.0, 1e-40, -1e-40];
            let beyond = [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
            special.into_iter().chain(beyond).nth((rng.next() % 12) as usize).unwrap()
        }
        1..4 => (rng.normal() * 0.1) as f32,
        _ => {
            let edge = (rng.next() % (bins as u64 - 1)) as f64 + 0.5;
            let near = (edge / ((bins - 1) as f64 / 2.0) - 1.0) as f32;
            f32::from_bits((near.to_bits() + 2).saturating_sub((rng.next() % 5) as u32))
        }
    };
    (0..count).map(number).collect()
}

fn verify(device: &Device, (rows, width): (usize, usize), at: (usize, usize), bins: usize, what: &str) {
    let data = cosines(rows * width, bins);
    let tile = tensor(device, &data, width);
    for pairs in [Pairs::Ordered, Pairs::Different] {
        let histogram = Histogram::new(device, bins).unwrap();
        let (mut want, mut got) = (vec![0u64; bins], vec![0; bins]);
        for (i, row) in data.chunks_exact(width).enumerate() {
            for (j, &c) in row.iter().enumerate() {
                let (i, j) = (at.0 + i, at.1 + j);
                // Twice between the takings, and once after the first.
                want[bin(c, bins)] +=
                    if !c.is_nan() && if pairs == Pairs::Ordered { i < j } else { i != j } { 3 } else { 0 };
            }
        }
        let count = |times: usize| {
            run(device, |r| (0..times).for_each(|_| record(r, &tile, at, pairs, &histogram).unwrap()));
        };
        count(2);
        histogram.take_blocking(device, &mut got).unwrap();
        count(1);
        histogram.take_blocking(device, &mut got).unwrap();
        let first = got.iter().zip(&want).position(|(g, w)| g != w);
        assert_eq!(got, want, "{what}: {pairs:?} [{rows}, {width}] {at:?}, {bins} bins, first {first:?}");
    }
}

#[test]
fn shapes_bins_and_variants() {
    let all = gpu().with_capabilities(|c| (c.group, c.lanes, c.subgroup_teams) = (256, 32, false)).unwrap();
    for (name, device) in variants().into_iter().chain([("teams of 32".to_owned(), all)]) {
        for (shape, at) in [((1, 1), (0, 1)), ((7, 3), (5, 3)), ((65, 130), (100, 0)), ((131, 1281), (1000, 1020))] {
            for bins in [2, 3, 64, 2049, 20_001] {
                verify(&device, shape, at, bins, &name);
            }
        }
        verify(&device, (40, 3001), (0, 0), MAX_BINS, &name);
    }
}

/// An edge of each of 20,001 bins and its neighbours.
#[test]
fn every_edge() {
    let bins = 20_001;
    let near = |i: usize| ((i as f64 + 0.5) / 1e4 - 1.0) as f32;
    let around = |c: f32| [c.next_down(), c, c.next_up()];
    let data: Vec<f32> = (0..bins - 1).flat_map(|i| around(near(i))).collect();
    for device in devices() {
        let tile = tensor(&device, &data, data.len());
        let histogram = Histogram::new(&device, bins).unwrap();
        run(&device, |r| record(r, &tile, (0, 1), Pairs::Ordered, &histogram).unwrap());
        let (mut want, mut got) = (vec![0u64; bins], vec![0; bins]);
        data.iter().for_each(|&c| want[bin(c, bins)] += 1);
        histogram.take_blocking(&device, &mut got).unwrap();
        assert_eq!(got, want, "{}", device.name());
    }
}

#[test]
fn operands_that_do_not_fit() {
    for device in devices() {
        for bins in [0, 1, MAX_BINS + 1] {
            assert!(Histogram::new(&device, bins).is_err());
        }
        let (histogram, tile) = (Histogram::new(&device, 8).unwrap(), zeros(&device, 3, 5));
        let mut r = device.recorder();
        for at in [(u32::MAX as usize - 2, 0), (0, u32::MAX as usize - 4), (usize::MAX, 0)] {
            assert!(record(&mut r, &tile, at, Pairs::Ordered, &histogram).unwrap_err().to_string().contains("2^32"));
        }
        let half = Tensor::new(&device, 3, 5, realign::ElementType::F16).unwrap();
        assert!(record(&mut r, &half, (0, 0), Pairs::Ordered, &histogram).unwrap_err().to_string().contains("f32"));
        record(&mut r, &zeros(&Device::host(), 3, 5), (0, 0), Pairs::Ordered, &histogram).unwrap_err();
        assert!(r.commands().is_empty());
        assert!(histogram.take_blocking(&device, &mut [0; 7]).is_err());
    }
}
