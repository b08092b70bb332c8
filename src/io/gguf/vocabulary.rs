//! A folder's tokenizer as the metadata of a GGUF file: what [`super::tokenizer`] reads, written.

use std::path::Path;

use serde_json::{Map, Value};

use super::splits;
use super::write::Entries;
use crate::{Error, Result};

const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// What of a folder's tokenizer is written.
pub(super) struct Source<'a> {
    /// `tokenizer.json`, for errors.
    pub path: &'a Path,
    /// Its object.
    pub json: &'a Map<String, Value>,
    /// Rows of the embedding table: tokens are added up to it.
    pub rows: usize,
    /// Ids of special tokens by their keys in the metadata, such as `bos` and `eos`.
    pub named: &'a [(&'static str, u32)],
    /// Whether a text begins with BOS.
    pub adds_bos: bool,
    /// The chat template.
    pub template: Option<&'a str>,
}

impl Source<'_> {
    fn error(&self, problem: impl Into<String>) -> Error {
        Error::format(self.path, problem.into())
    }

    fn model(&self) -> Result<&Map<String, Value>> {
        let model =
            self.json.get("model").and_then(Value::as_object).ok_or_else(|| self.error("has no object \"model\""))?;
        match model.get("type").and_then(Value::as_str) {
            Some("BPE") => Ok(model),
            other => Err(self
                .error(format!("is a tokenizer of the type {}; BPE can be written as GGUF", other.unwrap_or("none")))),
        }
    }

    /// Writes the tokenizer.
    ///
    /// # Errors
    /// A tokenizer of a kind that GGUF has no name for; ids beyond the embedding table.
    pub fn write(&self, entries: &mut Entries) -> Result<()> {
        let model = self.model()?;
        let merges = self.merges(model)?;
        let byte_level = self.json.get("decoder").is_some_and(|decoder| mentions(decoder, "ByteLevel"));
        let (mut tokens, mut kinds) = self.tokens(model, byte_level)?;
        if byte_level {
            self.check_normalizer()?;
            entries.text("tokenizer.ggml.model", "gpt2");
            entries.text("tokenizer.ggml.pre", self.split(model, &merges)?);
        } else {
            let prefix = self.prefix(model)?;
            entries.text("tokenizer.ggml.model", "llama");
            entries.text("tokenizer.ggml.pre", "default");
            entries.bool("tokenizer.ggml.add_space_prefix", prefix);
        }
        for id in tokens.len()..self.rows {
            tokens.push(format!("[PAD{id}]"));
            kinds.push(UNUSED);
        }
        entries.texts("tokenizer.ggml.tokens", &tokens);
        if byte_level {
            let joined: Vec<String> = merges.iter().map(|(left, right)| format!("{left} {right}")).collect();
            entries.texts("tokenizer.ggml.merges", &joined);
        } else {
            entries.f32s("tokenizer.ggml.scores", &scores(&tokens, &merges));
        }
        entries.i32s("tokenizer.ggml.token_type", &kinds);
        for (key, id) in self.named {
            entries.u32(&format!("tokenizer.ggml.{key}_token_id"), *id);
        }
        entries.bool("tokenizer.ggml.add_bos_token", self.adds_bos);
        if let Some(template) = self.template {
            entries.text("tokenizer.chat_template", template);
        }
        Ok(())
    }

    fn merges(&self, model: &Map<String, Value>) -> Result<Vec<(String, String)>> {
        let list = model.get("merges").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let pair = |merge: &Value| {
            let (left, right) = match merge {
                Value::String(text) => text.split_once(' ')?,
                other => (other.get(0)?.as_str()?, other.get(1)?.as_str()?),
            };
            (!left.contains(' ') && !right.contains(' ')).then(|| (left.to_owned(), right.to_owned()))
        };
        let all: Option<Vec<_>> = list.iter().map(pair).collect();
        all.ok_or_else(|| self.error("has a merge that is not two texts without spaces, which GGUF cannot hold"))
    }

    /// All tokens by id, with their types.
    fn tokens(&self, model: &Map<String, Value>, byte_level: bool) -> Result<(Vec<String>, Vec<i32>)> {
        let unknown = model.get("unk_token").and_then(Value::as_str);
        let mut found: Vec<(u64, String, i32)> = Vec::new();
        let vocab =
            model.get("vocab").and_then(Value::as_object).ok_or_else(|| self.error("has no object \"vocab\""))?;
        for (token, id) in vocab {
            let kind = match token {
                token if Some(token.as_str()) == unknown => UNKNOWN,
                token if !byte_level && is_byte(token) => BYTE,
                _ => NORMAL,
            };
            found.push((id.as_u64().unwrap_or(u64::MAX), token.clone(), kind));
        }
        for added in self.json.get("added_tokens").and_then(Value::as_array).into_iter().flatten() {
            let content = added.get("content").and_then(Value::as_str).unwrap_or_default();
            let special = added.get("special").and_then(Value::as_bool).unwrap_or(false);
            let kind = match special {
                true if Some(content) == unknown && !byte_level => UNKNOWN,
                true => CONTROL,
                false => USER_DEFINED,
            };
            found.push((added.get("id").and_then(Value::as_u64).unwrap_or(u64::MAX), content.to_owned(), kind));
        }
        let count = found.iter().map(|(id, ..)| id.saturating_add(1)).max().unwrap_or(0);
        if count > self.rows as u64 {
            let problem = format!("has a token whose id is not below {}, the rows of the embedding table", self.rows);
            return Err(self.error(format!("{problem}; it is of another model")));
        }
        let mut tokens: Vec<String> = (0..count).map(|id| format!("[PAD{id}]")).collect();
        let mut kinds = vec![UNUSED; count as usize];
        // Added tokens come last, and go before what the vocabulary says of them.
        for (id, token, kind) in found {
            (tokens[id as usize], kinds[id as usize]) = (token, kind);
        }
        Ok((tokens, kinds))
    }

    fn check_normalizer(&self) -> Result<()> {
        match self.json.get("normalizer").filter(|value| !value.is_null()) {
            None => Ok(()),
            // llama.cpp leaves it out for all that have it.
            Some(normalizer) if normalizer.get("type").and_then(Value::as_str) == Some("NFC") => Ok(()),
            Some(other) => Err(self.error(format!("normalises texts ({other}), for which GGUF has no name"))),
        }
    }

    /// The name of how texts are cut.
    fn split(&self, model: &Map<String, Value>, merges: &[(String, String)]) -> Result<&'static str> {
        let ignores_merges = model.get("ignore_merges").and_then(Value::as_bool).unwrap_or(false);
        let cut = self.json.get("pre_tokenizer").unwrap_or(&Value::Null);
        match splits::name(cut, ignores_merges) {
            Some(name) => Ok(name),
            // Where nothing merges, no cut shows.
            None if merges.is_empty() && !ignores_merges => Ok("gpt-2"),
            None => Err(self.error(format!("cuts texts in a way that GGUF has no name for: {cut}"))),
        }
    }

    /// Whether a space is put before a text; refuses what is not SentencePiece's way.
    fn prefix(&self, model: &Map<String, Value>) -> Result<bool> {
        let falls_back = model.get("byte_fallback").and_then(Value::as_bool).unwrap_or(false);
        let (normalizer, cut) = (self.json.get("normalizer"), self.json.get("pre_tokenizer"));
        let both = [normalizer, cut].map(|value| value.unwrap_or(&Value::Null));
        let known = both.iter().any(|value| mentions(value, "Metaspace") || mentions(value, "Replace"));
        if !falls_back || !known {
            return Err(
                self.error("is neither byte-level BPE nor SentencePiece's BPE with bytes; GGUF has no name for it")
            );
        }
        let never = both.iter().any(|value| value.get("prepend_scheme").and_then(Value::as_str) == Some("never"));
        Ok(!never && both.iter().any(|value| mentions(value, "Metaspace") || mentions(value, "Prepend")))
    }
}

/// Whether a part of a tokenizer is of this type, or has one of it.
fn mentions(value: &Value, kind: &str) -> bool {
    let lists = ["normalizers", "pretokenizers", "decoders"].iter().filter_map(|name| value.get(*name)?.as_array());
    value.get("type").and_then(Value::as_str) == Some(kind) || lists.flatten().any(|part| mentions(part, kind))
}

/// `<0x0A>`
fn is_byte(token: &str) -> bool {
    let digits = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
}

/// Scores that order tokens as merges do: the first to be merged has the highest. What no merge makes comes behind, but for tokens that are
/// never looked for.
fn scores(tokens: &[String], merges: &[(String, String)]) -> Vec<f32> {
    let mut ranks = std::collections::HashMap::new();
    for (left, right) in merges {
        let next = ranks.len();
        ranks.entry(format!("{left}{right}")).or_insert(next);
    }
    let single = ranks.len() as f32;
    let score = |token: &String| match ranks.get(token.as_str()) {
        Some(rank) => -(*rank as f32),
        None if is_byte(token) || token.starts_with('<') && token.ends_with('>') => 0.0,
        None => -single,
    };
    tokens.iter().map(score).collect()
}
