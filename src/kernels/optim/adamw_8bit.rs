//! AdamW with moments in 8 bits by blocks (Dettmers et al. 2022, arXiv 2110.02861); the step itself is in f32, as in [`super::adamw`].
//!
//! A block is [`BLOCK`] elements of a tensor's rows, one after the other, padding included. It has the largest magnitude of its first moments
//! and its largest second moment in f32, and each moment is a byte: the nearest of 256 numbers of the paper's dynamic map, times the
//! largest. 256 elements, as in today's bitsandbytes, and not the paper's 2,048: one large gradient then spoils fewer neighbours, at 1/32
//! byte a parameter, and a block is what a subgroup holds at once.
//!
//! Unlike in the paper, a second moment above zero never becomes zero: its parameter's next step would be as long as can be.
//!
//! Bytes: 16 per parameter (4 of the gradient, 8 of the parameter, 4 of the moments), 12 where they are in bf16. FLOPs: about 100.

use super::super::{Binding, KernelSpec, Work, check_index, check_matrix, check_words, check_written};
use super::adamw::{Hyper, Rounding, check_parameters};
use crate::Result;
use crate::device::{Buffer, Device, Purpose, Recorder, Tensor};
use crate::host::optim::adamw_8bit::Params;
pub use crate::host::optim::dynamic::BLOCK;
use crate::spec::in_range;
use crate::spec::shader::source;

/// The kernel.
pub static SPEC: KernelSpec = KernelSpec::new(
    "adamw 8 bit",
    source!("optim/adamw_8bit.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::read(1, "scale"),
        Binding::read(2, "gradient"),
        Binding::read_write(3, "parameters"),
        Binding::read_write(4, "first"),
        Binding::read_write(5, "second"),
        Binding::read_write(6, "largest"),
    ],
    crate::host::optim::adamw_8bit::twin,
)
.with_grid()
.with_overrides(&["GROUP", "LANES", "SUBGROUP"])
.trusted(in_range::BLOCKS);

/// Moments of a tensor in 8 bits; clones share them. Zeros are zero moments.
#[derive(Clone, Debug)]
pub struct Moments8 {
    elements: usize,
    /// A byte for each first moment, `[rows, d]` padded as the tensor's elements are.
    pub first: Buffer,
    /// A byte for each second moment.
    pub second: Buffer,
    /// f32 `[blocks, 2]`: the largest magnitude of the first moments and the largest second moment.
    pub largest: Buffer,
}

impl Moments8 {
    /// Zero moments of a tensor.
    ///
    /// # Errors
    /// No memory.
    pub fn zeros(device: &Device, tensor: &Tensor) -> Result<Self> {
        let elements = 4 * tensor.rows() * tensor.width4();
        let buffer = |what: &str, bytes: usize| {
            let label =
                format!("{} ({what} [{}, {}] in 8 bits)", Purpose::Moments.name(), tensor.rows(), tensor.width());
            device.buffer_for(Purpose::Moments, &label, bytes as u64)
        };
        Ok(Moments8 {
            elements,
            first: buffer("first", elements)?,
            second: buffer("second", elements)?,
            largest: buffer("largest", 8 * elements.div_ceil(BLOCK))?,
        })
    }

    /// Elements of the tensor, its rows' padding included: as many bytes has each moment.
    pub fn elements(&self) -> usize {
        self.elements
    }
}

/// Records one step on `p`, f32 or bf16, with the gradient `g`, f32 of the same shape, times `scale[0]`, and its moments. `scale` is as for
/// [`super::adamw::step`].
///
/// # Errors
/// Shapes that differ, other element types, one memory for two, another device's tensors, settings outside their domain.
pub fn step(
    recorder: &mut Recorder,
    hyper: &Hyper,
    (scale, rounding): (&Buffer, Rounding),
    (p, g): (&Tensor, &Tensor),
    moments: &Moments8,
) -> Result<()> {
    let (name, c) = (SPEC.name, hyper.constants()?);
    check_parameters(recorder, name, p)?;
    check_matrix(recorder, name, ("g", g), (p.rows(), p.width()))?;
    check_words(recorder, name, ("scale", scale), 1)?;
    let count = check_index(name, p)?;
    let blocks = (4 * count as usize).div_ceil(BLOCK);
    check_words(recorder, name, ("first", &moments.first), count as usize)?;
    check_words(recorder, name, ("second", &moments.second), count as usize)?;
    check_words(recorder, name, ("largest", &moments.largest), 2 * blocks)?;
    let buffers = [scale, g.buffer(), p.buffer(), &moments.first, &moments.second, &moments.largest];
    check_written(name, &buffers, 4)?;
    if count == 0 {
        return Ok(());
    }
    let params = Params {
        count,
        blocks: blocks as u32,
        keep: c.keep as f32,
        beta1: c.beta1 as f32,
        beta2: c.beta2 as f32,
        rest1: (1.0 - c.beta1) as f32,
        rest2: (1.0 - c.beta2) as f32,
        rate: c.rate as f32,
        correction: c.correction as f32,
        eps: c.eps as f32,
        rounding: rounding.words(hyper.step),
    };
    // Steps of all loops of an invocation: twice through a block's vectors, and the rounds of the random numbers.
    let each = (BLOCK / 4) * 12;
    let most = blocks.div_ceil(65_535 * recorder.device().capabilities().teams()) * each;
    Work { kernel: &SPEC, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }
        .check_iterations(recorder, most)?
        .teams_to(recorder, blocks, p.element_type())
}
