//! The architectures of llama.cpp that have a counterpart in Hugging Face's libraries, as one table.

use super::header::GgufFile;
use crate::{Error, Result};

/// How an architecture of llama.cpp differs from its counterpart.
#[derive(Debug)]
pub(super) struct Architecture {
    /// `general.architecture`, and the prefix of its keys.
    pub name: &'static str,
    /// `model_type`.
    pub model_type: &'static str,
    /// The class that loads it.
    pub class: &'static str,
    /// Whether the rows of each head of q and k are stored in pairs for llama.cpp's other form of the rotary embedding.
    pub paired_rows: bool,
    /// Whether norms are stored with 1 added.
    pub norms_plus_one: bool,
    /// The norms of a block: the file's name, Hugging Face's.
    pub norms: &'static [(&'static str, &'static str)],
    /// Keys that it has beside those that all have.
    pub keys: &'static [&'static str],
}

const LLAMA_NORMS: &[(&str, &str)] = &[("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm")];

pub(super) static ARCHITECTURES: [Architecture; 8] = [
    Architecture {
        name: "llama",
        model_type: "llama",
        class: "LlamaForCausalLM",
        paired_rows: true,
        norms_plus_one: false,
        norms: LLAMA_NORMS,
        keys: &["attention.sliding_window"],
    },
    Architecture {
        name: "qwen2",
        model_type: "qwen2",
        class: "Qwen2ForCausalLM",
        paired_rows: false,
        norms_plus_one: false,
        norms: LLAMA_NORMS,
        keys: &["attention.sliding_window"],
    },
    Architecture {
        name: "qwen3",
        model_type: "qwen3",
        class: "Qwen3ForCausalLM",
        paired_rows: false,
        norms_plus_one: false,
        norms: LLAMA_NORMS,
        keys: &[],
    },
    Architecture {
        name: "gemma3",
        model_type: "gemma3_text",
        class: "Gemma3ForCausalLM",
        paired_rows: false,
        norms_plus_one: true,
        norms: &[
            ("attn_norm", "input_layernorm"),
            ("post_attention_norm", "post_attention_layernorm"),
            ("ffn_norm", "pre_feedforward_layernorm"),
            ("post_ffw_norm", "post_feedforward_layernorm"),
        ],
        keys: &[
            "attention.sliding_window",
            "attention.sliding_window_pattern",
            "final_logit_softcapping",
            "rope.freq_base_swa",
        ],
    },
    Architecture {
        name: "phi3",
        model_type: "phi3",
        class: "Phi3ForCausalLM",
        paired_rows: false,
        norms_plus_one: false,
        norms: LLAMA_NORMS,
        keys: &["attention.sliding_window"],
    },
    Architecture {
        name: "smollm3",
        model_type: "smollm3",
        class: "SmolLM3ForCausalLM",
        paired_rows: true,
        norms_plus_one: false,
        norms: LLAMA_NORMS,
        keys: &[],
    },
    Architecture {
        name: "olmo2",
        model_type: "olmo2",
        class: "Olmo2ForCausalLM",
        paired_rows: false,
        norms_plus_one: false,
        norms: &[("post_attention_norm", "post_attention_layernorm"), ("post_ffw_norm", "post_feedforward_layernorm")],
        keys: &[],
    },
    Architecture {
        name: "granite",
        model_type: "granite",
        class: "GraniteForCausalLM",
        paired_rows: true,
        norms_plus_one: false,
        norms: LLAMA_NORMS,
        keys: &["attention.scale", "embedding_scale", "residual_scale", "logit_scale"],
    },
];

impl Architecture {
    /// The architecture of a file.
    ///
    /// # Errors
    /// It names none, or one that has no counterpart here.
    pub fn of(file: &GgufFile) -> Result<&'static Architecture> {
        let Some(name) = file.text("general.architecture")? else {
            return Err(Error::format(file.path(), "has no key \"general.architecture\"; it holds no model"));
        };
        ARCHITECTURES.iter().find(|one| one.name == name).ok_or_else(|| {
            let known: Vec<&str> = ARCHITECTURES.iter().map(|one| one.name).collect();
            let problem = format!("holds a model of the architecture {name:?}; known are {}", known.join(", "));
            Error::format(file.path(), problem)
        })
    }
}
