//! Twin of `shaders/linalg/join_slices.wgsl`; formats and proofs are in [`crate::kernels::linalg::slices`].

use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

use super::exact_product::Sum;
use crate::Result;
use crate::host::{HostCall, check_params, volume};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub rows: u32,
    pub width4: u32,
    pub shift: u32,
    pub upper: u32,
}

/// Slices of an integer, to the base 512.
pub(crate) const SLICES: usize = 5;

/// Runs the kernel: buffers are the products, the sums.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: Params = call.params()?;
    let (rows, width) = (p.rows as usize, 4 * p.width4 as usize);
    check_params(p.shift <= 100 && width > 0, "a long shift, or no columns")?;
    let products: Vec<f32> = call.read_as(0, volume([SLICES, rows, width]))?.to_vec();
    let sums: &mut [[u64; 2]] = call.write_as(1, volume([rows, width]))?;
    sums.par_chunks_exact_mut(width).take(rows).enumerate().for_each(|(i, row)| {
        let begin = if p.upper == 1 { i } else { 0 };
        for (column, sum) in row.iter_mut().enumerate().skip(begin) {
            let at = |slice: usize| products[(slice * rows + i) * width + column] as i128;
            let all = (0..SLICES).rev().fold(0, |high, slice| (high << 9) + at(slice));
            sum.add(all << p.shift);
        }
    });
    Ok(())
}
