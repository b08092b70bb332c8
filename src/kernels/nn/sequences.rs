//! Which rows of packed queries and keys belong together.

use std::cmp::Reverse;

use crate::device::{Buffer, Capabilities, Device, DeviceKind};
pub use crate::host::nn::attention::Mask;
use crate::host::nn::attention::{Heads, KeyBlock, QueryBlock};
use crate::{Error, Result};

/// One sequence: its rows among the packed queries and among the packed keys. Query `i` sees keys `0 ..= i + k_count - q_count`, or
/// the last of them (`Heads::window`), or all of them ([`Mask::Full`]): in training both counts are the same; in generation the keys are the cache's and the queries the new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// First query row.
    pub q_first: u32,
    /// Queries.
    pub q_count: u32,
    /// First key row.
    pub k_first: u32,
    /// Keys.
    pub k_count: u32,
}

/// The sequences of a batch, on the host and, cut into the blocks that the device's kernels take, on the device.
#[derive(Clone, Debug)]
pub struct Sequences {
    list: Vec<Sequence>,
    pub(super) mask: Mask,
    pub(super) family: Family,
    pub(super) query_blocks: Buffer,
    pub(super) query_block_count: usize,
    pub(super) key_blocks: Buffer,
    pub(super) key_block_count: usize,
    /// Rows that the tensors must have.
    pub(super) rows: (usize, usize),
    /// The most queries and keys of a sequence.
    longest: (u32, u32),
}

/// Which shaders compute attention. Each cuts sequences into blocks of its own; the host engine has but one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// 4 rows of a head to an invocation, all in registers and without a barrier: for drivers that run on a CPU. GPUs refuse it: their registers
    /// would spill, from a width of 64 on.
    Rows,
    /// 32 rows of a head to a workgroup, which shares tiles of 32 rows of the other side: for GPUs. Also for a single query on many
    /// keys, in generation: 31 of 32 rows are then idle, but neighbours read neighbouring addresses and 64 invocations have loads in
    /// flight, where the other family has one invocation wait for each key in turn.
    Tiles,
    /// As [`Family::Tiles`], on tensor cores of 16 × 16 where all operands are f16, heads have a multiple of 16 elements and workgroup memory holds
    /// the tiles; elsewhere [`Family::Tiles`] itself.
    TensorCores,
}

impl Family {
    /// The family for a device.
    pub fn of(caps: &Capabilities) -> Family {
        match caps.tensor_cores {
            Some(16) => Family::TensorCores,
            // A lane that takes a row of its own is a CPU's, unless somebody asked a GPU for it.
            _ if caps.lanes == 1 && !caps.kind.is_gpu() => Family::Rows,
            _ => Family::Tiles,
        }
    }

    /// Rows of a block; on the host, by default, what a core holds in its inner cache.
    fn block_rows(self, kind: DeviceKind) -> u32 {
        match (self, kind) {
            (Family::Rows, DeviceKind::Host) => 64,
            (Family::Rows, _) => 4,
            (Family::Tiles | Family::TensorCores, _) => TILE as u32,
        }
    }
}

/// Rows that a workgroup of [`Family::Tiles`] or [`Family::TensorCores`] takes at a time, of either side.
pub(super) const TILE: usize = 32;

impl Sequences {
    /// The sequences, in order of their rows and without overlaps, for the device's [`Family`].
    ///
    /// # Errors
    /// As [`Sequences::of_family_masked`].
    pub fn new(device: &Device, list: &[Sequence]) -> Result<Self> {
        Self::masked(device, Mask::Causal, list)
    }

    /// The sequences, whose queries see what the mask says.
    ///
    /// # Errors
    /// As [`Sequences::of_family_masked`].
    pub fn masked(device: &Device, mask: Mask, list: &[Sequence]) -> Result<Self> {
        Self::of_family_masked(device, Family::of(device.capabilities()), mask, list)
    }

    /// [`Sequences::new`] for a family of one's own choice.
    ///
    /// # Errors
    /// As [`Sequences::of_family_masked`].
    pub fn of_family(device: &Device, family: Family, list: &[Sequence]) -> Result<Self> {
        Self::of_family_masked(device, family, Mask::Causal, list)
    }

    /// [`Sequences::masked`] for a family of one's own choice.
    ///
    /// # Errors
    /// Fewer keys than queries in a sequence, or with [`Mask::Full`] none; sequences that overlap or are out of order; 2³¹ rows or more; no memory.
    pub fn of_family_masked(device: &Device, family: Family, mask: Mask, list: &[Sequence]) -> Result<Self> {
        let (mut q_end, mut k_end) = (0u64, 0u64);
        for (i, s) in list.iter().enumerate() {
            let wrong =
                |expected: String| Err(Error::shape("attention", format!("sequence {i}"), expected, format!("{s:?}")));
            match mask {
                Mask::Causal if s.k_count < s.q_count => return wrong("at least as many keys as queries".into()),
                Mask::Full if s.k_count == 0 && s.q_count > 0 => return wrong("a key at least".into()),
                _ => {}
            }
            if u64::from(s.q_first) < q_end || u64::from(s.k_first) < k_end {
                return wrong(format!("queries from row {q_end} and keys from row {k_end} on"));
            }
            (q_end, k_end) = (u64::from(s.q_first) + u64::from(s.q_count), u64::from(s.k_first) + u64::from(s.k_count));
            if q_end.max(k_end) > i32::MAX as u64 {
                return wrong("rows below 2^31".into());
            }
        }
        let rows = family.block_rows(device.capabilities().kind);
        let (mut queries, mut keys) = (Vec::<QueryBlock>::new(), Vec::<KeyBlock>::new());
        for s in list {
            for i in (0..s.q_count).step_by(rows as usize) {
                let seen = match mask {
                    Mask::Causal => s.k_count - s.q_count + i + 1,
                    Mask::Full => s.k_count,
                };
                queries.push([s.q_first + i, rows.min(s.q_count - i), s.k_first, seen]);
            }
            for j in (0..s.k_count).step_by(rows as usize) {
                let count = rows.min(s.k_count - j);
                let lower = match mask {
                    Mask::Causal => j as i32 - (s.k_count - s.q_count) as i32,
                    // So far before the first query that it sees the block's last key.
                    Mask::Full => -(count as i32),
                };
                keys.push([s.k_first + j, count, s.q_first, s.q_count, lower as u32]);
            }
        }
        if family != Family::Rows {
            // The longest first, so that a GPU's cores end together.
            queries.sort_by_key(|&[.., seen]| Reverse(seen));
            keys.sort_by_key(|&[.., queries, lower]| Reverse(i64::from(queries) - i64::from((lower as i32).max(0))));
        }
        Ok(Sequences {
            longest: list.iter().fold((0, 0), |(q, k), s| (q.max(s.q_count), k.max(s.k_count))),
            list: list.to_vec(),
            mask,
            family,
            query_block_count: queries.len(),
            query_blocks: device.buffer_from("query blocks", bytemuck::cast_slice(&queries))?,
            key_block_count: keys.len(),
            key_blocks: device.buffer_from("key blocks", bytemuck::cast_slice(&keys))?,
            rows: (q_end as usize, k_end as usize),
        })
    }

    /// Packed sequences of these lengths, queries and keys alike, without a gap: training.
    ///
    /// # Errors
    /// As [`Sequences::new`].
    pub fn packed(device: &Device, lengths: &[u32]) -> Result<Self> {
        Self::packed_masked(device, Mask::Causal, lengths)
    }

    /// As [`Sequences::packed`], seeing what the mask says.
    ///
    /// # Errors
    /// As [`Sequences::new`].
    pub fn packed_masked(device: &Device, mask: Mask, lengths: &[u32]) -> Result<Self> {
        let mut first = 0u32;
        let mut list = Vec::with_capacity(lengths.len());
        for &n in lengths {
            list.push(Sequence { q_first: first, q_count: n, k_first: first, k_count: n });
            first =
                first.checked_add(n).ok_or_else(|| Error::shape("attention", "lengths", "a sum below 2^31", "more"))?;
        }
        Self::masked(device, mask, &list)
    }

    /// The sequences.
    pub fn list(&self) -> &[Sequence] {
        &self.list
    }

    /// Pairs of a query and a key that it sees.
    pub(super) fn pairs(&self, window: Option<u32>) -> u64 {
        if self.mask == Mask::Full {
            return self.list.iter().map(|s| u64::from(s.q_count) * u64::from(s.k_count)).sum();
        }
        // The sum of the first `n` queries' keys, if the sequence begins with them.
        let first = |n: u32| {
            let whole = n.min(window.unwrap_or(n));
            let (n, whole) = (u64::from(n), u64::from(whole));
            whole * (whole + 1) / 2 + (n - whole) * whole
        };
        self.list.iter().map(|s| first(s.k_count) - first(s.k_count - s.q_count)).sum()
    }

    /// Iterations at most over the queries that see a block of keys, and over the keys that a block of queries sees: one for each; in tiles of
    /// 32 at most 29 for one, and 37 where heads are wider than 128.
    pub(super) fn iterations(&self, heads: Heads) -> (usize, usize) {
        let (rows, wide) = match self.family {
            Family::Rows => (self.family.block_rows(DeviceKind::Software) as usize, false),
            Family::Tiles | Family::TensorCores => (TILE, heads.width > 128),
        };
        let iterations = |n: u32| {
            let seen = (n as usize).min(heads.window.map_or(usize::MAX, |w| w as usize + rows - 1));
            match self.family {
                Family::Rows => seen,
                _ => seen.next_multiple_of(TILE) * if wide { 40 } else { 32 } / 32,
            }
        };
        (iterations(self.longest.0), iterations(self.longest.1))
    }
}
