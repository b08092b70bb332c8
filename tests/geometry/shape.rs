//! Skewness and kurtosis along directions: against scipy's, a formula, and each other.

use realign::device::Device;
use realign::geometry::{DirectionMoments, direction_moments, direction_moments_on};

use crate::common::{Rng, devices, gpu};

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

/// Against the same rows in f64, within what f32 explains: of a coordinate's rounding e, in units of the spread, and the sums' s.
fn on_devices(rows: &[f32], weights: Option<&[f64]>, d: usize, basis: &[f64], what: &str) {
    let wide: Vec<f64> = rows.iter().map(|&x| f64::from(x)).collect();
    let exact = direction_moments(&wide, weights, d, basis).unwrap();
    let n = rows.len() / d;
    let mean: Vec<f64> = (0..d)
        .map(|j| {
            direction_moments(&wide, weights, d, &(0..d).map(|k| f64::from(u8::from(j == k))).collect::<Vec<_>>())
                .unwrap()[0]
                .mean
        })
        .collect();
    let length = |row: &[f64], from: &[f64]| row.iter().zip(from).map(|(x, m)| (x - m).powi(2)).sum::<f64>().sqrt();
    let longest = wide.chunks_exact(d).map(|row| length(row, &mean)).fold(0.0, f64::max);
    // In one chunk, and in chunks of a few rows.
    let few = [Device::host(), gpu()].into_iter().map(|d| d.with_capabilities(|c| c.chunk_bytes = 4096).unwrap());
    for device in devices().into_iter().chain(few) {
        let got = direction_moments_on(&device, rows, weights, d, basis).unwrap();
        assert_eq!(got.len(), exact.len());
        for ((g, w), direction) in got.iter().zip(&exact).zip(basis.chunks_exact(d)) {
            let sd = w.variance.sqrt();
            let e = (d as f64 / 4.0 + 25.0) * 6e-8 * longest * length(direction, &vec![0.0; d]) / sd;
            let s = (n.min(256) as f64 + n as f64 / 256.0 + 10.0) * 6e-8;
            let (skewness, kurtosis) = (w.skewness.unwrap(), w.kurtosis.unwrap());
            // E|z|³ is at most the root of E z² E z⁴.
            let third = kurtosis.sqrt();
            let normed = 2.0 * e + s;
            let checks = [
                (g.mean, w.mean, (e + s) * sd + 1e-14 * w.mean.abs()),
                (g.variance / w.variance, 1.0, normed),
                (g.skewness.unwrap(), skewness, 3.0 * e + s * (third + 3.0) + 1.5 * normed * skewness.abs()),
                (
                    g.kurtosis.unwrap(),
                    kurtosis,
                    4.0 * e * third + s * (kurtosis + 4.0 * third) + 2.0 * normed * kurtosis,
                ),
            ];
            for (i, (g, w, bound)) in checks.into_iter().enumerate() {
                assert!((g - w).abs() <= bound, "{what} on {}, {i}: {g} for {w}, allowed {bound:e}", device.name());
            }
        }
    }
}

#[test]
fn on_devices_as_in_f64() {
    let mut rng = Rng(5);
    for (n, d, r) in [(12, 2, 3), (700, 5, 1), (3000, 33, 7), (1500, 64, 64)] {
        // Skewed, and with a mean that is large against the spread.
        let rows: Vec<f32> = (0..n * d).map(|at| (50.0 + (at % d) as f64 + 0.3 * rng.normal().exp()) as f32).collect();
        let basis: Vec<f64> = (0..r * d).map(|_| rng.normal()).collect();
        let weights: Vec<f64> = (0..n).map(|_| rng.uniform()).collect();
        on_devices(&rows, None, d, &basis, &format!("[{n}, {d}]"));
        on_devices(&rows, Some(&weights), d, &basis, &format!("[{n}, {d}] weighted"));
        for scale in [1e-30f32, 1e30] {
            let scaled: Vec<f32> = rows.iter().map(|x| x * scale).collect();
            let far: Vec<f64> = basis.iter().map(|x| x * 1e90).collect();
            on_devices(&scaled, None, d, &far, &format!("[{n}, {d}] by {scale:e}"));
        }
    }
}

#[test]
fn on_devices_constant_directions_have_no_shape() {
    let mut rng = Rng(9);
    let rows: Vec<f32> = (0..400)
        .flat_map(|_| {
            let x = rng.normal() as f32;
            // Exactly: 3 x is no f32, 4 x is.
            [x, 4.0 * x]
        })
        .collect();
    for device in devices() {
        for (rows, basis) in
            [(&rows[..], [4.0, -1.0]), (&[0.1, 0.7, 0.1, 0.7, 0.1, 0.7], [0.3, 0.9]), (&[0.0; 8], [1.0, 1.0])]
        {
            let m = direction_moments_on(&device, rows, None, 2, &basis).unwrap()[0];
            assert_eq!((m.skewness, m.kurtosis), (None, None), "{} {m:?}", device.name());
            assert!(m.variance < 1e-10 && m.mean.is_finite(), "{m:?}");
        }
        assert!(direction_moments_on(&device, &rows, None, 2, &[]).unwrap().is_empty());
        let refused = |rows: &[f32], basis: &[f64], word: &str| {
            let error = direction_moments_on(&device, rows, None, 2, basis).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        };
        refused(&[], &BASIS, "no rows");
        refused(&[1.0; 3], &BASIS, "rows has 3 values");
        refused(&[1.0, 2.0, 3.0, f32::INFINITY], &BASIS, "row 1, column 1");
        refused(&[1.0, 2.0], &[f64::NAN, 0.0], "basis");
        refused(&[3e38, 3e38, -3e38, -3e38], &[1e290, 1e290], "overflow");
    }
}
