//! `y = x Wᵀ + b`, with `W` `[out, in]` as PyTorch and Hugging Face keep it, optionally with a low-rank addition (LoRA,
//! arXiv 2106.09685): `y += (alpha / r) (x Aᵀ) Bᵀ`, `A` `[r, in]`, `B` `[out, r]`.

use super::parameters::{Gradients, Parameters, Slot};
use crate::device::{Purpose, Recorder, Tensor};
use crate::kernels::linalg::epilogue::Epilogue;
use crate::kernels::linalg::matmul::{self, Operand, Product};
use crate::kernels::nn::bias;
use crate::kernels::nn::gelu::{self, Form};
use crate::{ElementType, Result};

/// A low-rank addition to a linear layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LowRank {
    /// `A` `[r, in]`.
    pub a: Slot,
    /// `B` `[out, r]`.
    pub b: Slot,
    /// `alpha / r`.
    pub scale: f32,
}

/// Where a linear layer's parameters are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    /// `W` `[out, in]`.
    pub weight: Slot,
    /// `b` `[out]`.
    pub bias: Option<Slot>,
    /// The low-rank addition.
    pub low_rank: Option<LowRank>,
    /// What the stored input is to be multiplied by: a power of two where f16 might not hold it as it is, else 1.
    pub input_factor: f32,
}

/// What follows on a linear layer, within the same pass over its result where the layer has no low-rank addition.
#[derive(Clone, Copy, Debug)]
pub enum Then<'a> {
    /// Nothing.
    Nothing,
    /// A tensor of the result's shape is added.
    Add(&'a Tensor),
    /// GELU; its argument, which its backward pass reads, goes to the tensor.
    Gelu(Form, &'a Tensor),
}

/// A product times `alpha`, written or added.
const fn times(alpha: f32, accumulate: bool) -> Product {
    Product { alpha, accumulate, upper: false }
}

impl Linear {
    /// Records `y = x Wᵀ + b`: `x` `[n, in]`, `y` `[n, out]`; `narrow` `[n, r]` keeps `x Aᵀ` for the backward pass.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward(
        &self,
        recorder: &mut Recorder,
        parameters: &Parameters,
        x: &Tensor,
        y: &Tensor,
        narrow: Option<&Tensor>,
    ) -> Result<()> {
        self.forward_then(recorder, parameters, x, (y, Then::Nothing), narrow)
    }

    /// [`Linear::forward`], and what follows on it.
    ///
    /// # Errors
    /// As [`Linear::forward`].
    pub fn forward_then(
        &self,
        recorder: &mut Recorder,
        parameters: &Parameters,
        x: &Tensor,
        (y, then): (&Tensor, Then<'_>),
        narrow: Option<&Tensor>,
    ) -> Result<()> {
        let operand = |slot| parameters.operand(slot).map(|m| Operand::new(m).transposed());
        let (weight, bias) = (operand(self.weight)?, self.bias.map(|slot| parameters.tensor(slot)).transpose()?);
        let low_rank = self.low_rank.zip(narrow);
        // A low-rank addition comes before GELU.
        let (to, epilogue) = match (then, low_rank) {
            (Then::Nothing, _) => (y, Epilogue::Add { bias, residual: None }),
            (Then::Add(residual), _) => (y, Epilogue::Add { bias, residual: Some(residual) }),
            (Then::Gelu(form, before), None) => (y, Epilogue::Gelu { form, bias, before }),
            (Then::Gelu(_, before), Some(_)) => (before, Epilogue::Add { bias, residual: None }),
        };
        let (product, operands) = (times(self.input_factor, false), (Operand::new(x), weight));
        let Some((low, narrow)) = low_rank else {
            return matmul::record_fused(recorder, product, epilogue, operands, (to, 0));
        };
        self.forward_narrow(recorder, parameters, x, Some(narrow))?;
        let addition = (times(low.scale, true), (Operand::new(narrow), operand(low.b)?));
        if to.element_type() == ElementType::F32 {
            matmul::record_fused(recorder, product, epilogue, operands, (to, 0))?;
            matmul::record(recorder, addition.0, addition.1, (to, 0))?;
        } else {
            record_sum(recorder, (product, operands), addition, bias, to)?;
        }
        if let Then::Gelu(form, before) = then {
            gelu::forward(recorder, form, before, y)?;
        }
        Ok(())
    }

    /// Records `x Aᵀ` alone, all of [`Linear::forward`] that the backward pass reads beside `x`; nothing without a low-rank addition.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward_narrow(
        &self,
        recorder: &mut Recorder,
        parameters: &Parameters,
        x: &Tensor,
        narrow: Option<&Tensor>,
    ) -> Result<()> {
        let Some((low, narrow)) = self.low_rank.zip(narrow) else { return Ok(()) };
        let a = Operand::new(parameters.operand(low.a)?).transposed();
        matmul::record(recorder, times(self.input_factor, false), (Operand::new(x), a), (narrow, 0))
    }

    /// Records the backward pass: adds to the gradients of what trains, and writes the gradient of `x` to `dx.0`, or adds to
    /// it if `dx.1`. `narrow` holds `x Aᵀ` and a second tensor of its shape for its gradient.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn backward(
        &self,
        recorder: &mut Recorder,
        (parameters, gradients): (&Parameters, &Gradients),
        (x, dy): (&Tensor, &Tensor),
        dx: Option<(&Tensor, bool)>,
        narrow: Option<(&Tensor, &Tensor)>,
    ) -> Result<()> {
        let value = |slot| parameters.operand(slot).map(Operand::new);
        let by_input = times(self.input_factor, true);
        if let Some(dw) = gradients.tensor(self.weight)? {
            matmul::record(recorder, by_input, (Operand::new(dy).transposed(), Operand::new(x)), (dw, 0))?;
        }
        if let Some(slot) = self.bias
            && let Some(db) = gradients.tensor(slot)?
        {
            bias::backward(recorder, dy, db, true)?;
        }
        let by_output = |accumulate| Ok((times(1.0, accumulate), (Operand::new(dy), value(self.weight)?)));
        let (Some(low), Some((narrow, dnarrow))) = (self.low_rank, narrow) else {
            let Some((dx, accumulate)) = dx else { return Ok(()) };
            let (product, operands) = by_output(accumulate)?;
            return matmul::record(recorder, product, operands, (dx, 0));
        };
        let scaled = |accumulate| times(low.scale, accumulate);
        matmul::record(recorder, scaled(false), (Operand::new(dy), value(low.b)?), (dnarrow, 0))?;
        if let Some(db) = gradients.tensor(low.b)? {
            matmul::record(recorder, scaled(true), (Operand::new(dy).transposed(), Operand::new(narrow)), (db, 0))?;
        }
        if let Some(da) = gradients.tensor(low.a)? {
            matmul::record(recorder, by_input, (Operand::new(dnarrow).transposed(), Operand::new(x)), (da, 0))?;
        }
        let Some((dx, accumulate)) = dx else { return Ok(()) };
        let (product, addition) = (by_output(accumulate)?, (times(1.0, true), (Operand::new(dnarrow), value(low.a)?)));
        if dx.element_type() == ElementType::F32 {
            matmul::record(recorder, product.0, product.1, (dx, 0))?;
            return matmul::record(recorder, addition.0, addition.1, (dx, 0));
        }
        record_sum(recorder, product, addition, None, dx)
    }
}

/// A product and its operands.
type Factors<'a> = (Product, (Operand<'a>, Operand<'a>));

/// Records the sum of two products, and perhaps a bias, rounded once: `to` is f16, to which nothing can be added.
fn record_sum(
    recorder: &mut Recorder,
    (product, operands): Factors<'_>,
    (addition, added): Factors<'_>,
    bias: Option<&Tensor>,
    to: &Tensor,
) -> Result<()> {
    let label = (Purpose::Activations, "sums of low-rank products");
    let sums = Tensor::labelled(recorder.device(), label, (to.rows(), to.width()), ElementType::F32)?;
    matmul::record(recorder, Product { accumulate: false, ..addition }, added, (&sums, 0))?;
    let epilogue = Epilogue::Add { bias, residual: Some(&sums) };
    matmul::record_fused(recorder, product, epilogue, operands, (to, 0))
}
