//! Twin of `shaders/geometry/histogram.wgsl`.

use rayon::prelude::*;

use crate::Result;
use crate::host::HostCall;
use crate::host::nn::floats;
use crate::kernels::geometry::histogram::{Pairs, Params, bin};

/// Cosines `[rows, width]` in rows of `stride`; the first row and column have the indices `query` and `base`.
#[derive(Clone, Copy, Debug)]
pub struct Tile<'a> {
    /// The cosines.
    pub cosines: &'a [f32],
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub width: usize,
    /// From row to row.
    pub stride: usize,
    /// Index of the first row.
    pub query: usize,
    /// Index of the first column.
    pub base: usize,
}

impl Tile<'_> {
    /// Cosines by bin, `[bins]`; a NaN is in none.
    pub fn count(&self, pairs: Pairs, bins: usize) -> Vec<u64> {
        let rows = (0..self.rows).into_par_iter().with_min_len(self.rows.div_ceil(rayon::current_num_threads()).max(1));
        let counted = rows.fold(
            || vec![0u64; bins],
            |mut counts, i| {
                let query = self.query + i;
                for (j, &c) in (self.base..).zip(&self.cosines[i * self.stride..][..self.width]) {
                    if !c.is_nan() && if pairs == Pairs::Ordered { query < j } else { query != j } {
                        counts[bin(c, bins)] += 1;
                    }
                }
                counts
            },
        );
        counted.reduce(
            || vec![0; bins],
            |mut total, part| {
                total.iter_mut().zip(&part).for_each(|(t, p)| *t += p);
                total
            },
        )
    }
}

/// Runs the kernel: buffers are cosines, edges, counts.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: Params = call.params()?;
    let tile = Tile {
        cosines: floats(call, 0)?,
        rows: p.rows as usize,
        width: p.width as usize,
        stride: 4 * p.width4 as usize,
        query: p.query as usize,
        base: p.base as usize,
    };
    let pairs = if p.within == 1 { Pairs::Ordered } else { Pairs::Different };
    let counted = tile.count(pairs, p.bins as usize);
    let counts: &mut [u32] = bytemuck::cast_slice_mut(call.write(2)?);
    counts.iter_mut().zip(counted).for_each(|(c, n)| *c = c.wrapping_add(n as u32));
    Ok(())
}
