//! Too few rows, equal rows, identical sets, sets that do not fit: an error that says what to do, or `None`; never a NaN.

use realign::align::{CompareOptions, FitOptions, Method, compare, fit};
use realign::geometry::drift::{adjacent_cosine, expansion};
use realign::geometry::neighbourhood::{mixing, nearest_others};
use realign::geometry::recalibrate::{Stored, recalibration};
use realign::geometry::{
    Before, Cut, Decomposition, DiagnosisOptions, Frame, Reference, SAMPLE_ROWS, Survey, principal_angles,
};
use realign::stats::{MemoryRows, StreamOptions};
use realign::{Device, Error};

use super::common::{cloud, devices};

const D: usize = 12;

fn survey_by(device: &Device, values: &[f32]) -> Survey {
    let mut rows = MemoryRows::f32("rows", values, D).unwrap();
    Survey::of(device, &mut rows, SAMPLE_ROWS, StreamOptions::default()).unwrap()
}

fn survey(values: &[f32]) -> Survey {
    survey_by(&Device::host(), values)
}

fn frame_by(device: &Device, values: &[f32], cut: Cut) -> realign::Result<Frame> {
    let survey = survey_by(device, values);
    Frame::of(&survey, &survey, cut)
}

fn frame_of(values: &[f32], cut: Cut) -> realign::Result<Frame> {
    frame_by(&Device::host(), values, cut)
}

/// The message of what must fail, with all `words`.
#[track_caller]
fn says<T>(result: realign::Result<T>, words: &[&str]) {
    let text = result.err().expect("an error").to_string();
    words.iter().for_each(|word| assert!(text.contains(word), "{word:?} is not in: {text}"));
}

fn pairs(y: &[f32], x: &[f32], frame: &Frame) -> realign::Result<Decomposition> {
    let (mut y, mut x) = (MemoryRows::f32("y", y, D).unwrap(), MemoryRows::f32("x", x, D).unwrap());
    Decomposition::of(&mut y, &mut x, frame, StreamOptions::default())
}

fn finite(entries: &[(&'static str, Option<f64>)]) {
    entries.iter().for_each(|(key, value)| assert!(value.is_none_or(f64::is_finite), "{key} is {value:?}"));
}

fn value(entries: &[(&'static str, Option<f64>)], key: &str) -> Option<f64> {
    entries.iter().find(|(k, _)| *k == key).unwrap().1
}

#[test]
fn fewer_rows_than_directions() {
    let few = cloud(1, 5, D);
    for device in devices() {
        let frame_of = |cut| frame_by(&device, &few, cut);
        says(frame_of(Cut::Rank(6)), &["6 directions", "span 4", "more rows"]);
        assert_eq!(frame_of(Cut::Rank(4)).unwrap().rank(), 4);
        assert_eq!(frame_of(Cut::Energy(1.0)).unwrap().rank(), 4);
        says(frame_of(Cut::Rank(0)), &["rank", "1 to 12"]);
        says(frame_of(Cut::Rank(13)), &["rank", "1 to 12"]);
        for energy in [0.0, 1.1, -1.0, f64::NAN] {
            says(frame_of(Cut::Energy(energy)), &["energy"]);
        }
    }
}

#[test]
fn a_singular_covariance() {
    let few = cloud(2, 5, D);
    for device in devices() {
        let spectrum = survey_by(&device, &few).spectrum().clone();
        assert_eq!(spectrum.numerical_rank(), 4, "{}", device.name());
        // Ranks 2 to 6 are asked for; those that are there are fitted.
        assert!(spectrum.alpha().unwrap().is_finite() && spectrum.kappa().unwrap().is_finite());
        assert_eq!(spectrum.alpha_between(4, 6), None);
        assert_eq!(spectrum.alpha_between(5, 6), None);
        let options = DiagnosisOptions { mixing_k: 3, overlap_k: 2, q: Some(3), ..Default::default() };
        let (y, x) = (survey_by(&device, &few), survey_by(&device, &cloud(3, 5, D)));
        let before = Before::on(&device, &y, &options).unwrap();
        finite(&Reference::on(&device, &x, options).unwrap().diagnose(&y, Some(&before)).unwrap().entries());
        let beyond = DiagnosisOptions { q: Some(5), ..options };
        let got = Reference::on(&device, &x, beyond).unwrap().diagnose(&y, None).unwrap();
        assert_eq!(got.subspace_overlap, None, "{}", device.name());
    }
    finite(&pairs(&few, &cloud(3, 5, D), &frame_of(&few, Cut::Rank(2)).unwrap()).unwrap().entries());
    // With the ridge blockwise has an answer, without it none.
    let fitted = |shrinkage| {
        let (target, options) = (cloud(4, 40, D), FitOptions::default().method(Method::Blockwise).shrinkage(shrinkage));
        let (mut y, mut x) = (MemoryRows::f32("y", &few, D).unwrap(), MemoryRows::f32("x", &target, D).unwrap());
        fit(&Device::host(), &mut y, &mut x, &options)
    };
    assert!(fitted(None).unwrap().map.unwrap().iter().all(|a| a.is_finite()));
    says(fitted(Some(0.0)), &["singular", "shrinkage"]);
    says(fitted(Some(-1.0)), &["shrinkage"]);
    says(fitted(Some(f64::NAN)), &["shrinkage"]);
}

#[test]
fn constant_sets() {
    // Thirds: sums of these round, and a mean of them is off.
    let same: Vec<f32> = (0..D).map(|i| 1.0 / (i as f32 + 3.0)).collect::<Vec<_>>().repeat(2500);
    for device in devices() {
        says(frame_by(&device, &same, Cut::default()), &["all rows are equal"]);
        let survey = survey_by(&device, &same);
        assert_eq!((survey.spectrum().trace(), survey.spectrum().effective_rank()), (0.0, 0.0), "{}", device.name());
        assert_eq!((survey.spectrum().alpha(), survey.spectrum().kappa()), (None, None));
        assert!(survey.covariance().iter().all(|c| *c == 0.0));
        let other = survey_by(&device, &cloud(1, 2500, D));
        let options = DiagnosisOptions { q: Some(3), neighbour_rows: 60, ..Default::default() };
        for (y, x) in [(&survey, &other), (&other, &survey), (&survey, &survey)] {
            let before = Before::on(&device, y, &options).unwrap();
            let got = Reference::on(&device, x, options).unwrap().diagnose(y, Some(&before)).unwrap();
            finite(&got.entries());
            assert_eq!(got.subspace_overlap, None);
        }
    }
    let (same, survey) = (&same[..30 * D], survey(&same[..30 * D]));
    let frame = frame_of(&cloud(1, 30, D), Cut::Rank(3)).unwrap();
    let parts = pairs(same, &[-0.5f32; D].repeat(30), &frame).unwrap().entries();
    finite(&parts);
    for key in ["coupling_r2", "gamma_v1_angle_deg", "residual_anisotropy", "effective_dimension", "kappa_u"] {
        assert_eq!(value(&parts, key), None, "{key}");
    }
    let stored = Stored { mean: survey.mean(), trace: 0.0, rows: 30, noise: 0.0 };
    let mut batch = MemoryRows::f32("batch", same, D).unwrap();
    says(recalibration(&mut batch, stored, StreamOptions::default()), &["all equal"]);
}

#[test]
fn identical_sets() {
    let values = cloud(7, 60, D);
    for device in devices() {
        let survey = survey_by(&device, &values);
        let options = DiagnosisOptions { q: Some(4), ..Default::default() };
        let before = Before::on(&device, &survey, &options).unwrap();
        let got = Reference::on(&device, &survey, options).unwrap().diagnose(&survey, Some(&before)).unwrap();
        let entries = got.entries();
        finite(&entries);
        for key in ["gap", "jsd"] {
            assert_eq!(value(&entries, key), Some(0.0), "{key} on {}", device.name());
        }
        for key in ["knn_overlap", "omega", "phi", "psi", "spectral_correlation", "subspace_overlap"] {
            assert!((value(&entries, key).unwrap() - 1.0).abs() < 1e-12, "{key} on {}", device.name());
        }
    }
    let parts = pairs(&values, &values, &frame_of(&values, Cut::Rank(3)).unwrap()).unwrap();
    finite(&parts.entries());
    assert_eq!((parts.bias.beta_norm, parts.coupling.r2), (0.0, None));
    assert_eq!(adjacent_cosine(&parts.bias.gamma, &parts.bias.gamma).unwrap(), None);
}

#[test]
fn comparisons_of_sets_that_make_trouble() {
    let (good, few) = (cloud(7, 80, D), cloud(8, 16, D));
    let same = [0.5f32; D].repeat(80);
    for device in devices() {
        let table = |y: &[f32], x: &[f32], options: &CompareOptions<'_>| {
            let (mut y, mut x) = (MemoryRows::f32("y", y, D).unwrap(), MemoryRows::f32("x", x, D).unwrap());
            compare(&device, &mut y, &mut x, &Method::ALL, options)
        };
        let paired = CompareOptions { paired: true, ..Default::default() };
        // Constant: nothing can be fitted, and the error says which side.
        says(table(&same, &good, &Default::default()), &["source", "all equal"]);
        says(table(&good, &same, &Default::default()), &["target", "all equal"]);
        says(table(&same, &same, &paired), &["all rows are equal"]);
        // Identical sets.
        for line in table(&good, &good, &paired).unwrap().methods {
            finite(&line.diagnosis.entries());
            finite(&line.pairs.unwrap().entries());
        }
        // Fewer rows than directions: 8 held out, which span 7, and as many fitted on.
        let diagnosis = DiagnosisOptions { mixing_k: 3, overlap_k: 2, ..Default::default() };
        let options = CompareOptions { diagnosis, frame: Cut::Rank(9), ..paired };
        says(table(&few, &few, &options), &["9 directions", "span 7"]);
        for line in table(&few, &few, &CompareOptions { frame: Cut::Rank(3), ..options }).unwrap().methods {
            finite(&line.diagnosis.entries());
            finite(&line.pairs.unwrap().entries());
        }
        // What no method could use is refused before the first is fitted.
        let bad = |fit| CompareOptions { fit, ..Default::default() };
        says(table(&good, &good, &bad(FitOptions::default().sigma(Some(-1.0)))), &["sigma"]);
        says(table(&good, &good, &bad(FitOptions::default().shrinkage(Some(-1.0)))), &["shrinkage"]);
        says(table(&good, &good[..70 * D], &paired), &["paired", "80 rows", "70 rows"]);
    }
    // An exact centroid step is realign's; blockwise takes one.
    let exact = FitOptions::default().centroid(realign::align::Centroid::Exact);
    let of = |fit| {
        let (mut y, mut x) =
            (MemoryRows::f32("y", &good, D).unwrap(), MemoryRows::f32("x", &good[..60 * D], D).unwrap());
        let methods = [Method::ReAlign, Method::Blockwise];
        let table = compare(&Device::host(), &mut y, &mut x, &methods, &CompareOptions { fit, ..Default::default() });
        table.unwrap().methods.iter().map(|l| l.diagnosis.gap).collect::<Vec<_>>()
    };
    let (exact, one) = (of(exact), of(FitOptions::default()));
    assert!(exact[0] != one[0] && exact[1] == one[1], "{exact:?} {one:?}");
}

#[test]
fn sets_that_do_not_fit() {
    let values = cloud(7, 60, D);
    let frame = frame_of(&values, Cut::Rank(3)).unwrap();
    says(pairs(&values, &values[..50 * D], &frame), &["paired", "60 rows", "50 rows"]);
    let narrow = Frame::from_directions(vec![1.0, 0.0, 0.0], 3).unwrap();
    says(pairs(&values, &values, &narrow), &["width 3", "width 12"]);
    says(principal_angles(&frame, &narrow), &["width 12", "width 3"]);
    says(narrow.project_u(&[1.0]), &["width 3", "width 1"]);
    says(Frame::from_directions(vec![1.0, 1.0], 2), &["orthonormal"]);
    says(Frame::from_directions(vec![f64::NAN, 1.0], 2), &["orthonormal"]);
    says(Frame::from_directions(vec![], 2), &["directions"]);
    says(expansion(&[0.0; D], &[0.0; D * D]), &["mean is 0"]);
    let (y, x) = (survey(&values), survey(&values[..50 * D]));
    let options = DiagnosisOptions::default();
    let before = Before::of(&y, &options).unwrap();
    says(Reference::of(&x, options).unwrap().diagnose(&x, Some(&before)), &["60 rows", "50 rows"]);
}

#[test]
fn more_neighbours_than_rows() {
    let values = cloud(7, 15, D);
    let survey = survey(&values);
    says(nearest_others(survey.sample(), D, 15), &["15 neighbours of 15 rows"]);
    says(nearest_others(survey.sample(), D, 0), &["0 neighbours"]);
    says(mixing(&survey.sample()[..6 * D], survey.sample(), D, 12), &["fewer neighbours", "12 pooled"]);
    says(Before::of(&survey, &DiagnosisOptions::default()), &["20 neighbours of 15 rows", "fewer neighbours"]);
    let (mut y, mut x) = (MemoryRows::f32("y", &values, D).unwrap(), MemoryRows::f32("x", &values, D).unwrap());
    let table = compare(&Device::host(), &mut y, &mut x, &Method::ALL, &CompareOptions::default());
    says(table, &["neighbours of 7 rows"]);
}

#[test]
fn bad_values_are_located() {
    let mut values = cloud(7, 3000, D);
    values[2500 * D + 4] = f32::INFINITY;
    let mut rows = MemoryRows::f32("rows", &values, D).unwrap();
    match Survey::of(&realign::device::Device::host(), &mut rows, 0, StreamOptions::default()) {
        Err(Error::NonFinite { row: 2500, column: 4, .. }) => {}
        other => panic!("{other:?}"),
    }
    let zero = StreamOptions::default().nonfinite(realign::stats::NonFinite::Zero);
    assert_eq!(Survey::of(&realign::device::Device::host(), &mut rows, 0, zero).unwrap().replaced(), 1);
    for device in devices() {
        let mut surveyor = realign::geometry::Surveyor::new(&device, 2, 0).unwrap();
        let error = surveyor.add(bytemuck::cast_slice(&[1.0f32, 2.0, 0.5, f32::NAN])).unwrap_err().to_string();
        assert!(error.contains("finite") && error.contains("row 1"), "{error}");
    }
    let mut none = MemoryRows::f32("rows", &[], D).unwrap();
    says(Survey::of(&realign::device::Device::host(), &mut none, 0, StreamOptions::default()), &["no rows"]);
    let mut few = MemoryRows::f32("rows", &values[..7 * D], D).unwrap();
    let stored = Stored { mean: &[0.0; D], trace: 1.0, rows: 10, noise: 0.0 };
    says(recalibration(&mut few, stored, StreamOptions::default()), &["7 rows", "8 or more"]);
}
