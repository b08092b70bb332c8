//! Architectures beyond those that the decoder loads, by their metadata; names; rotary factors; blocks that are written.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::architecture::ARCHITECTURES;
use super::kind::Kind;
use super::names::{Change, Place, place, stored_name, stored_row};
use super::vocabulary::Source;
use super::write::{Entries, GgufWriter, Planned};
use super::{GgufFile, config, rope};
use crate::io::TensorFile;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gguf").join(name)
}

/// A file of an architecture with 2 layers of 4 heads, 2 for keys, and tensors of ones (or what `numbers` gives).
fn file(
    folder: &Path,
    architecture: &str,
    more: impl Fn(&mut Entries),
    tensors: &[(&str, &[usize], &[f32])],
) -> GgufFile {
    let mut entries = Entries::default();
    entries.text("general.architecture", architecture);
    let key = |name: &str| format!("{architecture}.{name}");
    let sizes = [
        ("block_count", 2),
        ("context_length", 4096),
        ("embedding_length", 64),
        ("feed_forward_length", 96),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
        ("vocab_size", 100),
    ];
    sizes.iter().for_each(|(name, size)| entries.u32(&key(name), *size));
    entries.f32(&key("attention.layer_norm_rms_epsilon"), 1e-6);
    entries.u32("tokenizer.ggml.eos_token_id", 7);
    more(&mut entries);
    let path = folder.join(format!("{architecture}.gguf"));
    let plan = tensors.iter().map(|(name, shape, _)| Planned {
        name: (*name).to_owned(),
        shape: shape.to_vec(),
        kind: Kind::F32,
    });
    let out = std::fs::File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    let writer = GgufWriter::start(out, &path, &entries, plan.collect()).unwrap();
    tensors.iter().for_each(|(name, _, numbers)| writer.write(name, 0, numbers).unwrap());
    writer.finish().unwrap();
    GgufFile::open(&path).unwrap()
}

#[track_caller]
fn holds(config: &Map<String, Value>, wanted: Value) {
    for (key, value) in wanted.as_object().unwrap() {
        assert_eq!(config.get(key), Some(value), "{key}");
    }
}

#[test]
fn every_architecture_has_its_own_configuration() {
    let spot = tempfile::tempdir().unwrap();
    let read =
        |architecture: &str, more: &dyn Fn(&mut Entries)| config(&file(spot.path(), architecture, more, &[])).unwrap();
    let plain = |_: &mut Entries| {};
    let llama = read("llama", &plain);
    holds(
        &llama,
        json!({
            "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "num_hidden_layers": 2, "head_dim": 16,
            "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96, "vocab_size": 100, "rope_theta": 10000.0,
            "max_position_embeddings": 4096, "tie_word_embeddings": true, "attention_bias": false, "eos_token_id": 7,
            "rms_norm_eps": f64::from(1e-6f32),
        }),
    );
    assert!(!llama.contains_key("rope_scaling") && !llama.contains_key("bos_token_id"));
    let windowed = read("llama", &|e| e.u32("llama.attention.sliding_window", 1024));
    holds(&windowed, json!({"model_type": "mistral", "sliding_window": 1024}));
    let qwen3 = read("qwen3", &|e| {
        e.u32("qwen3.attention.key_length", 24);
        e.u32("qwen3.attention.value_length", 24);
        e.u32("tokenizer.ggml.eot_token_id", 9);
    });
    holds(&qwen3, json!({"model_type": "qwen3", "head_dim": 24, "eos_token_id": [7, 9]}));
    let gemma = read("gemma3", &|e| {
        e.u32("gemma3.attention.key_length", 32);
        e.u32("gemma3.attention.sliding_window", 512);
        e.f32("gemma3.rope.freq_base", 1e6);
        e.text("gemma3.rope.scaling.type", "linear");
        e.f32("gemma3.rope.scaling.factor", 8.0);
    });
    holds(
        &gemma,
        json!({
            "model_type": "gemma3_text", "head_dim": 32, "sliding_window": 512, "sliding_window_pattern": 6, "rope_theta": 1e6,
            "rope_local_base_freq": 10000.0, "query_pre_attn_scalar": 32, "rope_scaling": {"rope_type": "linear", "factor": 8.0},
            "hidden_activation": "gelu_pytorch_tanh",
        }),
    );
    let phi = read("phi3", &|e| {
        e.u32("phi3.rope.dimension_count", 12);
        e.u32("phi3.attention.sliding_window", 2047);
    });
    holds(&phi, json!({"model_type": "phi3", "head_dim": 16, "partial_rotary_factor": 0.75, "sliding_window": 2047}));
    holds(
        &read("smollm3", &plain),
        json!({"model_type": "smollm3", "no_rope_layers": [1, 1], "no_rope_layer_interval": 4}),
    );
    holds(&read("olmo2", &plain), json!({"model_type": "olmo2", "architectures": ["Olmo2ForCausalLM"]}));
    let granite = read("granite", &|e| {
        e.f32("granite.attention.scale", 0.5);
        e.f32("granite.embedding_scale", 12.0);
        e.f32("granite.residual_scale", 0.25);
        e.f32("granite.logit_scale", 8.0);
    });
    holds(
        &granite,
        json!({
            "attention_multiplier": 0.5, "embedding_multiplier": 12.0, "residual_multiplier": 0.25, "logits_scaling": 8.0,
        }),
    );
    let unknown = file(spot.path(), "qwen3", |e| e.f32("qwen3.logit_scale", 2.0), &[]);
    assert!(config(&unknown).unwrap_err().to_string().contains("qwen3.logit_scale"));
}

#[test]
fn rotary_scalings_are_found_in_keys_and_tensors() {
    let spot = tempfile::tempdir().unwrap();
    let read = |more: &dyn Fn(&mut Entries), tensors: &[(&str, &[usize], &[f32])]| {
        config(&file(spot.path(), "llama", more, tensors)).unwrap().get("rope_scaling").cloned()
    };
    let theta = |e: &mut Entries| e.f32("llama.rope.freq_base", 500_000.0);
    for (factor, original) in [(8.0, 8192.0), (32.0, 8192.0), (4.0, 2048.0)] {
        let factors: Vec<f32> =
            (0..8).map(|i| rope::llama3(i, (16, 500_000.0), factor, (1.0, 4.0, original)) as f32).collect();
        assert!(factors[0] == 1.0 && factors[7] == factor as f32);
        let found = read(&theta, &[("rope_freqs.weight", &[8], &factors)]).unwrap();
        let want = json!({
            "rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": original as u64,
        });
        assert_eq!(found, want);
    }
    assert_eq!(read(&theta, &[("rope_freqs.weight", &[8], &[1.0; 8])]), None);
    let odd = [1.0, 1.0, 1.5, 2.0, 2.0, 2.0, 2.0, 3.0];
    let found = read(&theta, &[("rope_freqs.weight", &[8], &odd)]).unwrap();
    assert_eq!((&found["rope_type"], &found["long_factor"][2]), (&json!("longrope"), &json!(1.5)));
    let (long, short) = ([2.0; 8], [1.0; 8]);
    let both: [(&str, &[usize], &[f32]); 2] =
        [("rope_factors_long.weight", &[8], &long), ("rope_factors_short.weight", &[8], &short)];
    let found = read(&|e| e.u32("llama.rope.scaling.original_context_length", 2048), &both).unwrap();
    assert_eq!((&found["rope_type"], &found["original_max_position_embeddings"]), (&json!("longrope"), &json!(2048)));
    let yarn = read(
        &|e| {
            e.text("llama.rope.scaling.type", "yarn");
            e.f32("llama.rope.scaling.factor", 4.0);
            e.u32("llama.rope.scaling.original_context_length", 1024);
        },
        &[],
    );
    assert_eq!(yarn, Some(json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024})));
    assert_eq!(read(&|e| e.text("llama.rope.scaling.type", "none"), &[]), None);
    assert_eq!(
        read(&|e| e.f32("llama.rope.scale_linear", 2.0), &[]),
        Some(json!({"rope_type": "linear", "factor": 2.0}))
    );
    let zero = file(spot.path(), "llama", theta, &[("rope_freqs.weight", &[8], &[0.0; 8])]);
    assert!(config(&zero).unwrap_err().to_string().contains("rope_freqs.weight"));
}

/// The names are those of llama.cpp's own package, there and back.
#[test]
fn names_are_those_of_llama_cpp() {
    let text = std::fs::read_to_string(golden("names.json")).unwrap();
    let all: Map<String, Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(all.len(), ARCHITECTURES.len());
    for architecture in &ARCHITECTURES {
        for (theirs, stored) in all[architecture.name].as_object().unwrap() {
            let stored = stored.as_str().unwrap();
            let Place::Weight(back, change) = place(architecture, stored, (4, 2)) else {
                panic!("{stored} has no place")
            };
            assert_eq!(&back, theirs, "{}", architecture.name);
            assert_eq!(stored_name(architecture, theirs, (4, 2)), Some((stored.to_owned(), change)), "{theirs}");
            let paired = ["llama", "smollm3", "granite"].contains(&architecture.name);
            let wanted = match theirs.rsplit('.').nth(1).unwrap() {
                "q_proj" if paired => Change::Pairs { heads: 4 },
                "k_proj" if paired => Change::Pairs { heads: 2 },
                stem if stem.contains("norm") && architecture.name == "gemma3" => Change::PlusOne,
                _ => Change::None,
            };
            assert_eq!(change, wanted, "{} {theirs}", architecture.name);
        }
    }
}

/// Rows in pairs are a permutation within each head: 0, half, 1, half + 1 and so on are stored one after the other.
#[test]
fn rows_of_heads_are_stored_in_pairs() {
    let stored: Vec<usize> = (0..16).map(|r| stored_row(r, 16, 2)).collect();
    assert_eq!(stored, [0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15]);
}

/// Blocks of Q8_0 are those that ggml's package writes, to the bit.
#[test]
fn eight_bits_are_written_as_by_ggml() {
    let expected = TensorFile::open(&golden("quantized.safetensors")).unwrap();
    let numbers = expected.read_f32("numbers", &[5, 64]).unwrap();
    let bytes = std::fs::read(expected.path()).unwrap();
    let tensors = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let spot = tempfile::tempdir().unwrap();
    let path = spot.path().join("q.gguf");
    let out = std::fs::File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    let plan = vec![Planned { name: "x".to_owned(), shape: vec![5, 64], kind: Kind::Q8_0 }];
    let writer = GgufWriter::start(out, &path, &Entries::default(), plan).unwrap();
    // In parts that are whole blocks.
    writer.write("x", 96, &numbers[96..]).unwrap();
    writer.write("x", 0, &numbers[..96]).unwrap();
    assert!(writer.write("x", 5, &numbers[..32]).is_err() && writer.write("x", 0, &numbers[..31]).is_err());
    assert!(writer.write("x", 0, &[1e8; 32]).unwrap_err().to_string().contains("Q8_0"));
    writer.finish().unwrap();
    let file = GgufFile::open(&path).unwrap();
    let stored = &file.tensors()["x"];
    let mut raw = vec![0; stored.bytes as usize];
    file.read_raw(&mut raw, stored.offset, "x").unwrap();
    assert_eq!(raw, tensors.tensor("q8_0").unwrap().data());
}

/// A tokenizer that was read is written so that it is read the same: cuts, merges (of SentencePiece by way of scores), marks and template.
#[test]
fn tokenizers_come_back() {
    let spot = tempfile::tempdir().unwrap();
    let kinds = ["gpt-2", "qwen2", "llama-bpe", "smollm", "tekken", "gpt-4o", "spm", "spm_phi3", "spm_gemma"];
    for kind in kinds {
        let file = GgufFile::open(&golden(&format!("tokenizer_{kind}.gguf"))).unwrap();
        let before = super::tokenizer(&file).unwrap();
        let ids: Vec<(&'static str, u32)> = ["bos", "eos", "unknown", "padding"]
            .into_iter()
            .filter_map(|key| Some((key, file.integer(&format!("tokenizer.ggml.{key}_token_id")).unwrap()? as u32)))
            .collect();
        let mut entries = Entries::default();
        let architecture = file.text("general.architecture").unwrap().unwrap();
        entries.text("general.architecture", architecture);
        let json = before.json.as_object().unwrap();
        let count = file.texts("tokenizer.ggml.tokens").unwrap().unwrap().len();
        let source = |json, rows| Source {
            path: file.path(),
            json,
            rows,
            named: &ids,
            adds_bos: before.settings["add_bos_token"].as_bool().unwrap(),
            template: before.settings.get("chat_template").and_then(Value::as_str),
        };
        source(json, count).write(&mut entries).unwrap();
        let path = spot.path().join(format!("{kind}.gguf"));
        let out = std::fs::File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        GgufWriter::start(out, &path, &entries, Vec::new()).unwrap().finish().unwrap();
        let after = super::tokenizer(&GgufFile::open(&path).unwrap()).unwrap();
        assert_eq!(after.settings, before.settings, "{kind}");
        assert!(after.json == before.json, "{kind}: {} is not {}", after.json, before.json);
        // A table with fewer rows than tokens, and a cut without a name.
        assert!(
            source(json, count - 1)
                .write(&mut Entries::default())
                .unwrap_err()
                .to_string()
                .contains("rows of the embedding")
        );
        let mut odd = json.clone();
        odd.insert("pre_tokenizer".to_owned(), json!({"type": "Whitespace"}));
        odd.remove("normalizer");
        assert!(source(&odd, count).write(&mut Entries::default()).unwrap_err().to_string().contains("no name for"));
    }
}
