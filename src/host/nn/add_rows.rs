//! Twin of `shaders/nn/add_rows.wgsl`.

use bytemuck::{Pod, Zeroable};

use super::math::Float;
use super::parallel::{Row, for_each_row};
use super::{floats, floats_mut};
use crate::Result;
use crate::host::{HostCall, check_params, volume};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub count: u32,
    pub width4: u32,
    pub table_rows: u32,
}

struct Added<'a, R> {
    table: &'a [R],
    ids: &'a [u32],
}

impl<R: Float> Row<R> for Added<'_, R> {
    #[inline(always)]
    fn row(&self, index: usize, out: &mut [R]) {
        let first = (self.ids[index] as usize).saturating_mul(out.len());
        if let Some(row) = self.table.get(first..first.saturating_add(out.len())) {
            out.iter_mut().zip(row).for_each(|(y, &x)| *y += x);
        }
    }
}

/// `y[i] += table[ids[i]]`, rows of `stride`; an id beyond the rows adds nothing.
pub fn add_rows<R: Float>(table: &[R], ids: &[u32], y: &mut [R], stride: usize) {
    for_each_row(&Added { table, ids }, y, stride);
}

/// Runs the kernel: buffers are table, ids, y.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: Params = call.params()?;
    let stride = 4 * p.width4 as usize;
    check_params(stride > 0, "rows without columns")?;
    let (rows, elements) = (4 * p.count as usize / stride, volume([p.table_rows as usize, stride]));
    let (table, ids) = (&floats(call, 0, elements)?[..elements], call.read_as::<u32>(1, rows)?);
    add_rows(table, ids, &mut floats_mut(call, 2, rows * stride)?[..rows * stride], stride);
    Ok(())
}
