//! Names and shapes of a decoder's tensors: as the decoder has them, and as its files do.

use super::super::weights::Weights;
use super::{DecoderConfig, NormPlacement, QueryKeyNorm};
use crate::{ElementType, Result};

/// Where the file has what the decoder has as a tensor of its own: all of a tensor, or some rows of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    /// The file's tensor.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The first of its rows that belong here.
    pub first_row: usize,
}

impl DecoderConfig {
    /// Every tensor of the decoder, by its Hugging Face name, with its shape: embedding, blocks in order, last norm, output
    /// matrix (unless tied). Projections are apart, whether or not files have them fused: see [`Self::file_tensors`].
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let h = self.hidden_size;
        let mut all = vec![("model.embed_tokens.weight".to_string(), vec![self.vocab_size, h])];
        for layer in 0..self.layers {
            self.layer_tensors(layer, &mut all);
        }
        all.push(("model.norm.weight".to_string(), vec![h]));
        if !self.tied_embeddings {
            all.push(("lm_head.weight".to_string(), vec![self.vocab_size, h]));
        }
        all
    }

    fn layer_tensors(&self, layer: usize, all: &mut Vec<(String, Vec<usize>)>) {
        let (h, m) = (self.hidden_size, self.intermediate_size);
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let name = |name: &str| format!("model.layers.{layer}.{name}");
        let norms = self.norm_names();
        all.extend(norms.before_attention.map(|norm| (name(norm), vec![h])));
        let linear = [
            ("self_attn.q_proj", q, h, self.qkv_bias),
            ("self_attn.k_proj", kv, h, self.qkv_bias),
            ("self_attn.v_proj", kv, h, self.qkv_bias),
            ("self_attn.o_proj", h, q, self.output_bias),
            ("mlp.gate_proj", m, h, self.mlp_bias),
            ("mlp.up_proj", m, h, self.mlp_bias),
            ("mlp.down_proj", h, m, self.mlp_bias),
        ];
        for (index, (part, rows, columns, bias)) in linear.into_iter().enumerate() {
            if index == 4 {
                all.extend(norms.after_attention.into_iter().chain(norms.before_mlp).map(|norm| (name(norm), vec![h])));
            }
            all.push((name(&format!("{part}.weight")), vec![rows, columns]));
            if bias {
                all.push((name(&format!("{part}.bias")), vec![rows]));
            }
            if index == 3 {
                let widths = self.query_key_widths();
                let both = widths.map(|[q, k]| [("self_attn.q_norm.weight", q), ("self_attn.k_norm.weight", k)]);
                all.extend(both.into_iter().flatten().map(|(norm, width)| (name(norm), vec![width])));
            }
        }
        all.extend(norms.after_mlp.map(|norm| (name(norm), vec![h])));
    }

    /// Widths of the weights of the norms of queries and keys.
    pub(crate) fn query_key_widths(&self) -> Option<[usize; 2]> {
        self.query_key_norm.map(|norm| match norm {
            QueryKeyNorm::PerHead => [self.head_dim; 2],
            QueryKeyNorm::Whole => [self.heads * self.head_dim, self.kv_heads * self.head_dim],
        })
    }

    /// Names of a layer's norms.
    pub(crate) fn norm_names(&self) -> NormNames {
        let (before, after) = match self.norms {
            NormPlacement::Before => (true, false),
            NormPlacement::After => (false, true),
            NormPlacement::Around => (true, true),
        };
        // The name of the norm before the MLP is as old as Llama; where attention has a norm behind it, that has it.
        let second = "post_attention_layernorm.weight";
        NormNames {
            before_attention: before.then_some("input_layernorm.weight"),
            after_attention: after.then_some(second),
            before_mlp: before.then_some(if after { "pre_feedforward_layernorm.weight" } else { second }),
            after_mlp: after.then_some("post_feedforward_layernorm.weight"),
        }
    }

    /// Every tensor of the model's files, with its shape, in the order of [`Self::tensors`].
    pub fn file_tensors(&self) -> Vec<(String, Vec<usize>)> {
        let mut all: Vec<(String, Vec<usize>)> = Vec::new();
        for (name, shape) in self.tensors() {
            let stored = self.stored(&name, &shape);
            if stored.first_row == 0 {
                all.push((stored.name, stored.shape));
            }
        }
        all
    }

    /// Where the files have the decoder's tensor `name` of `shape`.
    pub fn stored(&self, name: &str, shape: &[usize]) -> Stored {
        let whole = Stored { name: name.to_owned(), shape: shape.to_vec(), first_row: 0 };
        if !self.fused {
            return whole;
        }
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let m = self.intermediate_size;
        let parts = [
            (".q_proj.", ".qkv_proj.", 0, q + 2 * kv),
            (".k_proj.", ".qkv_proj.", q, q + 2 * kv),
            (".v_proj.", ".qkv_proj.", q + kv, q + 2 * kv),
            (".gate_proj.", ".gate_up_proj.", 0, 2 * m),
            (".up_proj.", ".gate_up_proj.", m, 2 * m),
        ];
        let Some((part, fused, first_row, rows)) = parts.into_iter().find(|part| name.contains(part.0)) else {
            return whole;
        };
        let shape = std::iter::once(rows).chain(shape.iter().skip(1).copied()).collect();
        Stored { name: name.replacen(part, fused, 1), shape, first_row }
    }

    /// The decoder's tensor `name` of `shape` from the model's files, as f32.
    ///
    /// # Errors
    /// As [`Weights::read`].
    pub fn load(&self, weights: &Weights, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let stored = self.stored(name, shape);
        let row: usize = stored.shape.iter().skip(1).product();
        let mut out = vec![0f32; shape.iter().product()];
        let bytes = bytemuck::cast_slice_mut(&mut out);
        weights.read(&stored.name, &stored.shape, stored.first_row * row, ElementType::F32, bytes)?;
        Ok(out)
    }

    /// Numbers in all tensors together.
    pub fn parameters(&self) -> u64 {
        self.tensors().iter().map(|(_, shape)| shape.iter().map(|n| *n as u64).product::<u64>()).sum()
    }
}

/// Names of a layer's norms, those that it has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NormNames {
    pub before_attention: Option<&'static str>,
    pub after_attention: Option<&'static str>,
    pub before_mlp: Option<&'static str>,
    pub after_mlp: Option<&'static str>,
}
