//! Cosines of all pairs of two row sets, tile by tile: nearest neighbours and histograms without an n × n matrix [spec 5; paper
//! appendices F, G].
//!
//! Rows are normalised in f64 on the host and rounded to f32; the device multiplies tiles of up to 2048 rows; the host selects
//! or counts. A cosine is within some 1e-6 of that in real numbers (d = 1280), so that neighbours closer to each other than
//! this may change places against a computation in f64, and a pair that close to a bin's edge its bin; equal rows may get
//! cosines that differ in the last digit.
//!
//! FLOPs: 2 n m d, and half of it within one set. Memory beside the caller's rows: 64 MiB of the base in f32 on the device (and
//! as much in textures, where it reads those), one tile of queries, one of cosines (16 MiB) and its copy.

use std::borrow::Cow;

use rayon::prelude::*;

use crate::device::{Device, Tensor};
use crate::kernels::linalg::matmul::{self, Operand, Product};
use crate::stats::Block;
use crate::{ElementType, Error, Result};

/// Rows of a tile.
const TILE: usize = 2048;

/// Bytes of the base that are on the device at a time; queries are normalised anew for each such part.
const SLAB: u64 = 64 << 20;

/// Columns of a tile that a task scans.
const COLUMNS: usize = 64;

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
        let block = Block { bytes, tight, element: ElementType::F32 };
        let mut unit = vec![0.0; rows * self.width];
        block.shifted(&block.measure().0, &vec![0.0; self.width], &mut unit);
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
    let mut best: Vec<List> = vec![List::with_capacity(k + 1); n];
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

/// [`nearest`] of each row among the others, in half of the FLOPs: a pair's cosine goes to both. 1 <= k < n.
pub(super) fn nearest_within(device: &Device, rows: Rows<'_>, k: usize) -> Result<Neighbours> {
    let mut best: Vec<List> = vec![List::with_capacity(k + 1); rows.count()];
    let wanted = |query: usize, last: usize| last >= query;
    each_tile(device, rows, rows, wanted, |tile| {
        let lists = best[tile.query..tile.query + tile.rows].par_iter_mut().enumerate();
        lists.for_each(|(i, list)| select(list, k, tile.row(i), tile.base as u32, Some((tile.query + i) as u32)));
        if tile.base > tile.query {
            let lists = best[tile.base..tile.base + tile.columns].par_chunks_mut(COLUMNS).enumerate();
            lists.for_each(|(at, lists)| select_down(lists, k, &tile, at * COLUMNS));
        }
    })?;
    let (cosines, indices) = best.into_iter().flatten().unzip();
    Ok(Neighbours { k, indices, cosines })
}

/// The best so far, best first.
type List = Vec<(f32, u32)>;

/// Brings the cosines of the rows from `first` on into the list of the best.
fn select(list: &mut List, k: usize, cosines: &[f32], first: u32, own: Option<u32>) {
    let mut worst = worst(list, k);
    for (&c, j) in cosines.iter().zip(first..) {
        if c > worst && own != Some(j) {
            worst = insert(list, k, (c, j));
        }
    }
}

/// [`select`] for the tile's columns from `first` on, each of which has a list.
fn select_down(lists: &mut [List], k: usize, tile: &Tile<'_>, first: usize) {
    let mut bounds: Vec<f32> = lists.iter().map(|list| worst(list, k)).collect();
    for i in 0..tile.rows {
        let cosines = &tile.row(i)[first..first + lists.len()];
        for ((list, bound), &c) in lists.iter_mut().zip(&mut bounds).zip(cosines) {
            if c > *bound {
                *bound = insert(list, k, (c, (tile.query + i) as u32));
            }
        }
    }
}

/// What a cosine must be above to enter.
fn worst(list: &List, k: usize) -> f32 {
    if list.len() == k { list[k - 1].0 } else { f32::NEG_INFINITY }
}

fn insert(list: &mut List, k: usize, (c, j): (f32, u32)) -> f32 {
    // After its equals: of those the lower index came first.
    let at = list.partition_point(|&(b, _)| b >= c);
    list.truncate(k - 1);
    list.insert(at.min(list.len()), (c, j));
    worst(list, k)
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
    let wanted = |query: usize, last: usize| !within || last > query;
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
/// (first query, last row of the base) holds. Within one set the tiles above the diagonal come, for each row, in ascending
/// order of the other too.
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
    let slab = side * (SLAB / (row_bytes * side as u64)).max(1) as usize;
    let length = |rows: Rows<'_>, first: usize| side.min(rows.count() - first);
    let mut product: Option<Tensor> = None;
    for start in (0..base.count()).step_by(slab) {
        let end = base.count().min(start + slab);
        let tiles = (start..end).step_by(side).map(|at| Ok((at, base.tile(device, at, length(base, at))?)));
        let tiles = tiles.collect::<Result<Vec<_>>>()?;
        for query in (0..queries.count()).step_by(side).filter(|&query| wanted(query, end - 1)) {
            let block = queries.tile(device, query, length(queries, query))?;
            for (first, tile) in tiles.iter().filter(|(first, tile)| wanted(query, first + tile.rows() - 1)) {
                let (rows, columns) = (block.rows(), tile.rows());
                let into = match product.take().filter(|p| (p.rows(), p.width()) == (rows, columns)) {
                    Some(tensor) => tensor,
                    None => Tensor::new(device, rows, columns, ElementType::F32)?,
                };
                let mut recorder = device.recorder();
                let operands = (Operand::new(&block), Operand::new(tile).transposed());
                matmul::record(&mut recorder, Product::default(), operands, (&into, 0))?;
                recorder.submit()?;
                let bytes = device.read_blocking(into.buffer())?;
                // The allocator aligns memory for more than f32, but promises it for u8 alone.
                let cosines = match bytemuck::try_cast_slice(&bytes) {
                    Ok(aligned) => Cow::Borrowed(aligned),
                    Err(_) => Cow::Owned(bytemuck::pod_collect_to_vec(&bytes)),
                };
                take(Tile { query, base: *first, rows, columns, stride: into.width4() * 4, cosines: &cosines });
                product = Some(into);
            }
        }
    }
    Ok(())
}
