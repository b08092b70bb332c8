//! Cosines of all pairs of two row sets, tile by tile: nearest neighbours and histograms without an n × n matrix [spec 5; paper
//! appendices F, G].
//!
//! Rows are normalised in f64 on the host and rounded to f32; the device multiplies tiles of up to 2048 rows; the host selects
//! or counts. A cosine is within some 1e-6 of that in real numbers (d = 1280), so that neighbours closer to each other than
//! this may change places against a computation in f64, and a pair that close to a bin's edge its bin; equal rows may get
//! cosines that differ in the last digit.
//!
//! FLOPs: 2 n m d. Memory: the base rows in f32 on the device, one tile of queries, one of cosines (16 MiB). 50,000 × 50,000 at
//! d = 1280 needs 0.3 GB beside the caller's rows.

use rayon::prelude::*;

use crate::device::{Device, Tensor};
use crate::kernels::linalg::matmul::{self, Operand, Product};
use crate::stats::unit_rows;
use crate::{ElementType, Error, Result};

/// Rows of a tile.
const TILE: usize = 2048;

/// Rows in memory, `[n, width]` f32, of any norm.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    data: &'a [f32],
    width: usize,
}

impl<'a> Rows<'a> {
    /// Tight rows.
    ///
    /// # Errors
    /// A width of 0; no whole number of rows; 2³² rows or more; a NaN or an infinity.
    pub fn new(data: &'a [f32], width: usize) -> Result<Self> {
        if width == 0 || !data.len().is_multiple_of(width) || data.len() / width >= u32::MAX as usize {
            let got = format!("{} values", data.len());
            return Err(Error::shape("cosines", "rows", format!("whole rows of {width}, fewer than 2^32"), got));
        }
        if let Some(at) = data.par_iter().position_first(|x| !x.is_finite()) {
            let got = format!("{} at row {}, column {}", data[at], at / width, at % width);
            return Err(Error::shape("cosines", "rows", "finite values", got));
        }
        Ok(Rows { data, width })
    }

    /// n.
    pub fn count(&self) -> usize {
        self.data.len() / self.width
    }

    /// Rows from `first` on as unit rows on the device.
    fn tile(&self, device: &Device, first: usize, rows: usize) -> Result<Tensor> {
        let tight = 4 * self.width;
        let bytes = &bytemuck::cast_slice(self.data)[first * tight..(first + rows) * tight];
        let unit: Vec<f32> = unit_rows(bytes, tight, ElementType::F32).iter().map(|&x| x as f32).collect();
        Tensor::from_f32(device, &unit, self.width)
    }
}

/// The nearest rows of each query.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbours {
    /// Neighbours of a query.
    pub k: usize,
    /// Their indices in the base, nearest first, `[n, k]`.
    pub indices: Vec<u32>,
    /// Their cosines, `[n, k]`.
    pub cosines: Vec<f32>,
}

/// For each query the `k` rows of `base` with the largest cosines; ties by lower index. `exclude[i]` is the base's row that does
/// not count for query i: itself, where both sets are one. A row of norm below 1e-10 has cosine 0 with all.
///
/// # Errors
/// Widths that differ; k = 0 or not below the base's rows; `exclude` of another length; a device lost or out of memory.
pub fn nearest(
    device: &Device,
    queries: Rows<'_>,
    base: Rows<'_>,
    k: usize,
    exclude: Option<&[u32]>,
) -> Result<Neighbours> {
    if k == 0 || k >= base.count() {
        let problem =
            format!("{k} neighbours of {} rows; give at least 1, and fewer than there are rows", base.count());
        return Err(Error::argument("k", problem));
    }
    let n = queries.count();
    if let Some(exclude) = exclude.filter(|e| e.len() != n) {
        return Err(Error::shape("neighbours", "exclude", format!("{n} indices"), exclude.len()));
    }
    let mut best: Vec<Vec<(f32, u32)>> = vec![Vec::with_capacity(k + 1); n];
    each_tile(
        device,
        queries,
        base,
        |_, _| true,
        |tile| {
            let lists = &mut best[tile.query..tile.query + tile.rows];
            lists.par_iter_mut().enumerate().for_each(|(i, list)| {
                let own = exclude.map(|e| e[tile.query + i]);
                select(list, k, tile.row(i), tile.base as u32, own);
            });
        },
    )?;
    let (cosines, indices) = best.into_iter().flatten().unzip();
    Ok(Neighbours { k, indices, cosines })
}

/// Brings the cosines of the rows from `first` on into the list of the best.
fn select(list: &mut Vec<(f32, u32)>, k: usize, cosines: &[f32], first: u32, own: Option<u32>) {
    for (&c, j) in cosines.iter().zip(first..) {
        if (list.len() == k && c <= list[k - 1].0) || own == Some(j) {
            continue;
        }
        // After its equals: of those the lower index came first.
        let at = list.partition_point(|&(b, _)| b >= c);
        list.truncate(k - 1);
        list.insert(at.min(list.len()), (c, j));
    }
}

/// How many pairs have a cosine nearest to `-1 + 2 i / (bins - 1)`, `[bins]`: pairs i < j of `a` with itself, or, with `b`,
/// all pairs (i, j) of different index, for rows of equal index may be partners.
///
/// # Errors
/// Widths that differ; fewer than 2 bins; no pair; a device lost or out of memory.
pub fn cosine_histogram(device: &Device, a: Rows<'_>, b: Option<Rows<'_>>, bins: usize) -> Result<Vec<u64>> {
    if bins < 2 {
        return Err(Error::argument("bins", format!("{bins}; give 2 or more")));
    }
    let (other, within) = (b.unwrap_or(a), b.is_none());
    if a.count().max(other.count()) < 2 || a.count().min(other.count()) < 1 {
        let problem = format!("cosine histogram: {} and {} rows make no pair", a.count(), other.count());
        return Err(Error::Degenerate(problem));
    }
    let scale = (bins - 1) as f64 / 2.0;
    let mut total = vec![0u64; bins];
    let wanted = |last_query: usize, last_base: usize| !within || last_base > last_query;
    each_tile(device, a, other, wanted, |tile| {
        let rows = (0..tile.rows).into_par_iter().with_min_len(tile.rows.div_ceil(rayon::current_num_threads()));
        let counted = rows.fold(
            || vec![0u64; bins],
            |mut counts, i| {
                let query = tile.query + i;
                for (j, &c) in (tile.base..).zip(tile.row(i)) {
                    if if within { query < j } else { query != j } {
                        let bin = ((f64::from(c) + 1.0) * scale).round_ties_even().clamp(0.0, 2.0 * scale);
                        counts[bin as usize] += 1;
                    }
                }
                counts
            },
        );
        for part in counted.collect::<Vec<_>>() {
            total.iter_mut().zip(&part).for_each(|(t, p)| *t += p);
        }
    })?;
    Ok(total)
}

/// The cosines of `rows` queries, the first of index `query`, with the base's rows from `base` on.
struct Tile<'a> {
    query: usize,
    base: usize,
    rows: usize,
    columns: usize,
    stride: usize,
    cosines: &'a [f32],
}

impl Tile<'_> {
    fn row(&self, i: usize) -> &[f32] {
        &self.cosines[i * self.stride..i * self.stride + self.columns]
    }
}

/// Computes the cosines tile by tile, in ascending order of the base's rows for each query; only the tiles of which `wanted`
/// (first query, last row of the base) holds.
fn each_tile(
    device: &Device,
    queries: Rows<'_>,
    base: Rows<'_>,
    wanted: impl Fn(usize, usize) -> bool,
    mut take: impl FnMut(Tile<'_>),
) -> Result<()> {
    if queries.width != base.width {
        let (want, got) = (format!("width {}", queries.width), format!("width {}", base.width));
        return Err(Error::shape("cosines", "base", want, got));
    }
    let row_bytes = Tensor::stride_of(base.width, ElementType::F32) as u64;
    let side = (device.capabilities().max_binding / row_bytes).clamp(1, TILE as u64) as usize;
    let length = |rows: Rows<'_>, first: usize| side.min(rows.count() - first);
    let starts = (0..base.count()).step_by(side);
    let tiles = starts.map(|first| Ok((first, base.tile(device, first, length(base, first))?)));
    let tiles = tiles.collect::<Result<Vec<_>>>()?;
    for query in (0..queries.count()).step_by(side) {
        let block = queries.tile(device, query, length(queries, query))?;
        for (first, tile) in &tiles {
            if !wanted(query, first + tile.rows() - 1) {
                continue;
            }
            let product = Tensor::new(device, block.rows(), tile.rows(), ElementType::F32)?;
            let mut recorder = device.recorder();
            let operands = (Operand::new(&block), Operand::new(tile).transposed());
            matmul::record(&mut recorder, Product::default(), operands, (&product, 0))?;
            recorder.submit()?;
            let cosines: Vec<f32> = bytemuck::pod_collect_to_vec(&device.read_blocking(product.buffer())?);
            let (rows, columns, stride) = (block.rows(), tile.rows(), product.width4() * 4);
            take(Tile { query, base: *first, rows, columns, stride, cosines: &cosines });
        }
    }
    Ok(())
}
