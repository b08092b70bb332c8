//! Twin of `shaders/picture/resample.wgsl`.

use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

use super::colours::Reading;
use crate::Result;
use crate::host::{HostCall, check_params, volume};

/// Bits of a weight behind the point: Pillow's `PRECISION_BITS`.
pub const BITS: u32 = 32 - 8 - 2;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub count: u32,
    pub width: u32,
    pub down: u32,
    pub first: u32,
    pub line: u32,
    pub entry: u32,
    pub reading: u32,
}

/// A pass: pixels that are read, and how.
struct Pass<'a> {
    pixels: &'a [u32],
    /// Entries of the table, each the first pixel of a sum, how many it has, and their weights.
    table: &'a [i32],
    entry: usize,
    down: bool,
    first: usize,
    line: usize,
    reading: Reading,
}

impl Pass<'_> {
    fn pixel(&self, x: usize, y: usize) -> u32 {
        let entry = &self.table[if self.down { y } else { x } * self.entry..][..self.entry];
        let (start, count) = (entry[0] as usize, entry[1] as usize);
        let (place, stride) = match self.down {
            true => (self.first + start * self.line + x, self.line),
            false => (self.first + y * self.line + start, 1),
        };
        let mut sums = [1i32 << (BITS - 1); 3];
        for (i, weight) in entry[2..2 + count].iter().enumerate() {
            let colours = self.reading.colours(self.pixels[place + i * stride]);
            for (sum, colour) in sums.iter_mut().zip(colours) {
                *sum = sum.wrapping_add(weight.wrapping_mul(i32::from(colour)));
            }
        }
        let [r, g, b] = sums.map(|sum| (sum >> BITS).clamp(0, 255) as u8);
        u32::from_le_bytes([r, g, b, 255])
    }
}

/// Runs the kernel: buffers are pixels, taps, result.
///
/// # Errors
/// Buffers that do not fit the parameters; an entry of the table whose weights are more than it holds.
pub fn twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: Params = call.params()?;
    let [count, width, first, line, entry] = [p.count, p.width, p.first, p.line, p.entry].map(|x| x as usize);
    check_params(count > 0 && width > 0 && count.is_multiple_of(width), "a result that is no whole number of lines")?;
    check_params(entry >= 2, "entries of a table without their beginning")?;
    let (lines, down) = (count / width, p.down == 1);
    let places = if down { lines } else { width };
    let table: &[i32] = &call.read_as(1, volume([places, entry]))?[..places * entry];
    let known = |e: &[i32]| e[0] >= 0 && (0..=entry - 2).contains(&usize::try_from(e[1]).unwrap_or(usize::MAX));
    check_params(table.chunks_exact(entry).all(known), "an entry of a table with more weights than it holds")?;
    let reach = table.chunks_exact(entry).map(|e| e[0] as usize + e[1] as usize).max().unwrap_or(0);
    let (rows, across) = if down { (reach, width) } else { (lines, reach) };
    let needed = match rows {
        0 => 0,
        _ => volume([rows - 1, line]).saturating_add(first).saturating_add(across),
    };
    let pixels = call.read_as(0, needed)?;
    let result: &mut [u32] = &mut call.write_as(2, count)?[..count];
    let pass = Pass { pixels, table, entry, down, first, line, reading: Reading::of_bits(p.reading) };
    result.par_chunks_mut(width).enumerate().for_each(|(y, out)| {
        out.iter_mut().enumerate().for_each(|(x, word)| *word = pass.pixel(x, y));
    });
    Ok(())
}
