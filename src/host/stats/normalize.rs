//! Twin of `shaders/stats/normalize.wgsl`.

use bytemuck::{Pod, Zeroable};

use crate::Result;
use crate::host::HostCall;
use crate::host::align::apply::Rows;
use crate::host::output::for_each_row;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub rows: u32,
    pub width4: u32,
    pub row_base: u32,
    pub padding: u32,
}

/// Runs the kernel: buffers are rows, out rows, status.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn twin(call: &mut HostCall<'_>) -> Result<()> {
    let params: Params = call.params()?;
    let shape = (params.rows as usize, 4 * params.width4 as usize, params.row_base);
    // Normalisation is the operator without vectors.
    for_each_row(call, shape, &Rows { a: 1.0, vectors: &[], gram: &[] })
}
