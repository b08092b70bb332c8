//! `config.json`: what is read, and what is refused because the decoder would compute something else.

use std::path::Path;

use realign::Result;
use realign::io::{Activation, DecoderConfig, Family, NormPlacement, QueryKeyNorm, Rope, RopeScaling};
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
    let wanted = RopeScaling::Llama3 {
        factor: 8.0,
        low_frequency_factor: 1.0,
        high_frequency_factor: 4.0,
        original_positions: 8192,
    };
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
    assert_eq!(old.ropes, [Rope { theta: 500000.0, width: 128, scaling: wanted }]);
    let plain = llama(|c| c["rope_parameters"] = json!({"rope_type": "default", "rope_theta": 7.0})).unwrap();
    assert_eq!(plain.ropes, [Rope::plain(7.0, 128)]);
    refused(
        llama(|c| c["rope_scaling"] = json!({"type": "proportional", "factor": 2.0})),
        &["rope_scaling", "type", "proportional", "llama3"],
    );
    refused(
        llama(|c| c["rope_scaling"] = json!({"type": "linear", "factor": 2.0, "beta_fast": 3})),
        &["rope_scaling", "beta_fast", "linear"],
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
    bad("model_type", json!("mixtral"), &["config.json", "mixtral", "qwen2", "granite"]);
    bad("architectures", json!(["Qwen3ForCausalLM"]), &["architectures", "Qwen3ForCausalLM", "LlamaForCausalLM"]);
    bad("architectures", json!(["LlamaForSequenceClassification"]), &["LlamaForSequenceClassification"]);
    bad("hidden_act", json!("relu2"), &["hidden_act", "relu2", "silu"]);
    bad("sliding_window", json!(4096), &["sliding_window"]);
    bad("quantization_config", json!({"bits": 4}), &["quantization_config", "convert"]);
    bad("layer_types", json!(["full_attention", "sliding_attention"]), &["layer_types"]);
    bad("partial_rotary_factor", json!(0.5), &["partial_rotary_factor"]);
    bad("sandwich_norm", json!(true), &["config.json", "sandwich_norm", "llama", "does not know"]);
    bad("attn_logit_softcapping", json!(50.0), &["attn_logit_softcapping", "50"]);
    bad("use_qk_norm", json!(true), &["use_qk_norm", "true"]);
    bad("num_experts", json!(8), &["num_experts", "8"]);
    bad("mm_vision_tower", json!("clip"), &["mm_vision_tower", "projector"]);
}

#[test]
fn impossible_fields_are_refused() {
    let bad = |key: &str, value: Value, words: &[&str]| refused(llama(|c| c[key] = value), words);
    bad("hidden_size", json!(-1), &["hidden_size", "-1"]);
    bad("hidden_size", json!("4096"), &["hidden_size", "4096", "integer"]);
    bad("hidden_size", json!(4097), &["hidden_size", "32 heads"]);
    bad("num_key_value_heads", json!(5), &["num_key_value_heads", "5"]);
    bad("head_dim", json!(63), &["config.json", "head_dim", "even"]);
    bad("head_dim", json!(258), &["config.json", "head_dim", "258", "256"]);
    bad("hidden_size", json!(32 * 258), &["config.json", "hidden_size", "258", "256"]);
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
    // Llama's own, where nobody names one.
    assert_eq!(DecoderConfig::read(folder.path()).unwrap().eos, [2]);
    put(folder.path(), "generation_config.json", r#"{"eos_token_id": [5, 3, 5]}"#);
    assert_eq!(DecoderConfig::read(folder.path()).unwrap().eos, [3, 5]);
    let text = std::fs::read_to_string(golden("models/llama.config.json")).unwrap();
    assert!(!text.contains("eos"), "the test needs a config without ends");
}

/// Files that people have: what each must say.
struct Published {
    text: &'static str,
    parameters: u64,
    check: fn(&DecoderConfig) -> bool,
}

const PUBLISHED: [Published; 15] = [
    Published {
        // Llama-2-7b.
        text: r#"{"_name_or_path": "meta-llama/Llama-2-7b-hf", "architectures": ["LlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2,
            "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 11008, "max_position_embeddings": 4096,
            "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32, "pretraining_tp": 1,
            "rms_norm_eps": 1e-05, "rope_scaling": null, "tie_word_embeddings": false, "torch_dtype": "float16", "transformers_version": "4.31.0.dev0",
            "use_cache": true, "vocab_size": 32000}"#,
        parameters: 6_738_415_616,
        check: |c| c.ropes == [Rope::plain(10_000.0, 128)],
    },
    Published {
        // Vicuna-7b-v1.5-16k.
        text: r#"{"_name_or_path": "vicuna", "architectures": ["LlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
            "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 11008, "max_position_embeddings": 4096, "max_sequence_length": 16384,
            "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32, "pad_token_id": 0, "pretraining_tp": 1,
            "rms_norm_eps": 1e-05, "rope_scaling": {"factor": 4.0, "type": "linear"}, "tie_word_embeddings": false, "torch_dtype": "float16",
            "transformers_version": "4.31.0", "use_cache": true, "vocab_size": 32000}"#,
        parameters: 6_738_415_616,
        check: |c| c.ropes[0].scaling == RopeScaling::Linear { factor: 4.0 },
    },
    Published {
        // TinyLlama-1.1B-Chat.
        text: r#"{"architectures": ["LlamaForCausalLM"], "attention_bias": false, "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
            "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 5632, "max_position_embeddings": 2048, "model_type": "llama",
            "num_attention_heads": 32, "num_hidden_layers": 22, "num_key_value_heads": 4, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
            "rope_scaling": null, "rope_theta": 10000.0, "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.35.0",
            "use_cache": true, "vocab_size": 32000}"#,
        parameters: 1_100_048_384,
        check: |c| c.head_dim == 64 && c.kv_heads == 4,
    },
    Published {
        // SmolLM2-135M-Instruct.
        text: r#"{"architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2,
            "hidden_act": "silu", "hidden_size": 576, "initializer_range": 0.041666666666666664, "intermediate_size": 1536, "is_llama_config": true,
            "max_position_embeddings": 8192, "mlp_bias": false, "model_type": "llama", "num_attention_heads": 9, "num_hidden_layers": 30,
            "num_key_value_heads": 3, "pad_token_id": 2, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_interleaved": false, "rope_scaling": null,
            "rope_theta": 100000, "tie_word_embeddings": true, "torch_dtype": "bfloat16", "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}},
            "transformers_version": "4.42.3", "use_cache": true, "vocab_size": 49152}"#,
        parameters: 134_515_008,
        check: |c| c.tied_embeddings,
    },
    Published {
        // Llama-3.2-1B-Instruct.
        text: r#"{"architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 128000,
            "eos_token_id": [128001, 128008, 128009], "head_dim": 64, "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02,
            "intermediate_size": 8192, "max_position_embeddings": 131072, "mlp_bias": false, "model_type": "llama", "num_attention_heads": 32,
            "num_hidden_layers": 16, "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": {"factor": 32.0,
            "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"}, "rope_theta": 500000.0,
            "tie_word_embeddings": true, "torch_dtype": "bfloat16", "transformers_version": "4.45.0.dev0", "use_cache": true, "vocab_size": 128256}"#,
        parameters: 1_235_814_400,
        check: |c| matches!(c.ropes[0].scaling, RopeScaling::Llama3 { original_positions: 8192, .. }),
    },
    Published {
        // DeepSeek-R1-Distill-Qwen-1.5B.
        text: r#"{"architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643, "eos_token_id": 151643, "hidden_act": "silu",
            "hidden_size": 1536, "initializer_range": 0.02, "intermediate_size": 8960, "max_position_embeddings": 131072, "max_window_layers": 21,
            "model_type": "qwen2", "num_attention_heads": 12, "num_hidden_layers": 28, "num_key_value_heads": 2, "rms_norm_eps": 1e-06,
            "rope_theta": 10000, "sliding_window": 4096, "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.44.0",
            "use_cache": true, "use_mrope": false, "use_sliding_window": false, "vocab_size": 151936}"#,
        parameters: 1_777_088_000,
        check: |c| c.layer_kinds.iter().all(|kind| kind.window.is_none()),
    },
    Published {
        // Qwen3-0.6B.
        text: r#"{"architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 151643, "eos_token_id": 151645,
            "head_dim": 128, "hidden_act": "silu", "hidden_size": 1024, "initializer_range": 0.02, "intermediate_size": 3072,
            "max_position_embeddings": 40960, "max_window_layers": 28, "model_type": "qwen3", "num_attention_heads": 16, "num_hidden_layers": 28,
            "num_key_value_heads": 8, "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 1000000, "sliding_window": null,
            "tie_word_embeddings": true, "torch_dtype": "bfloat16", "transformers_version": "4.51.0", "use_cache": true, "use_sliding_window": false,
            "vocab_size": 151936}"#,
        parameters: 596_049_920,
        check: |c| c.query_key_norm == Some(QueryKeyNorm::PerHead) && !c.qkv_bias,
    },
    Published {
        // Mistral-7B-v0.1.
        text: r#"{"architectures": ["MistralForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 4096,
            "initializer_range": 0.02, "intermediate_size": 14336, "max_position_embeddings": 32768, "model_type": "mistral", "num_attention_heads": 32,
            "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "sliding_window": 4096,
            "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.34.0.dev0", "use_cache": true, "vocab_size": 32000}"#,
        parameters: 7_241_732_096,
        check: |c| c.layer_kinds.iter().all(|kind| kind.window == Some(4096)),
    },
    Published {
        // Mistral-7B-Instruct-v0.3.
        text: r#"{"architectures": ["MistralForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
            "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336, "max_position_embeddings": 32768, "model_type": "mistral",
            "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 1000000.0,
            "sliding_window": null, "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.42.0.dev0", "use_cache": true,
            "vocab_size": 32768}"#,
        parameters: 7_248_023_552,
        check: |c| c.layer_kinds.iter().all(|kind| kind.window.is_none()),
    },
    Published {
        // gemma-3-1b-it.
        text: r#"{"architectures": ["Gemma3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "attn_logit_softcapping": null,
            "bos_token_id": 2, "cache_implementation": "hybrid", "eos_token_id": [1, 106], "final_logit_softcapping": null, "head_dim": 256,
            "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 1152, "initializer_range": 0.02, "intermediate_size": 6912,
            "max_position_embeddings": 32768, "model_type": "gemma3_text", "num_attention_heads": 4, "num_hidden_layers": 26, "num_key_value_heads": 1,
            "pad_token_id": 0, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06, "rope_local_base_freq": 10000, "rope_scaling": null,
            "rope_theta": 1000000, "sliding_window": 512, "sliding_window_pattern": 6, "torch_dtype": "bfloat16", "transformers_version": "4.50.0.dev0",
            "use_cache": true, "vocab_size": 262144}"#,
        parameters: 999_885_952,
        check: |c| {
            let full = c.layer_kinds.iter().filter(|kind| kind.window.is_none() && kind.rope == Some(0)).count();
            let local = c.layer_kinds.iter().filter(|kind| kind.window == Some(512) && kind.rope == Some(1)).count();
            (full, local) == (4, 22)
                && (c.norms, c.norm_offset, c.activation) == (NormPlacement::Around, true, Activation::GeluTanh)
                && c.tied_embeddings
                && c.embedding_scale == f64::from(1152f32.sqrt())
                && c.ropes == [Rope::plain(1e6, 256), Rope::plain(1e4, 256)]
        },
    },
    Published {
        // Phi-4-mini-instruct, its 48 divisors all 1 here.
        text: r#"{"architectures": ["Phi3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
            "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config"}, "bos_token_id": 199999, "embd_pdrop": 0.0, "eos_token_id": 199999,
            "full_attn_mod": 1, "hidden_act": "silu", "hidden_size": 3072, "initializer_range": 0.02, "intermediate_size": 8192, "interpolate_factor": 1,
            "lm_head_bias": false, "max_position_embeddings": 131072, "mlp_bias": false, "model_type": "phi3", "num_attention_heads": 24,
            "num_hidden_layers": 32, "num_key_value_heads": 8, "original_max_position_embeddings": 4096, "pad_token_id": 199999,
            "partial_rotary_factor": 0.75, "resid_pdrop": 0.0, "rms_norm_eps": 1e-05, "rope_scaling": {"type": "longrope",
            "long_factor": [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],
            "short_factor": [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]},
            "rope_theta": 10000.0, "sliding_window": 262144, "tie_word_embeddings": true, "torch_dtype": "bfloat16", "transformers_version": "4.45.0",
            "use_cache": true, "vocab_size": 200064}"#,
        parameters: 3_836_021_760,
        check: |c| c.fused && c.ropes[0].width == 96 && c.ropes[0].switch() == Some(4097),
    },
    Published {
        // SmolLM3-3B.
        text: r#"{"architectures": ["SmolLM3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": null, "eos_token_id": 128012,
            "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 11008, "max_position_embeddings": 65536,
            "max_window_layers": 28, "mlp_bias": false, "model_type": "smollm3", "no_rope_layer_interval": 4,
            "no_rope_layers": [1,1,1,0,1,1,1,0,1,1,1,0,1,1,1,0,1,1,1,0,1,1,1,0,1,1,1,0,1,1,1,0,1,1,1,0], "num_attention_heads": 16,
            "num_hidden_layers": 36, "num_key_value_heads": 4, "pad_token_id": 128004, "pretraining_tp": 2, "rms_norm_eps": 1e-06, "rope_scaling": null,
            "rope_theta": 5000000.0, "sliding_window": null, "torch_dtype": "bfloat16", "transformers_version": "4.54.0.dev0", "use_cache": false,
            "use_sliding_window": false, "vocab_size": 128256}"#,
        parameters: 3_075_098_624,
        check: |c| c.bos.is_none() && c.layer_kinds.iter().filter(|kind| kind.rope.is_none()).count() == 9,
    },
    Published {
        // OLMo-2-0425-1B.
        text: r#"{"architectures": ["Olmo2ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "eos_token_id": 100257, "hidden_act": "silu",
            "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 8192, "max_position_embeddings": 4096, "model_type": "olmo2",
            "num_attention_heads": 16, "num_hidden_layers": 16, "num_key_value_heads": 16, "pad_token_id": 100277, "rms_norm_eps": 1e-06,
            "rope_scaling": null, "rope_theta": 500000, "tie_word_embeddings": false, "torch_dtype": "float32", "transformers_version": "4.50.0",
            "use_cache": false, "vocab_size": 100352}"#,
        parameters: 1_484_916_736,
        check: |c| c.norms == NormPlacement::After && c.query_key_norm == Some(QueryKeyNorm::Whole) && c.bos.is_none(),
    },
    Published {
        // granite-3.1-2b-instruct.
        text: r#"{"architectures": ["GraniteForCausalLM"], "attention_bias": false, "attention_dropout": 0.1, "attention_multiplier": 0.015625,
            "bos_token_id": 0, "embedding_multiplier": 12.0, "eos_token_id": 0, "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02,
            "intermediate_size": 8192, "logits_scaling": 8.0, "max_position_embeddings": 131072, "mlp_bias": false, "model_type": "granite",
            "num_attention_heads": 32, "num_hidden_layers": 40, "num_key_value_heads": 8, "pad_token_id": 0, "residual_multiplier": 0.22,
            "rms_norm_eps": 1e-05, "rope_scaling": null, "rope_theta": 5000000.0, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
            "transformers_version": "4.47.0.dev0", "use_cache": true, "vocab_size": 49155}"#,
        parameters: 2_533_531_648,
        check: |c| {
            (c.embedding_scale, c.visual_scale, c.residual_scale, c.logits_divisor) == (12.0, 12.0, 0.22, 8.0)
                && c.attention_scale == 0.015625
        },
    },
    Published {
        // Ministral-8B-Instruct-2410, whose file is of Mistral's type.
        text: r#"{"architectures": ["MistralForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2, "head_dim": 128,
            "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 12288, "max_position_embeddings": 32768,
            "model_type": "mistral", "num_attention_heads": 32, "num_hidden_layers": 36, "num_key_value_heads": 8, "rms_norm_eps": 1e-05,
            "rope_theta": 100000000.0, "sliding_window": 32768, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
            "transformers_version": "4.46.0.dev0", "use_cache": true, "vocab_size": 131072}"#,
        parameters: 8_019_808_256,
        check: |c| c.ropes == [Rope::plain(1e8, 128)],
    },
];

#[test]
fn published_files_of_every_family() {
    for Published { text, parameters, check } in PUBLISHED {
        let config = DecoderConfig::parse(text, Path::new("config.json")).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(config.parameters(), parameters, "{text}");
        assert!(check(&config), "{config:?}");
    }
}

/// What `save_pretrained` writes with each family's defaults (see `golden/generate_families.py`) reads as an object does that says nothing but
/// its type.
#[test]
fn defaults_are_those_of_transformers() {
    let text = std::fs::read_to_string(golden("families/configs.json")).unwrap();
    let written: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(written.len(), 10);
    for whole in written {
        let parse = |value: &Value| DecoderConfig::parse(&value.to_string(), Path::new("config.json"));
        let mut whole_config = parse(&whole).unwrap_or_else(|e| panic!("{e}\n{whole}"));
        let short = parse(&json!({"model_type": whole["model_type"]})).unwrap();
        // This one alone says whether it was there.
        assert!(whole_config.max_positions.is_some() && short.max_positions.is_none());
        whole_config.max_positions = None;
        assert_eq!(whole_config, short);
    }
}

/// Frequencies and amplitudes as Transformers makes them of many ways to write them down (see `golden/generate_families.py`).
#[test]
fn rotary_embeddings_are_those_of_transformers() {
    let text = std::fs::read_to_string(golden("families/ropes.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert!(cases.len() > 50);
    for case in cases {
        let config = DecoderConfig::parse(&case["config"].to_string(), Path::new("config.json"));
        let config = config.unwrap_or_else(|e| panic!("{e}\n{case}"));
        let rope = &config.ropes[usize::from(case["sliding"] == true)];
        let got = rope.frequencies(rope.set_of(case["length"].as_u64().unwrap() as usize));
        let want: Vec<f64> = serde_json::from_value(case["frequencies"].clone()).unwrap();
        assert_eq!(got.len(), want.len(), "{case}");
        for (got, want) in got.iter().zip(&want) {
            assert!((got - want).abs() <= 1e-12 * want.abs(), "{got} for {want}: {case}");
        }
        let amplitude = case["amplitude"].as_f64().unwrap();
        assert!((rope.amplitude() - amplitude).abs() <= 1e-12, "{} for {amplitude}: {case}", rope.amplitude());
    }
}

#[test]
fn windows_and_kinds_of_layers() {
    let parse = |fields: Value| {
        let mut config = json!({"num_hidden_layers": 4, "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 8});
        config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        DecoderConfig::parse(&config.to_string(), Path::new("config.json"))
    };
    let windows = |fields: Value| -> Vec<Option<u32>> {
        parse(fields).unwrap().layer_kinds.iter().map(|kind| kind.window).collect()
    };
    let (none, five) = (None, Some(5));
    assert_eq!(windows(json!({"model_type": "mistral", "sliding_window": 5})), [five; 4]);
    assert_eq!(windows(json!({"model_type": "mistral"})), [Some(4096); 4]);
    assert_eq!(windows(json!({"model_type": "mistral", "sliding_window": null})), [none; 4]);
    assert_eq!(windows(json!({"model_type": "phi3"})), [none; 4]);
    let qwen = json!({"model_type": "qwen3", "use_sliding_window": true, "sliding_window": 5, "max_window_layers": 1});
    assert_eq!(windows(qwen), [none, five, five, five]);
    let gemma = json!({"model_type": "gemma3_text", "sliding_window": 5, "sliding_window_pattern": 2});
    assert_eq!(windows(gemma), [five, none, five, none]);
    let smol =
        json!({"model_type": "smollm3", "use_sliding_window": true, "sliding_window": 5, "no_rope_layer_interval": 2});
    assert_eq!(windows(smol), [none, five, none, five]);
    refused(
        parse(json!({"model_type": "qwen3", "layer_types": vec!["sliding_attention"; 4]})),
        &["layer_types", "sliding_window"],
    );
    let mistral = json!({"model_type": "mistral", "sliding_window": 5, "layer_types": vec!["full_attention"; 4]});
    refused(parse(mistral), &["layer_types", "mistral"]);
    refused(parse(json!({"model_type": "smollm3", "no_rope_layers": [1, 0]})), &["no_rope_layers", "4"]);
    refused(parse(json!({"model_type": "phi3", "attention_bias": true})), &["attention_bias", "phi3"]);
    refused(parse(json!({"model_type": "olmo2", "mlp_bias": true})), &["mlp_bias", "olmo2"]);
    refused(parse(json!({"model_type": "gemma3_text", "hidden_act": "silu"})), &["hidden_act", "hidden_activation"]);
    refused(parse(json!({"model_type": "gemma3_text", "final_logit_softcapping": 30.0})), &["final_logit_softcapping"]);
    refused(parse(json!({"model_type": "gemma3_text", "use_bidirectional_attention": true})), &["use_bidirectional"]);
    refused(parse(json!({"model_type": "llama", "query_pre_attn_scalar": 4})), &["query_pre_attn_scalar", "llama"]);
    refused(
        parse(
            json!({"model_type": "phi3", "rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}}),
        ),
        &["rope_scaling", "short_factor", "4 numbers"],
    );
    refused(
        parse(json!({"model_type": "gemma3_text", "rope_parameters": {"rope_type": "default"}})),
        &["rope_parameters", "rope_type", "full_attention"],
    );
}
