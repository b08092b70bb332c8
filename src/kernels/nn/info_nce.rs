//! Symmetric InfoNCE of pairs on the diagonal of a similarity matrix, at a learned temperature [paper, appendix H.1].
//!
//! With `z = e^t s`, t at most a limit, the loss of pair i is `(log Σ_j e^z_ij + log Σ_j e^z_ji) / 2 - z_ii`. [`softmax`] runs on
//! the similarities and on their transpose; [`terms`] joins the two; [`backward`] turns the similarities into their gradient.
//!
//! Bytes: softmax 4 per similarity (8 where a row is too wide for a workgroup's registers), backward 8. FLOPs: about 12 and 20.

use super::super::{Binding, KernelSpec, MAX_ITERATIONS, Work, check_index, check_matrix, check_words, check_written};
use crate::device::{Buffer, Recorder, Tensor};
use crate::host::nn::info_nce::{BackwardParams, SoftmaxParams, TermsParams};
use crate::spec::in_range;
use crate::spec::shader::source;
use crate::{Error, Result};

/// Sums of exponentials by row.
pub static SOFTMAX: KernelSpec = KernelSpec::new(
    "info nce",
    source!("nn/info_nce.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::texels(1, "operand1"),
        Binding::read(2, "temperature"),
        Binding::read_write(3, "state"),
    ],
    crate::host::nn::info_nce::softmax_twin,
)
.with_grid()
.with_overrides(&["GROUP", "LANES", "SUBGROUP", "HELD", "WHOLE"])
.trusted(in_range::ROWS);

/// Losses and the temperature's gradient.
pub static TERMS: KernelSpec = KernelSpec::new(
    "info nce terms",
    source!("nn/info_nce_terms.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::read(1, "temperature"),
        Binding::read(2, "rows"),
        Binding::read(3, "columns"),
        Binding::read_write(4, "losses"),
        Binding::read_write(5, "terms"),
    ],
    crate::host::nn::info_nce::terms_twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::ELEMENTS);

/// Similarities to their gradient.
pub static BACKWARD: KernelSpec = KernelSpec::new(
    "info nce backward",
    source!("nn/info_nce_backward.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::read(1, "temperature"),
        Binding::read(2, "rows"),
        Binding::read(3, "columns"),
        Binding::read_write(4, "similarities"),
    ],
    crate::host::nn::info_nce::backward_twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::ELEMENTS);

/// A learned factor of similarities.
#[derive(Clone, Copy, Debug)]
pub struct Temperature<'a> {
    /// `[1, 2]`: t, and the bias b that the sigmoid loss adds.
    pub value: &'a Tensor,
    /// The largest t that counts: a larger one acts as this, and its gradient only leads back. At most 80.
    pub most: f32,
}

impl Temperature<'_> {
    pub(super) fn check(&self, recorder: &Recorder, name: &'static str, scale: f32) -> Result<()> {
        check_matrix(recorder, name, ("temperature", self.value), (1, 2))?;
        if !(self.most.is_finite() && self.most <= 80.0) {
            return Err(Error::argument("temperature", format!("a limit of {}; give at most 80", self.most)));
        }
        if !scale.is_finite() {
            return Err(Error::argument("scale", format!("{scale}; give a finite factor")));
        }
        Ok(())
    }
}

/// Checks that similarities are square and short enough for the loops; gives the number of vectors.
pub(super) fn check_square(recorder: &Recorder, name: &'static str, similarities: &Tensor) -> Result<u32> {
    let n = similarities.rows();
    check_matrix(recorder, name, ("similarities", similarities), (n, n))?;
    if 2 * similarities.width4() > MAX_ITERATIONS {
        return Err(Error::shape(name, "similarities", "at most 130000 pairs", n));
    }
    check_index(name, similarities)
}

/// Records `state` `[n, 4]` of the rows of `similarities` `[n, n]`: log Σ_j e^z_ij, z_ii, Σ_j p_ij z_ij with p the softmax, 0.
///
/// # Errors
/// Shapes that do not fit, other element types, one memory for two, another device's tensors.
pub fn softmax(
    recorder: &mut Recorder,
    temperature: Temperature<'_>,
    similarities: &Tensor,
    state: &Tensor,
) -> Result<()> {
    let name = SOFTMAX.name;
    temperature.check(recorder, name, 1.0)?;
    check_square(recorder, name, similarities)?;
    check_matrix(recorder, name, ("state", state), (similarities.rows(), 4))?;
    let buffers = [similarities.buffer(), temperature.value.buffer(), state.buffer()];
    check_written(name, &buffers, 1)?;
    let (rows, width4) = (similarities.rows(), similarities.width4() as u32);
    if rows == 0 {
        return Ok(());
    }
    let params = SoftmaxParams { rows: rows as u32, width4, most: temperature.most };
    Work { kernel: &SOFTMAX, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }.rows(
        recorder,
        rows,
        similarities.width4(),
    )
}

/// Records `losses`, f32 `[n]`, and `terms` `[n, 2]`, whose column sums are the gradient of `scale Σ losses` by t (and 0 by b);
/// `rows` and `columns` `[n, 4]` are the states of the similarities and of their transpose.
///
/// # Errors
/// As [`softmax`]; a scale that is not finite.
pub fn terms(
    recorder: &mut Recorder,
    temperature: Temperature<'_>,
    (rows, columns): (&Tensor, &Tensor),
    scale: f32,
    (losses, terms): (&Buffer, &Tensor),
) -> Result<()> {
    let (name, n) = (TERMS.name, rows.rows());
    temperature.check(recorder, name, scale)?;
    for (what, tensor, width) in [("rows", rows, 4), ("columns", columns, 4), ("terms", terms, 2)] {
        check_matrix(recorder, name, (what, tensor), (n, width))?;
    }
    check_words(recorder, name, ("losses", losses), n)?;
    let buffers = [temperature.value.buffer(), rows.buffer(), columns.buffer(), losses, terms.buffer()];
    check_written(name, &buffers, 2)?;
    let count = rows.rows() as u32;
    if count == 0 {
        return Ok(());
    }
    let params = TermsParams { count, most: temperature.most, scale };
    Work { kernel: &TERMS, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }
        .elements(recorder, count as usize)
}

/// Records the gradient of `scale Σ losses` by the similarities, in their place.
///
/// # Errors
/// As [`terms`].
pub fn backward(
    recorder: &mut Recorder,
    temperature: Temperature<'_>,
    (rows, columns): (&Tensor, &Tensor),
    scale: f32,
    similarities: &Tensor,
) -> Result<()> {
    let name = BACKWARD.name;
    temperature.check(recorder, name, scale)?;
    let count = check_square(recorder, name, similarities)?;
    for (what, tensor) in [("rows", rows), ("columns", columns)] {
        check_matrix(recorder, name, (what, tensor), (similarities.rows(), 4))?;
    }
    let buffers = [temperature.value.buffer(), rows.buffer(), columns.buffer(), similarities.buffer()];
    check_written(name, &buffers, 1)?;
    if count == 0 {
        return Ok(());
    }
    let (width, width4) = (similarities.width() as u32, similarities.width4() as u32);
    let params = BackwardParams { count, width, width4, most: temperature.most, scale };
    Work { kernel: &BACKWARD, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }
        .elements(recorder, count as usize)
}
