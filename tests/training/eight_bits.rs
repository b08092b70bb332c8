//! Moments in 8 bits and weights in bf16: every switch that they meet, runs that go on, and the loss beside f32 AdamW's.

use realign::ElementType;
use realign::device::{Device, Tensor};
use realign::io::{AdapterKind, DecoderConfig, TensorFile};
use realign::nn::adapter::fresh;
use realign::nn::{Adapter, Decoder};
use realign::optim::{AdamWOptions, MomentType};
use realign::train::{Batch, LogRecord, Model, Run, Settings, Stage, Start, Trained, Trainer, Trains};

use super::refused;
use super::runs::{devices, finish, mixed, results, setup};

const KINDS: [(MomentType, ElementType); 4] = [
    (MomentType::F32, ElementType::F32),
    (MomentType::F32, ElementType::BF16),
    (MomentType::Dynamic8, ElementType::F32),
    (MomentType::Dynamic8, ElementType::BF16),
];

/// What a run's log and results are.
fn outcome(device: &Device, settings: &Settings) -> (Vec<LogRecord>, Vec<Vec<u8>>) {
    let records = finish(Run::start(device, settings.clone(), Start::Replace).unwrap());
    (records, results(&settings.out).into_values().collect())
}

/// Whatever trains, however a step is cut: recomputed activations change no bit, and the log is near f32 AdamW's.
#[test]
fn the_product_of_switches() {
    for device in devices() {
        for train in [Trained::Adapter, Trained::All, Trained::Lora] {
            for (batch_size, accumulate) in [(12, 1), (5, 3)] {
                let (_folder, mut plain) = setup(Stage::Two);
                (plain.max_steps, plain.lora_rank) = (Some(3), 3);
                let plain = plain.train(train).batch_size(batch_size).accumulate(accumulate);
                let (reference, _) = outcome(&device, &plain);
                for (moments, weights) in KINDS.into_iter().skip(1) {
                    if train != Trained::All && weights != ElementType::F32 {
                        continue;
                    }
                    let settings = plain.clone().optimizer(moments).master_weights(weights);
                    let what = format!("{} {train:?} {moments:?} {weights} {accumulate}", device.name());
                    let (saved, recomputed) =
                        (outcome(&device, &settings), outcome(&device, &settings.clone().recompute(true)));
                    assert!(saved == recomputed, "{what}: recomputed, the run is another");
                    // The first loss is the same but for weights to 8 bits of significand; later ones differ by the states' digits.
                    let bound = if weights == ElementType::BF16 { 2e-2 } else { 1e-2 };
                    for (ours, theirs) in saved.0.iter().zip(&reference) {
                        assert!((ours.loss - theirs.loss).abs() < bound * theirs.loss, "{what}: {ours:?} {theirs:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_killed_run_goes_on_bit_for_bit() {
    for device in devices() {
        for (moments, weights) in KINDS.into_iter().skip(1) {
            let (_folder, mut settings) = mixed(Stage::Two);
            (settings.optimizer, settings.master_weights, settings.checkpoint_every) = (moments, weights, 3);
            let out = settings.out.clone();
            finish(Run::start(&device, settings.clone(), Start::New).unwrap());
            let whole = results(&out);
            assert!(whole.len() >= 3, "{:?}", whole.keys());
            settings.out = out.with_file_name("again");
            let mut first = Run::start(&device, settings.clone(), Start::New).unwrap();
            (0..5).for_each(|_| drop(first.advance().unwrap()));
            drop(first);
            let run = Run::start(&device, settings.clone(), Start::Resume).unwrap();
            assert_eq!(run.step(), 3, "{moments:?} {weights}");
            finish(run);
            assert!(results(&settings.out) == whole, "{} {moments:?} {weights}: results differ", device.name());
        }
    }
}

/// A checkpoint has the bytes as bytes, and goes on under its own optimiser alone.
#[test]
fn checkpoints_say_what_they_hold() {
    let device = Device::host();
    let (_folder, settings) = mixed(Stage::Two);
    let settings = settings.optimizer(MomentType::Dynamic8).master_weights(ElementType::BF16).checkpoint_every(1);
    let mut run = Run::start(&device, settings.clone(), Start::New).unwrap();
    drop(run.advance().unwrap());
    drop(run);
    let file = TensorFile::open(&settings.out.join("checkpoints/step-00000001/tensors.safetensors")).unwrap();
    let name = "model.layers.1.mlp.gate_proj.weight";
    assert_eq!(file.tensors()[name].element, Some(ElementType::BF16));
    for (part, count) in [("m", 128 * 64), ("v", 128 * 64), ("largest", 8 * 128 * 64 / 256)] {
        let bytes = &file.tensors()[&format!("adamw8bit.{part}.{name}")];
        assert_eq!((bytes.element, bytes.shape.as_slice()), (None, &[count][..]), "{part}");
    }
    // A vector keeps f32.
    assert_eq!(file.tensors()["adamw.m.model.norm.weight"].element, Some(ElementType::F32));
    for (other, words) in [
        (settings.clone().optimizer(MomentType::F32), ["optimizer was \"adamw8bit\" and is \"adamw\"", "start anew"]),
        (
            settings.clone().master_weights(ElementType::F32),
            ["master_weights was \"bf16\" and is \"f32\"", "start anew"],
        ),
    ] {
        refused(Run::start(&device, other, Start::Resume), &words);
    }
    Run::start(&device, settings, Start::Resume).unwrap();
}

#[test]
fn what_has_no_use_for_it_is_refused_or_said() {
    let (_folder, settings) = setup(Stage::Two);
    let half = settings.clone().master_weights(ElementType::F16);
    refused(Run::start(&Device::host(), half, Start::New), &["master_weights", "f32 or bf16"]);
    let frozen = settings.clone().train(Trained::Lora).master_weights(ElementType::BF16);
    assert!(frozen.ignored().iter().any(|line| line.contains("master_weights")), "{:?}", frozen.ignored());
    let both = settings.weights(Some(ElementType::BF16)).train(Trained::All);
    refused(Run::start(&Device::host(), both, Start::New), &["weights", "frozen", "master_weights"]);
}

/// Numbers of a seed, uniform below 1.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / f64::from(1u32 << 31)
    }
}

const VOCABULARY: usize = 128;
const LENGTH: usize = 32;

/// Texts of a language in which each word is followed by one of four, the first of them half of the time: 1.24 nats a word.
fn texts(random: &mut Random, count: usize) -> Batch {
    let mut batch = Batch::default();
    for sample in 0..count as u32 {
        let mut word = (random.next() * VOCABULARY as f64) as usize;
        let mut ids = Vec::new();
        for _ in 0..LENGTH {
            ids.push(word as u32);
            let drawn = random.next();
            let choice = [0.5, 0.7, 0.85].iter().filter(|p| drawn >= **p).count();
            word = (word * 37 + choice * 29 + 11) % VOCABULARY;
        }
        batch.sequences.push((batch.ids.len() as u32, LENGTH as u32));
        batch.labels.extend(ids[1..].iter().map(|id| *id as i32).chain([realign::train::IGNORED]));
        batch.ids.extend(ids);
        batch.positions.extend(0..LENGTH as u32);
        batch.samples.push(sample);
    }
    batch.targets = batch.labels.iter().filter(|label| **label >= 0).count() as u32;
    batch
}

/// The loss on texts that were not seen, after `steps` steps of a seeded model.
fn trained(steps: u64, moments: MomentType, weights: ElementType) -> f64 {
    let device = Device::host();
    let config = r#"{"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 128, "rms_norm_eps": 1e-05,
        "tie_word_embeddings": false}"#;
    let config = DecoderConfig::parse(config, std::path::Path::new("config.json")).unwrap();
    let mut random = Random(1);
    let load = |_: &str, shape: &[usize]| {
        let number = |random: &mut Random| ((random.next() - 0.5) * 0.2) as f32;
        let ones = shape.len() == 1;
        Ok((0..shape.iter().product()).map(|_| if ones { 1.0 } else { number(&mut random) }).collect())
    };
    let decoder = Decoder::with_storage(&device, &config, weights, load).unwrap();
    let adapter = Adapter::new(&device, &fresh(AdapterKind::Linear, 4, 64, 0)).unwrap();
    let options = AdamWOptions { moments, seed: 5, ..Default::default() };
    let model = Model { adapter, decoder };
    let mut trainer = Trainer::new(&device, model, Trains::Decoder, (options, false)).unwrap();
    let nothing = Tensor::new(&device, 0, 4, ElementType::F32).unwrap();
    let mut random = Random(2);
    for step in 0..steps {
        trainer.clear().unwrap();
        trainer.accumulate(&texts(&mut random, 8), &nothing).unwrap();
        trainer.step(3e-3 * (1.0 - step as f64 / steps as f64)).unwrap();
    }
    let losses = trainer.evaluate(&texts(&mut Random(3), 64), &nothing).unwrap().read_blocking(&device).unwrap();
    losses.iter().map(|x| f64::from(*x)).sum::<f64>() / losses.len() as f64
}

#[test]
fn after_300_steps_the_loss_is_that_of_f32() {
    let [plain, others @ ..] = KINDS.map(|(moments, weights)| trained(300, moments, weights));
    // From 4.9 nats, ln 128, to near the language's own.
    assert!(plain < 1.5, "{plain}");
    for (kind, loss) in KINDS[1..].iter().zip(others) {
        println!("{kind:?}: {loss:.4}, f32 {plain:.4}");
        assert!((loss - plain).abs() < 0.01 * plain, "{kind:?}: {loss} for {plain}");
    }
}
