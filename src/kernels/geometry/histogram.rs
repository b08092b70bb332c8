//! Histogram of cosines, counted from tiles of them that never leave the device [paper, appendix F].
//!
//! A cosine is in the bin `i` whose centre `-1 + 2 i / (bins - 1)` is nearest, as f64 says, ties to even, and those beyond -1 and 1 are
//! in the outermost, a NaN in none: a device compares with edges that the host found, so that it counts as the host would, to the last one.
//!
//! Bytes: 4 per cosine. Work: about 10 operations and an atomic addition per cosine, on GPUs mostly in workgroup memory.

use super::super::{Binding, KernelSpec, Work, check_index, check_matrix, check_words, check_written, grid};
use crate::device::{Buffer, Device, Recorder, Tensor};
use crate::host::geometry::histogram::Params;
pub use crate::host::geometry::histogram::{Pairs, bin};
use crate::host::geometry::{cosine, key};
use crate::spec::in_range;
use crate::spec::shader::source;
use crate::{ElementType, Error, Result};

/// A tile into counts.
pub static SPEC: KernelSpec = KernelSpec::new(
    "cosine histogram",
    source!("geometry/histogram.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::texels(1, "rows"),
        Binding::read(2, "edges"),
        Binding::read_write(3, "counts"),
    ],
    crate::host::geometry::histogram::twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::LISTS);

/// The most bins: with more f32 might guess wrong by more than one.
pub const MAX_BINS: usize = 1 << 20;

/// Groups of four cosines that an invocation counts where a workgroup has memory of its own; the shader knows it too.
const SHARE: usize = 16;

/// For each bin the key of the least cosine that is in it or above, and at the end 2³² - 1, `[bins + 1]`.
fn edges(bins: usize) -> Vec<u32> {
    let least = |i: usize| {
        let (mut below, mut from) = (key(-1.5), key(1.5));
        while from - below > 1 {
            let middle = below + (from - below) / 2;
            *(if bin(cosine(middle), bins) >= i { &mut from } else { &mut below }) = middle;
        }
        from
    };
    [0].into_iter().chain((1..bins).map(least)).chain([u32::MAX]).collect()
}

/// Counts of cosines by bin on a device.
#[derive(Clone, Debug)]
pub struct Histogram {
    edges: Buffer,
    counts: Buffer,
    bins: usize,
}

impl Histogram {
    /// Without counts.
    ///
    /// # Errors
    /// Fewer than 2 bins or more than [`MAX_BINS`]; no memory.
    pub fn new(device: &Device, bins: usize) -> Result<Self> {
        if !(2..=MAX_BINS).contains(&bins) {
            return Err(Error::argument("bins", format!("{bins}; give 2 to {MAX_BINS}")));
        }
        let edges = device.buffer_from("edges of bins", bytemuck::cast_slice(&edges(bins)))?;
        Ok(Histogram { edges, counts: device.buffer("counts", 4 * bins as u64)?, bins })
    }

    /// Records that the counts start anew.
    pub fn clear(&self, recorder: &mut Recorder) {
        recorder.clear(&self.counts);
    }

    #[cfg(feature = "bench")]
    pub(crate) fn counts(&self) -> &Buffer {
        &self.counts
    }

    /// Adds the counts so far to `total`, `[bins]`, waiting for the device, and records that they start anew. Call it before 2³²
    /// pairs were counted.
    ///
    /// # Errors
    /// Another number of bins; the device was lost.
    pub fn take_blocking(&self, device: &Device, total: &mut [u64]) -> Result<()> {
        if total.len() != self.bins {
            return Err(Error::shape(SPEC.name, "total", self.bins, total.len()));
        }
        let bytes = device.read_blocking(&self.counts)?;
        let counts: Vec<u32> = bytemuck::pod_collect_to_vec(&bytes[..4 * self.bins]);
        total.iter_mut().zip(counts).for_each(|(t, c)| *t += u64::from(c));
        let mut recorder = device.recorder();
        self.clear(&mut recorder);
        recorder.submit().map(drop)
    }
}

/// Records that the cosines of a tile, f32, are counted; its rows have the indices from `at.0` on, its columns from `at.1` on.
///
/// # Errors
/// Another element type; indices of 2³² or more; another device's memory.
pub fn record(
    recorder: &mut Recorder,
    tile: &Tensor,
    at: (usize, usize),
    pairs: Pairs,
    histogram: &Histogram,
) -> Result<()> {
    let name = SPEC.name;
    check_matrix(recorder, name, ("tile", tile), (tile.rows(), tile.width()))?;
    check_words(recorder, name, ("counts", &histogram.counts), histogram.bins)?;
    let buffers = [tile.buffer(), &histogram.edges, &histogram.counts];
    check_written(name, &buffers, 1)?;
    for (first, count) in [(at.0, tile.rows()), (at.1, tile.width())] {
        if first.checked_add(count).is_none_or(|end| end > u32::MAX as usize) {
            return Err(Error::shape(name, "tile", "indices below 2^32 - 1", format!("{count} from {first} on")));
        }
    }
    let count = check_index(name, tile)? as usize;
    if count == 0 {
        return Ok(());
    }
    let params = Params {
        rows: tile.rows() as u32,
        width: tile.width() as u32,
        width4: tile.width4() as u32,
        bins: histogram.bins as u32,
        query: at.0 as u32,
        base: at.1 as u32,
        within: u32::from(pairs == Pairs::Ordered),
        scale: (histogram.bins - 1) as f32 / 2.0,
    };
    let caps = recorder.device().capabilities();
    let share = if caps.lanes == 1 { 1 } else { SHARE };
    let units = count.div_ceil(caps.group as usize * share);
    Work { kernel: &SPEC, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }.dispatch(
        recorder,
        grid(units),
        ElementType::F32,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each edge parts two neighbouring floats: the bins on both sides are those that f64 says.
    #[test]
    fn edges_are_where_f64_changes_its_mind() {
        for bins in [2, 3, 4, 7, 64, 1001, 20_001, MAX_BINS] {
            let edges = edges(bins);
            assert_eq!((edges.len(), edges[0], edges[bins]), (bins + 1, 0, u32::MAX));
            for (i, &edge) in edges.iter().enumerate().take(bins).skip(1) {
                assert!(bin(cosine(edge), bins) >= i && bin(cosine(edge - 1), bins) < i, "{i} of {bins}");
            }
        }
    }
}
