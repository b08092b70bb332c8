//! Optimal transport against its closed form, and the distances that it makes small.

use realign::align::{CompareOptions, FitOptions, Method, Statistics, apply_rows, compare, fit, sample_size_study};
use realign::device::Device;
use realign::geometry::{DiagnosisOptions, Frechet, Survey, sliced_wasserstein, symmetric_eigen};
use realign::stats::{MemoryRows, StreamOptions};
use realign::{ElementType, Error};

use super::common::{cloud, devices, max_difference, unit_rows};
use super::data::{CASES, Rows, check, expected, pair, partners};
use super::float_error::Bounds;

fn survey(rows: &Rows) -> Survey {
    Survey::of(&Device::host(), &mut rows.source(), 10_000, StreamOptions::default()).unwrap()
}

fn transport() -> FitOptions<'static> {
    FitOptions::default().method(Method::OptimalTransport)
}

fn fitted((text, image): (&Rows, &Rows), options: &FitOptions<'_>) -> Statistics {
    fit(&Device::host(), &mut text.source(), &mut image.source(), options).unwrap()
}

/// `a b`, `[d, d]`.
fn product(a: &[f64], b: &[f64], d: usize) -> Vec<f64> {
    let entry = |i: usize, j: usize| (0..d).map(|k| a[i * d + k] * b[k * d + j]).sum::<f64>();
    (0..d * d).map(|k| entry(k / d, k % d)).collect()
}

fn trace(a: &[f64], d: usize) -> f64 {
    (0..d).map(|i| a[i * d + i]).sum()
}

/// A Σ_y A = Σ_x, A symmetric and positive; and what the rows are moved by in the mean is the Fréchet distance.
#[test]
fn the_map_carries_one_covariance_into_the_other() {
    for case in CASES {
        let (text, image) = pair(case);
        let (y, x) = (survey(&text), survey(&image));
        let (d, statistics) = (y.width(), fitted((&text, &image), &transport().shrinkage(Some(0.0))));
        let map = statistics.map.unwrap();
        let moved = product(&product(&map, y.covariance(), d), &map, d);
        // ε by the condition of Σ_y, here up to some 1e5, on entries of at most 0.1.
        max_difference(&moved, x.covariance(), 1e-11).unwrap();
        assert!((0..d * d).all(|k| map[k] == map[k % d * d + k / d]), "{case}: not symmetric");
        let values = symmetric_eigen(&map, d).unwrap().values;
        assert!(values[d - 1] > 1e-3, "{case}: {}", values[d - 1]);
        // tr (A - I) Σ_y (A - I) + ‖μ_x - μ_y‖².
        let off: Vec<f64> = map.iter().enumerate().map(|(k, a)| if k % (d + 1) == 0 { a - 1.0 } else { *a }).collect();
        let cost = trace(&product(&product(&off, y.covariance(), d), &off, d), d);
        let frechet = Frechet::of(&y, &x).unwrap();
        assert!((cost - frechet.covariance).abs() < 1e-11, "{case}: {cost} for {frechet:?}");
        assert!((frechet.mean.sqrt() - statistics_gap(&y, &x)).abs() < 1e-14);
        assert!((frechet.square() - frechet.mean - frechet.covariance).abs() < 1e-15);
        let back = Frechet::of(&x, &y).unwrap();
        assert!((back.covariance - frechet.covariance).abs() < 1e-12, "{case}: {frechet:?} {back:?}");
        assert!(Frechet::of(&y, &y).unwrap().square() < 1e-12, "{case}");
    }
}

fn statistics_gap(y: &Survey, x: &Survey) -> f64 {
    y.mean().iter().zip(x.mean()).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

/// The map of all texts onto all images in the reference's figures. It takes roots of squared covariances, whose small eigenvalues are good
/// to √ε of the largest.
#[test]
fn the_map_is_the_reference_s() {
    for case in CASES {
        let (text, image) = pair(case);
        let want = &expected(case)["transport"];
        let map = fitted((&text, &image), &transport()).map.unwrap();
        let d = text.width;
        let values = symmetric_eigen(&map, d).unwrap().values;
        let figures = [
            ("trace", Some(trace(&map, d))),
            ("norm", Some(map.iter().map(|x| x * x).sum::<f64>().sqrt())),
            ("largest", Some(values[0])),
            ("smallest", Some(values[d - 1])),
        ];
        assert_eq!(check(case, &figures, want, |_| 1e-8).unwrap(), 4);
        let row: Vec<f64> = want["first_row"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        max_difference(&map[..d], &row, 1e-8).unwrap();
    }
}

/// Rows `(m, …, ±√(1 - m²) at i, …)`, as many as asked for each i from 1: the covariance is diagonal.
fn along_axes(m: f64, counts: &[usize]) -> (Vec<u8>, Vec<f64>) {
    let d = counts.len() + 1;
    let total = 2.0 * counts.iter().sum::<usize>() as f64;
    let mut bytes = Vec::new();
    for (i, count) in counts.iter().enumerate() {
        for sign in [-1.0, 1.0].repeat(*count) {
            let mut row = vec![0.0; d];
            (row[0], row[i + 1]) = (m, sign * (1.0 - m * m).sqrt());
            bytes.extend(row.iter().flat_map(|x: &f64| x.to_le_bytes()));
        }
    }
    (bytes, counts.iter().map(|c| 2.0 * *c as f64 * (1.0 - m * m) / total).collect())
}

/// Of covariances that commute the map is the root of their ratio, and the distance that of the roots.
#[test]
fn covariances_that_commute() {
    let ((y, source), (x, target)) = (along_axes(0.6, &[5, 1, 3, 7]), along_axes(-0.3, &[2, 9, 4, 4]));
    let rows = |bytes| MemoryRows::new("rows", bytes, 5, ElementType::F64).unwrap();
    let statistics = fit(&Device::host(), &mut rows(&y), &mut rows(&x), &transport()).unwrap();
    let ridge = 1e-6 * statistics.trace_source / 5.0;
    let mut want = vec![0.0; 25];
    for (i, (y, x)) in source.iter().zip(&target).enumerate() {
        want[(i + 1) * 6] = (x / (y + ridge)).sqrt();
    }
    max_difference(statistics.map.as_ref().unwrap(), &want, 1e-12).unwrap();
    let survey = |bytes| Survey::of(&Device::host(), &mut rows(bytes), 0, StreamOptions::default()).unwrap();
    let got = Frechet::of(&survey(&y), &survey(&x)).unwrap();
    let shapes: f64 = source.iter().zip(&target).map(|(y, x)| (y.sqrt() - x.sqrt()).powi(2)).sum();
    assert!((got.covariance - shapes).abs() < 1e-12 && (got.mean - 0.81).abs() < 1e-12, "{got:?}");
}

/// Without any transport it is ReAlign; on the way the map changes evenly.
#[test]
fn the_strength_mixes_with_realign() {
    for case in CASES {
        let (text, image) = pair(case);
        let of = |strength| fitted((&text, &image), &transport().strength(Some(strength)));
        let (none, half, whole) = (of(0.0), of(0.5), of(1.0));
        let realign = fitted((&text, &image), &FitOptions::default());
        let rows = |statistics| -> Vec<f64> {
            let rows = apply_rows(&Device::host(), statistics, &text.values, text.width).unwrap();
            rows.into_iter().map(f64::from).collect()
        };
        // f64 arithmetic against f32's, on rows of norm 1.
        max_difference(&rows(&none), &rows(&realign), 2e-6).unwrap();
        let scaling = none.map.as_ref().unwrap();
        let identity = |k: usize| if k.is_multiple_of(text.width + 1) { realign.scale } else { 0.0 };
        // The traces are of components in multiples of 2⁻⁴⁰ there, and of 2⁻⁴³ here.
        max_difference(scaling, &(0..scaling.len()).map(identity).collect::<Vec<_>>(), 1e-10).unwrap();
        let middle: Vec<f64> = scaling.iter().zip(whole.map.as_ref().unwrap()).map(|(a, b)| 0.5 * (a + b)).collect();
        max_difference(half.map.as_ref().unwrap(), &middle, 1e-13).unwrap();
        assert_eq!((none.strength, whole.strength, realign.strength), (Some(0.0), Some(1.0), None));
        assert_eq!(whole, fitted((&text, &image), &transport()));
    }
}

#[test]
fn weaker_transport_measures_as_the_reference_s() {
    for case in CASES {
        let (text, image) = pair(case);
        let (text, want) = (text.distinct(), expected(case));
        for strength in ["0.0", "0.25", "0.5"] {
            let options =
                CompareOptions { fit: transport().strength(strength.parse().ok()), ..CompareOptions::default() };
            let methods = [Method::OptimalTransport];
            let table = compare(&Device::host(), &mut text.source(), &mut image.source(), &methods, &options).unwrap();
            let line = &table.methods[0];
            let bounds = Bounds::of(&line.survey, &table.target, table.frame_rank().unwrap());
            let rows = table.source.rows().min(table.target.rows());
            let tolerance = |key: &str| super::oracle::rounded(key, rows).max(bounds.of_key(key));
            let want = &want["compare_strengths"][strength];
            assert_eq!(check(case, &line.diagnosis.entries(), want, tolerance).unwrap(), 23, "{case} {strength}");
        }
    }
}

/// `Φ = E y·z = 1 - E‖z - y‖² / 2 <= 1 - ‖E z - E y‖² / 2`, whoever made z of y, for rows of norm 1.
#[test]
fn consistency_is_bounded_by_the_way_of_the_mean() {
    let clouds = |seed| [cloud(seed, 90, 7), cloud(seed + 100, 120, 7)].map(|values| Rows { values, width: 7 });
    let cases = CASES.into_iter().map(pair).chain((0..20).map(|seed| clouds(seed).into()));
    for (text, image) in cases {
        let options = CompareOptions::default();
        let (mut y, mut x) = (text.source(), image.source());
        let table = compare(&Device::host(), &mut y, &mut x, &Method::ALL, &options).unwrap();
        for line in &table.methods {
            let kept = line.diagnosis.kept.unwrap();
            let most = 1.0 - statistics_gap(&table.source, &line.survey).powi(2) / 2.0;
            // Rows are rounded to f32 before they are made unit again.
            assert!(kept.phi <= most + 1e-12, "{}: {} above {most}", line.method, kept.phi);
            assert!((line.diagnosis.frechet.mean.sqrt() - line.diagnosis.gap).abs() < 1e-14, "{}", line.method);
        }
    }
}

#[test]
fn sliced_distances_depend_on_the_seed_alone() {
    let (text, image) = pair("a");
    let mut seen = Vec::new();
    for (device, seed) in devices().iter().flat_map(|device| [(device, 0), (device, 1)]) {
        let diagnosis = DiagnosisOptions { seed, ..Default::default() };
        let options = CompareOptions { diagnosis, ..Default::default() };
        let methods = [Method::None];
        let table = compare(device, &mut text.source(), &mut image.source(), &methods, &options).unwrap();
        seen.push(table.methods[0].diagnosis.sliced_wasserstein);
    }
    assert!(seen[0] == seen[2] && seen[1] == seen[3] && seen[0] != seen[1], "{seen:?}");
    // Along any direction no farther than as a whole, and no nearer than the means are.
    let (y, x) = (unit_rows(&text.values, text.width), unit_rows(&image.values, image.width));
    let got = sliced_wasserstein(&y, &x, text.width, (4096, 5)).unwrap();
    let gap = statistics_gap(&survey(&text), &survey(&image));
    assert!(got > 0.8 * gap / (text.width as f64).sqrt() && got < 2.0, "{got} {gap}");
    let diagnosis = DiagnosisOptions { directions: 0, ..Default::default() };
    let options = CompareOptions { diagnosis, ..Default::default() };
    let refused = compare(&Device::host(), &mut text.source(), &mut image.source(), &[Method::None], &options);
    assert!(matches!(refused, Err(Error::Argument { argument: "directions", .. })));
}

/// Of all maps the least-squares one leaves least between partners, whose difference the source then does not tell any more of.
#[test]
fn ridge_leaves_least_between_partners() {
    for case in CASES {
        let (text, image) = (partners(case), pair(case).1);
        let (y, x, d) = (survey(&text), survey(&image), text.width);
        let ridge = FitOptions::default().method(Method::Ridge).paired(true).shrinkage(Some(0.0));
        let others = [Method::Blockwise, Method::OptimalTransport].map(|method| FitOptions::default().method(method));
        let centred = |rows: &Rows, mean: &[f64]| -> Vec<f64> {
            unit_rows(&rows.values, d).iter().enumerate().map(|(k, u)| u - mean[k % d]).collect()
        };
        let (from, to) = (centred(&text, y.mean()), centred(&image, x.mean()));
        let left = |map: &[f64]| -> Vec<f64> {
            let row = |k: usize| -> f64 {
                let (i, j) = (k / d, k % d);
                to[k] - (0..d).map(|l| map[j * d + l] * from[i * d + l]).sum::<f64>()
            };
            (0..to.len()).map(row).collect()
        };
        let size = |rows: &[f64]| rows.iter().map(|x| x * x).sum::<f64>();
        let map = fitted((&text, &image), &ridge).map.unwrap();
        let least = left(&map);
        for other in others {
            assert!(size(&least) < size(&left(&fitted((&text, &image), &other).map.unwrap())), "{case}");
        }
        let told = |i: usize, j: usize| -> f64 {
            least.chunks_exact(d).zip(from.chunks_exact(d)).map(|(r, y)| r[i] * y[j]).sum::<f64>() / from.len() as f64
        };
        assert!((0..d).all(|i| told(i, (7 * i + 3) % d).abs() < 1e-12), "{case}");
    }
}

#[test]
fn ridge_wants_pairs() {
    let (text, image) = pair("a");
    let few = Rows { values: image.values[..40 * image.width].to_vec(), width: image.width };
    let ridge = FitOptions::default().method(Method::Ridge);
    let of = |target: &Rows, options: &FitOptions<'_>| {
        fit(&Device::host(), &mut text.source(), &mut target.source(), options).unwrap_err()
    };
    for error in [of(&image, &ridge), of(&few, &ridge.paired(true))] {
        assert!(matches!(error, Error::Argument { argument: "paired", .. }), "{error}");
    }
    let options = CompareOptions::default();
    let refused = compare(&Device::host(), &mut text.source(), &mut image.source(), &[Method::Ridge], &options);
    assert!(matches!(refused, Err(Error::Argument { argument: "paired", .. })));
    let (mut y, mut x) = (text.source(), image.source());
    let study = sample_size_study(&Device::host(), &mut y, &mut x, (&[20], 2, 0), &ridge.paired(true));
    assert!(matches!(study, Err(Error::Argument { argument: "method", .. })));
}

#[test]
fn what_cannot_be_whitened_or_mixed_is_an_error() {
    let (text, image) = pair("a");
    for strength in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        let options = transport().strength(Some(strength));
        let refused = fit(&Device::host(), &mut text.source(), &mut image.source(), &options);
        assert!(matches!(refused, Err(Error::Argument { argument: "strength", .. })), "{strength}");
    }
    // Ten rows span nine of 48 directions: with the ridge there is an answer.
    let few = Rows { values: text.values[..10 * text.width].to_vec(), width: text.width };
    let refused = fit(&Device::host(), &mut few.source(), &mut image.source(), &transport().shrinkage(Some(0.0)));
    assert!(refused.unwrap_err().to_string().contains("singular"));
    let statistics = fitted((&few, &image), &transport());
    let rows = apply_rows(&Device::host(), &statistics, &text.values, text.width).unwrap();
    assert!(rows.iter().all(|x| x.is_finite()));
    assert!(fitted((&image, &few), &transport()).map.unwrap().iter().all(|a| a.is_finite()));
}
