//! A decoder with an adapter in front of it.

use super::adapter::AdapterSpace;
use super::{Adapter, Decoder};
use crate::Result;
use crate::device::{Device, Tensor};

/// A decoder with an adapter in front of it. A clone shares the numbers on the device.
#[derive(Clone, Debug)]
pub struct Model {
    /// From embeddings to visual tokens.
    pub adapter: Adapter,
    /// The language model.
    pub decoder: Decoder,
}

impl Model {
    /// Different visual tokens that the adapter makes of an embedding: its output is so many times as wide as the decoder. Where a
    /// sample has more, they repeat in turn. 0 if the widths do not fit.
    pub fn tokens_per_embedding(&self) -> usize {
        self.tokens_per_row().unwrap_or(0)
    }

    /// The visual tokens of `embeddings` `[m, d]`: `[m t, hidden]`, t being [`Self::tokens_per_embedding`].
    ///
    /// # Errors
    /// Another width; no memory; the device was lost.
    pub fn visual_tokens(&self, device: &Device, embeddings: &Tensor) -> Result<Tensor> {
        let space = AdapterSpace::new(device, &self.adapter, embeddings.rows())?;
        let mut recorder = device.recorder();
        self.adapter.forward(&mut recorder, embeddings, &space)?;
        recorder.submit()?;
        self.as_tokens(space.output())
    }

    /// How many times as wide the adapter's output is as the decoder, if it is so.
    pub(crate) fn tokens_per_row(&self) -> Option<usize> {
        let (output, hidden) = (self.adapter.output(), self.decoder.config().hidden_size);
        (output > 0 && output.is_multiple_of(hidden)).then(|| output / hidden)
    }

    /// The adapter's rows `[m, t hidden]` as `[m t, hidden]`.
    pub(crate) fn as_tokens(&self, rows: &Tensor) -> Result<Tensor> {
        match self.tokens_per_row() {
            None | Some(0 | 1) => Ok(rows.clone()),
            Some(t) => rows.reshaped(rows.rows() * t, self.decoder.config().hidden_size),
        }
    }
}
