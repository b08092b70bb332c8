//! One pass of resampling a picture: along its lines, or along its columns.
//!
//! Bytes: 4 per pixel of the result, and 4 per pixel of each sum, which caches mostly hold. Six integer operations per pixel of a sum. Sums are 32-bit
//! integers with 22 bits behind the point that start at a half; a byte is what lies before the point, cut to 0 and 255.

use super::super::{Binding, KernelSpec, Work, check_words, check_written};
use super::Pixels;
use crate::device::{Buffer, Device, Recorder};
pub use crate::host::picture::resample::BITS;
use crate::host::picture::resample::Params;
use crate::spec::in_range;
use crate::spec::shader::source;
use crate::{Error, Result};

/// The kernel.
pub static SPEC: KernelSpec = KernelSpec::new(
    "resample",
    source!("picture/resample.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::read(1, "pixels"),
        Binding::read(2, "taps"),
        Binding::read_write(3, "result"),
    ],
    crate::host::picture::resample::twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::PICTURES);

/// Which way a pass goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Along {
    /// Each line becomes longer or shorter.
    Lines,
    /// Each column does.
    Columns,
}

/// The pixels of one side that each pixel of the result is a sum of, and their weights, on a device.
#[derive(Clone, Debug)]
pub struct Taps {
    table: Buffer,
    /// Pixels of the result's side.
    places: usize,
    /// Words of a place.
    entry: usize,
    /// Pixels that the side which is read must have.
    reach: usize,
}

impl Taps {
    /// For each pixel of the result's side the first pixel that is read, and the weights of those from there on, in units of 2^-22.
    ///
    /// # Errors
    /// No pixel; a sum that ends beyond 2³¹ pixels; no memory.
    pub fn new(device: &Device, list: &[(usize, &[i32])]) -> Result<Taps> {
        let most = list.iter().map(|(_, weights)| weights.len()).max().unwrap_or(0);
        let reach = list.iter().map(|(first, weights)| first.saturating_add(weights.len())).max().unwrap_or(0);
        let words = list.len().checked_mul(most + 2).filter(|words| *words > 0 && u32::try_from(*words).is_ok());
        let (Some(words), true) = (words, i32::try_from(reach).is_ok()) else {
            let got = format!("{} of {most} weights, up to pixel {reach}", list.len());
            return Err(Error::shape(SPEC.name, "taps", "a sum at least, and pixels and words below 2^31", got));
        };
        let mut table = Vec::with_capacity(words);
        for (first, weights) in list {
            // Both are below the reach.
            table.extend([*first as i32, weights.len() as i32]);
            table.extend_from_slice(weights);
            table.resize(table.len() + most - weights.len(), 0);
        }
        let table = device.buffer_from("weights of a resampling", bytemuck::cast_slice(&table))?;
        Ok(Taps { table, places: list.len(), entry: most + 2, reach })
    }

    /// Pixels of the result's side.
    pub fn places(&self) -> usize {
        self.places
    }
}

/// Records the pass: `result` holds the picture with its lines, or its columns, as long as `taps` has places; line by line without gaps, red in the
/// lowest byte, alpha 255.
///
/// # Errors
/// A picture whose side is shorter than the taps reach; a result that is too small or the memory of an operand; another device's memory.
pub fn record(recorder: &mut Recorder, pixels: Pixels<'_>, along: Along, taps: &Taps, result: &Buffer) -> Result<()> {
    let name = SPEC.name;
    pixels.check(recorder, name)?;
    let (side, height, width) = match along {
        Along::Lines => (pixels.width, pixels.height, taps.places),
        Along::Columns => (pixels.height, taps.places, pixels.width),
    };
    if side < taps.reach {
        return Err(Error::shape(name, "pixels", format!("a side of {} pixels", taps.reach), side));
    }
    check_words(recorder, name, ("taps", &taps.table), taps.places * taps.entry)?;
    let count =
        height.checked_mul(width).and_then(|count| u32::try_from(count).ok()).filter(|&n| n < u32::MAX - (1 << 21));
    let count =
        count.ok_or_else(|| Error::shape(name, "result", "fewer than 2^32 pixels", format!("{width} x {height}")))?;
    check_words(recorder, name, ("result", result), count as usize)?;
    let buffers = [pixels.words, &taps.table, result];
    check_written(name, &buffers, 1)?;
    let params = Params {
        count,
        width: width as u32,
        down: u32::from(along == Along::Columns),
        first: pixels.first as u32,
        line: pixels.stride as u32,
        entry: taps.entry as u32,
        reading: pixels.reading.bits(),
    };
    Work { kernel: &SPEC, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }
        .check_iterations(recorder, taps.entry - 2)?
        .elements(recorder, count as usize)
}
