//! Column sums: the same bits on every engine and for every chunking, and close to f64.

use half::{bf16, f16};
use realign::device::{Device, Tensor};
use realign::kernels::stats::moments::{self, Summand, Sums};
use realign::{ElementType, host};

use crate::common::{Rng, cloud, devices, gpu, max_difference, mean, unit_rows};

/// Sums of `data` in chunks of `chunk` rows.
fn sums(device: &Device, data: &[u8], d: usize, element: ElementType, chunk: usize, vectors: &[Vec<f64>]) -> Sums {
    let summand = Summand::operator(device, 0.75, vectors, d).unwrap();
    let buffer = device.buffer("sums", summand.sums_bytes()).unwrap();
    let mut recorder = device.recorder();
    let mut done = 0;
    for part in data.chunks(chunk.max(1) * d * element.bytes()) {
        let tensor = Tensor::from_bytes(device, part, d, element).unwrap();
        moments::record(&mut recorder, &summand, &tensor, tensor.rows(), (&buffer, done)).unwrap();
        done += tensor.rows() as u64;
    }
    recorder.submit().unwrap();
    Sums::from_bytes(&device.read_blocking(&buffer).unwrap(), &summand).unwrap()
}

fn f32_sums(device: &Device, data: &[f32], d: usize, chunk: usize, vectors: &[Vec<f64>]) -> Sums {
    sums(device, bytemuck::cast_slice(data), d, ElementType::F32, chunk, vectors)
}

fn column_means(sums: &Sums, n: usize) -> Vec<f64> {
    sums.columns.iter().map(|&c| c as f64 / 40f64.exp2() / n as f64).collect()
}

/// Vectors of length around 1, as the operator has them.
fn vectors(seed: u64, count: usize, d: usize) -> Vec<Vec<f64>> {
    let mut rng = Rng(seed);
    (0..count).map(|k| (0..d).map(|_| rng.normal() * 0.6f64.powi(k as i32) / (d as f64).sqrt()).collect()).collect()
}

/// Mean of the operator's rows in f64.
fn operator_mean(unit: &[f64], d: usize, a: f64, vectors: &[Vec<f64>]) -> Vec<f64> {
    let project = |z: Vec<f64>| {
        let norm = z.iter().map(|x| x * x).sum::<f64>().sqrt();
        z.into_iter().map(|x| x / norm).collect::<Vec<f64>>()
    };
    let rows: Vec<f64> = unit
        .chunks_exact(d)
        .flat_map(|u| {
            let first = project(u.iter().zip(&vectors[0]).map(|(u, v)| a * u + v).collect());
            vectors[1..].iter().fold(first, |r, v| project(r.iter().zip(v).map(|(r, v)| r + v).collect()))
        })
        .collect();
    mean(&rows, d)
}

#[test]
fn shapes_on_both_engines() {
    let [host, gpu] = [Device::host(), gpu()];
    // Empty, 1, prime, not a multiple of 4, above one tile and workgroup.
    for (n, d) in [(0, 8), (1, 1), (1, 64), (7, 3), (63, 5), (64, 64), (65, 130), (257, 17), (1000, 64), (131, 1280)] {
        let data = cloud(n as u64 + 1, n, d);
        let a = f32_sums(&host, &data, d, usize::MAX / (d * 4), &[]);
        let b = f32_sums(&gpu, &data, d, usize::MAX / (d * 4), &[]);
        assert_eq!(a, b, "[{n}, {d}]");
        assert_eq!(a.nonzero, n as u64);
        if n > 0 {
            // The documented bound.
            max_difference(&column_means(&a, n), &mean(&unit_rows(&data, d), d), 5e-10).unwrap();
        }
    }
}

#[test]
fn more_tiles_than_a_dispatch_has_groups() {
    let (n, d) = (64 * 65_535 - 63 + 64, 1);
    let data: Vec<f32> = (0..n).map(|i| if i % 3 == 0 { -1.5 } else { 2.5 }).collect();
    let want = (0..n).map(|i| if i % 3 == 0 { -1i128 } else { 1 }).sum::<i128>();
    for device in devices() {
        // A row of one element is u = x w 2^-61 with w = 2^31 - 1 or so: within 2^-31 of 1 each.
        let got = f32_sums(&device, &data, d, usize::MAX / 4, &[]).columns[0];
        let error = (got - (want << 40)).abs() as f64 / 40f64.exp2() / n as f64;
        assert!(error < 5e-10, "{}: {error}", device.name());
    }
}

#[test]
fn chunking_and_order_do_not_matter() {
    let (n, d) = (1003, 36);
    let data = cloud(5, n, d);
    let reversed: Vec<f32> = data.chunks_exact(d).rev().flatten().copied().collect();
    for vectors in [vec![], vectors(3, 1, d), vectors(3, 4, d)] {
        let want = f32_sums(&Device::host(), &data, d, n, &vectors);
        for device in devices() {
            for chunk in [7, 1000, n] {
                assert_eq!(f32_sums(&device, &data, d, chunk, &vectors), want, "{} {chunk}", device.name());
            }
            assert_eq!(f32_sums(&device, &reversed, d, 100, &vectors), want, "{} reversed", device.name());
        }
    }
    assert_eq!(f32_sums(&gpu(), &data[..50 * d], d, 1, &[]), f32_sums(&Device::host(), &data[..50 * d], d, 50, &[]));
}

#[test]
fn operator_rows_on_both_engines() {
    let gpu = gpu();
    for (n, d, count) in [(1, 4, 1), (200, 64, 1), (333, 50, 2), (97, 130, 5), (70, 64, 9)] {
        let (data, vectors) = (cloud(7, n, d), vectors(11, count, d));
        let a = f32_sums(&Device::host(), &data, d, n, &vectors);
        assert_eq!(a, f32_sums(&gpu, &data, d, n, &vectors), "[{n}, {d}] {count}");
        let want = operator_mean(&unit_rows(&data, d), d, 0.75, &vectors);
        // Weights carry 31 bits through at most `count` projections.
        max_difference(&column_means(&a, n), &want, 1.5e-9 * count as f64).unwrap();
    }
}

#[test]
fn zero_tiny_huge_and_bad_rows() {
    let d = 8;
    let mut data = vec![0f32; 16 * d];
    let set = |data: &mut Vec<f32>, row: usize, values: [f32; 3]| data[row * d..row * d + 3].copy_from_slice(&values);
    set(&mut data, 1, [3.0, -4.0, 0.0]);
    set(&mut data, 2, [1e-39, 0.0, 0.0]);
    set(&mut data, 3, [9e-11, 0.0, 0.0]); // below 1e-10: counts as zero
    set(&mut data, 4, [6e-11, -8.2e-11, 0.0]); // above
    set(&mut data, 5, [3e38, 3e38, -3e38]);
    set(&mut data, 6, [1e-30, 1.0, f32::MIN_POSITIVE]);
    set(&mut data, 7, [1.1e-12, 0.0, 0.0]);
    let want = f32_sums(&Device::host(), &data, d, 16, &[]);
    assert_eq!(want.nonzero, 4);
    max_difference(
        &column_means(&want, 1)[..3],
        &[0.6 + 0.5905 + 0.577350269, -0.8 - 0.8071 + 0.577350269 + 1.0, -0.577350269],
        1e-4,
    )
    .unwrap();
    for device in devices() {
        assert_eq!(f32_sums(&device, &data, d, 5, &[]), want);
        for (row, bad) in [(9, f32::NAN), (11, f32::INFINITY), (3, f32::NEG_INFINITY)] {
            let mut data = data.clone();
            data[row * d + 5] = bad;
            data[13 * d] = f32::NAN;
            assert_eq!(f32_sums(&device, &data, d, 4, &[]).first_bad, Some(row as u64), "{}", device.name());
        }
    }
}

#[test]
fn narrow_and_fixed_rows() {
    let gpu = gpu();
    let (n, d) = (301, 37);
    let data = cloud(21, n, d);
    let halves: Vec<f16> = data.iter().map(|&x| f16::from_f32(x * 1e-3)).collect();
    let brains: Vec<bf16> = data.iter().map(|&x| bf16::from_f32(x)).collect();
    let mut fixed = vec![0i32; n * d];
    for (row, out) in data.chunks_exact(d).zip(fixed.chunks_exact_mut(d)) {
        let row: Vec<f64> = row.iter().map(|&x| f64::from(x) * 1e200).collect();
        assert_eq!(host::rows::fixed_row(&row, out), None);
    }
    let cases: [(&[u8], ElementType, Vec<f32>); 3] = [
        (bytemuck::cast_slice(&halves), ElementType::F16, halves.iter().map(|h| h.to_f32()).collect()),
        (bytemuck::cast_slice(&brains), ElementType::BF16, brains.iter().map(|b| b.to_f32()).collect()),
        (bytemuck::cast_slice(&fixed), ElementType::Fixed, data),
    ];
    for (bytes, element, wide) in cases {
        let a = sums(&Device::host(), bytes, d, element, n, &vectors(2, 2, d));
        assert_eq!(a, sums(&gpu, bytes, d, element, 100, &vectors(2, 2, d)), "{element}");
        let plain = sums(&gpu, bytes, d, element, n, &[]);
        max_difference(&column_means(&plain, n), &mean(&unit_rows(&wide, d), d), 5e-10).unwrap();
    }
}
