//! Which fields of an encoder's `config.json` are read and which say nothing about what it computes. Any other is refused by its name.

use super::super::config::says_nothing;
use super::super::fields::Fields;
use crate::Result;

/// Fields of encoders that say nothing about what they compute in inference.
const HARMLESS: [&str; 27] = [
    "architectures",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "bos_token_id",
    "classifier_dropout",
    "directionality",
    "dropout",
    "embedding_size",
    "hidden_dropout_prob",
    "initializer_factor",
    "logit_bias_init_value",
    "logit_scale_init_value",
    "model_type",
    "output_past",
    "pooler_fc_size",
    "pooler_num_attention_heads",
    "pooler_num_fc_layers",
    "pooler_size_per_head",
    "pooler_type",
    "qa_dropout",
    "return_loss",
    "seq_classif_dropout",
    "sinusoidal_pos_embds",
    "tie_weights_",
    "tie_word_embeddings",
    "use_return_dict",
    "add_pooling_layer",
];

/// Refuses the first field that is neither in `read` nor harmless.
///
/// # Errors
/// Such a field, by its name; quantised weights.
pub(super) fn check(fields: &Fields, read: &[&str]) -> Result<()> {
    if fields.get("quantization_config").is_some() {
        return Err(fields.error("quantization_config", "is set; convert the model to bf16, f16 or f32 first"));
    }
    for name in fields.names() {
        let Some(value) = fields.get(name) else { continue };
        let known = read.contains(&name) || HARMLESS.contains(&name) || says_nothing(name, value);
        // What a decoder may ignore, an encoder may not: it would be causal.
        let causal = name == "is_decoder" && value != &serde_json::Value::Bool(false);
        if !known || causal {
            let shown = crate::io::records::short(value);
            let problem = format!(
                "is {shown}: a field that encoders do not know, or a value that they do not compute; if the field says \
                 nothing about what the model computes, remove it from the file"
            );
            return Err(fields.error(name, &problem));
        }
    }
    Ok(())
}

/// Checks that positions are rows of a table.
///
/// # Errors
/// Relative or rotary positions.
pub(super) fn absolute_positions(fields: &Fields) -> Result<()> {
    match fields.text("position_embedding_type")? {
        None | Some("absolute") => Ok(()),
        Some(other) => {
            let problem = format!("is {other:?}; encoders have \"absolute\" positions");
            Err(fields.error("position_embedding_type", &problem))
        }
    }
}
