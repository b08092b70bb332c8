//! Kernels on tiles of cosines, as the searches for neighbours make them, and on cosines between directions.

use super::case::{Case, Sizes, numbers};
use crate::Result;
use crate::device::{Device, Tensor};
use crate::geometry::density::GRID_POINTS;
use crate::kernels::geometry::angles;
use crate::kernels::geometry::histogram::{self, Histogram, Pairs};
use crate::kernels::geometry::nearest::{self, Lists, NONE, Queries};

/// Neighbours of a query.
const NEIGHBOURS: usize = 10;

/// Directions of a frame.
const DIRECTIONS: usize = 16;

/// Sweeps of rotations, as a rule.
const SWEEPS: u64 = 8;

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

/// Of two frames, without the products that C is made of. Bytes: each sweep's of the rotations, and what they start from; operations: those of
/// eight sweeps, of 64 bits each.
pub(super) fn principal_angles(device: &Device, sizes: &Sizes) -> Result<Case> {
    let (d, n) = (sizes.width, DIRECTIONS.min(sizes.width));
    // So short that no product of rows is above 1.
    let rows = |seed| numbers(seed, n * d).into_iter().map(|x| f64::from(x) / (d as f64).sqrt()).collect::<Vec<_>>();
    let angles = angles::prepare(device, (&rows(1), n), (&rows(2), n))?;
    let result = angles.words().clone();
    let (numbers, pairs) = ((n * (d + n)) as u64, (n * (n - 1) / 2 * (d + n)) as u64);
    let work = (40 * numbers + SWEEPS * (n as u64 - 1) * 48 * numbers, SWEEPS * 12 * pairs);
    Ok(Case::kernel(format!("2 × [{n}, {d}] f64"), work, (&result, true), move |r| angles.record(r)))
}
