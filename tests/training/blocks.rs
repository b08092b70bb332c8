//! Frozen decoders in blocks of Q8_0: what a folder in f32 of the numbers that the blocks stand for gives, in everything that a run may be
//! set to; their memory; and what is written of them.

use std::path::{Path, PathBuf};

use realign::ElementType;
use realign::device::{Device, Purpose, Tensor};
use realign::inference::{AnswerOptions, Assistant};
use realign::io::{DecoderConfig, MAX_SHARD_BYTES, ModelWriter, Role, Turn, Weights};
use realign::nn::decoder::OpenDecoder;
use realign::train::{LogRecord, Run, Settings, Stage, Start, Trained};

use super::golden;
use super::refused;
use super::runs::{devices, finish, results, setup_of};

/// The numbers that the blocks of a matrix stand for.
fn round(shape: &[usize], numbers: &[f32]) -> Vec<f32> {
    let host = Device::host();
    match shape {
        [_, width] => {
            let blocks = Tensor::quantized(&host, (Purpose::Data, "matrix"), numbers, *width).unwrap();
            blocks.to_f32_blocking(&host).unwrap()
        }
        _ => numbers.to_vec(),
    }
}

/// The model with the numbers of its blocks, in f32.
fn rounded(model: &Path, out: PathBuf) -> PathBuf {
    let (config, weights) = (DecoderConfig::read(model).unwrap(), Weights::open(model).unwrap());
    let mut writer = ModelWriter::create(&out, true, model, &config, ElementType::F32, MAX_SHARD_BYTES).unwrap();
    let mut changed = 0;
    for (name, shape) in config.tensors() {
        let numbers = weights.read_f32(&name, &shape).unwrap();
        let rounded = round(&shape, &numbers);
        changed += usize::from(rounded != numbers);
        writer.write(&name, &rounded).unwrap();
    }
    assert!(changed > 10, "nothing was rounded");
    writer.commit().unwrap()
}

fn run(device: &Device, settings: &Settings) -> (Vec<LogRecord>, Vec<Vec<u8>>) {
    let records = finish(Run::start(device, settings.clone(), Start::Replace).unwrap());
    (records, results(&settings.out).into_values().collect())
}

/// Adapters and low-rank additions, of both families, with visual tokens, ways to make a step, and activations that are computed again: the
/// same bits as the run in f32 on the same numbers.
#[test]
fn a_run_is_that_of_the_numbers_in_f32() {
    let devices = devices();
    for kind in ["llama", "qwen2"] {
        let (_folder, mut plain) = setup_of(Stage::Two, kind);
        let full = rounded(&plain.model, plain.out.with_file_name("rounded"));
        (plain.max_steps, plain.lr, plain.lora_rank) = (Some(2), 1e-3, 3);
        for train in [Trained::Adapter, Trained::Lora] {
            for visual in [1, 3] {
                for (batch_size, accumulate) in [(12, 1), (5, 3)] {
                    for recompute in [false, true] {
                        let mut settings = plain.clone().train(train).batch_size(batch_size).accumulate(accumulate);
                        (settings.visual_tokens, settings.recompute) = (visual, recompute);
                        let most = visual > 1 && accumulate > 1;
                        for device in &devices[..if most { 2 } else { 1 }] {
                            let what = format!("{} {kind} {train:?} {visual} {accumulate} {recompute}", device.name());
                            let of = |model: &Path, weights| {
                                let mut settings = settings.clone();
                                (settings.model, settings.weights) = (model.to_path_buf(), Some(weights));
                                run(device, &settings)
                            };
                            let wanted = of(&full, ElementType::F32);
                            // Blocks of what blocks stand for are the same again.
                            for model in [&plain.model, &full].into_iter().take(if most && !recompute { 2 } else { 1 })
                            {
                                let got = of(model, ElementType::Q8_0);
                                assert_eq!(got.0, wanted.0, "{what}");
                                assert!(got.1.len() >= 2 && got.1 == wanted.1, "{what}: other results");
                            }
                            if device.wgpu().is_none() && most {
                                let plain = of(&plain.model, ElementType::F32);
                                assert!(plain.0 != wanted.0, "{what}: nothing was rounded");
                            }
                        }
                    }
                }
            }
        }
    }
}

/// In mixed precision too: products of f16 by blocks.
#[test]
fn mixed_precision_by_blocks() {
    for device in devices() {
        let (_folder, mut settings) = setup_of(Stage::Two, "llama");
        let full = rounded(&settings.model, settings.out.with_file_name("rounded"));
        (settings.max_steps, settings.train) = (Some(3), Trained::Adapter);
        settings.precision = Some(realign::nn::Precision::F32);
        settings.model = full;
        let of = |precision, weights| {
            let settings = settings.clone().precision(Some(precision)).weights(Some(weights));
            run(&device, &settings).0
        };
        let wanted = of(realign::nn::Precision::F32, ElementType::F32);
        let got = of(realign::nn::Precision::Mixed, ElementType::Q8_0);
        for (a, b) in got.iter().zip(&wanted) {
            assert!((a.loss - b.loss).abs() <= 2e-3 * b.loss, "{}: {a:?} {b:?}", device.name());
            assert!((a.grad_norm - b.grad_norm).abs() <= 3e-2 * b.grad_norm, "{}: {a:?} {b:?}", device.name());
        }
        assert!(got != wanted);
    }
}

/// Answers, token by token, and the memory that the matrices take: 8.5 bits a number.
#[test]
fn answers_from_blocks() {
    for device in devices() {
        for kind in ["llama", "qwen2"] {
            let (folder, settings) = setup_of(Stage::Two, kind);
            let full = rounded(&settings.model, folder.path().join("rounded"));
            let answers = [(&full, ElementType::F32), (&settings.model, ElementType::Q8_0)].map(|(model, weights)| {
                let before = device.memory(Purpose::Weights);
                let adapter = golden(&format!("models/{kind}.safetensors"));
                let options = OpenDecoder { weights: Some(weights), ..OpenDecoder::default() };
                let assistant = Assistant::open_in(&device, model, &adapter, None, options).unwrap();
                let memory = device.memory(Purpose::Weights) - before;
                let turns = [Turn { role: Role::User, text: "<image>\nWhat is it?".to_owned() }];
                let entries = assistant.chat(&turns).unwrap();
                let embedding: Vec<f32> = (0..48).map(|i| (i as f32).sin() / 5.0).collect();
                let options = AnswerOptions { max_tokens: 12, ..Default::default() };
                let hear = |_: &str| std::ops::ControlFlow::Continue(());
                (memory, assistant.answer((&entries[..], Some(&embedding[..])), &options, hear).unwrap())
            });
            assert_eq!(answers[0].1, answers[1].1, "{} {kind}", device.name());
            let config = DecoderConfig::read(&settings.model).unwrap();
            let matrices = config.tensors().into_iter().filter(|(_, shape)| shape.len() == 2);
            let numbers: usize = matrices.map(|(_, shape)| shape.iter().product::<usize>()).sum();
            assert_eq!(answers[0].0 - answers[1].0, (numbers as u64 * 4) - numbers as u64 * 17 / 16);
        }
    }
}

/// What is merged into the matrices is merged into the files' numbers, not into those of the blocks.
#[test]
fn merged_models_are_made_of_the_files() {
    for device in devices() {
        let (_folder, mut settings) = setup_of(Stage::Two, "qwen2");
        (settings.train, settings.max_steps, settings.merge_lora) = (Trained::Lora, Some(1), true);
        // Additions that begin at zero and hardly learn.
        (settings.lr, settings.weights) = (1e-9, Some(ElementType::Q8_0));
        finish(Run::start(&device, settings.clone(), Start::New).unwrap());
        let config = DecoderConfig::read(&settings.model).unwrap();
        let [before, after] =
            [&settings.model, &settings.out.join("model")].map(|folder| Weights::open(folder).unwrap());
        for (name, shape) in config.tensors() {
            let [before, after] = [&before, &after].map(|weights| weights.read_f32(&name, &shape).unwrap());
            let far = before.iter().zip(&after).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
            assert!(far < 1e-6, "{} {name}: {far:e}", device.name());
            let lost = before.iter().zip(round(&shape, &before)).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
            assert!(shape.len() == 1 || lost > 1e-4, "{name}: blocks hold it");
        }
    }
}

#[test]
fn what_learns_is_not_in_blocks() {
    let (_folder, settings) = setup_of(Stage::Two, "llama");
    let all = settings.clone().weights(Some(ElementType::Q8_0)).train(Trained::All);
    refused(Run::start(&Device::host(), all, Start::New), &["weights", "frozen"]);
    let masters = settings.clone().master_weights(ElementType::Q8_0).train(Trained::All);
    refused(Run::start(&Device::host(), masters, Start::New), &["master_weights", "f32 or bf16"]);
    let export = settings.export_dtype(Some(ElementType::Q8_0));
    refused(Run::start(&Device::host(), export, Start::New), &["export_dtype", "f32, f16 or bf16"]);
}
