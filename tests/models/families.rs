//! Tiny models of every family and every type of rotary embedding against Transformers in f64 (see `golden/generate_families.py`): logits,
//! likelihoods, every gradient with activations kept and computed again, generation with a cache, and 30 steps of each kind of training.

use std::path::PathBuf;

use realign::ElementType;
use realign::device::{Device, Tensor};
use realign::io::{AdapterKind, AdapterLayer, AdapterWeights, DecoderConfig};
use realign::nn::decoder::LowRankOptions;
use realign::nn::decoder::generate::{Generator, Sampling};
use realign::nn::{Adapter, Decoder, Gradients, Parameters, Precision};
use realign::optim::AdamWOptions;
use realign::train::{Batch, Model, Trainer, Trains};

use super::oracle::off;
use super::{Golden, case, check_logits, check_loss, devices};

pub const ALL: [&str; 22] = [
    "llama_gelu",
    "llama_linear",
    "llama_dynamic",
    "llama_yarn",
    "llama_yarn_scaled",
    "llama_llama3",
    "llama_longrope",
    "qwen2_windows",
    "qwen3",
    "qwen3_windows",
    "mistral",
    "ministral",
    "gemma3",
    "gemma3_untied",
    "phi3",
    "phi3_long",
    "smollm3",
    "smollm3_windows",
    "olmo2",
    "olmo2_biases",
    "granite",
    "granite_biases",
];

/// Those with steps of training.
const TRAINED: [&str; 5] = ["qwen3_windows", "gemma3", "phi3_long", "granite_biases", "olmo2"];

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families").join(name)
}

pub fn config(name: &str) -> DecoderConfig {
    let path = path(&format!("{name}.config.json"));
    DecoderConfig::parse(&std::fs::read_to_string(&path).unwrap(), &path).unwrap()
}

pub fn open(name: &str) -> Golden {
    Golden(std::fs::read(path(&format!("{name}.safetensors"))).unwrap())
}

/// The rows of what the files hold as one tensor that the decoder has as this one.
fn part(config: &DecoderConfig, golden: &Golden, prefix: &str, name: &str, shape: &[usize]) -> Vec<f64> {
    let stored = config.stored(name, shape);
    let file = format!("{prefix}{}", stored.name);
    assert_eq!(golden.shape(&file), stored.shape, "{file}");
    let row: usize = shape.iter().skip(1).product();
    golden.doubles(&file)[stored.first_row * row..][..shape.iter().product()].to_vec()
}

fn model(device: &Device, name: &str, golden: &Golden) -> Model {
    let config = config(name);
    let load = |name: &str, shape: &[usize]| {
        Ok(part(&config, golden, "", name, shape).into_iter().map(|x| x as f32).collect())
    };
    let decoder = Decoder::new(device, &config, load).unwrap();
    // Its gradients stand beside it under names that end alike.
    let layer = |number: usize| {
        let name = |part: &str| format!("model.mm_projector.{number}.{part}");
        let shape = golden.shape(&name("weight"));
        AdapterLayer {
            inputs: shape[1],
            outputs: shape[0],
            weight: golden.floats(&name("weight")),
            bias: golden.floats(&name("bias")),
        }
    };
    let layers = vec![layer(0), layer(2)];
    let adapter = AdapterWeights { kind: AdapterKind::Mlp(2), layers, notes: Default::default() };
    Model { adapter: Adapter::new(device, &adapter).unwrap(), decoder }
}

/// Each model on each device; all that fail are named.
fn each(names: &[&str], mut f: impl FnMut(&Device, &str, &Golden, &str)) {
    let mut failed = Vec::new();
    for device in devices() {
        for name in names {
            let what = format!("{} {name}", device.name());
            let run = std::panic::AssertUnwindSafe(|| f(&device, name, &open(name), &what));
            if std::panic::catch_unwind(run).is_err() {
                failed.push(what);
            }
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn logits() {
    each(&ALL, |device, name, golden, what| check_logits(device, &model(device, name, golden), golden, what));
}

/// Gradients over `count` against those of the golden file, whose names begin with `prefix`; how many there were.
fn check_gradients(
    device: &Device,
    config: &DecoderConfig,
    golden: &Golden,
    (parameters, gradients): (&Parameters, &Gradients),
    count: f64,
    what: &str,
) -> usize {
    let mut checked = 0;
    for (slot, gradient) in gradients.iter() {
        let parameter = parameters.get(slot);
        let got = gradient.to_f32_blocking(device).unwrap();
        let got: Vec<f64> = got.iter().map(|g| f64::from(*g) / count).collect();
        let want = part(config, golden, "grad.", &parameter.name, &parameter.shape);
        // A bias of keys that no rotation tells apart moves all scores of a query alike: its gradient is zero but for rounding.
        let zero = want.iter().all(|g| g.abs() < 1e-12);
        let error = if zero { got.iter().map(|g| g.abs()).fold(0.0, f64::max) } else { off(&got, &want) };
        assert!(error < if zero { 1e-6 } else { 1e-4 }, "{what}: {} is off by {error:e}", parameter.name);
        checked += 1;
    }
    checked
}

#[test]
fn losses_and_gradients() {
    for recompute in [false, true] {
        each(&ALL, |device, name, golden, what| {
            let what = format!("{what} recompute {recompute}");
            let (batch, embeddings, _) = case(device, golden);
            let model = model(device, name, golden);
            let config = model.decoder.config().clone();
            let mut trainer = Trainer::new(device, model, Trains::All, (AdamWOptions::default(), recompute)).unwrap();
            trainer.clear().unwrap();
            let losses = trainer.accumulate(&batch, &embeddings).unwrap();
            check_loss(device, &losses, golden, &what);
            let (adapter, decoder) = trainer.gradients();
            let model = &trainer.model;
            let count = losses.count as f64;
            let a = check_gradients(device, &config, golden, (&model.adapter.parameters, adapter), count, &what);
            let d = check_gradients(device, &config, golden, (&model.decoder.parameters, decoder), count, &what);
            assert_eq!((a, d), (4, model.decoder.parameters.len()), "{what}");
        });
    }
}

/// Every tensor of the golden file is the model's: what a family has more would be missing.
#[test]
fn all_tensors_of_the_files_are_known() {
    for name in ALL {
        let (config, golden) = (config(name), open(name));
        let tensors = golden.tensors();
        let weights =
            tensors.names().into_iter().filter(|name| name.starts_with("model.") || *name == "lm_head.weight");
        let mut found: Vec<_> = weights.filter(|name| !name.contains("mm_projector")).map(str::to_owned).collect();
        found.sort();
        let mut wanted: Vec<_> = config.file_tensors().into_iter().map(|(name, _)| name).collect();
        wanted.sort();
        assert_eq!(found, wanted, "{name}");
    }
}

/// As Transformers' `generate` with its cache, across the lengths at which frequencies change.
#[test]
fn greedy_generation() {
    each(&ALL, |device, name, golden, what| {
        let model = model(device, name, golden);
        let prompt: Vec<u32> = golden.integers("input_ids")[..5].iter().map(|id| *id as u32).collect();
        let wanted = golden.integers("generated");
        let settings = (Sampling::default(), wanted.len());
        let mut generator = Generator::new(device, &model.decoder, &prompt, None, settings).unwrap();
        let mut made = Vec::new();
        while let Some(token) = generator.next_blocking().unwrap() {
            made.push(token as i32);
        }
        assert_eq!(made, wanted, "{what}");
    });
}

fn trainer(device: &Device, name: &str, golden: &Golden, stage: &str) -> Trainer {
    let mut model = model(device, name, golden);
    let trains = match stage {
        "stage1" => Trains::Adapter,
        "stage2" => Trains::All,
        _ => Trains::LowRank,
    };
    if trains == Trains::LowRank {
        model.decoder.add_low_rank(device, LowRankOptions { rank: 3, alpha: 6.0, seed: 1 }).unwrap();
        let config = model.decoder.config().clone();
        for parameter in model.decoder.parameters.iter().filter(|p| p.name.contains(".lora_")) {
            let (shape, name) = (&parameter.shape, &parameter.name);
            let value = match name.ends_with("lora_B.weight") {
                true => part(&config, golden, "lora.", name, shape),
                false => golden.doubles(&format!("lora.{name}")),
            };
            let value: Vec<f32> = value.into_iter().map(|x| x as f32).collect();
            parameter.value.write_f32(device, &value).unwrap();
        }
    }
    let options = AdamWOptions { weight_decay: 0.1, max_norm: None, ..Default::default() };
    Trainer::new(device, model, trains, (options, false)).unwrap()
}

fn step(trainer: &mut Trainer, device: &Device, batch: &Batch, embeddings: &Tensor) -> [f64; 2] {
    trainer.clear().unwrap();
    let losses = trainer.accumulate(batch, embeddings).unwrap();
    trainer.step(5e-4).unwrap();
    let nll = losses.read_blocking(device).unwrap();
    let loss = nll.iter().map(|l| f64::from(*l)).sum::<f64>() / nll.len() as f64;
    [loss, f64::from(trainer.gradient_norm_blocking().unwrap())]
}

#[test]
fn thirty_steps() {
    for stage in ["stage1", "stage2", "lora"] {
        each(&TRAINED, |device, name, golden, what| {
            let mut trainer = trainer(device, name, golden, stage);
            let (batch, embeddings, _) = case(device, golden);
            let steps = golden.doubles(&format!("steps.{stage}"));
            assert_eq!(steps.len(), 60);
            for (number, want) in steps.chunks_exact(2).enumerate() {
                let got = step(&mut trainer, device, &batch, &embeddings);
                // AdamW's first steps divide gradients by their own size, and so carry on the rounding of those near 0.
                for (got, want, bound) in [(got[0], want[0], 1e-4), (got[1], want[1], 1e-3)] {
                    assert!((got - want).abs() < bound * want, "{what} {stage}, step {number}: {got} for {want}");
                }
            }
        });
    }
}

/// A model folder of a golden file.
fn folder(name: &str) -> tempfile::TempDir {
    let spot = tempfile::tempdir().unwrap();
    std::fs::copy(path(&format!("{name}.config.json")), spot.path().join("config.json")).unwrap();
    std::fs::copy(path(&format!("{name}.safetensors")), spot.path().join("model.safetensors")).unwrap();
    spot
}

/// A folder that is read and written again has the tensors that it had, by Transformers' names, with every bit, fused where they were.
#[test]
fn exports_are_what_was_read() {
    let device = Device::host();
    for name in ALL {
        let (source, spot) = (folder(name), tempfile::tempdir().unwrap());
        let decoder = Decoder::open(&device, source.path(), None).unwrap();
        let out = spot.path().join("out");
        decoder.save_blocking(&device, (&out, false), source.path(), ElementType::F32).unwrap();
        let (written, golden) = (Golden(std::fs::read(out.join("model.safetensors")).unwrap()), open(name));
        let mut names: Vec<String> = written.tensors().names().into_iter().map(str::to_owned).collect();
        names.sort();
        let mut wanted: Vec<String> = config(name).file_tensors().into_iter().map(|(name, _)| name).collect();
        wanted.sort();
        assert_eq!(names, wanted, "{name}");
        for tensor in names {
            assert_eq!(written.shape(&tensor), golden.shape(&tensor), "{name} {tensor}");
            assert!(written.doubles(&tensor) == golden.doubles(&tensor), "{name} {tensor}");
        }
        assert_eq!(DecoderConfig::read(&out).unwrap(), config(name));
    }
}

/// Low-rank additions of fused projections are written as PEFT has them, and merge into the fused matrix.
#[test]
fn low_rank_additions_of_fused_projections() {
    let device = Device::host();
    let (source, spot, golden) = (folder("phi3_long"), tempfile::tempdir().unwrap(), open("phi3_long"));
    let decoder = trainer(&device, "phi3_long", &golden, "lora").model.decoder;
    let out = spot.path().join("lora");
    decoder.save_low_rank_blocking(&device, &out, source.path(), false).unwrap();
    let written = Golden(std::fs::read(out.join("adapter_model.safetensors")).unwrap());
    let list = golden.tensors();
    let wanted: Vec<_> = list.names().into_iter().filter_map(|name| name.strip_prefix("lora.")).collect();
    assert_eq!((wanted.len(), written.tensors().names().len()), (16, 16));
    for name in wanted {
        let found = written.doubles(&format!("base_model.model.{name}"));
        assert!(found == golden.doubles(&format!("lora.{name}")), "{name}");
    }
    let merged = spot.path().join("merged");
    decoder.save_blocking(&device, (&merged, false), source.path(), ElementType::F32).unwrap();
    let merged = Golden(std::fs::read(merged.join("model.safetensors")).unwrap());
    let name = "model.layers.1.self_attn.qkv_proj";
    let [a, b] = ["A", "B"].map(|side| golden.doubles(&format!("lora.{name}.lora_{side}.weight")));
    let (weight, found) = (golden.doubles(&format!("{name}.weight")), merged.doubles(&format!("{name}.weight")));
    for (i, (weight, found)) in weight.iter().zip(&found).enumerate() {
        let (row, column) = (i / 20, i % 20);
        let sum = weight + 2.0 * (0..3).map(|r| b[3 * row + r] * a[20 * r + column]).sum::<f64>();
        assert!((found - sum).abs() < 1e-6, "{i}: {found} for {sum}");
    }
}

#[test]
fn tensors_that_the_configuration_does_not_know_are_refused() {
    let source = folder("qwen3");
    let text = std::fs::read_to_string(source.path().join("config.json")).unwrap();
    let text = text.replace("qwen3", "mistral").replace("Qwen3ForCausalLM", "MistralForCausalLM");
    let text = text.replace("\"use_sliding_window\": false,", "").replace("\"attention_bias\": false,", "");
    std::fs::write(source.path().join("config.json"), text).unwrap();
    let error = Decoder::open(&Device::host(), source.path(), None).unwrap_err().to_string();
    assert!(error.contains("model.layers.0.self_attn.k_norm.weight") && error.contains("config.json"), "{error}");
}

/// With recomputation, low-rank additions and mixed precision, each with each: the gradients of f32 with everything kept, to rounding.
#[test]
fn switches_change_nothing() {
    each(&TRAINED, |device, name, golden, what| {
        let (batch, embeddings, _) = case(device, golden);
        for trains in [Trains::Adapter, Trains::All, Trains::LowRank] {
            let gradients = |precision: Precision, recompute: bool| {
                let stage = if trains == Trains::LowRank { "lora" } else { "stage2" };
                let mut model = trainer(device, name, golden, stage).model;
                model.decoder.compute_in(device, precision).unwrap();
                let mut trainer = Trainer::new(device, model, trains, (AdamWOptions::default(), recompute)).unwrap();
                trainer.clear().unwrap();
                trainer.accumulate(&batch, &embeddings).unwrap();
                let (adapter, decoder) = trainer.gradients();
                let all = adapter.iter().chain(decoder.iter());
                all.map(|(_, g)| g.to_f32_blocking(device).unwrap()).collect::<Vec<_>>()
            };
            let plain = gradients(Precision::F32, false);
            assert!(gradients(Precision::F32, true) == plain, "{what} {trains:?}: recomputed, gradients differ");
            let mixed = gradients(Precision::Mixed, false);
            assert!(gradients(Precision::Mixed, true) == mixed, "{what} {trains:?}: mixed and recomputed");
            let norm = |list: &[Vec<f32>]| list.iter().flatten().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            let difference: Vec<Vec<f32>> =
                plain.iter().zip(&mixed).map(|(a, b)| a.iter().zip(b).map(|(a, b)| a - b).collect()).collect();
            let error = norm(&difference) / norm(&plain);
            assert!(error > 0.0 && error < 2e-2, "{what} {trains:?}: mixed is off by {error:e}");
        }
    });
}
