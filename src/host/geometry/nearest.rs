//! Twin of `shaders/geometry/nearest.wgsl`.

use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

use super::{cosine, key};
use crate::Result;
use crate::host::{HostCall, check_params, volume};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub queries: u32,
    pub width4: u32,
    pub first: u32,
    pub end: u32,
    pub k: u32,
    pub query: u32,
    pub candidate: u32,
    pub down: u32,
}

/// Queries of one task.
const TASK: usize = 64;

/// An entry of a list: a cosine's key, 0 where there is none yet, and its index.
pub type Entry = [u32; 2];

/// Cosines `[rows, width]` in rows of `stride`, and which come into lists: those of the candidates `first .. end`, of which the first of
/// all has index `candidate`.
#[derive(Clone, Copy, Debug)]
pub struct Tile<'a> {
    /// The cosines.
    pub cosines: &'a [f32],
    /// From row to row.
    pub stride: usize,
    /// First candidate.
    pub first: usize,
    /// After the last.
    pub end: usize,
    /// Index of candidate 0.
    pub candidate: u32,
}

impl Tile<'_> {
    /// Brings the rows' cosines into the rows' lists, `[rows, k]`, but no NaN, which is at least no bound; `excluded` has for each the
    /// index that does not count.
    pub fn along_rows(&self, k: usize, excluded: &[u32], lists: &mut [Entry]) {
        let tasks = lists.par_chunks_mut(k).zip(excluded).enumerate();
        tasks.for_each(|(i, (list, &own))| {
            let row = &self.cosines[i * self.stride..];
            let mut bound = worst(list);
            for (&c, index) in row[self.first..self.end].iter().zip(self.candidate + self.first as u32..) {
                if c >= bound && index != own {
                    bound = insert(list, [key(c), index]);
                }
            }
        });
    }

    /// Brings the columns' cosines into the columns' lists, `[columns, k]`.
    pub fn down_columns(&self, k: usize, excluded: &[u32], lists: &mut [Entry]) {
        let tasks = lists.par_chunks_mut(TASK * k).zip(excluded.par_chunks(TASK)).enumerate();
        tasks.for_each(|(task, (lists, excluded))| {
            let mut bounds: Vec<f32> = lists.chunks_exact(k).map(worst).collect();
            for p in self.first..self.end {
                let index = self.candidate + p as u32;
                let cosines = &self.cosines[p * self.stride + task * TASK..][..bounds.len()];
                for (j, (bound, &c)) in bounds.iter_mut().zip(cosines).enumerate() {
                    if c >= *bound && index != excluded[j] {
                        *bound = insert(&mut lists[j * k..(j + 1) * k], [key(c), index]);
                    }
                }
            }
        });
    }
}

/// What a cosine must not be below to enter.
fn worst(list: &[Entry]) -> f32 {
    match list.last() {
        Some(&[key, _]) if key > 0 => cosine(key),
        _ => f32::NEG_INFINITY,
    }
}

/// Puts an entry in its place, if it is better than the last; returns what the next must not be below.
fn insert(list: &mut [Entry], entry: Entry) -> f32 {
    let better = |[a, i]: Entry, [b, j]: Entry| a > b || (a == b && i < j);
    let at = list.partition_point(|&other| !better(entry, other));
    if at < list.len() {
        list[at..].rotate_right(1);
        list[at] = entry;
    }
    worst(list)
}

/// Runs the kernel: buffers are cosines, excluded, lists.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: Params = call.params()?;
    let (count, k, stride) = (p.queries as usize, p.k as usize, 4 * p.width4 as usize);
    let queries = p.query as usize..p.query as usize + count;
    let (first, end, candidate) = (p.first as usize, p.end as usize, p.candidate);
    let (rows, columns) = if p.down == 1 { (end, count) } else { (count, end) };
    let fits = k > 0 && first <= end && columns <= stride && candidate.checked_add(p.end).is_some();
    check_params(fits, "lists of nothing, or candidates that the tile does not have")?;
    let cosines = call.read_as(0, volume([rows, stride]))?;
    let excluded: &[u32] = call.read_as(1, queries.end)?;
    let lists: &mut [Entry] = call.write_as(2, volume([k, queries.end]))?;
    let tile = Tile { cosines, stride, first, end, candidate };
    let (excluded, lists) = (&excluded[queries.clone()], &mut lists[k * queries.start..k * queries.end]);
    if p.down == 1 {
        tile.down_columns(k, excluded, lists)
    } else {
        tile.along_rows(k, excluded, lists)
    }
    Ok(())
}
