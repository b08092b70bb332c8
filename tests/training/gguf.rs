//! Models in GGUF files wherever a folder's are: tokens, chats, logits and training as from Transformers' own loader of the same files.

use std::path::{Path, PathBuf};

use realign::ElementType;
use realign::device::{Device, Tensor};
use realign::io::{AdapterKind, ChatTemplate, DecoderConfig, Role, TensorFile, Tokenizer, Turn, Weights};
use realign::nn::{Adapter, Decoder, adapter};
use realign::train::{Batch, IGNORED, Model, Run, Stage, Start, Trained};
use serde_json::Value;

use super::runs::{finish, setup};
use super::{golden, put, refused};

pub fn file(name: &str) -> PathBuf {
    golden(&format!("gguf/{name}.gguf"))
}

pub fn expected() -> serde_json::Map<String, Value> {
    let text = std::fs::read_to_string(golden("gguf/expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

pub fn turns(value: &Value) -> Vec<Turn> {
    let turn = |value: &Value| Turn {
        role: Role::parse(value["role"].as_str().unwrap()).unwrap(),
        text: value["content"].as_str().unwrap().to_owned(),
    };
    value.as_array().unwrap().iter().map(turn).collect()
}

/// A tokenizer must give a golden entry's ids, texts and conversations.
pub fn check_tokenizer(tokenizer: &Tokenizer, path: &Path, entry: &Value, name: &str) {
    let texts = entry["texts"].as_array().unwrap();
    for (i, text) in texts.iter().enumerate() {
        let want = ids(&entry["ids"][i]);
        let got = tokenizer.encode(text.as_str().unwrap()).unwrap();
        assert_eq!(got, want, "{name}: {text}");
        assert_eq!(tokenizer.decode(&got).unwrap(), entry["decoded"][i].as_str().unwrap(), "{name}: {text}");
    }
    assert_eq!(tokenizer.bos().map(u64::from), entry["begins"].as_u64(), "{name}");
    let Some(chats) = entry["chats"].as_array() else { return };
    let template = ChatTemplate::open(path, tokenizer).unwrap();
    for chat in chats {
        let text = template.render(&turns(&chat["messages"]), true).unwrap();
        assert_eq!(text, chat["text"].as_str().unwrap(), "{name}");
    }
}

#[test]
fn texts_and_chats_are_those_of_transformers() {
    let all = expected();
    assert_eq!(all.len(), 12);
    for (name, entry) in &all {
        check_tokenizer(&Tokenizer::open(&file(name)).unwrap(), &file(name), entry, name);
    }
}

#[test]
fn tokenizers_that_are_not_known_are_refused_by_name() {
    let spot = tempfile::tempdir().unwrap();
    let change = |name: &str, from: &[u8], to: &[u8]| {
        let mut bytes = std::fs::read(file(name)).unwrap();
        let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
        bytes[at..at + from.len()].copy_from_slice(to);
        Tokenizer::open(&put(spot.path(), "t.gguf", bytes))
    };
    refused(change("tokenizer_qwen2", b"qwen2", b"viki2"), &["t.gguf", "tokenizer.ggml.pre", "viki2", "llama-bpe"]);
    refused(change("tokenizer_spm", b"llama\x12", b"llamb\x12"), &["t.gguf", "tokenizer.ggml.model", "llamb"]);
    refused(change("tokenizer_qwen2", b"ggml.merges", b"ggml.nerges"), &["ggml.merges"]);
    refused(change("tokenizer_spm", b"ggml.scores", b"ggml.tcores"), &["ggml.scores"]);
    refused(change("tokenizer_qwen2", b"ggml.tokens", b"ggml.uokens"), &["without a tokenizer"]);
    refused(change("tokenizer_qwen2", "Ġ t".as_bytes(), b"\xc4\xa0_t"), &["merge", "not two texts"]);
    refused(Tokenizer::open(&file("types")), &["types.gguf", "without a tokenizer"]);
    let text = put(spot.path(), "notes.txt", "hello");
    refused(Tokenizer::open(&text), &["notes.txt", "neither a model's folder nor a GGUF file"]);
    refused(Decoder::open(&Device::host(), &text, None), &["notes.txt"]);
    refused(Tokenizer::open(&spot.path().join("none.gguf")), &["none.gguf", "open"]);
}

/// Logits of rows of ids, without an image.
pub fn logits(device: &Device, decoder: Decoder, rows: &[Vec<u32>]) -> Vec<f32> {
    let weights = adapter::fresh(AdapterKind::Linear, 4, decoder.config().hidden_size, 1);
    let model = Model { adapter: Adapter::new(device, &weights).unwrap(), decoder };
    let mut batch = Batch::default();
    for row in rows {
        batch.sequences.push((batch.ids.len() as u32, row.len() as u32));
        batch.samples.push(batch.samples.len() as u32);
        batch.ids.extend(row);
        batch.positions.extend(0..row.len() as u32);
        batch.labels.extend(row.iter().map(|_| IGNORED));
    }
    model.logits_blocking(device, &batch, &Tensor::from_f32(device, &[0.0; 4], 4).unwrap()).unwrap()
}

fn devices() -> [Device; 2] {
    [Device::host(), super::endurance::gpu()]
}

#[test]
fn logits_are_those_of_transformers() {
    let golden = TensorFile::open(&golden("gguf/models.safetensors")).unwrap();
    let bytes = std::fs::read(golden.path()).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for device in devices() {
        for name in ["llama", "qwen2"] {
            let flat: Vec<i32> = bytemuck::pod_collect_to_vec(tensors.tensor(&format!("{name}.ids")).unwrap().data());
            let rows: Vec<Vec<u32>> = flat.chunks(11).map(|row| row.iter().map(|id| *id as u32).collect()).collect();
            let key = format!("{name}.logits");
            let want = golden.read_f32(&key, &golden.tensors()[&key].shape).unwrap();
            let decoder = Decoder::open(&device, &file(name), None).unwrap();
            let got = logits(&device, decoder, &rows);
            assert_eq!(got.len(), want.len());
            let off = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            let largest = want.iter().copied().fold(0.0, f32::max);
            // Both are f32, whose sums of up to 64 numbers through two layers differ by so much.
            assert!(off < 2e-5 * largest && largest > 1.0, "{} {name}: {off}", device.name());
        }
    }
}

/// What a run from a GGUF file leaves is what one from the folder of the same model leaves.
#[test]
fn training_goes_as_from_the_folder() {
    let host = Device::host();
    for name in ["llama", "qwen2"] {
        let spot = tempfile::tempdir().unwrap();
        let decoder = Decoder::open(&host, &file(name), None).unwrap();
        let folder = spot.path().join("m");
        decoder.save_blocking(&host, (&folder, false), &file(name), ElementType::F32).unwrap();
        assert_eq!(DecoderConfig::read(&folder).unwrap(), DecoderConfig::read(&file(name)).unwrap());
        check_tokenizer(&Tokenizer::open(&folder).unwrap(), &folder, &expected()[name], name);
        for (stage, trained) in
            [(Stage::One, Trained::Adapter), (Stage::Two, Trained::Lora), (Stage::Two, Trained::All)]
        {
            let run = |model: &Path| {
                let (_spot, mut settings) = setup(stage);
                (settings.model, settings.train, settings.max_steps) = (model.to_path_buf(), trained, Some(3));
                settings.init_adapter = None;
                finish(Run::start(&host, settings.clone(), Start::New).unwrap());
                let adapter = std::fs::read(settings.out.join("adapter.safetensors")).unwrap();
                let model = Weights::open(&settings.out.join("model")).ok();
                let config = DecoderConfig::read(&folder).unwrap();
                let model = model.map(|weights| {
                    let tensors = config.tensors().into_iter();
                    tensors.map(|(name, shape)| weights.read_f32(&name, &shape).unwrap()).collect::<Vec<_>>()
                });
                assert_eq!(model.is_some(), trained != Trained::Adapter);
                (adapter, model)
            };
            assert!(run(&file(name)) == run(&folder), "{name} {stage:?} {trained:?}");
        }
    }
}
