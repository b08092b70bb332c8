//! Twin of `shaders/stats/moment_weights.wgsl`; formats and proofs in [`crate::kernels::stats::moments`].

use super::moments::{Pass, row_weight};
use crate::host::HostCall;
use crate::host::rows::{Fixed, RowElement, fixed_scale, peak, usable};
use crate::host::stats::moments::Params;
use crate::{ElementType, Error, Result};

/// Runs the kernel: buffers are rows, vectors, constants, sums, weights.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn twin(call: &mut HostCall<'_>) -> Result<()> {
    let params: Params = call.params()?;
    let stride = 4 * params.width4 as usize;
    let tail = &mut bytemuck::cast_slice_mut::<u8, u64>(call.write(3)?)[stride..];
    let entries = &mut bytemuck::cast_slice_mut::<u8, [u32; 4]>(call.write(4)?)[..params.rows as usize];
    let rows = call.read(0)?;
    let pass =
        Pass { params, vectors: bytemuck::cast_slice(call.read(1)?), constants: bytemuck::cast_slice(call.read(2)?) };
    match call.elements.0 {
        ElementType::F32 => weigh::<f32>(&pass, bytemuck::cast_slice(rows), entries, tail),
        ElementType::F16 => weigh::<half::f16>(&pass, bytemuck::cast_slice(rows), entries, tail),
        ElementType::BF16 => weigh::<half::bf16>(&pass, bytemuck::cast_slice(rows), entries, tail),
        ElementType::Fixed => weigh::<Fixed>(&pass, bytemuck::cast_slice(rows), entries, tail),
        ElementType::F64 => return Err(Error::argument("element type", "f64 has no device form")),
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
