//! Neighbours and histograms of cosines against f64.

use realign::device::Device;
use realign::geometry::neighbourhood::nearest_others_on;
use realign::geometry::neighbours::{Rows, cosine_histogram, nearest};

use crate::common::{cloud, devices, gpu, unit_rows};

/// A cosine's error in f32: two roundings of each factor and a sum of d products that add up to at most 1 in magnitude.
fn tolerance(d: usize) -> f64 {
    (d as f64 + 4.0) * 2f64.powi(-24)
}

/// A GPU's shapes of kernels, on the adapter under test.
fn teams(max_binding: Option<u64>) -> Device {
    let shape = |c: &mut realign::device::Capabilities| {
        (c.group, c.lanes, c.subgroup_teams) = (256, 32, false);
        c.max_binding = max_binding.unwrap_or(c.max_binding);
    };
    gpu().with_capabilities(shape).unwrap()
}

fn variants() -> Vec<Device> {
    [devices(), vec![teams(None)]].concat()
}

fn cosines(a: &[f32], b: &[f32], d: usize) -> Vec<Vec<f64>> {
    let (a, b) = (unit_rows(a, d), unit_rows(b, d));
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum();
    a.chunks_exact(d).map(|x| b.chunks_exact(d).map(|y| dot(x, y)).collect()).collect()
}

#[test]
fn nearest_of_clouds() {
    for device in variants() {
        for (n, m, d, k) in [(1, 2, 1, 1), (5, 7, 3, 6), (70, 130, 33, 10), (2100, 61, 5, 3), (9, 4200, 4, 20)] {
            let (q, b) = (cloud(1, n, d), cloud(2, m, d));
            let rows = |data| Rows::new(data, d).unwrap();
            let got = nearest(&device, rows(&q), rows(&b), k, None).unwrap();
            let all = cosines(&q, &b, d);
            let eps = tolerance(d);
            for (i, want) in all.iter().enumerate() {
                let found = &got.indices[i * k..(i + 1) * k];
                let values = &got.cosines[i * k..(i + 1) * k];
                assert!(values.windows(2).all(|w| w[0] >= w[1]), "descending");
                for (&j, &c) in found.iter().zip(values) {
                    assert!((f64::from(c) - want[j as usize]).abs() <= eps, "{} {i} {j}", device.name());
                }
                // All that is left out is no nearer than the last, up to rounding; nothing comes twice.
                let last = want[found[k - 1] as usize];
                let better = (0..m as u32).filter(|j| !found.contains(j) && want[*j as usize] > last + 2.0 * eps);
                assert_eq!(better.count(), 0, "{} {i}", device.name());
                assert!((1..k).all(|p| !found[..p].contains(&found[p])));
            }
        }
    }
}

/// Longer lists than devices keep are made on the host, of the same cosines: they go on as the shorter ones do.
#[test]
fn the_host_selects_as_the_device_does() {
    let (n, m, d) = (70, 2300, 5);
    let (q, mut b) = (cloud(5, n, d), cloud(6, m, d));
    // Ties across tiles.
    b.copy_within(0..500 * d, 1700 * d);
    let rows = |data| Rows::new(data, d).unwrap();
    let own: Vec<u32> = (0..n as u32).map(|i| 31 * i).collect();
    for device in variants() {
        let list = |k| nearest(&device, rows(&q), rows(&b), k, Some(&own)).unwrap();
        let (short, long) = (list(256), list(257));
        for i in 0..n {
            let (short_at, long_at) = (i * 256..(i + 1) * 256, i * 257..i * 257 + 256);
            assert_eq!(short.indices[short_at.clone()], long.indices[long_at.clone()], "{} {i}", device.name());
            assert_eq!(short.cosines[short_at], long.cosines[long_at], "{} {i}", device.name());
        }
    }
}

/// Queries whose lists do not fit a binding come in parts.
#[test]
fn lists_in_parts() {
    let (n, m, d, k) = (600, 261, 1024, 256);
    let (q, b) = (cloud(7, n, d), cloud(8, m, d));
    let rows = |data| Rows::new(data, d).unwrap();
    let own: Vec<u32> = (0..n as u32).map(|i| i % 300).collect();
    let found = |device: &Device| nearest(device, rows(&q), rows(&b), k, Some(&own)).unwrap();
    // The lists of 512 queries are as large as a tile of 256 rows.
    assert_eq!(found(&teams(Some(1 << 20))), found(&teams(None)));
}

#[test]
fn itself_is_left_out_and_ties_go_by_index() {
    let d = 4;
    // Axes, each five times, at lengths that make no difference; and a row of zeros.
    let mut data: Vec<f32> =
        (0..20 * d).map(|at| if at % d == (at / d) % 4 { 1.0 + (at / d) as f32 } else { 0.0 }).collect();
    data.extend([0.0; 4]);
    let rows = Rows::new(&data, d).unwrap();
    let own: Vec<u32> = (0..21).collect();
    for device in variants() {
        let got = nearest(&device, rows, rows, 6, Some(&own)).unwrap();
        for i in 0..20u32 {
            let same: Vec<u32> = (0..20).filter(|j| j % 4 == i % 4 && *j != i).collect();
            let rest = (0..21).filter(|j| j % 4 != i % 4 || *j == 20).take(2);
            let want: Vec<u32> = same.into_iter().chain(rest).collect();
            assert_eq!(got.indices[i as usize * 6..(i as usize + 1) * 6], want, "{} {i}", device.name());
        }
        assert_eq!(got.indices[120..], [0, 1, 2, 3, 4, 5]);
        assert_eq!(got.cosines[120..], [0.0; 6]);
        let with = nearest(&device, rows, rows, 1, None).unwrap();
        assert!((0..20).all(|i| with.indices[i] == i as u32 % 4));
    }
}

#[test]
fn histograms() {
    let (n, m, d, bins) = (2100, 150, 6, 20_001);
    let (a, b) = (cloud(3, n, d), cloud(4, m, d));
    let bin = |c: f64| (((c + 1.0) * 1e4).round_ties_even() as usize).min(bins - 1);
    let reference = |all: &[Vec<f64>], counts: &dyn Fn(usize, usize) -> bool| {
        let mut want = vec![0i64; bins];
        for (i, row) in all.iter().enumerate() {
            row.iter().enumerate().filter(|(j, _)| counts(i, *j)).for_each(|(_, &c)| want[bin(c)] += 1);
        }
        want
    };
    let within = reference(&cosines(&a, &a, d), &|i, j| i < j);
    let across = reference(&cosines(&a, &b, d), &|i, j| i != j);
    for device in variants() {
        let rows = |data| Rows::new(data, d).unwrap();
        for (want, other) in [(&within, None), (&across, Some(rows(&b)))] {
            let got = cosine_histogram(&device, rows(&a), other, bins).unwrap();
            assert_eq!(got.iter().sum::<u64>() as i64, want.iter().sum::<i64>());
            // Only pairs within rounding of an edge may move, and by one bin: sums up to any bin differ by no more than them.
            let (mut lead, mut moved) = (0i64, 0i64);
            for (g, w) in got.iter().zip(want) {
                lead += *g as i64 - w;
                moved += lead.abs();
            }
            let pairs = want.iter().sum::<i64>() as f64;
            let expected = pairs * 2.0 * tolerance(d) * 1e4;
            assert!((moved as f64) <= expected + 10.0, "{}: {moved} of {pairs} moved, {expected}", device.name());
        }
        let same = vec![1.0f32; 3 * 2];
        // The last number of bins is above what devices count.
        for bins in [3, 1_048_577] {
            let got = cosine_histogram(&device, Rows::new(&same, 2).unwrap(), None, bins).unwrap();
            assert_eq!((got.len(), got[bins - 1], got.iter().sum()), (bins, 3, 3));
        }
    }
}

#[test]
fn requests_that_are_refused() {
    let device = Device::host();
    let data = cloud(1, 6, 4);
    let rows = Rows::new(&data, 4).unwrap();
    for k in [0, 6, 7, usize::MAX] {
        assert!(nearest(&device, rows, rows, k, None).unwrap_err().to_string().contains("fewer than there are rows"));
    }
    assert!(nearest(&device, rows, rows, 2, Some(&[0])).is_err());
    let other = Rows::new(&data, 3).unwrap();
    assert!(nearest(&device, rows, other, 2, None).unwrap_err().to_string().contains("width"));
    assert!(cosine_histogram(&device, rows, Some(other), 9).is_err());
    assert!(cosine_histogram(&device, rows, None, 1).is_err());
    let one = Rows::new(&data[..4], 4).unwrap();
    assert!(cosine_histogram(&device, one, None, 9).unwrap_err().to_string().contains("no pair"));
    assert!(cosine_histogram(&device, one, Some(one), 9).is_err());
    assert!(Rows::new(&data, 0).is_err() && Rows::new(&data, 5).is_err());
    assert!(Rows::new(&[1.0, f32::INFINITY], 1).unwrap_err().to_string().contains("row 1"));
    let none = nearest(&device, Rows::new(&[], 4).unwrap(), rows, 2, None).unwrap();
    assert!(none.indices.is_empty());
}

/// The same as ranking all rows in f64, on every device: f32 only chooses candidates.
#[test]
fn nearest_others_are_exact() {
    let (n, d, k) = (2150, 7, 12);
    let distinct = unit_rows(&cloud(8, n, d), d);
    // Each row 43 times: more copies than candidates, so that f32 cannot tell which are the first.
    let copies: Vec<f64> = (0..n).flat_map(|i| distinct[(i % 50) * d..(i % 50 + 1) * d].to_vec()).collect();
    // Products of rows that are not of norm 1 are no cosines.
    let long: Vec<f64> = distinct.iter().enumerate().map(|(at, x)| x * (1.0 + (at / d % 3) as f64)).collect();
    let near: Vec<f64> = unit_rows(&cloud(9, 300, d), d);
    // Lists above 256 are made on the host.
    for (rows, k) in [(&near, k), (&near, 250), (&distinct, k), (&copies, k), (&long, k)] {
        let row = |i: usize| &rows[i * d..(i + 1) * d];
        let mut want = Vec::new();
        for i in 0..rows.len() / d {
            let dot = |j: usize| row(i).iter().zip(row(j)).map(|(x, y)| x * y).sum::<f64>();
            let others = (0..rows.len() / d).filter(|&j| j != i);
            let mut all: Vec<(f64, u32)> = others.map(|j| ((dot(j) * 2f64.powi(40)).round(), j as u32)).collect();
            all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            want.extend(all[..k].iter().map(|&(_, j)| j));
        }
        for device in variants() {
            let got = nearest_others_on(&device, rows, d, k).unwrap();
            let wrong = got.iter().zip(&want).filter(|(g, w)| g != w).count();
            // Sums in another order may round a product to the next multiple of 2^-40, and with it exchange two.
            assert!(wrong <= 4, "{}: {wrong} of {}", device.name(), want.len());
        }
    }
}
