//! GGUF, the file of llama.cpp: one file that holds a model's metadata, its tokenizer and its tensors, often quantised.
//!
//! `header` reads and checks what comes before the numbers: every count and size is held against the file's length before anything is
//! allocated. The rest turns it into what a model folder of Hugging Face's libraries has: `config` makes `config.json`, `tokenizer` makes
//! `tokenizer.json` and `tokenizer_config.json`, and `tensors` reads the weights under their Hugging Face names, dequantised part by part.
//! `export` goes the other way.

mod architecture;
mod config;
mod dequantize;
#[cfg(feature = "train")]
mod export;
mod header;
mod k_quants;
mod kind;
mod names;
mod rope;
#[cfg(feature = "train")]
mod splits;
mod summary;
mod tensors;
#[cfg(all(test, feature = "train"))]
mod tests;
#[cfg(feature = "train")]
mod tokenizer;
mod value;
#[cfg(feature = "train")]
mod vocabulary;
#[cfg(feature = "train")]
mod write;

pub(in crate::io) use config::config;
#[cfg(feature = "train")]
pub use export::{GgufType, write_gguf};
pub(in crate::io) use header::GgufFile;
pub use summary::GgufSummary;
pub(in crate::io) use tensors::GgufWeights;
#[cfg(feature = "train")]
pub(in crate::io) use tokenizer::tokenizer;

use std::path::Path;

/// Whether a model's path is a GGUF file rather than a folder: by its suffix, or by its first bytes.
pub(in crate::io) fn is_gguf(path: &Path) -> bool {
    if path.is_dir() {
        return false;
    }
    if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf")) {
        return true;
    }
    let mut magic = [0; 4];
    let read = std::fs::File::open(path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut magic));
    read.is_ok() && &magic == b"GGUF"
}
