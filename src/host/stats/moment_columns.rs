//! Twin of `shaders/stats/moment_columns.wgsl`; formats and proofs in [`crate::kernels::stats::moments`].

use bytemuck::{Pod, Zeroable};

use super::moments::{BIAS, add_columns};
use crate::host::HostCall;
use crate::host::rows::{Fixed, RowElement};
use crate::{ElementType, Error, Result};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub rows: u32,
    pub width4: u32,
    pub slab: u32,
    pub padding: u32,
}

/// Runs the kernel: buffers are rows, weights, sums.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn twin(call: &mut HostCall<'_>) -> Result<()> {
    let params: Params = call.params()?;
    let stride = 4 * params.width4 as usize;
    let columns = &mut bytemuck::cast_slice_mut::<u8, u64>(call.write(2)?)[..stride];
    let rows = call.read(0)?;
    let entries = &bytemuck::cast_slice::<u8, [u32; 4]>(call.read(1)?)[..params.rows as usize];
    match call.elements.0 {
        ElementType::F32 => add::<f32>(bytemuck::cast_slice(rows), entries, columns),
        ElementType::F16 => add::<half::f16>(bytemuck::cast_slice(rows), entries, columns),
        ElementType::BF16 => add::<half::bf16>(bytemuck::cast_slice(rows), entries, columns),
        ElementType::Fixed => add::<Fixed>(bytemuck::cast_slice(rows), entries, columns),
        ElementType::F64 => return Err(Error::argument("element type", "f64 has no device form")),
    }
    Ok(())
}

fn add<E: RowElement>(rows: &[E], entries: &[[u32; 4]], columns: &mut [u64]) {
    let mut fixed = vec![0i32; columns.len()];
    for (row, &[weight, shift, scale, _]) in rows.chunks_exact(columns.len()).zip(entries) {
        if weight == 0 {
            continue;
        }
        let scale = f32::from_bits(scale);
        fixed.iter_mut().zip(row).for_each(|(f, x)| *f = x.fixed(scale));
        add_columns(columns, &fixed, weight, shift);
        columns.iter_mut().for_each(|c| *c = c.wrapping_sub(BIAS >> shift));
    }
}
