//! Walking over rows in parallel: input of any element type, output of any.

use half::{bf16, f16};
use rayon::prelude::*;

use super::rows::{Fixed, NOT_FINITE, RowElement, float_scale, peak, usable};
use super::{HostCall, check_params, dispatch_simd, volume};
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

/// What a kernel does to one row.
pub trait RowKernel: Sync {
    /// From the scaled row `y` to `out`, both `[stride]`; `scale` is a power of two, or 0 for a row that counts as zero.
    /// Implementations are `inline(always)`, for this runs under `dispatch_simd`.
    fn row(&self, index: usize, y: &[f32], scale: f32, out: &mut [f32]);
}

/// Applies `kernel` to every row in parallel. `shape` is rows, stride, and the index that the window gives the first row.
/// The call's first buffer holds the rows; its last two are the output rows and the status.
///
/// # Errors
/// Buffers that are not there or too short, or element types that devices do not hold.
pub fn for_each_row<K: RowKernel>(call: &mut HostCall<'_>, shape: (usize, usize, u32), kernel: &K) -> Result<()> {
    check_params(shape.1 > 0, "rows without columns")?;
    let status = call.buffers.len().saturating_sub(1);
    let status: &mut [u32] = call.write_as(status, 1)?;
    let bad = match call.elements.0 {
        ElementType::F32 => typed_out::<f32, K>(call, shape, kernel),
        ElementType::F16 => typed_out::<f16, K>(call, shape, kernel),
        ElementType::BF16 => typed_out::<bf16, K>(call, shape, kernel),
        ElementType::Fixed => typed_out::<Fixed, K>(call, shape, kernel),
        element @ (ElementType::F64 | ElementType::Q8_0) => {
            Err(Error::argument("element type", format!("{element} is no type of a device's rows")))
        }
    }?;
    status[0] = status[0].max(bad);
    Ok(())
}

fn typed_out<E: RowElement, K: RowKernel>(
    call: &mut HostCall<'_>,
    shape: (usize, usize, u32),
    kernel: &K,
) -> Result<u32> {
    let elements = volume([shape.0, shape.1]);
    let rows = call.read_as::<E>(0, elements)?;
    let out = call.buffers.len().saturating_sub(2);
    match call.elements.1 {
        ElementType::F32 => Ok(walk::<E, f32, K>(rows, call.write_as(out, elements)?, shape, kernel)),
        ElementType::F16 => Ok(walk::<E, f16, K>(rows, call.write_as(out, elements)?, shape, kernel)),
        ElementType::BF16 => Ok(walk::<E, bf16, K>(rows, call.write_as(out, elements)?, shape, kernel)),
        element @ (ElementType::F64 | ElementType::Fixed | ElementType::Q8_0) => {
            Err(Error::argument("element type", format!("{element} is no output type of a device")))
        }
    }
}

/// Rows that one task walks over.
const TASK_ROWS: usize = 64;

/// Returns the status word: the least bad row, as the shader encodes it.
fn walk<E: RowElement, O: OutElement, K: RowKernel>(
    rows: &[E],
    out: &mut [O],
    (count, stride, row_base): (usize, usize, u32),
    kernel: &K,
) -> u32 {
    let per_task = count.div_ceil(rayon::current_num_threads()).clamp(1, TASK_ROWS);
    (out[..count * stride].par_chunks_mut(per_task * stride))
        .zip(rows[..count * stride].par_chunks(per_task * stride))
        .enumerate()
        .map(|(task, (out, rows))| {
            let first = task * per_task;
            match dispatch_simd(Walk { rows, out, first, stride, kernel }) {
                Some(row) => u32::MAX - row_base.wrapping_add(row as u32),
                None => 0,
            }
        })
        .max()
        .unwrap_or(0)
}

/// One task's rows, the first of index `first`.
struct Walk<'a, E, O, K> {
    rows: &'a [E],
    out: &'a mut [O],
    first: usize,
    stride: usize,
    kernel: &'a K,
}

impl<E: RowElement, O: OutElement, K: RowKernel> pulp::NullaryFnOnce for Walk<'_, E, O, K> {
    /// The first row with a NaN or an infinity.
    type Output = Option<usize>;

    #[inline(always)]
    fn call(self) -> Option<usize> {
        let (mut y, mut z) = (vec![0f32; self.stride], vec![0f32; self.stride]);
        let mut bad = None;
        let rows = self.out.chunks_exact_mut(self.stride).zip(self.rows.chunks_exact(self.stride));
        for ((out, row), index) in rows.zip(self.first..) {
            let peak = scaled(row, &mut y);
            if peak >= NOT_FINITE && bad.is_none() {
                bad = Some(index);
            }
            let scale = if usable(peak) { float_scale(peak) } else { 0.0 };
            self.kernel.row(index, &y, scale, &mut z);
            out.iter_mut().zip(&z).for_each(|(o, &z)| *o = O::round(z));
        }
        bad
    }
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
