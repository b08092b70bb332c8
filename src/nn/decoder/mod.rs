//! Decoder language models of the Llama and Qwen2 families: RMSNorm, rotary embedding, grouped-query attention, SiLU-gated
//! MLP, with biases on q, k and v and tied embeddings where the family has them.

mod backward;
mod files;
mod forward;
pub mod generate;
mod head;
mod low_rank;
mod precision;
mod space;

pub use forward::{Batch, Cache};
pub use head::{Head, HeadSpace, Logits, LogitsBlock};
pub use low_rank::LowRankOptions;
pub use space::{Keep, LayerSpace, Space};

use super::linear::Linear;
use super::parameters::{Parameters, Slot};
use super::precision::Precision;
use crate::device::Device;
use crate::io::DecoderConfig;
use crate::kernels::nn::attention::Heads;
use crate::kernels::nn::rotary::{Frequencies, Llama3Scaling};
use crate::{ElementType, Result};

/// The parameters of one layer.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub attention_norm: Slot,
    pub q: Linear,
    pub k: Linear,
    pub v: Linear,
    pub o: Linear,
    pub mlp_norm: Slot,
    pub gate: Linear,
    pub up: Linear,
    pub down: Linear,
}

impl Layer {
    /// The linear layers in a fixed order, with the names that files have for them.
    pub(crate) fn linears(&mut self) -> [(&'static str, &mut Linear); 7] {
        [
            ("self_attn.q_proj", &mut self.q),
            ("self_attn.k_proj", &mut self.k),
            ("self_attn.v_proj", &mut self.v),
            ("self_attn.o_proj", &mut self.o),
            ("mlp.gate_proj", &mut self.gate),
            ("mlp.up_proj", &mut self.up),
            ("mlp.down_proj", &mut self.down),
        ]
    }
}

/// A decoder language model on a device: its matrices f32, f16 or bf16, its vectors f32. It computes in f32 unless
/// [`Decoder::compute_in`] says otherwise.
#[derive(Clone, Debug)]
pub struct Decoder {
    config: DecoderConfig,
    pub(crate) frequencies: Frequencies,
    pub(crate) embedding: Slot,
    pub(crate) layers: Vec<Layer>,
    pub(crate) norm: Slot,
    /// The output matrix `[vocabulary, hidden]`: the embedding's where they are tied.
    pub(crate) output: Slot,
    /// Rank of the low-rank additions, 0 without.
    pub(crate) rank: usize,
    precision: Precision,
    /// How the loss cuts its logits; to be set before there is work space for it.
    pub logits_block: LogitsBlock,
    /// Its parameters, under Hugging Face's names.
    pub parameters: Parameters,
}

impl Decoder {
    /// A decoder whose parameters `load` gives by name and shape, row-major.
    ///
    /// # Errors
    /// What `load` says; shapes that do not fit; no memory.
    pub fn new(
        device: &Device,
        config: &DecoderConfig,
        load: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        Self::with_storage(device, config, ElementType::F32, load)
    }

    /// As [`Self::new`], with the matrices stored in `storage`: f32, or for a decoder that stays frozen f16 or bf16, which halve
    /// its memory. They are widened as they are read; all else is f32.
    ///
    /// # Errors
    /// As [`Self::new`]; another type; numbers that f16 cannot hold.
    pub fn with_storage(
        device: &Device,
        config: &DecoderConfig,
        storage: ElementType,
        load: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        Self::built(config, Builder { device, parameters: Parameters::default(), storage, load, fall_back: false })
    }

    /// As [`Self::with_storage`], each matrix in f16, or in bf16 if it has numbers beyond f16.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn stored_in_halves(
        device: &Device,
        config: &DecoderConfig,
        load: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        let storage = ElementType::F16;
        Self::built(config, Builder { device, parameters: Parameters::default(), storage, load, fall_back: true })
    }

    fn built<F>(config: &DecoderConfig, mut builder: Builder<'_, F>) -> Result<Self>
    where
        F: FnMut(&str, &[usize]) -> Result<Vec<f32>>,
    {
        let device = builder.device;
        let (hidden, vocabulary) = (config.hidden_size, config.vocab_size);
        let embedding = builder.table("model.embed_tokens.weight", &[vocabulary, hidden])?;
        let layers = (0..config.layers).map(|i| builder.layer(config, i)).collect::<Result<_>>()?;
        let norm = builder.add("model.norm.weight", &[hidden])?;
        let output =
            if config.tied_embeddings { embedding } else { builder.table("lm_head.weight", &[vocabulary, hidden])? };
        let parameters = builder.parameters;
        let scaling = config.rope_scaling.map(|s| Llama3Scaling {
            factor: s.factor,
            low_freq_factor: s.low_frequency_factor,
            high_freq_factor: s.high_frequency_factor,
            original_max_position_embeddings: s.original_positions as f64,
        });
        let frequencies = Frequencies::new(device, config.head_dim, config.rope_theta, scaling)?;
        Ok(Decoder {
            config: config.clone(),
            frequencies,
            embedding,
            layers,
            norm,
            output,
            rank: 0,
            precision: Precision::F32,
            logits_block: LogitsBlock::default(),
            parameters,
        })
    }

    /// The model's shape.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Heads of the attention.
    pub(crate) fn heads(&self) -> Heads {
        Heads::new(self.config.heads, self.config.kv_heads, self.config.head_dim)
    }
}

struct Builder<'a, F> {
    device: &'a Device,
    parameters: Parameters,
    storage: ElementType,
    load: F,
    /// Whether a matrix that `storage` cannot hold is stored in bf16.
    fall_back: bool,
}

impl<F: FnMut(&str, &[usize]) -> Result<Vec<f32>>> Builder<'_, F> {
    fn add(&mut self, name: &str, shape: &[usize]) -> Result<Slot> {
        let data = (self.load)(name, shape)?;
        let element = if shape.len() == 2 { self.storage_of(&data) } else { ElementType::F32 };
        self.parameters.add_as(self.device, name, shape, &data, element)
    }

    fn table(&mut self, name: &str, shape: &[usize]) -> Result<Slot> {
        let data = (self.load)(name, shape)?;
        let element = self.storage_of(&data);
        self.parameters.add_table(self.device, name, shape, &data, element)
    }

    fn storage_of(&self, data: &[f32]) -> ElementType {
        let beyond = |x: &f32| x.is_finite() && !half::f16::from_f32(*x).is_finite();
        if self.fall_back && data.iter().any(beyond) { ElementType::BF16 } else { self.storage }
    }

    fn linear(&mut self, name: &str, shape: [usize; 2], bias: bool) -> Result<Linear> {
        let weight = self.add(&format!("{name}.weight"), &shape)?;
        let bias = bias.then(|| self.add(&format!("{name}.bias"), &shape[..1])).transpose()?;
        Ok(Linear { weight, bias, low_rank: None, input_factor: 1.0 })
    }

    fn layer(&mut self, config: &DecoderConfig, index: usize) -> Result<Layer> {
        let name = |suffix: &str| format!("model.layers.{index}.{suffix}");
        let (h, i) = (config.hidden_size, config.intermediate_size);
        let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        Ok(Layer {
            attention_norm: self.add(&name("input_layernorm.weight"), &[h])?,
            q: self.linear(&name("self_attn.q_proj"), [queries, h], config.qkv_bias)?,
            k: self.linear(&name("self_attn.k_proj"), [keys, h], config.qkv_bias)?,
            v: self.linear(&name("self_attn.v_proj"), [keys, h], config.qkv_bias)?,
            o: self.linear(&name("self_attn.o_proj"), [h, queries], config.output_bias)?,
            mlp_norm: self.add(&name("post_attention_layernorm.weight"), &[h])?,
            gate: self.linear(&name("mlp.gate_proj"), [i, h], config.mlp_bias)?,
            up: self.linear(&name("mlp.up_proj"), [i, h], config.mlp_bias)?,
            down: self.linear(&name("mlp.down_proj"), [h, i], config.mlp_bias)?,
        })
    }
}
