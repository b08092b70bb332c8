//! Twin of `shaders/nn/patches.wgsl`.

use bytemuck::{Pod, Zeroable};

use super::math::Float;
use super::parallel::{Row, for_each_row};
use super::{floats, floats_mut};
use crate::Result;
use crate::host::{HostCall, check_params, volume};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub count: u32,
    pub width4: u32,
    pub width: u32,
    pub side: u32,
    pub across: u32,
    pub patches: u32,
    pub pixels: u32,
    pub lines: u32,
    pub stride: u32,
}

/// How images are cut into patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Numbers of a pixel.
    pub channels: usize,
    /// Lines of an image.
    pub lines: usize,
    /// Pixels of a line.
    pub pixels: usize,
    /// Lines and pixels of a patch; what of an image is left over at its end belongs to none.
    pub side: usize,
}

impl Cut {
    /// Patches beside each other.
    pub fn across(&self) -> usize {
        self.pixels / self.side.max(1)
    }

    /// Patches of an image.
    pub fn patches(&self) -> usize {
        self.across() * (self.lines / self.side.max(1))
    }

    /// Numbers of an image.
    pub fn elements(&self) -> usize {
        self.channels * self.lines * self.pixels
    }

    /// Numbers of a patch.
    pub fn width(&self) -> usize {
        self.channels * self.side * self.side
    }
}

struct Patches<'a, R> {
    images: &'a [R],
    /// From an image to the next.
    stride: usize,
    cut: Cut,
}

impl<R: Float> Row<R> for Patches<'_, R> {
    #[inline(always)]
    fn row(&self, index: usize, out: &mut [R]) {
        let Cut { lines, pixels, side, .. } = self.cut;
        let (image, place) = (index / self.cut.patches(), index % self.cut.patches());
        let (top, left) = (place / self.cut.across() * side, place % self.cut.across() * side);
        let (patch, rest) = out.split_at_mut(self.cut.width());
        for (line, to) in patch.chunks_exact_mut(side).enumerate() {
            let (channel, y) = (line / side, line % side);
            let from = image * self.stride + (channel * lines + top + y) * pixels + left;
            to.copy_from_slice(&self.images[from..from + side]);
        }
        rest.fill(R::ZERO);
    }
}

/// The patches of images, `[n patches, width]` in rows of `row` elements; an image's elements follow each other channel by channel and line by
/// line, `stride` from one image to the next.
pub fn patches<R: Float>(cut: Cut, (images, stride): (&[R], usize), (out, row): (&mut [R], usize)) {
    for_each_row(&Patches { images, stride, cut }, out, row);
}

/// Runs the kernel: buffers are images, patches.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: Params = call.params()?;
    let [side, pixels, lines, stride, width] = [p.side, p.pixels, p.lines, p.stride, p.width].map(|x| x as usize);
    let area = volume([side, side]);
    let cut = Cut { channels: width.checked_div(area).unwrap_or(0), lines, pixels, side };
    let row = 4 * p.width4 as usize;
    check_params(width > 0 && width <= row && area > 0 && width.is_multiple_of(area), "patches that fit no row")?;
    // How many there are, across and in all, follows from the sides; the shader is told.
    check_params(pixels >= side && lines >= side, "images smaller than a patch")?;
    let rows = 4 * p.count as usize / row;
    let before = rows.div_ceil(cut.patches()).saturating_sub(1);
    let needed = volume([before, stride]).saturating_add(volume([cut.channels, lines, pixels]));
    let images = floats(call, 0, if rows > 0 { needed } else { 0 })?;
    patches(cut, (images, stride), (&mut floats_mut(call, 1, rows * row)?[..rows * row], row));
    Ok(())
}
