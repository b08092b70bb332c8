//! Partial selection: the k nearest of each query by cosine, from tiles of cosines that never leave the device [paper, appendices F
//! and G].
//!
//! [`record`] brings one tile into the lists of its rows, or of its columns. Better is the larger cosine, of equal ones the lower
//! index (-0 equals 0), and a NaN comes into no list: an order without ties, so that neither the order of tiles nor how a device shares
//! the work changes a list. On GPUs a workgroup has a query and merges what is better than its worst; on drivers that run on a CPU an invocation inserts
//! one at a time.
//!
//! Bytes: 4 per cosine, and twice 8 per entry of a list and tile. Work: a comparison per cosine; n random cosines bring about
//! k ln(n / k) insertions to a list.

use super::super::{
    Binding, KernelSpec, MAX_ITERATIONS, Work, check_index, check_matrix, check_words, check_written, grid,
};
use crate::device::{Buffer, Capabilities, Device, DeviceKind, Recorder, Tensor};
use crate::host::geometry::cosine;
use crate::host::geometry::nearest::Params;
use crate::spec::in_range;
use crate::spec::shader::source;
use crate::{ElementType, Error, Result};

/// A tile into lists.
pub static SPEC: KernelSpec = KernelSpec::new(
    "nearest",
    source!("geometry/nearest.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::texels(1, "rows"),
        Binding::read(2, "excluded"),
        Binding::read_write(3, "lists"),
    ],
    crate::host::geometry::nearest::twin,
)
.with_grid()
.with_overrides(&["GROUP", "DOWN"])
.trusted(in_range::LISTS);

/// The longest list: what a workgroup's memory holds twice.
pub const MAX_K: usize = 256;

/// Candidates of a workgroup's first block; the shader knows it too.
const START: usize = 64;

/// The index in `excluded` of a query for which all candidates count.
pub const NONE: u32 = u32::MAX;

/// Which side of a tile the queries are; the candidates are the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queries {
    /// Its rows.
    Rows,
    /// Its columns.
    Columns,
}

/// The k best of each query so far, on a device: `[n, k]`, best first, of a cosine's key and an index, u32 each.
#[derive(Clone, Debug)]
pub struct Lists {
    buffer: Buffer,
    queries: usize,
    k: usize,
}

impl Lists {
    /// How many queries may have lists of `k` on this device: as many as a binding holds; 0 above [`MAX_K`].
    pub fn most_queries(caps: &Capabilities, k: usize) -> usize {
        match k {
            1..=MAX_K => (caps.max_binding.min(1 << 32) / (8 * k as u64)) as usize,
            _ => 0,
        }
    }

    /// Empty lists.
    ///
    /// # Errors
    /// A `k` of 0 or above [`MAX_K`]; lists that no binding holds; no memory.
    pub fn new(device: &Device, queries: usize, k: usize) -> Result<Self> {
        let most = Self::most_queries(device.capabilities(), k);
        if most == 0 || queries > most {
            let want = format!("1 to {MAX_K} for each of at most {most} queries");
            return Err(Error::shape(SPEC.name, "lists", want, format!("{k} for {queries}")));
        }
        let buffer = device.buffer("lists of neighbours", 8 * (queries * k) as u64)?;
        Ok(Lists { buffer, queries, k })
    }

    /// Records that the lists are empty again.
    pub fn clear(&self, recorder: &mut Recorder) {
        recorder.clear(&self.buffer);
    }

    #[cfg(feature = "bench")]
    pub(crate) fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Indices and cosines, `[n, k]` each, best first, waiting for the device. Where there were fewer than k candidates, what is left
    /// has index 0 and a NaN.
    ///
    /// # Errors
    /// The device was lost.
    pub fn read_blocking(&self, device: &Device) -> Result<(Vec<u32>, Vec<f32>)> {
        let bytes = device.read_blocking(&self.buffer)?;
        let words: Vec<[u32; 2]> = bytemuck::pod_collect_to_vec(&bytes[..8 * self.queries * self.k]);
        Ok(words.into_iter().map(|[key, index]| (index, cosine(key))).unzip())
    }
}

/// Records that a tile's cosines come into the lists. The tile is f32; its `queries` have the lists from `at.0` on, and its
/// candidates the indices from `at.1` on; `excluded`, u32 of as many as there are lists, has for each query the index of a
/// candidate that does not count, or [`NONE`]. No candidate may come twice.
///
/// # Errors
/// Another element type; lists or `excluded` too few; indices of 2³² or more; another device's memory.
pub fn record(
    recorder: &mut Recorder,
    (tile, queries): (&Tensor, Queries),
    at: (usize, usize),
    excluded: &Buffer,
    lists: &Lists,
) -> Result<()> {
    let name = SPEC.name;
    check_matrix(recorder, name, ("tile", tile), (tile.rows(), tile.width()))?;
    check_words(recorder, name, ("excluded", excluded), lists.queries)?;
    check_words(recorder, name, ("lists", &lists.buffer), 2 * lists.queries * lists.k)?;
    let buffers = [tile.buffer(), excluded, &lists.buffer];
    check_written(name, &buffers, 1)?;
    let (count, candidates) = match queries {
        Queries::Rows => (tile.rows(), tile.width()),
        Queries::Columns => (tile.width(), tile.rows()),
    };
    if at.0.checked_add(count).is_none_or(|end| end > lists.queries) {
        let got = format!("{count} from {} on", at.0);
        return Err(Error::shape(name, "queries", format!("at most {} lists", lists.queries), got));
    }
    if at.1.checked_add(candidates).is_none_or(|end| end > u32::MAX as usize) {
        return Err(Error::shape(name, "candidates", "indices below 2^32 - 1", format!("from {} on", at.1)));
    }
    if check_index(name, tile)? == 0 {
        return Ok(());
    }
    let caps = recorder.device().capabilities();
    let units = if caps.lanes == 1 { count.div_ceil(caps.group as usize) } else { count };
    let most = most_candidates(caps, lists.k);
    for first in (0..candidates).step_by(most) {
        let params = Params {
            queries: count as u32,
            width4: tile.width4() as u32,
            first: first as u32,
            end: candidates.min(first + most) as u32,
            k: lists.k as u32,
            query: at.0 as u32,
            candidate: at.1 as u32,
            down: u32::from(queries == Queries::Columns),
        };
        let constants = [("DOWN", f64::from(params.down))];
        Work { kernel: &SPEC, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &constants }
            .dispatch(recorder, grid(units), ElementType::F32)?;
    }
    Ok(())
}

/// Candidates of a dispatch, so that no invocation takes more than [`MAX_ITERATIONS`] iterations where that matters.
fn most_candidates(caps: &Capabilities, k: usize) -> usize {
    let group = caps.group as usize;
    match (caps.kind, caps.lanes) {
        // Each inserted at the top, and each step over four waits for all of a vector's 16 lanes.
        (DeviceKind::Software, 1) => (MAX_ITERATIONS / (k + 6)).max(4) / 4 * 4,
        // All of a block better, each to be compared with all others and with the list.
        (DeviceKind::Software, _) => {
            let block = 4 * group;
            let iterations = 5 + (k + block).div_ceil(group) * (1 + k + block) + 2 * k.div_ceil(group);
            // Smaller ones before the first of full size.
            let growing = (block / START).max(1).ilog2() as usize;
            (MAX_ITERATIONS / iterations).saturating_sub(growing).max(1) * block
        }
        _ => usize::MAX / 2,
    }
}
