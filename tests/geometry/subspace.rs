//! Leading eigenvectors against whole decompositions, on both engines.

use realign::device::Device;
use realign::geometry::subspace::RESIDUAL_FLOOR;
use realign::geometry::{
    CovarianceView, Cut, Frame, Leading, LeadingOptions, leading, principal_angles, symmetric_eigen,
};

use realign::stats::{StreamOptions, covariance};

use crate::common::devices;
use crate::data::{Rows, pair};
use crate::eigen::symmetric;

/// A covariance with these eigenvalues, and its eigenvectors `[d, d]`.
fn with_spectrum(values: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let d = values.len();
    let vectors = symmetric_eigen(&symmetric(11, d), d).unwrap().vectors;
    let mut matrix = vec![0.0; d * d];
    for (value, v) in values.iter().zip(vectors.chunks_exact(d)) {
        for (row, vi) in matrix.chunks_exact_mut(d).zip(v) {
            row.iter_mut().zip(v).for_each(|(m, vj)| *m += value * vi * vj);
        }
    }
    // To the bit.
    (0..d * d).for_each(|at| matrix[at] = matrix[at.min(at % d * d + at / d)]);
    (matrix, vectors)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Shapes, order, signs, orthonormality, and the residual, taken anew, within the tolerance of the options.
fn verify(matrix: &[f64], d: usize, r: usize, found: &Leading, what: &str) {
    assert_eq!((found.values.len(), found.vectors.len()), (r, r * d), "{what}");
    assert!(found.values.windows(2).all(|w| w[0] >= w[1]), "{what}: descending");
    let rows: Vec<&[f64]> = found.vectors.chunks_exact(d).collect();
    let mut worst = 0f64;
    for (i, (v, value)) in rows.iter().zip(&found.values).enumerate() {
        for (j, w) in rows.iter().enumerate() {
            let off = (dot(v, w) - f64::from(u8::from(i == j))).abs();
            assert!(off < 1e-12, "{what}: ({i}, {j}) off orthonormal by {off:e}");
        }
        let off: Vec<f64> = matrix.chunks_exact(d).zip(*v).map(|(m, x)| dot(m, v) - value * x).collect();
        worst = worst.max(dot(&off, &off).sqrt());
        let largest = v.iter().fold(0f64, |m, x| if x.abs() > m.abs() { *x } else { m });
        assert!(largest > 0.0, "{what}: sign of {i}");
    }
    let relative = if found.values[0] > 0.0 { worst / found.values[0] } else { worst };
    assert!(relative <= LeadingOptions::default().tolerance, "{what}: residual {relative:e}");
    assert!((relative - found.residual).abs() <= 1e-12, "{what}: {relative:e}, said {:e}", found.residual);
}

fn of(device: &Device, matrix: &[f64], d: usize, r: usize) -> Leading {
    let found = leading(device, matrix, d, r, LeadingOptions::default()).unwrap();
    verify(matrix, d, r, &found, &format!("{} d = {d}, r = {r}", device.name()));
    found
}

#[test]
fn a_separated_spectrum() {
    let d = 97;
    let values: Vec<f64> = (0..d).map(|k| if k < 5 { 10.0 - k as f64 } else { 0.98f64.powi(k as i32) }).collect();
    let (matrix, vectors) = with_spectrum(&values);
    let frame = |rows: &[f64]| Frame::from_directions(rows.to_vec(), d).unwrap();
    for device in devices() {
        let found = of(&device, &matrix, d, 5);
        assert!(found.iterations > 0, "on the device");
        // The residual over the gap: 1e-12 · 10 / (6 - 0.9) · √5 at most.
        let angles = principal_angles(&frame(&found.vectors), &frame(&vectors[..5 * d])).unwrap();
        let worst = angles.radians.iter().fold(0f64, |m, a| m.max(*a));
        assert!(worst < 1e-11, "{}: {worst:e}", device.name());
        for (got, want) in found.values.iter().zip(&values) {
            assert!((got - want).abs() < 1e-12, "{got} for {want}");
        }
        for (got, want) in found.vectors.chunks_exact(d).zip(vectors.chunks_exact(d)) {
            // Gaps of 1 between neighbours.
            assert!((dot(got, want) - 1.0).abs() < 1e-13);
            assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-10), "the same sign, too");
        }
    }
}

#[test]
fn spectra_that_fall_slowly() {
    let power = |d: usize| (1..=d).map(|k| (k as f64).powf(-1.3)).collect::<Vec<_>>();
    // What noise in few rows leaves.
    let flat = |d: usize| (0..d).map(|k| 1.5 - k as f64 / d as f64).collect::<Vec<_>>();
    for device in devices() {
        for (values, r) in [(power(200), 1), (power(200), 30), (power(131), 64), (flat(120), 7)] {
            let d = values.len();
            let (matrix, _) = with_spectrum(&values);
            let found = of(&device, &matrix, d, r);
            for (got, want) in found.values.iter().zip(&values) {
                assert!((got - want).abs() <= 1e-12 * values[0], "{got} for {want}");
            }
        }
    }
}

/// One direction far above a tail that hardly falls: what corrections would take too long for, the host decomposes.
#[test]
fn a_flat_tail_behind_one_direction() {
    let values: Vec<f64> = (0..160).map(|k| if k == 0 { 1.0 } else { 1e-3 * f64::from(k).powf(-0.05) }).collect();
    let (matrix, _) = with_spectrum(&values);
    for device in devices() {
        let found = of(&device, &matrix, 160, 20);
        assert!(found.values.iter().zip(&values).all(|(got, want)| (got - want).abs() < 1e-13));
    }
}

#[test]
fn all_directions_and_one() {
    let values: Vec<f64> = (1..=40).map(|k| 1.0 / f64::from(k)).collect();
    let (matrix, _) = with_spectrum(&values);
    for device in devices() {
        let whole = of(&device, &matrix, 40, 40);
        assert_eq!(whole.iterations, 0);
        let exact = symmetric_eigen(&matrix, 40).unwrap();
        assert!(whole.values.iter().zip(&exact.values).all(|(a, b)| (a - b).abs() < 1e-13));
        assert!((of(&device, &matrix, 40, 1).values[0] - 1.0).abs() < 1e-12);
        assert_eq!(of(&device, &[2.5], 1, 1).values, [2.5]);
    }
}

#[test]
fn frames_of_few_directions() {
    let (text, image) = pair("b");
    for device in devices() {
        let of = |rows: &Rows| covariance(&device, &mut rows.source(), StreamOptions::default()).unwrap();
        let (y, x) = (of(&text), of(&image));
        let (frame, values) = Frame::leading_on(&device, (&y, &x), 4).unwrap();
        let whole = Frame::of(
            CovarianceView::new(&y.matrix, y.width()),
            CovarianceView::new(&x.matrix, x.width()),
            Cut::Rank(4),
        )
        .unwrap();
        let eigenvalues = whole.spectrum().eigenvalues();
        // The residual that is allowed over the gap at the cut.
        let bound = 4.0 * LeadingOptions::default().tolerance * eigenvalues[0] / (eigenvalues[3] - eigenvalues[4]);
        assert!(bound < 1e-3 && principal_angles(&frame, &whole).unwrap().sin_theta_max < bound, "{}", device.name());
        let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-8 * eigenvalues[0];
        assert!(values.len() == 4 && values.iter().zip(eigenvalues).all(near), "{values:?}");
        let refused = |rank, word: &str, sides: [&Rows; 2]| {
            let error = Frame::leading_on(&device, (&of(sides[0]), &of(sides[1])), rank).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        };
        refused(0, "1 to 64", [&text, &image]);
        refused(65, "1 to 64", [&text, &image]);
        let first = |n: usize| Rows { values: text.values[..n * text.width].to_vec(), width: text.width };
        refused(6, "span 5", [&first(6), &first(6)]);
        refused(2, "all rows are equal", [&first(1), &first(1)]);
    }
}

#[test]
fn zero_singular_and_multiple() {
    let d = 70;
    for device in devices() {
        let zero = of(&device, &vec![0.0; d * d], d, 6);
        assert_eq!((zero.values.as_slice(), zero.residual), (&[0.0; 6][..], 0.0));
        let low: Vec<f64> = (0..d).map(|k| if k < 3 { 3.0 - k as f64 } else { 0.0 }).collect();
        let found = of(&device, &with_spectrum(&low).0, d, 10);
        assert!(found.values.iter().zip(&low).all(|(a, b)| (a - b).abs() < 1e-9), "{:?}", found.values);
        let same = of(&device, &with_spectrum(&vec![3.0; d]).0, d, 4);
        assert!(same.values.iter().all(|v| (v - 3.0).abs() < 1e-9));
    }
}

#[test]
fn values_near_the_ends_of_the_range() {
    let d = 60;
    let values: Vec<f64> = (0..d).map(|k| 0.8f64.powi(k as i32)).collect();
    for scale in [1e-300, 1e-100, 1e100, 1e300] {
        let matrix: Vec<f64> = with_spectrum(&values).0.iter().map(|x| x * scale).collect();
        let found = leading(&Device::host(), &matrix, d, 3, LeadingOptions::default()).unwrap();
        for (got, want) in found.values.iter().zip(&values) {
            assert!((got / scale - want).abs() < 1e-9, "{scale:e}: {got:e}");
        }
    }
}

#[test]
fn what_is_refused() {
    let d = 50;
    let values: Vec<f64> = (1..=d).map(|k| 1.0 / k as f64).collect();
    let (good, _) = with_spectrum(&values);
    let plain = LeadingOptions::default();
    for device in devices() {
        let refused = |matrix: &[f64], d: usize, r: usize, options: LeadingOptions, word: &str| {
            let error = leading(&device, matrix, d, r, options).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        };
        refused(&good, d, 0, plain, "1 to 50");
        refused(&good, d, d + 1, plain, "1 to 50");
        refused(&good, d, usize::MAX, plain, "1 to 50");
        refused(&good[1..], d, 3, plain, "2500 values");
        refused(&[], 0, 0, plain, "order 1");
        for tolerance in [0.0, RESIDUAL_FLOOR / 2.0, 1.0, f64::NAN, f64::INFINITY] {
            refused(&good, d, 3, LeadingOptions { tolerance, ..plain }, "tolerance");
        }
        refused(&good, d, 3, LeadingOptions { max_iterations: 1, ..plain }, "after 1 iterations");
        let mut bad = good.clone();
        bad[d + 2] = f64::NAN;
        refused(&bad, d, 3, plain, "row 1, column 2");
        bad[d + 2] = good[d + 2] + 1.0;
        refused(&bad, d, 3, plain, "symmetric");
        // Below and above the order from which the device iterates.
        let mut negative = values.clone();
        negative[d - 1] = -0.7;
        for r in [3, d] {
            refused(&with_spectrum(&negative).0, d, r, plain, "negative");
        }
    }
}
