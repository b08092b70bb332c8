//! The operator on rows against f64, and its f64 twin against the definition.

use realign::device::{Buffer, Device, Recorder, Tensor};
use realign::host::align::apply::operate;
use realign::kernels::align::apply::{self, MAX_VECTORS, Operator, status_buffer};
use realign::{ElementType, Error};

use crate::common::{Rng, cloud, devices, gpu};
use crate::rows::{
    INPUTS, Input, OUTPUTS, ROOT, SHAPES, U, check, extreme_rows, run, stored, sum_error, unit_error, unit_row,
    variants, width_classes,
};

const A: f64 = 0.75;

/// `count` vectors, each shorter than the one before, as the operator's centroid steps are.
fn vectors(seed: u64, count: usize, d: usize) -> Vec<Vec<f64>> {
    let mut rng = Rng(seed);
    let size = |k: usize| 0.9 * 0.6f64.powi(k as i32) / (d as f64).sqrt();
    (0..count).map(|k| (0..d).map(|_| rng.normal() * size(k)).collect()).collect()
}

fn length(v: &[f64]) -> f64 {
    v.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// The operator's row by its definition, one projection after the other, and a bound for the kernel's error in each
/// element, in floating point of unit roundoff `u`.
///
/// The kernel keeps the row as `Σ c_i x_i` over the unit row and the vectors so far. Let `eta` bound the relative error
/// of every `c_i`, and `s = Σ |c_i| |x_i|`. With `sigma` = [`sum_error`], a dot of the row with `v` errs by at most
/// `(eta + sigma + (k + 3) u) s |v|`: sigma in the dot of the input row, a rounding for each of the `k + 3` products and
/// additions and for the Gram matrix, whose entries were rounded once. The square `n2` then errs by twice that, and by
/// `4 u (s + |v|)²` for its own additions and constants. The inverse root's relative error is at most 0.6 of `n2`'s (if that
/// is below a tenth) plus the root's own, and `c_i` times the inverse rounds once more. Finally `Σ c_i x_ij` over `m + 1`
/// terms: each errs by `eta`, by its conversions and its product (3 u), and by at most `m` additions.
fn reference(row: &[f64], a: f64, vectors: &[Vec<f64>], u: f64) -> (Vec<f64>, Vec<f64>) {
    let d = row.len();
    let mut r = unit_row(row);
    let mut terms = vec![r.clone()];
    let mut eta = unit_error(d, u);
    for (k, v) in vectors.iter().enumerate() {
        if k == 0 {
            r.iter_mut().for_each(|x| *x *= a);
            terms[0].iter_mut().for_each(|x| *x *= a);
        }
        let s: f64 = terms.iter().map(|t| length(t)).sum();
        r.iter_mut().zip(v).for_each(|(r, v)| *r += v);
        terms.push(v.clone());
        let norm = length(&r);
        let dot_error = (eta + sum_error(d, u) + (k as f64 + 3.0) * u) * s * length(v);
        let square_error = 2.0 * dot_error + 4.0 * u * (s + length(v)).powi(2);
        let relative = square_error / (norm * norm);
        assert!(relative < 0.1, "the test's data cancels too much: {relative}");
        eta += 0.6 * relative + (ROOT + 1.0) * u;
        let divide = |x: &mut f64| *x /= norm;
        r.iter_mut().for_each(divide);
        terms.iter_mut().flatten().for_each(divide);
    }
    let m = vectors.len() as f64;
    let bound = |j: usize| (eta + (m + 3.0) * u) * terms.iter().map(|t| t[j].abs()).sum::<f64>();
    (r, (0..d).map(bound).collect())
}

fn recorded<'a>(operator: &'a Operator) -> impl FnOnce(&mut Recorder, &Tensor, &Tensor, &Buffer) + 'a {
    |recorder, input, output, status| {
        apply::record(recorder, operator, input, output, input.rows(), (status, 0)).unwrap();
    }
}

fn verify(device: &Device, input: &Input, vectors: &[Vec<f64>], out: ElementType, what: &str) {
    let operator = Operator::new(device, A, vectors, input.width).unwrap();
    let (got, bad) = run(device, input, out, recorded(&operator));
    let (mut want, mut bounds) = (Vec::new(), Vec::new());
    for row in input.exact.chunks_exact(input.width) {
        let (r, b) = reference(row, A, vectors, U);
        bounds.extend(r.iter().zip(b).map(|(&r, b)| stored(r, b, out)));
        want.extend(r);
    }
    check(&got, &want, &bounds, what);
    assert_eq!(bad, None, "{what}");
}

#[test]
fn shapes_and_variants() {
    for (name, device) in variants() {
        for (i, (n, d)) in SHAPES.into_iter().enumerate() {
            let input = Input::new(&cloud(n as u64 + 1, n, d), d, ElementType::F32);
            let count = [0, 1, 2, 3, 4, 9][i % 6];
            verify(&device, &input, &vectors(5, count, d), ElementType::F32, &format!("{name} [{n}, {d}] {count}"));
        }
    }
}

#[test]
fn numbers_of_vectors() {
    for (name, device) in variants() {
        for count in [0, 1, 2, 3, 4, 9] {
            for d in [50, 64] {
                let input = Input::new(&cloud(8, 71, d), d, ElementType::F32);
                verify(&device, &input, &vectors(2, count, d), ElementType::F32, &format!("{name} {count} of {d}"));
            }
        }
    }
}

/// Rows that a team holds just so, or just not.
#[test]
fn widths_of_every_team() {
    for (name, device, widths) in width_classes() {
        for d in widths {
            for n in [1, 5] {
                let input = Input::new(&cloud(d as u64, n, d), d, ElementType::F32);
                verify(&device, &input, &vectors(5, 4, d), ElementType::F32, &format!("{name} [{n}, {d}]"));
            }
        }
    }
}

#[test]
fn element_types() {
    for device in devices() {
        // 67 × 9 groups of four 16-bit elements end in half a texel.
        for (n, d, count) in [(67, 37, 2), (67, 33, 2), (130, 64, 4)] {
            let data = cloud(3, n, d);
            for element in INPUTS {
                let input = Input::new(&data, d, element);
                for out in OUTPUTS {
                    let what = format!("{} [{n}, {d}] {element} to {out}", device.name());
                    verify(&device, &input, &vectors(4, count, d), out, &what);
                }
            }
        }
    }
}

#[test]
fn more_rows_than_a_dispatch_holds() {
    let single = gpu().with_capabilities(|c| (c.group, c.lanes, c.subgroup_teams) = (4, 4, false)).unwrap();
    let (n, d) = (65_535 + 70, 5);
    let input = Input::new(&cloud(9, n, d), d, ElementType::F32);
    for device in [Device::host(), single] {
        verify(&device, &input, &vectors(6, 2, d), ElementType::F32, device.name());
    }
}

#[test]
fn zero_tiny_and_huge_rows() {
    let (data, d) = extreme_rows();
    for (name, device) in variants() {
        for element in [ElementType::F32, ElementType::Fixed, ElementType::BF16] {
            for count in [0, 1, 3] {
                let input = Input::new(&data, d, element);
                verify(&device, &input, &vectors(7, count, d), ElementType::F32, &format!("{name} {element} {count}"));
            }
        }
    }
}

/// A shift that leaves nothing: the row stays as it is instead of being divided by zero.
#[test]
fn a_row_that_cancels_is_not_divided() {
    for (name, device) in variants() {
        let operator = Operator::new(&device, 1.0, &[vec![-1.0, 0.0, 0.0, 0.0]], 4).unwrap();
        let input = Input::new(&[4.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0], 4, ElementType::F32);
        let (got, bad) = run(&device, &input, ElementType::F32, recorded(&operator));
        assert_eq!((&got[..4], bad), (&[0.0; 4][..], None), "{name}");
        assert!((got[4] + 0.5f32.sqrt()).abs() < 1e-6 && (got[5] - 0.5f32.sqrt()).abs() < 1e-6, "{name}: {got:?}");
    }
}

#[test]
fn the_least_bad_row_is_reported_from_the_base() {
    let (n, d) = (200, 9);
    for (name, device) in variants() {
        let operator = Operator::new(&device, A, &vectors(3, 2, d), d).unwrap();
        for (row, value) in [(0, f32::NAN), (131, f32::INFINITY)] {
            let mut data = cloud(1, n, d);
            data[row * d + 8] = value;
            data[199 * d] = f32::NAN;
            let (_, bad) = run(&device, &Input::new(&data, d, ElementType::F32), ElementType::F32, |r, i, o, s| {
                // Two halves, as a stream records them.
                apply::record(r, &operator, i, o, n, (s, 1000)).unwrap();
                apply::record(r, &operator, i, o, n, (s, 3000)).unwrap();
            });
            assert_eq!(bad, Some(1000 + row as u64), "{name}");
        }
    }
}

/// The oracle: the f64 instantiation of the host's twin against the definition. Its bound is the same with f64's roundoff.
#[test]
fn the_f64_twin_follows_the_definition() {
    let roundoff = f64::EPSILON / 2.0;
    for d in [1, 5, 64, 333] {
        let data: Vec<f64> = cloud(12, 20, d).iter().map(|&x| f64::from(x)).collect();
        for count in 0..=MAX_VECTORS {
            let vectors = vectors(13, count, d);
            let slices: Vec<&[f64]> = vectors.iter().map(Vec::as_slice).collect();
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
            let gram: Vec<f64> = vectors.iter().flat_map(|v| vectors.iter().map(|w| dot(v, w))).collect();
            for row in data.chunks_exact(d) {
                let (want, bounds) = reference(row, A, &vectors, roundoff);
                let mut got = vec![0f64; d];
                operate(row, 1.0, A, &slices, &gram, &mut got);
                for ((g, w), b) in got.iter().zip(&want).zip(&bounds) {
                    assert!((g - w).abs() <= *b, "{d} {count}: {g} for {w}, allowed {b:e}");
                }
            }
        }
    }
}

#[test]
fn operands_that_do_not_fit() {
    for device in devices() {
        let shape = |error: Error| assert!(matches!(error, Error::Shape { .. } | Error::Argument { .. }), "{error}");
        shape(Operator::new(&device, A, &vectors(1, MAX_VECTORS + 1, 4), 4).unwrap_err());
        shape(Operator::new(&device, A, &[vec![0.0; 5]], 4).unwrap_err());
        let tensor = |n, d| Tensor::new(&device, n, d, ElementType::F32).unwrap();
        let (input, output, status) = (tensor(5, 6), tensor(5, 6), status_buffer(&device).unwrap());
        let operator = Operator::new(&device, A, &vectors(1, 2, 6), 6).unwrap();
        let mut recorder = device.recorder();
        let mut refused = |operator: &Operator, input: &Tensor, output: &Tensor, rows, status: &Buffer| {
            shape(apply::record(&mut recorder, operator, input, output, rows, (status, 0)).unwrap_err());
        };
        refused(&operator, &tensor(5, 7), &tensor(5, 7), 5, &status);
        refused(&operator, &input, &tensor(5, 7), 5, &status);
        refused(&operator, &input, &tensor(4, 6), 5, &status);
        refused(&operator, &input, &output, 6, &status);
        refused(&operator, &input, &Tensor::new(&device, 5, 6, ElementType::Fixed).unwrap(), 5, &status);
        let other = Device::host();
        let stranger = Tensor::new(&other, 5, 6, ElementType::F32).unwrap();
        refused(&operator, &stranger, &output, 5, &status);
        refused(&operator, &input, &stranger, 5, &status);
        refused(&operator, &input, &output, 5, &status_buffer(&other).unwrap());
        let foreign = Operator::new(&other, A, &vectors(1, 2, 6), 6).unwrap();
        refused(&foreign, &input, &output, 5, &status);
        assert!(recorder.commands().is_empty());
    }
}
