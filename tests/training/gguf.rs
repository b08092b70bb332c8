//! Models in GGUF files wherever a folder's are: tokens, chats, logits and training as from Transformers' own loader of the same files.

use std::path::{Path, PathBuf};

use realign::ElementType;
use realign::device::{Device, Tensor};
use realign::io::{
    AdapterKind, ChatTemplate, DecoderConfig, GgufType, Role, TensorFile, Tokenizer, Turn, Weights, write_gguf,
};
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
    model.logits_blocking(device, &batch, &Tensor::from_f32(device, &[], 4).unwrap()).unwrap()
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
        assert!(numbers(&folder) == numbers(&file(name)), "{name}");
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
            let (from_file, from_folder) = (run(&file(name)), run(&folder));
            assert!(from_file == from_folder, "{name} {stage:?} {trained:?}");
        }
    }
}

/// Numbers of all tensors, by name.
fn numbers(model: &Path) -> Vec<(String, Vec<f32>)> {
    let weights = Weights::open(model).unwrap();
    let tensors = DecoderConfig::read(model).unwrap().tensors().into_iter();
    tensors.map(|(name, shape)| (name.clone(), weights.read_f32(&name, &shape).unwrap())).collect()
}

/// A folder becomes a file that says the same: configuration, tokens, template, and numbers as exact as their type is.
#[test]
fn folders_become_files_and_come_back() {
    let host = Device::host();
    let spot = tempfile::tempdir().unwrap();
    for name in ["llama", "qwen2"] {
        let folder = spot.path().join(name);
        let decoder = Decoder::open(&host, &file(name), None).unwrap();
        decoder.save_blocking(&host, (&folder, false), &file(name), ElementType::F32).unwrap();
        let tiny = super::model_folder(name);
        for source in [&folder, tiny.path()] {
            let exact = numbers(source);
            for stored in [GgufType::F32, GgufType::F16, GgufType::BF16, GgufType::Q8_0] {
                let out = spot.path().join("out.gguf");
                let mut heard = 0;
                write_gguf(source, (&out, true), stored, |count| heard += count).unwrap();
                let (mut before, mut after) =
                    (DecoderConfig::read(source).unwrap(), DecoderConfig::read(&out).unwrap());
                assert_eq!(heard, before.parameters());
                // Its constants are f32 in the file, and it always has a longest context.
                assert!((after.norm_eps / before.norm_eps - 1.0).abs() < 1e-7);
                assert!((after.rope_theta / before.rope_theta - 1.0).abs() < 1e-7);
                (after.norm_eps, after.rope_theta) = (before.norm_eps, before.rope_theta);
                before.max_positions.get_or_insert(2048);
                let ends = |config: &DecoderConfig| config.eos.clone();
                assert!(ends(&before).iter().all(|end| ends(&after).contains(end)), "{name}");
                (after.eos, after.bos) = (before.eos.clone(), before.bos);
                assert_eq!(after, before, "{name}");
                let back = numbers(&out);
                for ((tensor, got), (_, want)) in back.iter().zip(&exact) {
                    let is_vector = tensor.contains("norm") || tensor.contains("bias");
                    let close = |(block, got): (&[f32], &[f32])| {
                        let largest = block.iter().fold(0f32, |most, x| most.max(x.abs()));
                        // Half a step of the type: of 11 or 8 bits; or of 127 to the largest of a block, whose step itself is f16.
                        let step = match stored {
                            GgufType::F32 => 0.0,
                            _ if is_vector => 0.0,
                            GgufType::F16 => largest / 2048.0,
                            GgufType::BF16 => largest / 256.0,
                            GgufType::Q8_0 => largest / 127.0 * (0.5 + 127.0 / 2048.0),
                        };
                        block.iter().zip(got).all(|(x, y)| (x - y).abs() <= step)
                    };
                    assert!(want.chunks(32).zip(got.chunks(32)).all(close), "{name} {stored:?} {tensor}");
                }
                assert_eq!(stored == GgufType::F32, back == exact, "{name} {stored:?}");
                let (old, new) = (Tokenizer::open(source).unwrap(), Tokenizer::open(&out).unwrap());
                for text in ["the image", " a  1234 dogs\r\n\t!", "naïve 東京 🎉", "<|im_start|>user\nhi<|im_end|>"]
                {
                    assert_eq!(new.encode(text).unwrap(), old.encode(text).unwrap(), "{name}: {text}");
                }
                assert_eq!(new.bos(), old.bos());
                let turn = Turn { role: Role::User, text: "what?".to_owned() };
                let render = |path: &Path, tokenizer: &Tokenizer| {
                    ChatTemplate::open(path, tokenizer).unwrap().render(std::slice::from_ref(&turn), true).unwrap()
                };
                assert_eq!(render(&out, &new), render(source, &old), "{name}");
            }
        }
    }
}

/// Llama 3's stretched frequencies become a tensor, and that the stretching again.
#[test]
fn what_gguf_says_in_another_way_comes_back() {
    let spot = super::model_folder("llama");
    let folder = spot.path();
    let path = folder.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config.as_object_mut().unwrap().remove("rope_parameters");
    (config["rope_theta"], config["rope_scaling"]) = (
        500_000.0.into(),
        serde_json::json!({
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
        }),
    );
    put(folder, "config.json", config.to_string());
    let out = folder.join("out.gguf");
    write_gguf(folder, (&out, false), GgufType::Q8_0, |_| {}).unwrap();
    let (before, after) = (DecoderConfig::read(folder).unwrap(), DecoderConfig::read(&out).unwrap());
    assert!(before.rope_scaling.is_some());
    assert_eq!(after.rope_scaling, before.rope_scaling);
    refused(write_gguf(folder, (&out, false), GgufType::F16, |_| {}), &["out.gguf", "exists"]);
    refused(
        write_gguf(&out, (&folder.join("b.gguf"), false), GgufType::F16, |_| {}),
        &["out.gguf", "GGUF file already"],
    );
    let path = folder.join("tokenizer.json");
    let mut json: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    json["normalizer"] = serde_json::json!({"type": "Lowercase"});
    put(folder, "tokenizer.json", json.to_string());
    refused(write_gguf(folder, (&folder.join("c.gguf"), false), GgufType::F16, |_| {}), &["tokenizer.json", "no name"]);
    assert!(!folder.join("c.gguf").exists());
}

/// Transformers' own loader of GGUF files reads what is written: every tensor, the logits and the tokens of the folder's model.
const EXPORTED: &str = r#"
import os, sys
try:
    import torch, gguf, accelerate
    from transformers import AutoModelForCausalLM, AutoTokenizer
except ImportError as e:
    print('not read by Transformers:', e)
    sys.exit()
folder, out = sys.argv[1:]
ids = torch.tensor([[5, 40, 120, 7, 300, 13, 13, 200]])
with torch.no_grad():
    want = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()(ids).logits
    for name, near in [('f32', 1e-5), ('f16', 2e-2), ('bf16', 2e-1), ('q8_0', 2e-1)]:
        model, info = AutoModelForCausalLM.from_pretrained(out, gguf_file=name + '.gguf', dtype=torch.float32, output_loading_info=True)
        assert not any(info[k] for k in ('missing_keys', 'unexpected_keys', 'mismatched_keys')), info
        off = (model.eval()(ids).logits - want).abs().max().item()
        assert off < near, (name, off)
        theirs, ours = AutoTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(out, gguf_file=name + '.gguf')
        for text in ['the image', ' a  12 dogs\r\n!', 'naïve 東京', '<|im_start|>user\nhi<|im_end|>']:
            assert theirs(text)['input_ids'] == ours(text)['input_ids'], text
        chat = [{'role': 'user', 'content': 'what?'}]
        render = lambda t: t.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        assert render(theirs) == render(ours)
print('read by Transformers')
"#;

#[test]
fn transformers_reads_what_is_written() {
    let Some(python) = super::python::python() else { return };
    let host = Device::host();
    for name in ["llama", "qwen2"] {
        let spot = tempfile::tempdir().unwrap();
        let (folder, out) = (spot.path().join("m"), spot.path().join("g"));
        let decoder = Decoder::open(&host, &file(name), None).unwrap();
        decoder.save_blocking(&host, (&folder, false), &file(name), ElementType::F32).unwrap();
        std::fs::create_dir(&out).unwrap();
        for stored in ["f32", "f16", "bf16", "q8_0"] {
            write_gguf(&folder, (&out.join(format!("{stored}.gguf")), false), stored.parse().unwrap(), |_| {}).unwrap();
        }
        super::python::run(&python, EXPORTED, &[&folder, &out]);
    }
}
