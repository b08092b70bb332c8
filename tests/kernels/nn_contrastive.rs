//! Contrastive losses and unit rows against f64 references and finite differences.

use realign::Device;
use realign::device::{Recorder, Tensor};
use realign::host::nn::info_nce::{self as softmax_host, Scaling};
use realign::host::nn::norm::{self, Norm};
use realign::host::nn::pair_sigmoid as sigmoid_host;
use realign::kernels::nn::info_nce::{self, Temperature};
use realign::kernels::nn::{bias, pair_sigmoid, unit_rows};

use crate::common::{devices, gpu};
use crate::nn::{
    check_relative, dot, exp_error, finite_differences, normal, padded, read, read_floats, rubbish, run, tensor, tight,
    wide, zeros,
};
use crate::rows::{check, variants, width_classes};

const SIZES: [usize; 7] = [1, 2, 3, 7, 64, 65, 257];

/// Losses by row, the gradient of their sum by the similarities, and by t and b, straight from the definition.
struct Reference {
    losses: Vec<f64>,
    similarities: Vec<f64>,
    t: f64,
    b: f64,
}

fn info_nce_reference(s: &[f64], n: usize, t: f64) -> Reference {
    let z: Vec<f64> = s.iter().map(|s| t.exp() * s).collect();
    let log_sum = |values: &[f64]| {
        let top = values.iter().fold(f64::MIN, |m, x| m.max(*x));
        top + values.iter().map(|x| (x - top).exp()).sum::<f64>().ln()
    };
    let rows: Vec<f64> = (0..n).map(|i| log_sum(&z[i * n..(i + 1) * n])).collect();
    let columns: Vec<f64> = (0..n).map(|j| log_sum(&(0..n).map(|i| z[i * n + j]).collect::<Vec<_>>())).collect();
    let losses = (0..n).map(|i| 0.5 * (rows[i] + columns[i]) - z[i * n + i]).collect();
    let by_z = |i: usize, j: usize| {
        let own = f64::from(u8::from(i == j));
        0.5 * ((z[i * n + j] - rows[i]).exp() + (z[i * n + j] - columns[j]).exp()) - own
    };
    let all: Vec<f64> = (0..n * n).map(|k| by_z(k / n, k % n)).collect();
    let similarities = all.iter().map(|g| g * t.exp()).collect();
    Reference { losses, similarities, t: dot(&all, &z), b: 0.0 }
}

fn sigmoid_reference(s: &[f64], n: usize, t: f64, b: f64) -> Reference {
    let z: Vec<f64> = s.iter().map(|s| t.exp() * s + b).collect();
    let sign = |k: usize| if k / n == k % n { 1.0 } else { -1.0 };
    let each: Vec<f64> =
        (0..n * n).map(|k| (-(sign(k) * z[k]).abs()).exp().ln_1p() + (-sign(k) * z[k]).max(0.0)).collect();
    let by_z: Vec<f64> = (0..n * n).map(|k| -sign(k) / (1.0 + (sign(k) * z[k]).exp())).collect();
    Reference {
        losses: each.chunks(n).map(|row| row.iter().sum()).collect(),
        similarities: by_z.iter().map(|g| g * t.exp()).collect(),
        t: by_z.iter().zip(&z).map(|(g, z)| g * (z - b)).sum(),
        b: by_z.iter().sum(),
    }
}

/// Similarities of unit rows.
fn similarities(n: usize) -> Vec<f32> {
    normal(n as u64 + 3, n * n).iter().map(|x| (0.3 * x).clamp(-1.0, 1.0)).collect()
}

type Record<'a> = dyn Fn(&mut Recorder, Temperature<'_>, &Tensor, &realign::device::Buffer, &Tensor) + 'a;

/// Runs a loss forward and backward; compares everything.
fn verify(device: &Device, n: usize, (t, b): (f32, f32), want: &Reference, record: &Record<'_>, what: &str) {
    let value = tensor(device, &[t, b], 2);
    let temperature = Temperature { value: &value, most: 5.0 };
    let s = tensor(device, &similarities(n), n);
    let losses = device.buffer("losses", 4 * n as u64).unwrap();
    let (terms, sums) = (rubbish(device, n, 2), zeros(device, 1, 2));
    run(device, |r| {
        record(r, temperature, &s, &losses, &terms);
        bias::backward(r, &terms, &sums, false).unwrap();
    });
    let scale = 0.25;
    // z as it is, rounded; the exponentials; the sums.
    let z = f64::from(t.exp());
    let bound = 8.0 * 6e-8 * (z + f64::from(b.abs())) + exp_error(z.min(20.0)) + n as f64 * 6e-8 + 1e-6;
    // The sigmoid's loss is a sum over the row, each term as uncertain.
    let row = bound * want.losses.iter().fold(1.0f64, |m, l| m.max(l.abs()));
    check(&read_floats(device, &losses)[..n], &want.losses, &vec![row; n], &format!("{what} losses"));
    let got = read(device, &s);
    let scaled: Vec<f64> = want.similarities.iter().map(|g| scale * g).collect();
    check(&got, &scaled, &vec![scale * z * bound; n * n], &format!("{what} gradient"));
    if n > 2 {
        check_relative(&got, &scaled, 2e-5, what);
    }
    let got = read(device, &sums);
    let by_t = n as f64 * bound * (1.0 + z);
    check(&got, &[scale * want.t, scale * want.b], &[scale * by_t; 2], &format!("{what} temperature"));
}

fn info_nce_all(r: &mut Recorder, t: Temperature<'_>, s: &Tensor, losses: &realign::device::Buffer, terms: &Tensor) {
    let device = r.device().clone();
    let n = s.rows();
    let transposed: Vec<f32> = {
        let s = similarities(n);
        (0..n * n).map(|k| s[(k % n) * n + k / n]).collect()
    };
    let (rows, columns) = (rubbish(&device, n, 4), rubbish(&device, n, 4));
    info_nce::softmax(r, t, s, &rows).unwrap();
    info_nce::softmax(r, t, &tensor(&device, &transposed, n), &columns).unwrap();
    info_nce::terms(r, t, (&rows, &columns), 0.25, (losses, terms)).unwrap();
    info_nce::backward(r, t, (&rows, &columns), 0.25, s).unwrap();
}

fn sigmoid_all(r: &mut Recorder, t: Temperature<'_>, s: &Tensor, losses: &realign::device::Buffer, terms: &Tensor) {
    pair_sigmoid::forward(r, t, s, 0.25, (losses, terms)).unwrap();
    pair_sigmoid::backward(r, t, 0.25, s).unwrap();
}

#[test]
fn both_losses_in_all_variants() {
    for (name, device) in variants() {
        for n in SIZES {
            for (t, b) in [(0.0, 0.0), (2.5, -10.0), (4.6, 3.0)] {
                let s = wide(&similarities(n));
                let want = info_nce_reference(&s, n, f64::from(t));
                verify(&device, n, (t, b), &want, &info_nce_all, &format!("{name} InfoNCE {n} {t}"));
                let want = sigmoid_reference(&s, n, f64::from(t), f64::from(b));
                verify(&device, n, (t, b), &want, &sigmoid_all, &format!("{name} sigmoid {n} {t} {b}"));
            }
        }
    }
}

/// Rows that a team holds just so, or just not.
#[test]
fn widths_of_every_team() {
    for (name, device, widths) in width_classes() {
        for d in widths {
            // Rows are as many as columns: the widest take f64 too long.
            if d > 1100 {
                continue;
            }
            let s = wide(&similarities(d));
            let want = info_nce_reference(&s, d, 2.5);
            verify(&device, d, (2.5, -10.0), &want, &info_nce_all, &format!("{name} InfoNCE {d}"));
            let want = sigmoid_reference(&s, d, 2.5, -10.0);
            verify(&device, d, (2.5, -10.0), &want, &sigmoid_all, &format!("{name} sigmoid {d}"));
        }
    }
}

#[test]
fn groups_of_one() {
    // Groups of one invocation, as many as rows.
    let single = gpu().with_capabilities(|c| (c.group, c.lanes, c.subgroup_teams) = (1, 1, false)).unwrap();
    let n = 300;
    let want = info_nce_reference(&wide(&similarities(n)), n, 1.0);
    verify(&single, n, (1.0, 0.0), &want, &info_nce_all, "single");
}

/// Beyond the limit the scale stays, and only gradients that lead back come through.
#[test]
fn the_limit_of_the_temperature() {
    for device in devices() {
        for (similarities, moves) in [([0.9f32, -0.2, 0.1, 0.8], false), ([-0.9, 0.2, 0.1, -0.8], true)] {
            for softmax in [true, false] {
                let value = tensor(&device, &[7.0, 0.0], 2);
                let temperature = Temperature { value: &value, most: 1.0 };
                let (losses, terms) = (device.buffer("losses", 8).unwrap(), zeros(&device, 2, 2));
                let (rows, columns) = (zeros(&device, 2, 4), zeros(&device, 2, 4));
                let s = tensor(&device, &similarities, 2);
                run(&device, |r| {
                    if softmax {
                        info_nce::softmax(r, temperature, &s, &rows).unwrap();
                        info_nce::softmax(r, temperature, &s, &columns).unwrap();
                        info_nce::terms(r, temperature, (&rows, &columns), 1.0, (&losses, &terms)).unwrap();
                    } else {
                        pair_sigmoid::forward(r, temperature, &s, 1.0, (&losses, &terms)).unwrap();
                    }
                });
                let slopes = read(&device, &terms);
                assert_eq!(slopes[0] > 0.0, moves, "{slopes:?}");
                assert!(slopes[0] >= 0.0 && slopes[2] >= 0.0, "{slopes:?}");
                assert!(read_floats(&device, &losses)[0] < 10.0);
            }
        }
    }
}

#[test]
fn gradients_by_finite_differences() {
    let (n, scale) = (5, 0.3);
    let s = wide(&similarities(n));
    // Similarities, then t and b.
    let mut x = s.clone();
    x.extend([1.2, -0.7]);
    let parts = |x: &[f64]| {
        let transposed: Vec<f64> = (0..n * n).map(|k| x[(k % n) * n + k / n]).collect();
        let scaling = Scaling { t: x[n * n], b: x[n * n + 1], most: 4.0 };
        (scaling, padded(&x[..n * n], n), padded(&transposed, n))
    };
    let info_nce = |x: &[f64]| {
        let (scaling, s, transposed) = parts(x);
        let (mut rows, mut columns) = (vec![0.0; 4 * n], vec![0.0; 4 * n]);
        softmax_host::softmax(scaling, &s, &mut rows);
        softmax_host::softmax(scaling, &transposed, &mut columns);
        let (mut losses, mut terms) = (vec![0.0; n], vec![0.0; 4 * n]);
        softmax_host::terms(scaling, (&rows, &columns), scale, (&mut losses, &mut terms));
        let mut gradient = s;
        softmax_host::backward(scaling, (&rows, &columns), scale, &mut gradient);
        let mut gradient = tight(&gradient, n);
        gradient.extend([terms.iter().step_by(4).sum(), 0.0]);
        (scale * losses.iter().sum::<f64>(), gradient)
    };
    finite_differences(&x, &info_nce(&x).1, |x| info_nce(x).0, "InfoNCE");
    let sigmoid = |x: &[f64]| {
        let (scaling, s, _) = parts(x);
        let mut out = vec![0.0; 4 * n];
        sigmoid_host::forward(scaling, &s, scale, &mut out);
        let mut gradient = s;
        sigmoid_host::backward(scaling, n, scale, &mut gradient);
        let mut gradient = tight(&gradient, n);
        let column = |k: usize| out.iter().skip(k).step_by(4).sum::<f64>();
        gradient.extend([column(1), column(2)]);
        (scale * column(0), gradient)
    };
    finite_differences(&x, &sigmoid(&x).1, |x| sigmoid(x).0, "sigmoid loss");
}

#[test]
fn unit_rows_and_their_gradient() {
    for (name, device) in variants() {
        for (n, d) in [(0, 8), (1, 1), (7, 3), (65, 130), (131, 1280)] {
            let (x, dy) = (normal(5, n * d), normal(6, n * d));
            let (tx, tdy) = (tensor(&device, &x, d), tensor(&device, &dy, d));
            let (y, dx) = (rubbish(&device, n, d), rubbish(&device, n, d));
            let weight = unit_rows::weight(&device, d).unwrap();
            run(&device, |r| {
                unit_rows::forward(r, &tx, &weight, &y).unwrap();
                unit_rows::backward(r, &tx, &weight, &tdy, &dx).unwrap();
            });
            let (mut want, mut slope) = (Vec::new(), Vec::new());
            for (x, dy) in wide(&x).chunks_exact(d).zip(wide(&dy).chunks_exact(d)) {
                let norm = dot(x, x).sqrt();
                let y: Vec<f64> = x.iter().map(|x| x / norm).collect();
                let along = dot(&y, dy);
                slope.extend(dy.iter().zip(&y).map(|(g, y)| (g - along * y) / norm));
                want.extend(y);
            }
            check_relative(&read(&device, &y), &want, 1e-6 + d as f64 / 16.0 * 6e-8, &format!("{name} {n} {d}"));
            // In one dimension nothing is left of the gradient but rounding.
            if d > 1 {
                check_relative(
                    &read(&device, &dx),
                    &slope,
                    4e-6 + d as f64 / 8.0 * 6e-8,
                    &format!("{name} {n} {d} gradient"),
                );
            }
        }
        let zero = tensor(&device, &[0.0, 0.0, 0.0, 3.0, 0.0, 4.0], 3);
        let y = rubbish(&device, 2, 3);
        run(&device, |r| unit_rows::forward(r, &zero, &unit_rows::weight(r.device(), 3).unwrap(), &y).unwrap());
        let got = read(&device, &y);
        assert_eq!(got[..3], [0.0; 3], "{name}");
        assert!((got[3] - 0.6).abs() < 1e-6 && (got[5] - 0.8).abs() < 1e-6, "{name} {got:?}");
    }
}

#[test]
fn unit_rows_by_finite_differences() {
    let (n, d) = (3, 5);
    let (x, dy) = (wide(&normal(1, n * d)), wide(&normal(2, n * d)));
    let norm = Norm { width: d, eps: f64::from(unit_rows::EPS), center: false, offset: 0.0 };
    let weight = padded(&[1.0 / (d as f64).sqrt(); 5], d);
    let forward = |x: &[f64]| {
        let mut y = padded(x, d);
        norm::forward(norm, &padded(x, d), &weight, None, &mut y);
        tight(&y, d)
    };
    let mut scalars = vec![0.0; 4 * n];
    let operands = (&padded(&x, d)[..], &weight[..], &padded(&dy, d)[..]);
    norm::scalars(norm, operands, &mut scalars);
    let mut dx = padded(&x, d);
    norm::backward(norm, operands, &scalars, &mut dx, false);
    finite_differences(&x, &tight(&dx, d), |x| dot(&forward(x), &dy), "unit rows");
}

#[test]
fn operands_that_do_not_fit() {
    for device in devices() {
        let value = zeros(&device, 1, 2);
        let t = Temperature { value: &value, most: 4.0 };
        let (s, state, terms) = (zeros(&device, 3, 3), zeros(&device, 3, 4), zeros(&device, 3, 2));
        let losses = device.buffer("losses", 12).unwrap();
        let mut r = device.recorder();
        info_nce::softmax(&mut r, t, &zeros(&device, 3, 4), &state).unwrap_err();
        info_nce::softmax(&mut r, t, &s, &zeros(&device, 2, 4)).unwrap_err();
        info_nce::softmax(&mut r, Temperature { most: 81.0, ..t }, &s, &state).unwrap_err();
        info_nce::softmax(&mut r, Temperature { value: &terms, ..t }, &s, &state).unwrap_err();
        info_nce::terms(&mut r, t, (&state, &zeros(&device, 2, 4)), 1.0, (&losses, &terms)).unwrap_err();
        info_nce::terms(&mut r, t, (&state, &state), f32::NAN, (&losses, &terms)).unwrap_err();
        info_nce::backward(&mut r, t, (&state, &terms), 1.0, &s).unwrap_err();
        pair_sigmoid::forward(&mut r, t, &s, 1.0, (&device.buffer("few", 4).unwrap(), &terms)).unwrap_err();
        pair_sigmoid::backward(&mut r, t, f32::INFINITY, &s).unwrap_err();
        pair_sigmoid::backward(&mut r, t, 1.0, &state).unwrap_err();
        assert!(r.commands().is_empty());
    }
}
