//! SigLIP's sigmoid loss of pairs on the diagonal of a similarity matrix (arXiv 2303.15343): with `z = e^t s + b`, row i's loss is
//! `log(1 + e^-z_ii) + Σ_{j≠i} log(1 + e^z_ij)`.
//!
//! Bytes: forward 4 per similarity, backward 8. FLOPs: about 20 and 12.

use super::super::{Binding, KernelSpec, Work, check_matrix, check_words, check_written};
use super::info_nce::{Temperature, check_square};
use crate::Result;
use crate::device::{Buffer, Recorder, Tensor};
use crate::host::nn::info_nce::BackwardParams;
use crate::host::nn::pair_sigmoid::ForwardParams;
use crate::spec::in_range;
use crate::spec::shader::source;

/// Losses and the gradients of t and b.
pub static FORWARD: KernelSpec = KernelSpec::new(
    "pair sigmoid",
    source!("nn/pair_sigmoid.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::texels(1, "operand1"),
        Binding::read(2, "temperature"),
        Binding::read_write(3, "losses"),
        Binding::read_write(4, "terms"),
    ],
    crate::host::nn::pair_sigmoid::forward_twin,
)
.with_grid()
.with_overrides(&["GROUP", "LANES", "SUBGROUP", "HELD", "WHOLE"])
.trusted(in_range::ROWS);

/// Similarities to their gradient.
pub static BACKWARD: KernelSpec = KernelSpec::new(
    "pair sigmoid backward",
    source!("nn/pair_sigmoid_backward.wgsl"),
    &[Binding::uniform("params"), Binding::read(1, "temperature"), Binding::read_write(2, "similarities")],
    crate::host::nn::pair_sigmoid::backward_twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::ELEMENTS);

/// Records `losses`, f32 `[n]`, of the rows of `similarities` `[n, n]`, and `terms` `[n, 2]`, whose column sums are the gradient
/// of `scale Σ losses` by t and b.
///
/// # Errors
/// Shapes that do not fit, other element types, one memory for two, another device's tensors, a scale that is not finite.
pub fn forward(
    recorder: &mut Recorder,
    temperature: Temperature<'_>,
    similarities: &Tensor,
    scale: f32,
    (losses, terms): (&Buffer, &Tensor),
) -> Result<()> {
    let (name, n) = (FORWARD.name, similarities.rows());
    temperature.check(recorder, name, scale)?;
    check_square(recorder, name, similarities)?;
    check_words(recorder, name, ("losses", losses), n)?;
    check_matrix(recorder, name, ("terms", terms), (n, 2))?;
    let buffers = [similarities.buffer(), temperature.value.buffer(), losses, terms.buffer()];
    check_written(name, &buffers, 2)?;
    if n == 0 {
        return Ok(());
    }
    let params = ForwardParams { rows: n as u32, width4: similarities.width4() as u32, most: temperature.most, scale };
    Work { kernel: &FORWARD, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }.rows(
        recorder,
        n,
        similarities.width4(),
    )
}

/// Records the gradient of `scale Σ losses` by the similarities, in their place.
///
/// # Errors
/// As [`forward`].
pub fn backward(
    recorder: &mut Recorder,
    temperature: Temperature<'_>,
    scale: f32,
    similarities: &Tensor,
) -> Result<()> {
    let name = BACKWARD.name;
    temperature.check(recorder, name, scale)?;
    let count = check_square(recorder, name, similarities)?;
    let buffers = [temperature.value.buffer(), similarities.buffer()];
    check_written(name, &buffers, 1)?;
    if count == 0 {
        return Ok(());
    }
    let (width, width4) = (similarities.width() as u32, similarities.width4() as u32);
    let params = BackwardParams { count, width, width4, most: temperature.most, scale };
    Work { kernel: &BACKWARD, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }
        .elements(recorder, count as usize)
}
