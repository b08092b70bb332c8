//! How byte-level vocabularies cut a text into words before they merge, by the names that llama.cpp's converter gives to the cuts.

use serde_json::{Value, json};

use super::header::GgufFile;
use crate::{Error, Result};

/// What a name stands for.
#[derive(Debug)]
pub(super) struct Split {
    /// `pre_tokenizer` of `tokenizer.json`.
    pub pre_tokenizer: Value,
    /// Whether a word that is a token is taken without merging.
    pub ignore_merges: bool,
    /// Whether texts begin with BOS where the file does not say.
    pub adds_bos: bool,
}

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How the file cuts.
///
/// # Errors
/// A name that is not known: another cut would give other tokens in silence.
pub(super) fn split(file: &GgufFile) -> Result<Split> {
    let name = file.text("tokenizer.ggml.pre")?;
    let by_pattern = |pattern: &str, ignore_merges: bool| Split {
        pre_tokenizer: json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        ]}),
        ignore_merges,
        adds_bos: ignore_merges,
    };
    let gpt2 = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let plain = |pre_tokenizer| Split { pre_tokenizer, ignore_merges: false, adds_bos: false };
    let Some(name) = name else {
        log::warn!("{}: names no pre-tokenizer; it is taken to be GPT-2's", file.path().display());
        return Ok(plain(gpt2));
    };
    Ok(match name {
        "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0" | "lfm2" => {
            by_pattern(LLAMA3, true)
        }
        "dbrx" | "smaug-bpe" => by_pattern(LLAMA3, false),
        "qwen2" | "deepseek-r1-qwen" | "kormo" | "megrez" | "stablelm2" | "hunyuan" => by_pattern(QWEN2, false),
        "tekken" => by_pattern(TEKKEN, true),
        "gpt-4o" | "llama4" | "kanana2" => by_pattern(GPT4O, false),
        "default" | "gpt-2" | "gpt2" | "mpt" | "olmo" | "jais" | "phi-2" | "granite-docling" => plain(gpt2),
        // Every digit is a word of its own.
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" | "minerva-7b" => {
            let digits = json!({"type": "Digits", "individual_digits": true});
            plain(json!({"type": "Sequence", "pretokenizers": [digits, gpt2]}))
        }
        other => {
            let known = "llama-bpe, qwen2, smollm, gpt-2, default, tekken, gpt-4o, dbrx, refact, olmo and their kin";
            let problem = format!("key \"tokenizer.ggml.pre\" is {other:?}; known are {known}");
            let remedy = "use the model's folder in Hugging Face's layout, whose tokenizer.json says how it cuts";
            return Err(Error::format(file.path(), format!("{problem}; {remedy}")));
        }
    })
}

/// The name of a way to cut, if it has one.
pub(super) fn name(pre_tokenizer: &Value, ignore_merges: bool) -> Option<&'static str> {
    let kind = |value: &Value| value.get("type").and_then(Value::as_str).map(str::to_owned);
    let parts: Vec<&Value> = match pre_tokenizer.get("pretokenizers").and_then(Value::as_array) {
        Some(parts) => parts.iter().collect(),
        None => vec![pre_tokenizer],
    };
    let (last, before) = parts.split_last()?;
    // Which spaces are put before a text, and which cut the last part makes by itself.
    let flag = |name: &str| last.get(name).and_then(Value::as_bool).unwrap_or(true);
    if kind(last).as_deref() != Some("ByteLevel") || flag("add_prefix_space") {
        return None;
    }
    match (before, flag("use_regex")) {
        ([], true) => (!ignore_merges).then_some("gpt-2"),
        ([digits], true) if kind(digits).as_deref() == Some("Digits") => {
            let each = digits.get("individual_digits").and_then(Value::as_bool).unwrap_or(false);
            (each && !ignore_merges).then_some("smollm")
        }
        ([split], false) if kind(split).as_deref() == Some("Split") => {
            let isolated = split.get("behavior").and_then(Value::as_str) == Some("Isolated");
            let invert = split.get("invert").and_then(Value::as_bool).unwrap_or(false);
            let pattern = split.get("pattern")?.get("Regex")?.as_str().filter(|_| isolated && !invert)?;
            match (pattern, ignore_merges) {
                (LLAMA3, true) => Some("llama-bpe"),
                (LLAMA3, false) => Some("smaug-bpe"),
                (QWEN2, false) => Some("qwen2"),
                (TEKKEN, true) => Some("tekken"),
                (GPT4O, false) => Some("gpt-4o"),
                _ => None,
            }
        }
        _ => None,
    }
}
