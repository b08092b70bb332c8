//! Decoders as encoders of texts: the rows behind the last norm.

use std::path::Path;

use super::text::Batch;
use crate::device::{Device, Purpose, Recorder, Tensor};
use crate::kernels::nn::attention::{Mask, Sequences};
use crate::kernels::nn::embedding;
use crate::nn::decoder::{self, Keep, Space};
use crate::nn::{Decoder, Precision};
use crate::{ElementType, Error, Result};

/// A decoder whose tokens see those before them, or all.
#[derive(Debug)]
pub(super) struct DecoderTower {
    decoder: Decoder,
    mask: Mask,
}

impl DecoderTower {
    /// The decoder of a folder or of a GGUF file.
    ///
    /// # Errors
    /// As [`Decoder::open`]; layers with a window, where all tokens are to see all.
    pub fn open(device: &Device, folder: &Path, (bidirectional, precision): (bool, Precision)) -> Result<Self> {
        let mut decoder = Decoder::open_without_head(device, folder)?;
        let windows = decoder.config().layer_kinds.iter().any(|kind| kind.window.is_some());
        if bidirectional && windows {
            let problem =
                format!("{} has layers that see a window of tokens, which have no other side", folder.display());
            return Err(Error::argument("bidirectional", problem));
        }
        if precision != Precision::F32 {
            decoder.compute_in(device, precision)?;
        }
        Ok(DecoderTower { decoder, mask: if bidirectional { Mask::Full } else { Mask::Causal } })
    }

    pub fn width(&self) -> usize {
        self.decoder.config().hidden_size
    }

    /// Width inside the MLP.
    pub fn inner(&self) -> usize {
        self.decoder.config().intermediate_size
    }

    pub fn vocabulary(&self) -> usize {
        self.decoder.config().vocab_size
    }

    /// The longest context that it was made for.
    pub fn positions(&self) -> usize {
        self.decoder.config().max_positions.unwrap_or(usize::MAX)
    }

    /// Work space for so many tokens.
    pub fn space(&self, device: &Device, tokens: usize) -> Result<Space> {
        Space::new(device, &self.decoder, tokens, Keep::Nothing)
    }

    /// Records the rows of a batch's tokens, or those that are chosen.
    pub fn record(&self, recorder: &mut Recorder, batch: &Batch, space: &Space) -> Result<Tensor> {
        let device = &recorder.device().clone();
        let space = space.first_rows(batch.ids.len())?;
        let sequences = Sequences::packed_masked(device, self.mask, &batch.lengths)?;
        let packed = decoder::Batch::new(device, &batch.ids, &batch.places, sequences)?;
        self.decoder.forward(recorder, &packed, None, &space, None)?;
        let make = |rows| {
            let label = (Purpose::Activations, "rows behind the last norm");
            Tensor::labelled(device, label, (rows, self.width()), ElementType::F32)
        };
        let Some(chosen) = &batch.chosen else {
            let normed = make(batch.ids.len())?;
            self.decoder.normed_stream(recorder, space.last_stream(&self.decoder), &normed)?;
            return Ok(normed);
        };
        let (rows, normed) = (make(chosen.len())?, make(chosen.len())?);
        let ids = device.buffer_from("rows of texts", bytemuck::cast_slice(chosen))?;
        embedding::gather(recorder, space.last_stream(&self.decoder), None, &ids, &rows)?;
        self.decoder.normed_stream(recorder, &rows, &normed)?;
        Ok(normed)
    }
}
