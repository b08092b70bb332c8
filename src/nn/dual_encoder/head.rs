//! The end of each tower: linear, GELU, linear, division by the norm.

use crate::device::{Device, Recorder, Tensor};
use crate::kernels::nn::gelu::{self, Form};
use crate::kernels::nn::unit_rows;
use crate::nn::linear::{Linear, Then};
use crate::nn::parameters::{Gradients, Parameters};
use crate::{ElementType, Result};

/// Two linear layers.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub first: Linear,
    pub last: Linear,
    /// The norm's constant weight, `[1, d]`.
    pub unit: Tensor,
}

/// Activations of a head, `[n, ...]`.
#[derive(Clone, Debug)]
pub(super) struct HeadSpace {
    hidden: Tensor,
    active: Tensor,
    output: Tensor,
    /// What the tower gives: rows of norm 1.
    pub unit: Tensor,
    d_hidden: Tensor,
    d_active: Tensor,
    d_output: Tensor,
}

impl HeadSpace {
    pub fn new(device: &Device, rows: usize, hidden: usize, width: usize) -> Result<Self> {
        let make = |width| Tensor::new(device, rows, width, ElementType::F32);
        Ok(HeadSpace {
            hidden: make(hidden)?,
            active: make(hidden)?,
            output: make(width)?,
            unit: make(width)?,
            d_hidden: make(hidden)?,
            d_active: make(hidden)?,
            d_output: make(width)?,
        })
    }
}

impl Head {
    pub fn forward(&self, recorder: &mut Recorder, p: &Parameters, x: &Tensor, space: &HeadSpace) -> Result<()> {
        let to = (&space.active, Then::Gelu(Form::Erf, &space.hidden));
        self.first.forward_then(recorder, p, x, to, None)?;
        self.last.forward(recorder, p, &space.active, &space.output, None)?;
        unit_rows::forward(recorder, &space.output, &self.unit, &space.unit)
    }

    /// `dy` is the gradient of the unit rows; that of `x` is written to `dx`.
    pub fn backward(
        &self,
        recorder: &mut Recorder,
        both: (&Parameters, &Gradients),
        (x, dy, dx): (&Tensor, &Tensor, &Tensor),
        space: &HeadSpace,
    ) -> Result<()> {
        unit_rows::backward(recorder, &space.output, &self.unit, dy, &space.d_output)?;
        let to = Some((&space.d_active, false));
        self.last.backward(recorder, both, (&space.active, &space.d_output), to, None)?;
        gelu::backward(recorder, Form::Erf, &space.hidden, &space.d_active, &space.d_hidden)?;
        self.first.backward(recorder, both, (x, &space.d_hidden), Some((dx, false)), None)
    }
}
