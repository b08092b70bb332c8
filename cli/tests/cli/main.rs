//! The command line from outside: exit codes, messages, files, JSON.

mod anisoalign;
mod bad_data;
mod bad_files;
mod bad_stats;
mod behaviour;
mod bench;
mod damaged;
mod embed;
mod environment;
mod evaluations;
mod experiment;
mod field;
mod frames;
mod geometry;
mod json;
mod outputs;
mod own_pictures;
mod pictures;
mod plan;
mod rank;
mod shards;
mod train;
mod urls;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// The devices that commands are tried on: the host engine and the adapter under test, which must be there.
pub fn devices() -> Vec<String> {
    let name = std::env::var("REALIGN_TEST_ADAPTER")
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "llvmpipe".to_owned());
    // Command lines here are split at blanks: the name's first word is enough to find the adapter.
    let name = name.split_whitespace().next().unwrap_or("llvmpipe").to_owned();
    let found = adapters();
    let matches = |a: &Value| a["name"].as_str().unwrap_or("").to_lowercase().contains(&name.to_lowercase());
    assert!(found.iter().any(matches), "no adapter matches {name}: {found:?}");
    vec!["host".to_owned(), name]
}

/// What `realign adapters --json` lists.
pub fn adapters() -> Vec<Value> {
    let folder = Folder::fresh();
    let value = folder.json(&["adapters", "--json"]);
    value["adapters"].as_array().unwrap().clone()
}

/// A temporary folder in which commands run.
pub struct Folder(TempDir);

impl Folder {
    pub fn fresh() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.at(name)).unwrap()
    }

    pub fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        std::fs::write(self.at(name), bytes).unwrap();
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_realign"));
        command.current_dir(self.path()).args(args).env_remove("RUST_LOG").env_remove("WGPU_BACKEND");
        // As on a machine without a desktop: Mesa's layer must not be heard to complain.
        command.env_remove("WGPU_ADAPTER_NAME").env_remove("XDG_RUNTIME_DIR").env_remove("WAYLAND_DISPLAY");
        command
    }

    /// Runs a command line; arguments are separated by blanks. It must not panic.
    pub fn run(&self, line: &str) -> Output {
        self.run_args(&line.split_whitespace().collect::<Vec<_>>())
    }

    pub fn run_args(&self, args: &[&str]) -> Output {
        let output = self.command(args).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
        assert!(output.status.code().is_some(), "{args:?}: {}", output.status);
        output
    }

    /// Runs what must succeed; returns stderr.
    pub fn good(&self, line: &str) -> String {
        let output = self.run(line);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{line}: {stderr}");
        stderr
    }

    /// Runs what must fail with `code`, name all `words` on stderr, print nothing, and leave every file as it was.
    pub fn bad(&self, code: i32, line: &str, words: &[&str]) {
        let before = self.tree();
        let output = self.run(line);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{line}: {stderr}");
        for word in words {
            assert!(stderr.contains(word), "{line}: {word:?} is not in: {stderr}");
        }
        assert!(output.stdout.is_empty(), "{line}: {}", String::from_utf8_lossy(&output.stdout));
        assert!(self.tree() == before, "{line}: files changed: {:?}", self.tree().keys());
    }

    /// Runs what must succeed with nothing but JSON on stdout and nothing on stderr.
    pub fn json(&self, args: &[&str]) -> Value {
        let output = self.run_args(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {stderr}");
        assert_eq!(stderr, "", "{args:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// As [`Self::json`], from a line.
    pub fn json_line(&self, line: &str) -> Value {
        self.json(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs what must succeed with nothing but JSON on stdout; stderr may tell how it went.
    pub fn json_quiet(&self, line: &str) -> Value {
        let output = self.run(line);
        assert_eq!(output.status.code(), Some(0), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Every file and folder below, with its contents.
    pub fn tree(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut all = BTreeMap::new();
        let mut folders = vec![self.path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path.clone());
                    all.insert(path, Vec::new());
                } else {
                    all.insert(path.clone(), std::fs::read(&path).unwrap());
                }
            }
        }
        all
    }
}

/// The element types of npy files.
pub const TYPES: [&str; 3] = ["<f2", "<f4", "<f8"];

/// A version 1.0 npy file.
pub fn npy_file(descr: &str, fortran: &str, shape: &str, body: &[u8]) -> Vec<u8> {
    let dictionary = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((dictionary.len() as u16).to_le_bytes());
    file.extend(dictionary.as_bytes());
    file.extend(body);
    file
}

/// Numbers as the bytes of an npy type.
pub fn encode(descr: &str, rows: &[f64]) -> Vec<u8> {
    match descr {
        "<f2" => rows.iter().flat_map(|x| half::f16::from_f64(*x).to_le_bytes()).collect(),
        "<f4" => rows.iter().flat_map(|x| (*x as f32).to_le_bytes()).collect(),
        _ => rows.iter().flat_map(|x| x.to_le_bytes()).collect(),
    }
}

/// An npy file of `[n, width]`.
pub fn npy(descr: &str, rows: &[f64], width: usize) -> Vec<u8> {
    npy_file(descr, "False", &format!("({}, {width})", rows.len() / width), &encode(descr, rows))
}

/// A safetensors file of 2-D f32 tensors.
pub fn safetensors(tensors: &[(&str, &[f64], usize)]) -> Vec<u8> {
    let (mut table, mut body) = (serde_json::Map::new(), Vec::new());
    for (name, rows, width) in tensors {
        let start = body.len();
        body.extend(encode("<f4", rows));
        let shape = [rows.len() / width, *width];
        let entry = serde_json::json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, body.len()] });
        table.insert((*name).to_owned(), entry);
    }
    let table = Value::Object(table).to_string();
    [&(table.len() as u64).to_le_bytes()[..], table.as_bytes(), &body].concat()
}

/// Reproducible numbers around `centre`, `[n, width]`.
pub fn cloud(n: usize, width: usize, seed: u64, centre: f64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f64 / (1u64 << 24) as f64 - 0.5
    };
    (0..n * width).map(|i| next() + if i % width == 0 { centre } else { 0.1 }).collect()
}

/// The f32 rows of an npy file that this program wrote.
pub fn floats(npy: &[u8]) -> Vec<f32> {
    let header = 10 + usize::from(u16::from_le_bytes([npy[8], npy[9]]));
    npy[header..].chunks_exact(4).map(|e| f32::from_le_bytes([e[0], e[1], e[2], e[3]])).collect()
}

/// A folder with text.npy and image.npy of width 12, 61 and 40 rows, and s.st, m.st fitted and counted from them.
pub fn fitted() -> Folder {
    let folder = Folder::fresh();
    folder.put("text.npy", &npy("<f4", &cloud(61, 12, 1, 1.0), 12));
    folder.put("image.npy", &npy("<f4", &cloud(40, 12, 2, -1.0), 12));
    folder.good("fit --source text.npy --target image.npy --out s.st --device host");
    folder.good("stats text.npy --out m.st --device host");
    folder
}
