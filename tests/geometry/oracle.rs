//! Every number against the reference code's, on two synthetic geometries and on the bundled digits.

use realign::Device;
use realign::align::{CompareOptions, Comparison, FitOptions, Method, compare};
use realign::geometry::drift::{adjacent_cosine, phantom_drift, pob_drift};
use realign::geometry::{
    Before, CovarianceView, Cut, Decomposition, Diagnosis, DiagnosisOptions, Frame, Reference, SAMPLE_ROWS, Survey,
    principal_angles,
};
use realign::stats::{RowSource, StreamOptions, Subset};

use super::common::devices;
use super::data::{CASES, Rows, check, expected, pair, paper_clouds, partners};
use super::float_error::Bounds;

fn survey(source: &mut dyn RowSource) -> Survey {
    Survey::of(&realign::device::Device::host(), source, SAMPLE_ROWS, StreamOptions::default()).unwrap()
}

fn frame(y: &Survey, x: &Survey) -> Frame {
    Frame::of(y, x, Cut::default()).unwrap()
}

/// f64 against f64. Means and covariances agree to some ε √n; eigenvalues to d ε λ_1 = 1e-14, which is relative to the
/// largest: α and κ look at eigenvalues down to 1e-5 of it, hence 1e-8. Neighbours are counts: equal.
fn exact(key: &str) -> f64 {
    match key {
        "alpha_source" | "alpha_target" | "kappa_source" | "kappa_target" | "kappa_u" | "kappa_v" => 1e-8,
        "mixing_rate" | "mixing_x" | "mixing_z" | "knn_overlap" | "omega" => 1e-12,
        // Degrees of an angle to an eigenvector: its error is ε λ_1 over the distance to the next eigenvalue, some 1e-12.
        "gamma_v1_angle_deg" => 1e-9,
        _ => 1e-10,
    }
}

/// Rows are rounded to f32 after alignment, here and in the reference, by operations in another order: some 2e-7 a row.
pub fn rounded(key: &str, rows: u64) -> f64 {
    match key {
        // An α over eigenvalues of 1e-5 of the largest: 2e-7² is far below, a cross term of 2e-7 √λ √n⁻¹ is not.
        "alpha_source" | "kappa_source" => 1e-5,
        // Neighbours at almost equal distance may change places: five of them.
        "knn_overlap" => 5.0 / (10.0 * rows as f64),
        "mixing_rate" | "mixing_x" | "mixing_z" | "omega" => 5.0 / (20.0 * rows as f64),
        _ => 1e-6,
    }
}

#[test]
fn measure() {
    for case in CASES {
        let (text, image) = pair(case);
        let want = expected(case);
        for device in devices() {
            let survey =
                |rows: &Rows| Survey::of(&device, &mut rows.source(), SAMPLE_ROWS, StreamOptions::default()).unwrap();
            let (y, x) = (survey(&text), survey(&image));
            let rank = Frame::of(&y, &x, Cut::default()).unwrap().rank();
            assert_eq!(want["rank"], rank, "{case}");
            let options = DiagnosisOptions { q: Some(rank), ..Default::default() };
            let got = Reference::on(&device, &x, options).unwrap().diagnose(&y, None).unwrap();
            let bounds = Bounds::of(&y, &x, rank);
            let what = format!("{case} on {}", device.name());
            let tolerance = |key: &str| exact(key).max(bounds.of_key(key));
            let checked = check(&what, &got.entries(), &want["measure"], tolerance).unwrap();
            assert_eq!(checked, 19, "{what}");
        }
    }
}

/// Second moments are exact: the same on every device.
#[test]
fn surveys_on_devices() {
    for case in CASES {
        let rows = pair(case).0;
        let want = survey(&mut rows.source());
        for device in devices() {
            let got = Survey::of(&device, &mut rows.source(), 100, StreamOptions::default()).unwrap();
            assert_eq!((got.covariance(), got.mean()), (want.covariance(), want.mean()), "{case} on {}", device.name());
            assert_eq!((got.rows(), got.sample()), (want.rows(), want.first(100)));
        }
    }
}

#[test]
fn a_wrong_number_is_noticed() {
    let want = expected("a")["measure"].clone();
    let gap = want["gap"].as_f64().unwrap();
    check("a", &[("gap", Some(gap))], &want, exact).unwrap();
    assert!(check("a", &[("gap", Some(gap + 1e-9))], &want, exact).is_err());
    assert!(check("a", &[("gap", Some(f64::NAN))], &want, exact).is_err());
    assert!(check("a", &[("gap", None)], &want, exact).is_err());
}

#[test]
fn decomposition() {
    for case in CASES {
        let (text, image, want) = (partners(case), pair(case).1, expected(case)["paired"].clone());
        let (y, x) = (survey(&mut text.source()), survey(&mut image.source()));
        let frame = frame(&y, &x);
        assert_eq!(want["frame_rank"], frame.rank(), "{case}");
        let options = StreamOptions::default();
        let got = Decomposition::of(&mut text.source(), &mut image.source(), &frame, options).unwrap();
        let checked = check(case, &got.entries(), &want, exact).unwrap();
        assert_eq!(checked, 11, "{case}");
        let target = (x.mean(), x.spectrum().trace());
        let phantom = phantom_drift(&mut text.source(), &y, target, options).unwrap();
        let size = |v: &[f64]| Some(v.iter().map(|x| x * x).sum::<f64>().sqrt());
        let moved = [
            ("phantom_expansion_error", phantom.expansion.relative_error()),
            ("phantom_unit_error", phantom.unit_rows.relative_error()),
            ("phantom_expansion", size(&phantom.expansion.predicted)),
            ("phantom_unit", size(&phantom.unit_rows.predicted)),
        ];
        assert_eq!(check(case, &moved, &want, exact).unwrap(), 4);
    }
}

#[test]
fn drift_of_the_passive_bias() {
    for case in CASES {
        let (text, image, want) = (partners(case), pair(case).1, expected(case)["paired"].clone());
        let frame = frame(&survey(&mut text.source()), &survey(&mut image.source()));
        let half = image.count() as u64 / 2;
        let gamma = |keep: fn(u64, u64) -> bool| {
            let (mut y, mut x) = (text.source(), image.source());
            let y = survey(&mut Subset::new(&mut y, |i| keep(i, half)));
            let x = survey(&mut Subset::new(&mut x, |i| keep(i, half)));
            let m: Vec<f64> = x.mean().iter().zip(y.mean()).map(|(x, y)| x - y).collect();
            frame.split(&m).unwrap().gamma
        };
        let (then, now) = (gamma(|i, half| i < half), gamma(|i, half| i >= half));
        let got = [
            ("pob_drift", Some(pob_drift(&now, &then).unwrap())),
            ("adjacent_cosine", adjacent_cosine(&now, &then).unwrap()),
        ];
        assert_eq!(check(case, &got, &want, exact).unwrap(), 2);
    }
}

#[test]
fn angles_between_leading_spans() {
    for case in CASES {
        let (text, image, want) = (partners(case), pair(case).1, expected(case)["angles"].clone());
        let leading = |rows: &super::data::Rows, rank| {
            let survey = survey(&mut rows.source());
            let nothing = vec![0.0; rows.width * rows.width];
            Frame::of(&survey, CovarianceView::new(&nothing, rows.width), Cut::Rank(rank)).unwrap()
        };
        let got = principal_angles(&leading(&image, 3), &leading(&text, 2)).unwrap();
        let angles: Vec<f64> = want["angles"].as_array().unwrap().iter().map(|a| a.as_f64().unwrap()).collect();
        super::common::max_difference(&got.radians, &angles, 1e-11).unwrap();
        assert!((got.sin_theta_max - want["sin_theta_max"].as_f64().unwrap()).abs() < 1e-11, "{case}");
    }
}

/// C3's noise here and in the reference.
const SIGMA: f64 = 0.05;

fn compared(device: &Device, (text, image): (&Rows, &Rows), sigma: f64, paired: bool) -> Comparison {
    let fit = FitOptions::default().sigma(Some(sigma));
    let options = CompareOptions { fit, paired, ..Default::default() };
    let methods: Vec<Method> = if paired { Method::every().collect() } else { Method::ALL.to_vec() };
    compare(device, &mut text.source(), &mut image.source(), &methods, &options).unwrap()
}

#[test]
fn compare_every_method() {
    for case in CASES {
        let (text, image) = pair(case);
        let (text, want) = (text.distinct(), expected(case));
        for device in devices() {
            let table = compared(&device, (&text, &image), SIGMA, false);
            let rank = table.frame_rank().unwrap();
            assert_eq!(want["compare_rank"], rank, "{case}");
            let rows = table.source.rows().min(table.target.rows());
            for line in &table.methods {
                let want = &want["compare"][line.method.name()];
                let what = format!("{case}, {} on {}", line.method, device.name());
                // Covariances are f32 on a device.
                let bounds = Bounds::of(&line.survey, line.target.as_ref().unwrap_or(&table.target), rank);
                let tolerance = |key: &str| rounded(key, rows).max(bounds.of_key(key));
                let checked = check(&what, &line.diagnosis.entries(), want, tolerance).unwrap();
                assert_eq!(checked, 23, "{what}");
            }
        }
    }
}

/// Differences are f64 on every device, of rows that were rounded to f32: see [`rounded`].
#[test]
fn compare_of_pairs() {
    for case in CASES {
        let (text, image, want) = (partners(case), pair(case).1, &expected(case)["compare_paired"]);
        for device in devices() {
            let table = compared(&device, (&text, &image), SIGMA, true);
            assert_eq!(table.methods.len(), want.as_object().unwrap().len());
            for line in &table.methods {
                let (what, want) = (format!("{case}, {} on {}", line.method, device.name()), &want[line.method.name()]);
                let pairs = line.pairs.as_ref().unwrap();
                assert_eq!(want["frame_rank"], pairs.rank, "{what}");
                assert_eq!(check(&what, &pairs.entries(), want, paired_tolerance).unwrap(), 11, "{what}");
            }
        }
    }
}

fn paired_tolerance(key: &str) -> f64 {
    match key {
        "kappa_u" | "kappa_v" => 1e-5,
        // An eigenvector turns by 2e-7 λ_1 over the distance to its neighbour, here above 1% of λ_1; in degrees.
        "gamma_v1_angle_deg" => 2e-3,
        _ => 1e-6,
    }
}

/// The orderings that hold on such clouds, whatever the figures.
#[test]
fn orderings() {
    for (case, sigma) in [("a", 0.05), ("b", 0.05), ("digits", 0.05), ("paper", 0.01), ("paper, other traces", 0.01)] {
        let (text, image) = match case {
            "paper" => paper_clouds((0.62, 0.66)),
            "paper, other traces" => paper_clouds((0.66, 0.62)),
            _ => pair(case),
        };
        let table = compared(&Device::host(), (&text.distinct(), &image), sigma, false);
        let of = |method| &table.methods.iter().find(|l| l.method == method).unwrap().diagnosis;
        let kept = |method| of(method).kept.unwrap().knn_overlap;
        let (realign, blockwise, c3) = (of(Method::ReAlign), of(Method::Blockwise), of(Method::C3));
        assert_eq!(kept(Method::None), 1.0);
        assert!(kept(Method::ReAlign) > kept(Method::Blockwise) && kept(Method::ReAlign) > kept(Method::C3), "{case}");
        let alpha = |d: &Diagnosis| d.source.alpha.unwrap();
        // ReAlign keeps the text's exponent, noise flattens it, blockwise takes the image's.
        assert!((alpha(realign) / alpha(of(Method::None)) - 1.0).abs() < 0.02, "{case}");
        assert!(alpha(c3) < alpha(realign), "{case}");
        assert!((alpha(blockwise) / blockwise.target.alpha.unwrap() - 1.0).abs() < 0.15, "{case}");
        if case.starts_with("paper") {
            // Noise this weak keeps more neighbours than whitening; exponents as the paper orders them.
            assert!(kept(Method::C3) > kept(Method::Blockwise) + 0.05, "{case}");
            assert!(kept(Method::ReAlign) > kept(Method::C3) + 0.03, "{case}");
            assert!(alpha(c3) + 0.03 < alpha(realign) && alpha(realign) + 0.1 < alpha(blockwise), "{case}");
        }
        // Blockwise wins on density and mixing.
        assert!(blockwise.jsd < realign.jsd && blockwise.mixing.rate > realign.mixing.rate, "{case}");
        assert!(realign.gap < 0.2 * of(Method::None).gap, "{case}");
        // Before and after of the source are each other's reference.
        let options = DiagnosisOptions::default();
        let own = Before::of(&table.source, &options).unwrap();
        let again = Reference::of(&table.target, options).unwrap().diagnose(&table.source, Some(&own));
        assert_eq!(again.unwrap().kept.unwrap().omega, 1.0);
    }
}
