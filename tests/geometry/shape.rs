//! Skewness and kurtosis along directions: against scipy's, a formula, and each other.

use realign::geometry::{DirectionMoments, direction_moments};

use crate::common::Rng;

const ROWS: [f64; 12] = [1.0, 2.0, 2.0, -1.0, 4.0, 0.5, -3.0, 7.0, 0.25, 1.0, 9.0, -2.0];
const BASIS: [f64; 6] = [1.0, 0.0, 0.6, 0.8, 1.0, -2.0];

fn close(got: &[DirectionMoments], want: &[[f64; 4]], bound: f64) {
    assert_eq!(got.len(), want.len());
    for (g, w) in got.iter().zip(want) {
        let all = [g.mean, g.variance, g.skewness.unwrap(), g.kurtosis.unwrap()];
        for (g, w) in all.iter().zip(w) {
            assert!((g - w).abs() <= bound * w.abs().max(1.0), "{g} for {w}");
        }
    }
}

/// `numpy.mean`, `numpy.var`, `scipy.stats.skew` and `scipy.stats.kurtosis(fisher=False)` of the projections; with weights
/// those of rows repeated as often.
#[test]
fn against_scipy() {
    let plain = direction_moments(&ROWS, None, 2, &BASIS).unwrap();
    let want = [
        [2.2083333333333335, 13.633680555555555, 0.5577326305640454, 2.5919270705932314],
        [2.3249999999999997, 1.6981249999999999, -0.2417400235485721, 1.5503591192140873],
        [-0.2916666666666667, 82.42534722222221, -0.495433735284672, 2.690184651237794],
    ];
    close(&plain, &want, 1e-13);
    let weights = [1.0, 2.0, 0.0, 3.0, 1.0, 2.0];
    let want = [
        [1.5833333333333333, 19.5, 0.6770005894562562, 2.156107702047873],
        [2.5500000000000003, 2.1933333333333334, -0.4874335255805777, 1.4206874012619992],
        [-2.4166666666666665, 132.94444444444446, -0.10493811883823476, 1.584595815836306],
    ];
    close(&direction_moments(&ROWS, Some(&weights), 2, &BASIS).unwrap(), &want, 1e-13);
    // Only the ratios count.
    for factor in [1e-300, 1e307] {
        let scaled: Vec<f64> = weights.iter().map(|w| w * factor).collect();
        close(&direction_moments(&ROWS, Some(&scaled), 2, &BASIS).unwrap(), &want, 1e-13);
    }
}

/// Two values, the upper with probability p: skewness (1 - 2p) / √(p q), kurtosis 1 / (p q) - 3.
#[test]
fn two_values_in_many_blocks() {
    let (n, d) = (5000, 7);
    let rows: Vec<f64> = (0..n * d).map(|at| if at / d % 5 == 0 { 3.0 } else { 1.0 } * (at % d + 1) as f64).collect();
    let basis: Vec<f64> = (0..d * d).map(|at| if at % (d + 1) == 0 { 1.0 } else { 0.0 }).collect();
    let want: Vec<[f64; 4]> = (1..=d)
        .map(|s| (s as f64, 0.16f64))
        .map(|(s, pq)| [1.4 * s, 4.0 * pq * s * s, 0.6 / pq.sqrt(), 1.0 / pq - 3.0])
        .collect();
    close(&direction_moments(&rows, None, d, &basis).unwrap(), &want, 1e-11);
}

#[test]
fn shifts_and_scales() {
    let (n, d) = (3000, 5);
    let mut rng = Rng(3);
    let rows: Vec<f64> = (0..n * d).map(|_| rng.normal().exp()).collect();
    let basis: Vec<f64> = (0..3 * d).map(|_| rng.normal()).collect();
    let plain = direction_moments(&rows, None, d, &basis).unwrap();
    let shape =
        |m: &[DirectionMoments]| m.iter().map(|m| [m.skewness.unwrap(), m.kurtosis.unwrap()]).collect::<Vec<_>>();
    for (shift, scale, bound) in [(1e6, 1.0, 1e-8), (0.0, 1e-150, 1e-11), (0.0, 1e150, 1e-11)] {
        let moved: Vec<f64> = rows.iter().map(|x| (x + shift) * scale).collect();
        let got = direction_moments(&moved, None, d, &basis).unwrap();
        for (g, w) in shape(&got).concat().iter().zip(shape(&plain).concat()) {
            assert!((g - w).abs() <= bound * w.abs().max(1.0), "{shift} {scale}: {g} for {w}");
        }
    }
    // A normal cloud: 0 and nearly 3 (twelve uniforms: 2.9), within five standard errors.
    let normal: Vec<f64> = (0..20_000).map(|_| rng.normal()).collect();
    let m = direction_moments(&normal, None, 1, &[1.0]).unwrap()[0];
    assert!(m.skewness.unwrap().abs() < 5.0 * (6.0f64 / 20_000.0).sqrt());
    assert!((m.kurtosis.unwrap() - 2.9).abs() < 5.0 * (24.0f64 / 20_000.0).sqrt());
}

#[test]
fn constant_directions_have_no_shape() {
    let constant = |rows: &[f64], d: usize, basis: &[f64]| {
        for m in direction_moments(rows, None, d, basis).unwrap() {
            assert_eq!((m.skewness, m.kurtosis), (None, None), "{m:?}");
            assert!(m.variance.abs() < 1e-25 && m.mean.is_finite(), "{m:?}");
        }
    };
    constant(&[0.1, 0.7, 0.1, 0.7, 0.1, 0.7], 2, &[0.3, 0.9, 1.0, 0.0, 0.0, 0.0]);
    constant(&[5.0, 1.0], 2, &[1.0, 1.0]);
    constant(&[0.0; 8], 2, &[1.0, 1.0]);
    // Rows that spread, at right angles to the direction: only rounding is left along it.
    let mut rng = Rng(9);
    let rows: Vec<f64> = (0..400)
        .flat_map(|_| {
            let x = rng.normal();
            [x, 3.0 * x + 0.1]
        })
        .collect();
    constant(&rows, 2, &[3.0, -1.0]);
    let all_but_one = direction_moments(&ROWS, Some(&[0.0, 0.0, 2.0, 0.0, 0.0, 0.0]), 2, &BASIS).unwrap();
    assert!(all_but_one.iter().all(|m| m.skewness.is_none()) && (all_but_one[0].mean - 4.0).abs() < 1e-15);
    assert!(direction_moments(&ROWS, None, 2, &[]).unwrap().is_empty());
}

#[test]
fn what_is_refused() {
    let refused = |rows: &[f64], weights: Option<&[f64]>, width: usize, basis: &[f64], word: &str| {
        let error = direction_moments(rows, weights, width, basis).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    refused(&[], None, 2, &BASIS, "no rows");
    refused(&ROWS, None, 0, &BASIS, "width 0");
    refused(&ROWS[1..], None, 2, &BASIS, "rows has 11 values");
    refused(&ROWS, None, 2, &BASIS[1..], "basis has 5 values");
    refused(&ROWS, Some(&[1.0]), 2, &BASIS, "weights has 1");
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        refused(&ROWS, Some(&[1.0, 1.0, bad, 1.0, 1.0, 1.0]), 2, &BASIS, "at 2");
    }
    refused(&ROWS, Some(&[0.0; 6]), 2, &BASIS, "all weights are 0");
    refused(&[1.0, f64::NAN], None, 1, &[1.0], "row 1, column 0");
    refused(&ROWS, None, 2, &[f64::INFINITY, 0.0], "basis");
    refused(&[1e300, -1e300], None, 1, &[1.0], "overflow");
}
