//! Token and visual embeddings: rows gathered by id, and gradients scattered back in a fixed order.
//!
//! Bytes: gather 8 per element; scatter 4 per element of dx and 8 per element of a row that is hit.

use std::collections::BTreeMap;

use bytemuck::{Pod, Zeroable};

use super::super::{Binding, KernelSpec, Work, check_device, check_index, check_matrix, check_words, check_written};
use crate::device::{Buffer, Device, Recorder, Tensor};
use crate::{ElementType, Error, Result};

/// The gather kernel.
pub static GATHER: KernelSpec = KernelSpec {
    name: "embedding gather",
    source: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/nn/embedding_gather.wgsl")),
    bindings: &[
        Binding::uniform("params"),
        Binding::read(1, "table"),
        Binding::read(2, "visual"),
        Binding::read(3, "ids"),
        Binding::read_write(4, "out_rows"),
    ],
    twin: crate::host::nn::embedding::gather_twin,
};

/// The scatter kernel.
pub static SCATTER: KernelSpec = KernelSpec {
    name: "embedding scatter",
    source: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/nn/embedding_scatter.wgsl")),
    bindings: &[
        Binding::uniform("params"),
        Binding::texels(1, "operand1"),
        Binding::read(2, "plan"),
        Binding::read_write(3, "out_rows"),
    ],
    twin: crate::host::nn::embedding::scatter_twin,
};

/// Bit of an id that means: a row of the visual tensor, not of the table.
pub const VISUAL: u32 = 1 << 31;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct GatherParams {
    pub count: u32,
    pub width4: u32,
    pub table_rows: u32,
    pub visual_rows: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct ScatterParams {
    pub count: u32,
    pub width4: u32,
    pub ids: u32,
}

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
    let name = GATHER.name;
    check_device(name, recorder.device(), &[table])?;
    if !matches!(table.element_type(), ElementType::F32 | ElementType::F16 | ElementType::BF16) {
        return Err(Error::shape(name, "table", "f32, f16 or bf16", table.element_type()));
    }
    check_index(name, table)?;
    for tensor in std::iter::once(("out", out)).chain(visual.map(|v| ("visual", v))) {
        check_matrix(recorder, name, tensor, (tensor.1.rows(), table.width()))?;
        check_index(name, tensor.1)?;
    }
    check_words(recorder, name, ("ids", ids), out.rows())?;
    if table.rows() == 0 {
        return Err(Error::shape(name, "table", "at least one row", 0));
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
    let params = GatherParams { count, width4: out.width4() as u32, table_rows: table.rows() as u32, visual_rows };
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
    ids: usize,
    /// The largest id.
    last: u32,
}

impl Part {
    fn new(device: &Device, ids: &BTreeMap<u32, Vec<u32>>) -> Result<Option<Self>> {
        let Some((&last, _)) = ids.last_key_value() else { return Ok(None) };
        let mut words: Vec<u32> = ids.keys().copied().collect();
        let mut first = 0;
        words.push(first);
        words.extend(ids.values().map(|positions| {
            first += positions.len() as u32;
            first
        }));
        words.extend(ids.values().flatten());
        let words = device.buffer_from("scatter plan", bytemuck::cast_slice(&words))?;
        Ok(Some(Part { words, ids: ids.len(), last }))
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

    /// That every id has its row in a table of `vocabulary` rows and `visual` visual rows.
    ///
    /// # Errors
    /// An id beyond them.
    pub fn check(&self, vocabulary: usize, visual: usize) -> Result<()> {
        for (what, part, rows) in [("token id", &self.table, vocabulary), ("visual row", &self.visual, visual)] {
            if let Some(part) = part.as_ref().filter(|p| p.last as usize >= rows) {
                return Err(Error::shape("embedding", what, format!("below {rows}"), part.last));
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
    let name = SCATTER.name;
    check_matrix(recorder, name, ("dx", dx), (plan.positions, dx.width()))?;
    check_index(name, dx)?;
    let parts = [("dtable", &plan.table, dtable), ("dvisual", &plan.visual, dvisual)];
    for (what, part, to) in parts {
        let Some(to) = to else { continue };
        check_matrix(recorder, name, (what, to), (to.rows(), dx.width()))?;
        check_index(name, to)?;
        let Some(part) = part else { continue };
        if part.last as usize >= to.rows() {
            return Err(Error::shape(name, what, format!("more than {} rows", part.last), to.rows()));
        }
        let buffers = [dx.buffer(), &part.words, to.buffer()];
        check_written(name, &buffers, 1)?;
        let count = part.ids * dx.width4();
        let params = ScatterParams { count: count as u32, width4: dx.width4() as u32, ids: part.ids as u32 };
        Work { kernel: &SCATTER, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }
            .elements(recorder, count)?;
    }
    Ok(())
}
