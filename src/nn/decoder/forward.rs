//! The forward pass.

use super::rotary::{self, Turn};
use super::{Decoder, Layer, LayerSpace, Space};
use crate::device::{Buffer, Device, Purpose, Recorder, Tensor};
use crate::kernels::nn::attention::{self, Sequences};
use crate::kernels::nn::dropout::Mask;
use crate::kernels::nn::embedding::{self, Scales};
use crate::kernels::nn::gate;
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
    /// The positions, and of each the length of its sequence so far: of the keys that it may see at most.
    pub(super) places: Vec<u32>,
    pub(super) lengths: Vec<u32>,
    pub(super) dropout: Option<BatchDropout>,
    tokens: usize,
}

/// What dropout hangs on beside a token's position.
#[derive(Clone, Debug)]
pub(super) struct BatchDropout {
    /// The number of each token's sample.
    samples: Buffer,
    key: [u32; 2],
    probability: f32,
}

impl BatchDropout {
    /// The mask, but for the module's number.
    pub fn mask<'a>(&'a self, batch: &'a Batch) -> Mask<'a> {
        let BatchDropout { ref samples, key, probability } = *self;
        Mask { positions: &batch.positions, samples, module: 0, key, probability }
    }
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
            places: positions.to_vec(),
            lengths: lengths(positions),
            dropout: None,
            tokens: ids.len(),
        })
    }

    /// The same in training with [`Decoder::set_dropout`]: `samples` `[n]` are the numbers of the tokens' samples, on which, with positions and
    /// `key`, it hangs what is left out.
    ///
    /// # Errors
    /// Another number of samples; no memory.
    #[cfg(feature = "train")]
    pub(crate) fn with_dropout(
        self,
        device: &Device,
        samples: &[u32],
        (probability, key): (f32, [u32; 2]),
    ) -> Result<Self> {
        if samples.len() != self.tokens {
            return Err(Error::shape("batch", "samples", self.tokens, samples.len()));
        }
        let samples = device.buffer_from("samples", bytemuck::cast_slice(samples))?;
        Ok(Batch { dropout: Some(BatchDropout { samples, key, probability }), ..self })
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.tokens
    }
}

/// The length of each token's sequence, by its last position: a sequence goes on as long as positions count up.
fn lengths(positions: &[u32]) -> Vec<u32> {
    let mut lengths: Vec<u32> = positions.iter().map(|position| position.saturating_add(1)).collect();
    for i in (1..positions.len()).rev() {
        if positions[i - 1].checked_add(1) == Some(positions[i]) {
            lengths[i - 1] = lengths[i];
        }
    }
    lengths
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

    /// Says that nothing is in it.
    pub(crate) fn restart(&mut self) {
        self.length = 0;
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
        embedding::gather_shards(recorder, table, visual, &batch.ids, (space.stream(0), self.embedding_scales()))?;
        let turns = self.turns(recorder.device(), batch)?;
        for (index, layer) in self.layers.iter().enumerate() {
            let saved = space.layer(index);
            let cached = cache.map(|c| (&c.layers[index], c.length));
            let out = Some(space.stream(index + 1));
            self.forward_layer(recorder, layer, (batch, &turns), (space.stream(index), saved), cached, out)?;
        }
        Ok(())
    }

    /// Records one layer, from its input `x` and the cached keys before it: everything of `saved` that the backward pass reads, and the
    /// layer's output to `out`. Recomputation leaves the output out, which the next layer's input still holds, and nothing else.
    pub(super) fn forward_layer(
        &self,
        recorder: &mut Recorder,
        layer: &Layer,
        (batch, turns): (&Batch, &[Vec<Turn>]),
        (x, saved): (&Tensor, &LayerSpace),
        cached: Option<(&(Tensor, Tensor), usize)>,
        out: Option<&Tensor>,
    ) -> Result<()> {
        let (p, heads) = (&self.parameters, self.heads(layer.kind));
        let narrow = |i: usize| saved.narrow(i, batch);
        let a = self.normed(recorder, layer.attention_norm, x, saved.attention_input.as_ref())?;
        // With norms of their own, queries and keys are kept as the projections gave them, too.
        let [q, k] = match &saved.projected[..] {
            [q, k] => [q, k],
            _ => [&saved.q, &saved.k],
        };
        layer.q.forward(recorder, p, a, q, narrow(0))?;
        layer.k.forward(recorder, p, a, k, narrow(1))?;
        layer.v.forward(recorder, p, a, &saved.v, narrow(2))?;
        self.norm_heads(recorder, (layer, 0), saved, &saved.q)?;
        self.norm_heads(recorder, (layer, 1), saved, &saved.k)?;
        if let Some(turns) = layer.kind.rope.and_then(|rope| turns.get(rope)) {
            rotary::record(recorder, turns, heads.query, &saved.q, false)?;
            rotary::record(recorder, turns, heads.key_value, &saved.k, false)?;
        }
        let (k, v) = match cached {
            None => (&saved.k, &saved.v),
            Some(((k, v), length)) => {
                recorder.copy_rows((&saved.k, 0), (k, length), saved.k.rows())?;
                recorder.copy_rows((&saved.v, 0), (v, length), saved.v.rows())?;
                (k, v)
            }
        };
        let (q, output, sums) = (&saved.q, &saved.attention_output, &saved.log_sums);
        attention::forward(recorder, heads, &batch.sequences, q, k, v, output, sums)?;
        self.end_branch(recorder, &layer.attention_branch(saved, batch), saved, (x, Some(&saved.middle)))?;
        let b = self.normed(recorder, layer.mlp_norm, &saved.middle, saved.mlp_input.as_ref())?;
        layer.gate.forward(recorder, p, b, &saved.gate, narrow(4))?;
        layer.up.forward(recorder, p, b, &saved.up, narrow(5))?;
        let scaled = (self.act(), 1.0 / layer.down.input_factor);
        gate::forward_scaled(recorder, scaled, &saved.gate, &saved.up, &saved.active)?;
        self.end_branch(recorder, &layer.mlp_branch(saved, batch), saved, (&saved.middle, out))
    }

    /// What embeddings and visual tokens are multiplied by.
    pub(super) fn embedding_scales(&self) -> Scales {
        Scales { table: self.config().embedding_scale as f32, visual: self.config().visual_scale as f32 }
    }
}

#[cfg(test)]
mod tests {
    use super::lengths;

    #[test]
    fn lengths_of_packed_sequences() {
        assert_eq!(lengths(&[0, 1, 2, 0, 0, 1]), [3, 3, 3, 1, 2, 2]);
        assert_eq!(lengths(&[7]), [8]);
        assert_eq!(lengths(&[5, 6]), [7, 7]);
    }
}
