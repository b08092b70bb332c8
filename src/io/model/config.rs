//! `config.json` of the Llama and Qwen2 families.

use std::path::Path;

use serde_json::{Map, Value};

use super::fields::{Fields, read_object_if_there};
use super::source::ModelFiles;
use crate::{Error, Result};

/// The architectures that the decoder knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// Llama 1 to 3 and what has its layout (`model_type` `llama`).
    Llama,
    /// Qwen2 and Qwen2.5 (`model_type` `qwen2`): Llama with biases on queries, keys and values.
    Qwen2,
}

/// Llama 3's stretching of the rotary embedding for long contexts (`rope_type` `llama3`).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RopeScaling {
    /// Frequencies whose wavelength exceeds `original_positions / low_frequency_factor` are divided by this.
    pub factor: f64,
    /// Bounds the long wavelengths.
    pub low_frequency_factor: f64,
    /// Wavelengths below `original_positions / high_frequency_factor` stay; between the bounds it is a blend.
    pub high_frequency_factor: f64,
    /// The context length, in tokens, of the model before it was stretched.
    pub original_positions: usize,
}

/// The shape of a decoder and the constants of its layers.
#[derive(Clone, PartialEq, Debug)]
pub struct DecoderConfig {
    /// The architecture.
    pub family: Family,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head; even.
    pub head_dim: usize,
    /// Width inside the gated MLP (SiLU).
    pub intermediate_size: usize,
    /// Rows of the embedding table, padding included; below 2³⁰.
    pub vocab_size: usize,
    /// Base of the rotary embedding.
    pub rope_theta: f64,
    /// Stretching of the rotary embedding, if any.
    pub rope_scaling: Option<RopeScaling>,
    /// ε of RMSNorm, inside the root.
    pub norm_eps: f64,
    /// Whether the output matrix is the embedding table.
    pub tied_embeddings: bool,
    /// Biases on the projections to queries, keys and values.
    pub qkv_bias: bool,
    /// Bias on attention's output projection.
    pub output_bias: bool,
    /// Biases in the MLP.
    pub mlp_bias: bool,
    /// The longest context that the model was made for, in tokens, if it says so.
    pub max_positions: Option<usize>,
    /// The token that starts a text; Qwen2 names one and does not use it, ask the tokenizer.
    pub bos: Option<u32>,
    /// The tokens that end a generation, `generation_config.json` included.
    pub eos: Vec<u32>,
}

impl DecoderConfig {
    /// Reads `config.json` and, if there, `generation_config.json` of a model folder; or the metadata of a GGUF file.
    ///
    /// # Errors
    /// A file that is missing or no JSON, an architecture other than Llama and Qwen2, a field that is missing or
    /// impossible, or one that asks for what the decoder does not do (sliding windows, quantised weights, another
    /// activation or rotary scaling, several modalities).
    pub fn read(folder: &Path) -> Result<DecoderConfig> {
        let (path, object) = ModelFiles::open(folder)?.config()?;
        let mut config = DecoderConfig::from_object(&object, &path)?;
        let path = folder.join("generation_config.json");
        if let Some(object) = read_object_if_there(path.clone())? {
            let more = Fields::new(&path, &object).token_ids("eos_token_id")?;
            config.eos.extend(more);
        }
        config.eos.sort_unstable();
        config.eos.dedup();
        config.check_ids(&path)?;
        Ok(config)
    }

    /// Reads the text of a `config.json`; `path` is its name for errors.
    ///
    /// # Errors
    /// As [`DecoderConfig::read`].
    pub fn parse(text: &str, path: &Path) -> Result<DecoderConfig> {
        match serde_json::from_str(text) {
            Ok(Value::Object(object)) => {
                let config = DecoderConfig::from_object(&object, path)?;
                config.check_ids(path)?;
                Ok(config)
            }
            Ok(_) => Err(Error::format(path, "holds no JSON object")),
            Err(e) => Err(Error::format(path, format!("not valid JSON: {e}"))),
        }
    }

    fn from_object(object: &Map<String, Value>, path: &Path) -> Result<DecoderConfig> {
        let fields = Fields::new(path, object);
        let family = family(&fields)?;
        refuse_what_we_lack(&fields, family)?;
        let heads = fields.size_or("num_attention_heads", None)?;
        let hidden_size = fields.size_or("hidden_size", None)?;
        let (rope_theta, rope_scaling) = rope(&fields)?;
        // Qwen2's are fixed by its architecture, whatever the file says.
        let attention_bias = fields.bool_or("attention_bias", false)? && family == Family::Llama;
        let config = DecoderConfig {
            family,
            hidden_size,
            layers: fields.size_or("num_hidden_layers", None)?,
            heads,
            kv_heads: fields.size_or("num_key_value_heads", Some(heads))?,
            head_dim: fields.size_or("head_dim", Some((hidden_size / heads).max(1)))?,
            intermediate_size: fields.size_or("intermediate_size", None)?,
            vocab_size: fields.size_or("vocab_size", None)?,
            rope_theta,
            rope_scaling,
            norm_eps: fields.needed_positive("rms_norm_eps")?,
            tied_embeddings: fields.bool_or("tie_word_embeddings", false)?,
            qkv_bias: family == Family::Qwen2 || attention_bias,
            output_bias: attention_bias,
            mlp_bias: family == Family::Llama && fields.bool_or("mlp_bias", false)?,
            max_positions: fields
                .get("max_position_embeddings")
                .map(|_| fields.size_or("max_position_embeddings", None))
                .transpose()?,
            bos: fields.token_ids("bos_token_id")?.first().copied(),
            eos: fields.token_ids("eos_token_id")?,
        };
        config.check_shapes(&fields)?;
        Ok(config)
    }

    fn check_shapes(&self, fields: &Fields) -> Result<()> {
        if !self.head_dim.is_multiple_of(2) {
            let problem = format!("makes heads {} wide; the rotary embedding needs an even width", self.head_dim);
            return Err(fields.error("head_dim", &problem));
        }
        if fields.get("head_dim").is_none() && !self.hidden_size.is_multiple_of(self.heads) {
            let problem = format!("is {}, which {} heads do not divide", self.hidden_size, self.heads);
            return Err(fields.error("hidden_size", &problem));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            let problem = format!("is {}, which does not divide the {} heads", self.kv_heads, self.heads);
            return Err(fields.error("num_key_value_heads", &problem));
        }
        if self.vocab_size >= 1 << 30 {
            return Err(fields.error("vocab_size", "must be below 2^30"));
        }
        Ok(())
    }

    fn check_ids(&self, path: &Path) -> Result<()> {
        match self.bos.iter().chain(&self.eos).find(|id| **id as usize >= self.vocab_size) {
            None => Ok(()),
            Some(id) => {
                let problem = format!("token id {id} is outside the vocabulary of {}", self.vocab_size);
                Err(Error::format(path, format!("{problem}: \"bos_token_id\" or \"eos_token_id\" is wrong")))
            }
        }
    }

    /// Every tensor of the model, by its Hugging Face name, with its shape: embedding, blocks in order, last norm, output
    /// matrix (unless tied).
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (h, m) = (self.hidden_size, self.intermediate_size);
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let mut all = vec![("model.embed_tokens.weight".to_string(), vec![self.vocab_size, h])];
        for layer in 0..self.layers {
            let norm = |name: &str| (format!("model.layers.{layer}.{name}.weight"), vec![h]);
            all.push(norm("input_layernorm"));
            let linear = [
                ("self_attn.q_proj", q, h, self.qkv_bias),
                ("self_attn.k_proj", kv, h, self.qkv_bias),
                ("self_attn.v_proj", kv, h, self.qkv_bias),
                ("self_attn.o_proj", h, q, self.output_bias),
                ("mlp.gate_proj", m, h, self.mlp_bias),
                ("mlp.up_proj", m, h, self.mlp_bias),
                ("mlp.down_proj", h, m, self.mlp_bias),
            ];
            for (name, rows, columns, bias) in linear {
                all.push((format!("model.layers.{layer}.{name}.weight"), vec![rows, columns]));
                if bias {
                    all.push((format!("model.layers.{layer}.{name}.bias"), vec![rows]));
                }
            }
            all.push(norm("post_attention_layernorm"));
        }
        all.push(("model.norm.weight".to_string(), vec![h]));
        if !self.tied_embeddings {
            all.push(("lm_head.weight".to_string(), vec![self.vocab_size, h]));
        }
        all
    }

    /// Numbers in all tensors together.
    pub fn parameters(&self) -> u64 {
        self.tensors().iter().map(|(_, shape)| shape.iter().map(|n| *n as u64).product::<u64>()).sum()
    }
}

fn family(fields: &Fields) -> Result<Family> {
    let architecture = fields.get("architectures").and_then(|list| list.get(0)).and_then(Value::as_str);
    let known = "the decoder knows \"llama\" (LlamaForCausalLM) and \"qwen2\" (Qwen2ForCausalLM)";
    let (kind, class) = match (fields.text("model_type")?, architecture) {
        (Some("llama"), class) => (Family::Llama, class),
        (Some("qwen2"), class) => (Family::Qwen2, class),
        (None, class @ Some("LlamaForCausalLM")) => (Family::Llama, class),
        (None, class @ Some("Qwen2ForCausalLM")) => (Family::Qwen2, class),
        (Some(other), _) => return Err(fields.error("model_type", &format!("is {other:?}; {known}"))),
        (None, _) => return Err(fields.error("model_type", &format!("is missing; {known}"))),
    };
    match class {
        None | Some("LlamaForCausalLM" | "Qwen2ForCausalLM" | "LlamaModel" | "Qwen2Model") => Ok(kind),
        Some(other) => Err(fields.error("architectures", &format!("names {other:?}; {known}"))),
    }
}

/// Fields that change what the model computes, in ways that the decoder does not follow.
fn refuse_what_we_lack(fields: &Fields, family: Family) -> Result<()> {
    if fields.get("quantization_config").is_some() {
        return Err(fields.error("quantization_config", "is set; convert the model to bf16, f16 or f32 first"));
    }
    match fields.text("hidden_act")? {
        None | Some("silu" | "swish") => {}
        Some(other) => return Err(fields.error("hidden_act", &format!("is {other:?}; the decoder knows \"silu\""))),
    }
    // Qwen2's files name a window and then switch it off.
    let window = fields.bool_or("use_sliding_window", false)?
        || (family == Family::Llama && fields.get("sliding_window").is_some());
    if window {
        return Err(fields.error("sliding_window", "is in use; the decoder attends to the whole context"));
    }
    let types = fields.get("layer_types").and_then(Value::as_array);
    if types.is_some_and(|types| types.iter().any(|kind| kind != "full_attention")) {
        return Err(fields.error("layer_types", "names other layers than \"full_attention\""));
    }
    if fields.positive("partial_rotary_factor")?.is_some_and(|part| part != 1.0) {
        return Err(fields.error("partial_rotary_factor", "is not 1; the decoder rotates whole heads"));
    }
    for name in ["mm_vision_tower", "vision_config"] {
        if fields.get(name).is_some() {
            let problem =
                "is set: a multimodal model; give the folder of its language model, and its projector by itself";
            return Err(fields.error(name, problem));
        }
    }
    if fields.get("attention_dropout").and_then(Value::as_f64).is_some_and(|p| p > 0.0) {
        log::warn!("{}: attention_dropout is not 0 and is ignored", fields.path.display());
    }
    Ok(())
}

/// θ and the scaling, from `rope_parameters` or from the older `rope_theta` and `rope_scaling`.
fn rope(fields: &Fields) -> Result<(f64, Option<RopeScaling>)> {
    let new = fields.object("rope_parameters")?;
    let scaling = match &new {
        Some(new) => Some(new.clone()),
        None => fields.object("rope_scaling")?,
    };
    let theta = match &new {
        Some(new) => new.positive("rope_theta")?,
        None => None,
    };
    let theta = match theta {
        Some(theta) => theta,
        // Llama 1 and 2 leave it out.
        None => fields.positive("rope_theta")?.unwrap_or(10_000.0),
    };
    let Some(scaling) = scaling else { return Ok((theta, None)) };
    if scaling.positive("partial_rotary_factor")?.is_some_and(|part| part != 1.0) {
        return Err(scaling.error("partial_rotary_factor", "is not 1; the decoder rotates whole heads"));
    }
    let kind = match scaling.text("rope_type")? {
        Some(kind) => Some(kind),
        None => scaling.text("type")?,
    };
    match kind {
        Some("default") => Ok((theta, None)),
        None if new.is_some() => Ok((theta, None)),
        Some("llama3") => {
            let scaling = RopeScaling {
                factor: scaling.needed_positive("factor")?,
                low_frequency_factor: scaling.needed_positive("low_freq_factor")?,
                high_frequency_factor: scaling.needed_positive("high_freq_factor")?,
                original_positions: scaling.size_or("original_max_position_embeddings", None)?,
            };
            if scaling.high_frequency_factor <= scaling.low_frequency_factor {
                let problem = "must be above \"low_freq_factor\"";
                return Err(fields.error("high_freq_factor", problem));
            }
            Ok((theta, Some(scaling)))
        }
        other => {
            let found = other.unwrap_or("nothing");
            let problem = format!("is {found:?}; the decoder knows \"default\" and \"llama3\"");
            Err(scaling.error("rope_type", &problem))
        }
    }
}
