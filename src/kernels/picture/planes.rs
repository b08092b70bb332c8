//! A picture as a row of numbers: red's plane, green's and blue's, each line by line.
//!
//! Bytes: 4 per number, and 4 per pixel, which is read three times, by and large from the caches. No FLOPs: what a byte becomes is looked up.

use super::super::{Binding, KernelSpec, Work, check_index, check_matrix, check_words, check_written};
use super::Pixels;
use crate::device::{Buffer, Recorder, Tensor};
use crate::host::picture::planes::Params;
pub use crate::host::picture::planes::VALUES;
use crate::spec::in_range;
use crate::spec::shader::source;
use crate::{Error, Result};

/// The kernel.
pub static SPEC: KernelSpec = KernelSpec::new(
    "planes",
    source!("picture/planes.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::read(1, "pixels"),
        Binding::read(2, "values"),
        Binding::read_write(3, "row"),
    ],
    crate::host::picture::planes::twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::PICTURES);

/// Where a picture lies in its planes; what is left of them is black, as a byte of 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Lines of a plane.
    pub height: usize,
    /// Pixels of a line.
    pub width: usize,
    /// Lines above the picture.
    pub top: usize,
    /// Pixels before each of its lines.
    pub left: usize,
}

/// Records the planes of a picture to a row of a tensor `[n, 3 · height · width]` in f32. `values` holds [`VALUES`] f32: what the bytes of red become,
/// then green's and blue's.
///
/// # Errors
/// A picture that the planes do not hold; shapes that do not fit; one memory for two operands; another device's memory.
pub fn record(
    recorder: &mut Recorder,
    (pixels, frame): (Pixels<'_>, Frame),
    values: &Buffer,
    (rows, row): (&Tensor, usize),
) -> Result<()> {
    let name = SPEC.name;
    pixels.check(recorder, name)?;
    let Frame { height, width, top, left } = frame;
    let inside = |side: usize, before: usize, plane: usize| before.checked_add(side).is_some_and(|end| end <= plane);
    if !inside(pixels.height, top, height) || !inside(pixels.width, left, width) {
        let got = format!("{} x {} from {left}, {top}", pixels.width, pixels.height);
        return Err(Error::shape(name, "pixels", format!("within {width} x {height}"), got));
    }
    check_matrix(recorder, name, ("rows", rows), (rows.rows(), height.saturating_mul(width).saturating_mul(3)))?;
    if row >= rows.rows() {
        return Err(Error::shape(name, "row", format!("below {}", rows.rows()), row));
    }
    check_index(name, rows)?;
    check_words(recorder, name, ("values", values), VALUES)?;
    let buffers = [pixels.words, values, rows.buffer()];
    check_written(name, &buffers, 1)?;
    // Numbers are counted one by one here.
    let plane = u32::try_from(4 * rows.width4()).ok().map(|_| (height * width) as u32);
    let plane = plane.ok_or_else(|| Error::shape(name, "rows", "fewer than 2^32 numbers each", rows.width()))?;
    let count = rows.width4();
    let params = Params {
        count: count as u32,
        target_first: (row * count) as u32,
        plane,
        width: width as u32,
        left: left as u32,
        top: top as u32,
        across: pixels.width as u32,
        lines: pixels.height as u32,
        first: pixels.first as u32,
        line: pixels.stride as u32,
        reading: pixels.reading.bits(),
    };
    Work { kernel: &SPEC, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }
        .elements(recorder, count)
}
