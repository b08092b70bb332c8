//! Walking over rows in parallel: input of any element type, output of any.

use std::sync::atomic::{AtomicU32, Ordering};

use half::{bf16, f16};
use rayon::prelude::*;

use super::rows::{Fixed, NOT_FINITE, RowElement, float_scale, peak, usable};
use super::{HostCall, HostSlice, dispatch_simd};
use crate::{ElementType, Error, Result};

/// An element type of output rows: the twin of the `shaders/common/out_*.wgsl` files.
trait OutElement: bytemuck::Pod + Send {
    /// Rounds to nearest even.
    fn round(value: f32) -> Self;
}

impl OutElement for f32 {
    #[inline(always)]
    fn round(value: f32) -> Self {
        value
    }
}

impl OutElement for bf16 {
    #[inline(always)]
    fn round(value: f32) -> Self {
        let b = value.to_bits();
        bf16::from_bits(((b + 0x7fff + ((b >> 16) & 1)) >> 16) as u16)
    }
}

impl OutElement for f16 {
    #[inline(always)]
    fn round(value: f32) -> Self {
        f16::from_f32(value)
    }
}

/// Calls `f(row index, scaled row, scale, output row)` for every row in parallel, all f32 and `[stride]` long; `scale` is a
/// power of two, or 0 for a row that counts as zero. `shape` is rows, stride, and the index that the window gives the
/// first row. The call's first buffer holds the rows; its last two are the output rows and the status.
pub fn for_each_row(
    call: &mut HostCall<'_>,
    shape: (usize, usize, u32),
    f: impl Fn(usize, &[f32], f32, &mut [f32]) + Sync,
) -> Result<()> {
    let rows = call.read(0)?;
    let count = call.buffers.len();
    let out = call.write(count - 2)?;
    let status = call.write(count - 1)?;
    let bad = match call.elements.0 {
        ElementType::F32 => typed_out::<f32>(bytemuck::cast_slice(rows), out, call.elements.1, shape, &f),
        ElementType::F16 => typed_out::<f16>(bytemuck::cast_slice(rows), out, call.elements.1, shape, &f),
        ElementType::BF16 => typed_out::<bf16>(bytemuck::cast_slice(rows), out, call.elements.1, shape, &f),
        ElementType::Fixed => typed_out::<Fixed>(bytemuck::cast_slice(rows), out, call.elements.1, shape, &f),
        ElementType::F64 => Err(Error::argument("element type", "f64 has no device form")),
    }?;
    if let Some(word) = bytemuck::cast_slice_mut::<u8, u32>(status).first_mut() {
        *word = (*word).max(bad);
    }
    // A second twin may follow in the same call only with its buffers intact; none does.
    debug_assert!(matches!(call.buffers[count - 1], HostSlice::Read(&[])));
    Ok(())
}

type RowFunction<'f> = dyn Fn(usize, &[f32], f32, &mut [f32]) + Sync + 'f;

fn typed_out<E: RowElement>(
    rows: &[E],
    out: &mut [u8],
    element: ElementType,
    shape: (usize, usize, u32),
    f: &RowFunction<'_>,
) -> Result<u32> {
    match element {
        ElementType::F32 => Ok(walk::<E, f32>(rows, bytemuck::cast_slice_mut(out), shape, f)),
        ElementType::F16 => Ok(walk::<E, f16>(rows, bytemuck::cast_slice_mut(out), shape, f)),
        ElementType::BF16 => Ok(walk::<E, bf16>(rows, bytemuck::cast_slice_mut(out), shape, f)),
        ElementType::F64 | ElementType::Fixed => {
            Err(Error::argument("element type", format!("{element} is no output type of a device")))
        }
    }
}

/// Returns the status word: the least bad row, as the shader encodes it.
fn walk<E: RowElement, O: OutElement>(
    rows: &[E],
    out: &mut [O],
    (count, stride, row_base): (usize, usize, u32),
    f: &RowFunction<'_>,
) -> u32 {
    let bad = AtomicU32::new(0);
    let per_task = count.div_ceil(rayon::current_num_threads()).max(1);
    (out[..count * stride].par_chunks_mut(per_task * stride))
        .zip(rows[..count * stride].par_chunks(per_task * stride))
        .enumerate()
        .for_each(|(task, (out, rows))| {
            let (mut y, mut z) = (vec![0f32; stride], vec![0f32; stride]);
            for (i, (out, row)) in out.chunks_exact_mut(stride).zip(rows.chunks_exact(stride)).enumerate() {
                let index = task * per_task + i;
                let peak = dispatch_simd(|| scaled(row, &mut y));
                if peak >= NOT_FINITE {
                    bad.fetch_max(u32::MAX - (row_base + index as u32), Ordering::Relaxed);
                }
                let scale = if usable(peak) { float_scale(peak) } else { 0.0 };
                f(index, &y, scale, &mut z);
                dispatch_simd(|| out.iter_mut().zip(&z).for_each(|(o, &z)| *o = O::round(z)));
            }
        });
    bad.into_inner()
}

/// Writes the row times its scale to `y`; returns the peak.
#[inline(always)]
fn scaled<E: RowElement>(row: &[E], y: &mut [f32]) -> u32 {
    let peak = peak(row);
    if usable(peak) {
        let scale = float_scale(peak);
        y.iter_mut().zip(row).for_each(|(y, x)| *y = x.float(scale));
    } else {
        y.fill(0.0);
    }
    peak
}
