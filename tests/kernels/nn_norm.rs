//! RMSNorm and LayerNorm, forward and backward, in every shape of kernel.

use realign::device::{Device, Tensor};
use realign::host::nn::norm::{self as host, Norm};
use realign::kernels::nn::{layer_norm, rms_norm};

use crate::common::{devices, gpu};
use crate::nn::{
    SHAPES, check_relative, dot, finite_differences, normal, padded, read, rubbish, run, tensor, tight, wide, zeros,
};
use crate::rows::{variants, width_classes};

const EPS: f32 = 1e-5;

/// Everything in f64 from the definition: y, dx, dweight, dbias.
struct Reference {
    y: Vec<f64>,
    dx: Vec<f64>,
    dweight: Vec<f64>,
    dbias: Vec<f64>,
}

fn reference(center: bool, x: &[f64], weight: &[f64], bias: &[f64], dy: &[f64]) -> Reference {
    let d = weight.len();
    let mut all = Reference { y: vec![], dx: vec![], dweight: vec![0.0; d], dbias: vec![0.0; d] };
    for (x, dy) in x.chunks_exact(d).zip(dy.chunks_exact(d)) {
        let mean = if center { x.iter().sum::<f64>() / d as f64 } else { 0.0 };
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d as f64;
        let s = (variance + f64::from(EPS)).sqrt();
        let n: Vec<f64> = x.iter().map(|x| (x - mean) / s).collect();
        all.y.extend((0..d).map(|j| n[j] * weight[j] + bias[j]));
        // The Jacobian, element by element: d n_j / d x_i = (δ_ij - [center] / d - n_i n_j / d) / s.
        let c = if center { 1.0 / d as f64 } else { 0.0 };
        let (plain, product) =
            (0..d).fold((0.0, 0.0), |(p, q), j| (p + dy[j] * weight[j], q + dy[j] * weight[j] * n[j]));
        all.dx.extend((0..d).map(|i| (dy[i] * weight[i] - c * plain - n[i] * product / d as f64) / s));
        for j in 0..d {
            all.dweight[j] += dy[j] * n[j];
            all.dbias[j] += dy[j];
        }
    }
    all
}

/// Sums of d terms in f32, and a root: the bound of a relative error that grows with the longest sum.
fn bound(n: usize, d: usize) -> f64 {
    (d as f64 / 4.0 + n as f64 / 8.0 + 60.0) * 6e-8
}

fn verify(device: &Device, center: bool, (n, d): (usize, usize), shift: f32, what: &str) {
    let x: Vec<f32> = normal(1, n * d).iter().map(|x| 2.0 * x + shift).collect();
    let (weight, bias, dy) = (normal(2, d), normal(3, d), normal(4, n * d));
    let [tx, tw, tb, tdy] = [&x, &weight, &bias, &dy].map(|v| tensor(device, v, d));
    let (y, dx, added) = (rubbish(device, n, d), rubbish(device, n, d), tensor(device, &normal(5, n * d), d));
    let (dw, db) = (tensor(device, &bias, d), tensor(device, &weight, d));
    run(device, |r| {
        if center {
            layer_norm::forward(r, EPS, &tx, &tw, &tb, &y).unwrap();
            layer_norm::backward(r, EPS, &tx, &tw, &tdy, (&dx, false), Some(&dw), Some(&db)).unwrap();
            layer_norm::backward(r, EPS, &tx, &tw, &tdy, (&added, true), None, None).unwrap();
        } else {
            rms_norm::forward(r, EPS, &tx, &tw, &y).unwrap();
            rms_norm::backward(r, EPS, &tx, &tw, &tdy, (&dx, false), Some(&dw)).unwrap();
            rms_norm::backward(r, EPS, &tx, &tw, &tdy, (&added, true), None).unwrap();
        }
    });
    let shift_by = if center { wide(&bias) } else { vec![0.0; d] };
    let want = reference(center, &wide(&x), &wide(&weight), &shift_by, &wide(&dy));
    // A mean far from zero costs the digits that it shares with the elements.
    let limit = bound(n, d) * (1.0 + f64::from(shift.abs()) / 2.0);
    let plus = |a: &[f64], b: &[f32]| -> Vec<f64> { a.iter().zip(b).map(|(a, &b)| a + f64::from(b)).collect() };
    check_relative(&read(device, &y), &want.y, limit, &format!("{what} y"));
    check_relative(&read(device, &added), &plus(&want.dx, &normal(5, n * d)), limit, &format!("{what} dx added"));
    check_relative(&read(device, &dw), &plus(&want.dweight, &bias), limit, &format!("{what} dweight"));
    // A row of one element is all mean: its gradient is what rounding leaves of nothing.
    if d > 1 {
        check_relative(&read(device, &dx), &want.dx, limit, &format!("{what} dx"));
    }
    if center {
        check_relative(&read(device, &db), &plus(&want.dbias, &weight), limit, &format!("{what} dbias"));
    }
}

#[test]
fn shapes_and_variants() {
    for (name, device) in variants() {
        for shape in SHAPES {
            for center in [false, true] {
                verify(&device, center, shape, 0.0, &format!("{name} {shape:?} {center}"));
            }
        }
    }
}

/// Rows that a team holds just so, or just not.
#[test]
fn widths_of_every_team() {
    for (name, device, widths) in width_classes() {
        for d in widths {
            for center in [false, true] {
                verify(&device, center, (1, d), 0.0, &format!("{name} [1, {d}] {center}"));
                verify(&device, center, (5, d), 0.0, &format!("{name} [5, {d}] {center}"));
            }
        }
    }
}

#[test]
fn rows_far_from_zero() {
    // The variance is taken about the mean: in one pass it would lose all digits here.
    for device in devices() {
        verify(&device, true, (65, 130), 300.0, device.name());
    }
}

#[test]
fn more_rows_than_a_dispatch_holds() {
    let single = gpu().with_capabilities(|c| (c.group, c.lanes, c.subgroup_teams) = (1, 1, false)).unwrap();
    for device in [Device::host(), single] {
        verify(&device, false, (65_535 + 70, 4), 0.0, device.name());
    }
}

#[test]
fn rows_of_zeros_give_zeros() {
    for device in devices() {
        let (x, w, y) = (zeros(&device, 3, 6), tensor(&device, &[1.0; 6], 6), rubbish(&device, 3, 6));
        let (dy, dx) = (tensor(&device, &[1.0; 18], 6), rubbish(&device, 3, 6));
        run(&device, |r| {
            rms_norm::forward(r, EPS, &x, &w, &y).unwrap();
            rms_norm::backward(r, EPS, &x, &w, &dy, (&dx, false), None).unwrap();
        });
        assert_eq!(read(&device, &y), [0.0; 18]);
        assert!(read(&device, &dx).iter().all(|&g| (g - 316.22777).abs() < 1e-3), "1 / sqrt(eps)");
    }
}

/// A weight that is 1 more by the offset gives what a weight gives that is 1 more by itself.
#[test]
fn weights_by_their_distance_from_one() {
    for (name, device) in variants() {
        for (n, d) in SHAPES {
            let (x, dy, weight) = (normal(1, n * d), normal(4, n * d), normal(2, d));
            // Numbers to which 1 can be added exactly.
            let weight: Vec<f32> = weight.iter().map(|w| (w * 1024.0).round() / 1024.0).collect();
            let more: Vec<f32> = weight.iter().map(|w| w + 1.0).collect();
            let [tx, tdy, tw, tm] = [&x, &dy, &weight, &more].map(|v| tensor(&device, v, d));
            let outs = [(); 2].map(|()| (rubbish(&device, n, d), rubbish(&device, n, d), zeros(&device, 1, d)));
            run(&device, |r| {
                for ((y, dx, dw), weight, offset) in [(&outs[0], &tw, 1.0), (&outs[1], &tm, 0.0)] {
                    rms_norm::forward_offset(r, (EPS, offset), &tx, weight, y).unwrap();
                    rms_norm::backward_offset(r, (EPS, offset), &tx, weight, &tdy, (dx, false), Some(dw)).unwrap();
                }
            });
            let all = |(y, dx, dw): &(Tensor, Tensor, Tensor)| [y, dx, dw].map(|t| read(&device, t));
            assert!(all(&outs[0]) == all(&outs[1]), "{name} [{n}, {d}]");
            let (tx, tw) = (tensor(&device, &x, d), tensor(&device, &weight, d));
            rms_norm::forward_offset(&mut device.recorder(), (EPS, f32::NAN), &tx, &tw, &outs[0].0).unwrap_err();
        }
    }
}

#[test]
fn gradients_by_finite_differences() {
    let (n, d) = (3, 6);
    let [x, dy] = [1, 2].map(|s| padded(&wide(&normal(s, n * d)), d));
    let [weight, bias] = [3, 4].map(|s| padded(&wide(&normal(s, d)), d));
    for (center, offset) in [(false, 0.0), (true, 0.0), (false, 1.0)] {
        let norm = Norm { width: d, eps: 1e-5, center, offset };
        let loss = |x: &[f64], weight: &[f64], bias: &[f64]| {
            let mut y = vec![0.0; 8 * n];
            host::forward(norm, x, weight, center.then_some(bias), &mut y);
            dot(&y, &dy)
        };
        let (mut scalars, mut dx, mut dweight) = (vec![0.0; 4 * n], vec![0.0; 8 * n], vec![0.0; 8]);
        host::scalars(norm, (&x, &weight, &dy), &mut scalars);
        host::backward(norm, (&x, &weight, &dy), &scalars, &mut dx, false);
        host::weight_backward((&x, &dy), &scalars, &mut dweight);
        let at = |t: &[f64]| padded(t, d);
        finite_differences(&tight(&x, d), &tight(&dx, d), |x| loss(&at(x), &weight, &bias), "x");
        finite_differences(&tight(&weight, d), &dweight[..d], |w| loss(&x, &at(w), &bias), "weight");
    }
}

#[test]
fn operands_that_do_not_fit() {
    for device in devices() {
        let (x, y, w, wrong) = (zeros(&device, 3, 5), zeros(&device, 3, 5), zeros(&device, 1, 5), zeros(&device, 1, 6));
        let mut r = device.recorder();
        for (eps, weight, out) in [(0.0, &w, &y), (f32::NAN, &w, &y), (EPS, &wrong, &y), (EPS, &w, &x), (EPS, &w, &w)] {
            rms_norm::forward(&mut r, eps, &x, weight, out).unwrap_err();
            rms_norm::backward(&mut r, eps, &x, weight, &y, (out, false), None).unwrap_err();
            layer_norm::forward(&mut r, eps, &x, weight, weight, out).unwrap_err();
        }
        rms_norm::backward(&mut r, EPS, &x, &w, &y, (&zeros(&device, 3, 5), false), Some(&wrong)).unwrap_err();
        assert!(r.commands().is_empty());
    }
}
