//! Rotary embedding against rotate_half in f64, at positions up to a million.

use realign::device::Device;
use realign::host::nn::rotary as host;
use realign::kernels::nn::rotary::{self, Frequencies, Llama3Scaling};

use crate::common::devices;
use crate::nn::{check_relative, dot, finite_differences, normal, read, run, tensor, wide, words, zeros};

const LLAMA3: Llama3Scaling = Llama3Scaling {
    factor: 8.0,
    low_freq_factor: 1.0,
    high_freq_factor: 4.0,
    original_max_position_embeddings: 8192.0,
};

/// Hugging Face's inverse frequencies, written from its definition.
fn frequencies(width: usize, theta: f64, scaling: Option<Llama3Scaling>) -> Vec<f64> {
    let plain = (0..width / 2).map(|j| 1.0 / theta.powf((2 * j) as f64 / width as f64));
    let Some(s) = scaling else { return plain.collect() };
    plain
        .map(|f| {
            let length = std::f64::consts::TAU / f;
            let (low, high) = (
                s.original_max_position_embeddings / s.low_freq_factor,
                s.original_max_position_embeddings / s.high_freq_factor,
            );
            if length > low {
                f / s.factor
            } else if length < high {
                f
            } else {
                let smooth = (s.original_max_position_embeddings / length - s.low_freq_factor)
                    / (s.high_freq_factor - s.low_freq_factor);
                (1.0 - smooth) * f / s.factor + smooth * f
            }
        })
        .collect()
}

fn reference(x: &[f64], positions: &[u32], heads: usize, inverse: &[f64], sign: f64) -> Vec<f64> {
    let half = inverse.len();
    let mut out = x.to_vec();
    for (i, &p) in positions.iter().enumerate() {
        for h in 0..heads {
            let at = (i * heads + h) * 2 * half;
            for j in 0..half {
                let angle = sign * f64::from(p) * inverse[j];
                let (a, b) = (x[at + j], x[at + j + half]);
                out[at + j] = a * angle.cos() - b * angle.sin();
                out[at + j + half] = b * angle.cos() + a * angle.sin();
            }
        }
    }
    out
}

fn verify(device: &Device, n: usize, heads: usize, width: usize, scaling: Option<Llama3Scaling>) {
    let positions: Vec<u32> = (0..n as u32).map(|i| if i % 3 == 0 { i } else { i * 7919 % 1_000_003 }).collect();
    let (data, inverse) = (normal(n as u64, n * heads * width), frequencies(width, 500_000.0, scaling));
    let table = Frequencies::new(device, width, 500_000.0, scaling).unwrap();
    let (x, at) = (tensor(device, &data, heads * width), words(device, &positions));
    run(device, |r| rotary::record(r, &table, &at, heads, &x, false).unwrap());
    let what = format!("{} {n} {heads} {width}", device.name());
    check_relative(&read(device, &x), &reference(&wide(&data), &positions, heads, &inverse, 1.0), 3e-7, &what);
    run(device, |r| rotary::record(r, &table, &at, heads, &x, true).unwrap());
    check_relative(&read(device, &x), &wide(&data), 5e-7, &format!("{what} and back"));
}

#[test]
fn shapes_and_scalings() {
    for device in devices() {
        for (n, heads, width) in [(0, 2, 16), (1, 1, 8), (17, 4, 16), (130, 3, 64), (257, 2, 128)] {
            verify(&device, n, heads, width, None);
            verify(&device, n, heads, width, Some(LLAMA3));
        }
    }
}

#[test]
fn f64_and_its_gradient() {
    let inverse = frequencies(16, 10_000.0, Some(LLAMA3));
    let iterations: Vec<u64> = inverse.iter().map(|f| (f / std::f64::consts::TAU * 2f64.powi(64)) as u64).collect();
    let (x, c) = (wide(&normal(1, 3 * 32)), wide(&normal(2, 3 * 32)));
    let positions = [0, 5, 4_000_000_000];
    let forward = |x: &[f64]| {
        let mut y = x.to_vec();
        host::rotate(&iterations, &positions, (2, false), &mut y, 32);
        y
    };
    // Up to 4e9 iterations: the reference's angle is that much coarser.
    for (got, want) in forward(&x).iter().zip(reference(&x, &positions, 2, &inverse, 1.0)) {
        assert!((got - want).abs() < 1e-5, "{got} for {want}");
    }
    for (got, want) in forward(&x)[..64].iter().zip(&reference(&x[..64], &positions[..2], 2, &inverse, 1.0)) {
        assert!((got - want).abs() < 1e-14, "{got} for {want}");
    }
    let mut gradient = c.clone();
    host::rotate(&iterations, &positions, (2, true), &mut gradient, 32);
    finite_differences(&x, &gradient, |x| dot(&forward(x), &c), "rotary");
}

#[test]
fn arguments_outside_their_domain() {
    for device in devices() {
        for (width, theta) in [(0, 1e4), (12, 1e4), (16, 1.0), (16, f64::NAN)] {
            Frequencies::new(&device, width, theta, None).unwrap_err();
        }
        let upside_down = Llama3Scaling { low_freq_factor: 5.0, ..LLAMA3 };
        Frequencies::new(&device, 16, 1e4, Some(upside_down)).unwrap_err();
        let table = Frequencies::new(&device, 16, 1e4, None).unwrap();
        let mut r = device.recorder();
        rotary::record(&mut r, &table, &words(&device, &[0; 3]), 3, &zeros(&device, 3, 32), false).unwrap_err();
        rotary::record(&mut r, &table, &words(&device, &[0; 2]), 2, &zeros(&device, 3, 32), false).unwrap_err();
        assert!(r.commands().is_empty());
    }
}
