//! Work space of a decoder: the activations that the backward pass needs, and what it writes.

use super::{Batch, Decoder};
use crate::device::{Device, Purpose, Tensor};
use crate::io::{NormPlacement, QueryKeyNorm};
use crate::nn::linear::{Dropout, DropoutRoom, Narrow};
use crate::{ElementType, Result};

/// What the forward pass keeps for the backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Every activation of every layer: the fastest.
    All,
    /// Each layer's input; the rest of a layer is computed again when its turn comes (activation checkpointing).
    Inputs,
    /// Nothing: for inference.
    Nothing,
}

/// Activations of one layer, `[n, ...]`.
#[derive(Clone, Debug)]
pub struct LayerSpace {
    /// None where projections read the stream as it is.
    pub(crate) attention_input: Option<Tensor>,
    /// Queries and keys before their norms, in f32, where they have norms.
    pub(crate) projected: Vec<Tensor>,
    pub(crate) q: Tensor,
    pub(crate) k: Tensor,
    pub(crate) v: Tensor,
    pub(crate) attention_output: Tensor,
    pub(crate) log_sums: Tensor,
    pub(crate) middle: Tensor,
    pub(crate) mlp_input: Option<Tensor>,
    pub(crate) gate: Tensor,
    pub(crate) up: Tensor,
    pub(crate) active: Tensor,
    /// `x Aᵀ` of the seven linear layers, where there are low-rank additions.
    pub(crate) narrow: Vec<Tensor>,
    /// Of all layers: room for what dropout leaves of rows of each width, where there is dropout.
    pub(crate) dropout: Vec<DropoutRoom>,
    /// Results of attention and MLP before the norms behind them, where there are such norms.
    pub(crate) branches: Vec<Tensor>,
    /// Of all layers: what is to be added to the stream, where it is not added as it is made.
    pub(crate) scratch: Option<Tensor>,
    /// Of all layers: rows of single heads before and after their norm, where heads' rows do not begin at a multiple of 4 elements.
    pub(crate) heads_apart: Option<[Tensor; 2]>,
}

/// Gradients of one layer's activations; layers take turns.
#[derive(Clone, Debug)]
pub(crate) struct GradientSpace {
    /// Of the residual stream.
    pub stream: Tensor,
    /// The same in f16, for products to read; none where they read f32.
    pub rounded: Option<Tensor>,
    /// Of a branch's result, where it is not the stream's.
    pub branch: Option<Tensor>,
    /// Rows of single heads, gradients of the norms' results and of what they read, for queries and for keys.
    pub heads_apart: Vec<[Tensor; 2]>,
    /// Of a norm's output.
    pub normed: Tensor,
    pub attention_output: Tensor,
    pub q: Tensor,
    pub k: Tensor,
    pub v: Tensor,
    pub gate: Tensor,
    pub up: Tensor,
    pub active: Tensor,
    pub narrow: Option<Tensor>,
}

/// Work space for batches of at most some number of tokens.
#[derive(Clone, Debug)]
pub struct Space {
    pub(crate) keep: Keep,
    /// The residual stream before each layer, and after the last: `[n, hidden]`.
    pub(crate) stream: Vec<Tensor>,
    /// Of each layer, or one for all.
    pub(crate) layers: Vec<LayerSpace>,
    pub(crate) gradients: Option<GradientSpace>,
}

impl Space {
    /// Room for `tokens` tokens.
    ///
    /// # Errors
    /// No memory; a tensor above the device's largest binding.
    pub fn new(device: &Device, decoder: &Decoder, tokens: usize, keep: Keep) -> Result<Self> {
        let config = decoder.config();
        let streams = if keep == Keep::Nothing { 2 } else { config.layers + 1 };
        let layers = if keep == Keep::All { config.layers.max(1) } else { 1 };
        let label = (Purpose::Activations, "residual stream");
        let stream = |_| Tensor::labelled(device, label, (tokens, config.hidden_size), ElementType::F32);
        let stream = (0..streams).map(stream).collect::<Result<_>>()?;
        let shared = Shared::new(device, decoder, tokens, keep)?;
        let layers = (0..layers).map(|_| LayerSpace::new(device, decoder, tokens, &shared)).collect::<Result<_>>()?;
        let gradients = (keep != Keep::Nothing).then(|| GradientSpace::new(device, decoder, tokens)).transpose()?;
        Ok(Space { keep, stream, layers, gradients })
    }

    /// The same memory for the first `tokens` tokens.
    ///
    /// # Errors
    /// More tokens than there is room for.
    pub fn first_rows(&self, tokens: usize) -> Result<Self> {
        Ok(Space {
            keep: self.keep,
            stream: self.stream.iter().map(|t| t.first_rows(tokens)).collect::<Result<_>>()?,
            layers: self.layers.iter().map(|l| l.first_rows(tokens)).collect::<Result<_>>()?,
            gradients: self.gradients.as_ref().map(|g| g.first_rows(tokens)).transpose()?,
        })
    }

    /// The residual stream before layer `index`, or after the last.
    pub(crate) fn stream(&self, index: usize) -> &Tensor {
        &self.stream[index % self.stream.len()]
    }

    /// The residual stream after a decoder's last layer, `[n, hidden]`.
    pub fn last_stream(&self, decoder: &Decoder) -> &Tensor {
        self.stream(decoder.config().layers)
    }

    pub(crate) fn layer(&self, index: usize) -> &LayerSpace {
        &self.layers[index % self.layers.len()]
    }
}

/// What all layers share.
struct Shared {
    dropout: Vec<DropoutRoom>,
    scratch: Option<Tensor>,
    heads_apart: Option<[Tensor; 2]>,
}

impl Shared {
    fn new(device: &Device, decoder: &Decoder, tokens: usize, keep: Keep) -> Result<Self> {
        let config = decoder.config();
        let make = |name, shape| Tensor::labelled(device, (Purpose::Activations, name), shape, ElementType::F32);
        let scratch = config.norms != NormPlacement::Before || config.residual_scale != 1.0;
        let per_head = config.query_key_norm == Some(QueryKeyNorm::PerHead);
        let apart = || make("single heads", (tokens * config.heads, config.head_dim));
        let heads_apart = per_head && !config.head_dim.is_multiple_of(4);
        let mut widths = vec![config.hidden_size, config.heads * config.head_dim, config.intermediate_size];
        widths.sort_unstable();
        widths.dedup();
        widths.retain(|_| decoder.dropout > 0.0 && keep != Keep::Nothing);
        let element = decoder.precision().activations();
        Ok(Shared {
            dropout: widths
                .into_iter()
                .map(|w| DropoutRoom::new(device, (tokens, w), element))
                .collect::<Result<_>>()?,
            scratch: scratch.then(|| make("result of a branch", (tokens, config.hidden_size))).transpose()?,
            heads_apart: heads_apart.then(|| Ok::<_, crate::Error>([apart()?, apart()?])).transpose()?,
        })
    }
}

/// The first rows of a tensor that has several for each token, `tokens` of `all`.
fn first_tokens(t: &Tensor, tokens: usize, all: usize) -> Result<Tensor> {
    t.first_rows(t.rows() / all.max(1) * tokens)
}

fn first_of(tensors: &[Tensor], n: usize) -> Result<Vec<Tensor>> {
    tensors.iter().map(|t| t.first_rows(n)).collect()
}

fn first_if(tensor: Option<&Tensor>, n: usize) -> Result<Option<Tensor>> {
    tensor.map(|t| t.first_rows(n)).transpose()
}

fn first_pair([a, b]: &[Tensor; 2], n: usize, all: usize) -> Result<[Tensor; 2]> {
    Ok([first_tokens(a, n, all)?, first_tokens(b, n, all)?])
}

impl LayerSpace {
    fn new(device: &Device, decoder: &Decoder, tokens: usize, shared: &Shared) -> Result<Self> {
        let config = decoder.config();
        let label = |name| (Purpose::Activations, name);
        let element = decoder.precision().activations();
        let make = |name, width| Tensor::labelled(device, label(name), (tokens, width), element);
        let make_f32 = |name, width| Tensor::labelled(device, label(name), (tokens, width), ElementType::F32);
        let (h, i) = (config.hidden_size, config.intermediate_size);
        let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let narrow = if decoder.rank > 0 { 7 } else { 0 };
        // Without a norm before them, projections read the stream itself, unless it is to be rounded.
        let input = config.norms != NormPlacement::After || element != ElementType::F32;
        let input = |name| input.then(|| make(name, h)).transpose();
        let projected = [("queries before their norm", queries), ("keys before their norm", keys)];
        let projected = projected.into_iter().filter(|_| config.query_key_norm.is_some());
        let branches = if config.norms == NormPlacement::Before { 0 } else { 2 };
        Ok(LayerSpace {
            attention_input: input("attention input")?,
            projected: projected.map(|(name, width)| make_f32(name, width)).collect::<Result<_>>()?,
            q: make("queries", queries)?,
            k: make("keys", keys)?,
            v: make("values", keys)?,
            attention_output: make("attention outputs", queries)?,
            log_sums: make_f32("attention sums", config.heads)?,
            middle: make_f32("stream after attention", h)?,
            mlp_input: input("MLP input")?,
            gate: make("MLP gate", i)?,
            up: make("MLP up", i)?,
            active: make("MLP activation", i)?,
            narrow: (0..narrow).map(|_| make("low-rank products", decoder.rank)).collect::<Result<_>>()?,
            branches: (0..branches).map(|_| make_f32("branch before its norm", h)).collect::<Result<_>>()?,
            dropout: shared.dropout.clone(),
            scratch: shared.scratch.clone(),
            heads_apart: shared.heads_apart.clone(),
        })
    }

    /// Where the low-rank product of a linear layer goes, by its place in [`Layer::linears`](super::Layer::linears).
    pub(super) fn narrow<'a>(&'a self, place: usize, batch: &'a Batch) -> Option<Narrow<'a>> {
        let dropout = batch.dropout.as_ref().map(|drop| Dropout { mask: drop.mask(batch), rooms: &self.dropout });
        self.narrow.get(place).map(|product| Narrow { product, dropout })
    }

    fn first_rows(&self, n: usize) -> Result<Self> {
        let all = self.q.rows();
        Ok(LayerSpace {
            attention_input: first_if(self.attention_input.as_ref(), n)?,
            projected: first_of(&self.projected, n)?,
            q: self.q.first_rows(n)?,
            k: self.k.first_rows(n)?,
            v: self.v.first_rows(n)?,
            attention_output: self.attention_output.first_rows(n)?,
            log_sums: self.log_sums.first_rows(n)?,
            middle: self.middle.first_rows(n)?,
            mlp_input: first_if(self.mlp_input.as_ref(), n)?,
            gate: self.gate.first_rows(n)?,
            up: self.up.first_rows(n)?,
            active: self.active.first_rows(n)?,
            narrow: first_of(&self.narrow, n)?,
            dropout: self.dropout.iter().map(|room| room.first_rows(n)).collect::<Result<_>>()?,
            branches: first_of(&self.branches, n)?,
            scratch: first_if(self.scratch.as_ref(), n)?,
            heads_apart: self.heads_apart.as_ref().map(|both| first_pair(both, n, all)).transpose()?,
        })
    }
}

impl GradientSpace {
    fn new(device: &Device, decoder: &Decoder, tokens: usize) -> Result<Self> {
        let config = decoder.config();
        let label = |name| (Purpose::Backward, name);
        let element = decoder.precision().activations();
        let make = |name, width| Tensor::labelled(device, label(name), (tokens, width), element);
        let of_shape = |name, shape| Tensor::labelled(device, label(name), shape, ElementType::F32);
        let make_f32 = |name, width| of_shape(name, (tokens, width));
        let (h, i) = (config.hidden_size, config.intermediate_size);
        let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let halves = element != ElementType::F32;
        let branch = config.norms != NormPlacement::Before || (config.residual_scale != 1.0 && !halves);
        let apart = |width: usize| {
            let per_head = config.query_key_norm == Some(QueryKeyNorm::PerHead);
            let width_of_row = if per_head { config.head_dim } else { width };
            let one = || of_shape("single heads", (tokens * (width / width_of_row), width_of_row));
            Ok([one()?, one()?])
        };
        let heads_apart = [queries, keys].into_iter().filter(|_| config.query_key_norm.is_some());
        Ok(GradientSpace {
            stream: make_f32("of the residual stream", h)?,
            rounded: halves.then(|| make("of the residual stream", h)).transpose()?,
            branch: branch.then(|| make_f32("of a branch", h)).transpose()?,
            heads_apart: heads_apart.map(apart).collect::<Result<_>>()?,
            normed: make_f32("of a norm's output", h)?,
            attention_output: make("attention outputs", queries)?,
            q: make("queries", queries)?,
            k: make("keys", keys)?,
            v: make("values", keys)?,
            gate: make("MLP gate", i)?,
            up: make("MLP up", i)?,
            active: make("MLP activation", i)?,
            narrow: (decoder.rank > 0).then(|| make("low-rank products", decoder.rank)).transpose()?,
        })
    }

    fn first_rows(&self, n: usize) -> Result<Self> {
        let all = self.q.rows();
        Ok(GradientSpace {
            stream: self.stream.first_rows(n)?,
            rounded: first_if(self.rounded.as_ref(), n)?,
            branch: first_if(self.branch.as_ref(), n)?,
            heads_apart: self.heads_apart.iter().map(|both| first_pair(both, n, all)).collect::<Result<_>>()?,
            normed: self.normed.first_rows(n)?,
            attention_output: self.attention_output.first_rows(n)?,
            q: self.q.first_rows(n)?,
            k: self.k.first_rows(n)?,
            v: self.v.first_rows(n)?,
            gate: self.gate.first_rows(n)?,
            up: self.up.first_rows(n)?,
            active: self.active.first_rows(n)?,
            narrow: first_if(self.narrow.as_ref(), n)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Batch, Head, HeadSpace, LowRankOptions};
    use super::*;
    use crate::host::gaussian::normals;
    use crate::io::DecoderConfig;
    use crate::kernels::nn::attention::Sequences;
    use crate::kernels::nn::embedding::ScatterPlan;
    use crate::nn::Gradients;

    impl LayerSpace {
        /// All of it: what is added must be named here.
        fn all(&self) -> Vec<&Tensor> {
            let LayerSpace {
                attention_input,
                projected,
                q,
                k,
                v,
                attention_output,
                log_sums,
                middle,
                mlp_input,
                gate,
                up,
                active,
                narrow,
                dropout,
                branches,
                scratch,
                heads_apart,
            } = self;
            let list = [q, k, v, attention_output, log_sums, middle, gate, up, active];
            let dropout = dropout.iter().flat_map(DropoutRoom::all);
            let inputs = attention_input.iter().chain(mlp_input).chain(scratch).chain(heads_apart.iter().flatten());
            list.into_iter().chain(narrow).chain(projected).chain(branches).chain(inputs).chain(dropout).collect()
        }
    }

    impl GradientSpace {
        /// All but the stream's, which the loss leaves there.
        fn all(&self) -> Vec<&Tensor> {
            let GradientSpace {
                stream: _,
                rounded,
                branch,
                heads_apart,
                normed,
                attention_output,
                q,
                k,
                v,
                gate,
                up,
                active,
                narrow,
            } = self;
            let list = [normed, attention_output, q, k, v, gate, up, active];
            let rest = narrow.iter().chain(rounded).chain(branch).chain(heads_apart.iter().flatten());
            list.into_iter().chain(rest).collect()
        }
    }

    fn model(device: &Device) -> Decoder {
        let config = r#"{"model_type": "llama", "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
            "num_key_value_heads": 1, "intermediate_size": 20, "vocab_size": 24, "rope_theta": 1e4, "rms_norm_eps": 1e-5,
            "attention_bias": true, "mlp_bias": true, "hidden_act": "silu"}"#;
        let config = DecoderConfig::parse(config, Path::new("config.json")).unwrap();
        let mut stream = 0;
        let mut numbers = |count| {
            stream += 1;
            normals(count, 7, stream).into_iter().map(|x| 0.3 * x).collect::<Vec<f32>>()
        };
        let mut decoder = Decoder::new(device, &config, |_, shape| Ok(numbers(shape.iter().product()))).unwrap();
        decoder.add_low_rank(device, LowRankOptions { rank: 3, alpha: 6.0, seed: 1 }).unwrap();
        for factor in decoder.parameters.iter().filter(|p| p.name.contains(".lora_B")) {
            factor.value.write_f32(device, &numbers(factor.shape.iter().product())).unwrap();
        }
        decoder
    }

    fn spoil(device: &Device, tensors: Vec<&Tensor>) {
        for tensor in tensors {
            tensor.write_f32(device, &vec![f32::NAN; tensor.rows() * tensor.width()]).unwrap();
        }
    }

    /// Gradients of all parameters. All work space is spoilt before the forward pass, and before the backward pass all but what `keep`
    /// promises.
    fn gradients(device: &Device, decoder: &Decoder, keep: Keep) -> Vec<Vec<f32>> {
        let (ids, positions) = ([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5], [0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3]);
        let batch = Batch::new(device, &ids, &positions, Sequences::packed(device, &[7, 4]).unwrap()).unwrap();
        let plan = ScatterPlan::new(device, &ids).unwrap();
        let head = Head::new(device, &[1, 4, 1, -100, 9, 2, -100, 5, 3, 5, -100]).unwrap();
        let space = Space::new(device, decoder, ids.len(), keep).unwrap();
        let logits = HeadSpace::new(device, decoder, head.count()).unwrap();
        let all = Gradients::new(device, &decoder.parameters, |_| true).unwrap();
        let d = space.gradients.as_ref().unwrap();
        spoil(device, space.stream.iter().chain([&d.stream]).collect());
        spoil(device, space.layers.iter().flat_map(LayerSpace::all).chain(d.all()).collect());
        let mut recorder = device.recorder();
        decoder.forward(&mut recorder, &batch, None, &space, None).unwrap();
        decoder.loss(&mut recorder, &head, (&space, &logits), Some((&all, 1.0))).unwrap();
        recorder.submit().unwrap();
        spoil(device, d.all());
        if keep == Keep::Inputs {
            spoil(device, space.layers.iter().flat_map(LayerSpace::all).collect());
        }
        let mut recorder = device.recorder();
        decoder.backward(&mut recorder, &all, (&batch, &plan), &space, None).unwrap();
        recorder.submit().unwrap();
        all.iter().map(|(_, g)| g.to_f32_blocking(device).unwrap()).collect()
    }

    /// With [`Keep::Inputs`] the backward pass reads nothing of a layer that it has not computed again.
    #[test]
    fn recomputation_reads_nothing_but_the_layers_inputs() {
        let device = Device::host();
        let decoder = model(&device);
        let [all, inputs] = [Keep::All, Keep::Inputs].map(|keep| gradients(&device, &decoder, keep));
        assert_eq!(all.len(), decoder.parameters.len());
        for (parameter, (a, b)) in decoder.parameters.iter().zip(all.iter().zip(&inputs)) {
            assert!(a.iter().all(|g| g.is_finite()) && a.iter().any(|g| *g != 0.0), "{}", parameter.name);
            assert!(a == b, "{}: recomputed, its gradient is another", parameter.name);
        }
    }
}
