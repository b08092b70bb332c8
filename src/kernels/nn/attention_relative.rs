//! Attention's forward with a term of each score by how far the key is from its query: relative positions, as MPNet has them. A table holds the
//! terms, a row for each head; queries and keys are the same rows. On tensor cores it takes the tiles of other GPUs.
//!
//! FLOPs and bytes are those of [`attention`], and for each pair a read of the table, which stays in the caches.

use super::super::{Binding, KernelSpec, check_index, check_matrix, check_written, halves_of};
use super::attention::{self, Blocks, FORWARD, FORWARD_STEP, Heads, Sequences, Step};
use crate::device::{Recorder, Tensor};
use crate::spec::in_range;
use crate::spec::shader::source;
use crate::{Error, Result};

/// The kernel for drivers that run on a CPU.
pub static RELATIVE: KernelSpec = KernelSpec::new(
    "attention relative",
    source!("nn/attention_relative.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::texels(1, "operand1"),
        Binding::texels(2, "operand2"),
        Binding::texels(3, "operand3"),
        Binding::read(4, "blocks"),
        Binding::read_write(5, "result5"),
        Binding::read_write(6, "lse"),
        Binding::read(7, "distances"),
    ],
    crate::host::nn::attention_twins::relative_twin,
)
.with_grid()
.with_overrides(FORWARD.overrides)
.for_cpus()
.trusted(in_range::ATTENTION);

/// [`RELATIVE`] for GPUs.
pub static RELATIVE_TILED: KernelSpec = KernelSpec::new(
    "attention relative tiled",
    source!("nn/attention_relative_tiled.wgsl"),
    RELATIVE.bindings,
    RELATIVE.twin,
)
.with_grid()
.with_overrides(attention::FORWARD_TILED.overrides)
.trusted(in_range::ATTENTION);

const STEP: Step = Step { rows: &RELATIVE, tiles: &RELATIVE_TILED, cores: &RELATIVE_TILED, ..FORWARD_STEP };

/// Records `out` and `lse` as [`attention::forward`] does, of scores to which `table` adds: `[query, 2 reach + 1]` in f32, where element `reach + j - i`
/// of a head's row is what key j's score by query i gets. Keys that are further away than `reach` get what those at `reach` do.
///
/// # Errors
/// As there; a sequence whose queries are not the rows of its keys; a table of another shape.
#[expect(clippy::too_many_arguments, reason = "the operation has that many operands")]
pub fn forward(
    recorder: &mut Recorder,
    (heads, table): (Heads, &Tensor),
    sequences: &Sequences,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    out: &Tensor,
    lse: &Tensor,
) -> Result<()> {
    let name = RELATIVE.name;
    attention::check(recorder, name, (heads, sequences), &[("q", q), ("out", out)], &[("k", k), ("v", v)], lse)?;
    let of_others = |s: &&attention::Sequence| (s.q_first, s.q_count) != (s.k_first, s.k_count);
    if let Some(sequence) = sequences.list().iter().find(of_others) {
        let got = format!("{sequence:?}");
        return Err(Error::shape(name, "sequences", "queries and keys that are the same rows", got));
    }
    if table.width().is_multiple_of(2) {
        return Err(Error::shape(name, "table", "an odd number of distances", table.width()));
    }
    check_matrix(recorder, name, ("table", table), (heads.query, table.width()))?;
    check_index(name, table)?;
    let (read, written) = ([q, k, v].map(Tensor::buffer), [out, lse].map(Tensor::buffer));
    check_written(name, &[read[0], read[1], read[2], table.buffer(), written[0], written[1]], 2)?;
    Blocks {
        step: STEP,
        family: sequences.family,
        heads,
        mask: sequences.mask,
        count: (sequences.query_block_count, heads.query),
        pairs: sequences.pairs(heads.window),
        iterations: sequences.iterations(heads).1,
        lse,
        distances: Some(table),
        buffers: &[read[0], read[1], read[2], &sequences.query_blocks, written[0], written[1], table.buffer()],
        halves: halves_of([q, k, v]) | halves_of([out]) << 4,
    }
    .record(recorder)
}
