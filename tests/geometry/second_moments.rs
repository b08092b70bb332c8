//! Exact second moments: the same bits for every order, cut and device, against rationals and against f64; merging, files.

use half::{bf16, f16};
use realign::device::Device;
use realign::kernels::linalg::ExactForm;
use realign::stats::{
    Covariance, CovarianceMode, CovarianceSums, FRACTION_BITS, MemoryRows, NonFinite, SecondMoments, StreamOptions,
    Summary, covariance_fast,
};
use realign::{ElementType, Error};

use crate::common::{Rng, cloud, devices, gpu, unit_rows};
use crate::covariance::{narrow, reference, relative};

/// By the engine that the device takes, and by the kernel.
fn both(device: &Device, data: &[f32], d: usize, chunk: Option<usize>) -> [SecondMoments; 2] {
    let options = StreamOptions::default().chunk_rows(chunk);
    let source = || MemoryRows::f32("rows", data, d).unwrap();
    [
        SecondMoments::of(device, &mut source(), options).unwrap(),
        SecondMoments::by_kernel(device, &mut source(), options).unwrap(),
    ]
}

/// The adapter as it is, reading buffers, with sums in bands, by each form of products; and the host.
fn engines() -> Vec<Device> {
    let buffers = gpu().with_capabilities(|c| c.texel_reads = false).unwrap();
    let bands = gpu().with_capabilities(|c| c.max_binding = 1 << 14).unwrap();
    [devices(), vec![buffers, bands], by_slices()].concat()
}

/// The adapter with products of slices in floats.
fn by_slices() -> Vec<Device> {
    let form = |form| gpu().with_capabilities(|c| c.exact_form = Some(form)).unwrap();
    // Digits for wide rows, the products of whose slices a binding does not hold.
    let small = gpu().with_capabilities(|c| (c.exact_form, c.max_binding) = (Some(ExactForm::Floats), 1 << 14));
    vec![form(ExactForm::Floats), form(ExactForm::Halves), small.unwrap()]
}

/// Rows in another order.
fn permuted(data: &[f32], d: usize, order: usize) -> Vec<f32> {
    let mut rows: Vec<&[f32]> = data.chunks_exact(d).collect();
    match order {
        0 => {}
        1 => rows.reverse(),
        _ => {
            let mut rng = Rng(3);
            (1..rows.len()).rev().for_each(|i| rows.swap(i, (rng.next() % (i as u64 + 1)) as usize));
        }
    }
    rows.concat()
}

#[test]
fn the_same_bits_for_every_order_cut_and_device() {
    let (n, d) = (5000, 21);
    let data = [narrow(4, n / 2, d), cloud(5, n / 2, d)].concat();
    let want = both(&Device::host(), &data, d, None)[0].clone();
    for device in engines() {
        for order in 0..3 {
            let data = permuted(&data, d, order);
            for chunk in [None, Some(1), Some(7), Some(64), Some(513), Some(1000), Some(1 << 20)] {
                // Rows one by one take a dispatch each.
                if chunk == Some(1) && device.wgpu().is_some() {
                    continue;
                }
                for got in both(&device, &data, d, chunk) {
                    assert!(got == want, "{}, order {order}, chunks of {chunk:?}", device.name());
                }
            }
        }
    }
    let mut moved = data.clone();
    moved[1234] = moved[1234].next_up();
    assert!(both(&Device::host(), &moved, d, None)[0] != want, "one ulp of one element is told");
}

/// As many rows as a data set's shard has, in seven cuts and three orders.
#[test]
fn a_hundred_thousand_rows() {
    let (n, d) = (100_000, 9);
    let data = [narrow(4, n / 2, d), cloud(5, n / 2, d)].concat();
    let want = both(&Device::host(), &data, d, None)[0].clone();
    for device in [devices(), by_slices()[..1].to_vec()].concat() {
        for order in 0..3 {
            let data = permuted(&data, d, order);
            for chunk in [300, 513, 1000, 1024, 4096, 33_333, n] {
                for got in both(&device, &data, d, Some(chunk)) {
                    assert!(got == want, "{}, order {order}, chunks of {chunk}", device.name());
                }
            }
        }
    }
}

#[test]
fn parts_merge_to_the_same_bits() {
    let (n, d) = (3000, 33);
    let data = [narrow(4, n / 2, d), cloud(5, n / 2, d)].concat();
    let of = |part: &[f32]| both(&Device::host(), part, d, None)[0].clone();
    let whole = of(&data);
    for cuts in [vec![1], vec![n - 1], vec![700, 701, 1500, 2900], (1..n).step_by(97).collect()] {
        let ends = cuts.iter().copied().chain([n]);
        let mut parts: Vec<_> =
            [0].into_iter().chain(cuts.iter().copied()).zip(ends).map(|(a, b)| of(&data[a * d..b * d])).collect();
        parts.reverse();
        let mut merged = SecondMoments::empty(d).unwrap();
        parts.iter().for_each(|part| merged.merge(part).unwrap());
        assert!(merged == whole, "{cuts:?}");
        assert_eq!(merged.covariance(), whole.covariance());
    }
    let wider = SecondMoments::empty(d + 1).unwrap();
    assert!(whole.clone().merge(&wider).unwrap_err().to_string().contains("width"));
    assert!(SecondMoments::empty(0).is_err() && SecondMoments::empty(1 << 20).is_err());
}

/// ‖a - b‖ / ‖b‖ in units of what rounding to 2⁻⁴³ may do.
#[test]
fn close_to_the_rows_own_covariance() {
    for (n, d) in [(1, 1), (2, 3), (7, 5), (130, 33), (1024, 8), (1025, 70), (3000, 17)] {
        for data in [cloud(n as u64, n, d), narrow(n as u64, n, d)] {
            let unit = unit_rows(&data, d);
            let want = reference(&unit, d);
            for device in engines() {
                for got in both(&device, &data, d, None).map(|sums| sums.covariance()) {
                    let (error, bound) = (relative(&got.matrix, &want), got.error + 1e-13);
                    assert!(error <= bound, "{} [{n}, {d}]: {error:e}, {bound:e}", device.name());
                    assert_eq!((got.count, got.width()), (n as u64, d));
                    assert!((0..d * d).all(|at| got.matrix[at] == got.matrix[at % d * d + at / d]), "symmetric");
                    assert!((0..d).all(|i| got.matrix[i * d + i] >= 0.0));
                }
            }
        }
    }
}

/// A mean that is large against the spread costs no digits: 1e-9 where the mean has norm 0.999.
#[test]
fn large_means() {
    let (n, d) = (2000, 256);
    let mut rng = Rng(9);
    let axis: Vec<f64> = (0..d).map(|_| rng.normal()).collect();
    let data: Vec<f32> = (0..n * d).map(|at| (axis[at % d] + 0.045 * rng.normal()) as f32).collect();
    let unit = unit_rows(&data, d);
    let found = both(&Device::host(), &data, d, None)[0].covariance();
    let norm = found.mean.iter().map(|x| x * x).sum::<f64>().sqrt();
    assert!((0.9985..0.9995).contains(&norm), "{norm}");
    let error = relative(&found.matrix, &reference(&unit, d));
    assert!(error <= 1e-10 && error <= found.error && found.error <= 1e-9, "{error:e}, {:e}", found.error);
}

/// Integers of any length, as sums of powers of 2⁶⁴.
mod rational {
    /// `n Σ a_i b_i - (Σ a_i)(Σ b_i)`, of integers below 2⁴⁴: in two parts, `high 2⁶⁴ + low`.
    pub fn scatter(a: &[i64], b: &[i64]) -> (i128, u64) {
        let n = a.len() as i128;
        let wide = |x: i128| (x >> 64, x as u64);
        let add = |(ah, al): (i128, u64), (bh, bl): (i128, u64)| {
            let (low, carry) = al.overflowing_add(bl);
            (ah + bh + i128::from(carry), low)
        };
        // Sums of few integers: each product times n fits 128 bits.
        let mut sum = (0, 0);
        a.iter().zip(b).for_each(|(a, b)| sum = add(sum, wide(n * i128::from(*a) * i128::from(*b))));
        let (sa, sb) = (a.iter().map(|x| i128::from(*x)).sum::<i128>(), b.iter().map(|x| i128::from(*x)).sum::<i128>());
        add(sum, wide(-(sa * sb)))
    }
}

#[test]
fn the_covariance_is_that_of_the_integers() {
    let (n, d) = (200, 9);
    for data in [cloud(1, n, d), narrow(2, n, d)] {
        let unit = 2f64.powi(FRACTION_BITS as i32);
        // Rows that are integers already: f64 rows of norm 1 but for their rounding.
        let rows: Vec<f64> = unit_rows(&data, d);
        let mut source = MemoryRows::new("rows", bytemuck::cast_slice(&rows), d, ElementType::F64).unwrap();
        let sums = SecondMoments::of(&Device::host(), &mut source, StreamOptions::default()).unwrap();
        let found = sums.covariance();
        let column = |j: usize| {
            let norm = |row: &[f64]| row.iter().map(|x| x * x).sum::<f64>().sqrt();
            let integers = rows.chunks_exact(d).map(|row| (row[j] / norm(row) * unit).round_ties_even() as i64);
            integers.collect::<Vec<_>>()
        };
        for (i, j) in [(0, 0), (0, 1), (3, 8), (8, 8), (5, 2)] {
            let (high, low) = rational::scatter(&column(i), &column(j));
            let exact = high as f64 * 2f64.powi(64) + low as f64;
            let want = exact / (n as f64 * unit).powi(2);
            let got = found.matrix[i * d + j];
            // An integer may differ by one where f64's last bit decides: of 200 rows a part in 2⁴³.
            assert!((got - want).abs() <= 4.0 / unit * want.abs().max(1e-3), "({i}, {j}): {got:e}, {want:e}");
        }
        let mean = |j: usize| column(j).iter().map(|x| *x as f64).sum::<f64>() / n as f64 / unit;
        (0..d).for_each(|j| assert!((found.mean[j] - mean(j)).abs() <= 1.0 / unit));
    }
}

#[test]
fn equal_zero_and_single_rows() {
    let d = 6;
    for device in engines() {
        let of = |data: &[f32]| both(&device, data, d, None).map(|sums| sums.covariance());
        let equal: Vec<f32> = (0..50 * d).map(|at| (at % d) as f32 - 1.5).collect();
        for found in [of(&equal), of(&vec![0.0; 10 * d]), of(&equal[..d])].concat() {
            assert!(found.matrix.iter().all(|x| *x == 0.0), "exactly");
        }
        let mut one = vec![0.0; 3 * d];
        (one[0], one[d + 1], one[2 * d]) = (3.0, -1e30, 1e-30);
        for found in of(&one) {
            // Two units and a row that counts as zero.
            let close = |x: f64, y: f64| (x - y).abs() < 1e-15;
            assert!(close(found.matrix[0], 2.0 / 9.0) && close(found.matrix[1], 1.0 / 9.0), "{:?}", found.matrix);
            assert!(close(found.mean[1], -1.0 / 3.0));
        }
        let huge: Vec<f32> = cloud(3, 40, d).iter().map(|x| x * 1e37).collect();
        for found in of(&huge) {
            assert!(relative(&found.matrix, &reference(&unit_rows(&huge, d), d)) <= found.error + 1e-13);
        }
    }
}

#[test]
fn element_types() {
    let (n, d) = (300, 10);
    let data = cloud(8, n, d);
    let of = |bytes: &[u8], element| {
        let source = || MemoryRows::new("rows", bytes, d, element).unwrap();
        let all = engines()
            .into_iter()
            .map(|device| SecondMoments::by_kernel(&device, &mut source(), StreamOptions::default()).unwrap());
        let all: Vec<SecondMoments> = all.collect();
        assert!(all.iter().all(|sums| *sums == all[0]));
        all[0].covariance()
    };
    let halves: Vec<f16> = data.iter().map(|&x| f16::from_f32(x)).collect();
    let short: Vec<bf16> = data.iter().map(|&x| bf16::from_f32(x)).collect();
    let doubles: Vec<f64> = data.iter().map(|&x| f64::from(x)).collect();
    let near = |found: Covariance, rows: &[f32]| {
        assert!(relative(&found.matrix, &reference(&unit_rows(rows, d), d)) <= found.error + 1e-13);
    };
    near(of(bytemuck::cast_slice(&doubles), ElementType::F64), &data);
    near(of(bytemuck::cast_slice(&halves), ElementType::F16), &halves.iter().map(|x| x.to_f32()).collect::<Vec<_>>());
    near(of(bytemuck::cast_slice(&short), ElementType::BF16), &short.iter().map(|x| x.to_f32()).collect::<Vec<_>>());
}

#[test]
fn bad_values_and_no_rows() {
    let (n, d) = (2100, 5);
    let mut data = cloud(1, n, d);
    data[1500 * d + 3] = f32::NAN;
    for device in devices() {
        let run = |data: &[f32], options| {
            SecondMoments::by_kernel(&device, &mut MemoryRows::f32("rows", data, d).unwrap(), options)
        };
        match run(&data, StreamOptions::default()).unwrap_err() {
            Error::NonFinite { row, column, .. } => assert_eq!((row, column), (1500, 3)),
            other => panic!("{other}"),
        }
        let zeroed = run(&data, StreamOptions::default().nonfinite(NonFinite::Zero)).unwrap();
        let mut replaced = data.clone();
        replaced[1500 * d + 3] = 0.0;
        assert_eq!(run(&replaced, StreamOptions::default()).unwrap(), zeroed);
        assert!(run(&[], StreamOptions::default()).unwrap_err().to_string().contains("no rows"));
    }
}

#[test]
fn summaries_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let d = 7;
    let count = |device: &Device, data: &[f32], mode| {
        Summary::of(device, &mut MemoryRows::f32("rows", data, d).unwrap(), Some(mode), StreamOptions::default())
            .unwrap()
    };
    let (data, other) = (narrow(1, 3000, d), cloud(2, 500, d));
    let (host, exact) = (Device::host(), CovarianceMode::Exact);
    let bytes = |summary: &Summary| {
        summary.save(&path, true).unwrap();
        std::fs::read(&path).unwrap()
    };
    // Merged in either order, on either device: one file, byte for byte.
    let whole = count(&host, &[&data[..], &other].concat(), exact);
    let mut merged = count(&gpu(), &other, exact);
    merged.merge(&count(&host, &data, exact)).unwrap();
    assert_eq!(bytes(&merged), bytes(&whole));
    let loaded = Summary::load(&path).unwrap();
    assert_eq!(loaded, whole);
    assert!(String::from_utf8_lossy(&bytes(&whole)).contains("\"format_version\":\"2\""));
    // With a rounded one it is rounded, with the worse of both errors.
    let fast = count(&host, &other, CovarianceMode::Fast);
    for (mut a, b) in [(fast.clone(), count(&host, &data, exact)), (count(&host, &data, exact), fast)] {
        a.merge(&b).unwrap();
        let Some(CovarianceSums::Rounded(found)) = a.covariance else { panic!("a rounded covariance") };
        assert!(relative(&found.matrix, &whole.covariance.as_ref().unwrap().covariance().matrix) < 1e-6);
        assert_eq!(found.error, realign::stats::COVARIANCE_ERROR);
    }
    // Damage is told: of sums, and of what they come to.
    let good = bytes(&whole);
    let at = |name: &str| {
        let header = u64::from_le_bytes(*good.first_chunk::<8>().unwrap()) as usize;
        let value: serde_json::Value = serde_json::from_slice(&good[8..8 + header]).unwrap();
        8 + header + value[name]["data_offsets"][0].as_u64().unwrap() as usize
    };
    for name in
        ["covariance", "covariance_mean", "covariance_product_high", "covariance_product_low", "covariance_sum_high"]
    {
        let mut bad = good.clone();
        bad[at(name) + 6] ^= 0x5b;
        std::fs::write(&path, &bad).unwrap();
        let error = Summary::load(&path).unwrap_err().to_string();
        assert!(error.contains("damaged") || error.contains("no covariance"), "{name}: {error}");
    }
}

/// The fast way is near the exact one, as it says.
#[test]
fn the_fast_way_is_near() {
    let (n, d) = (3000, 40);
    let data = narrow(3, n, d);
    let exact = both(&Device::host(), &data, d, None)[0].covariance();
    for device in devices() {
        let mut source = MemoryRows::f32("rows", &data, d).unwrap();
        let fast = covariance_fast(&device, &mut source, StreamOptions::default()).unwrap();
        assert!(relative(&fast.matrix, &exact.matrix) <= fast.error);
    }
}
