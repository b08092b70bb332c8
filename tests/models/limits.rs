//! The same models where logits come in blocks and chunks, and where tables lie in several tensors because the device binds little.

use realign::ElementType;
use realign::device::Device;
use realign::nn::decoder::LogitsBlock;
use realign::optim::AdamWOptions;
use realign::train::{Model, Trainer, Trains};

use super::{Golden, case, check_gradients, check_logits, check_loss, devices, gpu, model, stored_model};

/// Less than a table of 256 rows of 64 numbers takes, 65,536 bytes, and enough for all else.
const LIMIT: u64 = 64_000;
/// Blocks of four rows and 128 columns.
const SMALL: LogitsBlock = LogitsBlock { bytes: 2048, rows: 3 };

fn limited(device: Device, bytes: u64) -> Device {
    device.with_capabilities(|c| c.max_binding = bytes).unwrap()
}

/// The devices anew: one that is in use keeps its limits.
fn limited_devices(bytes: u64) -> Vec<Device> {
    [Device::host(), gpu()].map(|device| limited(device, bytes)).into()
}

/// Every golden case on every device, whole and limited, with blocks as they are by default and small.
fn each(mut f: impl FnMut(&Device, Model, &Golden, &str)) {
    for (limit, block) in [(None, SMALL), (Some(LIMIT), LogitsBlock::default()), (Some(LIMIT), SMALL)] {
        for device in limit.map_or_else(devices, limited_devices) {
            for kind in ["llama", "qwen2"] {
                for name in ["a", "b", "c"] {
                    let mut model = model(&device, kind);
                    model.decoder.logits_block = block;
                    assert_eq!(shards(&model), if limit.is_some() { 2 } else { 1 });
                    let what = format!("{} {kind} {name} {limit:?} {block:?}", device.name());
                    f(&device, model, &Golden::open(&format!("{kind}.case_{name}.safetensors")), &what);
                }
            }
        }
    }
}

/// Tensors of the embedding table.
fn shards(model: &Model) -> usize {
    let slot = model.decoder.parameters.slot("model.embed_tokens.weight").unwrap();
    model.decoder.parameters.get(slot).value.shards().len()
}

#[test]
fn logits_losses_and_gradients() {
    each(|device, model, golden, what| {
        check_logits(device, &model, golden, what);
        let (batch, embeddings, _) = case(device, golden);
        let mut trainer = Trainer::new(device, model, Trains::All, (AdamWOptions::default(), false)).unwrap();
        trainer.clear().unwrap();
        let losses = trainer.accumulate(&batch, &embeddings).unwrap();
        check_loss(device, &losses, golden, what);
        check_gradients(&trainer, device, golden, losses.count as f32, what);
    });
}

/// Steps on a table in two tensors give the bits of steps on one, for the logits are cut alike; and so does a frozen one of 16 bits.
#[test]
fn steps_with_shards() {
    // One in bf16 is cut as its gradient, which it may have.
    let formats = [
        (ElementType::F32, LIMIT, Trains::All),
        (ElementType::F16, 20_000, Trains::Adapter),
        (ElementType::BF16, LIMIT, Trains::Adapter),
    ];
    for (storage, limit, trains) in formats {
        for kind in ["llama", "qwen2"] {
            let golden = Golden::open(&format!("{kind}.case_c.safetensors"));
            let run = |device: &Device, count: usize| {
                let (batch, embeddings, _) = case(device, &golden);
                let mut model = stored_model(device, kind, storage, |x| x);
                model.decoder.logits_block = SMALL;
                assert_eq!(shards(&model), count);
                // Without clipping: the norm's partial sums come in another order.
                let options = AdamWOptions { max_norm: None, ..Default::default() };
                let mut trainer = Trainer::new(device, model, trains, (options, false)).unwrap();
                let mut norms = Vec::new();
                for _ in 0..3 {
                    trainer.clear().unwrap();
                    trainer.accumulate(&batch, &embeddings).unwrap();
                    trainer.step(1e-3).unwrap();
                    norms.push(trainer.gradient_norm_blocking().unwrap());
                }
                let all = trainer.model.adapter.parameters.iter().chain(trainer.model.decoder.parameters.iter());
                let numbers: Vec<Vec<f32>> = all.map(|p| p.value.to_f32_blocking(device).unwrap()).collect();
                (numbers, norms)
            };
            for (device, narrow) in devices().into_iter().zip(limited_devices(limit)) {
                let name = device.name().to_owned();
                let (whole, norms) = run(&device, 1);
                let (cut, cut_norms) = run(&narrow, 2);
                assert!(whole == cut, "{name} {kind} {storage}");
                for (a, b) in norms.iter().zip(&cut_norms) {
                    assert!((a - b).abs() <= 1e-6 * a, "{name} {kind} {storage}: {a} {b}");
                }
            }
        }
    }
}

/// A matrix that no table holds must fit the limit, and the error says which does not.
#[test]
fn a_matrix_above_the_limit() {
    let device = limited(Device::host(), 32_000);
    let path = super::golden("llama.config.json");
    let config = realign::io::DecoderConfig::parse(&std::fs::read_to_string(&path).unwrap(), &path).unwrap();
    let zeros = |_: &str, shape: &[usize]| Ok(vec![0.0; shape.iter().product()]);
    let error = realign::nn::Decoder::new(&device, &config, zeros).unwrap_err().to_string();
    for word in ["32768 bytes", "32000", "gate_proj"] {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
}
