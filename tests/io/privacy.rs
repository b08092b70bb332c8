//! Moments with noise: their files, how they merge, and what they are good for.

use realign::Device;
use realign::align::{Centroid, Evidence, FitOptions, Method, Statistics, apply_rows, fit_evidence};
use realign::stats::{CovarianceMode, MemoryRows, Moments, Privacy, StreamOptions, Summary};

use super::apply::cloud;

const WIDTH: usize = 24;

fn floats(rows: &[f64]) -> Vec<f32> {
    rows.iter().map(|&x| x as f32).collect()
}

fn counted(device: &Device, rows: &[f32], width: usize) -> Moments {
    let mut source = MemoryRows::f32("rows", rows, width).unwrap();
    Summary::of(device, &mut source, None, StreamOptions::default()).unwrap().moments
}

fn budget(epsilon: f64) -> Privacy {
    Privacy::new(epsilon, 1e-6).unwrap()
}

#[test]
fn files_keep_the_noise_and_what_it_hides() {
    let device = Device::host();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("private.st");
    let mut rows = floats(&cloud(3000, WIDTH, 1, 0.5));
    rows[..WIDTH].fill(0.0);
    let plain = counted(&device, &rows, WIDTH);
    let private = plain.private(budget(1.0)).unwrap();
    private.save(&path, false).unwrap();
    let read = Moments::load(&path).unwrap();
    assert_eq!(read, private);
    assert_eq!((plain.zero_rows(), read.zero_rows(), read.rows()), (1, 0, 3000));
    let noise = read.noise().unwrap();
    assert_eq!((noise.epsilon, noise.delta), (1.0, 1e-6));
    let summary = Summary::load(&path).unwrap();
    summary.save(&path, true).unwrap();
    assert_eq!(Moments::load(&path).unwrap(), private);
    // Bytes are the file's.
    assert_eq!(private.to_bytes().unwrap(), std::fs::read(&path).unwrap());
    assert_eq!(Moments::from_bytes(&private.to_bytes().unwrap()).unwrap(), private);
    let error = Moments::from_bytes(b"damaged").unwrap_err().to_string();
    assert!(error.contains("in memory") && error.contains("damaged"), "{error}");
    // Two releases have two noises, of the promised size.
    let other = plain.private(budget(1.0)).unwrap();
    assert!(other != private);
    let off = |a: &Moments, b: &Moments| {
        let squares: f64 = a.mean().iter().zip(b.mean()).map(|(a, b)| (a - b).powi(2)).sum();
        squares.sqrt() * 3000.0 / noise.standard_deviation()
    };
    // The norm of 24 samples: √24, give or take 0.7.
    for moments in [&private, &other] {
        assert!((off(moments, &plain) - 24f64.sqrt()).abs() < 4.2, "{}", off(moments, &plain));
    }
}

#[test]
fn private_parts_merge_in_any_order() {
    let device = Device::host();
    let parts: Vec<Moments> =
        (0..3).map(|k| counted(&device, &floats(&cloud(500 + k, WIDTH, k as u64, 0.5)), WIDTH)).collect();
    let noisy: Vec<Moments> = parts.iter().zip([0.5, 1.0, 2.0]).map(|(m, e)| m.private(budget(e)).unwrap()).collect();
    let merged = |order: [usize; 3]| {
        let mut total = noisy[order[0]].clone();
        order[1..].iter().for_each(|&k| total.merge(&noisy[k]).unwrap());
        total
    };
    let whole = merged([0, 1, 2]);
    assert!([[2, 1, 0], [1, 2, 0], [2, 0, 1]].into_iter().all(|order| merged(order) == whole));
    let deviation = |m: &Moments| m.noise().unwrap().standard_deviation();
    let together = noisy.iter().map(|m| deviation(m).powi(2)).sum::<f64>().sqrt();
    assert!((deviation(&whole) / together - 1.0).abs() < 1e-12);
    assert_eq!(whole.noise().unwrap().epsilon, 2.0);
    // A part in the open would be told by what the noise leaves of it.
    let mut mixed = parts[0].clone();
    let error = mixed.merge(&noisy[1]).unwrap_err().to_string();
    assert!(error.contains("private") && mixed == parts[0], "{error}");
    let mut fresh = Moments::empty(WIDTH);
    fresh.merge(&noisy[1]).unwrap();
    assert_eq!(fresh, noisy[1]);
}

#[test]
fn what_cannot_be_private() {
    let device = Device::host();
    let rows = floats(&cloud(40, WIDTH, 1, 0.5));
    let mut source = MemoryRows::f32("rows", &rows, WIDTH).unwrap();
    let counted = Summary::of(&device, &mut source, Some(CovarianceMode::Exact), StreamOptions::default()).unwrap();
    let error = counted.private(budget(1.0)).unwrap_err().to_string();
    assert!(error.contains("covariance"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("private.st");
    counted.moments.private(budget(1.0)).unwrap().save(&path, false).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(text.contains(r#""format_version":"3""#), "older programs must not read it");
    for (from, to) in [(r#""epsilon":"1""#, r#""epsilon":"0""#), (r#""delta":"0.000001""#, r#""delta":"1.000001""#)] {
        let at = text.find(from).unwrap_or_else(|| panic!("no {from} in {text}"));
        let mut damaged = bytes.clone();
        damaged[at..at + from.len()].copy_from_slice(to.as_bytes());
        std::fs::write(&path, damaged).unwrap();
        let error = Moments::load(&path).unwrap_err().to_string();
        assert!(error.contains("noise"), "{error}");
    }
}

/// Normalises rows.
fn unit(rows: &[f64], width: usize) -> Vec<f64> {
    let norm = |row: &[f64]| row.iter().map(|x| x * x).sum::<f64>().sqrt();
    rows.chunks(width).flat_map(|row| row.iter().map(|x| x / norm(row)).collect::<Vec<_>>()).collect()
}

fn mean(rows: &[f64], width: usize) -> Vec<f64> {
    let mut mean = vec![0.0; width];
    rows.chunks(width).for_each(|row| mean.iter_mut().zip(row).for_each(|(m, x)| *m += x));
    let n = (rows.len() / width) as f64;
    mean.iter_mut().for_each(|m| *m /= n);
    mean
}

/// The gap that is left between aligned texts and pictures of which private moments alone were known.
fn gap(device: &Device, (texts, pictures): (&[f32], &[f32]), width: usize, target: &Moments) -> f64 {
    let mut source = MemoryRows::f32("texts", texts, width).unwrap();
    let options = FitOptions::default().method(Method::ReAlign).centroid(Centroid::Exact);
    let statistics: Statistics =
        fit_evidence(device, Evidence::Rows(&mut source), Evidence::Moments(target), &options).unwrap();
    let wide = |rows: &[f32]| rows.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
    let aligned = mean(&wide(&apply_rows(device, &statistics, texts, width).unwrap()), width);
    let there = mean(&unit(&wide(pictures), width), width);
    aligned.iter().zip(there).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

#[test]
fn texts_come_as_near_as_the_noise_allows() {
    let device = Device::host();
    let (texts, pictures) = (floats(&cloud(2000, WIDTH, 1, 0.5)), floats(&cloud(20_000, WIDTH, 2, 0.2)));
    let plain = counted(&device, &pictures, WIDTH);
    let open = gap(&device, (&texts, &pictures), WIDTH, &plain);
    assert!(open < 1e-6, "{open}");
    for epsilon in [0.3, 1.0, 10.0] {
        let private = plain.private(budget(epsilon)).unwrap();
        let found = gap(&device, (&texts, &pictures), WIDTH, &private);
        // The mean's own noise, a vector of 24: five deviations to either side.
        let step = private.noise().unwrap().standard_deviation() / 20_000.0;
        let (least, most) = (step * (24f64.sqrt() - 3.5), step * (24f64.sqrt() + 3.5));
        assert!(found > least && found < most, "ε {epsilon}: {found:e}, {least:e} to {most:e}");
        assert!((private.trace() - plain.trace()).abs() < 10.0 * step, "{} {}", private.trace(), plain.trace());
    }
    // Few rows and little budget: noise is all there is, and the error says so.
    let few = counted(&device, &pictures[..WIDTH * 20], WIDTH).private(budget(0.01)).unwrap();
    let mut source = MemoryRows::f32("texts", &texts, WIDTH).unwrap();
    let (source, target) = (Evidence::Rows(&mut source), Evidence::Moments(&few));
    let error = fit_evidence(&device, source, target, &FitOptions::default()).unwrap_err().to_string();
    assert!(error.contains("noise") && error.contains("20 rows"), "{error}");
}

/// The table of docs/privacy.md: `cargo test --release --test io privacy::how_near -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn how_near() {
    let (device, width) = (Device::host(), 512);
    let texts = floats(&cloud(2000, width, 1, 0.5));
    for n in [1000, 10_000, 100_000, 1_000_000] {
        let pictures = floats(&cloud(n, width, 2, 0.2));
        let plain = counted(&device, &pictures, width);
        let mut line = format!("| {n} | {:.1e} |", gap(&device, (&texts, &pictures), width, &plain));
        for epsilon in [0.1, 0.5, 1.0, 2.0, 8.0] {
            let private = plain.private(budget(epsilon)).unwrap();
            let trace = private.trace() / plain.trace() - 1.0;
            let short = private.mean().iter().map(|m| m * m).sum::<f64>() < 1.0;
            let found = match private.trace() > 0.0 && short {
                true => {
                    format!(" {:.1e}, {:+.1} % |", gap(&device, (&texts, &pictures), width, &private), 100.0 * trace)
                }
                false => " hidden |".to_owned(),
            };
            line += &found;
        }
        println!("{line}");
    }
}
