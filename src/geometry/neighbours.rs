//! Cosines of all pairs of two row sets, tile by tile: nearest neighbours and histograms without an n × n matrix [spec 5; paper
//! appendices F, G].
//!
//! Rows are normalised in f64 on the host and rounded to f32; the device multiplies tiles of up to 2048 rows, and selects or counts
//! in them ([`kernels::geometry`](crate::kernels::geometry)); the host reads the lists or counts alone. Lists above 256 neighbours,
//! histograms above 2²⁰ bins, and both for drivers that run on a CPU (whose memory is the host's own, and whose loops are slower) are
//! made on the host, of tiles that it reads. Who selects or counts changes no result. A cosine is within some 1e-6 of that in real numbers
//! (d = 1280), so that neighbours closer to each other than this may change places against a computation in f64, and a pair that
//! close to a bin's edge its bin; equal rows may get cosines that differ in the last digit.
//!
//! FLOPs: 2 n m d, and half of it within one set. Memory beside the caller's rows: 64 MiB of the base in f32 on the device (and
//! as much in textures, where it reads those), two tiles of queries, one of cosines (16 MiB), and the lists, 8 bytes an entry.

use std::borrow::Cow;

use rayon::prelude::*;

use crate::device::{Capabilities, Device, DeviceKind, Recorder, Submission, Tensor};
use crate::host::geometry::{cosine, histogram as host_histogram, nearest as host_nearest};
use crate::kernels::geometry::histogram::{self, Histogram, MAX_BINS, Pairs};
use crate::kernels::geometry::nearest::{self as selection, Lists, NONE, Queries};
use crate::kernels::linalg::matmul::{self, Operand, Product};
use crate::stats::unit_rows;
use crate::{ElementType, Error, Result};

/// Rows of a tile.
const TILE: usize = 2048;

/// Bytes of the base that are on the device at a time; queries are normalised anew for each such part.
const SLAB: u64 = 64 << 20;

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

    /// `rows` of them from `first` on.
    fn part(&self, first: usize, rows: usize) -> Rows<'a> {
        Rows { data: &self.data[first * self.width..(first + rows) * self.width], ..*self }
    }

    /// Rows from `first` on as unit rows on the device.
    fn tile(&self, device: &Device, first: usize, rows: usize) -> Result<Tensor> {
        Tensor::from_f32(device, &unit_rows(self.part(first, rows).data, self.width), self.width)
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
    check_widths(queries, base)?;
    let n = queries.count();
    if let Some(exclude) = exclude.filter(|e| e.len() != n) {
        return Err(Error::shape("neighbours", "exclude", format!("{n} indices"), exclude.len()));
    }
    let own = exclude.map_or_else(|| Cow::Owned(vec![NONE; n]), Cow::Borrowed);
    // As many at a time as have lists in one binding.
    let most = match Lists::most_queries(device.capabilities(), k) {
        0 => n,
        most => n.min(most),
    };
    let mut found = Neighbours { k, indices: Vec::with_capacity(n * k), cosines: Vec::with_capacity(n * k) };
    for first in (0..n).step_by(most.max(1)) {
        let rows = most.min(n - first);
        let search =
            Search { queries: queries.part(first, rows), base, k, own: &own[first..first + rows], both: false };
        let (indices, cosines) = search.run(device)?;
        found.indices.extend(indices);
        found.cosines.extend(cosines);
    }
    Ok(found)
}

/// [`nearest`] of each row among the others, in half of the FLOPs: a pair's cosine goes to both. 1 <= k < n.
pub(super) fn nearest_within(device: &Device, rows: Rows<'_>, k: usize) -> Result<Neighbours> {
    let own: Vec<u32> = (0..rows.count() as u32).collect();
    let (indices, cosines) = Search { queries: rows, base: rows, k, own: &own, both: true }.run(device)?;
    Ok(Neighbours { k, indices, cosines })
}

/// Whether a device selects and counts at least as fast as the host does with the tiles that it reads: not where an invocation is a
/// CPU's vector lane.
fn selects(caps: &Capabilities) -> bool {
    caps.kind == DeviceKind::Host || caps.lanes > 1
}

/// Which lists are wanted.
struct Search<'a> {
    queries: Rows<'a>,
    base: Rows<'a>,
    k: usize,
    /// For each query the row that does not count.
    own: &'a [u32],
    /// Whether both sets are one, and a cosine goes to the lists of its row and of its column.
    both: bool,
}

impl Search<'_> {
    /// Indices and cosines, `[n, k]`.
    fn run(&self, device: &Device) -> Result<(Vec<u32>, Vec<f32>)> {
        let caps = device.capabilities();
        if selects(caps) && self.queries.count() <= Lists::most_queries(caps, self.k) {
            self.on_device(device)
        } else {
            self.on_host(device)
        }
    }

    /// Whether the tile's columns have lists too: not on the diagonal, where each pair is a row's and a column's already.
    fn down(&self, tile: &Tile) -> bool {
        self.both && tile.base > tile.query
    }

    fn each_tile(&self, device: &Device, take: impl FnMut(Recorder, &Tile) -> Result<Submission>) -> Result<()> {
        each_tile(device, self.queries, self.base, |query, last| !self.both || last >= query, take)
    }

    fn on_device(&self, device: &Device) -> Result<(Vec<u32>, Vec<f32>)> {
        let lists = Lists::new(device, self.queries.count(), self.k)?;
        let own = device.buffer_from("rows that do not count", bytemuck::cast_slice(self.own))?;
        self.each_tile(device, |mut recorder, tile| {
            let rows = (&tile.cosines, Queries::Rows);
            selection::record(&mut recorder, rows, (tile.query, tile.base), &own, &lists)?;
            if self.down(tile) {
                let columns = (&tile.cosines, Queries::Columns);
                selection::record(&mut recorder, columns, (tile.base, tile.query), &own, &lists)?;
            }
            recorder.submit()
        })?;
        lists.read_blocking(device)
    }

    fn on_host(&self, device: &Device) -> Result<(Vec<u32>, Vec<f32>)> {
        let k = self.k;
        let mut lists = vec![[0; 2]; self.queries.count() * k];
        self.each_tile(device, |recorder, tile| {
            let submission = recorder.submit()?;
            let cosines = tile.read_blocking(device)?;
            let (rows, columns) = (tile.cosines.rows(), tile.cosines.width());
            let stride = 4 * tile.cosines.width4();
            let part = |end: usize, first: usize| host_nearest::Tile {
                cosines: &cosines,
                stride,
                first: 0,
                end,
                candidate: first as u32,
            };
            let own = |first: usize, count: usize| &self.own[first..first + count];
            let span = |first: usize, count: usize| first * k..(first + count) * k;
            part(columns, tile.base).along_rows(k, own(tile.query, rows), &mut lists[span(tile.query, rows)]);
            if self.down(tile) {
                part(rows, tile.query).down_columns(k, own(tile.base, columns), &mut lists[span(tile.base, columns)]);
            }
            Ok(submission)
        })?;
        Ok(lists.into_iter().map(|[key, index]| (index, cosine(key))).unzip())
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
    let (other, pairs) = (b.unwrap_or(a), if b.is_none() { Pairs::Ordered } else { Pairs::Different });
    if a.count().max(other.count()) < 2 || a.count().min(other.count()) < 1 {
        let problem = format!("cosine histogram: {} and {} rows make no pair", a.count(), other.count());
        return Err(Error::degenerate(problem));
    }
    check_widths(a, other)?;
    let wanted = |query: usize, last: usize| pairs == Pairs::Different || last > query;
    let mut total = vec![0u64; bins];
    if bins > MAX_BINS || !selects(device.capabilities()) {
        each_tile(device, a, other, wanted, |recorder, tile| {
            let submission = recorder.submit()?;
            let cosines = tile.read_blocking(device)?;
            let counted = tile.on_host(&cosines).count(pairs, bins);
            total.iter_mut().zip(&counted).for_each(|(t, c)| *t += c);
            Ok(submission)
        })?;
        return Ok(total);
    }
    let histogram = Histogram::new(device, bins)?;
    let mut room = u32::MAX as usize;
    each_tile(device, a, other, wanted, |mut recorder, tile| {
        let count = tile.cosines.rows() * tile.cosines.width();
        if count > room {
            histogram.take_blocking(device, &mut total)?;
            room = u32::MAX as usize;
        }
        room -= count;
        histogram::record(&mut recorder, &tile.cosines, (tile.query, tile.base), pairs, &histogram)?;
        recorder.submit()
    })?;
    histogram.take_blocking(device, &mut total)?;
    Ok(total)
}

fn check_widths(queries: Rows<'_>, base: Rows<'_>) -> Result<()> {
    if queries.width != base.width {
        let (want, got) = (format!("width {}", queries.width), format!("width {}", base.width));
        return Err(Error::shape("cosines", "base", want, got));
    }
    Ok(())
}

/// The cosines of some queries, the first of index `query`, with the base's rows from `base` on.
struct Tile {
    query: usize,
    base: usize,
    cosines: Tensor,
}

impl Tile {
    /// The cosines in padded rows, waiting for the device.
    fn read_blocking(&self, device: &Device) -> Result<Vec<f32>> {
        let bytes = device.read_blocking(self.cosines.buffer())?;
        // The allocator promises alignment for u8 alone.
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    }

    fn on_host<'a>(&self, cosines: &'a [f32]) -> host_histogram::Tile<'a> {
        let (rows, width, stride) = (self.cosines.rows(), self.cosines.width(), 4 * self.cosines.width4());
        host_histogram::Tile { cosines, rows, width, stride, query: self.query, base: self.base }
    }
}

/// Records the cosines tile by tile, for `take` to add what is to be done with them and to submit it; only the tiles of which `wanted`
/// (first query, last row of the base) holds. Two tiles at most are on their way.
fn each_tile(
    device: &Device,
    queries: Rows<'_>,
    base: Rows<'_>,
    wanted: impl Fn(usize, usize) -> bool,
    mut take: impl FnMut(Recorder, &Tile) -> Result<Submission>,
) -> Result<()> {
    let row_bytes = Tensor::stride_of(base.width, ElementType::F32) as u64;
    let side = (device.capabilities().max_binding / row_bytes).clamp(1, TILE as u64) as usize;
    let slab = side * (SLAB / (row_bytes * side as u64)).max(1) as usize;
    let length = |rows: Rows<'_>, first: usize| side.min(rows.count() - first);
    let (mut cosines, mut before) = (None::<Tensor>, None::<Submission>);
    for start in (0..base.count()).step_by(slab) {
        let end = base.count().min(start + slab);
        let tiles = (start..end).step_by(side).map(|at| Ok((at, base.tile(device, at, length(base, at))?)));
        let tiles = tiles.collect::<Result<Vec<_>>>()?;
        for query in (0..queries.count()).step_by(side).filter(|&query| wanted(query, end - 1)) {
            let block = queries.tile(device, query, length(queries, query))?;
            for (first, tile) in tiles.iter().filter(|(first, tile)| wanted(query, first + tile.rows() - 1)) {
                let shape = (block.rows(), tile.rows());
                let into = match cosines.take().filter(|c| (c.rows(), c.width()) == shape) {
                    Some(tensor) => tensor,
                    None => Tensor::new(device, shape.0, shape.1, ElementType::F32)?,
                };
                let mut recorder = device.recorder();
                let operands = (Operand::new(&block), Operand::new(tile).transposed());
                matmul::record(&mut recorder, Product::default(), operands, (&into, 0))?;
                let tile = Tile { query, base: *first, cosines: into };
                let submitted = take(recorder, &tile)?;
                if let Some(before) = before.replace(submitted) {
                    before.wait()?;
                }
                cosines = Some(tile.cosines);
            }
        }
    }
    Ok(())
}
