//! Grouped-query attention, causal or of all to all ([`Mask`]), never T × T: online softmax over the keys, backward by recomputation and in a fixed order. Packed
//! sequences of any lengths; with more keys than queries it serves generation from a cache. Heads have any even width up to [`MAX_WIDTH`], a
//! scale of their own, and perhaps a sliding window, outside of which blocks of keys are never read.
//!
//! On a driver that runs on a CPU an invocation holds 4 queries (or, for the gradients of keys and values, 4 keys) of one head in
//! registers and goes over the keys (or queries); on a GPU a workgroup of 64 takes 32 of them and multiplies tiles of 32 × 32 through
//! workgroup memory, below 16 KiB for every width: see [`Family`]. The host engine takes tiles of 64 × 128. Sums are f32. Of heads wider
//! than 128 such a workgroup makes half of the result's columns, which keeps its sums in registers; the scores are made for each half.
//!
//! On tensor cores a workgroup of 128 takes 32 rows. Their operands are f16; products have f32 sums, the softmax is f32, and what rows are added up by
//! (probabilities, and their gradients times a factor) is rounded to f16, which adds an error of 2^-11 of each term. Since fragments cannot be scaled
//! row by row, the forward goes over the keys twice: for the largest score of each query, then for the sums.
//!
//! Heads whose width is no multiple of 4 begin at pairs of elements: their vectors are put together of two entries, and written by halves.
//!
//! FLOPs, with P pairs of a query and a key that it sees: forward 4 P width per query head, backward 14 P width (forward on tensor cores 6 P width; in
//! tiles of heads wider than 128 6 and 22 P width).
//! Bytes: q, k, v, out once, keys again for every block of queries from the caches.

use super::super::{
    Binding, KernelSpec, Work, check_float_matrix, check_index, check_matrix, check_written, grid, halves_of,
};
pub use super::sequences::{Family, Mask, Sequence, Sequences};
use crate::device::{Buffer, DeviceKind, Recorder, Tensor};
pub use crate::host::nn::attention::Heads;
use crate::host::nn::attention::{ALL_KEYS, Params};
use crate::spec::shader::source;
use crate::spec::{Capabilities, in_range};
use crate::{Error, Result};

/// The forward kernel.
pub static FORWARD: KernelSpec = KernelSpec::new(
    "attention",
    source!("nn/attention.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::texels(1, "operand1"),
        Binding::texels(2, "operand2"),
        Binding::texels(3, "operand3"),
        Binding::read(4, "blocks"),
        Binding::read_write(5, "result5"),
        Binding::read_write(6, "lse"),
    ],
    crate::host::nn::attention_twins::forward_twin,
)
.with_grid()
.with_overrides(&["WIDTH4", "PAIR", "GROUP"])
.for_cpus()
.trusted(in_range::ATTENTION);

/// [`FORWARD`] for GPUs: see [`Family::Tiles`].
pub static FORWARD_TILED: KernelSpec =
    KernelSpec::new("attention tiled", source!("nn/attention_tiled.wgsl"), FORWARD.bindings, FORWARD.twin)
        .with_grid()
        .with_overrides(&["WIDTH4", "PAIR"])
        .trusted(in_range::ATTENTION);

/// [`FORWARD`] for tensor cores: see [`Family::TensorCores`].
pub static FORWARD_COOPERATIVE: KernelSpec = KernelSpec::new(
    "attention cooperative",
    source!("nn/attention_cooperative.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::read(1, "operand1"),
        Binding::read(2, "operand2"),
        Binding::read(3, "operand3"),
        Binding::read(4, "blocks"),
        Binding::read_write(5, "result5"),
        Binding::read_write(6, "lse"),
    ],
    FORWARD.twin,
)
.with_grid()
.with_overrides(&["WIDTH4", "PAIR"])
.trusted(in_range::ATTENTION);

/// Log-sum-exp and dout · out of each row and head.
pub static DELTA: KernelSpec = KernelSpec::new(
    "attention delta",
    source!("nn/attention_delta.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::texels(1, "operand1"),
        Binding::texels(2, "operand2"),
        Binding::read(3, "lse"),
        Binding::read_write(4, "stats"),
    ],
    crate::host::nn::attention_twins::delta_twin,
)
.with_grid()
.with_overrides(&["WIDTH4", "PAIR", "GROUP"])
.trusted(in_range::ELEMENTS);

/// The gradient by the queries.
pub static QUERIES: KernelSpec = KernelSpec::new(
    "attention queries backward",
    source!("nn/attention_queries.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::texels(1, "operand1"),
        Binding::texels(2, "operand2"),
        Binding::texels(3, "operand3"),
        Binding::texels(4, "operand4"),
        Binding::texels(5, "operand5"),
        Binding::read(6, "blocks"),
        Binding::read_write(7, "result7"),
    ],
    crate::host::nn::attention_twins::queries_twin,
)
.with_grid()
.with_overrides(&["WIDTH4", "PAIR", "GROUP"])
.for_cpus()
.trusted(in_range::ATTENTION);

/// [`QUERIES`] for GPUs: see [`Family::Tiles`].
pub static QUERIES_TILED: KernelSpec = KernelSpec::new(
    "attention queries backward tiled",
    source!("nn/attention_queries_tiled.wgsl"),
    QUERIES.bindings,
    QUERIES.twin,
)
.with_grid()
.with_overrides(&["WIDTH4", "PAIR"])
.trusted(in_range::ATTENTION);

/// [`QUERIES`] for tensor cores: see [`Family::TensorCores`].
pub static QUERIES_COOPERATIVE: KernelSpec = KernelSpec::new(
    "attention queries backward cooperative",
    source!("nn/attention_queries_cooperative.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::read(1, "operand1"),
        Binding::read(2, "operand2"),
        Binding::read(3, "operand3"),
        Binding::read(4, "operand4"),
        Binding::texels(5, "operand5"),
        Binding::read(6, "blocks"),
        Binding::read_write(7, "result7"),
    ],
    QUERIES.twin,
)
.with_grid()
.with_overrides(&["WIDTH4", "PAIR"])
.trusted(in_range::ATTENTION);

/// The gradients by the keys and the values.
pub static KEYS: KernelSpec = KernelSpec::new(
    "attention keys backward",
    source!("nn/attention_keys.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::texels(1, "operand1"),
        Binding::texels(2, "operand2"),
        Binding::texels(3, "operand3"),
        Binding::texels(4, "operand4"),
        Binding::texels(5, "operand5"),
        Binding::read(6, "blocks"),
        Binding::read_write(7, "result7"),
        Binding::read_write(8, "result8"),
    ],
    crate::host::nn::attention_twins::keys_twin,
)
.with_grid()
.with_overrides(&["WIDTH4", "PAIR", "GROUP"])
.for_cpus()
.trusted(in_range::ATTENTION);

/// [`KEYS`] for GPUs: see [`Family::Tiles`].
pub static KEYS_TILED: KernelSpec =
    KernelSpec::new("attention keys backward tiled", source!("nn/attention_keys_tiled.wgsl"), KEYS.bindings, KEYS.twin)
        .with_grid()
        .with_overrides(&["WIDTH4", "PAIR"])
        .trusted(in_range::ATTENTION);

/// [`KEYS`] for tensor cores: see [`Family::TensorCores`].
pub static KEYS_COOPERATIVE: KernelSpec = KernelSpec::new(
    "attention keys backward cooperative",
    source!("nn/attention_keys_cooperative.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::read(1, "operand1"),
        Binding::read(2, "operand2"),
        Binding::read(3, "operand3"),
        Binding::read(4, "operand4"),
        Binding::texels(5, "operand5"),
        Binding::read(6, "blocks"),
        Binding::read_write(7, "result7"),
        Binding::read_write(8, "result8"),
    ],
    KEYS.twin,
)
.with_grid()
.with_overrides(&["WIDTH4", "PAIR"])
.trusted(in_range::ATTENTION);

/// The file that says how wide the rows in tensor cores' workgroup memory are, for heads of so many elements, and bytes of a tile of 32 of them.
const fn line(width: usize) -> (&'static str, u32) {
    if width <= 64 { ("nn/line_64.wgsl", 32 * 18 * 8) } else { ("nn/line_128.wgsl", 32 * 34 * 8) }
}

/// One step of attention, by its shader for each [`Family`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub rows: &'static KernelSpec,
    pub tiles: &'static KernelSpec,
    pub cores: &'static KernelSpec,
    /// Its operands, which tensor cores need in f16: bits as of the dispatch's halves.
    pub operands: u32,
    /// FLOPs for each pair of a query and a key that it sees and each element of a head: of the scores, and of the results.
    pub flops: (u64, u64),
    /// For tensor cores: tiles of operands, and bytes of workgroup memory besides.
    pub held: (u32, u32),
}

/// Bytes of a tile of weights, and of one of scores.
const WEIGHTS: u32 = 32 * 10 * 8;
const SCORES: u32 = 32 * 9 * 16;

pub(super) const FORWARD_STEP: Step = Step {
    rows: &FORWARD,
    tiles: &FORWARD_TILED,
    cores: &FORWARD_COOPERATIVE,
    operands: 0b111,
    flops: (2, 2),
    held: (2, WEIGHTS + SCORES + 512),
};

const QUERIES_STEP: Step = Step {
    rows: &QUERIES,
    tiles: &QUERIES_TILED,
    cores: &QUERIES_COOPERATIVE,
    operands: 0b1111,
    flops: (4, 2),
    held: (4, WEIGHTS + 2 * SCORES),
};

const KEYS_STEP: Step = Step {
    rows: &KEYS,
    tiles: &KEYS_TILED,
    cores: &KEYS_COOPERATIVE,
    operands: 0b1111,
    flops: (4, 4),
    held: (4, 2 * WEIGHTS + 2 * SCORES),
};

impl Step {
    /// The kernel for heads of a width and operands of which `halves` are f16.
    fn kernel(&self, family: Family, caps: &Capabilities, width: usize, halves: u32) -> &'static KernelSpec {
        let held = self.held.0 * line(width).1 + self.held.1;
        let shape = width.is_multiple_of(16) && width <= CORES_WIDTH;
        let fits = halves & self.operands == self.operands && shape && held <= caps.workgroup_bytes;
        match family {
            Family::Rows => self.rows,
            Family::TensorCores if fits => self.cores,
            Family::Tiles | Family::TensorCores => self.tiles,
        }
    }
}

/// Widest head: what an invocation holds of it, or of half of it, fits the registers.
pub const MAX_WIDTH: usize = 256;

/// Widest head for tensor cores.
const CORES_WIDTH: usize = 128;

/// Widest result of a workgroup of [`Family::Tiles`].
const PART_WIDTH: usize = 128;

/// What every function here checks.
pub(super) fn check(
    recorder: &Recorder,
    name: &'static str,
    (heads, sequences): (Heads, &Sequences),
    queries: &[(&'static str, &Tensor)],
    keys: &[(&'static str, &Tensor)],
    lse: &Tensor,
) -> Result<()> {
    let Heads { query, key_value, width, scale, window } = heads;
    if !(scale.is_finite() && scale > 0.0) {
        return Err(Error::shape(name, "scale", "a finite number above 0", scale));
    }
    if window.is_some() && sequences.mask == Mask::Full {
        return Err(Error::shape(name, "window", "none, where every query sees all keys", "one"));
    }
    if window == Some(0) {
        return Err(Error::shape(name, "window", "a key at least, the query's own", 0));
    }
    if query == 0 || key_value == 0 || !query.is_multiple_of(key_value) {
        let got = format!("{query} and {key_value}");
        return Err(Error::shape(name, "heads", "query heads that are a multiple of the key heads", got));
    }
    if width == 0 || !width.is_multiple_of(2) || width > MAX_WIDTH {
        return Err(Error::shape(name, "head width", format!("an even number from 2 to {MAX_WIDTH}"), width));
    }
    for (tensors, heads, rows) in [(queries, query, sequences.rows.0), (keys, key_value, sequences.rows.1)] {
        let count = tensors[0].1.rows();
        for &(what, tensor) in tensors {
            check_float_matrix(recorder, name, (what, tensor), (count, heads * width))?;
            // Places in such rows are counted in pairs.
            if check_index(name, tensor)? >= 1 << 31 && !width.is_multiple_of(4) {
                let got = format!("[{}, {}]", tensor.rows(), tensor.width());
                return Err(Error::shape(name, what, "fewer than 2^33 elements; split the rows", got));
            }
        }
        if count < rows {
            return Err(Error::shape(name, tensors[0].0, format!("the sequences' {rows} rows"), count));
        }
    }
    check_matrix(recorder, name, ("lse", lse), (queries[0].1.rows(), query))
}

/// The shaders' numbers for heads of a width.
fn constants(heads: Heads) -> [(&'static str, f64); 2] {
    let pair = !heads.width.is_multiple_of(4);
    [("WIDTH4", heads.width.div_ceil(4) as f64), ("PAIR", f64::from(u8::from(pair)))]
}

/// The parameters of the units `first .. end`, without distances.
fn params((heads, mask): (Heads, Mask), (first, end): (usize, usize), lse: &Tensor, blocks: usize) -> Params {
    // Pairs, or vectors.
    let place = if heads.width.is_multiple_of(4) { 4 } else { 2 };
    Params {
        count: end as u32,
        first: first as u32,
        heads: heads.query as u32,
        shared_by: (heads.query / heads.key_value) as u32,
        query_stride: (heads.query_stride() / place) as u32,
        key_stride: (heads.key_stride() / place) as u32,
        lse_stride: 4 * lse.width4() as u32,
        scale: heads.scale,
        width: heads.width as u32,
        blocks: blocks as u32,
        window: heads.window.unwrap_or(ALL_KEYS).min(ALL_KEYS),
        causal: mask.step(),
        ..bytemuck::Zeroable::zeroed()
    }
}

/// A kernel on blocks of rows, of either family.
#[derive(Clone, Copy)]
pub(super) struct Blocks<'a> {
    pub step: Step,
    pub family: Family,
    pub heads: Heads,
    pub mask: Mask,
    /// Blocks, and heads of each.
    pub count: (usize, usize),
    /// Pairs of a query and a key that it sees.
    pub pairs: u64,
    /// Iterations of an invocation at most.
    pub iterations: usize,
    pub lse: &'a Tensor,
    /// What scores are added to by distance: a row for each head.
    pub distances: Option<&'a Tensor>,
    pub buffers: &'a [&'a Buffer],
    /// Those that hold f16, bit by bit.
    pub halves: u32,
}

impl Blocks<'_> {
    /// In as many dispatches as keep each one short.
    pub fn record(self, recorder: &mut Recorder) -> Result<()> {
        let Blocks { heads, mask, family, step, .. } = self;
        let caps = recorder.device().capabilities();
        let host = caps.kind == DeviceKind::Host;
        let kernel = step.kernel(family, caps, heads.width, self.halves);
        // Workgroups that share a head's columns.
        let sharing = if kernel.name == step.tiles.name { heads.width.div_ceil(PART_WIDTH) } else { 1 };
        let count = self.count.0 * self.count.1 * sharing;
        let flops = step.flops.0 * sharing as u64 + step.flops.1;
        let flops = flops * self.pairs * (heads.query * heads.width) as u64;
        let parts = if host { 1 } else { flops.div_ceil(caps.dispatch_flops).clamp(1, count.max(1) as u64) as usize };
        let part = count.div_ceil(parts).max(1);
        let constants = constants(heads);
        let cores = [("cores", "nn/cores_16.wgsl"), ("line", line(heads.width).0)];
        let files = if family == Family::TensorCores { &cores[..] } else { &[] };
        let distances = |t: &Tensor| (t.width() as u32 / 2, 4 * t.width4() as u32);
        let (reach, distance_stride) = self.distances.map_or((0, 0), distances);
        for first in (0..count).step_by(part) {
            let units = part.min(count - first);
            let params = params((heads, mask), (first, first + units), self.lse, self.count.0);
            let params = Params { reach, distance_stride, ..params };
            let work =
                Work { kernel, params: bytemuck::bytes_of(&params), buffers: self.buffers, constants: &constants };
            let work = work.check_iterations(recorder, self.iterations)?;
            match family {
                Family::Rows => work.elements_halves(recorder, units, self.halves)?,
                Family::Tiles | Family::TensorCores => {
                    work.dispatch_with(recorder, grid(units), (self.halves, files))?
                }
            }
        }
        Ok(())
    }
}

/// Records `out`, `[n, query * width]`, and `lse`, `[n, query]`, the log-sum-exp of each row's scores; `q` `[n, query * width]`, `k` and
/// `v` `[m, key_value * width]`, each f32 or f16, `lse` f32. Rows that no sequence covers are left as they are.
///
/// # Errors
/// Shapes that do not fit, other element types, one memory for two, another device's tensors.
#[expect(clippy::too_many_arguments, reason = "the operation has that many operands")]
pub fn forward(
    recorder: &mut Recorder,
    heads: Heads,
    sequences: &Sequences,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    out: &Tensor,
    lse: &Tensor,
) -> Result<()> {
    check(recorder, FORWARD.name, (heads, sequences), &[("q", q), ("out", out)], &[("k", k), ("v", v)], lse)?;
    let buffers = [q.buffer(), k.buffer(), v.buffer(), &sequences.query_blocks, out.buffer(), lse.buffer()];
    check_written(FORWARD.name, &buffers, 2)?;
    Blocks {
        step: FORWARD_STEP,
        family: sequences.family,
        heads,
        mask: sequences.mask,
        count: (sequences.query_block_count, heads.query),
        pairs: sequences.pairs(heads.window),
        iterations: sequences.iterations(heads).1,
        lse,
        distances: None,
        buffers: &buffers,
        halves: halves_of([q, k, v]) | halves_of([out]) << 4,
    }
    .record(recorder)
}

/// Records the gradients `dq`, `[n, query * width]`, `dk` and `dv`, `[m, key_value * width]`; `out` and `lse` are the forward's. Rows
/// that no sequence covers are left as they are.
///
/// # Errors
/// As [`forward`]; no memory for 8 bytes a row and head.
#[expect(clippy::too_many_arguments, reason = "the operation has that many operands")]
pub fn backward(
    recorder: &mut Recorder,
    heads: Heads,
    sequences: &Sequences,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    out: &Tensor,
    lse: &Tensor,
    dout: &Tensor,
    dq: &Tensor,
    dk: &Tensor,
    dv: &Tensor,
) -> Result<()> {
    let queries = [("q", q), ("out", out), ("dout", dout), ("dq", dq)];
    let keys = [("k", k), ("v", v), ("dk", dk), ("dv", dv)];
    check(recorder, QUERIES.name, (heads, sequences), &queries, &keys, lse)?;
    let halves = halves_of([q, k, v, dout]);
    let delta_halves = halves_of([dout, out]);
    let (q, k, v, dout) = (q.buffer(), k.buffer(), v.buffer(), dout.buffer());
    check_written(
        QUERIES.name,
        &[q, k, v, dout, out.buffer(), lse.buffer(), dq.buffer(), dk.buffer(), dv.buffer()],
        3,
    )?;
    let count = sequences.rows.0 * heads.query;
    if count == 0 {
        // Keys that no query sees.
        [dk, dv].iter().for_each(|t| recorder.clear(t.buffer()));
        return Ok(());
    }
    // Two pairs to a texel.
    let stats = recorder.device().buffer("row statistics of attention", 8 * (count as u64).next_multiple_of(2))?;
    let params = params((heads, sequences.mask), (0, count), lse, 0);
    let buffers = [dout, out.buffer(), lse.buffer(), &stats];
    Work { kernel: &DELTA, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &constants(heads) }
        .elements_halves(recorder, count, delta_halves)?;
    let buffers = [q, k, v, dout, &stats, &sequences.query_blocks, dq.buffer()];
    let by_queries = Blocks {
        step: QUERIES_STEP,
        family: sequences.family,
        heads,
        mask: sequences.mask,
        count: (sequences.query_block_count, heads.query),
        pairs: sequences.pairs(heads.window),
        iterations: sequences.iterations(heads).1,
        lse,
        distances: None,
        buffers: &buffers,
        halves: halves | halves_of([dq]) << 6,
    };
    by_queries.record(recorder)?;
    Blocks {
        step: KEYS_STEP,
        count: (sequences.key_block_count, heads.key_value),
        iterations: sequences.iterations(heads).0 * heads.query / heads.key_value,
        buffers: &[q, k, v, dout, &stats, &sequences.key_blocks, dk.buffer(), dv.buffer()],
        halves: halves | halves_of([dk, dv]) << 6,
        ..by_queries
    }
    .record(recorder)
}
