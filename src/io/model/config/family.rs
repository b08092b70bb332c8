//! The table of families: what each has, and what a `config.json` of it means where it leaves a field out.

use serde_json::Value;

use super::super::fields::Fields;
use crate::Result;

/// The architectures that the decoder knows: each is a row of one table of features.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// Llama 1 to 3 and what has its layout (`model_type` `llama`).
    Llama,
    /// Qwen2 and Qwen2.5 (`model_type` `qwen2`): Llama with biases on queries, keys and values.
    Qwen2,
    /// Qwen3 (`model_type` `qwen3`): a norm on each head's queries and keys, heads of a width of their own.
    Qwen3,
    /// Mistral (`model_type` `mistral`): sliding windows in all layers, or in none.
    Mistral,
    /// Ministral (`model_type` `ministral`): Mistral with layers of both kinds.
    Ministral,
    /// The text part of Gemma 3 (`model_type` `gemma3_text`).
    Gemma3,
    /// Phi-3, Phi-3.5 and Phi-4-mini (`model_type` `phi3`): fused projections in the files, heads that turn in part.
    Phi3,
    /// SmolLM3 (`model_type` `smollm3`): layers without rotary embedding.
    SmolLm3,
    /// OLMo 2 (`model_type` `olmo2`): norms behind attention and MLP, and on all of the queries and keys.
    Olmo2,
    /// Granite 3 (`model_type` `granite`): Llama with four multipliers.
    Granite,
}

/// Where a layer has its norms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NormPlacement {
    /// Before attention and before the MLP.
    Before,
    /// Behind both, before their results are added to the stream.
    After,
    /// Before and behind both.
    Around,
}

/// What the norms of queries and keys take the mean over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QueryKeyNorm {
    /// One head; all heads share the weight.
    PerHead,
    /// The whole projection.
    Whole,
}

/// Which attention biases a family has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AttentionBias {
    /// None; a file that asks for them is refused.
    Never,
    /// On queries, keys and values, whatever the file says.
    QueryKeyValue,
    /// On all four projections, where `attention_bias` says so.
    ByField,
}

/// How a family's files say which layers have a sliding window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Windows {
    /// No layer has one.
    Never,
    /// All layers or none: `sliding_window`, or this where it is absent.
    All(Option<usize>),
    /// `use_sliding_window`, and `layer_types` or `max_window_layers`.
    Switched,
    /// `layer_types`, else all layers where there is a `sliding_window` (4096 where it is absent).
    Types,
    /// `layer_types`, else every sixth layer is full, or by `sliding_window_pattern`.
    Pattern,
    /// `use_sliding_window`, and `layer_types` or the layers without rotary embedding.
    WithoutRotary,
}

/// A row of the table.
pub(super) struct Row {
    pub family: Family,
    pub model_type: &'static str,
    /// What `architectures` may name: the class of the language model, and of the model without its output matrix.
    pub classes: [&'static str; 2],
    /// Defaults of vocabulary, width, width inside the MLP, layers and query heads.
    pub sizes: [usize; 5],
    /// Default of the key-value heads; as many as query heads where there is none.
    pub kv_heads: Option<usize>,
    /// Default of the width of a head; the model's width over its heads where there is none.
    pub head_dim: Option<usize>,
    pub positions: usize,
    pub norm_eps: f64,
    pub tied: bool,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub theta: f64,
    pub norms: NormPlacement,
    /// Whether norms multiply by 1 + w.
    pub unit_offset: bool,
    pub query_key_norm: Option<QueryKeyNorm>,
    pub attention_bias: AttentionBias,
    /// Whether `mlp_bias` has a meaning.
    pub mlp_bias: bool,
    pub windows: Windows,
    /// Whether files hold queries, keys and values in one matrix, and gate and up in another.
    pub fused: bool,
    /// The field that names the activation, and its default.
    pub activation: (&'static str, &'static str),
    /// Fields that only this family has.
    pub own: &'static [&'static str],
}

const BASE: Row = Row {
    family: Family::Llama,
    model_type: "llama",
    classes: ["LlamaForCausalLM", "LlamaModel"],
    sizes: [32_000, 4096, 11_008, 32, 32],
    kv_heads: None,
    head_dim: None,
    positions: 2048,
    norm_eps: 1e-6,
    tied: false,
    bos: Some(1),
    eos: Some(2),
    theta: 10_000.0,
    norms: NormPlacement::Before,
    unit_offset: false,
    query_key_norm: None,
    attention_bias: AttentionBias::ByField,
    mlp_bias: true,
    windows: Windows::Never,
    fused: false,
    activation: ("hidden_act", "silu"),
    own: &[],
};

/// All families.
static TABLE: [Row; 10] = [
    BASE,
    Row {
        family: Family::Qwen2,
        model_type: "qwen2",
        classes: ["Qwen2ForCausalLM", "Qwen2Model"],
        sizes: [151_936, 4096, 22_016, 32, 32],
        kv_heads: Some(32),
        positions: 32_768,
        bos: None,
        eos: None,
        attention_bias: AttentionBias::QueryKeyValue,
        mlp_bias: false,
        windows: Windows::Switched,
        ..BASE
    },
    Row {
        family: Family::Qwen3,
        model_type: "qwen3",
        classes: ["Qwen3ForCausalLM", "Qwen3Model"],
        sizes: [151_936, 4096, 22_016, 32, 32],
        kv_heads: Some(32),
        head_dim: Some(128),
        positions: 32_768,
        bos: None,
        eos: None,
        query_key_norm: Some(QueryKeyNorm::PerHead),
        mlp_bias: false,
        windows: Windows::Switched,
        ..BASE
    },
    Row {
        family: Family::Mistral,
        model_type: "mistral",
        classes: ["MistralForCausalLM", "MistralModel"],
        sizes: [32_000, 4096, 14_336, 32, 32],
        kv_heads: Some(8),
        positions: 131_072,
        attention_bias: AttentionBias::Never,
        mlp_bias: false,
        windows: Windows::All(Some(4096)),
        ..BASE
    },
    Row {
        family: Family::Ministral,
        model_type: "ministral",
        classes: ["MinistralForCausalLM", "MinistralModel"],
        sizes: [32_000, 4096, 14_336, 32, 32],
        kv_heads: Some(8),
        positions: 131_072,
        attention_bias: AttentionBias::Never,
        mlp_bias: false,
        windows: Windows::Types,
        ..BASE
    },
    Row {
        family: Family::Gemma3,
        model_type: "gemma3_text",
        classes: ["Gemma3ForCausalLM", "Gemma3TextModel"],
        sizes: [262_208, 2304, 9216, 26, 8],
        kv_heads: Some(4),
        head_dim: Some(256),
        positions: 131_072,
        tied: true,
        bos: Some(2),
        eos: Some(1),
        theta: 1_000_000.0,
        norms: NormPlacement::Around,
        unit_offset: true,
        query_key_norm: Some(QueryKeyNorm::PerHead),
        mlp_bias: false,
        windows: Windows::Pattern,
        activation: ("hidden_activation", "gelu_pytorch_tanh"),
        own: &["query_pre_attn_scalar", "rope_local_base_freq", "sliding_window_pattern", "_sliding_window_pattern"],
        ..BASE
    },
    Row {
        family: Family::Phi3,
        model_type: "phi3",
        classes: ["Phi3ForCausalLM", "Phi3Model"],
        sizes: [32_064, 3072, 8192, 32, 32],
        positions: 4096,
        norm_eps: 1e-5,
        eos: Some(32_000),
        attention_bias: AttentionBias::Never,
        mlp_bias: false,
        windows: Windows::All(None),
        fused: true,
        ..BASE
    },
    Row {
        family: Family::SmolLm3,
        model_type: "smollm3",
        classes: ["SmolLM3ForCausalLM", "SmolLM3Model"],
        sizes: [128_256, 2048, 11_008, 36, 16],
        kv_heads: Some(4),
        positions: 32_768,
        tied: true,
        bos: Some(128_000),
        eos: Some(128_001),
        theta: 2_000_000.0,
        windows: Windows::WithoutRotary,
        own: &["no_rope_layers", "no_rope_layer_interval"],
        ..BASE
    },
    Row {
        family: Family::Olmo2,
        model_type: "olmo2",
        classes: ["Olmo2ForCausalLM", "Olmo2Model"],
        sizes: [50_304, 4096, 11_008, 32, 32],
        norm_eps: 1e-5,
        bos: None,
        eos: Some(50_279),
        norms: NormPlacement::After,
        query_key_norm: Some(QueryKeyNorm::Whole),
        mlp_bias: false,
        ..BASE
    },
    Row {
        family: Family::Granite,
        model_type: "granite",
        classes: ["GraniteForCausalLM", "GraniteModel"],
        own: &["embedding_multiplier", "logits_scaling", "residual_multiplier", "attention_multiplier"],
        ..BASE
    },
];

/// What a message says that the decoder knows.
fn known() -> String {
    let names: Vec<_> = TABLE.iter().map(|row| format!("{:?} ({})", row.model_type, row.classes[0])).collect();
    format!("the decoder knows {}", names.join(", "))
}

/// The row that a file asks for, by its `model_type` or, without one, by its `architectures`.
pub(super) fn row(fields: &Fields) -> Result<&'static Row> {
    let class = fields.get("architectures").and_then(|list| list.get(0)).and_then(Value::as_str);
    let found = match (fields.text("model_type")?, class) {
        (Some(kind), _) => match TABLE.iter().find(|row| row.model_type == kind) {
            Some(row) => row,
            None => return Err(fields.error("model_type", &format!("is {kind:?}; {}", known()))),
        },
        (None, Some(class)) => match TABLE.iter().find(|row| row.classes.contains(&class)) {
            Some(row) => row,
            None => return Err(fields.error("architectures", &format!("names {class:?}; {}", known()))),
        },
        (None, None) => return Err(fields.error("model_type", &format!("is missing; {}", known()))),
    };
    match class {
        Some(class) if !found.classes.contains(&class) => {
            let problem = format!("names {class:?}, where {:?} has {:?}; {}", found.model_type, found.classes, known());
            Err(fields.error("architectures", &problem))
        }
        _ => Ok(found),
    }
}
