//! Twin of `shaders/stats/moment_columns.wgsl`; formats and proofs in [`crate::kernels::stats::moments`].

use bytemuck::{Pod, Zeroable};

use super::moments::{BIAS, add_columns};
use crate::host::rows::{Fixed, RowElement, peak};
use crate::host::{HostCall, check_params, volume};
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
    check_params(stride > 0, "rows without columns")?;
    let (count, elements) = (params.rows as usize, volume([params.rows as usize, stride]));
    let columns = &mut call.write_as::<u64>(2, stride)?[..stride];
    let entries = &call.read_as::<[u32; 4]>(1, count)?[..count];
    match call.elements.0 {
        ElementType::F32 => add::<f32>(call.read_as(0, elements)?, entries, columns),
        ElementType::F16 => add::<half::f16>(call.read_as(0, elements)?, entries, columns),
        ElementType::BF16 => add::<half::bf16>(call.read_as(0, elements)?, entries, columns),
        ElementType::Fixed => add::<Fixed>(call.read_as(0, elements)?, entries, columns),
        element @ (ElementType::F64 | ElementType::Q8_0) => {
            Err(Error::argument("element type", format!("{element} is no type of a device's rows")))
        }
    }
}

fn add<E: RowElement>(rows: &[E], entries: &[[u32; 4]], columns: &mut [u64]) -> Result<()> {
    let mut fixed = vec![0i32; columns.len()];
    for (row, &[weight, shift, scale, _]) in rows.chunks_exact(columns.len()).zip(entries) {
        if weight == 0 {
            continue;
        }
        let scale = f32::from_bits(scale);
        // The weights come from a buffer: the first dispatch fits them to the rows, and `fixed` relies on that.
        let fits = shift < 64 && f32::from_bits(peak(row)) * scale.abs() < 2_147_483_648.0;
        check_params(fits, "weights that are not these rows'")?;
        fixed.iter_mut().zip(row).for_each(|(f, x)| *f = x.fixed(scale));
        add_columns(columns, &fixed, weight, shift);
        columns.iter_mut().for_each(|c| *c = c.wrapping_sub(BIAS >> shift));
    }
    Ok(())
}
