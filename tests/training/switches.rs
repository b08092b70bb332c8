//! Runs from settings: the switches that must not change results, each against its plain partner, on every device; and what may not be
//! put together, refused by its key.

use std::path::PathBuf;

use realign::device::Device;
use realign::io::{DecoderConfig, MAX_SHARD_BYTES, ModelWriter, Weights};
use realign::train::{LogRecord, Run, Settings, Stage, Start, Trained};
use realign::{ElementType, Error};

use super::refused;
use super::runs::{devices, finish, results, setup_of};

const TYPES: [ElementType; 3] = [ElementType::F32, ElementType::BF16, ElementType::F16];

/// The settings' model with numbers that each of the types holds: bf16 has the fewer digits, and tiny ones, which f16 lacks, are zeros.
fn rounded(settings: &Settings) -> PathBuf {
    let out = settings.out.with_file_name("rounded");
    let config = DecoderConfig::read(&settings.model).unwrap();
    let weights = Weights::open(&settings.model).unwrap();
    let mut writer =
        ModelWriter::create(&out, true, &settings.model, &config, ElementType::F32, MAX_SHARD_BYTES).unwrap();
    for (name, shape) in config.tensors() {
        let round = |x: f32| if x.abs() < 1e-3 { 0.0 } else { half::bf16::from_f32(x).to_f32() };
        let numbers: Vec<f32> = weights.read_f32(&name, &shape).unwrap().into_iter().map(round).collect();
        writer.write(&name, &numbers).unwrap();
    }
    writer.commit().unwrap()
}

struct Case<'a> {
    device: &'a Device,
    settings: Settings,
    what: String,
}

impl Case<'_> {
    /// The log's records and all results, of a run with one more setting.
    fn run(&self, change: impl FnOnce(&mut Settings)) -> (Vec<LogRecord>, Vec<Vec<u8>>) {
        let mut settings = self.settings.clone();
        change(&mut settings);
        let records = finish(Run::start(self.device, settings.clone(), Start::Replace).unwrap());
        (records, results(&settings.out).into_values().collect())
    }

    /// The same bits with recomputed activations, whose memory must be less.
    fn verify(&self) -> Vec<LogRecord> {
        let (saved, recomputed) = (self.run(|_| ()), self.run(|s| s.recompute = true));
        assert!(
            saved.0 == recomputed.0,
            "{}: recomputed, the log is another: {:?} {:?}",
            self.what,
            saved.0,
            recomputed.0
        );
        assert!(saved.1.len() >= 2 && saved.1 == recomputed.1, "{}: recomputed, the results are others", self.what);
        saved.0
    }
}

/// Losses and norms of two logs, relatively.
fn near(a: &[LogRecord], b: &[LogRecord], bound: f64, what: &str) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        let close = |x: f64, y: f64, bound: f64| (x - y).abs() <= bound * y.abs();
        assert!(close(a.loss, b.loss, bound) && close(a.grad_norm, b.grad_norm, 20.0 * bound), "{what}: {a:?} {b:?}");
    }
}

/// Every way to train, with all types of weights that it may have, visual tokens and ways to make a step, of both families: one has biases
/// and tied embeddings. The driver, on which a run takes longest, gets the most of everything; all its combinations are among the models'
/// tests.
#[test]
fn the_product_of_switches() {
    let devices = devices();
    for kind in ["llama", "qwen2"] {
        let (_folder, mut plain) = setup_of(Stage::Two, kind);
        plain.model = rounded(&plain);
        (plain.max_steps, plain.lr, plain.lora_rank) = (Some(3), 1e-3, 3);
        for train in [Trained::Adapter, Trained::All, Trained::Lora] {
            for visual in [1, 3] {
                let mut first: Option<Vec<LogRecord>> = None;
                for (batch_size, accumulate) in [(12, 1), (5, 3)] {
                    for weights in TYPES {
                        let mut settings = plain.clone().train(train).batch_size(batch_size).accumulate(accumulate);
                        (settings.visual_tokens, settings.weights) = (visual, Some(weights));
                        if train == Trained::All && weights != ElementType::F32 {
                            let error = Run::start(&Device::host(), settings, Start::Replace);
                            assert!(matches!(error, Err(Error::Argument { .. })));
                            refused(error, &["weights", "frozen"]);
                            continue;
                        }
                        let most = visual > 1 && accumulate > 1;
                        for device in &devices[..if most { 2 } else { 1 }] {
                            let what = format!("{} {kind} {train:?} {visual} {weights} {accumulate}", device.name());
                            let case = Case { device, settings: settings.clone(), what };
                            let log = case.verify();
                            // All cases train on the same numbers: what differs is the order of sums.
                            near(&log, first.get_or_insert_with(|| log.clone()), 1e-4, &case.what);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn what_a_stage_does_not_do_is_refused() {
    let (_folder, settings) = setup_of(Stage::One, "llama");
    for train in [Trained::All, Trained::Lora] {
        let settings = settings.clone().train(train).recompute(true);
        refused(Run::start(&Device::host(), settings, Start::New), &["train", "stage 1 trains the adapter alone"]);
    }
    let (_folder, settings) = setup_of(Stage::Two, "llama");
    for (change, words) in [
        (settings.clone().weights(Some(ElementType::F64)).train(Trained::Lora), ["f64", "f32, f16, bf16 or q8_0"]),
        (settings.clone().lora_rank(0).train(Trained::Lora), ["lora_rank", "at least 1"]),
        (settings.clone().accumulate(0), ["accumulate", "at least 1"]),
        (settings.clone().visual_tokens(0), ["visual_tokens", "at least 1"]),
    ] {
        refused(Run::start(&Device::host(), change, Start::New), &words);
    }
}
