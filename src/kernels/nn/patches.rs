//! Patches of images as rows, so that a convolution whose patches do not overlap is a product.
//!
//! Bytes: 8 per element of a patch, 6 where patches are f16. No FLOPs.

use super::super::{
    Binding, KernelSpec, Work, check_float_matrix, check_index, check_matrix, check_written, halves_of,
};
use crate::device::{Recorder, Tensor};
pub use crate::host::nn::patches::Cut;
use crate::host::nn::patches::Params;
use crate::spec::in_range;
use crate::spec::shader::source;
use crate::{Error, Result};

/// The kernel.
pub static SPEC: KernelSpec = KernelSpec::new(
    "patches",
    source!("nn/patches.wgsl"),
    &[Binding::uniform("params"), Binding::read(1, "images"), Binding::read_write(2, "result2")],
    crate::host::nn::patches::twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::ELEMENTS);

/// Records the patches of images: `images` `[n, channels · lines · pixels]` f32, each channel by channel and line by line, to `patches`
/// `[n · patches, channels · side²]`, f32 or f16, in the same order.
///
/// # Errors
/// Images smaller than a patch, shapes that do not fit, other element types, one memory for both, another device's tensors.
pub fn record(recorder: &mut Recorder, cut: Cut, images: &Tensor, patches: &Tensor) -> Result<()> {
    let name = SPEC.name;
    if cut.patches() == 0 || cut.channels == 0 {
        let want = format!("an image of {0} × {0} pixels at least, of a channel at least", cut.side.max(1));
        let got = format!("{} × {} of {}", cut.lines, cut.pixels, cut.channels);
        return Err(Error::shape(name, "cut", want, got));
    }
    check_matrix(recorder, name, ("images", images), (images.rows(), cut.elements()))?;
    check_float_matrix(recorder, name, ("patches", patches), (images.rows() * cut.patches(), cut.width()))?;
    let stride = 4 * images.width4();
    // Elements are counted one by one here.
    if u32::try_from(images.rows() * stride).is_err() {
        return Err(Error::shape(name, "images", "fewer than 2^32 elements; split the rows", images.rows() * stride));
    }
    let buffers = [images.buffer(), patches.buffer()];
    check_written(name, &buffers, 1)?;
    let count = check_index(name, patches)?;
    if count == 0 {
        return Ok(());
    }
    let params = Params {
        count,
        width4: patches.width4() as u32,
        width: cut.width() as u32,
        side: cut.side as u32,
        across: cut.across() as u32,
        patches: cut.patches() as u32,
        pixels: cut.pixels as u32,
        lines: cut.lines as u32,
        stride: stride as u32,
    };
    Work { kernel: &SPEC, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }.elements_halves(
        recorder,
        count as usize,
        halves_of([images, patches]),
    )
}
