//! Whole runs on a tiny model: against PyTorch, resumed, in pieces, refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use realign::align::{FitOptions, Method, fit};
use realign::device::{Device, DeviceOptions, Selection};
use realign::inference::{AnswerOptions, Assistant, End, score};
use realign::io::{Dataset, IdIndex, Ids, OpenOptions, Role, SampleOptions, Turn};
use realign::stats::DatasetRows;
use realign::train::{Form, LogRecord, NoiseShape, Run, Settings, Stage, Start, Trained, VisualInputs, data, visual};
use serde_json::Value;

use super::{golden, model_folder, put, refused};

pub fn devices() -> Vec<Device> {
    let name = std::env::var("REALIGN_TEST_ADAPTER")
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "llvmpipe".to_owned());
    let options = DeviceOptions::default().selection(Selection::Named(name));
    vec![Device::host(), Device::request_blocking(&options).unwrap()]
}

pub fn data_file(name: &str) -> PathBuf {
    golden("training").join(name)
}

fn statistics(folder: &Path) -> PathBuf {
    let open = |name| Dataset::open(&[data_file(name)], &OpenOptions::default()).unwrap();
    let (text, image) = (open("text.npy"), open("image.npy"));
    let mut rows = (DatasetRows::new(&text), DatasetRows::new(&image));
    let out = folder.join("stats.safetensors");
    fit(&Device::host(), &mut rows.0, &mut rows.1, &FitOptions::default()).unwrap().save(&out, true).unwrap();
    out
}

/// A folder with a model, and settings of a stage on the bundled data: whole passes as steps, so that their order is of no
/// account.
pub fn setup(stage: Stage) -> (tempfile::TempDir, Settings) {
    setup_of(stage, "llama")
}

pub fn setup_of(stage: Stage, kind: &str) -> (tempfile::TempDir, Settings) {
    let folder = model_folder(kind);
    let mut settings = Settings::new(stage);
    settings.model = folder.path().to_path_buf();
    settings.init_adapter = Some(golden(&format!("models/{kind}.safetensors")));
    settings.out = folder.path().join("run");
    (settings.batch_size, settings.accumulate, settings.epochs) = (12, 1, 50.0);
    let (data, embeddings, ids) = match stage {
        Stage::One => {
            settings.stats = Some(statistics(folder.path()));
            (settings.lr, settings.visual_tokens) = (5e-3, 2);
            ("texts.jsonl", "text.npy", "text_ids.txt")
        }
        Stage::Two => {
            (settings.lr, settings.weight_decay) = (1e-3, 0.1);
            ("conversations.json", "image.npy", "image_ids.json")
        }
    };
    settings.data = data_file(data);
    settings.embeddings = vec![data_file(embeddings)];
    settings.ids = Some(data_file(ids));
    (folder, settings)
}

/// Twelve samples in batches of five, two to a step, and noise: everything that a resumed run must find again.
pub fn mixed(stage: Stage) -> (tempfile::TempDir, Settings) {
    let (folder, mut settings) = setup(stage);
    (settings.batch_size, settings.accumulate, settings.epochs) = (5, 2, 4.0);
    (settings.noise, settings.log_every) = (0.1, 3);
    (folder, settings)
}

pub fn finish(mut run: Run) -> Vec<LogRecord> {
    let mut records = Vec::new();
    while !run.is_done() {
        records.push(run.advance().unwrap());
    }
    run.finish().unwrap();
    records
}

/// All result files and the log, by name.
pub fn results(out: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let names = ["adapter.safetensors", "log.jsonl", "model/model.safetensors", "lora/adapter_model.safetensors"];
    names.iter().filter_map(|name| Some((PathBuf::from(name), std::fs::read(out.join(name)).ok()?))).collect()
}

fn trajectory(stage: &str) -> Vec<[f64; 3]> {
    let all: Value = serde_json::from_slice(&std::fs::read(data_file("trajectories.json")).unwrap()).unwrap();
    let steps = all[stage].as_array().unwrap();
    steps.iter().map(|step| [0, 1, 2].map(|i| step[i].as_f64().unwrap())).collect()
}

/// In one batch to a step, or in three of five, five and two samples.
#[test]
fn fifty_steps_of_both_stages_follow_pytorch() {
    for device in devices() {
        for (batch_size, accumulate) in [(12, 1), (5, 3)] {
            for kind in ["llama", "qwen2"] {
                // f32 against f64. A step's rounding is some 1e-7 of the loss, and the steps after it carry it on. In stage 1 the
                // loss falls by a quarter, and errors stay of that size; in stage 2 it falls a hundredfold, while those of the
                // parameters stay as they are. A norm is a sum of squares of sums that cancel: a digit more.
                for (stage, name, bound) in [(Stage::One, "stage1", 1e-6), (Stage::Two, "stage2", 3e-5)] {
                    let (_folder, mut settings) = setup_of(stage, kind);
                    (settings.batch_size, settings.accumulate) = (batch_size, accumulate);
                    let records = finish(Run::start(&device, settings, Start::New).unwrap());
                    let expected = trajectory(&format!("{name}_{kind}"));
                    assert_eq!((records.len(), expected.len()), (50, 50));
                    let what = format!("{} {name} {kind} {accumulate}", device.name());
                    for (record, [loss, norm, lr]) in records.iter().zip(expected) {
                        let near = |a: f64, b: f64, bound: f64| (a - b).abs() <= bound * b.abs();
                        assert!(near(record.loss, loss, bound), "{what}: {record:?} {loss}");
                        assert!(near(record.grad_norm, norm, 10.0 * bound), "{what}: {record:?} {norm}");
                        assert!(near(record.lr, lr, 1e-12), "{what}: {record:?} {lr}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_killed_run_goes_on_bit_for_bit() {
    for device in devices() {
        for (stage, trained) in
            [(Stage::One, Trained::Adapter), (Stage::Two, Trained::All), (Stage::Two, Trained::Lora)]
        {
            let (_folder, mut settings) = mixed(stage);
            settings.train = trained;
            settings.checkpoint_every = 3;
            let out = settings.out.clone();
            finish(Run::start(&device, settings.clone(), Start::New).unwrap());
            let whole = results(&out);
            assert!(whole.len() >= 2, "{:?}", whole.keys());
            settings.out = out.with_file_name("again");
            let mut first = Run::start(&device, settings.clone(), Start::New).unwrap();
            // Steps 4 and 5 are lost with the process.
            (0..5).for_each(|_| drop(first.advance().unwrap()));
            drop(first);
            let run = Run::start(&device, settings.clone(), Start::Resume).unwrap();
            assert_eq!(run.step(), 3, "{trained:?}");
            finish(run);
            assert!(results(&settings.out) == whole, "{} {trained:?}: results differ", device.name());
        }
    }
}

#[test]
fn stage_one_leaves_the_decoder_alone() {
    for device in devices() {
        let (_folder, mut settings) = setup(Stage::One);
        settings.epochs = 3.0;
        let mut run = Run::start(&device, settings.clone(), Start::New).unwrap();
        let read = |run: &Run| -> Vec<Vec<u32>> {
            let all = run.model().decoder.parameters.iter();
            all.map(|p| p.value.to_f32_blocking(&device).unwrap().iter().map(|x| x.to_bits()).collect()).collect()
        };
        let before = read(&run);
        (0..3).for_each(|_| drop(run.advance().unwrap()));
        assert!(read(&run) == before, "{}: the frozen decoder changed", device.name());
        let finished = run.finish().unwrap();
        assert_eq!((finished.model, finished.low_rank), (None, None));
        assert!(!settings.out.join("model").exists());
    }
}

/// Mean negative log-likelihood per token of the conversations under a run's results.
fn token_nll(device: &Device, settings: &Settings, model: &Path) -> f64 {
    let assistant = Assistant::open(device, model, &settings.out.join("adapter.safetensors"), 1).unwrap();
    let files = visual::EmbeddingFiles {
        inputs: &settings.embeddings,
        ids: settings.ids.as_deref(),
        key: None,
        column: None,
        id_column: None,
    };
    let embeddings = files.open().unwrap();
    let options = SampleOptions::default();
    let samples = data::samples(model, &settings.data, &embeddings, &options, Form::Conversations).unwrap();
    let mut inputs = VisualInputs::new(device, embeddings.rows, None).unwrap();
    let scores = score(device, &assistant.model, (&samples, &mut inputs), 5, |_| ()).unwrap();
    let targets: u32 = scores.iter().map(|s| s.targets).sum();
    scores.iter().map(|s| s.nll * f64::from(s.targets)).sum::<f64>() / f64::from(targets)
}

#[test]
fn exported_models_score_as_the_run_did() {
    for device in devices() {
        for trained in [Trained::All, Trained::Lora] {
            let (_folder, mut settings) = setup(Stage::Two);
            (settings.train, settings.epochs, settings.lora_rank) = (trained, 12.0, 3);
            settings.merge_lora = trained == Trained::Lora;
            // After its last step the run evaluates the very data that it trained on.
            settings.eval_data = Some(settings.data.clone());
            let records = finish(Run::start(&device, settings.clone(), Start::New).unwrap());
            let last = records.last().unwrap();
            let evaluated = last.more.iter().find(|(name, _)| *name == "eval_loss").unwrap().1;
            assert!(evaluated < 0.8 * records[0].loss, "{evaluated} {}", records[0].loss);
            let scored = token_nll(&device, &settings, &settings.out.join("model"));
            assert!((scored - evaluated).abs() < 1e-4 * evaluated, "{trained:?}: {scored} {evaluated}");
            let base = token_nll(&device, &settings, &settings.model);
            assert!((base - evaluated).abs() > 0.01, "the decoder has not learnt: {base} {evaluated}");
        }
    }
}

#[test]
fn low_rank_additions_come_in_pefts_layout() {
    let (_folder, mut settings) = setup(Stage::Two);
    (settings.train, settings.epochs, settings.lora_rank, settings.lora_alpha) = (Trained::Lora, 1.0, 3, 6.0);
    finish(Run::start(&Device::host(), settings.clone(), Start::New).unwrap());
    let folder = settings.out.join("lora");
    let config: Value = serde_json::from_slice(&std::fs::read(folder.join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!((config["r"].as_u64(), config["lora_alpha"].as_f64()), (Some(3), Some(6.0)));
    let file = realign::io::TensorFile::open(&folder.join("adapter_model.safetensors")).unwrap();
    assert_eq!(file.tensors().len(), 2 * 7 * 2);
    for (part, shape) in [("lora_A", [3, 64]), ("lora_B", [128, 3])] {
        let name = format!("base_model.model.model.layers.1.mlp.gate_proj.{part}.weight");
        file.expect(&name, &shape).unwrap();
    }
    // The decoder itself is written where it is asked for.
    assert!(!settings.out.join("model").exists());
}

#[test]
fn a_trained_model_answers_what_it_learnt() {
    for device in devices() {
        let (_folder, settings) = setup(Stage::Two);
        finish(Run::start(&device, settings.clone(), Start::New).unwrap());
        let adapter = settings.out.join("adapter.safetensors");
        let assistant = Assistant::open(&device, &settings.out.join("model"), &adapter, 1).unwrap();
        let list: Value = serde_json::from_slice(&std::fs::read(&settings.data).unwrap()).unwrap();
        let rows = Dataset::open(&settings.embeddings, &OpenOptions::default()).unwrap();
        let mut embeddings = realign::io::EmbeddingRows::open(&rows).unwrap();
        let index = IdIndex::new(Ids::read(&data_file("image_ids.json"), None).unwrap(), Path::new("ids")).unwrap();
        for record in list.as_array().unwrap().iter().step_by(4) {
            let turn = |i: usize| record["conversations"][i]["value"].as_str().unwrap().to_owned();
            let mut embedding = vec![0.0; embeddings.width()];
            let row = index.row(record["image"].as_str().unwrap()).unwrap();
            embeddings.read(&[row], &mut embedding).unwrap();
            let entries = assistant.chat(&[Turn { role: Role::User, text: turn(0) }]).unwrap();
            let mut heard = String::new();
            let answer = assistant
                .answer((&entries, Some(&embedding)), &AnswerOptions::default(), |text| {
                    heard.push_str(text);
                    std::ops::ControlFlow::Continue(())
                })
                .unwrap();
            assert_eq!((answer.text.as_str(), answer.end), (turn(1).as_str(), End::Finished), "{}", device.name());
            assert_eq!(heard.trim(), answer.text);
            let stopped = assistant
                .answer((&entries, Some(&embedding)), &AnswerOptions::default(), |_| std::ops::ControlFlow::Break(()))
                .unwrap();
            assert_eq!((stopped.end, stopped.tokens.len() < 1 + answer.tokens.len()), (End::Stopped, true));
        }
    }
}

#[test]
fn any_aligner_gives_what_applying_it_to_all_rows_gives() {
    let (folder, settings) = setup(Stage::One);
    for device in devices() {
        for method in [Method::None, Method::MeanShift, Method::AnchorTrace, Method::ReAlign, Method::C3] {
            let stats = match method {
                Method::C3 => {
                    let mut c3 = realign::align::Statistics::load(settings.stats.as_ref().unwrap()).unwrap();
                    c3.noise = Some(realign::align::Noise { sigma: 0.2, seed: 3 });
                    (c3.method, c3.scale, c3.shifts) = (method, 1.0, vec![]);
                    let path = folder.path().join("c3.safetensors");
                    c3.save(&path, true).unwrap();
                    path
                }
                _ => settings.stats.clone().unwrap(),
            };
            let rows = Dataset::open(&settings.embeddings, &OpenOptions::default()).unwrap();
            let mut all = realign::io::EmbeddingRows::open(&rows).unwrap();
            let d = all.width();
            let mut raw = vec![0.0; 12 * d];
            all.read(&(0..12).collect::<Vec<_>>(), &mut raw).unwrap();
            let statistics = realign::align::Statistics::load(&stats).unwrap().as_method(method).unwrap();
            let expected = realign::align::apply_rows(&device, &statistics, &raw, d).unwrap();
            let aligner = visual::aligner(&stats, Some(method), (&[], false)).unwrap();
            let mut inputs = VisualInputs::new(&device, all, aligner.as_deref()).unwrap();
            let batch = realign::train::Batch { embedding_rows: vec![7, 2, 11], ..Default::default() };
            let got = inputs.clean(&batch).unwrap().to_f32_blocking(&device).unwrap();
            inputs.check().unwrap();
            for (i, row) in [7, 2, 11].into_iter().enumerate() {
                assert_eq!(got[i * d..(i + 1) * d], expected[row * d..(row + 1) * d], "{} {method}", device.name());
            }
        }
    }
    for method in [Method::Blockwise, Method::OptimalTransport, Method::AnisoAlign] {
        let mapped = visual::aligner(settings.stats.as_ref().unwrap(), Some(method), (&[], false));
        refused(mapped.map(drop), &["stats", method.name()]);
    }
}

#[test]
fn shaped_noise_has_the_images_covariance() {
    let (_folder, mut settings) = setup(Stage::One);
    (settings.noise, settings.noise_shape) = (0.5, NoiseShape::Covariance);
    refused(Run::start(&Device::host(), settings.clone(), Start::New), &["noise_images"]);
    settings.noise_images = vec![data_file("image.npy")];
    for device in devices() {
        let rows = Dataset::open(&settings.embeddings, &OpenOptions::default()).unwrap();
        let embeddings = realign::io::EmbeddingRows::open(&rows).unwrap();
        let d = embeddings.width();
        let mut inputs = VisualInputs::of_settings(&device, embeddings, &settings).unwrap();
        let n = 12usize;
        let batch = realign::train::Batch {
            embedding_rows: (0..n as u32).collect(),
            visual_sequences: (0..n as u32).collect(),
            samples: (0..n as u32).collect(),
            ..Default::default()
        };
        let clean = inputs.clean(&batch).unwrap().to_f32_blocking(&device).unwrap();
        let (mut total, steps) = (vec![0.0f64; d * d], 200);
        for step in 0..steps {
            let noisy = inputs.noisy(&batch, step).unwrap().to_f32_blocking(&device).unwrap();
            let noise: Vec<f64> = noisy.iter().zip(&clean).map(|(a, b)| f64::from(a - b)).collect();
            for row in noise.chunks_exact(d) {
                (0..d * d).for_each(|k| total[k] += row[k / d] * row[k % d]);
            }
        }
        let images = Dataset::open(&settings.noise_images, &OpenOptions::default()).unwrap();
        let host = Device::host();
        let wanted = realign::stats::covariance(&host, &mut DatasetRows::new(&images), Default::default()).unwrap();
        let scale = 0.25 * d as f64 / wanted.trace();
        let count = (steps as usize * n) as f64;
        let (mut error, mut norm) = (0.0, 0.0);
        for (sum, want) in total.iter().zip(&wanted.matrix) {
            error += (sum / count - scale * want).powi(2);
            norm += (scale * want).powi(2);
        }
        // A sampled covariance is off by about sqrt((tr² / |Σ|² + 1) / n); here that is 0.07.
        assert!((error / norm).sqrt() < 0.12, "{}: {}", device.name(), (error / norm).sqrt());
    }
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_and_keeps_what_was_good() {
    let (_folder, mut settings) = setup(Stage::Two);
    (settings.lr, settings.clip, settings.checkpoint_every) = (1e30, 0.0, 1);
    let mut run = Run::start(&Device::host(), settings.clone(), Start::New).unwrap();
    let error = (0..50).find_map(|_| run.advance().err()).expect("the loss stayed finite").to_string();
    for word in ["step", "loss", "checkpoint of step", "lower lr"] {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
    drop(run);
    let checkpoints = realign::train::Checkpoints::open(&settings.out.join("checkpoints"), 2).unwrap();
    assert!(checkpoints.newest().unwrap().is_some(), "no whole checkpoint was kept");
}

#[test]
fn runs_are_not_mixed_up() {
    let (folder, mut settings) = setup(Stage::One);
    settings.epochs = 2.0;
    let host = Device::host();
    finish(Run::start(&host, settings.clone(), Start::New).unwrap());
    refused(Run::start(&host, settings.clone(), Start::New), &["holds a run", "resume it", "allow it to be replaced"]);
    let other = settings.clone().lr(1.0);
    refused(Run::start(&host, other, Start::Resume), &["lr was 0.005 and is 1.0"]);
    // A finished run has nothing left to do, and can be begun again.
    assert!(Run::start(&host, settings.clone(), Start::Resume).unwrap().is_done());
    let again = Run::start(&host, settings.clone(), Start::Replace).unwrap();
    assert_eq!(again.step(), 0);
    assert_eq!(std::fs::read(settings.out.join("log.jsonl")).unwrap(), b"");
    let narrow = settings.clone().embeddings(vec![narrow(folder.path())]).out(folder.path().join("x"));
    refused(Run::start(&host, narrow.clone(), Start::New), &["width 48", "width 3"]);
    let unaligned = narrow.stats(None).aligner(Some(Method::None));
    refused(Run::start(&host, unaligned, Start::New), &["llama.safetensors", "width 48", "have 3"]);
    assert!(!folder.path().join("x").exists());
}

fn narrow(folder: &Path) -> PathBuf {
    let rows: Vec<f32> = (0..36).map(|i| i as f32).collect();
    let bytes = super::safetensors(&[("rows", &[12, 3], &rows)]);
    put(folder, "narrow.safetensors", bytes)
}

#[test]
fn a_frozen_decoder_may_have_16_bits() {
    for device in devices() {
        let (_folder, mut settings) = setup(Stage::One);
        settings.epochs = 5.0;
        let exact = finish(Run::start(&device, settings.clone(), Start::New).unwrap());
        settings.out = settings.out.with_file_name("half");
        settings.weights = Some(realign::ElementType::BF16);
        let run = Run::start(&device, settings.clone(), Start::New).unwrap();
        let decoder = &run.model().decoder;
        let bytes: u64 = decoder.parameters.iter().map(|p| p.value.bytes()).sum();
        assert!(bytes < 22 * decoder.parameters.elements() as u64 / 10, "{bytes} bytes");
        let half = finish(run);
        for (a, b) in exact.iter().zip(&half) {
            // bf16 has 8 bits: its rounding shows, and no more than that.
            assert!(a.loss != b.loss && (a.loss - b.loss).abs() < 0.02 * a.loss, "{a:?} {b:?}");
        }
        let (_folder, mut trained) = setup(Stage::Two);
        trained.weights = Some(realign::ElementType::BF16);
        refused(Run::start(&device, trained, Start::New), &["weights", "frozen"]);
    }
}
