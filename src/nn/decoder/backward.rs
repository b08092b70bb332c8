//! The backward pass, layer by layer from the last.

use super::rotary::{self, Turn};
use super::space::GradientSpace;
use super::{Batch, Decoder, Keep, Layer, LayerSpace, Space};
use crate::device::{Recorder, Tensor};
use crate::kernels::nn::embedding::{self, ScatterPlan};
use crate::kernels::nn::{attention, gate};
use crate::nn::ShardedMatrix;
use crate::nn::parameters::Gradients;
#[cfg(feature = "train")]
use crate::nn::parameters::Slot;
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
        self.backward_by_layer(recorder, gradients, batch, (space, visual), &mut |_, _| Ok(()))
    }

    /// As [`Self::backward`]; `complete` is told behind each layer that its gradients are, with the number of its group among
    /// [`Self::gradient_groups`].
    ///
    /// # Errors
    /// As [`Self::backward`]; what `complete` says.
    pub(crate) fn backward_by_layer(
        &self,
        recorder: &mut Recorder,
        gradients: &Gradients,
        batch: (&Batch, &ScatterPlan),
        (space, visual): (&Space, Option<&Tensor>),
        complete: &mut dyn FnMut(&mut Recorder, usize) -> Result<()>,
    ) -> Result<()> {
        let d = gradient_space(space)?;
        let turns = self.turns(recorder.device(), batch.0)?;
        for (index, layer) in self.layers.iter().enumerate().rev() {
            let (x, saved) = (space.stream(index), space.layer(index));
            if space.keep == Keep::Inputs {
                self.forward_layer(recorder, layer, (batch.0, &turns), (x, saved), None, None)?;
            }
            self.backward_mlp(recorder, gradients, (layer, batch.0), saved, d)?;
            self.backward_attention(recorder, gradients, (layer, &turns), (batch.0, x), saved, d)?;
            complete(recorder, self.layers.len() - index)?;
        }
        let table = gradients.get(self.embedding);
        if table.is_none() && visual.is_none() {
            return Ok(());
        }
        let shards = table.into_iter().flat_map(ShardedMatrix::shards);
        embedding::scatter_shards(recorder, batch.1, (&d.stream, self.embedding_scales()), shards, visual)
    }

    /// The parameters by when their gradients are complete in a backward pass: behind the loss the last norm and the output matrix, unless
    /// that is the embedding table; then each layer, from the last to the first; then the table, and with it whatever is in no layer.
    #[cfg(feature = "train")]
    pub(crate) fn gradient_groups(&self) -> Vec<Vec<Slot>> {
        let layers = self.layers.len();
        let mut groups = vec![Vec::new(); layers + 2];
        for (slot, parameter) in self.parameters.iter().enumerate() {
            let number = match layer_of(&parameter.name).filter(|layer| *layer < layers) {
                Some(layer) => layers - layer,
                None if slot != self.embedding && (slot == self.norm || slot == self.output) => 0,
                None => layers + 1,
            };
            groups[number].push(slot);
        }
        groups
    }

    fn backward_mlp(
        &self,
        recorder: &mut Recorder,
        gradients: &Gradients,
        (layer, batch): (&Layer, &Batch),
        saved: &LayerSpace,
        d: &GradientSpace,
    ) -> Result<()> {
        let both = (&self.parameters, gradients);
        let narrow = |i: usize| saved.narrow(i, batch).zip(d.narrow.as_ref());
        let dy = self.begin_branch_backward(recorder, gradients, &layer.mlp_branch(saved, batch), saved, d)?;
        layer.down.backward(recorder, both, (&saved.active, dy), Some((&d.active, false)), narrow(6))?;
        gate::backward(recorder, self.act(), &saved.gate, &saved.up, &d.active, &d.gate, &d.up)?;
        let input = Self::normed_again(&saved.middle, saved.mlp_input.as_ref());
        let (to, add) = Self::normed_gradient(layer.mlp_norm, d);
        layer.gate.backward(recorder, both, (input, &d.gate), Some((to, add)), narrow(4))?;
        layer.up.backward(recorder, both, (input, &d.up), Some((to, true)), narrow(5))?;
        self.backward_norm(recorder, gradients, layer.mlp_norm, &saved.middle, d)
    }

    fn backward_attention(
        &self,
        recorder: &mut Recorder,
        gradients: &Gradients,
        (layer, turns): (&Layer, &[Vec<Turn>]),
        (batch, x): (&Batch, &Tensor),
        saved: &LayerSpace,
        d: &GradientSpace,
    ) -> Result<()> {
        let (both, heads) = ((&self.parameters, gradients), self.heads(layer.kind));
        let narrow = |i: usize| saved.narrow(i, batch).zip(d.narrow.as_ref());
        let dy = self.begin_branch_backward(recorder, gradients, &layer.attention_branch(saved, batch), saved, d)?;
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
        if let Some(turns) = layer.kind.rope.and_then(|rope| turns.get(rope)) {
            rotary::record(recorder, turns, heads.query, &d.q, true)?;
            rotary::record(recorder, turns, heads.key_value, &d.k, true)?;
        }
        let dq = self.norm_heads_backward(recorder, gradients, (layer, 0), saved, (&d.q, d))?;
        let dk = self.norm_heads_backward(recorder, gradients, (layer, 1), saved, (&d.k, d))?;
        let a = Self::normed_again(x, saved.attention_input.as_ref());
        let (to, add) = Self::normed_gradient(layer.attention_norm, d);
        layer.q.backward(recorder, both, (a, &dq), Some((to, add)), narrow(0))?;
        layer.k.backward(recorder, both, (a, &dk), Some((to, true)), narrow(1))?;
        layer.v.backward(recorder, both, (a, &d.v), Some((to, true)), narrow(2))?;
        self.backward_norm(recorder, gradients, layer.attention_norm, x, d)
    }
}

/// The layer that a parameter is of, by its name in files: `model.layers.7.mlp.up_proj.weight`.
#[cfg(feature = "train")]
fn layer_of(name: &str) -> Option<usize> {
    let (_, rest) = name.split_once("layers.")?;
    rest.split('.').next()?.parse().ok()
}

pub(super) fn gradient_space(space: &Space) -> Result<&GradientSpace> {
    let none = || Error::argument("space", "was made for inference (Keep::Nothing); make one that keeps activations");
    space.gradients.as_ref().ok_or_else(none)
}
