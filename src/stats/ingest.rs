//! From a row source to a device, chunk by chunk, in constant memory: while the device works on one slot, the host
//! fills the other.

use std::sync::atomic::{AtomicU64, Ordering};

use half::{bf16, f16};
use rayon::prelude::*;

use super::rows::{RowSource, tight_bytes};
use crate::device::{Device, Recorder, Tensor, UploadSlot};
use crate::host::rows::fixed_row;
use crate::kernels::stats::moments::WINDOW_ROWS;
use crate::setters::setters;
use crate::{ElementType, Error, Result};

/// What to do with NaN and infinities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonFinite {
    /// An error that names file, row and column.
    #[default]
    Error,
    /// Each becomes 0, element by element, and is counted: what the published script does.
    Zero,
}

/// How to stream.
#[derive(Clone, Copy, Default)]
#[non_exhaustive]
pub struct StreamOptions<'a> {
    /// Rows of a chunk at most, 1 or more; by default what suits the device. A reader that can take no more at once cuts chunks
    /// further.
    pub chunk_rows: Option<usize>,
    /// What to do with NaN and infinities.
    pub nonfinite: NonFinite,
    /// Called with the number of rows of each finished chunk.
    pub progress: Option<&'a (dyn Fn(u64) + Sync)>,
}

setters! {
    StreamOptions<'a> { chunk_rows: Option<usize>, nonfinite: NonFinite, progress: Option<&'a (dyn Fn(u64) + Sync)> }
}

impl StreamOptions<'_> {
    /// Refuses what no reader can do, before anything is read.
    pub(crate) fn check(&self) -> Result<()> {
        match self.chunk_rows {
            Some(0) => Err(Error::argument("chunk_rows", "0 rows; give 1 or more, or leave it out")),
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for StreamOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamOptions")
            .field("chunk_rows", &self.chunk_rows)
            .field("nonfinite", &self.nonfinite)
            .finish()
    }
}

/// A filled slot.
#[derive(Clone, Copy, Debug)]
pub struct Chunk {
    /// Which slot holds it.
    pub slot: usize,
    /// Rows in it.
    pub rows: usize,
    /// Index of its first row in the source.
    pub first_row: u64,
    /// Rows of its window before it; 0 where a window begins. A window has at most [`WINDOW_ROWS`] rows: what one set of
    /// integer sums holds before it must be read.
    pub window_row: u64,
}

/// Streams a source's rows through slots on a device, in chunks that no window ends within.
pub struct Ingest<'a> {
    source: &'a mut dyn RowSource,
    options: StreamOptions<'a>,
    slots: Vec<UploadSlot>,
    turn: usize,
    next_row: u64,
    window: Window,
    /// Tight rows on their way to padding or another type.
    tight: Vec<u8>,
    replaced: u64,
}

/// The window being filled.
struct Window {
    /// Rows that it holds at most.
    most: u64,
    /// Rows in it.
    rows: u64,
}

impl Window {
    /// Makes room for a chunk of up to `capacity` rows; returns the rows before it.
    fn place(&mut self, capacity: usize) -> u64 {
        if self.rows + capacity as u64 > self.most {
            self.rows = 0;
        }
        self.rows
    }
}

impl<'a> Ingest<'a> {
    /// Starts at the source's first row.
    ///
    /// # Errors
    /// A chunk of 0 rows; no memory for the slots; a source that cannot be read again.
    pub fn new(device: &Device, source: &'a mut dyn RowSource, options: StreamOptions<'a>) -> Result<Self> {
        Self::in_windows(device, source, options, WINDOW_ROWS)
    }

    /// [`Ingest::new`] with windows of at most `window_rows` rows, 1 or more.
    pub(super) fn in_windows(
        device: &Device,
        source: &'a mut dyn RowSource,
        options: StreamOptions<'a>,
        window_rows: u64,
    ) -> Result<Self> {
        options.check()?;
        let element = device_element(source.element_type());
        let row_bytes = Tensor::stride_of(source.width(), element);
        let limit = (device.capabilities().max_binding / row_bytes.max(1) as u64).min(window_rows);
        let rows = options.chunk_rows.unwrap_or_else(|| device.capabilities().chunk_rows(row_bytes as u64));
        let rows = rows.min(source.rows().max(1).min(limit.max(1)) as usize);
        let window = Window { most: window_rows, rows: 0 };
        source.rewind()?;
        let tight = tight_bytes(source);
        // The host engine is done when it returns: one slot will do.
        let slots = if device.wgpu().is_some() { 2 } else { 1 };
        let slots =
            (0..slots).map(|_| UploadSlot::new(device, rows, source.width(), element)).collect::<Result<_>>()?;
        let direct = tight == row_bytes && element == source.element_type();
        let tight = if direct { Vec::new() } else { vec![0; rows * tight] };
        Ok(Ingest { source, options, slots, turn: 0, next_row: 0, window, tight, replaced: 0 })
    }

    /// Fills the next slot; `None` at the end. Its former work must have been submitted.
    ///
    /// # Errors
    /// A file that cannot be read; a bad value in f64 rows; a lost device.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        let slot = self.turn % self.slots.len();
        let (source, tight) = (&mut *self.source, &mut self.tight);
        let capacity = self.slots[slot].tensor().rows();
        let row_bytes = self.slots[slot].tensor().row_bytes();
        let zero = self.options.nonfinite == NonFinite::Zero;
        let (rows, replaced, bad) = self.slots[slot].fill(|memory| {
            if tight.is_empty() {
                let rows = source.next(capacity, memory)?;
                let bytes = &mut memory[..rows * row_bytes];
                return Ok((rows, if zero { zero_nonfinite(bytes, source.element_type()) } else { 0 }, None));
            }
            let rows = source.next(capacity, tight)?;
            let bytes = &mut tight[..rows * tight_bytes(source)];
            let replaced = if zero { zero_nonfinite(bytes, source.element_type()) } else { 0 };
            let bad = convert(bytes, source, &mut memory[..rows * row_bytes], row_bytes);
            Ok((rows, replaced, bad))
        })?;
        if let Some(row) = bad {
            return Err(self.nonfinite_at(self.next_row + row));
        }
        if rows == 0 {
            return Ok(None);
        }
        let window_row = self.window.place(capacity);
        let chunk = Chunk { slot, rows, first_row: self.next_row, window_row };
        self.turn += 1;
        self.window.rows += rows as u64;
        self.next_row += rows as u64;
        self.replaced += replaced;
        Ok(Some(chunk))
    }

    /// The chunk's rows on the device.
    pub fn tensor(&self, chunk: &Chunk) -> &Tensor {
        self.slots[chunk.slot].tensor()
    }

    /// The source.
    pub fn source(&self) -> &dyn RowSource {
        self.source
    }

    /// Records the chunk's transfer.
    pub fn record(&self, chunk: &Chunk, recorder: &mut Recorder) {
        self.slots[chunk.slot].record(recorder);
    }

    /// Reports a chunk as done.
    pub fn progress(&self, chunk: &Chunk) {
        if let Some(progress) = self.options.progress {
            progress(chunk.rows as u64);
        }
    }

    /// Values that [`NonFinite::Zero`] replaced so far.
    pub fn replaced(&self) -> u64 {
        self.replaced
    }

    /// The error for a bad value in row `row` of the source: reads the row again to find the column.
    pub fn nonfinite_at(&mut self, row: u64) -> Error {
        nonfinite_error(self.source, row)
    }
}

/// The error for a bad value in row `row` of the source: reads the row again to find the column.
pub(crate) fn nonfinite_error(source: &mut dyn RowSource, row: u64) -> Error {
    let mut bytes = vec![0; tight_bytes(source)];
    let element = source.element_type();
    match source.locate(row, &mut bytes) {
        Ok((path, row)) => {
            let values = bytes.chunks_exact(element.bytes()).map(|e| decode(e, element));
            match values.enumerate().find(|(_, v)| !v.is_finite()) {
                Some((column, value)) => Error::NonFinite { path, row, column, value },
                None => Error::format(path, format!("row {row} changed while it was read")),
            }
        }
        Err(error) => error,
    }
}

/// The type that a device holds for a file's type.
fn device_element(element: ElementType) -> ElementType {
    if element == ElementType::F64 { ElementType::Fixed } else { element }
}

pub(crate) fn decode(bytes: &[u8], element: ElementType) -> f64 {
    match (element, bytes) {
        (ElementType::F16, [a, b]) => f16::from_le_bytes([*a, *b]).to_f64(),
        (ElementType::BF16, [a, b]) => bf16::from_le_bytes([*a, *b]).to_f64(),
        (ElementType::F32, [a, b, c, d]) => f64::from(f32::from_le_bytes([*a, *b, *c, *d])),
        _ => bytes.try_into().map_or(0.0, f64::from_le_bytes),
    }
}

/// The exponent's bits, all set in NaN and infinities, in the number's upper two bytes.
fn exponent_mask(element: ElementType) -> u16 {
    match element {
        ElementType::F16 => 0x7c00,
        ElementType::BF16 | ElementType::F32 => 0x7f80,
        ElementType::F64 | ElementType::Fixed | ElementType::Q8_0 => 0x7ff0,
    }
}

/// Index of the first NaN or infinity among the elements.
pub(crate) fn first_nonfinite(bytes: &[u8], element: ElementType) -> Option<usize> {
    let (size, mask) = (element.bytes(), exponent_mask(element));
    let bad = |e: &[u8]| u16::from_le_bytes([e[size - 2], e[size - 1]]) & mask == mask;
    bytes.par_chunks_exact(size).with_min_len(1 << 16).position_first(bad)
}

/// Zeroes NaN and infinities in place; returns how many.
pub(crate) fn zero_nonfinite(bytes: &mut [u8], element: ElementType) -> u64 {
    let count = AtomicU64::new(0);
    let (size, mask) = (element.bytes(), exponent_mask(element));
    bytes.par_chunks_mut(size << 16).for_each(|block| {
        let mut found = 0;
        for e in block.chunks_exact_mut(size) {
            if u16::from_le_bytes([e[size - 2], e[size - 1]]) & mask == mask {
                e.fill(0);
                found += 1;
            }
        }
        count.fetch_add(found, Ordering::Relaxed);
    });
    count.into_inner()
}

/// Pads tight rows, and brings f64 rows to fixed point; returns the first f64 row with a bad value.
fn convert(tight: &[u8], source: &dyn RowSource, padded: &mut [u8], row_bytes: usize) -> Option<u64> {
    let (from, width, element) = (tight_bytes(source), source.width(), source.element_type());
    let rows = tight.par_chunks_exact(from).zip(padded.par_chunks_exact_mut(row_bytes)).enumerate();
    let bad = rows.filter_map(|(i, (t, p))| {
        if element != ElementType::F64 {
            p[..from].copy_from_slice(t);
            p[from..].fill(0);
            return None;
        }
        let row: Vec<f64> = t.chunks_exact(8).map(|e| decode(e, element)).collect();
        let mut fixed = vec![0; width];
        let column = fixed_row(&row, &mut fixed);
        p[..4 * width].copy_from_slice(bytemuck::cast_slice(&fixed));
        p[4 * width..].fill(0);
        column.map(|_| i as u64)
    });
    bad.min()
}
