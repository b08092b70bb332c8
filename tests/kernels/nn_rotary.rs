//! Rotary embedding against rotate_half in f64, at positions up to a million.

use realign::ElementType::{F16, F32};
use realign::device::{Device, Tensor};
use realign::host::nn::rotary::{self as host, Rotation};
use realign::kernels::nn::elementwise;
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

/// The first elements of heads of a width, twice as many as there are frequencies, turned; times `amplitude`.
fn reference(
    x: &[f64],
    (positions, heads, width): (&[u32], usize, usize),
    inverse: &[f64],
    (sign, amplitude): (f64, f64),
) -> Vec<f64> {
    let half = inverse.len();
    let mut out = x.to_vec();
    for (i, &p) in positions.iter().enumerate() {
        for h in 0..heads {
            let at = (i * heads + h) * width;
            for j in 0..half {
                let angle = sign * f64::from(p) * inverse[j];
                let (a, b) = (x[at + j], x[at + j + half]);
                out[at + j] = amplitude * (a * angle.cos() - b * angle.sin());
                out[at + j + half] = amplitude * (b * angle.cos() + a * angle.sin());
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
    check_relative(
        &read(device, &x),
        &reference(&wide(&data), (&positions, heads, width), &inverse, (1.0, 1.0)),
        3e-7,
        &what,
    );
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
    let rotation = Rotation { frequencies: &iterations, head_width: 16, amplitude: 1.0 };
    let (x, c) = (wide(&normal(1, 3 * 32)), wide(&normal(2, 3 * 32)));
    let positions = [0, 5, 4_000_000_000];
    let forward = |x: &[f64]| {
        let mut y = x.to_vec();
        host::rotate(rotation, &positions, (2, false), &mut y, 32);
        y
    };
    // Up to 4e9 iterations: the reference's angle is that much coarser.
    for (got, want) in forward(&x).iter().zip(reference(&x, (&positions, 2, 16), &inverse, (1.0, 1.0))) {
        assert!((got - want).abs() < 1e-5, "{got} for {want}");
    }
    for (got, want) in
        forward(&x)[..64].iter().zip(&reference(&x[..64], (&positions[..2], 2, 16), &inverse, (1.0, 1.0)))
    {
        assert!((got - want).abs() < 1e-14, "{got} for {want}");
    }
    let mut gradient = c.clone();
    host::rotate(rotation, &positions, (2, true), &mut gradient, 32);
    finite_differences(&x, &gradient, |x| dot(&forward(x), &c), "rotary");
}

/// Heads and parts of them that are whole vectors and others, in f32 and f16; frequencies of less than a radian and more than a turn.
#[test]
fn parts_of_heads_and_amplitudes() {
    for device in devices() {
        for (n, heads, width, turning) in [
            (0, 1, 6, 1),
            (17, 3, 2, 1),
            (33, 3, 6, 3),
            (5, 1, 6, 2),
            (67, 2, 8, 3),
            (40, 3, 20, 10),
            (70, 2, 100, 50),
            (65, 3, 128, 48),
            (9, 4, 96, 16),
            (3, 5, 256, 128),
            (11, 3, 10, 4),
        ] {
            let frequencies: Vec<f64> = (0..turning).map(|j| 7.3 * 0.61f64.powi(j)).collect();
            let positions: Vec<u32> = (0..n as u32).map(|i| i * 7919 % 1_000_003).collect();
            let at = words(&device, &positions);
            let data = normal(n as u64, n * heads * width);
            for (half, bound) in [(false, 3e-7), (true, 6e-4)] {
                let x = tensor(&device, &data, heads * width);
                let y = Tensor::new(&device, n, heads * width, if half { F16 } else { F32 }).unwrap();
                run(&device, |r| elementwise::cast(r, &x, &y).unwrap());
                let before = wide(&y.to_f32_blocking(&device).unwrap());
                for inverse in [false, true] {
                    run(&device, |r| elementwise::cast(r, &x, &y).unwrap());
                    let table = Frequencies::of(&device, width, &frequencies, 1.25).unwrap();
                    run(&device, |r| rotary::record(r, &table, &at, heads, &y, inverse).unwrap());
                    let sign = if inverse { -1.0 } else { 1.0 };
                    let want = reference(&before, (&positions, heads, width), &frequencies, (sign, 1.25));
                    let got = y.to_f32_blocking(&device).unwrap();
                    let what = format!("{} {n} {heads} {width} {turning} {half} {inverse}", device.name());
                    check_relative(&got, &want, bound, &what);
                    // What does not turn keeps its bits.
                    let rest = |x: &[f64]| -> Vec<u64> {
                        let heads = x.chunks(width);
                        heads.flat_map(|head| head[2 * turning as usize..].iter().map(|x| x.to_bits())).collect()
                    };
                    assert_eq!(rest(&wide(&got)), rest(&before), "{what}");
                }
            }
        }
    }
}

/// Of a part of a head, with an amplitude.
#[test]
fn the_gradient_of_a_part() {
    let iterations = [1u64 << 61, 3 << 55, 7 << 40];
    let rotation = Rotation { frequencies: &iterations, head_width: 10, amplitude: 1.3 };
    let (x, c) = (wide(&normal(1, 3 * 20)), wide(&normal(2, 3 * 20)));
    let turned = |x: &[f64], inverse: bool| {
        let mut y = x.to_vec();
        host::rotate(rotation, &[0, 5, 77], (2, inverse), &mut y, 20);
        y
    };
    finite_differences(&x, &turned(&c, true), |x| dot(&turned(x, false), &c), "rotary of a part");
}

#[test]
fn arguments_outside_their_domain() {
    for device in devices() {
        for (width, theta) in [(0, 1e4), (13, 1e4), (16, 1.0), (16, f64::NAN)] {
            Frequencies::new(&device, width, theta, None).unwrap_err();
        }
        let upside_down = Llama3Scaling { low_freq_factor: 5.0, ..LLAMA3 };
        Frequencies::new(&device, 16, 1e4, Some(upside_down)).unwrap_err();
        let wrong: [(usize, &[f64], f64); 9] = [
            (0, &[1.0], 1.0),
            (7, &[1.0], 1.0),
            (8, &[], 1.0),
            (8, &[1.0; 5], 1.0),
            (8, &[f64::NAN], 1.0),
            (8, &[-0.5], 1.0),
            (8, &[f64::INFINITY], 1.0),
            (8, &[1.0], 0.0),
            (8, &[1.0], f64::NAN),
        ];
        for (width, frequencies, amplitude) in wrong {
            Frequencies::of(&device, width, frequencies, amplitude).unwrap_err();
        }
        let table = Frequencies::new(&device, 16, 1e4, None).unwrap();
        let mut r = device.recorder();
        rotary::record(&mut r, &table, &words(&device, &[0; 3]), 3, &zeros(&device, 3, 32), false).unwrap_err();
        rotary::record(&mut r, &table, &words(&device, &[0; 2]), 2, &zeros(&device, 3, 32), false).unwrap_err();
        assert!(r.commands().is_empty());
    }
}
