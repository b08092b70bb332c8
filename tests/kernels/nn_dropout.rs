//! Dropout against a generator written from its paper, element by element.

use realign::device::{Device, Tensor};
use realign::kernels::nn::dropout::{self, Mask};

use crate::common::devices;
use crate::nn::{SHAPES, normal, read, rubbish, run, tensor, words, zeros};

/// Philox 4x32-10 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011), in 64-bit integers.
fn philox(mut counter: [u64; 4], mut key: [u64; 2]) -> [u64; 4] {
    const LOW: u64 = 0xffff_ffff;
    for _ in 0..10 {
        let (a, b) = (0xD251_1F53 * counter[0], 0xCD9E_8D57 * counter[2]);
        counter = [(b >> 32) ^ counter[1] ^ key[0], b & LOW, (a >> 32) ^ counter[3] ^ key[1], a & LOW];
        key = [(key[0] + 0x9E37_79B9) & LOW, (key[1] + 0xBB67_AE85) & LOW];
    }
    counter
}

/// Whether an element stays.
fn stays((sample, position, column): (u32, u32, usize), module: u32, key: [u32; 2], probability: f64) -> bool {
    let counter = [(column / 4) as u64, u64::from(sample), u64::from(position), u64::from(module)];
    let word = philox(counter, key.map(u64::from))[column % 4];
    word as f64 >= (probability * 4_294_967_296.0).floor()
}

fn places(n: usize) -> (Vec<u32>, Vec<u32>) {
    ((0..n as u32).map(|i| i % 7).collect(), (0..n as u32).map(|i| i / 7 + 3).collect())
}

#[test]
fn the_generator_gives_the_published_numbers() {
    assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
}

#[test]
fn dropout_of_all_shapes() {
    let (key, module) = ([0x1234_5678, 0x9abc_def0], 5);
    for device in devices() {
        for (n, d) in SHAPES {
            let (positions, samples) = places(n);
            let (at, of) = (words(&device, &positions), words(&device, &samples));
            for (probability, accumulate, factor) in [(0.25f32, false, 1.5f32), (0.6, true, 0.5), (0.0, false, 1.0)] {
                let (x, before) = (normal(n as u64, n * d), normal(7, n * d));
                let tx = tensor(&device, &x, d);
                let y = if accumulate { tensor(&device, &before, d) } else { rubbish(&device, n, d) };
                let mask = Mask { positions: &at, samples: &of, module, key, probability };
                run(&device, |r| dropout::record(r, mask, factor, &tx, (&y, accumulate)).unwrap());
                let got = read(&device, &y);
                for (i, got) in got.iter().enumerate() {
                    let (row, column) = (i / d, i % d);
                    let stays = stays((samples[row], positions[row], column), module, key, probability.into());
                    let kept = if stays { f64::from(factor) * f64::from(x[i]) } else { 0.0 };
                    let want = kept + if accumulate { f64::from(before[i]) } else { 0.0 };
                    // Powers of two but for 1.5, whose product is rounded once, and the sum.
                    let bound = f64::from(f32::EPSILON) * (kept.abs() + want.abs());
                    let what = format!("{} [{n}, {d}] {probability} at {i}", device.name());
                    assert!((f64::from(*got) - want).abs() <= bound, "{what}: {got} for {want}");
                }
            }
        }
    }
}

/// What stays hangs on sample, position, module and key, not on the row; of all elements the share that was asked for.
#[test]
fn masks_follow_their_samples() {
    let (n, d, probability) = (64, 256, 0.3f32);
    for device in devices() {
        let left = |(positions, samples): (&[u32], &[u32]), module, key| {
            let (at, of) = (words(&device, positions), words(&device, samples));
            let (x, y) = (tensor(&device, &vec![1.0; positions.len() * d], d), zeros(&device, positions.len(), d));
            let mask = Mask { positions: &at, samples: &of, module, key, probability };
            run(&device, |r| dropout::record(r, mask, 1.0, &x, (&y, false)).unwrap());
            read(&device, &y)
        };
        let (positions, samples) = places(n);
        let all = left((&positions, &samples), 1, [1, 2]);
        let (first, last) = (all[..d].to_vec(), all[(n - 1) * d..].to_vec());
        let turned = left((&[positions[n - 1], positions[0]], &[samples[n - 1], samples[0]]), 1, [1, 2]);
        assert_eq!(turned, [last, first].concat(), "{}", device.name());
        let kept = f64::from(all.iter().sum::<f32>()) / (n * d) as f64;
        // Five standard errors.
        let bound = 5.0 * (0.3 * 0.7 / (n * d) as f64).sqrt();
        assert!((kept - 0.7).abs() < bound, "{}: {kept}", device.name());
        for other in [left((&positions, &samples), 2, [1, 2]), left((&positions, &samples), 1, [1, 3])] {
            let same = all.iter().zip(&other).filter(|(a, b)| a == b).count() as f64 / (n * d) as f64;
            // Of independent masks 0.7² + 0.3².
            assert!((same - 0.58).abs() < 5.0 * (0.58 * 0.42 / (n * d) as f64).sqrt(), "{}: {same}", device.name());
        }
    }
}

#[test]
fn wrong_arguments_are_refused() {
    for device in devices() {
        let (x, y, at) = (zeros(&device, 3, 8), zeros(&device, 3, 8), words(&device, &[0; 3]));
        let mask = Mask { positions: &at, samples: &at, module: 0, key: [0; 2], probability: 0.5 };
        let wrong = |mask: Mask<'_>, factor, x: &Tensor, y: &Tensor| {
            let mut recorder = Device::recorder(&device);
            dropout::record(&mut recorder, mask, factor, x, (y, false)).unwrap_err().to_string()
        };
        for probability in [-0.1, 1.0, f32::NAN] {
            assert!(wrong(Mask { probability, ..mask }, 1.0, &x, &y).contains("dropout"));
        }
        assert!(wrong(mask, f32::INFINITY, &x, &y).contains("finite"));
        assert!(wrong(mask, 1.0, &zeros(&device, 3, 7), &y).contains("x"));
        let few = words(&device, &[0; 2]);
        assert!(wrong(Mask { samples: &few, ..mask }, 1.0, &x, &y).contains("samples"));
        wrong(mask, 1.0, &x, &x);
    }
}
