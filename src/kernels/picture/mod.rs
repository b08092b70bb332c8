//! Pictures that lie on a device as words, a pixel each: resampled by Pillow's arithmetic, and as the numbers that a tower takes.
//!
//! Both kernels compute with integers and look numbers up in a table, so that every device gives the host's bits.

pub mod planes;
pub mod resample;

use super::check_words;
use crate::device::{Buffer, Recorder};
pub use crate::host::picture::colours::Reading;
use crate::{Error, Result};

/// A picture on a device, or a part of one: a word of 4 bytes to a pixel.
#[derive(Clone, Copy, Debug)]
pub struct Pixels<'a> {
    /// The memory.
    pub words: &'a Buffer,
    /// The word of the first pixel.
    pub first: usize,
    /// Words from a line to the next.
    pub stride: usize,
    /// Lines.
    pub height: usize,
    /// Pixels of a line.
    pub width: usize,
    /// How words are read.
    pub reading: Reading,
}

impl Pixels<'_> {
    /// Checks that the memory is the recorder's device's and holds the picture, within what the kernels' 32-bit indices reach.
    fn check(&self, recorder: &Recorder, operation: &'static str) -> Result<()> {
        let Pixels { words, first, stride, height, width, .. } = *self;
        if height == 0 || width == 0 || (stride < width && height > 1) {
            let want = "a line and a pixel at least, and lines that do not overlap";
            return Err(Error::shape(operation, "pixels", want, format!("{width} x {height}, {stride} to a line")));
        }
        let end =
            (height - 1).checked_mul(stride).and_then(|n| n.checked_add(width)).and_then(|n| n.checked_add(first));
        let end = end.filter(|&end| u32::try_from(end).is_ok());
        let end = end.ok_or_else(|| {
            let got = format!("{width} x {height}, {stride} to a line");
            Error::shape(operation, "pixels", "words below 2^32; take a smaller part", got)
        })?;
        check_words(recorder, operation, ("pixels", words), end)
    }
}
