//! Softmax cross-entropy over vocabularies in chunks: logits of some rows and some columns at a time, never `[n, V]` at once.
//!
//! Forward: [`forward_chunk`] for each chunk in order of the vocabulary, then [`finish`]. Backward: [`backward_chunk`] for each
//! chunk, whose logits are computed again. Sums are f32 about a running maximum.
//!
//! Bytes: forward 4 per logit, each read once, backward 8. FLOPs: about 10 and 10 per logit.

use super::super::{Binding, KernelSpec, MAX_ITERATIONS, Work, check_index, check_matrix, check_words, check_written};
use crate::device::{Buffer, Recorder, Tensor};
pub use crate::host::nn::cross_entropy::IGNORED;
use crate::host::nn::cross_entropy::{BackwardParams, FinishParams, ForwardParams};
use crate::spec::in_range;
use crate::spec::shader::source;
use crate::{Error, Result};

/// A chunk into the rows' states.
pub static FORWARD: KernelSpec = KernelSpec::new(
    "cross entropy",
    source!("nn/cross_entropy.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::texels(1, "operand1"),
        Binding::read(2, "labels"),
        Binding::read_write(3, "state"),
    ],
    crate::host::nn::cross_entropy::forward_twin,
)
.with_grid()
.with_overrides(&["GROUP", "LANES", "SUBGROUP", "HELD", "WHOLE"])
.trusted(in_range::ROWS);

/// From states to the negative log-likelihood.
pub static FINISH: KernelSpec = KernelSpec::new(
    "cross entropy finish",
    source!("nn/cross_entropy_finish.wgsl"),
    &[Binding::uniform("params"), Binding::read(1, "state"), Binding::read(2, "labels"), Binding::read_write(3, "nll")],
    crate::host::nn::cross_entropy::finish_twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::ELEMENTS);

/// A chunk's logits to their gradient.
pub static BACKWARD: KernelSpec = KernelSpec::new(
    "cross entropy backward",
    source!("nn/cross_entropy_backward.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::read(1, "labels"),
        Binding::read(2, "state"),
        Binding::read_write(3, "logits"),
    ],
    crate::host::nn::cross_entropy::backward_twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::ELEMENTS);

/// What both chunks check; gives the number of vectors.
fn check(
    recorder: &Recorder,
    name: &'static str,
    (logits, (first_row, first)): (&Tensor, (usize, usize)),
    labels: &Buffer,
    state: &Tensor,
) -> Result<u32> {
    let end = first_row.saturating_add(logits.rows());
    check_matrix(recorder, name, ("logits", logits), (logits.rows(), logits.width()))?;
    check_matrix(recorder, name, ("state", state), (state.rows(), 4))?;
    check_words(recorder, name, ("labels", labels), end)?;
    if end > state.rows() {
        return Err(Error::shape(name, "state", format!("at least {end} rows"), state.rows()));
    }
    // Two loops over a row.
    if 2 * logits.width4() > MAX_ITERATIONS {
        return Err(Error::shape(
            name,
            "logits",
            "at most 130000 columns; cut the vocabulary in chunks",
            logits.width(),
        ));
    }
    if first.saturating_add(logits.width()) > i32::MAX as usize {
        return Err(Error::shape(name, "first", "a vocabulary below 2^31", first));
    }
    check_index(name, logits)
}

/// Records one chunk: `logits` `[m, c]` of the `at.0`-th row on, for the vocabulary's `at.1`-th row on; `labels` i32 `[n]`, `state` `[n, 4]`
/// of all rows: running maximum, sum of exponentials, the label's logit, and whether it was met. The chunk at column 0 starts the
/// states of its rows anew.
///
/// # Errors
/// Shapes that do not fit, other element types, one memory for two, another device's tensors.
pub fn forward_chunk(
    recorder: &mut Recorder,
    logits: &Tensor,
    at: (usize, usize),
    labels: &Buffer,
    state: &Tensor,
) -> Result<()> {
    let name = FORWARD.name;
    let count = check(recorder, name, (logits, at), labels, state)?;
    let buffers = [logits.buffer(), labels, state.buffer()];
    check_written(name, &buffers, 1)?;
    if count == 0 {
        return Ok(());
    }
    let (rows, width, width4) = (logits.rows() as u32, logits.width() as u32, logits.width4() as u32);
    let params = ForwardParams { rows, width, width4, first: at.1 as u32, first_row: at.0 as u32 };
    Work { kernel: &FORWARD, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }.rows(
        recorder,
        logits.rows(),
        logits.width4(),
    )
}

/// Records `nll`, f32 `[n]`: each row's negative log-likelihood; 0 where the label is [`IGNORED`], infinite where a label lies
/// outside of all chunks.
///
/// # Errors
/// As [`forward_chunk`].
pub fn finish(recorder: &mut Recorder, state: &Tensor, labels: &Buffer, nll: &Buffer) -> Result<()> {
    let name = FINISH.name;
    check_matrix(recorder, name, ("state", state), (state.rows(), 4))?;
    check_words(recorder, name, ("labels", labels), state.rows())?;
    check_words(recorder, name, ("nll", nll), state.rows())?;
    let count = check_index(name, state)?;
    let buffers = [state.buffer(), labels, nll];
    check_written(name, &buffers, 1)?;
    if count == 0 {
        return Ok(());
    }
    let params = FinishParams { count, infinity: f32::INFINITY };
    Work { kernel: &FINISH, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }
        .elements(recorder, count as usize)
}

/// Records the gradient of `scale Σ nll` by one chunk's logits, in their place: `scale (softmax - label)`, zero in ignored rows.
/// `state` is what the forward of all chunks left.
///
/// # Errors
/// As [`forward_chunk`]; a scale that is not finite.
pub fn backward_chunk(
    recorder: &mut Recorder,
    logits: &Tensor,
    at: (usize, usize),
    labels: &Buffer,
    state: &Tensor,
    scale: f32,
) -> Result<()> {
    let name = BACKWARD.name;
    if !scale.is_finite() {
        return Err(Error::argument("scale", format!("{scale}; give a finite factor")));
    }
    let count = check(recorder, name, (logits, at), labels, state)?;
    let buffers = [labels, state.buffer(), logits.buffer()];
    check_written(name, &buffers, 1)?;
    if count == 0 {
        return Ok(());
    }
    let (width, width4) = (logits.width() as u32, logits.width4() as u32);
    let params = BackwardParams { count, width, width4, first: at.1 as u32, scale, first_row: at.0 as u32 };
    Work { kernel: &BACKWARD, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }
        .elements(recorder, count as usize)
}
