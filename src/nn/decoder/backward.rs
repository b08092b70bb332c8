//! The backward pass, layer by layer from the last.

use super::space::GradientSpace;
use super::{Batch, Decoder, Keep, Layer, LayerSpace, Space};
use crate::device::{Recorder, Tensor};
use crate::kernels::nn::embedding::{self, ScatterPlan};
use crate::kernels::nn::{attention, elementwise, rms_norm, rotary, silu_gate};
use crate::nn::ShardedMatrix;
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
            let (x, saved) = (space.stream(index), space.layer(index));
            if space.keep == Keep::Inputs {
                self.forward_layer(recorder, layer, batch.0, (x, saved), None, None)?;
            }
            self.backward_mlp(recorder, gradients, layer, saved, d)?;
            self.backward_attention(recorder, gradients, layer, (batch.0, x), saved, d)?;
        }
        let table = gradients.get(self.embedding);
        if table.is_none() && visual.is_none() {
            return Ok(());
        }
        let shards = table.into_iter().flat_map(ShardedMatrix::shards);
        embedding::scatter_shards(recorder, batch.1, &d.stream, shards, visual)
    }

    fn backward_mlp(
        &self,
        recorder: &mut Recorder,
        gradients: &Gradients,
        layer: &Layer,
        saved: &LayerSpace,
        d: &GradientSpace,
    ) -> Result<()> {
        let both = (&self.parameters, gradients);
        let narrow = |i: usize| saved.narrow.get(i).zip(d.narrow.as_ref());
        let dy = d.stream_operand(recorder)?;
        layer.down.backward(recorder, both, (&saved.active, dy), Some((&d.active, false)), narrow(6))?;
        silu_gate::backward(recorder, &saved.gate, &saved.up, &d.active, &d.gate, &d.up)?;
        layer.gate.backward(recorder, both, (&saved.mlp_input, &d.gate), Some((&d.normed, false)), narrow(4))?;
        layer.up.backward(recorder, both, (&saved.mlp_input, &d.up), Some((&d.normed, true)), narrow(5))?;
        self.backward_norm(recorder, gradients, layer.mlp_norm, &saved.middle, d)
    }

    fn backward_attention(
        &self,
        recorder: &mut Recorder,
        gradients: &Gradients,
        layer: &Layer,
        (batch, x): (&Batch, &Tensor),
        saved: &LayerSpace,
        d: &GradientSpace,
    ) -> Result<()> {
        let (both, heads) = ((&self.parameters, gradients), self.heads());
        let narrow = |i: usize| saved.narrow.get(i).zip(d.narrow.as_ref());
        let dy = d.stream_operand(recorder)?;
        layer.o.backward(
            recorder,
            both,
            (&saved.attention_output, dy),
            Some((&d.attention_output, false)),
            narrow(3),
        )?;
        let Batch { sequences, .. } = batch;
        let (q, k, v) = (&saved.q, &saved.k, &saved.v);
        let (attention_output, sums) = (&saved.attention_output, &saved.log_sums);
        attention::backward(
            recorder,
            heads,
            sequences,
            q,
            k,
            v,
            attention_output,
            sums,
            &d.attention_output,
            &d.q,
            &d.k,
            &d.v,
        )?;
        rotary::record(recorder, &self.frequencies, &batch.positions, heads.query, &d.q, true)?;
        rotary::record(recorder, &self.frequencies, &batch.positions, heads.key_value, &d.k, true)?;
        let a = &saved.attention_input;
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

impl GradientSpace {
    /// The gradient of the residual stream as products read it; records its rounding where they read f16.
    fn stream_operand(&self, recorder: &mut Recorder) -> Result<&Tensor> {
        let Some(rounded) = &self.rounded else { return Ok(&self.stream) };
        elementwise::cast(recorder, &self.stream, rounded)?;
        Ok(rounded)
    }
}

pub(super) fn gradient_space(space: &Space) -> Result<&GradientSpace> {
    let none = || Error::argument("space", "was made for inference (Keep::Nothing); make one that keeps activations");
    space.gradients.as_ref().ok_or_else(none)
}
