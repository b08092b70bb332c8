//! Tiny Llama and Qwen2 models with an adapter in front, against an independent f64 implementation: logits, losses and
//! every gradient; logits in blocks and chunks, tables in several tensors, recomputed activations, generation with a cache.

mod adapter;
mod differences;
mod dropout;
mod families;
mod limits;
mod low_rank;
mod memory;
mod mixed;
mod oracle;
mod product;
mod twins;

use std::path::PathBuf;
use std::sync::OnceLock;

use realign::ElementType;
use realign::device::{Device, DeviceOptions, Selection, Tensor};
use realign::io::{AdapterWeights, DecoderConfig};
use realign::kernels::nn::embedding::VISUAL;
use realign::nn::decoder::generate::{Generator, Sampling};
use realign::nn::{Adapter, Decoder, Parameters};
use realign::optim::AdamWOptions;
use realign::train::{Batch, IGNORED, Losses, Model, Trainer, Trains};
use safetensors::{Dtype, SafeTensors};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/models").join(name)
}

fn gpu() -> Device {
    let name = std::env::var("REALIGN_TEST_ADAPTER").ok().filter(|name| !name.is_empty());
    let selection = Selection::Named(name.unwrap_or_else(|| "llvmpipe".to_owned()));
    Device::request_blocking(&DeviceOptions::default().selection(selection)).unwrap()
}

/// The GPU is one device for all tests, so that each pipeline is compiled once.
fn devices() -> Vec<Device> {
    static GPU: OnceLock<Device> = OnceLock::new();
    vec![Device::host(), GPU.get_or_init(gpu).clone()]
}

/// Tensors of a golden file, as f64 or as integers.
struct Golden(Vec<u8>);

impl Golden {
    fn open(name: &str) -> Self {
        Golden(std::fs::read(golden(name)).unwrap())
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.0).unwrap()
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.doubles(name).into_iter().map(|x| x as f32).collect()
    }

    fn doubles(&self, name: &str) -> Vec<f64> {
        let tensors = self.tensors();
        let tensor = tensors.tensor(name).unwrap();
        match tensor.dtype() {
            Dtype::F64 => bytemuck::pod_collect_to_vec(tensor.data()),
            Dtype::F32 => bytemuck::pod_collect_to_vec(tensor.data()).into_iter().map(f32::into).collect(),
            other => panic!("{name} is {other:?}"),
        }
    }

    fn integers(&self, name: &str) -> Vec<i32> {
        bytemuck::pod_collect_to_vec(self.tensors().tensor(name).unwrap().data())
    }

    fn shape(&self, name: &str) -> Vec<usize> {
        self.tensors().tensor(name).unwrap().shape().to_vec()
    }
}

fn model(device: &Device, kind: &str) -> Model {
    stored_model(device, kind, ElementType::F32, |x| x)
}

type Round = fn(f32) -> f32;

/// The model with its decoder's numbers rounded, and its matrices stored in `storage`.
fn stored_model(device: &Device, kind: &str, storage: ElementType, round: impl Fn(f32) -> f32) -> Model {
    let weights = Golden::open(&format!("{kind}.safetensors"));
    let path = golden(&format!("{kind}.config.json"));
    let config = DecoderConfig::parse(&std::fs::read_to_string(&path).unwrap(), &path).unwrap();
    let load = |name: &str, shape: &[usize]| {
        assert_eq!(weights.shape(name), shape, "{name}");
        Ok(weights.floats(name).into_iter().map(&round).collect())
    };
    let decoder = Decoder::with_storage(device, &config, storage, load).unwrap();
    let adapter = AdapterWeights::load(&golden(&format!("{kind}.safetensors"))).unwrap();
    Model { adapter: Adapter::new(device, &adapter).unwrap(), decoder }
}

/// A case's batch without padding, its embeddings, and for each of its tokens the row of the padded case.
fn case(device: &Device, case: &Golden) -> (Batch, Tensor, Vec<usize>) {
    let (copies, shape) = (case.integers("rep")[0] as usize, case.shape("input_ids"));
    let (ids, mask, labels) = (case.integers("input_ids"), case.integers("attention_mask"), case.integers("labels"));
    let (count, length) = (shape[0], shape[1]);
    let mut batch = Batch::default();
    let mut rows = Vec::new();
    for i in 0..count {
        let tokens = mask[i * length..(i + 1) * length].iter().filter(|m| **m == 1).count();
        let first = batch.ids.len() as u32;
        let total = copies + tokens;
        batch.ids.extend((0..copies).map(|_| VISUAL | i as u32));
        batch.ids.extend(ids[i * length..i * length + tokens].iter().map(|id| *id as u32));
        batch.positions.extend(0..total as u32);
        let row = &labels[i * (copies + length)..(i + 1) * (copies + length)];
        batch.labels.extend((0..total).map(|t| if t + 1 < total { row[t + 1] } else { IGNORED }));
        batch.sequences.push((first, total as u32));
        batch.samples.push(i as u32);
        batch.visual_sequences.push(i as u32);
        batch.embedding_rows.push(i as u32);
        rows.extend((0..total).map(|t| i * (copies + length) + t));
    }
    batch.targets = batch.labels.iter().filter(|l| **l >= 0).count() as u32;
    let embeddings = Tensor::from_f32(device, &case.floats("embed"), case.shape("embed")[1]).unwrap();
    (batch, embeddings, rows)
}

/// `‖a - b‖ / ‖b‖`.
fn relative(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |x: f64| x * x;
    let difference: f64 = a.iter().zip(b).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    (difference / b.iter().map(|b| square(f64::from(*b))).sum::<f64>()).sqrt()
}

fn each(mut f: impl FnMut(&Device, &str, &Golden, &str)) {
    for device in devices() {
        for kind in ["llama", "qwen2"] {
            for name in ["a", "b", "c"] {
                let what = format!("{} {kind} {name}", device.name());
                f(&device, kind, &Golden::open(&format!("{kind}.case_{name}.safetensors")), &what);
            }
        }
    }
}

fn check_logits(device: &Device, model: &Model, golden: &Golden, what: &str) {
    let (batch, embeddings, rows) = case(device, golden);
    let got = model.logits_blocking(device, &batch, &embeddings).unwrap();
    let want = golden.floats("logits");
    let width = *golden.shape("logits").last().unwrap();
    assert_eq!(got.len(), width * rows.len());
    for (got, row) in got.chunks_exact(width).zip(rows) {
        for (g, w) in got.iter().zip(&want[row * width..]) {
            assert!((g - w).abs() < 1e-4, "{what}: {g} for {w}");
        }
    }
}

fn check_loss(device: &Device, losses: &Losses, golden: &Golden, what: &str) {
    let nll = losses.read_blocking(device).unwrap();
    let mean = nll.iter().map(|l| f64::from(*l)).sum::<f64>() / nll.len() as f64;
    let want = f64::from(golden.floats("loss")[0]);
    assert!((mean - want).abs() < 1e-5, "{what}: loss {mean} for {want}");
}

#[test]
fn logits() {
    each(|device, kind, golden, what| check_logits(device, &model(device, kind), golden, what));
}

fn check_gradients(trainer: &Trainer, device: &Device, golden: &Golden, count: f32, what: &str) {
    let check = |parameters: &Parameters, gradients: &realign::nn::Gradients| {
        for (slot, gradient) in gradients.iter() {
            let name = &parameters.get(slot).name;
            let got: Vec<f32> = gradient.to_f32_blocking(device).unwrap().iter().map(|g| g / count).collect();
            let error = relative(&got, &golden.floats(&format!("grad.{name}")));
            assert!(error < 1e-4, "{what}: {name} is off by {error:e}");
        }
    };
    let (adapter, decoder) = trainer.gradients();
    assert_eq!(adapter.iter().count(), 4);
    check(&trainer.model.adapter.parameters, adapter);
    check(&trainer.model.decoder.parameters, decoder);
}

#[test]
fn losses_and_gradients() {
    for checkpointing in [false, true] {
        each(|device, kind, golden, what| {
            let (batch, embeddings, _) = case(device, golden);
            let options = (AdamWOptions::default(), checkpointing);
            let mut trainer = Trainer::new(device, model(device, kind), Trains::All, options).unwrap();
            trainer.clear().unwrap();
            let losses = trainer.accumulate(&batch, &embeddings).unwrap();
            check_loss(device, &losses, golden, what);
            assert_eq!(trainer.gradients().1.iter().count(), trainer.model.decoder.parameters.len());
            check_gradients(&trainer, device, golden, losses.count as f32, what);
        });
    }
}

/// Stage 1 trains the adapter as stage 2 does, and no byte of the decoder.
#[test]
fn a_frozen_decoder_keeps_every_byte() {
    each(|device, kind, golden, what| {
        let (batch, embeddings, _) = case(device, golden);
        let options = (AdamWOptions::default(), false);
        let mut trainer = Trainer::new(device, model(device, kind), Trains::Adapter, options).unwrap();
        let read =
            |p: &Parameters| -> Vec<Vec<f32>> { p.iter().map(|p| p.value.to_f32_blocking(device).unwrap()).collect() };
        let (adapter, decoder) = (read(&trainer.model.adapter.parameters), read(&trainer.model.decoder.parameters));
        trainer.clear().unwrap();
        let losses = trainer.accumulate(&batch, &embeddings).unwrap();
        check_gradients(&trainer, device, golden, losses.count as f32, what);
        trainer.step(1e-3).unwrap();
        assert!(trainer.gradient_norm_blocking().unwrap() > 0.0);
        assert!(read(&trainer.model.decoder.parameters) == decoder, "{what}: the decoder changed");
        let after = read(&trainer.model.adapter.parameters);
        assert!(after.iter().zip(&adapter).all(|(a, b)| a != b), "{what}: a part of the adapter did not train");
    });
}

/// Matrices of 16 bits: what f32 storage of the same rounded numbers gives, at half the memory; a frozen decoder has no gradient and no
/// moments, and one of 16 bits does not train.
#[test]
fn a_frozen_decoder_in_16_bits() {
    let formats: [(ElementType, Round); 2] = [
        (ElementType::BF16, |x| half::bf16::from_f32(x).to_f32()),
        (ElementType::F16, |x| half::f16::from_f32(x).to_f32()),
    ];
    let matrices = |m: &Model| -> u64 {
        let list = m.decoder.parameters.iter().filter(|p| p.shape.len() == 2);
        list.map(|p| p.value.bytes()).sum()
    };
    for (storage, round) in formats {
        each(|device, kind, golden, what| {
            let (batch, embeddings, _) = case(device, golden);
            let both = [ElementType::F32, storage].map(|storage| stored_model(device, kind, storage, round));
            assert_eq!(2 * matrices(&both[1]), matrices(&both[0]), "{what}");
            let logits = both.each_ref().map(|m| m.logits_blocking(device, &batch, &embeddings).unwrap());
            assert!(relative(&logits[1], &logits[0]) < 1e-6, "{what} {storage}");
            let exact = model(device, kind).logits_blocking(device, &batch, &embeddings).unwrap();
            assert!(relative(&logits[1], &exact) > 1e-5, "{what} {storage}: nothing was rounded");

            let gradients = both.map(|model| {
                let options = (AdamWOptions::default(), false);
                let mut trainer = Trainer::new(device, model, Trains::Adapter, options).unwrap();
                trainer.clear().unwrap();
                trainer.accumulate(&batch, &embeddings).unwrap();
                trainer.step(1e-3).unwrap();
                let (adapter, decoder) = trainer.gradients();
                assert!(!decoder.any());
                assert_eq!(trainer.optimizer.moments().count(), adapter.iter().count());
                adapter.iter().map(|(_, g)| g.to_f32_blocking(device).unwrap()).collect::<Vec<_>>()
            });
            for (short, wide) in gradients[1].iter().zip(&gradients[0]) {
                assert!(relative(short, wide) < 1e-5, "{what} {storage}");
            }
            let short = stored_model(device, kind, storage, round);
            // In bf16 all of it may train, rounded stochastically.
            let all = Trainer::new(device, short, Trains::All, (AdamWOptions::default(), false));
            match all {
                Ok(_) => assert_eq!(storage, ElementType::BF16),
                Err(error) => assert!(
                    storage == ElementType::F16 && error.to_string().contains("load the model in f32"),
                    "{storage}: {error}"
                ),
            }
        });
    }
}

/// Tokens made one by one with the cache are those that the whole sequence's logits ask for.
#[test]
fn generation_with_a_cache() {
    for device in devices() {
        for kind in ["llama", "qwen2"] {
            let golden = Golden::open(&format!("{kind}.case_a.safetensors"));
            let (batch, embeddings, _) = case(&device, &golden);
            let model = model(&device, kind);
            let visual = model.visual_tokens(&device, &embeddings).unwrap();
            let prompt = &batch.ids[..5];
            let mut generator =
                Generator::new(&device, &model.decoder, prompt, Some(&visual), (Sampling::default(), 6)).unwrap();
            let mut ids = prompt.to_vec();
            while let Some(token) = generator.next_blocking().unwrap() {
                let n = ids.len();
                let whole = Batch {
                    ids: ids.clone(),
                    positions: (0..n as u32).collect(),
                    sequences: vec![(0, n as u32)],
                    embedding_rows: vec![0],
                    ..Batch::default()
                };
                let logits = model.logits_blocking(&device, &whole, &embeddings).unwrap();
                let last = &logits[logits.len() - 256..];
                let best = (0..256).max_by(|a, b| last[*a].total_cmp(&last[*b])).unwrap();
                assert_eq!(token as usize, best, "{} {kind}", device.name());
                ids.push(token);
            }
            assert_eq!(ids.len(), prompt.len() + 6);
        }
    }
}
