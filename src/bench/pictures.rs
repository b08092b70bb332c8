//! Kernels that prepare pictures on a device.

use super::case::{Case, Sizes, numbers};
use crate::device::{Buffer, Device, Tensor};
use crate::kernels::picture::planes::{self as plane, Frame, VALUES};
use crate::kernels::picture::resample::{self as pass, Along, BITS, Taps};
use crate::kernels::picture::{Pixels, Reading};
use crate::{ElementType, Result};

/// Pixels of the sides of what a tower takes.
const SIDE: usize = 224;

/// A picture of noise.
fn picture(device: &Device, pixels: usize) -> Result<Buffer> {
    let words: Vec<u32> = (0..pixels as u32).map(|i| i.wrapping_mul(0x9e37_79b1)).collect();
    device.buffer_from("a picture", bytemuck::cast_slice(&words))
}

fn whole(words: &Buffer, (height, width): (usize, usize)) -> Pixels<'_> {
    Pixels { words, first: 0, stride: width, height, width, reading: Reading { over_white: true, blue_first: false } }
}

/// Lines of a picture of 16 : 9, whose pixels are about as many as a batch has numbers, to 224 pixels, as of a bicubic filter: each reads 4 pixels of
/// the result's size.
pub(super) fn resample(device: &Device, sizes: &Sizes) -> Result<Case> {
    let width = (((sizes.tokens * sizes.hidden) as f64 * 16.0 / 9.0).sqrt() as usize).max(SIDE);
    let height = (width * 9 / 16).max(1);
    let words = picture(device, height * width)?;
    let most = (4 * width).div_ceil(SIDE).min(width);
    let weights = vec![(1 << BITS) / most as i32; most];
    let list: Vec<(usize, &[i32])> = (0..SIDE).map(|i| (i * (width - most) / SIDE, &weights[..])).collect();
    let (taps, result) = (Taps::new(device, &list)?, device.buffer("resampled", (4 * height * SIDE) as u64)?);
    let work = (4 * (height * (width + SIDE)) as u64, 6 * (height * SIDE * most) as u64);
    let shape = format!("{width} × {height} to {SIDE} × {height}, {most} pixels each");
    Ok(Case::kernel(shape, work, (&result.clone(), true), move |r| {
        pass::record(r, whole(&words, (height, width)), Along::Lines, &taps, &result)
    }))
}

/// Pictures of 224 × 224, as many as make a batch's numbers.
pub(super) fn planes(device: &Device, sizes: &Sizes) -> Result<Case> {
    let each = 3 * SIDE * SIDE;
    let images = (sizes.tokens * sizes.hidden).div_ceil(each);
    let words = picture(device, images * SIDE * SIDE)?;
    let values = device.buffer_from("numbers of bytes", bytemuck::cast_slice(&numbers(1, VALUES)))?;
    let rows = Tensor::new(device, images, each, ElementType::F32)?;
    let work = (16 * (images * SIDE * SIDE) as u64, 0);
    let (shape, result) = (format!("{images} images of 3 × {SIDE} × {SIDE}"), rows.buffer().clone());
    let frame = Frame { height: SIDE, width: SIDE, top: 0, left: 0 };
    Ok(Case::kernel(shape, work, (&result, true), move |r| {
        (0..images).try_for_each(|i| {
            let pixels = Pixels { first: i * SIDE * SIDE, ..whole(&words, (SIDE, SIDE)) };
            plane::record(r, (pixels, frame), &values, (&rows, i))
        })
    }))
}
