//! AnisoAlign's initialisation against reference code's numbers, and what must hold of it and of every aligner.

use std::path::Path;

use realign::align::{
    CompareOptions, Evidence, FitOptions, Method, Mix, PlaneOptions, Radial, Statistics, apply, compare, fit,
    fit_evidence,
};
use realign::device::Device;
use realign::geometry::{Cut, DiagnosisOptions};
use realign::kernels::stats::moments::Summand;
use realign::stats::{MemoryRows, StreamOptions, measure};
use realign::{ElementType, Error};
use safetensors::SafeTensors;

use super::common::{devices, max_difference, unit_rows};
use super::data::{CASES, Rows, pair, paper_clouds, partners};

/// f64 numbers of the reference, row-major.
fn golden(name: &str) -> Vec<f64> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/anisoalign.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    bytemuck::pod_collect_to_vec(file.tensor(name).unwrap().data())
}

const D: usize = 16;

fn aniso() -> FitOptions<'static> {
    FitOptions::default().method(Method::AnisoAlign)
}

pub fn fitted((text, image): (&Rows, &Rows), options: &FitOptions<'_>) -> Statistics {
    fit(&Device::host(), &mut text.source(), &mut image.source(), options).unwrap()
}

/// Rows of f64 through an operator, as f64.
pub fn applied(device: &Device, statistics: &Statistics, rows: &[f64]) -> Vec<f64> {
    let bytes = bytemuck::cast_slice(rows);
    let mut source = MemoryRows::new("rows", bytes, statistics.width(), ElementType::F64).unwrap();
    let mut out = Vec::new();
    let mut sink = |bytes: &[u8], _: usize| {
        out.extend(bytemuck::pod_collect_to_vec::<u8, f64>(bytes));
        Ok(())
    };
    apply(device, &*statistics.aligner(), &mut source, ElementType::F64, StreamOptions::default(), &mut sink).unwrap();
    out
}

/// Covariances are sums of multiples of 2⁻⁴³: eigenvectors of eigenvalues some 1e-3 apart turn by some 1e-10, and rows with them.
#[test]
fn the_reference_s_tables_and_rows() {
    let [source, target] = ["source", "target"].map(golden);
    let rows = |values| MemoryRows::new("rows", bytemuck::cast_slice(values), D, ElementType::F64).unwrap();
    let options = aniso().frame(Cut::Rank(8));
    let mut first = None;
    for device in devices() {
        let statistics = fit(&device, &mut rows(&source), &mut rows(&target), &options).unwrap();
        let radial = statistics.radial.as_ref().unwrap();
        assert_eq!((radial.planes(), radial.knots()), (4, 96));
        for (got, name) in [
            (&radial.directions, "directions"),
            (&radial.offset, "offset"),
            (&radial.source, "lengths_y"),
            (&radial.target, "lengths_x"),
        ] {
            max_difference(got, &golden(name), 1e-9).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        max_difference(statistics.map.as_ref().unwrap(), &golden("map"), 1e-9).unwrap();
        let out = applied(&device, &statistics, &source);
        max_difference(&out, &golden("out"), 1e-9).unwrap();
        let mut raw = statistics.clone();
        raw.shifts.clear();
        max_difference(&applied(&device, &raw, &source), &golden("raw"), 1e-9).unwrap();
        // Sums are exact: the same operator on every device.
        assert_eq!(first.get_or_insert(statistics.clone()), &statistics);
    }
    // The tolerance is no invitation: another rank is another operator.
    let other = fit(&Device::host(), &mut rows(&source), &mut rows(&target), &aniso().frame(Cut::Rank(6))).unwrap();
    assert!(max_difference(&applied(&Device::host(), &other, &source), &golden("out"), 1e-3).is_err());
}

/// Lengths that have the target's quantiles already, and deviations, stay as they are, however planes are mixed.
#[test]
fn a_cloud_aligned_to_itself_stays() {
    for case in CASES {
        let (_, image) = pair(case);
        for mix in [Mix::None, Mix::Haar] {
            let options = aniso().planes(PlaneOptions::default().mix(mix)).seed(3);
            let statistics = fitted((&image, &image), &options);
            let unit = unit_rows(&image.values, image.width);
            // Tables are equal ones. A length is `√(a² + b² + 1e-12)`: by at most 1e-6 more than that of a and b.
            max_difference(&applied(&Device::host(), &statistics, &unit), &unit, 1e-6).unwrap();
        }
    }
}

/// Of unit rows: `E yᵀz <= 1 - ‖μ_z - μ_y‖² / 2`, whatever z is made by. What moves a mean cannot leave rows where they were.
#[test]
fn no_aligner_keeps_rows_and_moves_their_mean() {
    let mut near = 0;
    for case in ["a", "b", "digits", "paper"] {
        let (text, image) = match case {
            "paper" => paper_clouds((0.62, 0.66)),
            _ => (partners(case), pair(case).1),
        };
        let options = CompareOptions { paired: true, ..Default::default() };
        let methods: Vec<Method> = Method::every().collect();
        let table = compare(&Device::host(), &mut text.source(), &mut image.source(), &methods, &options);
        let table = table.unwrap();
        assert_eq!(table.methods.len(), methods.len());
        // Φ looks at the first of the rows, the mean at all: they must be the same ones.
        assert!(table.source.rows() <= DiagnosisOptions::default().neighbour_rows as u64, "{case}");
        for line in &table.methods {
            let moved = line.survey.mean().iter().zip(table.source.mean()).map(|(z, y)| (z - y).powi(2)).sum::<f64>();
            let (phi, most) = (line.diagnosis.kept.unwrap().phi, 1.0 - moved / 2.0);
            // Rows are rounded to f32.
            assert!(phi <= most + 1e-7, "{case}, {}: {phi} above {most}", line.method);
            near += usize::from(phi > most - 0.005);
        }
    }
    assert!(near >= 8, "a bound that nothing comes near says nothing");
}

/// Between ReAlign and blockwise: nearer to the target than the one, nearer to the source than the other.
#[test]
fn it_lies_between_realign_and_blockwise() {
    for case in CASES {
        let (text, image) = pair(case);
        let methods = [Method::ReAlign, Method::AnisoAlign, Method::Blockwise];
        let (text, options) = (text.distinct(), CompareOptions::default());
        let table = compare(&Device::host(), &mut text.source(), &mut image.source(), &methods, &options);
        let each = |f: fn(&realign::geometry::Diagnosis) -> f64| -> Vec<f64> {
            table.as_ref().unwrap().methods.iter().map(|line| f(&line.diagnosis)).collect()
        };
        for (name, values) in [
            ("phi", each(|d| d.kept.unwrap().phi)),
            ("neighbours kept", each(|d| d.kept.unwrap().knn_overlap)),
            ("jsd", each(|d| d.jsd)),
            ("shapes", each(|d| d.frechet.covariance)),
        ] {
            assert!(values.is_sorted_by(|a, b| a > b), "{case}, {name}: {values:?}");
        }
    }
}

#[test]
fn a_sample_of_rows_is_drawn_by_its_seed() {
    let (text, image) = pair("a");
    let of = |rows, seed| {
        let options = aniso().planes(PlaneOptions::default().fit_rows(rows)).seed(seed);
        fitted((&text, &image), &options)
    };
    let (all, some) = (of(500, 0), of(100, 0));
    assert_eq!(all, of(65_536, 1));
    assert_eq!(some, of(100, 0));
    assert_ne!(some, of(100, 1));
    // Means, deviations and directions are of all rows, lengths of so many.
    assert_eq!((&all.map, all.radial.as_ref().unwrap().knots()), (&some.map, 500));
    assert_eq!(some.radial.as_ref().unwrap().knots(), 100);
    // Quantiles of a fifth of the rows are quantiles of theirs.
    let (all, some) = (all.radial.unwrap(), some.radial.unwrap());
    let middle = |table: &[f64], knots: usize| table[knots / 2];
    let off = middle(&all.source, 500) / middle(&some.source, 100) - 1.0;
    assert!(off.abs() < 0.2, "{off}");
}

#[test]
fn what_cannot_be_fitted_is_said() {
    let (text, image) = pair("a");
    let device = Device::host();
    let refused = |options: FitOptions<'_>, words: &[&str]| {
        let error = fit(&device, &mut text.source(), &mut image.source(), &options).unwrap_err().to_string();
        words.iter().for_each(|word| assert!(error.contains(word), "{word:?} is not in: {error}"));
    };
    refused(aniso().planes(PlaneOptions::default().fit_rows(1)), &["fit_rows", "2 or more"]);
    refused(aniso().frame(Cut::Rank(49)), &["rank", "1 to 48"]);
    refused(aniso().centroid(realign::align::Centroid::Exact), &["centroid", "anisoalign"]);
    let unit = Summand::unit_rows(&device, text.width).unwrap();
    let [y, x] = [&text, &image].map(|rows| measure(&device, &mut rows.source(), &unit, Default::default()).unwrap());
    let error = fit_evidence(&device, Evidence::Moments(&y), Evidence::Moments(&x), &aniso()).unwrap_err();
    assert!(matches!(error, Error::Argument { .. }) && error.to_string().contains("rows"), "{error}");
    // Rows on a line have no plane: deviations alone.
    let line = |sign: f32| Rows { values: vec![sign, 1.0, -1.0], width: 1 };
    assert_eq!(fitted((&line(1.0), &line(-1.0)), &aniso()).radial, None);
}

#[test]
fn damaged_files_are_refused() {
    let (text, image) = pair("a");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.safetensors");
    let statistics = fitted((&text, &image), &aniso());
    let loaded = |change: fn(&mut Radial)| {
        let mut odd = statistics.clone();
        change(odd.radial.as_mut().unwrap());
        odd.save(&path, true).unwrap();
        Statistics::load(&path)
    };
    assert_eq!(loaded(|_| ()).unwrap(), statistics);
    type Change = (fn(&mut Radial), &'static str);
    let changes: [Change; 4] = [
        (|r| r.directions[3] += 0.1, "orthonormal"),
        (|r| r.source[5] = 2.0, "ascend"),
        (|r| r.target[0] = -0.5, "ascend"),
        (|r| *r.target.last_mut().unwrap() = 1.5, "ascend"),
    ];
    for (change, word) in changes {
        let error = loaded(change).unwrap_err().to_string();
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
}
