//! `y = x Wᵀ + b`, with `W` `[out, in]` as PyTorch and Hugging Face keep it, optionally with a low-rank addition (LoRA,
//! arXiv 2106.09685): `y += (alpha / r) (x Aᵀ) Bᵀ`, `A` `[r, in]`, `B` `[out, r]`.

use super::parameters::{Gradients, Parameters, Slot};
use crate::device::{Device, Purpose, Recorder, Tensor};
use crate::kernels::linalg::epilogue::Epilogue;
use crate::kernels::linalg::matmul::{self, Operand, Product};
use crate::kernels::nn::bias;
use crate::kernels::nn::dropout::{self, Mask};
use crate::kernels::nn::gate::Act;
use crate::kernels::nn::gelu::{self, Form};
use crate::{ElementType, Error, Result};

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

/// Where the product `x Aᵀ` of a low-rank addition goes, and what is left out of `x` before it.
#[derive(Clone, Copy, Debug)]
pub struct Narrow<'a> {
    /// `x Aᵀ`, `[n, r]`.
    pub product: &'a Tensor,
    /// Dropout, in training.
    pub dropout: Option<Dropout<'a>>,
}

impl<'a> From<&'a Tensor> for Narrow<'a> {
    /// Without dropout.
    fn from(product: &'a Tensor) -> Self {
        Narrow { product, dropout: None }
    }
}

/// Dropout of a low-rank addition's input, as PEFT has it: `y += (alpha / r) (mask x / (1 - p)) Aᵀ Bᵀ`.
#[derive(Clone, Copy, Debug)]
pub struct Dropout<'a> {
    /// What is left out; of each layer by its own [`Mask::module`].
    pub mask: Mask<'a>,
    /// Room for rows of each width that a linear layer reads.
    pub rooms: &'a [DropoutRoom],
}

/// Room for rows of one width, which all layers share.
#[derive(Clone, Debug)]
pub struct DropoutRoom {
    /// What is left of the input, as products read it.
    pub left: Tensor,
    /// The gradient before elements are left out of it, in f32.
    pub gradient: Tensor,
    /// The gradient that is left, in f32, where `left` is f16.
    pub gradient_left: Option<Tensor>,
}

impl DropoutRoom {
    /// Room for rows `[n, d]` that products read as `element`.
    pub(crate) fn new(device: &Device, shape: (usize, usize), element: ElementType) -> Result<Self> {
        let make = |element| Tensor::labelled(device, (Purpose::Activations, "what dropout leaves"), shape, element);
        let left = make(element)?;
        let gradient = make(ElementType::F32)?;
        let gradient_left = (element != ElementType::F32).then(|| make(ElementType::F32)).transpose()?;
        Ok(DropoutRoom { left, gradient, gradient_left })
    }

    pub(crate) fn first_rows(&self, n: usize) -> Result<Self> {
        let gradient_left = self.gradient_left.as_ref().map(|t| t.first_rows(n)).transpose()?;
        Ok(DropoutRoom { left: self.left.first_rows(n)?, gradient: self.gradient.first_rows(n)?, gradient_left })
    }

    #[cfg(test)]
    pub(crate) fn all(&self) -> impl Iterator<Item = &Tensor> {
        [&self.left, &self.gradient].into_iter().chain(&self.gradient_left)
    }
}

impl<'a> Dropout<'a> {
    fn room(&self, width: usize) -> Result<&'a DropoutRoom> {
        let room = self.rooms.iter().find(|room| room.left.width() == width);
        room.ok_or_else(|| Error::argument("space", "was made for a decoder without dropout"))
    }

    fn factor(&self) -> f32 {
        1.0 / (1.0 - self.mask.probability)
    }

    /// Leaves elements of `x` out: what is left, unscaled, for f16 might not hold it scaled.
    fn left(&self, recorder: &mut Recorder, low: &LowRank, x: &Tensor) -> Result<&'a Tensor> {
        let room = self.room(x.width())?;
        dropout::record(recorder, self.mask_of(low), 1.0, x, (&room.left, false))?;
        Ok(&room.left)
    }

    fn mask_of(&self, low: &LowRank) -> Mask<'a> {
        // Projections that share their A are one module to PEFT, and share their mask.
        Mask { module: low.a as u32, ..self.mask }
    }
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
    /// An activation whose argument nobody reads again: of layers that do not train, without a low-rank addition.
    Act(Act),
}

/// Records `y = x Wᵀ + b` times the product's factor, and what follows: `x` `[n, in]`, `W` `[out, in]`, `b` `[out]`, `y` `[n, out]`.
///
/// # Errors
/// Shapes that do not fit.
pub(crate) fn record(
    recorder: &mut Recorder,
    product: Product,
    (x, weight, bias): (&Tensor, Operand<'_>, Option<&Tensor>),
    (y, then): (&Tensor, Then<'_>),
) -> Result<()> {
    let epilogue = match then {
        Then::Nothing => Epilogue::Add { bias, residual: None },
        Then::Add(residual) => Epilogue::Add { bias, residual: Some(residual) },
        Then::Gelu(form, before) => Epilogue::Gelu { form, bias, before },
        Then::Act(act) => Epilogue::Act { act, bias },
    };
    matmul::record_fused(recorder, product, epilogue, (Operand::new(x), weight.transposed()), (y, 0))
}

/// A product times `alpha`, written or added.
const fn times(alpha: f32, accumulate: bool) -> Product {
    Product { alpha, accumulate, upper: false }
}

impl Linear {
    /// Records `y = x Wᵀ + b`: `x` `[n, in]`, `y` `[n, out]`; `narrow` keeps `x Aᵀ` for the backward pass.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward(
        &self,
        recorder: &mut Recorder,
        parameters: &Parameters,
        x: &Tensor,
        y: &Tensor,
        narrow: Option<Narrow<'_>>,
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
        narrow: Option<Narrow<'_>>,
    ) -> Result<()> {
        let operand = |slot| parameters.operand(slot).map(Operand::new);
        let (weight, bias) = (operand(self.weight)?, self.bias.map(|slot| parameters.tensor(slot)).transpose()?);
        let (product, operands) = (times(self.input_factor, false), (x, weight, bias));
        let Some((low, narrow)) = self.low_rank.zip(narrow) else {
            return record(recorder, product, operands, (y, then));
        };
        // A low-rank addition comes before GELU.
        let (to, first) = match then {
            Then::Nothing | Then::Add(_) => (y, then),
            Then::Gelu(_, before) => (before, Then::Nothing),
            Then::Act(_) => return Err(Error::argument("then", "a low-rank addition needs the activation's argument")),
        };
        self.forward_narrow(recorder, parameters, x, Some(narrow))?;
        let addition = (times(low.scale, true), (Operand::new(narrow.product), operand(low.b)?.transposed()));
        if to.element_type() == ElementType::F32 {
            record(recorder, product, operands, (to, first))?;
            matmul::record(recorder, addition.0, addition.1, (to, 0))?;
        } else {
            if let Then::Add(_) = first {
                return Err(Error::argument("then", "what is added to a low-rank addition's sum must be f32"));
            }
            record_sum(recorder, (product, (Operand::new(x), weight.transposed())), addition, bias, to)?;
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
        narrow: Option<Narrow<'_>>,
    ) -> Result<()> {
        let Some((low, narrow)) = self.low_rank.zip(narrow) else { return Ok(()) };
        let a = Operand::new(parameters.operand(low.a)?).transposed();
        let (x, factor) = self.narrow_input(recorder, &low, x, narrow.dropout)?;
        matmul::record(recorder, times(factor, false), (Operand::new(x), a), (narrow.product, 0))
    }

    /// What a low-rank addition reads of `x`, and what it is to be multiplied by.
    fn narrow_input<'a>(
        &self,
        recorder: &mut Recorder,
        low: &LowRank,
        x: &'a Tensor,
        dropout: Option<Dropout<'a>>,
    ) -> Result<(&'a Tensor, f32)> {
        match dropout {
            None => Ok((x, self.input_factor)),
            Some(dropout) => Ok((dropout.left(recorder, low, x)?, self.input_factor * dropout.factor())),
        }
    }

    /// Records the backward pass: adds to the gradients of what trains, and writes the gradient of `x` to `dx.0`, or adds to
    /// it if `dx.1`. `narrow` is the forward pass's, and a second tensor of the product's shape for its gradient.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn backward(
        &self,
        recorder: &mut Recorder,
        (parameters, gradients): (&Parameters, &Gradients),
        (x, dy): (&Tensor, &Tensor),
        dx: Option<(&Tensor, bool)>,
        narrow: Option<(Narrow<'_>, &Tensor)>,
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
            matmul::record(
                recorder,
                scaled(true),
                (Operand::new(dy).transposed(), Operand::new(narrow.product)),
                (db, 0),
            )?;
        }
        if let Some(da) = gradients.tensor(low.a)? {
            let (x, factor) = self.narrow_input(recorder, &low, x, narrow.dropout)?;
            let operands = (Operand::new(dnarrow).transposed(), Operand::new(x));
            matmul::record(recorder, times(factor, true), operands, (da, 0))?;
        }
        let Some((dx, accumulate)) = dx else { return Ok(()) };
        let (product, addition) = (by_output(accumulate)?, (times(1.0, true), (Operand::new(dnarrow), value(low.a)?)));
        if let Some(dropout) = narrow.dropout {
            return record_dropped_sum(recorder, (&low, dropout), product, addition, dx);
        }
        if dx.element_type() == ElementType::F32 {
            matmul::record(recorder, product.0, product.1, (dx, 0))?;
            return matmul::record(recorder, addition.0, addition.1, (dx, 0));
        }
        record_sum(recorder, product, addition, None, dx)
    }
}

/// Records the sum of a product and of what dropout leaves of another, to `to`.
fn record_dropped_sum(
    recorder: &mut Recorder,
    (low, dropout): (&LowRank, Dropout<'_>),
    (product, operands): Factors<'_>,
    (addition, added): Factors<'_>,
    to: &Tensor,
) -> Result<()> {
    let (room, mask) = (dropout.room(to.width())?, dropout.mask_of(low));
    matmul::record(recorder, Product { accumulate: false, ..addition }, added, (&room.gradient, 0))?;
    let Some(left) = room.gradient_left.as_ref().filter(|_| to.element_type() != ElementType::F32) else {
        matmul::record(recorder, product, operands, (to, 0))?;
        return dropout::record(recorder, mask, dropout.factor(), &room.gradient, (to, true));
    };
    dropout::record(recorder, mask, dropout.factor(), &room.gradient, (left, false))?;
    let epilogue = Epilogue::Add { bias: None, residual: Some(left) };
    matmul::record_fused(recorder, product, epilogue, operands, (to, 0))
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
