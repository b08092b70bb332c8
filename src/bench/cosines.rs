//! Kernels on tiles of cosines, as the searches for neighbours make them.

use super::case::{Case, Sizes, numbers};
use crate::Result;
use crate::device::{Device, Tensor};
use crate::geometry::density::GRID_POINTS;
use crate::kernels::geometry::histogram::{self, Histogram, Pairs};
use crate::kernels::geometry::nearest::{self, Lists, NONE, Queries};

/// Neighbours of a query.
const NEIGHBOURS: usize = 10;

/// A tile of numbers in [-1, 1), and its bytes.
fn tile(device: &Device, sizes: &Sizes) -> Result<(Tensor, u64, String)> {
    let n = sizes.side;
    let cosines = Tensor::from_f32(device, &numbers(1, n * n), n)?;
    Ok((cosines, 4 * (n * n) as u64, format!("[{n}, {n}] f32")))
}

fn selected(device: &Device, sizes: &Sizes, queries: Queries) -> Result<Case> {
    let ((tile, bytes, shape), n) = (tile(device, sizes)?, sizes.side);
    let excluded = device.buffer_from("excluded", bytemuck::cast_slice(&vec![NONE; n]))?;
    let lists = Lists::new(device, n, NEIGHBOURS)?;
    let result = lists.buffer().clone();
    let work = (bytes + (8 * n * NEIGHBOURS) as u64, 0);
    Ok(Case::kernel(shape, work, (&result, true), move |r| {
        lists.clear(r);
        nearest::record(r, (&tile, queries), (0, 0), &excluded, &lists)
    }))
}

pub(super) fn nearest_of_rows(device: &Device, sizes: &Sizes) -> Result<Case> {
    selected(device, sizes, Queries::Rows)
}

pub(super) fn nearest_of_columns(device: &Device, sizes: &Sizes) -> Result<Case> {
    selected(device, sizes, Queries::Columns)
}

pub(super) fn histogram(device: &Device, sizes: &Sizes) -> Result<Case> {
    let (tile, bytes, shape) = tile(device, sizes)?;
    let counts = Histogram::new(device, GRID_POINTS)?;
    let result = counts.counts().clone();
    let work = (bytes + (8 * GRID_POINTS) as u64, 0);
    Ok(Case::kernel(shape, work, (&result, true), move |r| {
        counts.clear(r);
        histogram::record(r, &tile, (0, 0), Pairs::Different, &counts)
    }))
}
