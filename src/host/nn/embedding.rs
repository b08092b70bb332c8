//! Twins of `shaders/nn/embedding_*.wgsl`.

use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

use super::math::Float;
use super::parallel::{Row, for_each_row};
use super::{floats, floats_mut};
use crate::blocks;
use crate::host::real::widen;
use crate::host::{HostCall, check_params, volume};
use crate::{ElementType, Error, Result};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct GatherParams {
    pub count: u32,
    pub width4: u32,
    pub table_rows: u32,
    pub visual_rows: u32,
    pub first: u32,
    pub keep: u32,
    pub scale: f32,
    pub visual_scale: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct ScatterParams {
    pub count: u32,
    pub width4: u32,
    pub ids: u32,
    pub start: u32,
    pub first: u32,
    pub scale: f32,
}

/// Bit of an id that means: a row of the visual tensor, not of the table.
pub const VISUAL: u32 = 1 << 31;

/// Which ids the table's rows have, and whether others leave the output as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Part {
    /// The id of the first row.
    pub first: u32,
    /// Ids without a row change nothing, instead of giving zeros.
    pub keep: bool,
}

struct Gather<'a, R> {
    table: &'a [R],
    visual: &'a [R],
    ids: &'a [u32],
    part: Part,
    /// Of rows of the table and of visual rows.
    scales: [R; 2],
}

impl<R: Float> Row<R> for Gather<'_, R> {
    #[inline(always)]
    fn row(&self, index: usize, out: &mut [R]) {
        let id = self.ids[index];
        let [of_table, of_visual] = self.scales;
        let (rows, first, scale) = match id & VISUAL {
            0 => (self.table, self.part.first, of_table),
            _ => (self.visual, 0, of_visual),
        };
        match (id & !VISUAL).checked_sub(first).and_then(|i| rows.chunks_exact(out.len()).nth(i as usize)) {
            Some(row) => out.iter_mut().zip(row).for_each(|(out, &x)| *out = scale * x),
            None if self.part.keep => {}
            None => out.fill(R::ZERO),
        }
    }
}

/// `out[i] = table[ids[i]]`, or the visual row; all in rows of `stride`. An id without a row gives zeros, or as the part says.
pub fn gather<R: Float>(tables: (&[R], &[R]), part: Part, ids: &[u32], out: &mut [R], stride: usize) {
    gather_scaled(tables, [R::ONE; 2], part, ids, out, stride);
}

/// As [`gather`], rows of the table multiplied by `scales[0]` and visual rows by `scales[1]`.
pub fn gather_scaled<R: Float>(
    (table, visual): (&[R], &[R]),
    scales: [R; 2],
    part: Part,
    ids: &[u32],
    out: &mut [R],
    stride: usize,
) {
    for_each_row(&Gather { table, visual, ids, part, scales }, out, stride);
}

/// From a table of so many rows, which `fill` widens.
struct GatherWidened<'a, F> {
    rows: usize,
    fill: F,
    visual: &'a [f32],
    ids: &'a [u32],
    part: Part,
    scales: [f32; 2],
}

impl<F: Fn(usize, &mut [f32]) + Sync> Row<f32> for GatherWidened<'_, F> {
    #[inline(always)]
    fn row(&self, index: usize, out: &mut [f32]) {
        let id = self.ids[index];
        if id & VISUAL != 0 {
            let GatherWidened { visual, ids, part, scales, .. } = *self;
            return Gather { table: &[], visual, ids, part, scales }.row(index, out);
        }
        match id.checked_sub(self.part.first).filter(|i| (*i as usize) < self.rows) {
            Some(row) => {
                (self.fill)(row as usize, out);
                out.iter_mut().for_each(|x| *x *= self.scales[0]);
            }
            None if self.part.keep => {}
            None => out.fill(0.0),
        }
    }
}

/// `out[ids[k]] += Σ dx[positions]` over the positions from `firsts[k]` to `firsts[k + 1]`, in rows of `stride`; ids ascend, and
/// `first` is the id of the first row of `out`.
pub fn scatter<R: Float>(plan: (&[u32], &[u32], &[u32]), dx: &[R], (out, first): (&mut [R], u32), stride: usize) {
    scatter_scaled(plan, (dx, R::ONE), (out, first), stride);
}

/// As [`scatter`], `dx` multiplied by `scale`.
pub fn scatter_scaled<R: Float>(
    (ids, firsts, positions): (&[u32], &[u32], &[u32]),
    (dx, scale): (&[R], R),
    (out, first): (&mut [R], u32),
    stride: usize,
) {
    // The rows that are hit, each once, for the cores to share.
    let mut hit = Vec::with_capacity(ids.len());
    let (mut rest, mut passed) = (out, first as usize);
    for &id in ids {
        let (_, tail) = std::mem::take(&mut rest).split_at_mut((id as usize - passed) * stride);
        let (row, tail) = tail.split_at_mut(stride);
        hit.push(row);
        (rest, passed) = (tail, id as usize + 1);
    }
    hit.into_par_iter().zip(firsts.par_windows(2)).for_each(|(row, places)| {
        for &position in &positions[places[0] as usize..places[1] as usize] {
            let from = &dx[position as usize * stride..][..stride];
            row.iter_mut().zip(from).for_each(|(r, &d)| *r += scale * d);
        }
    });
}

/// Runs the kernel: buffers are table, visual, ids, out.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn gather_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: GatherParams = call.params()?;
    let (stride, part) = (4 * p.width4 as usize, Part { first: p.first, keep: p.keep != 0 });
    let (seen, count) = (volume([p.visual_rows as usize, stride]), 4 * p.count as usize);
    let visual = &floats(call, 1, seen)?[..seen];
    let ids = call.read_as(2, count.checked_div(stride).unwrap_or(0))?;
    let out = &mut floats_mut(call, 3, count)?[..count];
    let scales = [p.scale, p.visual_scale];
    let (element, elements) = (call.elements.0, volume([p.table_rows as usize, stride]));
    let rows = p.table_rows as usize;
    if element == ElementType::Q8_0 {
        let words = call.read_as::<u32>(0, elements.div_ceil(2 * blocks::BLOCK).saturating_mul(blocks::PAIR_WORDS))?;
        if !stride.is_multiple_of(blocks::BLOCK) {
            return Err(Error::shape("embedding gather", "table in q8_0", "rows of a multiple of 32", stride));
        }
        let fill = |row: usize, to: &mut [f32]| blocks::from_device(words, row * stride, to);
        for_each_row(&GatherWidened { rows, fill, visual, ids, part, scales }, out, stride);
    } else if element.bytes() == 2 {
        let table = &call.read_as::<u16>(0, elements)?[..elements];
        let fill = |row: usize, to: &mut [f32]| widen(element, &table[row * stride..(row + 1) * stride], to);
        for_each_row(&GatherWidened { rows, fill, visual, ids, part, scales }, out, stride);
    } else {
        gather_scaled((&floats(call, 0, elements)?[..elements], visual), scales, part, ids, out, stride);
    }
    Ok(())
}

/// Runs the kernel: buffers are dx, plan, out.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn scatter_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: ScatterParams = call.params()?;
    let (start, stride, all) = (p.start as usize, 4 * p.width4 as usize, p.ids as usize);
    let end = start + p.count.checked_div(p.width4).unwrap_or(0) as usize;
    check_params(stride > 0 && end <= all, "rows without columns, or ids that the plan does not have")?;
    let (dx, plan, out) = (floats(call, 0, 0)?, call.read_as::<u32>(1, 2 * all + 1)?, floats_mut(call, 2, 0)?);
    let (ids, rest) = plan.split_at(all);
    let (firsts, positions) = rest.split_at(all + 1);
    // This dispatch's ids, and the places where each one's positions begin and the last one's end.
    let (ids, firsts) = (&ids[start..end], &firsts[start..=end]);
    let rows = |length: usize| p.first.saturating_add(u32::try_from(length / stride).unwrap_or(u32::MAX));
    let fits = ids.iter().all(|id| (p.first..rows(out.len())).contains(id))
        && ids.is_sorted_by(|a, b| a < b)
        && firsts.is_sorted()
        && firsts.iter().all(|&first| first as usize <= positions.len())
        && positions[firsts[0] as usize..firsts[end - start] as usize]
            .iter()
            .all(|&at| (at as usize) < dx.len() / stride);
    check_params(fits, "a plan whose ids or positions are out of order or have no row")?;
    scatter_scaled((ids, firsts, positions), (dx, p.scale), (out, p.first), stride);
    Ok(())
}
