//! Streaming rows through an operator.

use half::{bf16, f16};
use rayon::prelude::*;

use super::aligner::row_base;
use super::{Aligner, Method, Statistics, Target};
use crate::device::{Device, DownloadSlot};
use crate::kernels::align::apply as kernel;
use crate::stats::{
    Chunk, Ingest, MemoryRows, NonFinite, RowSource, StreamOptions, first_nonfinite, nonfinite_error, zero_nonfinite,
};
use crate::{ElementType, Error, Result};

/// Takes blocks of tight rows and their number, one row or more. A block never holds rows of two of the source's files.
pub type Sink<'a> = dyn FnMut(&[u8], usize) -> Result<()> + Send + 'a;

/// What became of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Rows written.
    pub rows: u64,
    /// Values that were not finite and read as 0.
    pub replaced: u64,
}

/// Streams `source` through the operator; `sink` gets blocks of tight rows `[.., d]` of type `output`, in order, with the
/// number of rows. Computation is f32, whatever the types.
///
/// # Errors
/// Another width than the operator's; a NaN or an infinity; what the source, the device or the sink report. The sink may
/// have seen rows when an error comes: it must not show them before this returns.
pub fn apply(
    device: &Device,
    aligner: &dyn Aligner,
    source: &mut dyn RowSource,
    output: ElementType,
    options: StreamOptions<'_>,
    sink: &mut Sink<'_>,
) -> Result<Applied> {
    if source.width() != aligner.width() || source.width() == 0 {
        let want = format!("width {}, as the statistics, at least 1", aligner.width());
        return Err(Error::shape("apply", "rows", want, format!("width {}", source.width())));
    }
    if aligner.method() == Method::None {
        return copy(source, output, options, sink);
    }
    if let Some(mapped) = aligner.on_host() {
        return mapped.stream(source, output, options, sink);
    }
    // Bad rows are reported in 32 bits: better to say so now than after so many rows.
    row_base(source.rows())?;
    let width = source.width();
    let computed = if output == ElementType::F64 { ElementType::F32 } else { output };
    let operator = aligner.on(device)?;
    let status = kernel::status_buffer(device)?;
    let mut ingest = Ingest::new(device, source, options)?;
    let mut out = Slots { slots: Vec::new(), pending: None, output, width, tight: Vec::new() };
    let mut done = 0;
    loop {
        // The chunk before is written while the next is read; on a GPU, while the device works on the one before.
        let (next, drained) = rayon::join(|| ingest.next_chunk(), || out.drain(sink));
        drained?;
        let Some(chunk) = next? else { break };
        if out.slots.len() <= chunk.slot {
            out.slots.push(DownloadSlot::new(device, ingest.tensor(&chunk).rows(), width, computed)?);
        }
        let slot = &out.slots[chunk.slot];
        let mut recorder = device.recorder();
        ingest.record(&chunk, &mut recorder);
        let target = Target { output: slot.tensor(), status: &status, first_row: chunk.first_row };
        operator.record(&mut recorder, ingest.tensor(&chunk), chunk.rows, target)?;
        slot.record(&mut recorder);
        recorder.submit()?;
        out.pending = Some(chunk);
        done += chunk.rows as u64;
        ingest.progress(&chunk);
    }
    match kernel::first_bad_row(&device.read_blocking(&status)?) {
        Some(row) => Err(ingest.nonfinite_at(row)),
        None => Ok(Applied { rows: done, replaced: ingest.replaced() }),
    }
}

/// Applies to rows in memory, `[n, width]`, and returns rows in memory.
///
/// # Errors
/// As [`apply`].
pub fn apply_rows(device: &Device, statistics: &Statistics, rows: &[f32], width: usize) -> Result<Vec<f32>> {
    let mut source = MemoryRows::f32("rows", rows, width)?;
    let mut out = Vec::with_capacity(rows.len());
    apply(device, &*statistics.aligner(), &mut source, ElementType::F32, StreamOptions::default(), &mut |bytes, _| {
        out.extend(bytes.chunks_exact(4).map(|e| f32::from_le_bytes([e[0], e[1], e[2], e[3]])));
        Ok(())
    })?;
    Ok(out)
}

/// Where chunks come back, and the one on its way.
struct Slots {
    slots: Vec<DownloadSlot>,
    pending: Option<Chunk>,
    output: ElementType,
    width: usize,
    tight: Vec<u8>,
}

impl Slots {
    fn drain(&mut self, sink: &mut Sink<'_>) -> Result<()> {
        let Some(chunk) = self.pending.take() else { return Ok(()) };
        let slot = &self.slots[chunk.slot];
        let (computed, output) = (slot.tensor().element_type(), self.output);
        let (row_bytes, tight_bytes) = (slot.tensor().row_bytes(), self.width * output.bytes());
        let tight = &mut self.tight;
        slot.read(|padded| {
            let padded = &padded[..chunk.rows * row_bytes];
            // Both: two f32 numbers and their padding are as long as two f64 numbers.
            if computed == output && row_bytes == tight_bytes {
                return sink(padded, chunk.rows);
            }
            tight.resize(chunk.rows * tight_bytes, 0);
            let rows = tight.par_chunks_exact_mut(tight_bytes).zip(padded.par_chunks_exact(row_bytes));
            rows.for_each(|(t, p)| match computed == output {
                true => t.copy_from_slice(&p[..tight_bytes]),
                false => convert_row(p, computed, t, output),
            });
            sink(tight, chunk.rows)
        })
    }
}

/// Rows unchanged but for their type.
fn copy(
    source: &mut dyn RowSource,
    output: ElementType,
    options: StreamOptions<'_>,
    sink: &mut Sink<'_>,
) -> Result<Applied> {
    options.check()?;
    let (width, from) = (source.width(), source.element_type());
    let most = ((1 << 22) / (width * from.bytes())).max(1);
    let mut bytes = vec![0; most * width * from.bytes()];
    let mut converted = vec![0; most * width * output.bytes()];
    let (mut total, mut replaced) = (0, 0);
    source.rewind()?;
    loop {
        let rows = source.next(most, &mut bytes)?;
        if rows == 0 {
            return Ok(Applied { rows: total, replaced });
        }
        let tight = &mut bytes[..rows * width * from.bytes()];
        if options.nonfinite == NonFinite::Zero {
            replaced += zero_nonfinite(tight, from);
        } else if let Some(at) = first_nonfinite(tight, from) {
            return Err(nonfinite_error(source, total + (at / width) as u64));
        }
        if from == output {
            sink(tight, rows)?;
        } else {
            let out = &mut converted[..rows * width * output.bytes()];
            convert_row(tight, from, out, output);
            sink(out, rows)?;
        }
        total += rows as u64;
        if let Some(progress) = options.progress {
            progress(rows as u64);
        }
    }
}

/// Converts elements, rounding to nearest even.
fn convert_row(from: &[u8], from_type: ElementType, to: &mut [u8], to_type: ElementType) {
    let elements = from.chunks_exact(from_type.bytes()).zip(to.chunks_exact_mut(to_type.bytes()));
    for (f, t) in elements {
        encode(crate::stats::decode(f, from_type), t, to_type);
    }
}

/// Writes one element, rounding to nearest even.
pub(super) fn encode(value: f64, to: &mut [u8], to_type: ElementType) {
    match to_type {
        ElementType::F16 => to.copy_from_slice(&f16::from_f32(to_odd(value)).to_le_bytes()),
        ElementType::BF16 => to.copy_from_slice(&bf16::from_f32(to_odd(value)).to_le_bytes()),
        // No output is in blocks.
        ElementType::F32 | ElementType::Fixed | ElementType::Q8_0 => to.copy_from_slice(&(value as f32).to_le_bytes()),
        ElementType::F64 => to.copy_from_slice(&value.to_le_bytes()),
    }
}

/// The number as f32, cut off towards zero, with its last bit set if anything was cut off: rounded on to 16 bits it gives what
/// the f64 number gives, ties included. `half` rounds twice by way of f32, or looks at the upper 32 bits alone, by processor.
fn to_odd(value: f64) -> f32 {
    let near = value as f32;
    // Equal, beyond the range of all 16-bit types, or NaN.
    if f64::from(near) == value || !near.is_finite() {
        return near;
    }
    let away = f64::from(near).abs() > value.abs();
    f32::from_bits((near.to_bits() - u32::from(away)) | 1)
}
