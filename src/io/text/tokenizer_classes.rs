//! What Transformers 5's tokenizer classes make of a `tokenizer.json`.
//!
//! Some classes take the vocabulary, the merges and the added tokens of the file, and bring the rest themselves: how text is normalised and cut
//! into words, and how tokens are put together. Which class a folder gets is decided as `AutoTokenizer` of Transformers 5.24 does it, by
//! `tokenizer_class` and the model's type.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::{Error, Result};

/// A class that brings its own parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Llama,
    Qwen2,
    Gpt2,
    Gemma,
    /// Gemma's, in lower case.
    Siglip2,
}

impl Class {
    fn of_name(name: &str) -> Option<Class> {
        match name.strip_suffix("Fast").unwrap_or(name) {
            "LlamaTokenizer" => Some(Class::Llama),
            "Qwen2Tokenizer" => Some(Class::Qwen2),
            "GPT2Tokenizer" => Some(Class::Gpt2),
            "GemmaTokenizer" => Some(Class::Gemma),
            "Siglip2Tokenizer" => Some(Class::Siglip2),
            _ => None,
        }
    }

    /// The class of a model's type, where it has one of its own; `Err` where such models' files are taken as they are.
    fn of_model(kind: &str) -> Result<Option<Class>, ()> {
        match kind {
            "llama" => Ok(Some(Class::Llama)),
            "qwen2" | "qwen3" => Ok(Some(Class::Qwen2)),
            "gemma" | "gemma2" | "gemma3" | "gemma3_text" => Ok(Some(Class::Gemma)),
            "mistral" | "ministral" | "ministral3" | "phi3" | "olmo2" | "granite" => Err(()),
            _ => Ok(None),
        }
    }

    /// The special tokens that have names unless the settings name others.
    fn names(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Class::Llama => &[("unk_token", "<unk>"), ("bos_token", "<s>"), ("eos_token", "</s>")],
            Class::Qwen2 => {
                &[("unk_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>"), ("pad_token", "<|endoftext|>")]
            }
            Class::Gpt2 => {
                &[("unk_token", "<|endoftext|>"), ("bos_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>")]
            }
            Class::Gemma | Class::Siglip2 => &[
                ("unk_token", "<unk>"),
                ("bos_token", "<bos>"),
                ("eos_token", "<eos>"),
                ("pad_token", "<pad>"),
                ("mask_token", "<mask>"),
            ],
        }
    }
}

/// The class that a folder's tokenizer gets; `None` leaves the file as it is.
fn class_of(hub: Option<&str>, kind: &str, byte_level: bool) -> Option<Class> {
    let hub = Class::of_name(hub?);
    if hub == Some(Class::Llama) && byte_level && Class::of_model(kind).is_ok() && kind != "qwen2" {
        // Llama 3's files name the class, which cannot be theirs.
        return None;
    }
    match Class::of_model(kind) {
        Err(()) => None,
        // Transformers holds that files of this type name the wrong class.
        Ok(registered) if kind == "qwen2" => registered,
        Ok(_) => hub,
    }
}

/// `tokenizer.json` as the folder's class makes it.
pub(super) fn of_class(
    path: &Path,
    json: Vec<u8>,
    settings: &mut Map<String, Value>,
    config: &Map<String, Value>,
) -> Result<Vec<u8>> {
    let broken = |e: serde_json::Error| Error::format(path, format!("not a valid tokenizer: {e}"));
    let hub = settings.get("tokenizer_class").or(config.get("tokenizer_class")).and_then(Value::as_str);
    let kind = config.get("model_type").and_then(Value::as_str).unwrap_or_default();
    if class_of(hub, kind, false).is_none() {
        return Ok(json);
    }
    let mut tokenizer: Value = serde_json::from_slice(&json).map_err(broken)?;
    let byte_level = tokenizer["pre_tokenizer"].to_string().contains("\"ByteLevel\"");
    let bpe = tokenizer["model"]["type"] == "BPE" || tokenizer["model"].get("merges").is_some();
    let Some(class) = class_of(hub, kind, byte_level).filter(|_| bpe) else { return Ok(json) };
    for (name, token) in class.names() {
        let unset = settings.get(*name).is_none_or(Value::is_null);
        if unset {
            settings.insert((*name).to_string(), json!(token));
        }
    }
    rebuild(&mut tokenizer, class, settings);
    serde_json::to_vec(&tokenizer).map_err(broken)
}

fn rebuild(tokenizer: &mut Value, class: Class, settings: &Map<String, Value>) {
    let flag = |name: &str, default| settings.get(name).and_then(Value::as_bool).unwrap_or(default);
    let bytes = |prefix: bool, regex: bool| json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": regex});
    let pieces = |more: &[Value]| {
        let mut decoders = vec![
            json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        decoders.extend_from_slice(more);
        json!({"type": "Sequence", "decoders": decoders})
    };
    let unknown = settings.get("unk_token").and_then(|token| token.as_str().or(token.get("content")?.as_str()));
    let (normalizer, words, decoder, unknown) = match class {
        Class::Llama => {
            let space = flag("add_prefix_space", true);
            let scheme = match (space, flag("legacy", false)) {
                (false, _) => "never",
                (true, true) => "always",
                (true, false) => "first",
            };
            let words = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false});
            let strip = json!({"type": "Strip", "content": " ", "start": 1, "stop": 0});
            (Value::Null, words, pieces(if space { std::slice::from_ref(&strip) } else { &[] }), None)
        }
        Class::Qwen2 => {
            let words =
                json!({"type": "Split", "pattern": {"Regex": QWEN2_WORDS}, "behavior": "Isolated", "invert": false});
            let words =
                json!({"type": "Sequence", "pretokenizers": [words, bytes(flag("add_prefix_space", false), false)]});
            (json!({"type": "NFC"}), words, bytes(true, true), None)
        }
        Class::Gpt2 => (Value::Null, bytes(flag("add_prefix_space", false), true), bytes(true, true), None),
        Class::Gemma | Class::Siglip2 => {
            let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
            let words =
                json!({"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": false});
            let lower = json!({"type": "Sequence", "normalizers": [{"type": "Lowercase"}, spaces.clone()]});
            (if class == Class::Siglip2 { lower } else { spaces }, words, pieces(&[]), unknown)
        }
    };
    let sentence_piece = matches!(class, Class::Llama | Class::Gemma | Class::Siglip2);
    tokenizer["normalizer"] = normalizer;
    tokenizer["pre_tokenizer"] = words;
    tokenizer["decoder"] = decoder;
    let model = &mut tokenizer["model"];
    for name in ["fuse_unk", "byte_fallback"] {
        model[name] = json!(sentence_piece);
    }
    model["ignore_merges"] = json!(false);
    model["unk_token"] = unknown.map_or(Value::Null, |token| json!(token));
}

/// Words as Qwen2's tokenizer cuts them: digits one by one.
const QWEN2_WORDS: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

#[cfg(test)]
mod tests {
    use super::*;

    /// As `AutoTokenizer` of Transformers 5.24 chooses.
    #[test]
    fn classes_are_chosen_as_transformers_does() {
        for (hub, kind, byte_level, wanted) in [
            (Some("LlamaTokenizer"), "llama", false, Some(Class::Llama)),
            (Some("LlamaTokenizerFast"), "llama", false, Some(Class::Llama)),
            (Some("LlamaTokenizer"), "llama", true, None),
            (Some("LlamaTokenizer"), "mistral", false, None),
            (Some("LlamaTokenizer"), "phi3", false, None),
            (Some("PreTrainedTokenizerFast"), "llama", true, None),
            (Some("PreTrainedTokenizerFast"), "qwen2", true, Some(Class::Qwen2)),
            (Some("PreTrainedTokenizerFast"), "qwen3", true, None),
            (Some("Qwen2Tokenizer"), "qwen3", true, Some(Class::Qwen2)),
            (Some("GPT2Tokenizer"), "llama", true, Some(Class::Gpt2)),
            (Some("GPT2Tokenizer"), "granite", true, None),
            (Some("GemmaTokenizerFast"), "gemma3_text", false, Some(Class::Gemma)),
            (Some("GemmaTokenizerFast"), "siglip", false, Some(Class::Gemma)),
            (Some("Siglip2Tokenizer"), "siglip", false, Some(Class::Siglip2)),
            (None, "llama", false, None),
        ] {
            assert_eq!(class_of(hub, kind, byte_level), wanted, "{hub:?} {kind} {byte_level}");
        }
    }
}
