//! Twin of `shaders/stats/moment_weights.wgsl`; formats and proofs in [`crate::kernels::stats::moments`].

use super::moments::{Pass, row_weight};
use crate::host::HostCall;
use crate::host::rows::{Fixed, RowElement, fixed_scale, peak, usable};
use crate::{ElementType, Error, Result};

/// Runs the kernel: buffers are rows, vectors, constants, sums, weights.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn twin(call: &mut HostCall<'_>) -> Result<()> {
    let (pass, sums) = Pass::of(call)?;
    let (count, elements) = (pass.params.rows as usize, pass.elements());
    let tail = &mut sums[4 * pass.params.width4 as usize..];
    let entries = &mut call.write_as::<[u32; 4]>(4, count)?[..count];
    match call.elements.0 {
        ElementType::F32 => weigh::<f32>(&pass, call.read_as(0, elements)?, entries, tail),
        ElementType::F16 => weigh::<half::f16>(&pass, call.read_as(0, elements)?, entries, tail),
        ElementType::BF16 => weigh::<half::bf16>(&pass, call.read_as(0, elements)?, entries, tail),
        ElementType::Fixed => weigh::<Fixed>(&pass, call.read_as(0, elements)?, entries, tail),
        element @ (ElementType::F64 | ElementType::Q8_0) => {
            return Err(Error::argument("element type", format!("{element} is no type of a device's rows")));
        }
    }
    Ok(())
}

fn weigh<E: RowElement>(pass: &Pass<'_>, rows: &[E], entries: &mut [[u32; 4]], tail: &mut [u64]) {
    let stride = 4 * pass.params.width4 as usize;
    let mut fixed = vec![0i32; stride];
    for ((row, entry), index) in rows.chunks_exact(stride).zip(entries).zip(0..) {
        let (weight, shift) = row_weight(pass, row, index, &mut fixed, tail).unwrap_or_default();
        let scale = if usable(peak(row)) { fixed_scale(peak(row)) } else { 0.0 };
        *entry = [weight, shift, scale.to_bits(), 0];
    }
}
