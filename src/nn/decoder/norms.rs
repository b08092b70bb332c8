//! The norms of a layer: before attention and MLP or behind them, and of queries and keys.

use super::space::GradientSpace;
use super::{Batch, Decoder, Layer, LayerSpace};
use crate::device::{Recorder, Tensor};
use crate::io::QueryKeyNorm;
use crate::kernels::nn::{elementwise, rms_norm};
use crate::nn::linear::{Linear, Narrow, Then};
use crate::nn::parameters::{Gradients, Slot};
use crate::{ElementType, Error, Result};

/// Attention or MLP: what ends it, and where its results are kept.
pub(super) struct Branch<'a> {
    /// The last projection.
    pub linear: &'a Linear,
    /// The norm behind it.
    pub norm: Option<Slot>,
    /// Its place in [`LayerSpace::branches`].
    pub place: usize,
    /// What the projection reads, and its low-rank product.
    pub input: (&'a Tensor, Option<Narrow<'a>>),
}

impl Layer {
    pub(super) fn attention_branch<'a>(&'a self, saved: &'a LayerSpace, batch: &'a Batch) -> Branch<'a> {
        let input = (&saved.attention_output, saved.narrow(3, batch));
        Branch { linear: &self.o, norm: self.after_attention, place: 0, input }
    }

    pub(super) fn mlp_branch<'a>(&'a self, saved: &'a LayerSpace, batch: &'a Batch) -> Branch<'a> {
        let input = (&saved.active, saved.narrow(6, batch));
        Branch { linear: &self.down, norm: self.after_mlp, place: 1, input }
    }
}

fn no_room() -> Error {
    Error::argument("space", "was made for another decoder")
}

impl Decoder {
    /// ε, and what is added to the weights of norms.
    pub(super) fn norm_constants(&self) -> (f32, f32) {
        (self.config.norm_eps as f32, if self.config.norm_offset { 1.0 } else { 0.0 })
    }

    /// What projections read of the stream `x`: its norm, or without one the stream itself, by way of `room` where they read f16.
    pub(super) fn normed<'a>(
        &self,
        recorder: &mut Recorder,
        norm: Option<Slot>,
        x: &'a Tensor,
        room: Option<&'a Tensor>,
    ) -> Result<&'a Tensor> {
        match (norm, room) {
            (Some(norm), Some(room)) => {
                rms_norm::forward_offset(recorder, self.norm_constants(), x, self.parameters.tensor(norm)?, room)?;
                Ok(room)
            }
            (None, Some(room)) => {
                elementwise::cast(recorder, x, room)?;
                Ok(room)
            }
            (None, None) => Ok(x),
            (Some(_), None) => Err(no_room()),
        }
    }

    /// What [`Self::normed`] gave, for the backward pass.
    pub(super) fn normed_again<'a>(x: &'a Tensor, room: Option<&'a Tensor>) -> &'a Tensor {
        room.unwrap_or(x)
    }

    /// Records the end of a branch from the stream `x`: `out = x + scale norm(projection)`. Without `out`, only what the backward pass reads.
    pub(super) fn end_branch(
        &self,
        recorder: &mut Recorder,
        branch: &Branch<'_>,
        saved: &LayerSpace,
        (x, out): (&Tensor, Option<&Tensor>),
    ) -> Result<()> {
        let (parameters, (input, narrow), scale) = (&self.parameters, branch.input, self.config.residual_scale as f32);
        let Some(norm) = branch.norm else {
            let Some(out) = out else { return branch.linear.forward_narrow(recorder, parameters, input, narrow) };
            if scale == 1.0 {
                return branch.linear.forward_then(recorder, parameters, input, (out, Then::Add(x)), narrow);
            }
            let result = saved.scratch.as_ref().ok_or_else(no_room)?;
            branch.linear.forward(recorder, parameters, input, result, narrow)?;
            return elementwise::add_scaled(recorder, x, scale, result, out);
        };
        let result = saved.branches.get(branch.place).ok_or_else(no_room)?;
        branch.linear.forward(recorder, parameters, input, result, narrow)?;
        let Some(out) = out else { return Ok(()) };
        let normed = saved.scratch.as_ref().ok_or_else(no_room)?;
        rms_norm::forward_offset(recorder, self.norm_constants(), result, parameters.tensor(norm)?, normed)?;
        elementwise::add_scaled(recorder, x, scale, normed, out)
    }

    /// Records the way back from the gradient of the stream to that of a branch's projection, as products read it.
    pub(super) fn begin_branch_backward<'a>(
        &self,
        recorder: &mut Recorder,
        gradients: &Gradients,
        branch: &Branch<'_>,
        saved: &LayerSpace,
        d: &'a GradientSpace,
    ) -> Result<&'a Tensor> {
        let scale = self.config.residual_scale as f32;
        let (mut source, mut factor) = (&d.stream, scale);
        if let Some(norm) = branch.norm {
            let (result, to) = saved.branches.get(branch.place).zip(d.branch.as_ref()).ok_or_else(no_room)?;
            if scale != 1.0 {
                return Err(Error::argument("config", "norms behind attention and multipliers of it, at once"));
            }
            let (weight, dweight) = (self.parameters.tensor(norm)?, gradients.tensor(norm)?);
            rms_norm::backward_offset(recorder, self.norm_constants(), result, weight, source, (to, false), dweight)?;
            (source, factor) = (to, 1.0);
        }
        match (&d.rounded, factor == 1.0) {
            (Some(rounded), _) => {
                elementwise::cast_scaled(recorder, factor, source, rounded)?;
                Ok(rounded)
            }
            (None, true) => Ok(source),
            (None, false) => {
                let to = d.branch.as_ref().ok_or_else(no_room)?;
                elementwise::cast_scaled(recorder, factor, source, to)?;
                Ok(to)
            }
        }
    }

    /// Where the gradient of what [`Self::normed`] gave goes, and whether it is added: the stream's itself where there is no norm.
    pub(super) fn normed_gradient(norm: Option<Slot>, d: &GradientSpace) -> (&Tensor, bool) {
        if norm.is_some() { (&d.normed, false) } else { (&d.stream, true) }
    }

    /// Adds what a norm before attention or MLP passes back to the gradient of the stream.
    pub(super) fn backward_norm(
        &self,
        recorder: &mut Recorder,
        gradients: &Gradients,
        norm: Option<Slot>,
        x: &Tensor,
        d: &GradientSpace,
    ) -> Result<()> {
        let Some(norm) = norm else { return Ok(()) };
        let (weight, dweight) = (self.parameters.tensor(norm)?, gradients.tensor(norm)?);
        rms_norm::backward_offset(recorder, self.norm_constants(), x, weight, &d.normed, (&d.stream, true), dweight)
    }

    /// How many heads the norm of queries (0) or keys (1) has in a row, one of its own each.
    fn heads_apart(&self, which: usize) -> usize {
        match self.config.query_key_norm {
            Some(QueryKeyNorm::PerHead) => [self.config.heads, self.config.kv_heads][which],
            _ => 1,
        }
    }

    /// Records the norm of queries (0) or keys (1) from their projections to where attention reads them.
    pub(super) fn norm_heads(
        &self,
        recorder: &mut Recorder,
        (layer, which): (&Layer, usize),
        saved: &LayerSpace,
        y: &Tensor,
    ) -> Result<()> {
        let Some(norms) = layer.query_key_norms else { return Ok(()) };
        let (x, weight) = (saved.projected.get(which).ok_or_else(no_room)?, self.parameters.tensor(norms[which])?);
        let (heads, constants) = (self.heads_apart(which), self.norm_constants());
        if heads == 1 || self.config.head_dim.is_multiple_of(4) {
            let [x, y] = [x, y].map(|t| apart(t, heads));
            return rms_norm::forward_offset(recorder, constants, &x?, weight, &y?);
        }
        let [from, to] = saved.heads_apart.as_ref().ok_or_else(no_room)?;
        let [from, to] = [from.first_rows(x.rows() * heads)?, to.first_rows(x.rows() * heads)?];
        elementwise::split_heads(recorder, heads, x, &from)?;
        rms_norm::forward_offset(recorder, constants, &from, weight, &to)?;
        elementwise::join_heads(recorder, heads, &to, y)
    }

    /// Records the way back through the norm of queries (0) or keys (1) from the gradient `dy`, which is used up; gives that of the projection.
    pub(super) fn norm_heads_backward(
        &self,
        recorder: &mut Recorder,
        gradients: &Gradients,
        (layer, which): (&Layer, usize),
        saved: &LayerSpace,
        (dy, d): (&Tensor, &GradientSpace),
    ) -> Result<Tensor> {
        let Some(norms) = layer.query_key_norms else { return Ok(dy.clone()) };
        let (heads, x) = (self.heads_apart(which), saved.projected.get(which).ok_or_else(no_room)?);
        let [upstream, result] = d.heads_apart.get(which).ok_or_else(no_room)?;
        let (weight, dweight) = (self.parameters.tensor(norms[which])?, gradients.tensor(norms[which])?);
        let (constants, whole) = (self.norm_constants(), heads == 1 || self.config.head_dim.is_multiple_of(4));
        let x = match whole {
            true => apart(x, heads)?,
            false => {
                let [from, _] = saved.heads_apart.as_ref().ok_or_else(no_room)?;
                let from = from.first_rows(x.rows() * heads)?;
                elementwise::split_heads(recorder, heads, x, &from)?;
                from
            }
        };
        let dy_apart = match (whole, dy.element_type()) {
            (true, ElementType::F32) => apart(dy, heads)?,
            (true, _) => {
                elementwise::cast(recorder, &apart(dy, heads)?, upstream)?;
                upstream.clone()
            }
            (false, _) => {
                elementwise::split_heads(recorder, heads, dy, upstream)?;
                upstream.clone()
            }
        };
        rms_norm::backward_offset(recorder, constants, &x, weight, &dy_apart, (result, false), dweight)?;
        match (whole, dy.element_type()) {
            (true, ElementType::F32) if heads == 1 => return Ok(result.clone()),
            (true, ElementType::F32) => return result.reshaped(dy.rows(), dy.width()),
            (true, _) => elementwise::cast(recorder, result, &apart(dy, heads)?)?,
            (false, _) => elementwise::join_heads(recorder, heads, result, dy)?,
        }
        Ok(dy.clone())
    }
}

/// Rows of `heads` heads as a row for each, where that is the same memory.
fn apart(t: &Tensor, heads: usize) -> Result<Tensor> {
    if heads == 1 { Ok(t.clone()) } else { t.reshaped(t.rows() * heads, t.width() / heads) }
}
