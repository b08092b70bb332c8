//! Runs on devices that bind or hold little.

use std::path::{Path, PathBuf};

use realign::ElementType;
use realign::device::{Device, Purpose};
use realign::inference::Assistant;
use realign::io::{AdapterWeights, DecoderConfig, MAX_SHARD_BYTES, ModelWriter, VISUAL, Weights};
use realign::nn::Decoder;
use realign::train::{Run, Settings, Stage, Start, Trained};

use super::runs::{devices, finish, mixed, results, setup};
use super::{golden, put, refused};

/// The devices, binding no more than `bytes` at once.
fn narrow_devices(bytes: u64) -> impl Iterator<Item = Device> {
    devices().into_iter().map(move |device| device.with_capabilities(|c| c.max_binding = bytes).unwrap())
}

/// Logits that are cut into chunks must be cut alike whichever batches came before: the longest comes before the checkpoint, so that
/// the resumed run has seen shorter ones only.
#[test]
fn a_run_in_chunks_goes_on_bit_for_bit() {
    let (_folder, mut settings) = mixed(Stage::One);
    settings.checkpoint_every = 3;
    let out = settings.out.clone();
    let longest = |run: &Run| run.samples().lengths().into_iter().max().unwrap() as u64;
    let probe = settings.clone().out(out.with_file_name("probe"));
    // What a batch of five of the longest needs for the widest activation, of 128 columns; its logits have 256.
    let limit = 5 * 4 * 128 * longest(&Run::start(&Device::host(), probe, Start::New).unwrap());
    for device in narrow_devices(limit) {
        settings.out = out.with_file_name("whole");
        finish(Run::start(&device, settings.clone(), Start::Replace).unwrap());
        let whole = results(&settings.out);
        settings.out = out.with_file_name("again");
        let mut first = Run::start(&device, settings.clone(), Start::Replace).unwrap();
        (0..5).for_each(|_| drop(first.advance().unwrap()));
        drop(first);
        let run = Run::start(&device, settings.clone(), Start::Resume).unwrap();
        assert_eq!(run.step(), 3);
        finish(run);
        assert!(results(&settings.out) == whole, "{}: results differ", device.name());
    }
}

/// Less than the embedding table takes, 65,536 bytes: it lies in two tensors, as do its gradient and moments.
#[test]
fn a_run_with_tables_in_several_tensors() {
    let (_folder, mut settings) = mixed(Stage::Two);
    (settings.batch_size, settings.checkpoint_every, settings.max_steps) = (1, 3, Some(6));
    let out = settings.out.clone();
    for device in narrow_devices(64_000) {
        settings.out = out.with_file_name("whole");
        let mut run = Run::start(&device, settings.clone(), Start::Replace).unwrap();
        let parameters = &run.model().decoder.parameters;
        let table = parameters.slot("model.embed_tokens.weight").unwrap();
        assert_eq!(parameters.get(table).value.shards().len(), 2, "{}", device.name());
        let before = parameters.get(table).value.to_f32_blocking(&device).unwrap();
        while !run.is_done() {
            run.advance().unwrap();
        }
        let after = run.model().decoder.parameters.get(table).value.to_f32_blocking(&device).unwrap();
        assert!(before != after, "{}: the table did not learn", device.name());
        run.finish().unwrap();
        let exported = Weights::open(&settings.out.join("model")).unwrap();
        assert!(exported.read_f32("model.embed_tokens.weight", &[256, 64]).unwrap() == after, "{}", device.name());
        let whole = results(&settings.out);
        settings.out = out.with_file_name("again");
        let mut first = Run::start(&device, settings.clone(), Start::Replace).unwrap();
        (0..5).for_each(|_| drop(first.advance().unwrap()));
        drop(first);
        finish(Run::start(&device, settings.clone(), Start::Resume).unwrap());
        assert!(results(&settings.out) == whole, "{}: results differ", device.name());
    }
}

/// Steps until something fails.
fn failure(device: &Device, settings: &Settings) -> realign::Error {
    let mut run = match Run::start(device, settings.clone(), Start::Replace) {
        Ok(run) => run,
        Err(error) => return error,
    };
    loop {
        assert!(!run.is_done(), "nothing failed");
        if let Err(error) = run.advance() {
            return error;
        }
    }
}

#[test]
fn out_of_memory_says_which_buffer_and_what_to_lower() {
    let (_folder, mut settings) = setup(Stage::Two);
    settings.max_steps = Some(2);
    for (i, whole) in devices().into_iter().enumerate() {
        let run = Run::start(&whole, settings.clone(), Start::Replace).unwrap();
        let [weights, gradients, moments] =
            [Purpose::Weights, Purpose::Gradients, Purpose::Moments].map(|purpose| whole.memory(purpose));
        assert_eq!((weights, 2 * weights), (gradients, moments));
        drop(run);
        for (limit, words) in [
            (100_000, vec!["weights", "self_attn.o_proj.weight [64, 64] f32", "16384 bytes", "16 bits"]),
            (weights + 20_000, vec!["gradients", ".weight [", "low-rank additions"]),
            (weights + gradients + 20_000, vec!["moments", "f32", "low-rank additions"]),
            (
                weights + gradients + moments + 100_000,
                vec!["activations", "] f32", "smaller batches", "compute activations again"],
            ),
        ] {
            let device = devices().swap_remove(i).with_memory_limit(limit).unwrap();
            let error = failure(&device, &settings);
            assert!(matches!(error, realign::Error::OutOfMemory { .. }), "{error:?}");
            refused(Err::<(), _>(error), &[&words[..], &["out of memory", device.name()]].concat());
        }
        // A batch whose activations are above what the device binds at once.
        let device = devices().swap_remove(i).with_capabilities(|c| c.max_binding = 64_000).unwrap();
        let error = failure(&device, &settings);
        refused(
            Err::<(), _>(error),
            &["activations", "residual stream", "64000", "smaller batches", "compute activations again"],
        );
    }
}

/// The model of `settings` with its numbers rounded to bf16, in files of bf16.
fn rounded(settings: &Settings, out: &Path) -> PathBuf {
    let (host, bf16) = (Device::host(), ElementType::BF16);
    let decoder = Decoder::open(&host, &settings.model, Some(bf16)).unwrap();
    let config = DecoderConfig::read(&settings.model).unwrap();
    let mut writer = ModelWriter::create(out, true, &settings.model, &config, bf16, MAX_SHARD_BYTES).unwrap();
    decoder.write_blocking(&host, &mut writer).unwrap();
    writer.commit().unwrap()
}

#[test]
fn low_rank_additions_to_a_base_of_16_bits() {
    let (_folder, mut settings) = setup(Stage::Two);
    (settings.train, settings.epochs, settings.lora_rank, settings.lr) = (Trained::Lora, 4.0, 3, 5e-3);
    settings.model = rounded(&settings, &settings.out.with_file_name("bf16"));
    (settings.merge_lora, settings.export_dtype) = (true, Some(ElementType::F32));
    for device in devices() {
        let run = |name: &str, weights: Option<ElementType>| {
            let settings = settings.clone().out(settings.out.with_file_name(name)).weights(weights);
            let run = Run::start(&device, settings.clone(), Start::Replace).unwrap();
            let bytes = device.memory(Purpose::Weights);
            let records = finish(run);
            (settings.out, bytes, records.last().unwrap().loss, records[0].loss)
        };
        // As in the files, and widened.
        let (short, wide) = (run("short", None), run("wide", Some(ElementType::F32)));
        assert!(short.1 < wide.1 * 7 / 10, "{} and {} bytes", short.1, wide.1);
        assert!((short.2 - wide.2).abs() < 1e-4 * wide.2 && wide.2 < wide.3, "{short:?} {wide:?}");
        let [a, b, base] = [&short.0.join("model"), &wide.0.join("model"), &settings.model].map(|folder| {
            Weights::open(folder).unwrap().read_f32("model.layers.1.mlp.up_proj.weight", &[128, 64]).unwrap()
        });
        let distance =
            |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(x - y).powi(2)).sum::<f64>().sqrt();
        // The additions are merged, and alike.
        let moved = distance(&b, &base);
        assert!(moved > 0.01 && distance(&a, &b) < 1e-2 * moved, "{}: {moved} {}", device.name(), distance(&a, &b));
    }
    settings.train = Trained::All;
    settings.weights = Some(ElementType::BF16);
    refused(Run::start(&Device::host(), settings, Start::New), &["weights", "frozen"]);
}

#[test]
fn no_visual_token_is_left_out() {
    let (folder, mut settings) = setup(Stage::One);
    (settings.init_adapter, settings.adapter_tokens, settings.visual_tokens) = (None, 2, 4);
    settings.max_steps = Some(1);
    let host = Device::host();
    finish(Run::start(&host, settings.clone(), Start::New).unwrap());
    let adapter = settings.out.join("adapter.safetensors");
    assert_eq!(AdapterWeights::load(&adapter).unwrap().visual_tokens(), Some(4));
    let visual = |asked: Option<usize>, adapter: &Path| {
        let assistant = Assistant::open(&host, &settings.model, adapter, asked)?;
        Ok(assistant.plain("", true)?.iter().filter(|entry| **entry & VISUAL != 0).count())
    };
    // As trained, or as asked for; a file that does not say gets one of each token that its adapter makes.
    assert_eq!(visual(None, &adapter).unwrap(), 4);
    assert_eq!(visual(Some(2), &adapter).unwrap(), 2);
    refused(visual(Some(1), &adapter), &["adapter.safetensors", "makes 2", "visual_tokens is 1"]);
    assert_eq!(visual(None, &golden("models/llama.safetensors")).unwrap(), 1);
    let mut silent = AdapterWeights::load(&adapter).unwrap();
    silent.notes.clear();
    let path = folder.path().join("silent.safetensors");
    silent.save(&path, ElementType::F32, true).unwrap();
    assert_eq!(visual(None, &path).unwrap(), 2);
    // A run that starts from it.
    let next = settings.clone().init_adapter(Some(adapter)).adapter_tokens(1).visual_tokens(1);
    refused(Run::start(&host, next, Start::Replace), &["adapter.safetensors", "makes 2", "visual_tokens is 1"]);
}

#[test]
fn samples_beyond_the_models_context() {
    let (folder, mut settings) = setup(Stage::One);
    let config = folder.path().join("config.json");
    let mut object: serde_json::Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    object["max_position_embeddings"] = 12.into();
    put(folder.path(), "config.json", object.to_string());
    refused(
        Run::start(&Device::host(), settings.clone(), Start::New),
        &["max_length", "positions", "12", "lower the longest sample"],
    );
    settings.max_length = 12;
    let run = Run::start(&Device::host(), settings, Start::New).unwrap();
    assert_eq!(run.samples().lengths().into_iter().max(), Some(12));
}
