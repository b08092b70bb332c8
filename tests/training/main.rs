//! What training reads and writes, from outside: model folders, adapters, texts, settings, batches, checkpoints.

mod adapters;
mod ahead;
mod batches;
mod blocks;
mod budget;
mod checkpoints;
mod configs;
mod conversations;
mod dialogues;
mod eight_bits;
mod endurance;
mod evaluations;
mod events;
mod exports;
mod folders;
mod frames;
mod gguf;
mod inputs;
mod limits;
mod locks;
mod low_rank;
mod mixed_precision;
mod models;
mod nans;
mod order;
mod plan;
mod python;
mod ranks;
mod real_gguf;
mod real_model;
mod records;
mod rules;
mod runs;
mod saving;
mod settings;
mod switches;
mod texts;

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use realign::Result;

/// A file of the golden folder.
pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Puts a file into a folder.
pub fn put(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A folder with a tiny model (`llama` or `qwen2`): config, weights, tokenizer.
pub fn model_folder(kind: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let copy = |from: &str, to: &str| {
        std::fs::copy(golden(from), folder.path().join(to)).unwrap();
    };
    copy(&format!("models/{kind}.config.json"), "config.json");
    copy(&format!("models/{kind}.safetensors"), "model.safetensors");
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        copy(&format!("tokenizers/{kind}/{name}"), name);
    }
    folder
}

/// The refusal must say all of `words`.
#[track_caller]
pub fn refused<T: Debug>(result: Result<T>, words: &[&str]) {
    let error = result.expect_err("bad input was accepted").to_string();
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
}

/// A safetensors file of f32 tensors.
pub fn safetensors(tensors: &[(&str, &[usize], &[f32])]) -> Vec<u8> {
    let (mut table, mut body) = (serde_json::Map::new(), Vec::new());
    for (name, shape, numbers) in tensors {
        let start = body.len();
        body.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
        let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [start, body.len()]});
        table.insert(name.to_string(), entry);
    }
    let table = serde_json::Value::Object(table).to_string();
    [&(table.len() as u64).to_le_bytes()[..], table.as_bytes(), &body].concat()
}
