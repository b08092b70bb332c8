//! Twin of `shaders/stats/power_sums.wgsl`; the formula is in [`crate::kernels::stats::power_sums`].

use crate::Result;
use crate::host::nn::bias::{Term, column_sums, slices};
use crate::host::nn::math::Float;
use crate::host::nn::{floats, floats_mut};
use crate::host::{HostCall, volume};

/// The parameters of the column sums; `width4` is r here, for each column has four sums.
type PowerParams = crate::host::nn::bias::Params;

struct Powers<'a, R> {
    z: &'a [R],
    weights: &'a [R],
}

impl<R: Float> Term<R> for Powers<'_, R> {
    #[inline(always)]
    fn add(&self, index: usize, sums: &mut [R]) {
        let stride = (sums.len() / 4).next_multiple_of(4);
        let (row, w) = (&self.z[index * stride..][..stride], self.weights[index]);
        for (sum, &z) in sums.as_chunks_mut::<4>().0.iter_mut().zip(row) {
            let square = z * z;
            let powers = [z, square, square * z, square * square];
            sum.iter_mut().zip(powers).for_each(|(s, p)| *s += w * p);
        }
    }
}

/// `Σ_i w_i z_i^p`, p = 1 to 4, of each of r columns, `sums` `[r, 4]`, or `+=`; z is rows of r numbers, filled up to a multiple of 4.
pub fn power_sums<R: Float>((z, weights): (&[R], &[R]), rows: usize, sums: &mut [R], accumulate: bool) {
    column_sums(&Powers { z, weights }, rows, sums, accumulate);
}

/// Runs the kernel: buffers are z, weights, sums.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn twin(call: &mut HostCall<'_>) -> Result<()> {
    let params: PowerParams = call.params()?;
    let stride = (params.width4 as usize).next_multiple_of(4);
    let end = params.end as usize;
    let (z, weights) = (floats(call, 0, volume([end, stride]))?, floats(call, 1, end)?);
    for (rows, sums) in slices(&params, floats_mut(call, 2, 0)?)? {
        let part = (&z[rows.start * stride..rows.end * stride], &weights[rows.start..rows.end]);
        power_sums(part, rows.len(), sums, params.accumulate == 1);
    }
    Ok(())
}
