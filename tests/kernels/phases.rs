//! AnisoAlign's kernels on phases: features, noise and score, bounded turns.

use std::f64::consts::TAU;

use realign::device::{Device, Recorder, Tensor};
use realign::host::align::phase_features::{Strided, features};
use realign::host::align::phase_noise::{self as noise_twin, Moves, Phases, negated_score};
use realign::host::align::phase_turn::{self as turn_twin, Turned as TurnedRows};
use realign::kernels::align::phase_features;
use realign::kernels::align::phase_noise::{self, Noise};
use realign::kernels::align::phase_turn::{self, Bounds, Turned};
use realign::{ElementType, Error};

use crate::common::devices;
use crate::nn::{dot, finite_differences, normal, read, rubbish, run, tensor, wide, zeros};
use crate::rows::{U, check, variants};

/// Rows, planes and columns of the tail: empty, one, prime, no multiple of 4, above one workgroup.
const SHAPES: [(usize, usize, usize); 7] =
    [(0, 4, 3), (1, 1, 1), (1, 32, 16), (7, 3, 16), (65, 65, 2), (257, 9, 130), (131, 128, 16)];
const BOUNDS: Bounds<f32> = Bounds { theta: 0.2, rho: 0.1 };
const TAIL: usize = 16;

/// One dispatch of each of the kernels, for the tests of all kernels.
pub fn record_all(device: &Device, r: &mut Recorder) {
    let (rows, planes) = (200, 6);
    let t = |seed, width| tensor(device, &normal(seed, rows * width), width);
    let (points, tail, features, turned) = (t(1, 12), t(2, TAIL), t(3, 34), t(4, 34));
    phase_features::record(r, &points, &tail, &features).unwrap();
    let (normal, drift, score, scales) = (t(5, planes), t(6, 12), t(7, planes), scales(device, &vec![0.3; rows]));
    let noise = Noise { normal: &normal, scales: &scales };
    phase_noise::forward(r, (&drift, 0.1), noise, (&turned, &score)).unwrap();
    let (gradient, of_drift) = (t(8, 34), t(9, 12));
    phase_noise::backward(r, (&turned, &features), (&drift, 0.1), (&gradient, &of_drift)).unwrap();
    let (steps, out, other) = (t(10, 12), t(11, 12), t(12, 12));
    phase_turn::forward(r, BOUNDS, (&steps, &points), &out).unwrap();
    let (features, gradient) = (&features, &gradient);
    let turned = Turned { steps: &steps, features, gradient, lengths: &points, neighbours: &out, weight: 0.5 };
    phase_turn::backward(r, BOUNDS, &turned, &other).unwrap();
}

fn scales(device: &Device, scales: &[f32]) -> realign::device::Buffer {
    device.buffer_from("deviations", bytemuck::cast_slice(scales)).unwrap()
}

/// Phases and logarithms of lengths as features `[n, 3 m + t]`, by angles.
fn features_of(points: &[f64], tail: &[f64], planes: usize) -> Vec<f64> {
    let n = points.len() / (2 * planes);
    let width = tail.len() / n.max(1);
    let row = |i: usize| {
        let pairs: Vec<&[f64]> = points[2 * planes * i..2 * planes * (i + 1)].chunks_exact(2).collect();
        let angles = pairs.iter().flat_map(|p| [p[1].atan2(p[0]).cos(), p[1].atan2(p[0]).sin()]);
        let logs = pairs.iter().map(|p| p[0].hypot(p[1]).ln());
        angles.chain(logs).chain(tail[width * i..width * (i + 1)].iter().copied()).collect::<Vec<_>>()
    };
    (0..n).flat_map(row).collect()
}

#[test]
fn features_in_every_shape() {
    for (name, device) in variants() {
        for (n, planes, width) in SHAPES {
            let (points, tail) = (normal(n as u64 + 1, 2 * n * planes), normal(9, n * width));
            let out =
                if n == 0 { zeros(&device, 0, 3 * planes + width) } else { rubbish(&device, n, 3 * planes + width) };
            let operands = (tensor(&device, &points, 2 * planes), tensor(&device, &tail, width));
            run(&device, |r| phase_features::record(r, &operands.0, &operands.1, &out).unwrap());
            let want = features_of(&wide(&points), &wide(&tail), planes);
            // A square of two products, a root and a division; WGSL allows a logarithm 2^-21 between 0.5 and 2, and 3 ulp beyond.
            let bounds: Vec<f64> = want.iter().map(|w| 10.0 * U + 2f64.powi(-20) + 8.0 * U * w.abs()).collect();
            check(&read(&device, &out), &want, &bounds, &format!("{name} [{n}, {planes}, {width}]"));
        }
    }
}

#[test]
fn points_without_direction_and_without_numbers() {
    for device in devices() {
        let points = tensor(&device, &[0.0, 0.0, f32::NAN, 1.0, 0.0, -2.0], 6);
        let (tail, out) = (tensor(&device, &[7.0], 1), zeros(&device, 1, 10));
        run(&device, |r| phase_features::record(r, &points, &tail, &out).unwrap());
        let got = read(&device, &out);
        assert_eq!(got[..2], [1.0, 0.0]);
        assert!(got[2].is_nan() && got[3].is_nan() && got[7].is_nan(), "{}: {got:?}", device.name());
        assert_eq!((&got[4..6], got[9]), (&[0.0, -1.0][..], 7.0));
        assert!((f64::from(got[6]) - 1e-18f64.ln()).abs() < 1e-4 && (f64::from(got[8]) - 2f64.ln()).abs() < 1e-6);
    }
}

/// A NaN in one plane is one there, and nowhere else.
#[test]
fn what_is_no_number_comes_through() {
    const BAD: f32 = f32::NAN;
    let nans = |x: &[f32]| x.iter().map(|x| x.is_nan()).collect::<Vec<_>>();
    for (name, device) in variants() {
        let t = |x: &[f32], width| tensor(&device, x, width);
        let points = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let bad_turn = [BAD, 0.1, 0.2, 0.1, 0.3, 0.1];
        for (steps, want) in [(bad_turn, [1, 1, 0, 0, 0, 0]), ([0.1, 0.2, 0.3, BAD, 0.0, 0.0], [0, 0, 1, 1, 0, 0])] {
            let out = zeros(&device, 1, 6);
            run(&device, |r| phase_turn::forward(r, BOUNDS, (&t(&steps, 6), &t(&points, 6)), &out).unwrap());
            assert_eq!(nans(&read(&device, &out)), want.map(|x| x == 1), "{name}: {steps:?}");
            let features = t(&[1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.1, 0.2, 0.3], 9);
            let operands = [t(&steps, 6), t(&points, 6), t(&points, 6)];
            let turned = Turned {
                steps: &operands[0],
                features: &features,
                gradient: &features,
                lengths: &operands[1],
                neighbours: &operands[2],
                weight: 0.5,
            };
            run(&device, |r| phase_turn::backward(r, BOUNDS, &turned, &out).unwrap());
            assert_eq!(nans(&read(&device, &out)), nans(&steps), "{name}: {steps:?}");
        }
        let (drift, noise) = (t(&[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 6), t(&[0.1, BAD, 0.3], 3));
        let (features, score) = (t(&[1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.1, 0.2, 0.3], 9), zeros(&device, 1, 3));
        let noise = Noise { normal: &noise, scales: &scales(&device, &[0.3]) };
        run(&device, |r| phase_noise::forward(r, (&drift, 0.1), noise, (&features, &score)).unwrap());
        let moved = [false, false, true, true, false, false, false, false, false];
        assert_eq!(nans(&read(&device, &features)), moved, "{name}");
        assert_eq!(nans(&read(&device, &score)), [false, true, false], "{name}");
    }
}

/// `ln` of the wrapped Gaussian's density up to a constant, by many turns.
fn log_density(delta: f64, scale: f64) -> f64 {
    let terms: Vec<f64> = (-12..=12).map(|n| -((delta + TAU * f64::from(n)) / scale).powi(2) / 2.0).collect();
    let most = terms.iter().copied().fold(f64::MIN, f64::max);
    most + terms.iter().map(|t| (t - most).exp()).sum::<f64>().ln()
}

#[test]
fn the_score_is_the_gradient_of_the_log_density_and_periodic() {
    // Deviations of the levels: from 0.07 to 0.99.
    for scale in [0.07, 0.3, 0.6, 0.99] {
        for i in 0..200 {
            let delta = -9.0 + 0.09 * f64::from(i) + 0.001;
            let slope = (log_density(delta + 1e-6, scale) - log_density(delta - 1e-6, scale)) / 2e-6;
            let score = -negated_score(delta, scale) / scale;
            // Central differences lose u f / h; far from the centre f is large.
            assert!(
                (score - slope).abs() < 1e-6 * (1.0 + slope.abs() + 1.0 / (scale * scale)),
                "{scale} {delta}: {score} {slope}"
            );
            let turned = -negated_score(delta + TAU, scale) / scale;
            assert!((score - turned).abs() < 1e-9 * (1.0 + score.abs()), "{scale} {delta}");
        }
    }
}

/// Turned features and score, by angles.
fn noised(
    features: &[f64],
    drift: &[f64],
    noise: &[f64],
    scales: &[f64],
    shape: (usize, usize, f64),
) -> (Vec<f64>, Vec<f64>) {
    let (planes, width, tau) = shape;
    let (mut turned, mut score) = (features.to_vec(), Vec::new());
    for (i, row) in turned.chunks_exact_mut(width).enumerate() {
        for k in 0..planes {
            let angle = row[2 * k + 1].atan2(row[2 * k]);
            let [p, q] = [0, 1].map(|j| drift[2 * planes * i + 2 * k + j]);
            let moved = scales[i] * noise[planes * i + k];
            let after = angle + moved - tau * (p * angle.sin() - q * angle.cos());
            (row[2 * k], row[2 * k + 1]) = (after.cos(), after.sin());
            let near = moved - TAU * (moved / TAU).round();
            let terms = (-8..=8).map(|n| near + TAU * f64::from(n));
            let weight = |z: f64| ((near * near - z * z) / (2.0 * scales[i] * scales[i])).exp();
            let (sum, all) = terms.fold((0.0, 0.0), |(s, a), z| (s + weight(z) * z, a + weight(z)));
            score.push(sum / (all * scales[i]));
        }
    }
    (turned, score)
}

#[test]
fn noise_in_every_shape() {
    for (name, device) in variants() {
        for (n, planes, width) in SHAPES {
            let points = normal(n as u64 + 2, 2 * n * planes);
            let start = features_of(&wide(&points), &vec![0.5; n * width], planes);
            let start: Vec<f32> = start.iter().map(|&x| x as f32).collect();
            let (drift, noise) = (normal(3, 2 * n * planes), normal(4, n * planes));
            let deviations: Vec<f32> = (0..n).map(|i| 0.07 + 0.9 * (i % 7) as f32 / 6.0).collect();
            let (of, columns) = (3 * planes + width, [&drift[..], &noise]);
            let [drift_on, noise_on] =
                [(columns[0], 2 * planes), (columns[1], planes)].map(|(x, w)| tensor(&device, x, w));
            let (turned, score) = (tensor(&device, &start, of), zeros(&device, n, planes));
            let scales_on = scales(&device, if n == 0 { &[0.0] } else { &deviations });
            let noise_of = Noise { normal: &noise_on, scales: &scales_on };
            run(&device, |r| phase_noise::forward(r, (&drift_on, 0.1), noise_of, (&turned, &score)).unwrap());
            let shape = (planes, of, f64::from(0.1f32));
            let (want, want_score) = noised(&wide(&start), &wide(&drift), &wide(&noise), &wide(&deviations), shape);
            let what = format!("{name} [{n}, {planes}, {width}]");
            // The angle is a sum of terms below 8, its sine and cosine are good to 2e-7, and directions to some roundings.
            check(&read(&device, &turned), &want, &vec![16.0 * U + 4e-7; want.len()], &what);
            // Exponentials are good to (3 + 2 |x|) ulp, and their arguments, some 2 π² / s² at most where they count, to some roundings; the
            // score goes from -π / s to π / s within s² of half a turn, where few numbers lie.
            let bound = |(i, w): (usize, &f64)| {
                let s = f64::from(deviations[i / planes]);
                8.0 * U * w.abs() + 2e-6 / (s * s) + if w.abs() * s > 2.5 { 2e-4 } else { 0.0 }
            };
            let bounds: Vec<f64> = want_score.iter().enumerate().map(bound).collect();
            check(&read(&device, &score), &want_score, &bounds, &what);
        }
    }
}

/// Points `[n, 2 m]` turned and stretched, by angles.
fn turned_points(steps: &[f64], points: &[f64], bounds: (f64, f64)) -> Vec<f64> {
    let pair = |(s, p): (&[f64], &[f64])| {
        let (length, angle) =
            (p[0].hypot(p[1]) * (bounds.1 * s[1].tanh()).exp(), p[1].atan2(p[0]) + bounds.0 * s[0].tanh());
        [length * angle.cos(), length * angle.sin()]
    };
    steps.chunks_exact(2).zip(points.chunks_exact(2)).flat_map(pair).collect()
}

#[test]
fn turns_in_every_shape() {
    for (name, device) in variants() {
        for (n, planes, _) in SHAPES {
            let (steps, points) = (normal(n as u64 + 5, 2 * n * planes), normal(6, 2 * n * planes));
            let steps: Vec<f32> = steps.iter().enumerate().map(|(i, x)| x * [0.02, 1.0, 5.0][i % 3]).collect();
            let [on, from] = [&steps, &points].map(|x| tensor(&device, x, 2 * planes));
            for bounds in [BOUNDS, Bounds { theta: 3.0, rho: 2.0 }] {
                let out = if n == 0 { zeros(&device, 0, 2 * planes) } else { rubbish(&device, n, 2 * planes) };
                run(&device, |r| phase_turn::forward(r, bounds, (&on, &from), &out).unwrap());
                let want =
                    turned_points(&wide(&steps), &wide(&points), (f64::from(bounds.theta), f64::from(bounds.rho)));
                // tanh is good to some ulp of an exponential's (3 + 2 |x|), and what turns to its length.
                let lengths = points.chunks_exact(2).flat_map(|p| [f64::from(p[0]).hypot(f64::from(p[1])); 2]);
                let allowed = 2e-6 * f64::from(bounds.theta + bounds.rho + 1.0) * f64::from(bounds.rho.exp());
                let allowed: Vec<f64> = lengths.map(|length| allowed * length).collect();
                check(&read(&device, &out), &want, &allowed, &format!("{name} [{n}, {planes}]"));
            }
        }
    }
}

/// Without steps, and without bounds, nothing moves: to the bit, as an initialisation must stay one.
#[test]
fn nothing_moves_without_a_step_or_a_bound() {
    let (steps, points) = (normal(1, 300), normal(2, 300));
    let still = Bounds { theta: 0.0, rho: 0.0 };
    for (name, device) in variants() {
        for (bounds, steps) in [(BOUNDS, &vec![0.0; 300]), (still, &steps)] {
            let [on, from] = [steps, &points].map(|x| tensor(&device, x, 30));
            let out = zeros(&device, 10, 30);
            run(&device, |r| phase_turn::forward(r, bounds, (&on, &from), &out).unwrap());
            assert_eq!(read(&device, &out), points, "{name}");
        }
    }
    let (steps, points, mut out) = (wide(&steps), wide(&points), vec![1.0; 300]);
    let operands = (Strided::new(&steps[..], 30), Strided::new(&points[..], 30));
    turn_twin::forward(Bounds { theta: 0.0, rho: 0.0 }, operands, 15, (&mut out, 30));
    assert_eq!(out, points);
}

/// `‖c' - c‖ <= κ ‖c‖` [A.7], which some come near.
#[test]
fn points_stay_within_the_bound() {
    let (theta, rho) = (0.7f64, 0.4f64);
    let kappa = ((rho.exp() - 1.0).powi(2) + 4.0 * rho.exp() * (theta / 2.0).sin().powi(2)).sqrt();
    let (steps, points) = (wide(&normal(3, 4000)), wide(&normal(4, 4000)));
    let steps: Vec<f64> = steps.iter().map(|x| 4.0 * x).collect();
    let mut out = vec![0.0; 4000];
    let operands = (Strided::new(&steps[..], 4), Strided::new(&points[..], 4));
    turn_twin::forward(Bounds { theta, rho }, operands, 2, (&mut out, 4));
    let norm = |row: &[f64]| dot(row, row).sqrt();
    let moved = out
        .chunks_exact(4)
        .zip(points.chunks_exact(4))
        .map(|(a, b)| norm(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>()) / norm(b));
    let most = moved.fold(0.0, f64::max);
    assert!(most <= kappa * (1.0 + 1e-12) && most > 0.95 * kappa, "{most} {kappa}");
}

const PLANES: usize = 3;
const ROWS: usize = 4;
const WIDTH: usize = 3 * PLANES + 2;

/// A gradient of the noised features through the noise, in f64: features by phases, the drift's parts by numbers.
#[test]
fn the_noise_s_gradient_is_that_of_finite_differences() {
    let n = ROWS * PLANES;
    let (phases, parts, noise) = (wide(&normal(1, n)), wide(&normal(2, 2 * n)), wide(&normal(3, n)));
    let (weights, deviations) = (wide(&normal(4, ROWS * WIDTH)), vec![0.2, 0.4, 0.6, 0.9]);
    let tau = 0.3;
    let features = |phases: &[f64]| -> Vec<f64> {
        let row = |row: &[f64]| {
            let mut out: Vec<f64> = row.iter().flat_map(|x| [x.cos(), x.sin()]).collect();
            out.resize(WIDTH, 0.5);
            out
        };
        phases.chunks_exact(PLANES).flat_map(row).collect()
    };
    let moves = |parts: &[f64], features: &mut [f64]| {
        let moves = Moves {
            drift: Strided::new(parts, 2 * PLANES),
            noise: Strided::new(&noise[..], PLANES),
            scales: &deviations,
            tau,
        };
        noise_twin::forward(&moves, PLANES, (features, WIDTH), (&mut vec![0.0; n], PLANES));
    };
    let loss = |phases: &[f64], parts: &[f64]| {
        let mut rows = features(phases);
        moves(parts, &mut rows);
        dot(&rows, &weights)
    };
    let (before, mut turned) = (features(&phases), features(&phases));
    moves(&parts, &mut turned);
    let (mut gradient, mut of_parts) = (weights.clone(), vec![0.0; 2 * n]);
    let all = Phases {
        turned: Strided::new(&turned[..], WIDTH),
        features: Strided::new(&before[..], WIDTH),
        drift: Strided::new(&parts[..], 2 * PLANES),
        tau,
    };
    noise_twin::backward(&all, PLANES, (&mut gradient, WIDTH), (&mut of_parts, 2 * PLANES));
    // Features lie on the circle: the gradient of a phase is what points along it.
    let of_phases: Vec<f64> = (0..n)
        .map(|i| {
            let at = i / PLANES * WIDTH + 2 * (i % PLANES);
            before[at] * gradient[at + 1] - before[at + 1] * gradient[at]
        })
        .collect();
    finite_differences(&phases, &of_phases, |x| loss(x, &parts), "phases");
    finite_differences(&parts, &of_parts, |x| loss(&phases, x), "parts of the drift");
    let rest = |row: &[f64]| row[2 * PLANES..].to_vec();
    let rests = gradient.chunks_exact(WIDTH).zip(weights.chunks_exact(WIDTH));
    assert!(rests.map(|(a, b)| (rest(a), rest(b))).all(|(a, b)| a == b));
}

/// A gradient of the turned points' features, and of differences of neighbours' phases, in f64.
#[test]
fn the_turn_s_gradient_is_that_of_finite_differences() {
    let n = 2 * ROWS * PLANES;
    let (steps, points) = (wide(&normal(5, n)), wide(&normal(6, n)));
    let weights = wide(&normal(7, ROWS * WIDTH));
    let (bounds, weight) = (Bounds { theta: 0.9, rho: 0.6 }, 0.7);
    let pairs = [(0, 1), (1, 2)];
    let tail = [0.25; 2 * ROWS];
    let lengths: Vec<f64> = points.chunks_exact(2).flat_map(|p| [p[0].hypot(p[1]), 0.0]).collect();
    let turn = |bounds, steps: &[f64], points: &[f64]| {
        let mut out = vec![0.0; n];
        let operands = (Strided::new(steps, 2 * PLANES), Strided::new(points, 2 * PLANES));
        turn_twin::forward(bounds, operands, PLANES, (&mut out, 2 * PLANES));
        out
    };
    let seen = |steps: &[f64]| {
        let (points, mut out) = (turn(bounds, steps, &points), vec![0.0; ROWS * WIDTH]);
        features((Strided::new(&points[..], 2 * PLANES), Strided::new(&tail[..], 2)), (PLANES, 2), &mut out, WIDTH);
        out
    };
    let loss = |steps: &[f64]| {
        let angle = |i: usize| bounds.theta * steps[2 * i].tanh();
        let pair = |row: usize, (k, l): (usize, usize)| {
            let (k, l) = (row * PLANES + k, row * PLANES + l);
            lengths[2 * k] * lengths[2 * l] * (1.0 - (angle(k) - angle(l)).cos())
        };
        let differences: f64 = (0..ROWS).flat_map(|row| pairs.map(|p| pair(row, p))).sum();
        dot(&seen(steps), &weights) + weight * differences
    };
    let features = seen(&steps);
    let lengths_turned = turn(Bounds { rho: 0.0, ..bounds }, &steps, &lengths);
    let mut neighbours = vec![0.0; n];
    for (row, out) in lengths_turned.chunks_exact(2 * PLANES).zip(neighbours.chunks_exact_mut(2 * PLANES)) {
        for (k, l) in pairs {
            for j in 0..2 {
                out[2 * k + j] += row[2 * l + j];
                out[2 * l + j] += row[2 * k + j];
            }
        }
    }
    let turned = TurnedRows {
        steps: Strided::new(&steps[..], 2 * PLANES),
        features: Strided::new(&features[..], WIDTH),
        gradient: Strided::new(&weights[..], WIDTH),
        lengths: Strided::new(&lengths_turned[..], 2 * PLANES),
        neighbours: Strided::new(&neighbours[..], 2 * PLANES),
        weight,
    };
    let mut gradient = vec![0.0; n];
    turn_twin::backward(bounds, &turned, PLANES, (&mut gradient, 2 * PLANES));
    finite_differences(&steps, &gradient, loss, "steps");
}

/// Both backward passes on every device against the twins in f64, which are held by finite differences.
#[test]
fn gradients_in_every_shape() {
    for (name, device) in variants() {
        for (n, planes, width) in SHAPES {
            let of = 3 * planes + width;
            let numbers = |seed, width: usize| normal(seed + n as u64, n * width);
            let [turned, before, gradient] = [1, 2, 3].map(|seed| numbers(seed, of));
            let [drift, steps, lengths, neighbours] = [4, 5, 6, 7].map(|seed| numbers(seed, 2 * planes));
            let t = |x: &[f32], width| tensor(&device, x, width);
            let (gradient_on, of_drift, out) =
                (t(&gradient, of), zeros(&device, n, 2 * planes), zeros(&device, n, 2 * planes));
            let (turned_on, before_on, drift_on) = (t(&turned, of), t(&before, of), t(&drift, 2 * planes));
            let [steps_on, lengths_on, neighbours_on] = [&steps, &lengths, &neighbours].map(|x| t(x, 2 * planes));
            run(&device, |r| {
                let given = Turned {
                    steps: &steps_on,
                    features: &before_on,
                    gradient: &gradient_on,
                    lengths: &lengths_on,
                    neighbours: &neighbours_on,
                    weight: 0.5,
                };
                phase_turn::backward(r, BOUNDS, &given, &out).unwrap();
                phase_noise::backward(r, (&turned_on, &before_on), (&drift_on, 0.1), (&gradient_on, &of_drift))
                    .unwrap();
            });
            let [turned, before, mut gradient] = [&turned, &before, &gradient].map(|x| wide(x));
            let [drift, steps, lengths, neighbours] = [&drift, &steps, &lengths, &neighbours].map(|x| wide(x));
            let (mut want_out, mut want_drift) = (vec![0.0; 2 * n * planes], vec![0.0; 2 * n * planes]);
            let given = TurnedRows {
                steps: Strided::new(&steps[..], 2 * planes),
                features: Strided::new(&before[..], of),
                gradient: Strided::new(&gradient[..], of),
                lengths: Strided::new(&lengths[..], 2 * planes),
                neighbours: Strided::new(&neighbours[..], 2 * planes),
                weight: 0.5,
            };
            let bounds = Bounds { theta: f64::from(BOUNDS.theta), rho: f64::from(BOUNDS.rho) };
            turn_twin::backward(bounds, &given, planes, (&mut want_out, 2 * planes));
            let given = Phases {
                turned: Strided::new(&turned[..], of),
                features: Strided::new(&before[..], of),
                drift: Strided::new(&drift[..], 2 * planes),
                tau: f64::from(0.1f32),
            };
            noise_twin::backward(&given, planes, (&mut gradient, of), (&mut want_drift, 2 * planes));
            let what = format!("{name} [{n}, {planes}, {width}]");
            // Sums of two to four products of numbers below 6, multiplied by one or two more; 1 - tanh² is good to an exponential's error.
            let bounds = |want: &[f64]| vec![6f64.powi(4) * 8.0 * U; want.len()];
            check(&read(&device, &out), &want_out, &bounds(&want_out), &what);
            check(&read(&device, &of_drift), &want_drift, &bounds(&want_drift), &what);
            check(&read(&device, &gradient_on), &gradient, &bounds(&gradient), &what);
        }
    }
}

#[test]
fn operands_that_do_not_fit() {
    for device in devices() {
        let mut r = device.recorder();
        let z = |width| zeros(&device, 4, width);
        let stranger = zeros(&Device::host(), 4, 6);
        let half = Tensor::new(&device, 4, 6, ElementType::F16).unwrap();
        let shape = |result: realign::Result<()>| assert!(matches!(result, Err(Error::Shape { .. })), "{result:?}");
        for points in [&z(5), &stranger, &half, &zeros(&device, 3, 6)] {
            shape(phase_features::record(&mut r, points, &z(2), &z(11)));
        }
        shape(phase_features::record(&mut r, &z(6), &z(2), &z(12)));
        let tail = z(2);
        shape(phase_features::record(&mut r, &z(6), &tail, &tail));
        let (few, enough, normal) = (scales(&device, &[0.1; 3]), scales(&device, &[0.1; 4]), z(3));
        let noise = Noise { normal: &normal, scales: &enough };
        shape(phase_noise::forward(&mut r, (&z(6), 0.1), Noise { scales: &few, ..noise }, (&z(11), &z(3))));
        shape(phase_noise::forward(&mut r, (&z(6), 0.1), noise, (&z(8), &z(3))));
        shape(phase_noise::forward(&mut r, (&z(5), 0.1), noise, (&z(11), &z(3))));
        shape(phase_noise::forward(&mut r, (&z(6), 0.1), noise, (&z(11), &normal)));
        assert!(phase_noise::forward(&mut r, (&z(6), f32::NAN), noise, (&z(11), &z(3))).is_err());
        shape(phase_noise::backward(&mut r, (&z(11), &z(11)), (&z(6), 0.1), (&z(11), &z(8))));
        shape(phase_noise::backward(&mut r, (&z(12), &z(11)), (&z(6), 0.1), (&z(11), &z(6))));
        shape(phase_turn::forward(&mut r, BOUNDS, (&z(6), &z(8)), &z(6)));
        shape(phase_turn::forward(&mut r, BOUNDS, (&z(5), &z(5)), &z(5)));
        let steps = z(6);
        shape(phase_turn::forward(&mut r, BOUNDS, (&steps, &z(6)), &steps));
        for bounds in
            [Bounds { theta: -0.1, ..BOUNDS }, Bounds { rho: f32::NAN, ..BOUNDS }, Bounds { theta: 5.0, ..BOUNDS }]
        {
            assert!(matches!(phase_turn::forward(&mut r, bounds, (&z(6), &z(6)), &z(6)), Err(Error::Argument { .. })));
        }
        let (features, gradient, lengths, neighbours) = (z(11), z(11), z(6), z(6));
        let all = Turned {
            steps: &steps,
            features: &features,
            gradient: &gradient,
            lengths: &lengths,
            neighbours: &neighbours,
            weight: 1.0,
        };
        shape(phase_turn::backward(&mut r, BOUNDS, &Turned { features: &z(8), ..all }, &z(6)));
        shape(phase_turn::backward(&mut r, BOUNDS, &Turned { lengths: &z(8), ..all }, &z(6)));
        shape(phase_turn::backward(&mut r, BOUNDS, &all, &lengths));
        assert!(phase_turn::backward(&mut r, BOUNDS, &Turned { weight: f32::INFINITY, ..all }, &z(6)).is_err());
        assert!(r.commands().is_empty());
    }
}
