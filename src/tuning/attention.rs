//! Attention on packed sequences, as it is timed.

use super::numbers;
use crate::device::{Device, Recorder, Tensor};
use crate::kernels::nn::attention::{self, Heads, Sequences};
use crate::{ElementType, Result};

/// Width of a head; four query heads share a key-value head.
const HEAD: usize = 64;
const SHARED: usize = 4;
/// Sequences of a batch are so long.
const LENGTH: usize = 256;

/// Queries, keys, values and what comes of them, for sequences of one length.
pub(crate) struct Attention {
    pub(crate) heads: Heads,
    pub(crate) count: usize,
    pub(crate) length: usize,
    sequences: Sequences,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    pub(crate) out: Tensor,
    lse: Tensor,
    device: Device,
}

impl Attention {
    /// Some `tokens`, as many as make whole sequences, in a decoder of width `hidden`; all but the sums of exponentials has an element type.
    pub(crate) fn new(device: &Device, (tokens, hidden): (usize, usize), element: ElementType) -> Result<Self> {
        let length = LENGTH.min(tokens);
        Self::of(device, (length, tokens / length), (hidden, None), element)
    }

    /// `count` sequences of a length, in a decoder of width `hidden` whose queries see so many keys, or all.
    pub(crate) fn of(
        device: &Device,
        (length, count): (usize, usize),
        (hidden, window): (usize, Option<u32>),
        element: ElementType,
    ) -> Result<Self> {
        let rows = length * count;
        let query = hidden / HEAD;
        let heads = Heads { window, ..Heads::new(query, query / SHARED, HEAD) };
        let lengths = vec![length as u32; count];
        let matrix = |seed, heads: usize| filled(device, (rows, heads * HEAD), element, seed);
        Ok(Attention {
            heads,
            count: lengths.len(),
            length,
            sequences: Sequences::packed(device, &lengths)?,
            q: matrix(1, query)?,
            k: matrix(3, heads.key_value)?,
            v: matrix(4, heads.key_value)?,
            out: Tensor::new(device, rows, query * HEAD, element)?,
            lse: Tensor::new(device, rows, query, ElementType::F32)?,
            device: device.clone(),
        })
    }

    pub(crate) fn forward(&self, recorder: &mut Recorder) -> Result<()> {
        let (q, k, v) = (&self.q, &self.k, &self.v);
        attention::forward(recorder, self.heads, &self.sequences, q, k, v, &self.out, &self.lse)
    }

    #[cfg(feature = "bench")]
    pub(crate) fn forward_bytes(&self) -> u64 {
        bytes(&[&self.q, &self.k, &self.v, &self.out, &self.lse])
    }

    /// One product of a query with a key and one of a weight with a value, over all pairs.
    pub(crate) fn forward_flops(&self) -> u64 {
        let length = self.length as u64;
        let window = self.heads.window.map_or(length, |w| u64::from(w).min(length));
        // The first queries see as many as are there, the others the window.
        let causal = window * (window + 1) / 2 + (length - window) * window;
        4 * self.count as u64 * causal * (self.heads.query * HEAD) as u64
    }
}

/// The gradients of an [`Attention`] that was run.
pub(crate) struct AttentionGradients {
    pub(crate) forward: Attention,
    dout: Tensor,
    dq: Tensor,
    pub(crate) dk: Tensor,
    dv: Tensor,
}

impl AttentionGradients {
    /// Runs the forward pass, whose results the backward pass takes.
    pub(crate) fn new(forward: Attention) -> Result<Self> {
        let device = &forward.device;
        let mut recorder = device.recorder();
        forward.forward(&mut recorder)?;
        recorder.submit()?.wait()?;
        let (rows, width) = (forward.q.rows(), forward.q.width());
        let dout = filled(device, (rows, width), forward.q.element_type(), 2)?;
        let like = |t: &Tensor| Tensor::new(device, t.rows(), t.width(), t.element_type());
        let (dq, dk, dv) = (like(&forward.q)?, like(&forward.k)?, like(&forward.v)?);
        Ok(AttentionGradients { forward, dout, dq, dk, dv })
    }

    pub(crate) fn backward(&self, recorder: &mut Recorder) -> Result<()> {
        let Attention { heads, sequences, q, k, v, out, lse, .. } = &self.forward;
        let (dout, dq, dk, dv) = (&self.dout, &self.dq, &self.dk, &self.dv);
        attention::backward(recorder, *heads, sequences, q, k, v, out, lse, dout, dq, dk, dv)
    }

    #[cfg(feature = "bench")]
    pub(crate) fn bytes(&self) -> u64 {
        self.forward.forward_bytes() + bytes(&[&self.dout, &self.dq, &self.dk, &self.dv])
    }

    /// By recomputation: seven products for the forward pass's two.
    pub(crate) fn flops(&self) -> u64 {
        self.forward.forward_flops() / 2 * 7
    }
}

fn filled(device: &Device, (rows, width): (usize, usize), element: ElementType, seed: u32) -> Result<Tensor> {
    let tensor = Tensor::new(device, rows, width, element)?;
    tensor.write_f32(device, &numbers(seed, rows * width))?;
    Ok(tensor)
}

#[cfg(feature = "bench")]
fn bytes(tensors: &[&Tensor]) -> u64 {
    tensors.iter().map(|t| t.buffer().bytes()).sum()
}
