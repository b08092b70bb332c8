//! Twin of `shaders/geometry/histogram.wgsl`.

use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

use crate::Result;
use crate::host::{HostCall, check_params, volume};

/// Which pairs (i, j) of a row and a column count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairs {
    /// Those with i < j: of a set with itself.
    Ordered,
    /// Those with i ≠ j.
    Different,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub rows: u32,
    pub width: u32,
    pub width4: u32,
    pub bins: u32,
    pub query: u32,
    pub base: u32,
    pub within: u32,
    pub scale: f32,
}

/// The bin of a cosine, in f64.
#[inline]
pub fn bin(cosine: f32, bins: usize) -> usize {
    let scale = (bins - 1) as f64 / 2.0;
    ((f64::from(cosine) + 1.0) * scale).round_ties_even().clamp(0.0, 2.0 * scale) as usize
}

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
    let (rows, width, stride, bins) = (p.rows as usize, p.width as usize, 4 * p.width4 as usize, p.bins as usize);
    check_params(width <= stride && bins > 0, "a width beyond its rows, or no bins")?;
    let tile = Tile {
        cosines: call.read_as(0, volume([rows, stride]))?,
        rows,
        width,
        stride,
        query: p.query as usize,
        base: p.base as usize,
    };
    let pairs = if p.within == 1 { Pairs::Ordered } else { Pairs::Different };
    let counts: &mut [u32] = call.write_as(2, bins)?;
    let counted = tile.count(pairs, bins);
    counts.iter_mut().zip(counted).for_each(|(c, n)| *c = c.wrapping_add(n as u32));
    Ok(())
}
