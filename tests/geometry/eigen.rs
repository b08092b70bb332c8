//! Eigendecompositions: reconstruction, orthogonality, residuals, and matrices that make trouble.

use realign::geometry::{Eigen, symmetric_eigen};

use crate::common::Rng;

/// Rounding of the whole decomposition: a small multiple of epsilon, times √d for the sums.
fn tolerance(d: usize) -> f64 {
    40.0 * f64::EPSILON * (d as f64).sqrt()
}

/// A random symmetric matrix with a decaying spectrum.
pub fn symmetric(seed: u64, d: usize) -> Vec<f64> {
    let mut rng = Rng(seed);
    let b: Vec<f64> = (0..d * d).map(|_| rng.normal()).collect();
    let decay = |i: usize| (1.0 + i as f64).powf(-0.7);
    (0..d * d).map(|at| (at / d, at % d)).map(|(i, j)| (b[i * d + j] + b[j * d + i]) * decay(i) * decay(j)).collect()
}

/// Largest singular value of what is bounded here is at most the Frobenius norm.
fn norm(a: &[f64]) -> f64 {
    a.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn verify(matrix: &[f64], d: usize, what: &str) -> Eigen {
    let eigen = symmetric_eigen(matrix, d).unwrap();
    assert_eq!((eigen.order(), eigen.values.len(), eigen.vectors.len()), (d, d, d * d), "{what}");
    assert!(eigen.values.windows(2).all(|w| w[0] >= w[1]), "{what}: descending");
    let size = norm(matrix);
    let (mut rebuilt, mut gram) = (vec![0.0; d * d], vec![0.0; d * d]);
    for k in 0..d {
        let v = eigen.vector(k);
        for i in 0..d {
            for j in 0..d {
                rebuilt[i * d + j] += eigen.values[k] * v[i] * v[j];
            }
            gram[k * d + i] = eigen.vector(i).iter().zip(v).map(|(a, b)| a * b).sum();
        }
        let residual: Vec<f64> =
            (0..d).map(|i| (0..d).map(|j| matrix[i * d + j] * v[j]).sum::<f64>() - eigen.values[k] * v[i]).collect();
        assert!(norm(&residual) <= tolerance(d) * size, "{what}: residual {k} {:e}", norm(&residual));
        let largest = v.iter().copied().fold(0f64, |m, x| if x.abs() > m.abs() { x } else { m });
        assert!(largest > 0.0, "{what}: sign of vector {k}");
    }
    let difference: Vec<f64> = rebuilt.iter().zip(matrix).map(|(a, b)| a - b).collect();
    assert!(norm(&difference) <= tolerance(d) * size, "{what}: reconstruction {:e} of {size:e}", norm(&difference));
    (0..d).for_each(|i| gram[i * d + i] -= 1.0);
    assert!(norm(&gram) <= tolerance(d) * (d as f64).sqrt(), "{what}: orthogonality {:e}", norm(&gram));
    eigen
}

#[test]
fn decompositions_of_many_orders() {
    for d in [1, 2, 3, 4, 7, 16, 31, 64, 65, 130, 257, 512, 641] {
        verify(&symmetric(d as u64, d), d, &format!("d = {d}"));
    }
}

#[test]
fn a_known_spectrum() {
    // The path graph's second difference: values 2 - 2 cos(k π / (d + 1)).
    let d = 50;
    let entry = |i: usize, j: usize| [2.0, -1.0, 0.0][i.abs_diff(j).min(2)];
    let matrix: Vec<f64> = (0..d * d).map(|at| entry(at / d, at % d)).collect();
    let eigen = verify(&matrix, d, "path");
    for (k, value) in eigen.values.iter().enumerate() {
        let want = 2.0 - 2.0 * ((d - k) as f64 * std::f64::consts::PI / (d + 1) as f64).cos();
        assert!((value - want).abs() < 1e-13, "{k}: {value} {want}");
    }
}

#[test]
fn zero_singular_and_multiple() {
    let d = 20;
    let zero = verify(&vec![0.0; d * d], d, "zero");
    assert_eq!(zero.values, vec![0.0; d]);
    let mut identity = vec![0.0; d * d];
    (0..d).for_each(|i| identity[i * d + i] = 3.0);
    assert!(verify(&identity, d, "identity").values.iter().all(|v| (v - 3.0).abs() < 1e-14));
    // Rank one: a aᵀ.
    let mut rng = Rng(5);
    let a: Vec<f64> = (0..d).map(|_| rng.normal()).collect();
    let one: Vec<f64> = (0..d * d).map(|at| a[at / d] * a[at % d]).collect();
    let eigen = verify(&one, d, "rank one");
    let square: f64 = a.iter().map(|x| x * x).sum();
    assert!((eigen.values[0] - square).abs() < 1e-13 * square);
    assert!(eigen.values[1..].iter().all(|v| v.abs() < 1e-13 * square));
    let cosine: f64 = eigen.vector(0).iter().zip(&a).map(|(v, a)| v * a).sum::<f64>() / square.sqrt();
    assert!((cosine.abs() - 1.0).abs() < 1e-14);
    assert!(eigen.vector(d).is_empty());
}

#[test]
fn values_near_the_ends_of_the_range() {
    let d = 12;
    for scale in [1e-300, 1e-150, 1e150, 1e300] {
        let matrix: Vec<f64> = symmetric(3, d).iter().map(|x| x * scale).collect();
        let eigen = symmetric_eigen(&matrix, d).unwrap();
        let plain = symmetric_eigen(&symmetric(3, d), d).unwrap();
        for (a, b) in eigen.values.iter().zip(&plain.values) {
            assert!((a / scale - b).abs() <= 1e-12 * plain.values[0].abs(), "{scale:e}: {a:e} {b:e}");
        }
    }
}

#[test]
fn matrices_that_are_refused() {
    let refused = |matrix: &[f64], d: usize, word: &str| {
        let error = symmetric_eigen(matrix, d).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    refused(&[], 0, "order 1");
    refused(&[1.0], usize::MAX, "order 1");
    refused(&[1.0; 5], 2, "4 values");
    refused(&[1.0, 2.0, 3.0, 4.0], 2, "symmetric");
    refused(&[f64::MAX; 4], 2, "too large");
    refused(&[1.0, f64::NAN, f64::NAN, 4.0], 2, "row 0, column 1");
    refused(&[1.0, 0.0, 0.0, f64::INFINITY], 2, "row 1, column 1");
}
