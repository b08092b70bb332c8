//! What a tokenizer is made of, from the files of a model folder, with what Transformers 5 changes in it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::tokenizer_classes::of_class;
use crate::io::gguf;
use crate::io::model::{ModelFiles, read_object_if_there};
use crate::{Error, Result};

/// A tokenizer's parts.
#[derive(Debug)]
pub(crate) struct TokenizerFiles {
    /// The file that errors name.
    pub path: PathBuf,
    /// `tokenizer.json`.
    pub json: Vec<u8>,
    /// `tokenizer_config.json`, with what `special_tokens_map.json` adds.
    pub settings: Map<String, Value>,
    /// The tokens that end a generation, as the model's configurations have them.
    pub ends: BTreeSet<u32>,
}

impl TokenizerFiles {
    /// Reads the files of a folder, or what a GGUF file has in their place.
    pub fn read(folder: &Path) -> Result<TokenizerFiles> {
        if let ModelFiles::Gguf(file) = ModelFiles::open(folder)? {
            let parts = gguf::tokenizer(&file)?;
            let (path, json) = (folder.to_path_buf(), parts.json.to_string().into_bytes());
            // The settings name its one end; others are the model's configuration's.
            return Ok(TokenizerFiles { path, json, settings: parts.settings, ends: BTreeSet::new() });
        }
        let path = folder.join("tokenizer.json");
        let json = std::fs::read(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                let remedy =
                    "save the model's fast tokenizer there: AutoTokenizer.from_pretrained(…).save_pretrained(…)";
                Error::format(&path, format!("there is no such file; {remedy}"))
            }
            _ => Error::io("read", &path)(e),
        })?;
        let there = |name: &str| read_object_if_there(folder.join(name));
        let mut settings = there("tokenizer_config.json")?.unwrap_or_default();
        if !settings.contains_key("added_tokens_decoder") {
            // As folders of before 2023 are: there the map has the last word.
            settings.extend(there("special_tokens_map.json")?.unwrap_or_default());
        }
        let config = there("config.json")?.unwrap_or_default();
        let generation = there("generation_config.json")?.unwrap_or_default();
        let ends = ends(&config).chain(ends(&generation)).collect();
        let json = of_class(&path, json, &mut settings, &config)?;
        Ok(TokenizerFiles { path, json, settings, ends })
    }
}

/// A token that settings name, as a text or as an object with `content`.
pub(super) fn named(settings: &Map<String, Value>, name: &str) -> Option<String> {
    let value = settings.get(name)?;
    value.as_str().or_else(|| value.get("content").and_then(Value::as_str)).map(str::to_string)
}

fn ends(config: &Map<String, Value>) -> impl Iterator<Item = u32> {
    let value = config.get("eos_token_id");
    let list = value.and_then(Value::as_array).cloned().or_else(|| value.map(|one| vec![one.clone()]));
    list.into_iter().flatten().filter_map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok()))
}
