//! Dropout: each element is left out with a probability, which hangs on its row's sample and position, a module's number and a key alone, so that
//! batches and devices do not matter, and a backward pass finds the same elements again.
//!
//! Bytes: 8 per element, 12 where the result is added to; half of that in f16. About 40 integer operations per element.

use super::super::{Binding, KernelSpec, Work, check_float_matrix, check_index, check_words, check_written, halves_of};
use crate::device::{Buffer, Recorder, Tensor};
use crate::host::nn::dropout::Params;
use crate::spec::in_range;
use crate::spec::shader::source;
use crate::{Error, Result};

/// The kernel.
pub static SPEC: KernelSpec = KernelSpec::new(
    "dropout",
    source!("nn/dropout.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::read(1, "positions"),
        Binding::read(2, "samples"),
        Binding::read(3, "operand3"),
        Binding::read_write(4, "inout4"),
    ],
    crate::host::nn::dropout::twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::ELEMENTS);

/// Which elements are left out.
#[derive(Clone, Copy, Debug)]
pub struct Mask<'a> {
    /// Of each row its place in its sequence, u32 `[n]`.
    pub positions: &'a Buffer,
    /// Of each row the number of its sample, u32 `[n]`.
    pub samples: &'a Buffer,
    /// What tells masks apart that hang on the same rows.
    pub module: u32,
    /// The generator's key.
    pub key: [u32; 2],
    /// How likely an element is left out: at least 0, below 1.
    pub probability: f32,
}

/// The words below it leave their element out.
pub fn threshold(probability: f32) -> u32 {
    // Below 2^32, since a float below 1 is at most 1 - 2^-24.
    (f64::from(probability) * 4_294_967_296.0) as u32
}

/// Records `y = factor x` where the mask leaves elements of `x`, else 0, or with `accumulate` `y +=` that; both `[n, d]`, each f32 or f16. The
/// factor is the caller's: the usual one is `1 / (1 - probability)`.
///
/// # Errors
/// Shapes that differ; other element types; a probability outside 0..1; a factor that is not finite; one memory for both; another device's
/// tensors.
pub fn record(
    recorder: &mut Recorder,
    mask: Mask<'_>,
    factor: f32,
    x: &Tensor,
    (y, accumulate): (&Tensor, bool),
) -> Result<()> {
    if !(0.0..1.0).contains(&mask.probability) || !factor.is_finite() {
        let problem =
            format!("{} and factor {factor}; give a number from 0 to below 1, and a finite factor", mask.probability);
        return Err(Error::argument("dropout", problem));
    }
    let shape = (y.rows(), y.width());
    check_float_matrix(recorder, SPEC.name, ("x", x), shape)?;
    check_float_matrix(recorder, SPEC.name, ("y", y), shape)?;
    check_words(recorder, SPEC.name, ("positions", mask.positions), y.rows())?;
    check_words(recorder, SPEC.name, ("samples", mask.samples), y.rows())?;
    let buffers = [mask.positions, mask.samples, x.buffer(), y.buffer()];
    check_written(SPEC.name, &buffers, 1)?;
    let count = check_index(SPEC.name, y)?;
    if count == 0 {
        return Ok(());
    }
    let params = Params {
        count,
        width4: y.width4() as u32,
        threshold: threshold(mask.probability),
        module: mask.module,
        key0: mask.key[0],
        key1: mask.key[1],
        factor,
        accumulate: accumulate.into(),
    };
    let halves = halves_of([x, y]) << 2;
    Work { kernel: &SPEC, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }.elements_halves(
        recorder,
        count as usize,
        halves,
    )
}
