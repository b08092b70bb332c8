//! Checkpoints that are written while the run goes on: the same bits as those that it waits for, whole whenever a run ends, and errors that
//! come to light.

use std::collections::BTreeMap;
use std::path::Path;

use realign::ElementType;
use realign::device::Device;
use realign::io::{DecoderConfig, MAX_SHARD_BYTES, ModelWriter, TARGET};
use realign::optim::MomentType;
use realign::train::{Checkpoint, Checkpoints, Run, Settings, Stage, Start, Tick, Trained};

use super::golden;
use super::runs::{devices, mixed, results, setup_of};

/// How a run is stepped.
#[derive(Clone, Copy, Debug)]
enum Way {
    Whole,
    Ahead,
    Frames,
}

/// Runs to the end; gives every file of each checkpoint just after it was due, whichever stay.
fn checkpoints(device: &Device, settings: &Settings, way: Way) -> BTreeMap<String, Vec<u8>> {
    let mut run = Run::start(device, settings.clone(), Start::New).unwrap();
    while !run.is_done() {
        match way {
            Way::Whole => drop(run.advance().unwrap()),
            Way::Ahead => drop(run.advance_ahead().unwrap()),
            Way::Frames => while !matches!(run.tick().unwrap(), Tick::Stepped(_)) {},
        }
    }
    run.finish().unwrap();
    let mut found = BTreeMap::new();
    for step in std::fs::read_dir(settings.out.join("checkpoints")).unwrap() {
        let step = step.unwrap().path();
        Checkpoint::open(&step).unwrap();
        for file in std::fs::read_dir(&step).unwrap() {
            let file = file.unwrap().path();
            let name = Path::new(step.file_name().unwrap()).join(file.file_name().unwrap());
            found.insert(name.display().to_string(), std::fs::read(&file).unwrap());
        }
    }
    found
}

/// Every way to train, to keep moments and matrices, and to step, with memory for all of a checkpoint, for a part of it, and for none, where
/// the run waits for each: all files of all checkpoints have the same bits, and so have the results.
#[test]
fn written_behind_a_checkpoint_is_the_same() {
    for device in devices() {
        for (stage, train, moments, masters) in [
            (Stage::One, Trained::Adapter, MomentType::F32, ElementType::F32),
            (Stage::Two, Trained::All, MomentType::F32, ElementType::F32),
            (Stage::Two, Trained::All, MomentType::Dynamic8, ElementType::BF16),
            (Stage::Two, Trained::Lora, MomentType::F32, ElementType::F32),
        ] {
            let (folder, mut settings) = mixed(stage);
            (settings.train, settings.optimizer, settings.master_weights) = (train, moments, masters);
            (settings.checkpoint_every, settings.keep, settings.lora_rank) = (1, 100, 3);
            (settings.max_steps, settings.log_every) = (Some(4), 1);
            let mut first = None;
            for (memory, way) in [
                (0, Way::Whole),
                (1024, Way::Whole),
                (1, Way::Whole),
                (1024, Way::Ahead),
                (1, Way::Ahead),
                (0, Way::Frames),
                (1024, Way::Frames),
                (1, Way::Frames),
            ] {
                settings.checkpoint_memory = memory;
                settings.out = folder.path().join(format!("{memory}-{way:?}"));
                let all = (checkpoints(&device, &settings, way), results(&settings.out));
                assert_eq!(all.0.len(), 4 * 2);
                let first = first.get_or_insert_with(|| all.clone());
                for (name, bytes) in &all.0 {
                    let what = format!("{} {train:?} {moments:?}: {name}, {memory} MiB, {way:?}", device.name());
                    assert!(*bytes == first.0[name], "{what}");
                }
                assert!(all.1 == first.1, "{} {train:?} {memory} {way:?}: other results", device.name());
            }
        }
    }
}

/// A run that is dropped right after a step, its checkpoint begun and no more, leaves it whole, and goes on from it.
#[test]
fn what_was_begun_is_whole_when_the_run_is_gone() {
    for device in devices() {
        for memory in [0, 1, 1024] {
            let (_folder, mut settings) = mixed(Stage::Two);
            (settings.checkpoint_every, settings.checkpoint_memory) = (2, memory);
            for (step, frames) in [(2, false), (4, true)] {
                let mut run = Run::start(&device, settings.clone(), Start::Resume).unwrap();
                while run.step() < step {
                    run.advance_ahead().unwrap();
                }
                // A few pieces of the next step, which must not change what is copied.
                (0..if frames { 9 } else { 0 }).for_each(|_| drop(run.tick().unwrap()));
                drop(run);
                let kept = Checkpoints::open(&settings.out.join("checkpoints"), 9).unwrap();
                assert_eq!(kept.newest().unwrap().unwrap().state.step, step, "{} {memory}", device.name());
            }
        }
    }
}

/// What goes wrong while a checkpoint is written is said by one of the next calls, with the checkpoint's name, and none appears; the one
/// before stays.
#[test]
fn errors_of_the_writer_come_to_light() {
    for device in devices() {
        for way in [Way::Whole, Way::Ahead, Way::Frames] {
            let (_folder, mut settings) = setup_of(Stage::Two, "llama");
            (settings.train, settings.checkpoint_every, settings.keep) = (Trained::All, 1, 9);
            let mut run = Run::start(&device, settings.clone(), Start::New).unwrap();
            run.advance().unwrap();
            // The row of a token that no text has: it reaches no loss.
            let parameters = &run.model().decoder.parameters;
            let table = parameters.get(parameters.slot("model.embed_tokens.weight").unwrap()).value.clone();
            run.save().unwrap();
            let mut numbers = table.to_f32_blocking(&device).unwrap();
            let unused = (0..table.rows() as u32).rev().find(|row| is_unused(&run, *row)).unwrap();
            numbers[unused as usize * table.width()] = f32::NAN;
            table.write_f32(&device, &numbers).unwrap();
            let error = (0..100_000_000).find_map(|_| match way {
                Way::Whole => run.advance().err(),
                Way::Ahead => run.advance_ahead().err(),
                Way::Frames => run.tick().err(),
            });
            let error = error.expect("nobody heard of it").to_string();
            assert!(error.contains("step-00000002") && error.contains("NaN"), "{} {way:?}: {error}", device.name());
            drop(run);
            let kept = Checkpoints::open(&settings.out.join("checkpoints"), 9).unwrap();
            assert_eq!(kept.list().unwrap().len(), 1, "{}", device.name());
            assert_eq!(kept.newest().unwrap().unwrap().state.step, 1);
        }
    }
}

fn is_unused(run: &Run, id: u32) -> bool {
    let samples = run.samples();
    (0..samples.len()).all(|i| samples.get(i).unwrap().entries.iter().all(|entry| entry & !TARGET != id))
}

/// SmolLM2-135M's shape with random numbers: 1.6 GB to a checkpoint.
fn large(folder: &Path) -> std::path::PathBuf {
    let source = folder.join("shape");
    std::fs::create_dir(&source).unwrap();
    let config = serde_json::json!({
        "model_type": "llama", "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
        "intermediate_size": 1536, "vocab_size": 49152, "rope_theta": 1e4, "rms_norm_eps": 1e-5, "tie_word_embeddings": true,
        "hidden_act": "silu", "max_position_embeddings": 2048,
    });
    std::fs::write(source.join("config.json"), config.to_string()).unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(golden(&format!("tokenizers/llama/{name}")), source.join(name)).unwrap();
    }
    let config = DecoderConfig::read(&source).unwrap();
    let out = folder.join("large");
    let mut writer = ModelWriter::create(&out, true, &source, &config, ElementType::F32, MAX_SHARD_BYTES).unwrap();
    let mut state = 1u32;
    for (name, shape) in config.tensors() {
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        let scale = if shape.len() == 1 { 0.0 } else { 0.06 };
        let offset = if shape.len() == 1 { 1.0 } else { 0.0 };
        let numbers: Vec<f32> = (0..shape.iter().product()).map(|_| offset + scale * random()).collect();
        writer.write(&name, &numbers).unwrap();
    }
    writer.commit().unwrap()
}

/// How long a run stands still for a checkpoint of 1.6 GB that it waits for, and for one that is written while it goes on, in turns. Run with
/// `--ignored --nocapture`; `REALIGN_TEST_STEPS` says how many steps there are to each.
#[test]
#[ignore = "a measurement, of minutes"]
fn how_long_a_run_stands_still() {
    let steps = std::env::var("REALIGN_TEST_STEPS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let folder = tempfile::tempdir().unwrap();
    let model = large(folder.path());
    for device in devices() {
        for turn in 0..2 {
            for memory in [0, 256, 2048] {
                let (_data, mut settings) = setup_of(Stage::Two, "llama");
                (settings.model, settings.init_adapter) = (model.clone(), None);
                (settings.train, settings.batch_size, settings.max_steps) = (Trained::All, 2, Some(steps));
                (settings.checkpoint_every, settings.keep, settings.checkpoint_memory) = (2, 1, memory);
                settings.lr = 1e-5;
                settings.out = folder.path().join("run");
                let mut run = Run::start(&device, settings, Start::Replace).unwrap();
                let began = std::time::Instant::now();
                let times: Vec<String> = (0..steps)
                    .map(|_| {
                        let before = std::time::Instant::now();
                        run.advance().unwrap();
                        format!("{:.2}", before.elapsed().as_secs_f64())
                    })
                    .collect();
                let all = began.elapsed().as_secs_f64();
                drop(run);
                let (name, whole) = (device.name(), began.elapsed().as_secs_f64());
                println!(
                    "{name}, turn {turn}, {memory} MiB: steps of {} s; {all:.1} s, {whole:.1} s with the last checkpoint",
                    times.join(", ")
                );
            }
        }
    }
}
