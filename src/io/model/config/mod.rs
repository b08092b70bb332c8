//! `config.json` of a decoder, as a table of features: a family is a row of defaults, see `family.rs`.

mod family;
mod keys;
mod layers;
mod rope;
mod tensors;

use std::path::Path;

use serde_json::{Map, Value};

use super::fields::{Fields, read_object_if_there};
use super::source::ModelFiles;
use crate::{Error, Result};

pub use family::{Family, NormPlacement, QueryKeyNorm};
pub use layers::LayerKind;
pub use rope::{Rope, RopeScaling};
pub use tensors::Stored;

#[cfg(feature = "encode")]
pub(super) use keys::says_nothing;

/// Whether a file describes a decoder of a family that is in the table.
#[cfg(feature = "encode")]
pub(super) fn knows(fields: &Fields) -> bool {
    family::row(fields).is_ok()
}

use family::{AttentionBias, Row};

/// What the MLP's gate is passed through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activation {
    /// x σ(x) (`silu`, `swish`).
    Silu,
    /// x Φ(x), exactly (`gelu`).
    Gelu,
    /// GELU by tanh (`gelu_pytorch_tanh`, `gelu_new` and others).
    GeluTanh,
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
    /// Width of one head; even, at most 256.
    pub head_dim: usize,
    /// Width inside the gated MLP.
    pub intermediate_size: usize,
    /// Rows of the embedding table, padding included; below 2³⁰.
    pub vocab_size: usize,
    /// What the MLP's gate is passed through.
    pub activation: Activation,
    /// Where a layer has its norms.
    pub norms: NormPlacement,
    /// Whether norms multiply by 1 + w instead of w.
    pub norm_offset: bool,
    /// ε of RMSNorm, inside the root.
    pub norm_eps: f64,
    /// The norms of queries and keys, if any.
    pub query_key_norm: Option<QueryKeyNorm>,
    /// The rotary embeddings that layers have; one, or two where layers with a window have another.
    pub ropes: Vec<Rope>,
    /// What each layer's attention does, `layers` of them.
    pub layer_kinds: Vec<LayerKind>,
    /// What the scores of queries and keys are multiplied by.
    pub attention_scale: f64,
    /// What rows of the embedding table are multiplied by.
    pub embedding_scale: f64,
    /// What visual tokens are multiplied by.
    pub visual_scale: f64,
    /// What the results of attention and MLP are multiplied by before they are added to the stream.
    pub residual_scale: f64,
    /// What logits are divided by.
    pub logits_divisor: f64,
    /// Whether the output matrix is the embedding table.
    pub tied_embeddings: bool,
    /// Biases on the projections to queries, keys and values.
    pub qkv_bias: bool,
    /// Bias on attention's output projection.
    pub output_bias: bool,
    /// Biases in the MLP.
    pub mlp_bias: bool,
    /// Whether files hold queries, keys and values in one matrix, and gate and up in another.
    pub fused: bool,
    /// The longest context that the model was made for, in tokens, if it says so.
    pub max_positions: Option<usize>,
    /// The token that starts a text; Qwen2 names one and does not use it, ask the tokenizer.
    pub bos: Option<u32>,
    /// The tokens that end a generation, `generation_config.json` included.
    pub eos: Vec<u32>,
}

/// Sizes of a decoder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DecoderShape {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head; even, at most 256.
    pub head_dim: usize,
    /// Width inside the gated MLP.
    pub intermediate_size: usize,
    /// Rows of the embedding table.
    pub vocab_size: usize,
}

impl DecoderConfig {
    /// A plain Llama of this shape: no biases, a matrix of its own for the output, ε = 1e-5, θ = 10000.
    pub fn llama(shape: DecoderShape) -> DecoderConfig {
        DecoderConfig {
            family: Family::Llama,
            hidden_size: shape.hidden_size,
            layers: shape.layers,
            heads: shape.heads,
            kv_heads: shape.kv_heads,
            head_dim: shape.head_dim,
            intermediate_size: shape.intermediate_size,
            vocab_size: shape.vocab_size,
            activation: Activation::Silu,
            norms: NormPlacement::Before,
            norm_offset: false,
            norm_eps: 1e-5,
            query_key_norm: None,
            ropes: vec![Rope::plain(10_000.0, shape.head_dim)],
            layer_kinds: vec![LayerKind { window: None, rope: Some(0) }; shape.layers],
            attention_scale: (shape.head_dim as f64).powf(-0.5),
            embedding_scale: 1.0,
            visual_scale: 1.0,
            residual_scale: 1.0,
            logits_divisor: 1.0,
            tied_embeddings: false,
            qkv_bias: false,
            output_bias: false,
            mlp_bias: false,
            fused: false,
            max_positions: None,
            bos: None,
            eos: Vec::new(),
        }
    }

    /// Reads `config.json` and, if there, `generation_config.json` of a model folder.
    ///
    /// # Errors
    /// A file that is missing or no JSON, an architecture that is not in the table of [`Family`], a field that is impossible or not
    /// known, or one that asks for what the decoder does not do (quantised weights, another activation or rotary scaling, several
    /// modalities).
    pub fn read(folder: &Path) -> Result<DecoderConfig> {
        let (path, object) = ModelFiles::open(folder)?.config()?;
        let mut config = DecoderConfig::from_object(&object, &path)?;
        let named = object.contains_key("eos_token_id");
        let path = folder.join("generation_config.json");
        if let Some(object) = read_object_if_there(path.clone())? {
            let more = Fields::new(&path, &object).token_ids("eos_token_id")?;
            if !named && !more.is_empty() {
                // What the family has where nobody says otherwise.
                config.eos.clear();
            }
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

    /// From the fields of a `config.json`, as other formats describe a model, too; `path` is the file's name for errors. Ids of tokens
    /// are not checked.
    pub(crate) fn from_object(object: &Map<String, Value>, path: &Path) -> Result<DecoderConfig> {
        let fields = Fields::new(path, object);
        let row = family::row(&fields)?;
        keys::check(&fields, row)?;
        let [vocabulary, hidden, intermediate, layers, heads] = row.sizes;
        let size = |name: &str, default: usize| fields.size_or(name, Some(default));
        let heads = size("num_attention_heads", heads)?;
        let hidden_size = size("hidden_size", hidden)?;
        let head_dim = head_dim(&fields, row, (hidden_size, heads))?;
        let layers = size("num_hidden_layers", layers)?;
        let positions = size("max_position_embeddings", row.positions)?;
        let (rope, sliding_rope) = rope::read(&fields, &rope::Context { row, head_dim, positions })?;
        let two_ropes = sliding_rope.is_some();
        let bias = fields.bool_or("attention_bias", false)? && row.attention_bias == AttentionBias::ByField;
        let vocab_size = size("vocab_size", vocabulary)?;
        let scales = scales(&fields, row, (head_dim, hidden_size))?;
        let config = DecoderConfig {
            family: row.family,
            hidden_size,
            layers,
            heads,
            kv_heads: size("num_key_value_heads", row.kv_heads.unwrap_or(heads))?,
            head_dim,
            intermediate_size: size("intermediate_size", intermediate)?,
            vocab_size,
            activation: activation(&fields, row)?,
            norms: row.norms,
            norm_offset: row.unit_offset,
            norm_eps: fields.positive("rms_norm_eps")?.unwrap_or(row.norm_eps),
            query_key_norm: row.query_key_norm,
            ropes: std::iter::once(rope).chain(sliding_rope).collect(),
            layer_kinds: layers::read(&fields, row, layers, two_ropes)?,
            attention_scale: scales.attention,
            embedding_scale: scales.embedding,
            visual_scale: scales.visual,
            residual_scale: scales.residual,
            logits_divisor: scales.logits,
            tied_embeddings: fields.bool_or("tie_word_embeddings", row.tied)?,
            qkv_bias: bias || row.attention_bias == AttentionBias::QueryKeyValue,
            output_bias: bias,
            mlp_bias: fields.bool_or("mlp_bias", false)?,
            fused: row.fused,
            max_positions: fields.get("max_position_embeddings").map(|_| positions),
            bos: token_ids(&fields, "bos_token_id", row.bos, vocab_size)?.first().copied(),
            eos: token_ids(&fields, "eos_token_id", row.eos, vocab_size)?,
        };
        config.check_shapes(&fields)?;
        Ok(config)
    }

    fn check_shapes(&self, fields: &Fields) -> Result<()> {
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
}

/// The width of a head: the file's, the family's, or the model's width over its heads.
fn head_dim(fields: &Fields, row: &Row, (hidden, heads): (usize, usize)) -> Result<usize> {
    let derived = fields.get("head_dim").is_none() && row.head_dim.is_none();
    if derived && !hidden.is_multiple_of(heads) {
        let problem = format!("is {hidden}, which {heads} heads do not divide");
        return Err(fields.error("hidden_size", &problem));
    }
    let width = fields.size_or("head_dim", Some(row.head_dim.unwrap_or((hidden / heads).max(1))))?;
    if !width.is_multiple_of(2) || width > 256 {
        let name = if derived { "hidden_size" } else { "head_dim" };
        let problem = format!("makes heads {width} wide; the decoder has heads of an even width up to 256");
        return Err(fields.error(name, &problem));
    }
    Ok(width)
}

/// Multipliers of a decoder.
struct Scales {
    attention: f64,
    embedding: f64,
    visual: f64,
    residual: f64,
    logits: f64,
}

fn scales(fields: &Fields, row: &Row, (head_dim, hidden): (usize, usize)) -> Result<Scales> {
    let mut scales =
        Scales { attention: (head_dim as f64).powf(-0.5), embedding: 1.0, visual: 1.0, residual: 1.0, logits: 1.0 };
    if row.family == Family::Gemma3 {
        scales.attention = fields.positive("query_pre_attn_scalar")?.unwrap_or(256.0).powf(-0.5);
        // Of the table's rows alone, rounded to f32 as Transformers does where it computes in f32: visual tokens come as they are.
        scales.embedding = f64::from((hidden as f64).sqrt() as f32);
    }
    if row.family == Family::Granite {
        let one = |name: &str| Ok::<_, Error>(fields.positive(name)?.unwrap_or(1.0));
        scales.attention = one("attention_multiplier")?;
        scales.embedding = one("embedding_multiplier")?;
        // Of the whole stream.
        scales.visual = scales.embedding;
        scales.residual = one("residual_multiplier")?;
        scales.logits = one("logits_scaling")?;
    }
    Ok(scales)
}

fn activation(fields: &Fields, row: &Row) -> Result<Activation> {
    let (name, default) = row.activation;
    match fields.text(name)?.unwrap_or(default) {
        "silu" | "swish" => Ok(Activation::Silu),
        "gelu" | "gelu_python" => Ok(Activation::Gelu),
        "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_new" | "gelu_fast" | "gelu_accurate" => {
            Ok(Activation::GeluTanh)
        }
        other => {
            let known = "the decoder knows \"silu\", \"gelu\", \"gelu_pytorch_tanh\" and their other names";
            Err(fields.error(name, &format!("is {other:?}; {known}")))
        }
    }
}

/// The ids that a field names, or the family's where it is absent and the vocabulary has it.
fn token_ids(fields: &Fields, name: &str, default: Option<u32>, vocabulary: usize) -> Result<Vec<u32>> {
    if fields.get(name).is_some() || fields.is_null(name) {
        return fields.token_ids(name);
    }
    Ok(default.filter(|id| (*id as usize) < vocabulary).into_iter().collect())
}
