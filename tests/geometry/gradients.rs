//! Leakage, the gradients' spectrum and its correlation with the residual's.

use realign::geometry::{Frame, Spectrum, gradient_spectrum, leakage, principal_angles, spectral_lock};

use crate::common::Rng;

/// An orthonormal basis `[r, d]` by Gram and Schmidt.
fn basis(rng: &mut Rng, r: usize, d: usize) -> Vec<f64> {
    let mut rows: Vec<Vec<f64>> = Vec::new();
    while rows.len() < r {
        let mut row: Vec<f64> = (0..d).map(|_| rng.normal()).collect();
        for _ in 0..2 {
            for u in &rows {
                let along: f64 = row.iter().zip(u).map(|(a, b)| a * b).sum();
                row.iter_mut().zip(u).for_each(|(a, b)| *a -= along * b);
            }
        }
        let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        rows.push(row.iter().map(|x| x / norm).collect());
    }
    rows.concat()
}

/// Rows in the span of a basis.
fn within(rng: &mut Rng, basis: &[f64], d: usize, n: usize) -> Vec<f64> {
    let mut rows = vec![0.0; n * d];
    for row in rows.chunks_exact_mut(d) {
        for u in basis.chunks_exact(d) {
            let c = rng.normal();
            row.iter_mut().zip(u).for_each(|(x, u)| *x += c * u);
        }
    }
    rows
}

#[test]
fn leakage_of_known_gradients() {
    let frame = Frame::from_directions(vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0], 3).unwrap();
    assert_eq!(leakage(&[3.0, -4.0, 0.0, 1.0, 0.0, 0.0], &frame).unwrap(), Some(0.0));
    assert_eq!(leakage(&[0.0, 0.0, 2.0], &frame).unwrap(), Some(1.0));
    // rms over rows: (4² + 0) / (3² + 4² + 5²).
    let got = leakage(&[3.0, 0.0, 4.0, 0.0, 5.0, 0.0], &frame).unwrap().unwrap();
    assert!((got - (16.0f64 / 50.0).sqrt()).abs() < 1e-15, "{got}");
    // Sizes do not matter.
    let tiny = leakage(&[3e-200, 0.0, 4e-200, 0.0, 5e-200, 0.0], &frame).unwrap().unwrap();
    assert!((got - tiny).abs() < 1e-15);
    assert_eq!(leakage(&[], &frame).unwrap(), None);
    assert_eq!(leakage(&[0.0; 6], &frame).unwrap(), None);
    leakage(&[1.0, 2.0], &frame).unwrap_err();
    leakage(&[1.0, f64::NAN, 0.0], &frame).unwrap_err();
    gradient_spectrum(&[], &frame).unwrap_err();
}

/// Lemma B.7 on random frames: gradients in U_t leak at most by sin θ(U_t, U), and no less for the worst of them.
#[test]
fn leakage_is_bounded_by_the_angle() {
    let mut rng = Rng(11);
    for (d, r, q) in [(6, 2, 2), (16, 5, 5), (16, 5, 3), (40, 12, 12), (9, 8, 1)] {
        for _ in 0..20 {
            let u = basis(&mut rng, r, d);
            let mut near = u[..q * d].to_vec();
            let size = 10f64.powi(-((rng.next() % 6) as i32));
            near.iter_mut().for_each(|x| *x += size * rng.normal());
            // Orthonormal again, close to U.
            let moved = orthonormal(&near, d);
            let (frame, now) =
                (Frame::from_directions(u, d).unwrap(), Frame::from_directions(moved.clone(), d).unwrap());
            let angle = principal_angles(&frame, &now).unwrap().sin_theta_max;
            let got = leakage(&within(&mut rng, &moved, d, 30), &frame).unwrap().unwrap();
            assert!(got <= angle + 1e-14, "{got:e} above {angle:e}");
            let worst = moved.chunks_exact(d).map(|g| leakage(g, &frame).unwrap().unwrap()).fold(0.0, f64::max);
            assert!(worst <= angle + 1e-14 && worst >= angle / (q as f64).sqrt() - 1e-14, "{worst:e} {angle:e}");
        }
    }
}

fn orthonormal(rows: &[f64], d: usize) -> Vec<f64> {
    let mut done: Vec<f64> = Vec::new();
    for row in rows.chunks_exact(d) {
        let mut row = row.to_vec();
        for _ in 0..2 {
            for u in done.chunks_exact(d) {
                let along: f64 = row.iter().zip(u).map(|(a, b)| a * b).sum();
                row.iter_mut().zip(u).for_each(|(a, b)| *a -= along * b);
            }
        }
        let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        done.extend(row.iter().map(|x| x / norm));
    }
    done
}

#[test]
fn spectra_of_gradients_and_their_lock() {
    let frame = Frame::from_directions(vec![0.0, 1.0, 0.0, 0.0, 0.0, 1.0], 3).unwrap();
    // Coordinates in the frame: (±3, 0), (0, ±1), about a mean of (5, -2); what lies outside does not count.
    let rows = [7.0, 8.0, -2.0, -7.0, 2.0, -2.0, 1.0, 5.0, -1.0, 0.0, 5.0, -3.0];
    let spectrum = gradient_spectrum(&rows, &frame).unwrap();
    let [a, b] = spectrum.eigenvalues() else { panic!("{spectrum:?}") };
    assert!((a - 4.5).abs() < 1e-12 && (b - 0.5).abs() < 1e-12, "{a} {b}");
    let of = |values: &[f64]| Spectrum::from_eigenvalues(values.to_vec());
    let lock = |a: &[f64], b: &[f64]| spectral_lock(&of(a), &of(b)).unwrap();
    assert!((lock(&[4.0, 2.0, 1.0], &[8.0, 4.0, 2.0]).unwrap() - 1.0).abs() < 1e-15);
    // NumPy's corrcoef.
    assert!((lock(&[9.0, 3.0, 1.0], &[2.0, 1.5, 0.1]).unwrap() - 0.853573911203588).abs() < 1e-12);
    assert_eq!(lock(&[1.0, 1.0], &[2.0, 1.0]), None);
    assert_eq!(lock(&[1.0], &[2.0]), None);
    spectral_lock(&of(&[1.0]), &of(&[1.0, 2.0])).unwrap_err();
    // Only the leading ones count.
    let long: Vec<f64> = (0..200).map(|i| 1.0 / f64::from(i + 1)).collect();
    let mut cut = long.clone();
    cut[150..].fill(0.0);
    assert!((lock(&long, &cut).unwrap() - 1.0).abs() < 1e-15);
}
