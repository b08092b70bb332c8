//! The last norm, the output matrix and the loss, over the supervised tokens only and over the vocabulary in chunks, so
//! that logits of `[n, vocabulary]` never exist as a whole.

use super::backward::gradient_space;
use super::{Decoder, Space};
use crate::device::{Buffer, Device, Recorder, Tensor};
use crate::kernels::linalg::matmul::{self, Operand, Product};
use crate::kernels::nn::embedding::{self, ScatterPlan};
use crate::kernels::nn::{cross_entropy, rms_norm};
use crate::nn::parameters::Gradients;
use crate::{ElementType, Error, Result};

/// Bytes that a chunk of logits may take.
const LOGITS_BYTES: usize = 64 << 20;

/// Which rows of a batch are supervised, and their labels.
#[derive(Clone, Debug)]
pub struct Head {
    rows: Buffer,
    plan: ScatterPlan,
    labels: Buffer,
    losses: Buffer,
    count: usize,
}

impl Head {
    /// From the labels of every token, `[n]`: that of the token after it, or -100 where there is none.
    ///
    /// # Errors
    /// No label at all; no memory.
    pub fn new(device: &Device, labels: &[i32]) -> Result<Self> {
        let (rows, chosen): (Vec<u32>, Vec<i32>) =
            labels.iter().enumerate().filter(|(_, l)| **l >= 0).map(|(i, l)| (i as u32, *l)).unzip();
        if rows.is_empty() {
            return Err(Error::argument("labels", "no token of the batch has one; leave the batch out"));
        }
        Ok(Head {
            plan: ScatterPlan::new(device, &rows)?,
            rows: device.buffer_from("supervised rows", bytemuck::cast_slice(&rows))?,
            labels: device.buffer_from("labels", bytemuck::cast_slice(&chosen))?,
            losses: device.buffer("losses", 4 * rows.len() as u64)?,
            count: rows.len(),
        })
    }

    /// Negative log-likelihood of each supervised token once the loss is computed, f32 `[count]`.
    pub fn losses(&self) -> &Buffer {
        &self.losses
    }

    /// Supervised tokens.
    pub fn count(&self) -> usize {
        self.count
    }
}

/// Work space of the head for at most some number of supervised tokens.
#[derive(Clone, Debug)]
pub struct HeadSpace {
    rows: Tensor,
    normed: Tensor,
    /// A chunk of logits, and what is left for the last.
    logits: Tensor,
    last_logits: Option<Tensor>,
    state: Tensor,
    d_normed: Tensor,
    d_rows: Tensor,
}

impl HeadSpace {
    /// Room for `count` supervised tokens, or rows whose logits are wanted.
    ///
    /// # Errors
    /// No memory.
    pub fn new(device: &Device, decoder: &Decoder, count: usize) -> Result<Self> {
        let vocabulary = decoder.config().vocab_size;
        let budget = LOGITS_BYTES.min(usize::try_from(device.capabilities().max_binding).unwrap_or(usize::MAX));
        let chunk = (budget / 4 / count.max(1) / 4 * 4).clamp(4, vocabulary.max(4)).min(vocabulary);
        let make = |width| Tensor::new(device, count, width, ElementType::F32);
        let hidden = decoder.config().hidden_size;
        Ok(HeadSpace {
            rows: make(hidden)?,
            normed: make(hidden)?,
            logits: make(chunk)?,
            last_logits: (!vocabulary.is_multiple_of(chunk)).then(|| make(vocabulary % chunk)).transpose()?,
            state: make(4)?,
            d_normed: make(hidden)?,
            d_rows: make(hidden)?,
        })
    }

    /// The logits that [`Decoder::logits`] wrote, `[count, vocabulary]`.
    pub fn logits(&self) -> &Tensor {
        &self.logits
    }

    fn first_rows(&self, n: usize) -> Result<Self> {
        Ok(HeadSpace {
            rows: self.rows.first_rows(n)?,
            normed: self.normed.first_rows(n)?,
            logits: self.logits.first_rows(n)?,
            last_logits: self.last_logits.as_ref().map(|t| t.first_rows(n)).transpose()?,
            state: self.state.first_rows(n)?,
            d_normed: self.d_normed.first_rows(n)?,
            d_rows: self.d_rows.first_rows(n)?,
        })
    }
}

impl Decoder {
    /// Records the negative log-likelihoods of the supervised tokens, and, with `scale`, the gradient of `scale` times
    /// their sum: into `gradients`, and into the space's gradient of the residual stream, which is overwritten.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn loss(
        &self,
        recorder: &mut Recorder,
        head: &Head,
        space: (&Space, &HeadSpace),
        backward: Option<(&Gradients, f32)>,
    ) -> Result<()> {
        let (stream, s) = (space.0.stream(self.config().layers), space.1.first_rows(head.count)?);
        let norm = &self.parameters.get(self.norm).value;
        let eps = self.config().norm_eps as f32;
        embedding::gather(recorder, stream, None, &head.rows, &s.rows)?;
        rms_norm::forward(recorder, eps, &s.rows, norm, &s.normed)?;
        recorder.clear(s.state.buffer());
        let vocabulary = self.config().vocab_size;
        let chunk = s.logits.width();
        for first in (0..vocabulary).step_by(chunk) {
            let logits = self.logits_chunk(recorder, &s, first)?;
            cross_entropy::forward_chunk(recorder, &logits, first, &head.labels, &s.state)?;
        }
        cross_entropy::finish(recorder, &s.state, &head.labels, &head.losses)?;
        let Some((gradients, scale)) = backward else { return Ok(()) };
        for first in (0..vocabulary).step_by(chunk) {
            // One chunk is still there.
            let logits = if chunk < vocabulary { self.logits_chunk(recorder, &s, first)? } else { s.logits.clone() };
            cross_entropy::backward_chunk(recorder, &logits, first, &head.labels, &s.state, scale)?;
            self.backward_chunk(recorder, gradients, (&logits, first), &s)?;
        }
        let d = gradient_space(space.0)?;
        rms_norm::backward(recorder, eps, &s.rows, norm, &s.d_normed, (&s.d_rows, false), gradients.get(self.norm))?;
        recorder.clear(d.stream.buffer());
        embedding::scatter(recorder, &head.plan, &s.d_rows, Some(&d.stream), None)
    }

    /// Logits of the vocabulary from `first` on, as many as a chunk has.
    fn logits_chunk(&self, recorder: &mut Recorder, s: &HeadSpace, first: usize) -> Result<Tensor> {
        let output = &self.parameters.get(self.output).value;
        let left = self.config().vocab_size - first;
        let logits = s.last_logits.as_ref().filter(|_| left < s.logits.width()).unwrap_or(&s.logits);
        let count = logits.width();
        let weight = Operand::new(output).rows(first, count).transposed();
        matmul::record(recorder, Product::default(), (Operand::new(&s.normed), weight), (logits, 0))?;
        Ok(logits.clone())
    }

    fn backward_chunk(
        &self,
        recorder: &mut Recorder,
        gradients: &Gradients,
        (d_logits, first): (&Tensor, usize),
        s: &HeadSpace,
    ) -> Result<()> {
        let count = d_logits.width();
        let add = Product { alpha: 1.0, accumulate: true, upper: false };
        let output = Operand::new(&self.parameters.get(self.output).value).rows(first, count);
        let product = Product { accumulate: first > 0, ..add };
        matmul::record(recorder, product, (Operand::new(d_logits), output), (&s.d_normed, 0))?;
        if let Some(d_output) = gradients.get(self.output) {
            let normed = Operand::new(&s.normed);
            matmul::record(recorder, add, (Operand::new(d_logits).transposed(), normed), (d_output, first))?;
        }
        Ok(())
    }

    /// Records the logits of `rows` of the residual stream: all of the vocabulary at once, for generation. They are then in
    /// the space, which must be made for no more rows than a chunk of logits allows.
    ///
    /// # Errors
    /// Shapes that do not fit; a vocabulary that does not fit a chunk.
    pub fn logits(&self, recorder: &mut Recorder, rows: &Buffer, (space, s): (&Space, &HeadSpace)) -> Result<()> {
        if s.logits.width() < self.config().vocab_size {
            let got = format!("{} of {}", s.logits.width(), self.config().vocab_size);
            return Err(Error::shape("logits", "rows", "so few that all logits fit a chunk", got));
        }
        let stream = space.stream(self.config().layers);
        embedding::gather(recorder, stream, None, rows, &s.rows)?;
        let norm = &self.parameters.get(self.norm).value;
        rms_norm::forward(recorder, self.config().norm_eps as f32, &s.rows, norm, &s.normed)?;
        self.logits_chunk(recorder, s, 0).map(drop)
    }
}
