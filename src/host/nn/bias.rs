//! Twin of `shaders/nn/bias_backward.wgsl`, and column sums for whoever needs them.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

use super::math::Float;
use super::{floats, floats_mut};
use crate::Result;
use crate::host::{HostCall, check_params, dispatch_simd, volume};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub first: u32,
    pub end: u32,
    pub width4: u32,
    pub accumulate: u32,
    pub slice: u32,
}

/// Rows that are added up before they are added to the sum of all: the order does not depend on the number of cores.
const SLAB: usize = 128;

/// Adds a term to a row of sums. Implementations are `inline(always)`, for it runs under `dispatch_simd`.
pub trait Term<R>: Sync {
    /// Adds row `index` of the terms to `sums`, `[stride]`.
    fn add(&self, index: usize, sums: &mut [R]);
}

struct Slab<'a, R, T> {
    term: &'a T,
    rows: Range<usize>,
    sums: &'a mut [R],
}

impl<R: Float, T: Term<R>> pulp::NullaryFnOnce for Slab<'_, R, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for row in self.rows {
            self.term.add(row, self.sums);
        }
    }
}

/// `sums = Σ_rows term`, or `+=`; `sums` is `[stride]`.
pub fn column_sums<R: Float, T: Term<R>>(term: &T, rows: usize, sums: &mut [R], accumulate: bool) {
    let slabs: Vec<Vec<R>> = (0..rows.div_ceil(SLAB))
        .into_par_iter()
        .map(|slab| {
            let mut part = vec![R::ZERO; sums.len()];
            let first = slab * SLAB;
            dispatch_simd(Slab { term, rows: first..rows.min(first + SLAB), sums: &mut part });
            part
        })
        .collect();
    let mut total = vec![R::ZERO; sums.len()];
    for slab in &slabs {
        total.iter_mut().zip(slab).for_each(|(t, &s)| *t += s);
    }
    for (sum, total) in sums.iter_mut().zip(total) {
        *sum = if accumulate { *sum + total } else { total };
    }
}

struct Plain<'a, R>(&'a [R]);

impl<R: Float> Term<R> for Plain<'_, R> {
    #[inline(always)]
    fn add(&self, index: usize, sums: &mut [R]) {
        let row = &self.0[index * sums.len()..][..sums.len()];
        sums.iter_mut().zip(row).for_each(|(s, &x)| *s += x);
    }
}

/// `dbias = Σ_rows dy`, or `+=`; `dy` is rows of `dbias`' length.
pub fn backward<R: Float>(dy: &[R], dbias: &mut [R], accumulate: bool) {
    let rows = dy.len().checked_div(dbias.len()).unwrap_or(0);
    column_sums(&Plain(dy), rows, dbias, accumulate);
}

/// Runs the kernel: buffers are dy, dbias.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn twin(call: &mut HostCall<'_>) -> Result<()> {
    let params: Params = call.params()?;
    let stride = 4 * params.width4 as usize;
    let dy = floats(call, 0, volume([params.end as usize, stride]))?;
    for (rows, sums) in slices(&params, floats_mut(call, 1, 0)?)? {
        backward(&dy[rows.start * stride..rows.end * stride], sums, params.accumulate == 1);
    }
    Ok(())
}

/// The rows of each slice, and its row of sums.
///
/// # Errors
/// No columns; fewer rows of sums than slices.
pub(crate) fn slices<'a>(
    params: &Params,
    sums: &'a mut [f32],
) -> Result<impl Iterator<Item = (Range<usize>, &'a mut [f32])>> {
    let (first, end, slice) = (params.first as usize, params.end as usize, params.slice.max(1) as usize);
    let stride = 4 * params.width4 as usize;
    let needed = volume([end.saturating_sub(first).div_ceil(slice), stride]);
    check_params(stride > 0 && needed <= sums.len(), "sums without columns, or more slices than rows of sums")?;
    let rows = (first..end).step_by(slice).map(move |first| first..end.min(first + slice));
    Ok(rows.zip(sums.chunks_exact_mut(stride)))
}
