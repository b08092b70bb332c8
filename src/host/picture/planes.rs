//! Twin of `shaders/picture/planes.wgsl`.

use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

use super::colours::Reading;
use crate::Result;
use crate::host::{HostCall, check_params, volume};

/// Numbers of the table: what each byte of each channel becomes.
pub const VALUES: usize = 3 * 256;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub count: u32,
    pub target_first: u32,
    pub plane: u32,
    pub width: u32,
    pub left: u32,
    pub top: u32,
    pub across: u32,
    pub lines: u32,
    pub first: u32,
    pub line: u32,
    pub reading: u32,
}

/// Runs the kernel: buffers are pixels, values, row.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: Params = call.params()?;
    let [count, target_first, plane, width] = [p.count, p.target_first, p.plane, p.width].map(|x| x as usize);
    let [left, top, across, lines] = [p.left, p.top, p.across, p.lines].map(|x| x as usize);
    let (first, line, reading) = (p.first as usize, p.line as usize, Reading::of_bits(p.reading));
    check_params(width > 0 && plane.is_multiple_of(width), "a plane that is no whole number of lines")?;
    check_params(across > 0 && lines > 0, "a picture without pixels")?;
    let needed = volume([lines - 1, line]).saturating_add(first).saturating_add(across);
    let (pixels, values): (&[u32], &[f32]) = (call.read_as(0, needed)?, call.read_as(1, VALUES)?);
    let end = 4 * (target_first + count);
    let row: &mut [f32] = &mut call.write_as(2, end)?[4 * target_first..end];
    let number = |k: usize| {
        let (channel, place) = (k / plane, k % plane);
        // Above and on the left of the picture these are far beyond it.
        let (y, x) = ((place / width).wrapping_sub(top), (place % width).wrapping_sub(left));
        let byte = match y < lines && x < across {
            true => reading.colours(pixels[first + y * line + x])[channel],
            false => 0,
        };
        values[channel * 256 + usize::from(byte)]
    };
    row.par_chunks_mut(width).enumerate().for_each(|(i, out)| {
        for (k, x) in (i * width..).zip(out) {
            *x = if k < 3 * plane { number(k) } else { 0.0 };
        }
    });
    Ok(())
}
