//! Which fields of a `config.json` are read, which say nothing about what the model computes, and which must have one value. Any other is
//! refused by its name: the next model's new field must not be ignored.

use serde_json::Value;

use super::super::fields::Fields;
use super::family::{AttentionBias, Family, Row, Windows};
use crate::Result;

/// Fields that are read for every family.
const READ: [&str; 27] = [
    "architectures",
    "attention_bias",
    "attention_dropout",
    "bos_token_id",
    "embd_pdrop",
    "eos_token_id",
    "head_dim",
    "hidden_size",
    "intermediate_size",
    "layer_types",
    "max_position_embeddings",
    "mlp_bias",
    "mm_hidden_size",
    "model_type",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "original_max_position_embeddings",
    "partial_rotary_factor",
    "quantization_config",
    "resid_pdrop",
    "rms_norm_eps",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "tie_word_embeddings",
    "vocab_size",
];

/// Fields that say nothing about what the model computes: of Transformers' bookkeeping, initialisation, generation (whose settings are
/// not taken from here) and other tools' notes.
const HARMLESS: [&str; 83] = [
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_attn_implementation_internal",
    "_commit_hash",
    "_experts_implementation_internal",
    "_name_or_path",
    "_output_attentions",
    "attn_implementation",
    "auto_map",
    "bad_words_ids",
    "begin_suppress_tokens",
    "cache_implementation",
    "chunk_size_feed_forward",
    "custom_pipelines",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "id2label",
    "initializer_factor",
    "initializer_range",
    "is_llama_config",
    "keys_to_ignore_at_inference",
    "label2id",
    "length_penalty",
    "max_length",
    "max_new_tokens",
    "max_sequence_length",
    "max_window_layers",
    "min_length",
    "model_max_length",
    "name_or_path",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "pad_token_id",
    "padding_side",
    "pretraining_tp",
    "prefix",
    "problem_type",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tokenizer_class",
    "tokenizer_model_max_length",
    "tokenizer_padding_side",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_optimized",
    "unsloth_version",
    "use_cache",
    "use_flash_attention_2",
    "_flash_attn_2_enabled",
    "_pre_quantization_dtype",
    "eos_token",
    "bos_token",
    "is_decoder",
    "loss_type",
];

/// Fields that name what the decoder does not do, with the values that leave it out; null does so, too.
fn neutral(name: &str) -> Option<&'static [Neutral]> {
    use Neutral::{Empty, False, One, Zero};
    Some(match name {
        "add_cross_attention" | "is_encoder_decoder" | "lm_head_bias" | "qkv_bias" | "rope_interleaved" => &[False],
        "tie_encoder_decoder" | "use_bfloat16" | "use_bidirectional_attention" | "use_mrope" | "use_qk_norm" => {
            &[False]
        }
        "use_sliding_window" | "clip_qkv" | "cross_attention_hidden_size" | "sliding_window" => &[False],
        "attn_logit_softcapping" | "final_logit_softcapping" | "llama_4_scaling" | "per_layer_config" => &[],
        "full_attn_mod" | "interpolate_factor" => &[One],
        "num_experts" | "num_local_experts" => &[Zero],
        "pruned_heads" | "layer_norm_bias" => &[Empty, False],
        _ => return None,
    })
}

/// Whether a field of any model says nothing about what it computes, by its name or, with this value, by that.
#[cfg(feature = "encode")]
pub(in super::super) fn says_nothing(name: &str, value: &Value) -> bool {
    HARMLESS.contains(&name) || neutral(name).is_some_and(|values| values.iter().any(|n| n.is(value)))
}

#[derive(Clone, Copy, PartialEq)]
enum Neutral {
    False,
    Zero,
    One,
    Empty,
}

impl Neutral {
    fn is(self, value: &Value) -> bool {
        match self {
            Neutral::False => value == &Value::Bool(false),
            Neutral::Zero => value.as_f64() == Some(0.0),
            Neutral::One => value.as_f64() == Some(1.0),
            Neutral::Empty => {
                value.as_object().is_some_and(serde_json::Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
            }
        }
    }
}

/// Whether the family's windows read these fields.
fn window_field(row: &Row, name: &str) -> bool {
    match row.windows {
        Windows::Never => false,
        Windows::All(_) | Windows::Types | Windows::Pattern => name == "sliding_window",
        Windows::Switched | Windows::WithoutRotary => name == "sliding_window" || name == "use_sliding_window",
    }
}

/// Refuses the first field that is neither read nor harmless.
pub(super) fn check(fields: &Fields, row: &Row) -> Result<()> {
    multimodal(fields)?;
    for name in fields.names() {
        let read = READ.contains(&name) || row.own.contains(&name) || row.activation.0 == name;
        if read || window_field(row, name) || HARMLESS.contains(&name) {
            continue;
        }
        // What LLaVA's scripts leave in the language model's file.
        if name.starts_with("mm_") || name == "tune_mm_mlp_adapter" || name == "freeze_mm_mlp_adapter" {
            continue;
        }
        let Some(value) = fields.get(name) else { continue };
        if neutral(name).is_some_and(|values| values.iter().any(|n| n.is(value))) {
            continue;
        }
        return Err(unknown(fields, row, name, value));
    }
    values(fields, row)
}

fn unknown(fields: &Fields, row: &Row, name: &str, value: &Value) -> crate::Error {
    if matches!(name, "sliding_window" | "use_sliding_window") {
        return fields.error(name, &format!("is in use; {:?} attends to the whole context", row.model_type));
    }
    if row.activation.0 != "hidden_act" && name == "hidden_act" {
        return fields
            .error(name, &format!("is not a field of {:?}, which has {:?}", row.model_type, row.activation.0));
    }
    let shown = crate::io::records::short(value);
    let problem = format!(
        "is {shown}: a field that the decoder does not know for {:?}, or a value that it does not compute; if the field \
         says nothing about what the model computes, remove it from the file",
        row.model_type
    );
    fields.error(name, &problem)
}

/// Folders of several modalities.
fn multimodal(fields: &Fields) -> Result<()> {
    for name in ["mm_vision_tower", "vision_config", "text_config"] {
        if fields.get(name).is_some() {
            let problem =
                "is set: a multimodal model; give the folder of its language model, and its projector by itself";
            return Err(fields.error(name, problem));
        }
    }
    Ok(())
}

/// Fields that are known, with values that ask for what the decoder does not do.
fn values(fields: &Fields, row: &Row) -> Result<()> {
    if fields.get("quantization_config").is_some() {
        return Err(fields.error("quantization_config", "is set; convert the model to bf16, f16 or f32 first"));
    }
    if row.attention_bias == AttentionBias::Never && fields.bool_or("attention_bias", false)? {
        return Err(fields.error("attention_bias", &format!("is true; {:?} has no biases", row.model_type)));
    }
    if !row.mlp_bias && fields.bool_or("mlp_bias", false)? {
        return Err(fields.error("mlp_bias", &format!("is true; {:?} has no biases in its MLP", row.model_type)));
    }
    if row.family != Family::Phi3 && fields.positive("partial_rotary_factor")?.is_some_and(|part| part != 1.0) {
        return Err(fields.error("partial_rotary_factor", &format!("is not 1; {:?} turns whole heads", row.model_type)));
    }
    for name in ["attention_dropout", "resid_pdrop", "embd_pdrop"] {
        if fields.get(name).and_then(Value::as_f64).is_some_and(|p| p > 0.0) {
            log::warn!("{}: {name} is not 0 and is ignored", fields.path.display());
        }
    }
    Ok(())
}
