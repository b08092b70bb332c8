//! The image tower: two convolutions of 3 × 3, the second with stride 2, then the head.
//!
//! A convolution is a product with the matrix of patches. The first one's patches are cut from the pixels on the host; the
//! second one's are gathered from the activations on the device, and their gradient is scattered back.

use super::head::{Head, HeadSpace};
use crate::device::{Buffer, Device, Recorder, Tensor};
use crate::kernels::nn::embedding::{self, ScatterPlan, VISUAL};
use crate::kernels::nn::gelu::{self, Form};
use crate::nn::linear::{Linear, Then};
use crate::nn::parameters::{Gradients, Parameters};
use crate::{ElementType, Error, Result};

/// Channels of the first convolution.
pub(super) const FIRST: usize = 16;
/// Channels of the second.
pub(super) const SECOND: usize = 32;

/// Size of images: row-major pixels, channels last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageShape {
    /// Rows of pixels.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Numbers of a pixel: 1 for grey, 3 for colour.
    pub channels: usize,
}

impl ImageShape {
    /// Numbers of an image.
    pub fn elements(&self) -> usize {
        self.height * self.width * self.channels
    }

    fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Places of the second convolution.
    pub(super) fn places(&self) -> usize {
        self.height.div_ceil(2) * self.width.div_ceil(2)
    }

    /// The place that lies `step` - 1 beside `at`, if it is inside.
    fn beside(at: usize, step: usize, size: usize) -> Option<usize> {
        (at + step).checked_sub(1).filter(|&p| p < size)
    }

    /// Patches of 3 × 3 about every pixel, zero beyond the edge: `[n pixels, 9 channels]`.
    pub(super) fn patches(&self, images: &[f32]) -> Vec<f32> {
        let c = self.channels;
        let mut out = vec![0.0; images.len() * 9];
        for (image, patches) in images.chunks_exact(self.elements()).zip(out.chunks_exact_mut(9 * self.elements())) {
            for (at, patch) in patches.chunks_exact_mut(9 * c).enumerate() {
                for (k, to) in patch.chunks_exact_mut(c).enumerate() {
                    let y = Self::beside(at / self.width, k / 3, self.height);
                    let x = Self::beside(at % self.width, k % 3, self.width);
                    if let (Some(y), Some(x)) = (y, x) {
                        to.copy_from_slice(&image[(y * self.width + x) * c..][..c]);
                    }
                }
            }
        }
        out
    }

    /// Which pixel of `count` images each entry of the second convolution's patches is; one beyond the edge has an id that
    /// no row has.
    fn strided(&self, count: usize) -> Vec<u32> {
        let across = self.width.div_ceil(2);
        let mut ids = Vec::with_capacity(count * self.places() * 9);
        for image in 0..count {
            for place in 0..self.places() {
                for k in 0..9 {
                    let y = Self::beside(2 * (place / across), k / 3, self.height);
                    let x = Self::beside(2 * (place % across), k % 3, self.width);
                    ids.push(match (y, x) {
                        (Some(y), Some(x)) => (image * self.pixels() + y * self.width + x) as u32,
                        _ => VISUAL,
                    });
                }
            }
        }
        ids
    }
}

#[derive(Clone, Debug)]
pub(super) struct ImageTower {
    pub first: Linear,
    pub second: Linear,
    pub head: Head,
}

/// Activations of the image tower.
#[derive(Clone, Debug)]
pub(super) struct ImageSpace {
    pub patches: Tensor,
    first: Tensor,
    first_active: Tensor,
    ids: Buffer,
    plan: ScatterPlan,
    /// `[n places 9, FIRST]`.
    gathered: Tensor,
    second: Tensor,
    second_active: Tensor,
    pub head: HeadSpace,
    d_first: Tensor,
    d_first_active: Tensor,
    d_gathered: Tensor,
    d_second: Tensor,
    d_second_active: Tensor,
}

impl ImageSpace {
    pub fn new(device: &Device, shape: ImageShape, count: usize, (hidden, width): (usize, usize)) -> Result<Self> {
        let (pixels, places) = (count * shape.pixels(), count * shape.places());
        if pixels.max(9 * places) >= VISUAL as usize {
            return Err(Error::argument("batch", format!("{count} images have too many pixels; lower it")));
        }
        let make = |rows, width| Tensor::new(device, rows, width, ElementType::F32);
        let ids = shape.strided(count);
        Ok(ImageSpace {
            patches: make(pixels, 9 * shape.channels)?,
            first: make(pixels, FIRST)?,
            first_active: make(pixels, FIRST)?,
            plan: ScatterPlan::new(device, &ids)?,
            ids: device.buffer_from("places of a convolution", bytemuck::cast_slice(&ids))?,
            gathered: make(9 * places, FIRST)?,
            second: make(places, SECOND)?,
            second_active: make(places, SECOND)?,
            head: HeadSpace::new(device, count, hidden, width)?,
            d_first: make(pixels, FIRST)?,
            d_first_active: make(pixels, FIRST)?,
            d_gathered: make(9 * places, FIRST)?,
            d_second: make(places, SECOND)?,
            d_second_active: make(places, SECOND)?,
        })
    }

    /// Rows of images as the head sees them.
    fn flat(&self, t: &Tensor) -> Result<Tensor> {
        let count = self.head.unit.rows();
        t.reshaped(count, t.rows() * t.width() / count.max(1))
    }

    /// Gathered pixels as patches.
    fn patches_of(&self, t: &Tensor) -> Result<Tensor> {
        t.reshaped(t.rows() / 9, 9 * FIRST)
    }
}

impl ImageTower {
    pub fn forward(&self, recorder: &mut Recorder, p: &Parameters, s: &ImageSpace) -> Result<()> {
        let gelu = |before| Then::Gelu(Form::Erf, before);
        self.first.forward_then(recorder, p, &s.patches, (&s.first_active, gelu(&s.first)), None)?;
        embedding::gather(recorder, &s.first_active, None, &s.ids, &s.gathered)?;
        let gathered = s.patches_of(&s.gathered)?;
        self.second.forward_then(recorder, p, &gathered, (&s.second_active, gelu(&s.second)), None)?;
        self.head.forward(recorder, p, &s.flat(&s.second_active)?, &s.head)
    }

    /// `dy` is the gradient of the unit rows.
    pub fn backward(
        &self,
        recorder: &mut Recorder,
        both: (&Parameters, &Gradients),
        dy: &Tensor,
        s: &ImageSpace,
    ) -> Result<()> {
        let (flat, d_flat) = (s.flat(&s.second_active)?, s.flat(&s.d_second_active)?);
        self.head.backward(recorder, both, (&flat, dy, &d_flat), &s.head)?;
        gelu::backward(recorder, Form::Erf, &s.second, &s.d_second_active, &s.d_second)?;
        let (patches, d_patches) = (s.patches_of(&s.gathered)?, s.patches_of(&s.d_gathered)?);
        self.second.backward(recorder, both, (&patches, &s.d_second), Some((&d_patches, false)), None)?;
        recorder.clear(s.d_first_active.buffer());
        embedding::scatter(recorder, &s.plan, &s.d_gathered, Some(&s.d_first_active), None)?;
        gelu::backward(recorder, Form::Erf, &s.first, &s.d_first_active, &s.d_first)?;
        self.first.backward(recorder, both, (&s.patches, &s.d_first), None, None)
    }
}
