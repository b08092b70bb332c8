//! Runs in mixed precision: near those in f32, the same whichever way they are stepped, and what is said of them.

use realign::ElementType;
use realign::device::Device;
use realign::inference::{AnswerOptions, Assistant, score};
use realign::io::{Role, SampleOptions, Turn};
use realign::nn::decoder::OpenDecoder;
use realign::nn::{Decoder, Precision};
use realign::optim::MomentType;
use realign::train::{EmbeddingFiles, Form, LogRecord, Run, Settings, Stage, Start, Tick, Trained, VisualInputs, data};

use super::refused;
use super::runs::{devices, finish, mixed, results, setup_of};

const WAYS: [(Stage, Trained); 4] = [
    (Stage::One, Trained::Adapter),
    (Stage::Two, Trained::Adapter),
    (Stage::Two, Trained::All),
    (Stage::Two, Trained::Lora),
];

fn start(device: &Device, settings: &Settings) -> Run {
    Run::start(device, settings.clone(), Start::Replace).unwrap()
}

/// Both families, all that may train, accumulation, the weights' types: near f32, and recomputed the same. The driver, on which a run
/// takes longest, gets the most of everything.
#[test]
fn the_product_of_switches_stays_near_f32() {
    for (place, device) in devices().into_iter().enumerate() {
        for kind in ["llama", "qwen2"] {
            for (stage, train) in WAYS {
                for (batch_size, accumulate) in [(12, 1), (5, 3)].into_iter().skip(place) {
                    let (_folder, mut settings) = setup_of(stage, kind);
                    (settings.max_steps, settings.batch_size, settings.accumulate) = (Some(4), batch_size, accumulate);
                    (settings.train, settings.lr, settings.lora_rank) = (train, 1e-3, 3);
                    let what = format!("{} {kind} {stage:?} {train:?} {accumulate}", device.name());
                    let f32 = finish(start(&device, &settings));
                    let storages: &[Option<ElementType>] = match train {
                        Trained::All => &[None],
                        _ if place > 0 => &[None],
                        _ => &[None, Some(ElementType::F32), Some(ElementType::BF16)],
                    };
                    for &weights in storages {
                        (settings.precision, settings.weights) = (Some(Precision::Mixed), weights);
                        settings.recompute = false;
                        let records = finish(start(&device, &settings));
                        let saved = results(&settings.out);
                        for (a, b) in records.iter().zip(&f32) {
                            // bf16 has three bits less than f16.
                            let bound = if weights == Some(ElementType::BF16) { 2e-2 } else { 3e-3 };
                            assert!((a.loss - b.loss).abs() < bound * b.loss, "{what} {weights:?}: {a:?} {b:?}");
                            assert!(
                                (a.grad_norm - b.grad_norm).abs() < 10.0 * bound * b.grad_norm,
                                "{what}: {a:?} {b:?}"
                            );
                            assert!(a.loss != b.loss, "{what}: nothing was rounded");
                        }
                        settings.recompute = true;
                        assert_eq!(finish(start(&device, &settings)), records, "{what} {weights:?}: recomputed");
                        assert!(saved == results(&settings.out), "{what} {weights:?}: recomputed");
                    }
                }
            }
        }
    }
}

/// Moments in 8 bits and masters in bf16, alone and together: near the same in f32, which they are near themselves.
#[test]
fn small_optimiser_state_goes_with_it() {
    for device in devices() {
        let (_folder, mut settings) = setup_of(Stage::Two, "qwen2");
        (settings.max_steps, settings.train, settings.lr) = (Some(6), Trained::All, 1e-3);
        for optimizer in [MomentType::F32, MomentType::Dynamic8] {
            for master_weights in [ElementType::F32, ElementType::BF16] {
                (settings.optimizer, settings.master_weights) = (optimizer, master_weights);
                let [f32, mixed] = [Precision::F32, Precision::Mixed].map(|precision| {
                    settings.precision = Some(precision);
                    finish(start(&device, &settings))
                });
                for (a, b) in mixed.iter().zip(&f32) {
                    let what = format!("{} {optimizer:?} {master_weights}", device.name());
                    // A weight in bf16 may be rounded the other way where its step differs in the last bit.
                    let bound = if master_weights == ElementType::BF16 { 1e-2 } else { 3e-3 };
                    assert!((a.loss - b.loss).abs() < bound * b.loss && a.loss != b.loss, "{what}: {a:?} {b:?}");
                }
            }
        }
    }
}

fn in_ticks(mut run: Run) {
    while !run.is_done() {
        while !matches!(run.tick().unwrap(), Tick::Stepped(_)) {}
    }
    run.finish().unwrap();
}

fn ahead(mut run: Run) {
    while !run.is_done() {
        run.advance_ahead().unwrap();
    }
    run.finish().unwrap();
}

/// The loss's factor depends on the steps before, whose numbers come early or late.
#[test]
fn every_way_to_step_and_a_resumed_run_give_the_same_bits() {
    for device in devices() {
        for (stage, train) in WAYS {
            let (_folder, mut settings) = mixed(stage);
            (settings.train, settings.precision, settings.checkpoint_every) = (train, Some(Precision::Mixed), 3);
            if train == Trained::All {
                // With everything small that a step writes.
                (settings.optimizer, settings.master_weights) = (MomentType::Dynamic8, ElementType::BF16);
            }
            let what = format!("{} {stage:?} {train:?}", device.name());
            finish(start(&device, &settings));
            let whole = results(&settings.out);
            for step in [ahead, in_ticks] {
                step(start(&device, &settings));
                assert!(whole == results(&settings.out), "{what}");
            }
            let mut first = start(&device, &settings);
            (0..5).for_each(|_| drop(first.advance_ahead().unwrap()));
            drop(first);
            let resumed = Run::start(&device, settings.clone(), Start::Resume).unwrap();
            assert_eq!(resumed.step(), 3);
            finish(resumed);
            assert!(whole == results(&settings.out), "{what}: resumed");
        }
    }
}

#[test]
fn precision_is_said_and_kept() {
    let (_folder, settings) = mixed(Stage::One);
    let host = Device::host();
    let run = start(&host, &settings);
    assert_eq!((run.settings().precision, run.skipped_steps()), (Some(Precision::F32), None));
    finish(run);
    let file = std::fs::read_to_string(settings.out.join("run.toml")).unwrap();
    assert!(file.contains("precision = \"f32\""), "{file}");
    let other = settings.clone().precision(Some(Precision::Mixed));
    refused(Run::start(&host, other.clone(), Start::Resume), &["precision was unset and is \"mixed\""]);
    let mut run = start(&host, &other);
    run.advance().unwrap();
    assert_eq!(run.skipped_steps(), Some(0));
    // Whoever goes on need not say.
    run.save().unwrap();
    drop(run);
    let again = Run::start(&host, settings.clone(), Start::Resume).unwrap();
    assert_eq!((again.settings().precision, again.step()), (Some(Precision::Mixed), 1));
    drop(again);
    let mut wrong = settings;
    refused(wrong.set("precision", "f16"), &["precision", "f16", "f32, mixed"]);
}

/// Numbers near f16's end make gradients that overflow: steps are skipped, logged, and the run goes on.
#[test]
fn overflowing_steps_are_skipped_and_logged() {
    let (_folder, mut settings) = setup_of(Stage::Two, "llama");
    (settings.max_steps, settings.log_every, settings.train) = (Some(30), 10, Trained::All);
    settings.precision = Some(Precision::Mixed);
    let model = settings.out.with_file_name("steep");
    steep_model(&settings, &model);
    settings.model = model;
    for device in devices() {
        let mut run = start(&device, &settings);
        let mut records: Vec<LogRecord> = Vec::new();
        while !run.is_done() {
            records.push(run.advance().unwrap());
        }
        let skipped = run.skipped_steps().unwrap();
        let count = records.iter().filter(|r| !r.grad_norm.is_finite()).count() as u64;
        assert!(skipped > 0 && skipped < 25 && count == skipped, "{}: {skipped} {records:?}", device.name());
        assert!(records.iter().all(|r| r.loss.is_finite()));
        assert!(records.last().unwrap().grad_norm.is_finite(), "{}", device.name());
        let log = std::fs::read_to_string(settings.out.join("log.jsonl")).unwrap();
        let lines = log.lines().filter(|line| line.contains("\"skipped_steps\"")).count() as u64;
        assert_eq!(lines, skipped, "{}: {log}", device.name());
    }
}

/// The settings' model, its last norm and output scaled so that gradients are large while the loss stays finite.
fn steep_model(settings: &Settings, out: &std::path::Path) {
    use realign::io::{DecoderConfig, MAX_SHARD_BYTES, ModelWriter, Weights};
    let config = DecoderConfig::read(&settings.model).unwrap();
    let weights = Weights::open(&settings.model).unwrap();
    let mut writer =
        ModelWriter::create(out, true, &settings.model, &config, ElementType::F32, MAX_SHARD_BYTES).unwrap();
    for (name, shape) in config.tensors() {
        let factor = if name == "model.norm.weight" { 8000.0 } else { 1.0 };
        let numbers: Vec<f32> = weights.read_f32(&name, &shape).unwrap().into_iter().map(|x| factor * x).collect();
        writer.write(&name, &numbers).unwrap();
    }
    writer.commit().unwrap();
}

/// Scores and answers.
#[test]
fn what_is_asked_in_mixed_precision_is_near() {
    let (_folder, settings) = setup_of(Stage::Two, "llama");
    let adapter = settings.init_adapter.clone().unwrap();
    for device in devices() {
        let scores = [Precision::F32, Precision::Mixed].map(|precision| {
            let assistant = Assistant::open_in(
                &device,
                &settings.model,
                &adapter,
                Some(1),
                OpenDecoder { precision, ..OpenDecoder::default() },
            )
            .unwrap();
            assert_eq!(assistant.model.decoder.precision(), precision);
            let files = EmbeddingFiles {
                inputs: &settings.embeddings,
                ids: settings.ids.as_deref(),
                key: None,
                column: None,
                id_column: None,
            };
            let embeddings = files.open().unwrap();
            let options = SampleOptions { visual_tokens: 1, max_length: 2048, ..SampleOptions::default() };
            let samples =
                data::samples(&settings.model, &settings.data, &embeddings, &options, Form::Conversations).unwrap();
            let mut inputs = VisualInputs::new(&device, embeddings.rows, None).unwrap();
            let scores = score(&device, &assistant.model, (&samples, &mut inputs), 4, |_| ()).unwrap();
            let turns = [Turn { role: Role::User, text: "what is this".to_owned() }];
            let options = AnswerOptions { max_tokens: 8, ..AnswerOptions::default() };
            let answer = assistant
                .answer((&assistant.chat(&turns).unwrap(), None), &options, |_| std::ops::ControlFlow::Continue(()));
            (scores, answer.unwrap().tokens.len())
        });
        for (a, b) in scores[0].0.iter().zip(&scores[1].0) {
            assert!((a.nll - b.nll).abs() < 3e-3 * a.nll && a.nll != b.nll, "{}: {a:?} {b:?}", device.name());
        }
        assert!(scores[1].1 > 0);
    }
}

/// Half of the memory, and a matrix that f16 cannot hold in bf16.
#[test]
fn weights_are_stored_in_16_bits() {
    let (_folder, settings) = setup_of(Stage::One, "llama");
    let host = Device::host();
    let decoder = Decoder::open_mixed(&host, &settings.model, None).unwrap();
    let types = |decoder: &Decoder| -> Vec<ElementType> {
        decoder.parameters.iter().filter(|p| p.shape.len() == 2).map(|p| p.value.element_type()).collect()
    };
    assert!(types(&decoder).iter().all(|t| *t == ElementType::F16));
    let config = decoder.config().clone();
    let weights = realign::io::Weights::open(&settings.model).unwrap();
    let load = |name: &str, shape: &[usize]| {
        let mut numbers = weights.read_f32(name, shape)?;
        if name.contains("layers.1.mlp.up_proj") {
            numbers[5] = 70_000.0;
        }
        Ok(numbers)
    };
    let decoder = Decoder::stored_in_halves(&host, &config, load).unwrap();
    let wide: Vec<_> = decoder.parameters.iter().filter(|p| p.value.element_type() == ElementType::BF16).collect();
    assert!(wide.len() == 1 && wide[0].name.contains("layers.1.mlp.up_proj"), "{:?}", wide.first().map(|p| &p.name));
}
