//! The forward pass.

use super::{Decoder, Layer, LayerSpace, Space};
use crate::device::{Buffer, Device, Purpose, Recorder, Tensor};
use crate::kernels::nn::attention::{self, Sequences};
use crate::kernels::nn::{embedding, rms_norm, rotary, silu_gate};
use crate::nn::linear::Then;
use crate::{Error, Result};

/// A packed batch on the device: `n` tokens of several sequences, one sequence behind the other.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Tokens, or rows of the visual tokens: see [`embedding::VISUAL`].
    pub(crate) ids: Buffer,
    /// Place of each token in its sequence.
    pub(crate) positions: Buffer,
    /// The sequences.
    pub(crate) sequences: Sequences,
    tokens: usize,
}

impl Batch {
    /// Uploads `ids` and `positions`, both `[n]`; `sequences` says which tokens make a sequence and which keys they see.
    ///
    /// # Errors
    /// Lengths that differ, no tokens, no memory.
    pub fn new(device: &Device, ids: &[u32], positions: &[u32], sequences: Sequences) -> Result<Self> {
        if ids.len() != positions.len() || ids.is_empty() {
            return Err(Error::shape(
                "batch",
                "positions",
                format!("{} of them, at least 1", ids.len()),
                positions.len(),
            ));
        }
        Ok(Batch {
            ids: device.buffer_from("token ids", bytemuck::cast_slice(ids))?,
            positions: device.buffer_from("positions", bytemuck::cast_slice(positions))?,
            sequences,
            tokens: ids.len(),
        })
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.tokens
    }
}

/// Keys and values of the tokens so far, of every layer: `[capacity, key-value width]`.
#[derive(Clone, Debug)]
pub struct Cache {
    layers: Vec<(Tensor, Tensor)>,
    length: usize,
}

impl Cache {
    /// Room for `capacity` tokens of one sequence.
    ///
    /// # Errors
    /// No memory.
    pub fn new(device: &Device, decoder: &Decoder, capacity: usize) -> Result<Self> {
        let width = decoder.config().kv_heads * decoder.config().head_dim;
        let label = (Purpose::Cache, "of a layer");
        let element = decoder.precision().activations();
        let make = || Tensor::labelled(device, label, (capacity, width), element);
        let layers = (0..decoder.config().layers).map(|_| Ok((make()?, make()?))).collect::<Result<_>>()?;
        Ok(Cache { layers, length: 0 })
    }

    /// Tokens that are in it.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Says that `tokens` more are in it, once their forward pass is recorded.
    pub(crate) fn advance(&mut self, tokens: usize) {
        self.length += tokens;
    }
}

impl Decoder {
    /// Records the forward pass through all layers: the residual stream after the last is `space.stream(layers)`.
    ///
    /// # Errors
    /// Shapes that do not fit; ids out of the vocabulary are the caller's to check.
    pub fn forward(
        &self,
        recorder: &mut Recorder,
        batch: &Batch,
        visual: Option<&Tensor>,
        space: &Space,
        cache: Option<&Cache>,
    ) -> Result<()> {
        let table = self.parameters.get(self.embedding).value.shards();
        embedding::gather_shards(recorder, table, visual, &batch.ids, space.stream(0))?;
        for (index, layer) in self.layers.iter().enumerate() {
            let saved = space.layer(index);
            let cached = cache.map(|c| (&c.layers[index], c.length));
            let out = Some(space.stream(index + 1));
            self.forward_layer(recorder, layer, batch, (space.stream(index), saved), cached, out)?;
        }
        Ok(())
    }

    /// Records one layer, from its input `x` and the cached keys before it: everything of `saved` that the backward pass reads, and the
    /// layer's output to `out`. Recomputation leaves the output out, which the next layer's input still holds, and nothing else.
    pub(super) fn forward_layer(
        &self,
        recorder: &mut Recorder,
        layer: &Layer,
        batch: &Batch,
        (x, saved): (&Tensor, &LayerSpace),
        cached: Option<(&(Tensor, Tensor), usize)>,
        out: Option<&Tensor>,
    ) -> Result<()> {
        let (p, eps, heads) = (&self.parameters, self.config().norm_eps as f32, self.heads());
        let narrow = |i: usize| saved.narrow.get(i);
        let a = &saved.attention_input;
        rms_norm::forward(recorder, eps, x, p.tensor(layer.attention_norm)?, a)?;
        layer.q.forward(recorder, p, a, &saved.q, narrow(0))?;
        layer.k.forward(recorder, p, a, &saved.k, narrow(1))?;
        layer.v.forward(recorder, p, a, &saved.v, narrow(2))?;
        rotary::record(recorder, &self.frequencies, &batch.positions, heads.query, &saved.q, false)?;
        rotary::record(recorder, &self.frequencies, &batch.positions, heads.key_value, &saved.k, false)?;
        let (k, v) = match cached {
            None => (&saved.k, &saved.v),
            Some(((k, v), length)) => {
                recorder.copy_rows((&saved.k, 0), (k, length), saved.k.rows())?;
                recorder.copy_rows((&saved.v, 0), (v, length), saved.v.rows())?;
                (k, v)
            }
        };
        attention::forward(
            recorder,
            heads,
            &batch.sequences,
            &saved.q,
            k,
            v,
            &saved.attention_output,
            &saved.log_sums,
        )?;
        layer.o.forward_then(recorder, p, &saved.attention_output, (&saved.middle, Then::Add(x)), narrow(3))?;
        rms_norm::forward(recorder, eps, &saved.middle, p.tensor(layer.mlp_norm)?, &saved.mlp_input)?;
        layer.gate.forward(recorder, p, &saved.mlp_input, &saved.gate, narrow(4))?;
        layer.up.forward(recorder, p, &saved.mlp_input, &saved.up, narrow(5))?;
        silu_gate::forward_scaled(recorder, 1.0 / layer.down.input_factor, &saved.gate, &saved.up, &saved.active)?;
        match out {
            Some(out) => {
                layer.down.forward_then(recorder, p, &saved.active, (out, Then::Add(&saved.middle)), narrow(6))
            }
            None => layer.down.forward_narrow(recorder, p, &saved.active, narrow(6)),
        }
    }
}
