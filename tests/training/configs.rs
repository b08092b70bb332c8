//! `config.json`: what is read, and what is refused because the decoder would compute something else.

use std::path::Path;

use realign::Result;
use realign::io::{DecoderConfig, Family, RopeScaling};
use serde_json::{Value, json};

use super::{golden, model_folder, put, refused};

fn llama(change: impl FnOnce(&mut Value)) -> Result<DecoderConfig> {
    let mut config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256,
        "rope_theta": 500000.0, "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": false,
        "bos_token_id": 128000, "eos_token_id": [128001, 128009], "max_position_embeddings": 8192,
        "rope_scaling": null, "attention_bias": false, "pretraining_tp": 1
    });
    change(&mut config);
    DecoderConfig::parse(&config.to_string(), Path::new("config.json"))
}

#[test]
fn published_llama_3() {
    let config = llama(|_| {}).unwrap();
    assert_eq!((config.head_dim, config.kv_heads, config.family), (128, 8, Family::Llama));
    assert_eq!((config.bos, config.eos.as_slice()), (Some(128000), &[128001, 128009][..]));
    // The published number of parameters.
    assert_eq!(config.parameters(), 8_030_261_248);
}

#[test]
fn published_qwen2_half_a_billion() {
    let text = r#"{"architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643,
        "eos_token_id": 151645, "hidden_act": "silu", "hidden_size": 896, "intermediate_size": 4864,
        "max_position_embeddings": 32768, "max_window_layers": 24, "model_type": "qwen2", "num_attention_heads": 14,
        "num_hidden_layers": 24, "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
        "sliding_window": 32768, "tie_word_embeddings": true, "use_sliding_window": false, "vocab_size": 151936}"#;
    let config = DecoderConfig::parse(text, Path::new("config.json")).unwrap();
    assert_eq!(config.parameters(), 494_032_768);
    assert!(config.qkv_bias && !config.output_bias && config.tied_embeddings && config.head_dim == 64);
}

#[test]
fn rotary_parameters_old_and_new() {
    let wanted =
        RopeScaling { factor: 8.0, low_frequency_factor: 1.0, high_frequency_factor: 4.0, original_positions: 8192 };
    let scaling = json!({"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192, "rope_type": "llama3"});
    let old = llama(|c| c["rope_scaling"] = scaling.clone()).unwrap();
    let new = llama(|c| {
        c.as_object_mut().unwrap().remove("rope_theta");
        c["rope_parameters"] = scaling.clone();
        c["rope_parameters"]["rope_theta"] = json!(500000.0);
    })
    .unwrap();
    assert_eq!(old, new);
    assert_eq!((old.rope_scaling, old.rope_theta), (Some(wanted), 500000.0));
    let plain = llama(|c| c["rope_parameters"] = json!({"rope_type": "default", "rope_theta": 7.0})).unwrap();
    assert_eq!((plain.rope_theta, plain.rope_scaling), (7.0, None));
    refused(
        llama(|c| c["rope_scaling"] = json!({"type": "linear", "factor": 2.0})),
        &["rope_type", "linear", "llama3"],
    );
    refused(
        llama(|c| c["rope_scaling"] = json!({"rope_type": "llama3", "factor": 8.0})),
        &["rope_scaling", "low_freq_factor", "missing"],
    );
}

#[test]
fn tiny_models_name_the_tensors_of_their_files() {
    for kind in ["llama", "qwen2"] {
        let folder = model_folder(kind);
        let config = DecoderConfig::read(folder.path()).unwrap();
        let weights = realign::io::Weights::open(folder.path()).unwrap();
        weights.expect_all(&config.tensors()).unwrap();
        let projector = weights.names().filter(|name| name.contains("mm_projector")).count();
        assert_eq!(
            weights.names().count(),
            config.tensors().len() + projector,
            "{kind}: a tensor is not accounted for"
        );
    }
}

#[test]
fn what_the_decoder_does_not_do_is_refused() {
    let bad = |key: &str, value: Value, words: &[&str]| refused(llama(|c| c[key] = value), words);
    bad("model_type", json!("mistral"), &["config.json", "mistral", "qwen2"]);
    bad("architectures", json!(["LlamaForSequenceClassification"]), &["LlamaForSequenceClassification"]);
    bad("hidden_act", json!("gelu"), &["hidden_act", "gelu", "silu"]);
    bad("sliding_window", json!(4096), &["sliding_window"]);
    bad("quantization_config", json!({"bits": 4}), &["quantization_config", "convert"]);
    bad("layer_types", json!(["full_attention", "sliding_attention"]), &["layer_types"]);
    bad("partial_rotary_factor", json!(0.5), &["partial_rotary_factor"]);
    bad("mm_vision_tower", json!("clip"), &["mm_vision_tower", "projector"]);
}

#[test]
fn impossible_fields_are_refused() {
    let bad = |key: &str, value: Value, words: &[&str]| refused(llama(|c| c[key] = value), words);
    bad("hidden_size", Value::Null, &["hidden_size", "missing"]);
    bad("hidden_size", json!(-1), &["hidden_size", "-1"]);
    bad("hidden_size", json!("4096"), &["hidden_size", "4096", "integer"]);
    bad("hidden_size", json!(4097), &["hidden_size", "32 heads"]);
    bad("num_key_value_heads", json!(5), &["num_key_value_heads", "5"]);
    bad("head_dim", json!(63), &["head_dim", "even"]);
    bad("vocab_size", json!(1u64 << 40), &["vocab_size"]);
    bad("vocab_size", json!(1 << 30), &["vocab_size"]);
    bad("rms_norm_eps", json!(0), &["rms_norm_eps", "above 0"]);
    bad("rope_theta", json!("x"), &["rope_theta"]);
    bad("eos_token_id", json!("x"), &["eos_token_id"]);
    bad("eos_token_id", json!(128256), &["128256", "vocabulary"]);
    bad("tie_word_embeddings", json!(1), &["tie_word_embeddings"]);
    refused(DecoderConfig::parse("[]", Path::new("c.json")), &["c.json", "object"]);
    refused(DecoderConfig::parse("{\n\"a\":}", Path::new("c.json")), &["c.json", "line 2"]);
    let folder = tempfile::tempdir().unwrap();
    refused(DecoderConfig::read(folder.path()), &["read", "config.json"]);
}

#[test]
fn generation_config_adds_ends() {
    let folder = model_folder("llama");
    put(folder.path(), "generation_config.json", r#"{"eos_token_id": [5, 2, 5]}"#);
    assert_eq!(DecoderConfig::read(folder.path()).unwrap().eos, [2, 5]);
    let text = std::fs::read_to_string(golden("models/llama.config.json")).unwrap();
    assert!(!text.contains("eos"), "the test needs a config without ends");
}
