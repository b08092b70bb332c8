//! The losses that pull pairs together: symmetric InfoNCE and SigLIP's sigmoid loss, from unit rows to their gradients
//! [paper, appendix H.1].

use crate::device::{Buffer, Device, Recorder, Tensor};
use crate::kernels::linalg::matmul::{self, Operand, Product};
use crate::kernels::nn::info_nce::Temperature;
use crate::kernels::nn::{bias, info_nce, pair_sigmoid};
use crate::{ElementType, Error, Result};

/// Which loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PairLoss {
    /// Cross-entropy of each row's and each column's softmax, averaged over both.
    #[default]
    InfoNce,
    /// A logistic loss of each pair by itself (arXiv 2303.15343).
    Sigmoid,
}

/// Work space for batches of one size.
#[derive(Clone, Debug)]
pub struct PairSpace {
    similarities: Tensor,
    transposed: Tensor,
    rows: Tensor,
    columns: Tensor,
    terms: Tensor,
    losses: Buffer,
}

/// Where the gradients go: that of the temperature `[1, 2]` is added to, those of x and y `[n, d]` are written.
#[derive(Clone, Copy, Debug)]
pub struct PairGradients<'a> {
    /// Of t and b.
    pub temperature: &'a Tensor,
    /// Of x.
    pub x: &'a Tensor,
    /// Of y.
    pub y: &'a Tensor,
}

impl PairSpace {
    /// Room for batches of `pairs` pairs.
    ///
    /// # Errors
    /// No pairs; no memory.
    pub fn new(device: &Device, pairs: usize) -> Result<Self> {
        if pairs == 0 {
            return Err(Error::argument(
                "batch",
                "a contrastive loss needs at least one pair, and compares from two on",
            ));
        }
        let make = |width| Tensor::new(device, pairs, width, ElementType::F32);
        Ok(PairSpace {
            similarities: make(pairs)?,
            transposed: make(pairs)?,
            rows: make(4)?,
            columns: make(4)?,
            terms: make(2)?,
            losses: device.buffer("losses of pairs", 4 * pairs as u64)?,
        })
    }

    /// The losses that [`PairLoss::record`] left, f32 `[n]`; their mean is the batch's.
    pub fn losses(&self) -> &Buffer {
        &self.losses
    }

    /// The mean of the losses that were recorded last, waiting for the device.
    ///
    /// # Errors
    /// The device was lost.
    pub fn mean_loss_blocking(&self, device: &Device) -> Result<f64> {
        let bytes = device.read_blocking(&self.losses)?;
        let losses: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes[..4 * self.rows.rows()]);
        Ok(losses.iter().map(|&l| f64::from(l)).sum::<f64>() / losses.len() as f64)
    }
}

impl PairLoss {
    /// Records the losses of the pairs `x_i`, `y_i` against all others of the batch, and, if asked for, the gradients of
    /// their mean; `x` and `y` are `[n, d]` f32, of norm 1.
    ///
    /// The gradient of x is a combination of the rows of y, and that of y of the rows of x [Lemma B.6].
    ///
    /// # Errors
    /// Shapes that do not fit; another device's tensors.
    pub fn record(
        self,
        recorder: &mut Recorder,
        space: &PairSpace,
        (x, y): (&Tensor, &Tensor),
        temperature: Temperature<'_>,
        gradients: Option<PairGradients<'_>>,
    ) -> Result<()> {
        let (s, plain) = (&space.similarities, Product::default());
        let scale = 1.0 / x.rows() as f32;
        let outputs = (&space.losses, &space.terms);
        matmul::record(recorder, plain, (Operand::new(x), Operand::new(y).transposed()), (s, 0))?;
        match self {
            PairLoss::InfoNce => {
                let t = &space.transposed;
                matmul::record(recorder, plain, (Operand::new(y), Operand::new(x).transposed()), (t, 0))?;
                info_nce::softmax(recorder, temperature, s, &space.rows)?;
                info_nce::softmax(recorder, temperature, t, &space.columns)?;
                info_nce::terms(recorder, temperature, (&space.rows, &space.columns), scale, outputs)?;
            }
            PairLoss::Sigmoid => pair_sigmoid::forward(recorder, temperature, s, scale, outputs)?,
        }
        let Some(gradients) = gradients else { return Ok(()) };
        match self {
            PairLoss::InfoNce => {
                info_nce::backward(recorder, temperature, (&space.rows, &space.columns), scale, s)?;
            }
            PairLoss::Sigmoid => pair_sigmoid::backward(recorder, temperature, scale, s)?,
        }
        bias::backward(recorder, &space.terms, gradients.temperature, true)?;
        matmul::record(recorder, plain, (Operand::new(s), Operand::new(y)), (gradients.x, 0))?;
        matmul::record(recorder, plain, (Operand::new(s).transposed(), Operand::new(x)), (gradients.y, 0))
    }
}
