//! AnisoAlign's trained stages: what they leave of the initialisation, figures of independent runs, devices, files, and trainings that go on.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Mutex;

use realign::ElementType;
use realign::align::{
    CompareOptions, FitOptions, Method, PlaneOptions, Stages, Statistics, Target, Trained, Training, TrainingStep,
    apply_rows, compare, fit,
};
use realign::device::{Device, Tensor};
use realign::io::Start;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

use super::anisoalign::{applied, fitted};
use super::common::{devices, max_difference, unit_rows};
use super::data::{Rows, pair, partners};

/// A file's tensors: type, shape, bytes.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn planes(stages: Stages) -> PlaneOptions {
    PlaneOptions::default().stages(stages)
}

/// Few steps of small networks.
fn short(stages: Stages) -> PlaneOptions {
    planes(stages).hidden(24).prior_steps(60).refine_steps(60)
}

fn options(planes: PlaneOptions) -> FitOptions<'static> {
    FitOptions::default().method(Method::AnisoAlign).planes(planes)
}

fn figures(case: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/geometry/anisoalign_trained.json");
    serde_json::from_str::<Value>(&std::fs::read_to_string(path).unwrap()).unwrap()[case].clone()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Mean over planes of the mean resultant length of rows' phases.
fn resultant(statistics: &Statistics, rows: &[f64]) -> f64 {
    let (radial, d) = (statistics.radial.as_ref().unwrap(), statistics.width());
    let n = (rows.len() / d) as f64;
    let plane = |k: usize| {
        let [a, b] = [0, 1].map(|i| &radial.directions[(2 * k + i) * d..][..d]);
        let sums = rows.chunks_exact(d).fold((0.0, 0.0), |(c, s), row| {
            let (x, y) = (dot(a, row), dot(b, row));
            (c + x / x.hypot(y), s + y / x.hypot(y))
        });
        sums.0.hypot(sums.1) / n
    };
    (0..radial.planes()).map(plane).sum::<f64>() / radial.planes() as f64
}

/// The share of each row's 20 nearest that stay among them.
fn kept(before: &[f64], after: &[f64], d: usize) -> f64 {
    let lists = |rows: &[f64]| -> Vec<Vec<usize>> {
        let all: Vec<&[f64]> = rows.chunks_exact(d).collect();
        let list = |i: usize| {
            let mut others: Vec<(f64, usize)> =
                (0..all.len()).filter(|&j| j != i).map(|j| (-dot(all[i], all[j]), j)).collect();
            others.sort_by(|a, b| a.0.total_cmp(&b.0));
            others[..20].iter().map(|(_, j)| *j).collect()
        };
        (0..all.len()).map(list).collect()
    };
    let (a, b) = (lists(before), lists(after));
    let shared = a.iter().zip(&b).map(|(a, b)| a.iter().filter(|j| b.contains(j)).count()).sum::<usize>();
    shared as f64 / (20 * a.len()) as f64
}

fn without_centroid(statistics: &Statistics) -> Statistics {
    let mut raw = statistics.clone();
    raw.shifts.clear();
    raw
}

/// Trained figures are such as independent runs of other random numbers give: within what a sixth run is to be found in with 999 of 1,000, by Student's t of
/// the five. That leaves the initialisation's out.
#[test]
fn figures_are_those_of_independent_runs() {
    for case in ["a", "digits"] {
        let (text, image) = pair(case);
        let (unit, figures) = (unit_rows(&text.values, text.width), figures(case));
        let within = |what: &str, got: f64| {
            let runs: Vec<f64> =
                figures["full"].as_array().unwrap().iter().map(|r| r[what].as_f64().unwrap()).collect();
            let (n, mean) = (runs.len() as f64, runs.iter().sum::<f64>() / runs.len() as f64);
            let deviation = (runs.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
            assert_eq!(n, 5.0, "t is of four degrees of freedom");
            let most = 8.61 * deviation * (1.0 + 1.0 / n).sqrt();
            assert!((got - mean).abs() <= most, "{case}, {what}: {got} is not within {most} of {mean}");
            let plain = figures["init"][what].as_f64().unwrap();
            assert!(what == "resultant" || (plain - mean).abs() > most, "{case}, {what}: as without training");
        };
        let of = |statistics: &Statistics| {
            let raw = applied(&Device::host(), &without_centroid(statistics), &unit);
            let out = applied(&Device::host(), statistics, &unit);
            let phi = dot(&unit, &out) / (out.len() / text.width) as f64;
            (resultant(statistics, &raw), phi, out)
        };
        // The initialisation has no random numbers: what is left is how quantiles of equal lengths are taken.
        let plain = fitted((&text, &image), &options(planes(Stages::Init)));
        let (resultant, phi, _) = of(&plain);
        assert!((resultant - figures["init"]["resultant"].as_f64().unwrap()).abs() < 0.003, "{case} {resultant}");
        assert!((phi - figures["init"]["phi"].as_f64().unwrap()).abs() < 0.003, "{case} {phi}");
        for seed in 0..2 {
            let losses = Mutex::new(Vec::new());
            let note = |step: &TrainingStep| losses.lock().unwrap().push(*step);
            let training = Training::default().progress(Some(&note));
            let options = options(planes(Stages::Full)).seed(seed).training(training);
            let statistics = fit(&Device::host(), &mut text.source(), &mut image.source(), &options).unwrap();
            let (resultant, phi, out) = of(&statistics);
            within("resultant", resultant);
            within("phi", phi);
            if case == "a" {
                within("kept", kept(&unit, &out, text.width));
            }
            let losses = losses.into_inner().unwrap();
            let of = |network| losses.iter().filter(move |step| step.network == network);
            let prior: Vec<f64> = of(Trained::Prior).map(|step| step.score_loss).collect();
            // A batch's loss is about 1 at the start, where the network knows nothing: targets have variance 1.
            assert!(prior[0] > 0.85 && prior[prior.len() - 3..].iter().sum::<f64>() < 0.85 * 3.0, "{prior:?}");
            assert_eq!(of(Trained::Prior).next_back().unwrap().step, 600);
            let first = of(Trained::Refinement).next().unwrap();
            assert_eq!((first.step, first.steps, first.phase_loss), (1, 400, 0.0));
            assert!(of(Trained::Refinement).next_back().unwrap().phase_loss > 1e-4);
        }
    }
}

/// A seed's training is its own, and another seed's another.
#[test]
fn trainings_are_drawn_by_their_seeds() {
    let (text, image) = pair("a");
    let of = |seed| fitted((&text, &image), &options(short(Stages::Full)).seed(seed));
    assert_eq!(of(3), of(3));
    assert_ne!(of(3), of(4));
}

/// Bounds of 0 are the initialisation, to the bit; so is a refinement that no loss moves.
#[test]
fn without_bounds_or_losses_rows_are_the_initialisation_s() {
    let (text, image) = pair("a");
    let unit = unit_rows(&text.values, text.width);
    let plain = fitted((&text, &image), &options(planes(Stages::Init)));
    let still = short(Stages::Full).alpha_theta(0.0).alpha_rho(0.0);
    for planes in [still, short(Stages::Refine), short(Stages::Phase)] {
        let statistics = fitted((&text, &image), &options(planes));
        let refinement = statistics.radial.as_ref().unwrap().refinement.as_ref().unwrap();
        assert_eq!((refinement.stages, refinement.prior.is_some()), (planes.stages, planes.stages == Stages::Full));
        assert_eq!((&statistics.shifts, &statistics.map), (&plain.shifts, &plain.map));
        for device in devices() {
            assert_eq!(applied(&device, &statistics, &unit), applied(&device, &plain, &unit));
            assert_eq!(recorded(&device, &statistics, &text), recorded(&device, &plain, &text));
        }
    }
    let trained = fitted((&text, &image), &options(short(Stages::Full)));
    assert_ne!(applied(&Device::host(), &trained, &unit), applied(&Device::host(), &plain, &unit));
}

/// All rows but the last, as a device records them, in f32.
fn recorded(device: &Device, statistics: &Statistics, rows: &Rows) -> Vec<f64> {
    let input = Tensor::from_f32(device, &rows.values, rows.width).unwrap();
    let output = Tensor::new(device, input.rows(), rows.width, ElementType::F32).unwrap();
    let status = realign::kernels::align::apply::status_buffer(device).unwrap();
    let target = Target { output: &output, status: &status, first_row: 0 };
    let mut recorder = device.recorder();
    statistics.aligner().on(device).unwrap().record(&mut recorder, &input, input.rows() - 1, target).unwrap();
    recorder.submit().unwrap();
    output.to_f32_blocking(device).unwrap().into_iter().map(f64::from).collect()
}

/// Applied on a device, in f32, as on the host in f64; and trained there as on the host, but for roundings that steps make larger.
#[test]
fn devices_agree() {
    let (text, image) = pair("a");
    let few = short(Stages::Full).prior_steps(8).refine_steps(8).alpha_theta(0.5);
    let mut first: Option<Vec<f64>> = None;
    for device in devices() {
        let statistics = fit(&device, &mut text.source(), &mut image.source(), &options(few)).unwrap();
        let want = apply_rows(&device, &statistics, &text.values, text.width).unwrap();
        let want: Vec<f64> = want.into_iter().map(f64::from).collect();
        let first = first.get_or_insert(want.clone());
        max_difference(&want, first, 1e-5).unwrap();
        let got = recorded(&device, &statistics, &text);
        let n = got.len() - text.width;
        assert!(got[n..].iter().all(|&x| x == 0.0), "a row that was not asked for");
        let off = got[..n].iter().zip(&want).map(|(a, b)| (a - b).abs()).sum::<f64>() / n as f64;
        assert!(off < 1e-6, "{}: {off:e}", device.name());
    }
}

/// As of every aligner: `E yᵀz <= 1 - ‖μ_z - μ_y‖² / 2`.
#[test]
fn rows_are_not_kept_where_their_mean_moves() {
    for case in ["a", "digits"] {
        let (text, image) = (partners(case), pair(case).1);
        for stages in [Stages::Prior, Stages::Full] {
            let fit = FitOptions::default().planes(short(stages));
            let options = CompareOptions { paired: true, fit, ..Default::default() };
            let table =
                compare(&Device::host(), &mut text.source(), &mut image.source(), &[Method::AnisoAlign], &options);
            let table = table.unwrap();
            let line = &table.methods[0];
            let moved = line.survey.mean().iter().zip(table.source.mean()).map(|(z, y)| (z - y).powi(2)).sum::<f64>();
            let (phi, most) = (line.diagnosis.kept.unwrap().phi, 1.0 - moved / 2.0);
            assert!(phi <= most + 1e-7 && phi > most - 0.2, "{case}, {stages}: {phi} and {most}");
        }
    }
}

/// States that were saved in the midst of both networks, copied away as a kill would leave them, lead to the bits of a training without a break.
#[test]
fn a_training_that_goes_on_has_the_bits_of_one_without_a_break() {
    let (text, image) = pair("a");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.training");
    let copies = [Trained::Prior, Trained::Refinement].map(|network| folder.path().join(network.name()));
    let fit = |training: Training<'_>| {
        let options = options(short(Stages::Full)).seed(5).training(training);
        fit(&Device::host(), &mut text.source(), &mut image.source(), &options)
    };
    let copy = |step: &TrainingStep| {
        if step.step == 50 {
            std::fs::copy(&path, &copies[usize::from(step.network == Trained::Refinement)]).unwrap();
        }
    };
    let whole = fit(Training::default().checkpoint(Some(&path)).every(7).progress(Some(&copy))).unwrap();
    assert_eq!(whole, fit(Training::default()).unwrap());
    // What was learnt stays until its operator is saved: a fit that goes on with it takes no step.
    let steps = Mutex::new(0);
    let count = |_: &TrainingStep| *steps.lock().unwrap() += 1;
    let again = Training::default().checkpoint(Some(&path)).start(Start::Resume).progress(Some(&count));
    assert_eq!(whole, fit(again).unwrap());
    assert_eq!(*steps.lock().unwrap(), 0);
    again.finish().unwrap();
    assert!(!path.exists());
    again.finish().unwrap();
    for copy in &copies {
        std::fs::copy(copy, &path).unwrap();
        let first = Mutex::new(None);
        let note = |step: &TrainingStep| {
            first.lock().unwrap().get_or_insert((step.network, step.step));
        };
        let training = Training::default().checkpoint(Some(&path)).progress(Some(&note));
        let error = fit(training).unwrap_err().to_string();
        assert!(error.contains("a training that was stopped"), "{error}");
        assert_eq!(whole, fit(training.start(Start::Resume)).unwrap());
        let (network, step) = first.into_inner().unwrap().unwrap();
        assert_eq!((copy.file_name().unwrap().to_str().unwrap(), step), (network.name(), 50));
    }
    // Begun again, and begun where there is nothing to go on with.
    std::fs::copy(&copies[0], &path).unwrap();
    let training = Training::default().checkpoint(Some(&path));
    assert_eq!(whole, fit(training.start(Start::Replace)).unwrap());
    training.finish().unwrap();
    assert_eq!(whole, fit(training.start(Start::Resume)).unwrap());
}

#[test]
fn states_of_other_trainings_are_refused_by_name() {
    let (text, image) = pair("a");
    let folder = tempfile::tempdir().unwrap();
    let (path, copied) = (folder.path().join("s.training"), folder.path().join("copied"));
    let copy = |step: &TrainingStep| {
        if step.step == 50 && step.network == Trained::Prior {
            std::fs::copy(&path, &copied).unwrap();
        }
    };
    let training = Training::default().checkpoint(Some(&path)).every(10).progress(Some(&copy));
    let plain = short(Stages::Full).refine_steps(1);
    let trained = |rows: (&Rows, &Rows), options: FitOptions<'_>| {
        fit(&Device::host(), &mut rows.0.source(), &mut rows.1.source(), &options)
    };
    trained((&text, &image), options(plain).training(training)).unwrap();
    let training = training.start(Start::Resume);
    let refused = |rows: (&Rows, &Rows), options: FitOptions<'_>, words: &[&str]| {
        std::fs::copy(&copied, &path).unwrap();
        let error = trained(rows, options.training(training)).unwrap_err().to_string();
        words.iter().for_each(|word| assert!(error.contains(word), "{word:?} is not in: {error}"));
        assert!(path.exists(), "what is refused stays");
    };
    let rows = (&text, &image);
    refused(rows, options(plain.hidden(25)), &["hidden 24", "25"]);
    refused(rows, options(plain.prior_steps(61)), &["prior_steps 60", "61"]);
    refused(rows, options(plain.alpha_rho(0.11)), &["alpha_rho 0.1", "0.11"]);
    refused(rows, options(plain.stages(Stages::Prior)), &["stages full", "prior"]);
    refused(rows, options(plain).seed(1), &["seed 0", "1"]);
    refused((&image, &text), options(plain), &["other rows"]);
    let bytes = std::fs::read(&copied).unwrap();
    std::fs::write(&copied, &bytes[..bytes.len() - 8]).unwrap();
    refused(rows, options(plain), &["damaged"]);
}

/// A file with what `change` makes of its tensors and its metadata.
fn edited(bytes: &[u8], change: impl FnOnce(&mut Tensors, &mut HashMap<String, String>)) -> Vec<u8> {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let (_, header) = SafeTensors::read_metadata(bytes).unwrap();
    let mut metadata = header.metadata().clone().unwrap();
    let of =
        |(name, view): (String, TensorView<'_>)| (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()));
    let mut tensors: Tensors = file.tensors().into_iter().map(of).collect();
    change(&mut tensors, &mut metadata);
    let mut views = Vec::new();
    for (name, (dtype, shape, data)) in &tensors {
        views.push((name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    }
    safetensors::serialize(views, Some(metadata)).unwrap()
}

/// A state that is not what a training can have saved is damaged, before any step.
#[test]
fn states_that_no_training_has_are_refused() {
    let (text, image) = pair("a");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.training");
    let training = Training::default().checkpoint(Some(&path));
    let fit = |training| {
        let options = options(short(Stages::Full)).training(training);
        fit(&Device::host(), &mut text.source(), &mut image.source(), &options)
    };
    fit(training).unwrap();
    let state = std::fs::read(&path).unwrap();
    let refused = |state: Vec<u8>, word: &str| {
        std::fs::write(&path, &state).unwrap();
        let error = fit(training.start(Start::Resume)).unwrap_err().to_string();
        assert!(error.contains(word) && error.contains("s.training"), "{word:?} is not in: {error}");
        assert!(std::fs::read(&path).unwrap() == state, "what is refused stays as it is");
    };
    for step in ["0", "99999999"] {
        refused(edited(&state, |_, metadata| drop(metadata.insert("step".to_owned(), step.to_owned()))), "step");
    }
    refused(edited(&state, |tensors, _| tensors.retain(|name, _| !name.starts_with("prior."))), "prior.0");
    let negative = (-1f32).to_le_bytes();
    let below = |tensors: &mut Tensors| tensors.get_mut("v.0.weight").unwrap().2[..4].copy_from_slice(&negative);
    refused(edited(&state, |tensors, _| below(tensors)), "below 0");
}

#[test]
fn files_say_what_was_learnt() {
    let (text, image) = pair("a");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.safetensors");
    let version = || {
        let bytes = std::fs::read(&path).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        header.metadata().as_ref().unwrap()["format_version"].clone()
    };
    for stages in Stages::ALL {
        let statistics = fitted((&text, &image), &options(short(stages)));
        statistics.save(&path, true).unwrap();
        assert_eq!(Statistics::load(&path).unwrap(), statistics, "{stages}");
        // A program that knows of no refinement must not read a file with one, and may go on to read the others.
        assert_eq!(version(), if stages == Stages::Init { "1" } else { "2" });
    }
    let statistics = fitted((&text, &image), &options(short(Stages::Full)));
    let refused = |change: &dyn Fn(&mut realign::align::Refinement), word: &str| {
        let mut odd = statistics.clone();
        change(odd.radial.as_mut().unwrap().refinement.as_mut().unwrap());
        odd.save(&path, true).unwrap();
        let error = Statistics::load(&path).unwrap_err().to_string();
        assert!(error.contains(word), "{word:?} is not in: {error}");
    };
    refused(&|r| r.alpha_theta = 4.0, "bound");
    refused(&|r| r.prior = None, "prior_weight_1");
    refused(&|r| r.stages = Stages::Init, "stages");
    refused(&|r| r.network.layers[1].bias[0] = f64::NAN, "refinement_bias_2");
    refused(&|r| r.phases.coherence[1] += 0.25, "phases");
    refused(&|r| r.phases.anchor[0] = 4.0, "phases");
    refused(&|r| r.network.layers[0].weight[0] = 1e39, "beyond f32");
    // A transpose has as many numbers.
    statistics.save(&path, true).unwrap();
    let bytes =
        edited(&std::fs::read(&path).unwrap(), |tensors, _| tensors.get_mut("prior_weight_1").unwrap().1.reverse());
    std::fs::write(&path, bytes).unwrap();
    let error = Statistics::load(&path).unwrap_err().to_string();
    assert!(error.contains("prior_weight_1") && error.contains("shape"), "{error}");
}

/// A tensor that no statistics have says something that would be left out.
#[test]
fn unknown_tensors_are_refused() {
    let (text, image) = pair("a");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.safetensors");
    fitted((&text, &image), &options(planes(Stages::Init))).save(&path, false).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let renamed = edited(&bytes, |tensors, _| {
        let tensor = tensors.remove("mu_prime").unwrap();
        tensors.insert("mu_prime_2".to_owned(), tensor);
    });
    std::fs::write(&path, renamed).unwrap();
    let error = Statistics::load(&path).unwrap_err().to_string();
    assert!(error.contains("'mu_prime_2'"), "{error}");
}

#[test]
fn options_outside_of_their_domains_are_refused() {
    let (text, image) = pair("a");
    for (planes, words) in [
        (planes(Stages::Full).hidden(0), ["hidden", "1 to 8192"]),
        (planes(Stages::Full).hidden(9000), ["hidden", "1 to 8192"]),
        (planes(Stages::Init).prior_steps(0), ["prior_steps", "from 1"]),
        (planes(Stages::Full).refine_steps(0), ["refine_steps", "from 1"]),
        (planes(Stages::Full).alpha_theta(-0.1), ["alpha_theta", "from 0 to 3.14"]),
        (planes(Stages::Full).alpha_rho(f64::NAN), ["alpha_rho", "from 0 to 2"]),
    ] {
        let error =
            fit(&Device::host(), &mut text.source(), &mut image.source(), &options(planes)).unwrap_err().to_string();
        words.iter().for_each(|word| assert!(error.contains(word), "{word:?} is not in: {error}"));
    }
    // Two directions make one plane, which has no neighbour; one makes none, and what was to be trained is an error.
    let narrow = |rows: &Rows| Rows { values: rows.values[..80].to_vec(), width: 2 };
    let one = fitted((&narrow(&text), &narrow(&image)), &options(short(Stages::Full)));
    assert_eq!(one.radial.unwrap().planes(), 1);
    let line = |sign: f32| Rows { values: vec![sign, 1.0, -1.0], width: 1 };
    assert_eq!(fitted((&line(1.0), &line(-1.0)), &options(short(Stages::Init))).radial, None);
    let (up, down) = (line(1.0), line(-1.0));
    let trained = fit(&Device::host(), &mut up.source(), &mut down.source(), &options(short(Stages::Full)));
    assert!(trained.unwrap_err().to_string().contains("no plane to train in"));
}
