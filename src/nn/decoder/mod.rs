//! Decoder language models: RMSNorm, rotary embedding, grouped-query attention, gated MLP, and around them what
//! [`DecoderConfig`] says of a family: where norms are, norms of queries and keys, windows, multipliers, biases, tied embeddings.

mod backward;
mod files;
mod forward;
pub mod generate;
mod head;
mod low_rank;
mod norms;
mod peft;
mod precision;
mod rotary;
mod space;

pub use files::OpenDecoder;
pub use forward::{Batch, Cache};
pub use head::{Head, HeadSpace, Logits, LogitsBlock};
pub use low_rank::LowRankOptions;
pub use space::{Keep, LayerSpace, Space};

use super::linear::Linear;
use super::parameters::{Parameters, Slot};
use super::precision::Precision;
use crate::blocks::BLOCK;
use crate::device::Device;
use crate::io::{Activation, DecoderConfig, LayerKind};
use crate::kernels::nn::attention::Heads;
use crate::kernels::nn::gate::Act;
use crate::kernels::nn::gelu::Form;
use crate::{ElementType, Error, Result};

/// The parameters of one layer.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub kind: LayerKind,
    /// Before attention.
    pub attention_norm: Option<Slot>,
    pub q: Linear,
    pub k: Linear,
    pub v: Linear,
    pub o: Linear,
    /// Of queries and of keys.
    pub query_key_norms: Option<[Slot; 2]>,
    /// Behind attention.
    pub after_attention: Option<Slot>,
    /// Before the MLP.
    pub mlp_norm: Option<Slot>,
    pub gate: Linear,
    pub up: Linear,
    pub down: Linear,
    /// Behind the MLP.
    pub after_mlp: Option<Slot>,
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
    rotary: Vec<rotary::Rotary>,
    pub(crate) embedding: Slot,
    pub(crate) layers: Vec<Layer>,
    pub(crate) norm: Slot,
    /// The output matrix `[vocabulary, hidden]`: the embedding's where they are tied.
    pub(crate) output: Slot,
    /// Rank of the low-rank additions, 0 without.
    pub(crate) rank: usize,
    /// How likely an element of a low-rank addition's input is left out in training.
    pub(crate) dropout: f32,
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
    /// its memory, or Q8_0, which takes 8.5 bits a number (f16, or bf16, where rows are no multiple of 32). They are widened as they are read; all else is f32.
    ///
    /// # Errors
    /// As [`Self::new`]; another type; numbers that f16 or Q8_0 cannot hold.
    pub fn with_storage(
        device: &Device,
        config: &DecoderConfig,
        storage: ElementType,
        load: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        Self::built(config, Builder { device, parameters: Parameters::default(), storage: Storage::All(storage), load })
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
        Self::built(config, Builder { device, parameters: Parameters::default(), storage: Storage::Halves, load })
    }

    /// As [`Self::with_storage`], each matrix as `storage` says by its name and shape.
    pub(super) fn stored_as(
        device: &Device,
        config: &DecoderConfig,
        storage: &dyn Fn(&str, &[usize]) -> Result<ElementType>,
        load: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        Self::built(config, Builder { device, parameters: Parameters::default(), storage: Storage::By(storage), load })
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
        let rotary = config.ropes.iter().map(|rope| rotary::Rotary::new(device, config.head_dim, rope));
        let rotary = rotary.collect::<Result<_>>()?;
        Ok(Decoder {
            config: config.clone(),
            rotary,
            embedding,
            layers,
            norm,
            output,
            rank: 0,
            dropout: 0.0,
            precision: Precision::F32,
            logits_block: LogitsBlock::default(),
            parameters,
        })
    }

    /// The model's shape.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Heads of a layer's attention.
    pub(crate) fn heads(&self, kind: LayerKind) -> Heads {
        let DecoderConfig { heads, kv_heads, head_dim, attention_scale, .. } = self.config;
        Heads { scale: attention_scale as f32, window: kind.window, ..Heads::new(heads, kv_heads, head_dim) }
    }

    /// What the MLP's gate is passed through.
    pub(crate) fn act(&self) -> Act {
        match self.config.activation {
            Activation::Silu => Act::Silu,
            Activation::Gelu => Act::Gelu(Form::Erf),
            Activation::GeluTanh => Act::Gelu(Form::Tanh),
        }
    }
}

/// What matrices are stored as.
enum Storage<'a> {
    /// All alike.
    All(ElementType),
    /// In f16, or in bf16 where one has numbers beyond f16.
    Halves,
    /// By name and shape.
    By(&'a dyn Fn(&str, &[usize]) -> Result<ElementType>),
}

struct Builder<'a, F> {
    device: &'a Device,
    parameters: Parameters,
    storage: Storage<'a>,
    load: F,
}

impl<F: FnMut(&str, &[usize]) -> Result<Vec<f32>>> Builder<'_, F> {
    fn add(&mut self, name: &str, shape: &[usize]) -> Result<Slot> {
        let data = (self.load)(name, shape)?;
        let element = if shape.len() == 2 { self.storage_of(name, shape, &data)? } else { ElementType::F32 };
        self.parameters.add_as(self.device, name, shape, &data, element)
    }

    fn table(&mut self, name: &str, shape: &[usize]) -> Result<Slot> {
        let data = (self.load)(name, shape)?;
        let element = self.storage_of(name, shape, &data)?;
        self.parameters.add_table(self.device, name, shape, &data, element)
    }

    fn storage_of(&self, name: &str, shape: &[usize], data: &[f32]) -> Result<ElementType> {
        let beyond = |x: &f32| x.is_finite() && !half::f16::from_f32(*x).is_finite();
        // Rows that are no whole blocks take 16 bits, as llama.cpp has it.
        let blocks = shape.last().is_some_and(|width| width.is_multiple_of(BLOCK));
        match self.storage {
            Storage::All(ElementType::Q8_0) if blocks => Ok(ElementType::Q8_0),
            Storage::Halves | Storage::All(ElementType::Q8_0) if data.iter().any(beyond) => Ok(ElementType::BF16),
            Storage::Halves | Storage::All(ElementType::Q8_0) => Ok(ElementType::F16),
            Storage::All(element) => Ok(element),
            Storage::By(storage) => storage(name, shape),
        }
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
        let norms = config.norm_names();
        let norm = |builder: &mut Self, norm: Option<&str>| norm.map(|norm| builder.add(&name(norm), &[h])).transpose();
        let attention_norm = norm(self, norms.before_attention)?;
        let q = self.linear(&name("self_attn.q_proj"), [queries, h], config.qkv_bias)?;
        let k = self.linear(&name("self_attn.k_proj"), [keys, h], config.qkv_bias)?;
        let v = self.linear(&name("self_attn.v_proj"), [keys, h], config.qkv_bias)?;
        let o = self.linear(&name("self_attn.o_proj"), [h, queries], config.output_bias)?;
        let query_key_norms = match config.query_key_widths() {
            Some([q, k]) => Some([
                self.add(&name("self_attn.q_norm.weight"), &[q])?,
                self.add(&name("self_attn.k_norm.weight"), &[k])?,
            ]),
            None => None,
        };
        let after_attention = norm(self, norms.after_attention)?;
        let mlp_norm = norm(self, norms.before_mlp)?;
        let gate = self.linear(&name("mlp.gate_proj"), [i, h], config.mlp_bias)?;
        let up = self.linear(&name("mlp.up_proj"), [i, h], config.mlp_bias)?;
        let down = self.linear(&name("mlp.down_proj"), [h, i], config.mlp_bias)?;
        let after_mlp = norm(self, norms.after_mlp)?;
        let missing = || Error::argument("config", format!("has no kind of layer {index}"));
        let kind = *config.layer_kinds.get(index).ok_or_else(missing)?;
        Ok(Layer {
            kind,
            attention_norm,
            q,
            k,
            v,
            o,
            query_key_norms,
            after_attention,
            mlp_norm,
            gate,
            up,
            down,
            after_mlp,
        })
    }
}
