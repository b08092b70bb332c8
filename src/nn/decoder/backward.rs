//! The backward pass, layer by layer from the last.

use super::space::GradientSpace;
use super::{Batch, Decoder, Keep, Layer, LayerSpace, Space};
use crate::device::{Recorder, Tensor};
use crate::kernels::nn::embedding::{self, ScatterPlan};
use crate::kernels::nn::{attention, rms_norm, rotary, silu_gate};
use crate::nn::Table;
use crate::nn::parameters::{Gradients, Slot};
use crate::{Error, Result};

impl Decoder {
    /// Records the backward pass from the gradient of the residual stream after the last layer, which is in the space, to
    /// the parameters' `gradients` and to the visual tokens' `visual`, both added to.
    ///
    /// # Errors
    /// Shapes that do not fit; a space that kept nothing.
    pub fn backward(
        &self,
        recorder: &mut Recorder,
        gradients: &Gradients,
        batch: (&Batch, &ScatterPlan),
        space: &Space,
        visual: Option<&Tensor>,
    ) -> Result<()> {
        let d = gradient_space(space)?;
        for (index, layer) in self.layers.iter().enumerate().rev() {
            let (x, kept) = (space.stream(index), space.layer(index));
            if space.keep == Keep::Inputs {
                self.forward_layer(recorder, layer, batch.0, (x, kept), None, None)?;
            }
            self.backward_mlp(recorder, gradients, layer, kept, d)?;
            self.backward_attention(recorder, gradients, layer, (batch.0, x), kept, d)?;
        }
        let table = gradients.get(self.embedding);
        if table.is_none() && visual.is_none() {
            return Ok(());
        }
        let shards = table.into_iter().flat_map(Table::shards);
        embedding::scatter_shards(recorder, batch.1, &d.stream, shards, visual)
    }

    fn backward_mlp(
        &self,
        recorder: &mut Recorder,
        gradients: &Gradients,
        layer: &Layer,
        kept: &LayerSpace,
        d: &GradientSpace,
    ) -> Result<()> {
        let both = (&self.parameters, gradients);
        let narrow = |i: usize| kept.narrow.get(i).zip(d.narrow.as_ref());
        layer.down.backward(recorder, both, (&kept.active, &d.stream), Some((&d.active, false)), narrow(6))?;
        silu_gate::backward(recorder, &kept.gate, &kept.up, &d.active, &d.gate, &d.up)?;
        layer.gate.backward(recorder, both, (&kept.mlp_input, &d.gate), Some((&d.normed, false)), narrow(4))?;
        layer.up.backward(recorder, both, (&kept.mlp_input, &d.up), Some((&d.normed, true)), narrow(5))?;
        self.backward_norm(recorder, gradients, layer.mlp_norm, &kept.middle, d)
    }

    fn backward_attention(
        &self,
        recorder: &mut Recorder,
        gradients: &Gradients,
        layer: &Layer,
        (batch, x): (&Batch, &Tensor),
        kept: &LayerSpace,
        d: &GradientSpace,
    ) -> Result<()> {
        let (both, heads) = ((&self.parameters, gradients), self.heads());
        let narrow = |i: usize| kept.narrow.get(i).zip(d.narrow.as_ref());
        layer.o.backward(recorder, both, (&kept.mixed, &d.stream), Some((&d.mixed, false)), narrow(3))?;
        let Batch { spans, .. } = batch;
        let (q, k, v) = (&kept.q, &kept.k, &kept.v);
        let (mixed, sums) = (&kept.mixed, &kept.log_sums);
        attention::backward(recorder, heads, spans, q, k, v, mixed, sums, &d.mixed, &d.q, &d.k, &d.v)?;
        rotary::record(recorder, &self.frequencies, &batch.positions, heads.query, &d.q, true)?;
        rotary::record(recorder, &self.frequencies, &batch.positions, heads.key_value, &d.k, true)?;
        let a = &kept.attention_input;
        layer.q.backward(recorder, both, (a, &d.q), Some((&d.normed, false)), narrow(0))?;
        layer.k.backward(recorder, both, (a, &d.k), Some((&d.normed, true)), narrow(1))?;
        layer.v.backward(recorder, both, (a, &d.v), Some((&d.normed, true)), narrow(2))?;
        self.backward_norm(recorder, gradients, layer.attention_norm, x, d)
    }

    /// Adds what the norm passes back to the gradient of the stream.
    fn backward_norm(
        &self,
        recorder: &mut Recorder,
        gradients: &Gradients,
        norm: Slot,
        x: &Tensor,
        d: &GradientSpace,
    ) -> Result<()> {
        let weight = self.parameters.tensor(norm)?;
        let eps = self.config().norm_eps as f32;
        rms_norm::backward(recorder, eps, x, weight, &d.normed, (&d.stream, true), gradients.tensor(norm)?)
    }
}

pub(super) fn gradient_space(space: &Space) -> Result<&GradientSpace> {
    let none = || Error::argument("space", "was made for inference (Keep::Nothing); make one that keeps activations");
    space.gradients.as_ref().ok_or_else(none)
}
