//! The fast covariance against f64, merging, files; exact sums are in `second_moments.rs`.

use half::f16;
use realign::device::Device;
use realign::stats::{
    BLOCK_ROWS, COVARIANCE_ERROR, Covariance, CovarianceMode, CovarianceSums, MemoryRows, Moments, NonFinite,
    StreamOptions, Summary, covariance_fast,
};
use realign::{ElementType, Error};

use crate::common::{Rng, cloud, devices, gpu, mean, unit_rows};

/// Population covariance of rows in f64, in two passes, by its definition.
pub fn reference(rows: &[f64], d: usize) -> Vec<f64> {
    let (mu, n) = (mean(rows, d), (rows.len() / d) as f64);
    let mut c = vec![0.0; d * d];
    for row in rows.chunks_exact(d) {
        let a: Vec<f64> = row.iter().zip(&mu).map(|(x, m)| x - m).collect();
        for i in 0..d {
            for j in 0..d {
                c[i * d + j] += a[i] * a[j] / n;
            }
        }
    }
    c
}

/// ‖a - b‖ / ‖b‖ (of the difference alone where b is zero).
pub fn relative(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let size = norm(&mut b.iter().copied());
    norm(&mut a.iter().zip(b).map(|(x, y)| x - y)) / if size > 0.0 { size } else { 1.0 }
}

fn of(device: &Device, data: &[f32], d: usize) -> Covariance {
    let mut source = MemoryRows::f32("rows", data, d).unwrap();
    covariance_fast(device, &mut source, StreamOptions::default()).unwrap()
}

/// The adapter in the shape of a CPU's and of a GPU's.
fn variants() -> Vec<Device> {
    let tiled = gpu().with_capabilities(|c| (c.group, c.lanes, c.subgroup_teams) = (256, 32, false)).unwrap();
    [devices(), vec![tiled]].concat()
}

/// Rows around a common direction: the mean's norm is about 0.99.
pub fn narrow(seed: u64, n: usize, d: usize) -> Vec<f32> {
    let mut rng = Rng(seed);
    let axis: Vec<f64> = (0..d).map(|_| rng.normal()).collect();
    let length = axis.iter().map(|x| x * x).sum::<f64>().sqrt();
    let spread = 0.142 * length / (d as f64).sqrt();
    (0..n * d).map(|at| (axis[at % d] + spread * rng.normal()) as f32).collect()
}

/// f32 sums of a block's products: less than this for any n, see the module.
const BOUND: f64 = 1e-6;

#[test]
fn shapes_and_devices() {
    for device in variants() {
        for (n, d) in
            [(1, 1), (2, 3), (7, 5), (130, 33), (BLOCK_ROWS, 8), (BLOCK_ROWS + 1, 70), (3 * BLOCK_ROWS + 5, 17)]
        {
            let data = cloud(n as u64, n, d);
            let unit = unit_rows(&data, d);
            let got = of(&device, &data, d);
            let want = reference(&unit, d);
            let error = relative(&got.matrix, &want);
            assert!(error <= BOUND, "{} [{n}, {d}]: {error:e}", device.name());
            assert_eq!((got.count, got.width()), (n as u64, d));
            assert!(relative(&got.mean, &mean(&unit, d)) < 1e-13);
            let trace: f64 = (0..d).map(|i| want[i * d + i]).sum();
            assert!((got.trace() - trace).abs() <= BOUND * trace);
            assert!((0..d * d).all(|at| got.matrix[at] == got.matrix[at % d * d + at / d]), "symmetric");
        }
    }
}

#[test]
fn a_large_mean_and_sorted_rows() {
    let (n, d) = (6000, 64);
    for device in variants() {
        let data = narrow(4, n, d);
        let unit = unit_rows(&data, d);
        let mu = mean(&unit, d);
        let norm = mu.iter().map(|x| x * x).sum::<f64>().sqrt();
        assert!((0.985..0.995).contains(&norm), "{norm}");
        let error = relative(&of(&device, &data, d).matrix, &reference(&unit, d));
        assert!(error <= BOUND, "{}: {error:e}", device.name());
        // Rows in the order of a set that drifts: the first block's mean says nothing of the last's.
        let mut sorted: Vec<Vec<f32>> = cloud(5, n, d).chunks_exact(d).map(<[f32]>::to_vec).collect();
        sorted.sort_by(|a, b| a[0].total_cmp(&b[0]));
        let data = sorted.concat();
        let error = relative(&of(&device, &data, d).matrix, &reference(&unit_rows(&data, d), d));
        assert!(error <= BOUND, "{} sorted: {error:e}", device.name());
    }
}

#[test]
fn equal_zero_and_single_rows() {
    for device in variants() {
        let d = 6;
        let equal: Vec<f32> = (0..50 * d).map(|at| (at % d) as f32 - 1.5).collect();
        assert!(of(&device, &equal, d).matrix.iter().all(|x| x.abs() < 1e-16));
        let zero = of(&device, &vec![0.0; 10 * d], d);
        assert_eq!((zero.count, zero.trace()), (10, 0.0));
        assert_eq!(of(&device, &equal[..d], d).matrix, vec![0.0; d * d]);
        let huge: Vec<f32> = cloud(3, 40, d).iter().map(|x| x * 1e37).collect();
        let error = relative(&of(&device, &huge, d).matrix, &reference(&unit_rows(&huge, d), d));
        assert!(error <= BOUND, "{error:e}");
    }
}

#[test]
fn element_types() {
    let (n, d) = (300, 10);
    let data = cloud(8, n, d);
    let halves: Vec<f16> = data.iter().map(|&x| f16::from_f32(x)).collect();
    let doubles: Vec<f64> = data.iter().map(|&x| f64::from(x)).collect();
    for device in devices() {
        let run = |bytes: &[u8], element| {
            let mut source = MemoryRows::new("rows", bytes, d, element).unwrap();
            covariance_fast(&device, &mut source, StreamOptions::default()).unwrap().matrix
        };
        let want = reference(&unit_rows(&data, d), d);
        assert!(relative(&run(bytemuck::cast_slice(&doubles), ElementType::F64), &want) <= BOUND);
        let rounded: Vec<f32> = halves.iter().map(|x| x.to_f32()).collect();
        let want = reference(&unit_rows(&rounded, d), d);
        assert!(relative(&run(bytemuck::cast_slice(&halves), ElementType::F16), &want) <= BOUND);
    }
}

#[test]
fn raw_rows_and_merging() {
    let (n, d) = (2500, 9);
    let rows: Vec<f64> = cloud(2, n, d).iter().map(|&x| 1e3 + f64::from(x)).collect();
    let whole = Covariance::of_rows(&rows, d).unwrap();
    assert!(relative(&whole.matrix, &reference(&rows, d)) < 1e-11);
    for cut in [1, 1000, n - 1] {
        let (a, b) = rows.split_at(cut * d);
        let mut merged = Covariance::of_rows(a, d).unwrap();
        merged.merge(&Covariance::of_rows(b, d).unwrap()).unwrap();
        assert_eq!(merged.count, n as u64);
        assert!(relative(&merged.matrix, &whole.matrix) < 1e-11, "{cut}");
        assert!(relative(&merged.mean, &whole.mean) < 1e-14, "{cut}");
    }
    let mut empty = Covariance::empty(d).unwrap();
    empty.merge(&whole).unwrap();
    assert!(relative(&empty.matrix, &whole.matrix) < 1e-15 && empty.count == whole.count);
    let mut same = whole.clone();
    same.merge(&Covariance::empty(d).unwrap()).unwrap();
    assert_eq!(same, whole);
    assert!(same.merge(&Covariance::empty(d + 1).unwrap()).is_err());
    assert!(Covariance { count: u64::MAX, ..whole.clone() }.merge(&whole).is_err());
    for bad in [&rows[..0], &rows[..d + 1]] {
        assert!(Covariance::of_rows(bad, d).is_err());
    }
    assert!(Covariance::of_rows(&[1.0, f64::NAN], 1).unwrap_err().to_string().contains("row 1"));
    assert!(Covariance::of_rows(&[f64::MAX, f64::MIN], 1).is_err());
    assert!(Covariance::of_rows(&rows, 0).is_err() && Covariance::empty(1 << 20).is_err());
}

#[test]
fn bad_values_and_chunks() {
    let (n, d) = (2100, 5);
    let clean = cloud(1, n, d);
    let mut data = clean.clone();
    data[1500 * d + 3] = f32::NAN;
    for device in devices() {
        let run =
            |data: &[f32], options| covariance_fast(&device, &mut MemoryRows::f32("rows", data, d).unwrap(), options);
        match run(&data, StreamOptions::default()).unwrap_err() {
            Error::NonFinite { row, column, .. } => assert_eq!((row, column), (1500, 3)),
            other => panic!("{other}"),
        }
        let zeroed = run(&data, StreamOptions::default().nonfinite(NonFinite::Zero)).unwrap();
        data[1500 * d + 3] = 0.0;
        assert_eq!(run(&data, StreamOptions::default()).unwrap(), zeroed);
        data[1500 * d + 3] = f32::NAN;
        let whole = run(&clean, StreamOptions::default()).unwrap();
        let chunked = run(&clean, StreamOptions::default().chunk_rows(Some(37))).unwrap();
        assert!(relative(&chunked.matrix, &whole.matrix) <= BOUND);
        assert!(run(&[], StreamOptions::default()).unwrap_err().to_string().contains("no rows"));
    }
}

#[test]
fn files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    let cov = Covariance::of_rows(&cloud(7, 50, 4).iter().map(|&x| f64::from(x)).collect::<Vec<_>>(), 4).unwrap();
    cov.save(&path, false).unwrap();
    assert_eq!(Covariance::load(&path).unwrap(), cov);
    assert!(cov.save(&path, false).is_err());
    cov.save(&path, true).unwrap();
    let refused = |change: &dyn Fn(&mut Covariance)| {
        let mut bad = cov.clone();
        change(&mut bad);
        bad.save(&path, true).unwrap();
        let error = Covariance::load(&path).unwrap_err().to_string();
        assert!(error.contains("damaged"), "{error}");
    };
    refused(&|c| c.matrix[1] = f64::NAN);
    refused(&|c| c.matrix[1] += 1.0);
    refused(&|c| c.matrix[5] = -1.0);
    refused(&|c| (c.matrix[1], c.matrix[4]) = (1e9, 1e9));
    refused(&|c| c.error = -1.0);
    cov.save(&path, true).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for length in [0, 8, 40, bytes.len() - 8] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        assert!(Covariance::load(&path).is_err(), "{length}");
    }
    let newer = String::from_utf8_lossy(&bytes).contains("\"format_version\":\"1\"");
    assert!(newer);
    let at = bytes.windows(20).position(|w| w == b"\"format_version\":\"1\"").unwrap();
    let mut changed = bytes.clone();
    changed[at + 18] = b'9';
    std::fs::write(&path, &changed).unwrap();
    assert!(Covariance::load(&path).unwrap_err().to_string().contains("update"));
}

/// Products in f64.
fn in_f64(data: &[f32], d: usize) -> Covariance {
    Covariance::of_rows(&unit_rows(data, d), d).unwrap()
}

/// Rows of two kinds, one after the other: parts of them have different centres.
fn two_clouds(n: usize, d: usize) -> Vec<f32> {
    [narrow(4, n, d), cloud(5, n, d), narrow(6, n + 7, d)].concat()
}

#[test]
fn parts_in_f64_merge_to_the_whole_however_they_are_cut() {
    let d = 33;
    let data = two_clouds(1500, d);
    let n = data.len() / d;
    let whole = in_f64(&data, d);
    assert!(relative(&whole.matrix, &reference(&unit_rows(&data, d), d)) <= 1e-13);
    for cuts in [vec![1], vec![n - 1], vec![700, 701, 1500, 2900], (1..n).step_by(400).collect()] {
        let ends = cuts.iter().copied().chain([n]);
        let mut parts =
            std::iter::once(0).chain(cuts.iter().copied()).zip(ends).map(|(a, b)| in_f64(&data[a * d..b * d], d));
        let mut merged = parts.next().unwrap();
        parts.for_each(|part| merged.merge(&part).unwrap());
        let error = relative(&merged.matrix, &whole.matrix);
        assert!(error <= 1e-12 && relative(&merged.mean, &whole.mean) <= 1e-14, "{cuts:?}: {error:e}");
        assert_eq!((merged.count, merged.error), (whole.count, f64::EPSILON));
    }
}

#[test]
fn parts_of_whole_blocks_on_a_device_merge_to_the_whole() {
    let d = 20;
    let data = two_clouds(2 * BLOCK_ROWS, d);
    let want = reference(&unit_rows(&data, d), d);
    for device in variants().into_iter().filter(|d| d.wgpu().is_some()) {
        let whole = of(&device, &data, d);
        for (cut, most) in [(BLOCK_ROWS, 1e-12), (4 * BLOCK_ROWS, 1e-12), (2500, COVARIANCE_ERROR)] {
            let (a, b) = data.split_at(cut * d);
            let mut merged = of(&device, a, d);
            merged.merge(&of(&device, b, d)).unwrap();
            let error = relative(&merged.matrix, &whole.matrix);
            assert!(error <= most, "{} at {cut}: {error:e}", device.name());
            assert!(relative(&merged.matrix, &want) <= BOUND);
            assert_eq!(merged.error, COVARIANCE_ERROR);
        }
        let mut mixed = in_f64(&data, d);
        mixed.merge(&whole).unwrap();
        assert_eq!(mixed.error, COVARIANCE_ERROR, "the worse of both");
    }
}

#[test]
fn summaries_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let d = 7;
    let count = |data: &[f32], with| {
        Summary::of(&gpu(), &mut MemoryRows::f32("rows", data, d).unwrap(), with, StreamOptions::default()).unwrap()
    };
    let (data, other) = (narrow(1, 3000, d), cloud(2, 500, d));
    let fast = Some(CovarianceMode::Fast);
    let mut summary = count(&data, fast);
    summary.save(&path, false).unwrap();
    assert_eq!(Summary::load(&path).unwrap(), summary);
    assert_eq!(Moments::load(&path).unwrap(), summary.moments, "readers of moments alone are served");
    assert!(summary.save(&path, false).is_err());
    // Without a covariance the file is the moments', byte for byte.
    let plain = count(&data, None);
    plain.save(&path, true).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    plain.moments.save(&path, true).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(Summary::load(&path).unwrap(), plain);
    // Merging wants a covariance on both sides or on none, and leaves what it refuses as it was.
    for (mut a, b) in [(summary.clone(), count(&other, None)), (plain.clone(), count(&other, fast))] {
        let before = a.clone();
        let error = a.merge(&b).unwrap_err().to_string();
        assert!(error.contains("with their covariance") && error.contains("merge moments alone"), "{error}");
        assert_eq!(a, before);
    }
    summary.merge(&count(&other, fast)).unwrap();
    summary.save(&path, true).unwrap();
    let merged = Summary::load(&path).unwrap();
    assert_eq!(merged, summary);
    let covariance = merged.covariance.unwrap().covariance();
    let all = unit_rows(&[data, other].concat(), d);
    assert!(relative(&covariance.matrix, &reference(&all, d)) <= BOUND && covariance.count == 3500);
    // A covariance of other rows than the moments is damage.
    let refused = |change: &dyn Fn(&mut Covariance)| {
        let mut bad = summary.clone();
        let Some(CovarianceSums::Rounded(covariance)) = &mut bad.covariance else { panic!("a rounded covariance") };
        change(covariance);
        bad.save(&path, true).unwrap();
        let error = Summary::load(&path).unwrap_err().to_string();
        assert!(error.contains("damaged"), "{error}");
        assert!(Moments::load(&path).is_ok());
    };
    refused(&|c| c.mean[3] += 1e-6);
    refused(&|c| c.matrix.iter_mut().for_each(|x| *x *= 1.001));
    refused(&|c| c.matrix[1] += 1.0);
    refused(&|c| c.error = f64::NAN);
    refused(&|c| *c = Covariance::empty(d + 1).unwrap());
}

#[test]
fn covariance_files_from_before_their_error_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    let cov = in_f64(&cloud(7, 50, 4), 4);
    cov.save(&path, false).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(7).position(|w| w == b"\"error\"").unwrap();
    bytes[at + 1..at + 6].copy_from_slice(b"other");
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(Covariance::load(&path).unwrap(), Covariance { error: COVARIANCE_ERROR, ..cov });
}
