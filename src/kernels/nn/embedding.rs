//! Token and visual embeddings: rows gathered by id, and gradients scattered back in a fixed order.
//!
//! Bytes: gather 8 per element; scatter 4 per element of dx and 8 per element of a row that is hit.

use std::collections::BTreeMap;

use super::super::{Binding, KernelSpec, Work, check_device, check_index, check_matrix, check_words, check_written};
use crate::device::{Buffer, Device, Recorder, Tensor};
pub use crate::host::nn::embedding::VISUAL;
use crate::host::nn::embedding::{GatherParams, ScatterParams};
use crate::spec::in_range;
use crate::spec::shader::source;
use crate::{ElementType, Error, Result};

/// The gather kernel.
pub static GATHER: KernelSpec = KernelSpec::new(
    "embedding gather",
    source!("nn/embedding_gather.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::read(1, "table"),
        Binding::read(2, "visual"),
        Binding::read(3, "ids"),
        Binding::read_write(4, "out_rows"),
    ],
    crate::host::nn::embedding::gather_twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::ELEMENTS);

/// The scatter kernel.
pub static SCATTER: KernelSpec = KernelSpec::new(
    "embedding scatter",
    source!("nn/embedding_scatter.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::texels(1, "operand1"),
        Binding::read(2, "plan"),
        Binding::read_write(3, "out_rows"),
    ],
    crate::host::nn::embedding::scatter_twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::ELEMENTS);

/// Records `out[i] = table[ids[i]]`, or `visual[ids[i] - VISUAL]`; `table` `[V, d]`, `visual` `[m, d]`, `ids` u32 `[n]`, `out`
/// `[n, d]`; the table may be f32, f16 or bf16, the rest is f32. An id that has no row gives zeros: [`ScatterPlan::check`] finds it on the host.
///
/// # Errors
/// Shapes that do not fit, other element types, `out` the memory of an operand, another device's tensors.
pub fn gather(
    recorder: &mut Recorder,
    table: &Tensor,
    visual: Option<&Tensor>,
    ids: &Buffer,
    out: &Tensor,
) -> Result<()> {
    gather_shards(recorder, std::iter::once((0, table)), visual, ids, (out, Scales::default()))
}

/// What rows are multiplied by as they are gathered, and their gradients as they are scattered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scales {
    /// Rows of the table.
    pub table: f32,
    /// Visual rows.
    pub visual: f32,
}

impl Default for Scales {
    fn default() -> Self {
        Scales { table: 1.0, visual: 1.0 }
    }
}

impl Scales {
    fn check(self, name: &'static str) -> Result<Self> {
        match self.table.is_finite() && self.visual.is_finite() {
            true => Ok(self),
            false => Err(Error::shape(name, "scales", "finite numbers", format!("{} and {}", self.table, self.visual))),
        }
    }
}

/// As [`gather`], from a table in several tensors: `shards` gives each with the id of its first row. Rows are multiplied by the scales.
///
/// # Errors
/// As [`gather`]; no shard; a scale that is not finite.
pub fn gather_shards<'a>(
    recorder: &mut Recorder,
    shards: impl Iterator<Item = (usize, &'a Tensor)>,
    visual: Option<&Tensor>,
    ids: &Buffer,
    (out, scales): (&Tensor, Scales),
) -> Result<()> {
    scales.check(GATHER.name)?;
    let mut any = false;
    for (first, table) in shards {
        // The first one writes every row, the others those that they have.
        let (visual, keep) = if any { (None, true) } else { (visual, false) };
        gather_part(recorder, (table, first, keep), visual, ids, (out, scales))?;
        any = true;
    }
    if any { Ok(()) } else { Err(Error::shape(GATHER.name, "table", "at least one shard", 0)) }
}

fn gather_part(
    recorder: &mut Recorder,
    (table, first, keep): (&Tensor, usize, bool),
    visual: Option<&Tensor>,
    ids: &Buffer,
    (out, scales): (&Tensor, Scales),
) -> Result<()> {
    let name = GATHER.name;
    check_device(name, recorder.device(), &[table])?;
    if !matches!(table.element_type(), ElementType::F32 | ElementType::F16 | ElementType::BF16 | ElementType::Q8_0) {
        return Err(Error::shape(name, "table", "f32, f16, bf16 or q8_0", table.element_type()));
    }
    check_index(name, table)?;
    for tensor in std::iter::once(("out", out)).chain(visual.map(|v| ("visual", v))) {
        check_matrix(recorder, name, tensor, (tensor.1.rows(), table.width()))?;
        check_index(name, tensor.1)?;
    }
    check_words(recorder, name, ("ids", ids), out.rows())?;
    if table.rows() == 0 || first.saturating_add(table.rows()) >= VISUAL as usize {
        let got = format!("{} from {first}", table.rows());
        return Err(Error::shape(name, "table", "at least one row, ids below 2^31", got));
    }
    // Without visual rows their place is the table's, and none is read from it.
    let seen = visual.filter(|v| v.rows() > 0).unwrap_or(table);
    let buffers = [table.buffer(), seen.buffer(), ids, out.buffer()];
    if seen.buffer().bytes() < 16 {
        return Err(Error::shape(name, "table", "at least 8 elements", format!("{} bytes", seen.buffer().bytes())));
    }
    check_written(name, &buffers, 1)?;
    let count = check_index(name, out)?;
    if count == 0 {
        return Ok(());
    }
    let visual_rows = visual.map_or(0, Tensor::rows) as u32;
    let params = GatherParams {
        count,
        width4: out.width4() as u32,
        table_rows: table.rows() as u32,
        visual_rows,
        first: first as u32,
        keep: keep.into(),
        scale: scales.table,
        visual_scale: scales.visual,
    };
    Work { kernel: &GATHER, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }.elements_from(
        recorder,
        count as usize,
        table.element_type(),
    )
}

/// Which positions hold which id: the plan of a scatter.
#[derive(Clone, Debug)]
pub struct ScatterPlan {
    positions: usize,
    table: Option<Part>,
    visual: Option<Part>,
}

/// The ids of one destination.
#[derive(Clone, Debug)]
struct Part {
    /// Distinct ids, the place of each one's first position and one more, the positions.
    words: Buffer,
    /// The distinct ids, ascending; at least one.
    ids: Vec<u32>,
}

impl Part {
    fn new(device: &Device, ids: &BTreeMap<u32, Vec<u32>>) -> Result<Option<Self>> {
        if ids.is_empty() {
            return Ok(None);
        }
        let distinct: Vec<u32> = ids.keys().copied().collect();
        let (mut words, mut first) = (distinct.clone(), 0);
        words.push(first);
        words.extend(ids.values().map(|positions| {
            first += positions.len() as u32;
            first
        }));
        words.extend(ids.values().flatten());
        let words = device.buffer_from("scatter plan", bytemuck::cast_slice(&words))?;
        Ok(Some(Part { words, ids: distinct }))
    }

    /// The largest id.
    fn last(&self) -> u32 {
        self.ids[self.ids.len() - 1]
    }
}

impl ScatterPlan {
    /// The plan for `ids`, `[n]`, as [`gather`] takes them.
    ///
    /// # Errors
    /// 2³¹ ids or more; no memory.
    pub fn new(device: &Device, ids: &[u32]) -> Result<Self> {
        if ids.len() >= VISUAL as usize {
            return Err(Error::shape("embedding scatter", "ids", "fewer than 2^31", ids.len()));
        }
        let (mut table, mut visual) = (BTreeMap::<u32, Vec<u32>>::new(), BTreeMap::<u32, Vec<u32>>::new());
        for (position, &id) in ids.iter().enumerate() {
            let part = if id & VISUAL == 0 { &mut table } else { &mut visual };
            part.entry(id & !VISUAL).or_default().push(position as u32);
        }
        Ok(ScatterPlan { positions: ids.len(), table: Part::new(device, &table)?, visual: Part::new(device, &visual)? })
    }

    /// Checks that every id has its row in a table of `vocabulary` rows and `visual` visual rows.
    ///
    /// # Errors
    /// An id beyond them.
    pub fn check(&self, vocabulary: usize, visual: usize) -> Result<()> {
        for (what, part, rows) in [("token id", &self.table, vocabulary), ("visual row", &self.visual, visual)] {
            if let Some(part) = part.as_ref().filter(|p| p.last() as usize >= rows) {
                return Err(Error::shape("embedding", what, format!("below {rows}"), part.last()));
            }
        }
        Ok(())
    }
}

/// Records `dtable[ids[i]] += dx[i]` and the same for the visual rows, positions in ascending order; `dx` `[n, d]`, `dtable`
/// `[V, d]`, `dvisual` `[m, d]`. What is `None` is left out: a frozen table needs no gradient.
///
/// # Errors
/// Shapes that do not fit, an id beyond the rows, other element types, one memory for two, another device's tensors.
pub fn scatter(
    recorder: &mut Recorder,
    plan: &ScatterPlan,
    dx: &Tensor,
    dtable: Option<&Tensor>,
    dvisual: Option<&Tensor>,
) -> Result<()> {
    let shards = dtable.into_iter().map(|table| (0, table));
    scatter_shards(recorder, plan, (dx, Scales::default()), shards, dvisual)
}

/// As [`scatter`], to a table in several tensors: `shards` gives each with the id of its first row, in order; none for a frozen table. What
/// is added is multiplied by the scales.
///
/// # Errors
/// As [`scatter`]; shards that do not follow each other; a scale that is not finite.
pub fn scatter_shards<'a>(
    recorder: &mut Recorder,
    plan: &ScatterPlan,
    (dx, scales): (&Tensor, Scales),
    shards: impl Iterator<Item = (usize, &'a Tensor)>,
    dvisual: Option<&Tensor>,
) -> Result<()> {
    let name = SCATTER.name;
    scales.check(name)?;
    check_matrix(recorder, name, ("dx", dx), (plan.positions, dx.width()))?;
    check_index(name, dx)?;
    let visual = dvisual.map(|to| (0, to));
    let tables: (Vec<_>, Vec<_>) = (shards.collect(), visual.into_iter().collect());
    let both = [("dtable", &plan.table, &tables.0, scales.table), ("dvisual", &plan.visual, &tables.1, scales.visual)];
    for (what, part, to, scale) in both {
        let mut rows = 0;
        for (first, tensor) in to {
            check_matrix(recorder, name, (what, tensor), (tensor.rows(), dx.width()))?;
            check_index(name, tensor)?;
            if *first != rows {
                return Err(Error::shape(name, what, format!("the rows from {rows} on"), first));
            }
            rows += tensor.rows();
        }
        let Some(part) = part.as_ref().filter(|_| !to.is_empty()) else { continue };
        if part.last() as usize >= rows {
            return Err(Error::shape(name, what, format!("more than {} rows", part.last()), rows));
        }
        to.iter().try_for_each(|to| scatter_part(recorder, part, (dx, scale), *to))?;
    }
    Ok(())
}

/// The rows of one tensor, the first of which has the id `first`.
fn scatter_part(
    recorder: &mut Recorder,
    part: &Part,
    (dx, scale): (&Tensor, f32),
    (first, to): (usize, &Tensor),
) -> Result<()> {
    let buffers = [dx.buffer(), &part.words, to.buffer()];
    check_written(SCATTER.name, &buffers, 1)?;
    let place = |row: usize| part.ids.partition_point(|id| (*id as usize) < row);
    let (start, end) = (place(first), place(first + to.rows()));
    if start == end {
        return Ok(());
    }
    let count = (end - start) * dx.width4();
    let (width4, ids) = (dx.width4() as u32, part.ids.len() as u32);
    let params = ScatterParams { count: count as u32, width4, ids, start: start as u32, first: first as u32, scale };
    Work { kernel: &SCATTER, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }
        .elements(recorder, count)
}
