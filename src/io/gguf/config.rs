//! Metadata to the object that the same model's `config.json` holds.

use serde_json::{Map, Value, json};

use super::architecture::Architecture;
use super::header::GgufFile;
use super::rope;
use crate::{Error, Result};

/// Keys that every architecture may have, without its prefix: read below, or without a bearing on what the model computes.
const COMMON: [&str; 23] = [
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "expert_count",
    "expert_used_count",
    "feed_forward_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.attn_factor",
    "rope.scaling.factor",
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
    "rope.scaling.type",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    // Of how tensors lie in files of the first version.
    "tensor_data_layout",
    "vocab_size",
];
/// Keys that are refused by the functions that know them, if they say something.
const REFUSED_THERE: [&str; 3] =
    ["rope.scaling.yarn_attn_factor", "rope.scaling.yarn_ext_factor", "rope.scaling.yarn_log_multiplier"];

/// Gemma 3's base of the rotary embedding in layers with a window, and how often a layer has none.
const GEMMA_LOCAL_THETA: f64 = 10_000.0;
const GEMMA_PATTERN: u64 = 6;
/// Every so many layers of SmolLM3 go without rotary embedding.
const SMOLLM3_INTERVAL: u64 = 4;

/// What `config.json` would hold.
///
/// # Errors
/// An architecture or a key without a counterpart, a key that is missing or malformed, a mixture of experts.
pub(in crate::io) fn config(file: &GgufFile) -> Result<Map<String, Value>> {
    let architecture = Architecture::of(file)?;
    let keys = Keys { file, prefix: architecture.name };
    keys.refuse_unknown(architecture)?;
    if keys.integer("expert_count")?.is_some_and(|experts| experts > 0) {
        return Err(Error::format(file.path(), "is a mixture of experts, which the decoder does not know"));
    }
    let (hidden, heads) = (keys.needed("embedding_length")?, keys.needed("attention.head_count")?);
    let rotary = keys.integer("rope.dimension_count")?.filter(|n| *n > 0);
    let head = head_width(&keys, architecture, (hidden, heads), rotary)?;
    let theta = keys.number("rope.freq_base")?.unwrap_or(10_000.0);
    let has = |name: &str| file.tensors().contains_key(name);
    let mut config = Map::new();
    let mut put = |name: &str, value: Value| {
        config.insert(name.to_owned(), value);
    };
    put("architectures", json!([architecture.class]));
    put("model_type", json!(architecture.model_type));
    put("hidden_size", json!(hidden));
    put("num_hidden_layers", json!(keys.needed("block_count")?));
    put("num_attention_heads", json!(heads));
    put("num_key_value_heads", json!(keys.integer("attention.head_count_kv")?.filter(|n| *n > 0).unwrap_or(heads)));
    put("head_dim", json!(head));
    put("intermediate_size", json!(keys.needed("feed_forward_length")?));
    put("vocab_size", json!(vocabulary(&keys)?));
    put("rms_norm_eps", json!(keys.needed_number("attention.layer_norm_rms_epsilon")?));
    put("rope_theta", json!(theta));
    if let Some(longest) = keys.integer("context_length")?.filter(|n| *n > 0) {
        put("max_position_embeddings", json!(longest));
    }
    put("tie_word_embeddings", json!(!has("output.weight")));
    if let Some(part) = rotary.filter(|part| *part != head) {
        put("partial_rotary_factor", json!(part as f64 / head as f64));
    }
    if let Some(scaling) = rope::scaling(file, architecture.name, (rotary.unwrap_or(head) as usize, theta))? {
        if let Some(original) = scaling.get("original_max_position_embeddings").filter(|_| architecture.name == "phi3")
        {
            put("original_max_position_embeddings", original.clone());
        }
        put("rope_scaling", scaling);
    }
    biases(file, architecture, &mut put)?;
    particular(&keys, architecture, (hidden, heads, head), &mut put)?;
    ends(file, &mut put)?;
    Ok(config)
}

struct Keys<'a> {
    file: &'a GgufFile,
    prefix: &'a str,
}

impl Keys<'_> {
    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    fn missing(&self, key: &str) -> Error {
        Error::format(self.file.path(), format!("key {:?} is missing; convert the model again", self.name(key)))
    }

    fn integer(&self, key: &str) -> Result<Option<u64>> {
        self.file.integer(&self.name(key))
    }

    fn needed(&self, key: &str) -> Result<u64> {
        self.integer(key)?.filter(|n| *n > 0).ok_or_else(|| self.missing(key))
    }

    fn number(&self, key: &str) -> Result<Option<f64>> {
        self.file.number(&self.name(key))
    }

    fn needed_number(&self, key: &str) -> Result<f64> {
        self.number(key)?.ok_or_else(|| self.missing(key))
    }

    /// A key of the architecture that is not known might change what the model computes.
    fn refuse_unknown(&self, architecture: &Architecture) -> Result<()> {
        let own = format!("{}.", self.prefix);
        let keys = self.file.metadata().keys().filter_map(|key| key.strip_prefix(&own));
        let known =
            |key: &str| COMMON.contains(&key) || REFUSED_THERE.contains(&key) || architecture.keys.contains(&key);
        match keys.into_iter().find(|key| !known(key)) {
            None => Ok(()),
            Some(key) => {
                let problem = format!("key {:?} is unknown, and may change what the model computes", self.name(key));
                Err(Error::format(self.file.path(), format!("{problem}; it cannot be loaded")))
            }
        }
    }
}

/// The width of a head.
fn head_width(
    keys: &Keys<'_>,
    architecture: &Architecture,
    (hidden, heads): (u64, u64),
    rotary: Option<u64>,
) -> Result<u64> {
    let key = keys.integer("attention.key_length")?.filter(|n| *n > 0);
    let value = keys.integer("attention.value_length")?.filter(|n| *n > 0);
    let width = match key {
        Some(width) => width,
        // llama.cpp has no key for it in old files; there, heads are rotated whole.
        None if architecture.name == "llama" => rotary.unwrap_or((hidden / heads).max(1)),
        None => (hidden / heads).max(1),
    };
    if value.is_some_and(|value| value != width) {
        let problem =
            format!("key {:?} differs from the width of the keys, {width}", keys.name("attention.value_length"));
        return Err(Error::format(keys.file.path(), format!("{problem}; the decoder has one width for both")));
    }
    if rotary.is_some_and(|rotary| rotary > width) {
        let problem = format!("key {:?} is above the width of a head, {width}", keys.name("rope.dimension_count"));
        return Err(Error::format(keys.file.path(), problem));
    }
    Ok(width)
}

/// Rows of the table; the metadata's count where there is no table to ask.
fn vocabulary(keys: &Keys<'_>) -> Result<u64> {
    let table = keys.file.tensors().get("token_embd.weight").map(|stored| stored.shape[0] as u64);
    match table {
        Some(rows) => Ok(rows),
        None => keys.needed("vocab_size"),
    }
}

/// Biases are not in the metadata: they are there or not.
fn biases(file: &GgufFile, architecture: &Architecture, put: &mut impl FnMut(&str, Value)) -> Result<()> {
    let has = |stem: &str| file.tensors().keys().any(|name| name.ends_with(&format!(".{stem}.bias")));
    let all = |stems: &[&str]| match stems.iter().filter(|stem| has(stem)).count() {
        0 => Ok(false),
        n if n == stems.len() => Ok(true),
        _ => {
            let problem = format!("has biases on some of {} and not on others", stems.join(", "));
            Err(Error::format(file.path(), format!("{problem}, which no {:?} model has", architecture.model_type)))
        }
    };
    let (attention, mlp): (&[&str], &[&str]) =
        (&["attn_q", "attn_k", "attn_v", "attn_output"], &["ffn_gate", "ffn_up", "ffn_down"]);
    // Which an architecture may have; of Qwen2's it says so itself.
    let (may_attention, may_mlp) = match architecture.name {
        "llama" | "smollm3" | "granite" => (true, true),
        "qwen3" | "olmo2" => (true, false),
        _ => (false, false),
    };
    if may_attention {
        put("attention_bias", json!(all(attention)?));
    }
    if may_mlp {
        put("mlp_bias", json!(all(mlp)?));
    }
    let wrong = |stems: &[&str]| stems.iter().find(|stem| has(stem)).map(|stem| (*stem).to_owned());
    let none: &[&str] = &[];
    let without = match architecture.name {
        "qwen2" => wrong(&["attn_output"]),
        _ => wrong(if may_attention { none } else { attention }),
    };
    match without.or(wrong(if may_mlp { none } else { mlp })) {
        None => Ok(()),
        Some(stem) => {
            let problem = format!("has biases on {stem}, which no {:?} model has", architecture.model_type);
            Err(Error::format(file.path(), problem))
        }
    }
}

/// What only some architectures have.
fn particular(
    keys: &Keys<'_>,
    architecture: &Architecture,
    (hidden, heads, head): (u64, u64, u64),
    put: &mut impl FnMut(&str, Value),
) -> Result<()> {
    let window = keys.integer("attention.sliding_window")?.filter(|n| *n > 0);
    match architecture.name {
        "llama" => {
            // Llama has no window; Mistral, which has the same tensors, does.
            if let Some(window) = window {
                put("model_type", json!("mistral"));
                put("architectures", json!(["MistralForCausalLM"]));
                put("sliding_window", json!(window));
            }
            put("hidden_act", json!("silu"));
        }
        "qwen2" => {
            if window.is_some() {
                put("sliding_window", json!(window));
                put("use_sliding_window", json!(true));
            }
            put("hidden_act", json!("silu"));
        }
        "phi3" => {
            put("sliding_window", window.map_or(Value::Null, |n| json!(n)));
            put("hidden_act", json!("silu"));
        }
        "gemma3" => gemma3(keys, (hidden, heads, head), put)?,
        "granite" => {
            // llama.cpp takes what is not said as 1, or the usual scale of attention.
            let number = |key: &str| keys.number(key);
            put("attention_multiplier", json!(number("attention.scale")?.unwrap_or((head as f64).powf(-0.5))));
            put("embedding_multiplier", json!(number("embedding_scale")?.unwrap_or(1.0)));
            put("residual_multiplier", json!(number("residual_scale")?.unwrap_or(1.0)));
            put("logits_scaling", json!(number("logit_scale")?.unwrap_or(1.0)));
            put("hidden_act", json!("silu"));
        }
        "smollm3" => {
            let layers = keys.needed("block_count")?;
            let rotates: Vec<u8> =
                (1..=layers).map(|layer| u8::from(!layer.is_multiple_of(SMOLLM3_INTERVAL))).collect();
            put("no_rope_layer_interval", json!(SMOLLM3_INTERVAL));
            put("no_rope_layers", json!(rotates));
            put("use_sliding_window", json!(false));
            put("hidden_act", json!("silu"));
        }
        _ => put("hidden_act", json!("silu")),
    }
    Ok(())
}

fn gemma3(keys: &Keys<'_>, (hidden, heads, head): (u64, u64, u64), put: &mut impl FnMut(&str, Value)) -> Result<()> {
    let layers = keys.needed("block_count")?;
    put("hidden_activation", json!("gelu_pytorch_tanh"));
    put("sliding_window", json!(keys.needed("attention.sliding_window")?));
    let pattern = keys.name("attention.sliding_window_pattern");
    match keys.file.metadata().get(&pattern) {
        Some(super::value::Value::Numbers(..)) => {
            let windowed = keys.file.numbers(&pattern)?.unwrap_or_default();
            let kind = |x: &f64| if *x != 0.0 { "sliding_attention" } else { "full_attention" };
            put("layer_types", json!(windowed.iter().map(kind).collect::<Vec<_>>()));
        }
        _ => {
            let every = keys.file.integer(&pattern)?.filter(|n| *n > 0).unwrap_or(GEMMA_PATTERN);
            put("sliding_window_pattern", json!(every));
        }
    }
    put("rope_local_base_freq", json!(keys.number("rope.freq_base_swa")?.unwrap_or(GEMMA_LOCAL_THETA)));
    // Not in the metadata: llama.cpp knows the 27 billion model by its 62 layers.
    put("query_pre_attn_scalar", json!(if layers == 62 { hidden / heads } else { head }));
    put("final_logit_softcapping", keys.number("final_logit_softcapping")?.map_or(Value::Null, |x| json!(x)));
    put("attn_logit_softcapping", Value::Null);
    put("attention_bias", json!(false));
    Ok(())
}

/// The tokens that begin a text, end it, and end a turn.
fn ends(file: &GgufFile, put: &mut impl FnMut(&str, Value)) -> Result<()> {
    let id = |name: &str| file.integer(&format!("tokenizer.ggml.{name}_token_id"));
    if let Some(bos) = id("bos")? {
        put("bos_token_id", json!(bos));
    }
    if let Some(pad) = id("padding")? {
        put("pad_token_id", json!(pad));
    }
    let mut ends = Vec::new();
    for name in ["eos", "eot", "eom"] {
        ends.extend(id(name)?.filter(|end| !ends.contains(end)));
    }
    match ends.as_slice() {
        [] => {}
        [one] => put("eos_token_id", json!(one)),
        _ => put("eos_token_id", json!(ends)),
    }
    Ok(())
}
