//! What must hold whatever the data: small angles, frames through files, sums of parts, tests of nothing and of something.

use realign::align::{FitOptions, Method, Radial, Statistics, Target, apply_rows, fit, sample_size_study, sizes};
use realign::device::Tensor;
use realign::geometry::coupling::{RIDGE, coupling};
use realign::geometry::density::{Density, jensen_shannon};
use realign::geometry::neighbourhood::{knn_overlap, mixing, nearest_others};
use realign::geometry::recalibrate::{Stored, recalibration};
use realign::geometry::{CovarianceView, Cut, Decomposition, Frame, Spectrum, Survey, principal_angles};
use realign::stats::{MemoryRows, RowSource, StreamOptions, Subset};

use super::common::{Rng, cloud, devices, max_difference, mean, unit_rows};
use super::data::pair;

/// An orthonormal basis of `[rank, d]`, by Gram-Schmidt done twice.
fn basis(rng: &mut Rng, rank: usize, d: usize) -> Vec<Vec<f64>> {
    let mut out: Vec<Vec<f64>> = Vec::new();
    while out.len() < rank {
        let mut v: Vec<f64> = (0..d).map(|_| rng.normal()).collect();
        for _ in 0..2 {
            for u in &out {
                let c: f64 = u.iter().zip(&v).map(|(a, b)| a * b).sum();
                v.iter_mut().zip(u).for_each(|(v, u)| *v -= c * u);
            }
            let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
            v.iter_mut().for_each(|x| *x /= norm);
        }
        out.push(v);
    }
    out
}

#[test]
fn angles_keep_their_digits() {
    let mut rng = Rng(3);
    let d = 40;
    let planted = [1e-9, 1e-7, 1e-4, 0.3, 0.9, 1.5];
    let r = planted.len();
    let all = basis(&mut rng, 2 * r, d);
    let turned = |i: usize| {
        let (sin, cos) = f64::sin_cos(planted[i]);
        all[i].iter().zip(&all[r + i]).map(|(u, v)| cos * u + sin * v).collect::<Vec<f64>>()
    };
    let a = Frame::from_directions(all[..r].concat(), d).unwrap();
    // Any basis of the turned span will do: mix it by a rotation.
    let mix = basis(&mut rng, r, r);
    let b: Vec<f64> = mix
        .iter()
        .flat_map(|w| {
            let mut row = vec![0.0; d];
            (0..r).for_each(|i| row.iter_mut().zip(turned(i)).for_each(|(o, t)| *o += w[i] * t));
            row
        })
        .collect();
    let b = Frame::from_directions(b, d).unwrap();
    let got = principal_angles(&a, &b).unwrap();
    for (got, want) in got.radians.iter().zip(planted) {
        assert!((got / want - 1.0).abs() < 1e-6, "{got} for {want}");
    }
    assert!((got.sin_theta_max - 1.5f64.sin()).abs() < 1e-12);
    let same = principal_angles(&a, &a).unwrap();
    assert!(same.radians.iter().all(|t| *t < 1e-14), "{same:?}");
    // A larger span leans out of a smaller one altogether; the angles there are do not.
    let larger = Frame::from_directions(all[..r + 1].concat(), d).unwrap();
    let angles = principal_angles(&a, &larger).unwrap();
    assert_eq!((angles.radians.len(), angles.sin_theta_max), (r, 1.0));
    assert!(angles.radians.iter().all(|t| *t < 1e-14));
    assert!(principal_angles(&larger, &a).unwrap().sin_theta_max < 1e-14);
}

#[test]
fn parts_add_up() {
    let (text, image) = pair("a");
    let survey = |rows: &super::data::Rows| {
        Survey::of(&realign::device::Device::host(), &mut rows.source(), 0, StreamOptions::default()).unwrap()
    };
    let (y, x) = (survey(&text), survey(&image));
    let frame = Frame::of(&y, &x, Cut::Rank(7)).unwrap();
    let parts = Decomposition::of(&mut text.source(), &mut image.source(), &frame, StreamOptions::default()).unwrap();
    let sum: Vec<f64> = parts.bias.beta.iter().zip(&parts.bias.gamma).map(|(b, g)| b + g).collect();
    max_difference(&sum, &parts.mean, 1e-15).unwrap();
    let difference: Vec<f64> = x.mean().iter().zip(y.mean()).map(|(x, y)| x - y).collect();
    max_difference(&parts.mean, &difference, 1e-14).unwrap();
    assert_eq!((parts.spectrum_u.eigenvalues().len(), parts.spectrum_v.eigenvalues().len()), (7, 41));
    // The projections are of γ and β: up to d ε, by which the directions are orthonormal.
    assert!(frame.project_u(&parts.bias.gamma).unwrap().iter().all(|v| v.abs() < 1e-14));
    assert!(frame.coordinates(&parts.bias.gamma).unwrap().iter().all(|v| v.abs() < 1e-14));
    max_difference(&frame.project_u(&parts.bias.beta).unwrap(), &parts.bias.beta, 1e-14).unwrap();
    // The frame and its complement make an orthonormal basis of the whole.
    let whole = [frame.directions(), &frame.complement().unwrap()].concat();
    assert_eq!(Frame::from_directions(whole, 48).unwrap().rank(), 48);
}

/// ζ = L δ + noise with an L of known norm: the map, its R² and the ridge's bias.
#[test]
fn a_planted_coupling_is_found() {
    let d = 6;
    // U: the first 3 coordinates, variance 1 each; V: ζ = diag(0.5, 0.2, 0) δ, and 0.1 of noise.
    let mut covariance = vec![0.0; d * d];
    for (i, l) in [0.5, 0.2, 0.0].into_iter().enumerate() {
        covariance[i * d + i] = 1.0;
        covariance[(3 + i) * d + 3 + i] = l * l + 0.1;
        (covariance[i * d + 3 + i], covariance[(3 + i) * d + i]) = (l, l);
    }
    let directions: Vec<f64> = (0..3 * d).map(|k| f64::from(u8::from(k / d == k % d))).collect();
    let frame = Frame::from_directions(directions, d).unwrap();
    let got = coupling(&covariance, &frame, RIDGE).unwrap();
    assert!((got.lambda - 1e-3).abs() < 1e-15);
    assert!((got.norm.unwrap() - 0.5 / 1.001).abs() < 1e-14, "{got:?}");
    let explained: f64 = [0.5f64, 0.2].iter().map(|l| 2.0 * l * l / 1.001 - l * l / 1.001f64.powi(2)).sum();
    assert!((got.r2.unwrap() - explained / (0.29 + 0.3)).abs() < 1e-14, "{got:?}");
}

#[test]
fn frames_survive_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.safetensors");
    let (text, image) = pair("b");
    let survey = |rows: &super::data::Rows| {
        Survey::of(&realign::device::Device::host(), &mut rows.source(), 0, StreamOptions::default()).unwrap()
    };
    let (y, x) = (survey(&text), survey(&image));
    // A file has no error of the covariances.
    let exact = |side| CovarianceView::new(Survey::covariance(side), 64);
    let frame = Frame::of(exact(&y), exact(&x), Cut::Energy(0.8)).unwrap();
    frame.save(&path, false).unwrap();
    assert!(Frame::is_file(&path) && !Statistics::is_file(&path));
    assert_eq!(Frame::load(&path).unwrap(), frame);
    assert!(frame.save(&path, false).is_err());
    assert!(Statistics::load(&path).unwrap_err().to_string().contains("holds a frame"));
    let mut bytes = std::fs::read(&path).unwrap();
    // The lowest exponent bit of a direction: no longer orthonormal.
    let at = bytes.len() - 64 * 8 - 64;
    bytes[at + 6] ^= 0x10;
    std::fs::write(&path, bytes).unwrap();
    assert!(Frame::load(&path).unwrap_err().to_string().contains("orthonormal"));
}

#[test]
fn maps_survive_files_and_match_covariances() {
    for method in [Method::Blockwise, Method::OptimalTransport, Method::Ridge] {
        map_survives_files(method, 0.4);
    }
    // Lengths in planes and deviations outside are matched, not covariances.
    map_survives_files(Method::AnisoAlign, 0.6);
}

fn map_survives_files(method: Method, left: f64) {
    let (text, image) = pair("a");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.safetensors");
    let mut results = Vec::new();
    for device in devices() {
        let options = FitOptions::default().method(method).paired(true);
        let statistics = fit(&device, &mut text.source(), &mut image.source(), &options).unwrap();
        statistics.save(&path, true).unwrap();
        assert_eq!(Statistics::load(&path).unwrap(), statistics);
        results.push(apply_rows(&device, &statistics, &text.values, text.width).unwrap());
    }
    assert_eq!(results[0], results[1]);
    let of = |values: &[f32]| {
        let mut rows = MemoryRows::f32("rows", values, text.width).unwrap();
        Survey::of(&realign::device::Device::host(), &mut rows, 0, StreamOptions::default()).unwrap()
    };
    let off = |a: &Survey, b: &Survey| {
        let pairs = a.covariance().iter().zip(b.covariance());
        pairs.map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt()
    };
    let (before, after, want) = (of(&text.values), of(&results[0]), of(&image.values));
    assert!(off(&after, &want) < left * off(&before, &want), "{} {}", off(&after, &want), off(&before, &want));
}

/// Recorded on a device, in f32, as streamed on the host in f64.
#[test]
fn maps_on_devices() {
    for method in [Method::Blockwise, Method::OptimalTransport, Method::AnisoAlign] {
        map_on_devices(method);
    }
}

/// The largest slope of AnisoAlign's maps of lengths.
fn steepest(radial: &Radial) -> f64 {
    let knots = radial.knots();
    let tables = radial.source.chunks_exact(knots).zip(radial.target.chunks_exact(knots));
    let slopes = tables.flat_map(|(s, t)| s.windows(2).zip(t.windows(2)).map(|(s, t)| (t[1] - t[0]) / (s[1] - s[0])));
    slopes.filter(|slope| slope.is_finite()).fold(0.0, f64::max)
}

fn map_on_devices(method: Method) {
    let (text, image) = pair("a");
    let options = FitOptions::default().method(method);
    let host = devices().remove(0);
    let statistics = fit(&host, &mut text.source(), &mut image.source(), &options).unwrap();
    let want = apply_rows(&host, &statistics, &text.values, text.width).unwrap();
    let want: Vec<f64> = want.iter().map(|&x| f64::from(x)).collect();
    let steepest = statistics.radial.as_ref().map_or(0.0, steepest);
    for device in devices() {
        let input = Tensor::from_f32(&device, &text.values, text.width).unwrap();
        let output = Tensor::new(&device, input.rows(), text.width, realign::ElementType::F32).unwrap();
        let status = realign::kernels::align::apply::status_buffer(&device).unwrap();
        let operator = statistics.aligner().on(&device).unwrap();
        let target = Target { output: &output, status: &status, first_row: 0 };
        let mut recorder = device.recorder();
        operator.record(&mut recorder, &input, input.rows() - 1, target).unwrap();
        recorder.submit().unwrap();
        let got = output.to_f32_blocking(&device).unwrap();
        let got: Vec<f64> = got.iter().map(|&x| f64::from(x)).collect();
        let (rows, rest) = got.split_at(got.len() - text.width);
        assert!(rest.iter().all(|&x| x == 0.0), "a row that was not asked for");
        // Sums of d products of f32; the map stretches by the root of the two covariances' ratio, at most some tens here.
        // A length that is off by some 3e-7 is stretched by as much as knots are steep, where rows happen to lie close: seldom.
        max_difference(rows, &want[..rows.len()], 2e-5 + 3e-7 * steepest).unwrap();
        let off = rows.iter().zip(&want).map(|(got, want)| (got - want).abs()).sum::<f64>();
        assert!(off / (rows.len() as f64) < 1e-6, "{method} on {}: {off:e}", device.name());
        let narrow = Tensor::new(&device, 3, text.width - 1, realign::ElementType::F32).unwrap();
        assert!(operator.record(&mut device.recorder(), &narrow, 3, target).is_err());
    }
}

#[test]
fn densities_and_divergences() {
    let rows = unit_rows(&cloud(5, 90, 8), 8);
    let within = Density::within(&rows, 8).unwrap();
    assert_eq!(within.pairs(), 90 * 89 / 2);
    assert!((within.weights().iter().sum::<f64>() - 1.0).abs() < 1e-12);
    assert_eq!(jensen_shannon(&within, &within).unwrap(), 0.0);
    let across = Density::across(&rows, &rows, 8).unwrap();
    assert_eq!(across.pairs(), 90 * 89);
    // Two peaks apart share nothing: one bit.
    let peak = |cosine: f64| {
        let (a, b) = ((1.0 - cosine * cosine).sqrt(), cosine);
        Density::within(&[1.0, 0.0, b, a], 2).unwrap()
    };
    assert!((jensen_shannon(&peak(0.9), &peak(-0.9)).unwrap() - 1.0).abs() < 1e-12);
}

#[test]
fn neighbours_mix_and_overlap() {
    // Ties: three copies of each of two rows.
    let rows = [[1.0, 0.0], [0.0, 1.0]].repeat(3).concat();
    assert_eq!(nearest_others(&rows, 2, 2).unwrap(), [2, 4, 3, 5, 0, 4, 1, 5, 0, 2, 1, 3]);
    let unit = unit_rows(&cloud(1, 400, 10), 10);
    let both = mixing(&unit[..2000], &unit[2000..], 10, 20).unwrap();
    assert!((0.4..0.6).contains(&both.rate) && (0.85..1.15).contains(&both.normalised_source), "{both:?}");
    let far: Vec<f64> = unit[..2000].iter().map(|x| -x).collect();
    assert!(mixing(&unit[..2000], &far, 10, 20).unwrap().rate < 0.2);
    assert_eq!(knn_overlap(&unit, &unit, 10, 5).unwrap(), 1.0);
    // By brute force.
    let found = nearest_others(&unit, 10, 7).unwrap();
    for (i, got) in found.chunks_exact(7).enumerate() {
        let cosine = |j: usize| (0..10).map(|k| unit[i * 10 + k] * unit[j * 10 + k]).sum::<f64>();
        let mut all: Vec<usize> = (0..400).filter(|&j| j != i).collect();
        all.sort_by(|&a, &b| cosine(b).total_cmp(&cosine(a)));
        assert!(got.iter().zip(&all).all(|(g, w)| *g as usize == *w), "row {i}");
    }
}

/// The p-value of unmoved data is uniform, and a real shift is found.
#[test]
fn the_drift_check_is_calibrated() {
    let d = 24;
    let values = cloud(11, 30_000, d);
    let mut rows = MemoryRows::f32("rows", &values, d).unwrap();
    let unit = unit_rows(&values[..20_000 * d], d);
    let stored_mean = mean(&unit, d);
    let square = unit.chunks_exact(d).map(|r| r.iter().map(|x| x * x).sum::<f64>()).sum::<f64>() / 20_000.0;
    let trace = square - stored_mean.iter().map(|m| m * m).sum::<f64>();
    let stored = Stored { mean: &stored_mean, trace, rows: 20_000, noise: 0.0 };
    let (mut p_mean, mut p_trace) = (Vec::new(), Vec::new());
    for batch in 0..100u64 {
        let mut batch = Subset::new(&mut rows, move |i| i >= 20_000 && (i - 20_000) / 100 == batch);
        let r = recalibration(&mut batch, stored, StreamOptions::default()).unwrap();
        p_mean.push(r.p_mean);
        p_trace.push(r.p_trace);
    }
    for p in [&p_mean, &p_trace] {
        // Of 100 uniform numbers 10 ± 3 lie below 0.1 and 50 ± 5 below a half: four deviations either way.
        let below = |level: f64| p.iter().filter(|p| **p < level).count();
        assert!((1..=22).contains(&below(0.1)) && (30..=70).contains(&below(0.5)), "{} {}", below(0.1), below(0.5));
    }
    // Each row's first number grows a little.
    let shifted: Vec<f32> =
        values[25_000 * d..26_000 * d].iter().enumerate().map(|(i, x)| if i % d == 0 { x + 0.4 } else { *x }).collect();
    let mut batch = MemoryRows::f32("batch", &shifted, d).unwrap();
    let r = recalibration(&mut batch, stored, StreamOptions::default()).unwrap();
    assert!(r.recalibrate(1e-6) && r.drift > 0.01, "{r:?}");
}

#[test]
fn more_rows_leave_a_smaller_gap() {
    let (text, image) = pair("b");
    assert_eq!(sizes(250), [100, 200, 250]);
    assert_eq!(sizes(60), [60]);
    for device in devices() {
        let (mut y, mut x) = (text.source(), image.source());
        let options = FitOptions::default();
        let study = sample_size_study(&device, &mut y, &mut x, (&[20, 250], 6, 1), &options).unwrap();
        assert_eq!((study[0].gaps.len(), study[1].gaps.len()), (6, 1));
        assert!(study[0].mean() > 1.5 * study[1].mean(), "{study:?}");
        assert!(study[0].deviation().unwrap() > 0.0 && study[1].deviation().is_none(), "{study:?}");
        let again = sample_size_study(&device, &mut y, &mut x, (&[20, 250], 6, 1), &options).unwrap();
        assert_eq!(study, again);
    }
}

#[test]
fn subsets_read_as_their_rows() {
    let values: Vec<f32> = (0..30u8).map(f32::from).collect();
    let mut inner = MemoryRows::f32("rows", &values, 3).unwrap();
    let mut odd = Subset::odd(&mut inner);
    assert_eq!(odd.rows(), 5);
    for _ in 0..2 {
        odd.rewind().unwrap();
        let (mut all, mut block) = (Vec::new(), [0; 24]);
        loop {
            let rows = odd.next(2, &mut block).unwrap();
            if rows == 0 {
                break;
            }
            all.extend(block[..rows * 12].chunks_exact(12).map(|r| f32::from_le_bytes(r[..4].try_into().unwrap())));
        }
        assert_eq!(all, [3.0, 9.0, 15.0, 21.0, 27.0]);
    }
    let mut row = [0; 12];
    assert_eq!(odd.locate(2, &mut row).unwrap().1, 5);
    assert!(odd.locate(5, &mut row).is_err());
}

#[test]
fn spectra_of_known_shape() {
    let power = Spectrum::from_eigenvalues((1..=80).map(|k| f64::from(k).powf(-1.5)).collect());
    assert!((power.alpha().unwrap() - 1.5).abs() < 1e-12);
    assert_eq!(power.fitted_ranks(), (10, 40));
    let flat = Spectrum::from_eigenvalues(vec![2.0; 10]);
    assert!((flat.effective_rank() - 10.0).abs() < 1e-12 && flat.kappa() == Some(1.0));
    assert_eq!((flat.rank_at(0.9), flat.rank_at(0.91), flat.rank_at(1.0)), (9, 10, 10));
}
