//! What a GGUF file holds, for people who wonder.

use std::collections::BTreeMap;
use std::path::Path;

use super::header::GgufFile;
use crate::Result;

/// What the header of a GGUF file says of its model; what the file does not say is absent.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufSummary {
    /// llama.cpp's name for the kind of model, such as `llama`.
    pub architecture: Option<String>,
    /// The model's own name.
    pub name: Option<String>,
    /// Numbers in all tensors together.
    pub numbers: u64,
    /// How many tensors are of each type, such as `Q4_K`.
    pub types: BTreeMap<&'static str, usize>,
    /// The kind of tokenizer, and how byte-level ones cut words, such as `gpt2` and `qwen2`.
    pub tokenizer: Option<(String, Option<String>)>,
    /// Whether there is a chat template.
    pub chat_template: bool,
}

impl GgufSummary {
    /// Whether a path is a GGUF file: by its suffix, or by its first bytes.
    pub fn is_file(path: &Path) -> bool {
        super::is_gguf(path)
    }

    /// Reads a file's header.
    ///
    /// # Errors
    /// A file that is malformed, split, big-endian, or of a version or with a type of numbers that is not read.
    pub fn read(path: &Path) -> Result<GgufSummary> {
        let file = GgufFile::open(path)?;
        let text = |key: &str| Ok(file.text(key)?.map(str::to_owned));
        let mut types = BTreeMap::new();
        let mut numbers = 0u64;
        for stored in file.tensors().values() {
            *types.entry(stored.kind.name()).or_insert(0) += 1;
            numbers += stored.shape.iter().map(|side| *side as u64).product::<u64>();
        }
        let tokenizer: Option<String> = text("tokenizer.ggml.model")?;
        let pre: Option<String> = text("tokenizer.ggml.pre")?;
        let template: Option<String> = text("tokenizer.chat_template")?;
        Ok(GgufSummary {
            architecture: text("general.architecture")?,
            name: text("general.name")?,
            numbers,
            types,
            tokenizer: tokenizer.map(|kind| (kind, pre)),
            chat_template: template.is_some(),
        })
    }
}
