//! Jobs as users run them, from the host's memory to the host's memory.

use super::case::{Case, Items, Sizes, numbers};
use super::rows::embeddings;
use crate::Result;
use crate::align::{FitOptions, apply_rows, fit as fit_statistics};
use crate::device::Device;
use crate::geometry::neighbours::{Rows, nearest};
use crate::geometry::{LeadingOptions, leading as leading_directions};
use crate::stats::{
    Covariance, MemoryRows, RowSource, StreamOptions, covariance as measure_covariance, covariance_fast,
};

/// Directions asked for.
const LEADING: usize = 64;
const NEIGHBOURS: usize = 10;

fn shape(rows: usize, sizes: &Sizes) -> String {
    format!("[{rows}, {}] f32", sizes.width)
}

fn rows_per_second(rows: usize) -> Items {
    Items { count: rows as u64, unit: "rows" }
}

/// Means, trace and centroid of two sets.
pub(super) fn fit(device: &Device, sizes: &Sizes) -> Result<Case> {
    let (texts, images) = (embeddings(1, sizes, sizes.rows), embeddings(2, sizes, sizes.rows));
    let (device, width) = (device.clone(), sizes.width);
    let call = move || {
        let mut source = MemoryRows::f32("texts", &texts, width)?;
        let mut target = MemoryRows::f32("images", &images, width)?;
        fit_statistics(&device, &mut source, &mut target, &FitOptions::default()).map(drop)
    };
    Ok(Case::job(format!("2 × {}", shape(sizes.rows, sizes)), rows_per_second(2 * sizes.rows), call))
}

/// The operator on rows, and the rows that come of it.
pub(super) fn apply(device: &Device, sizes: &Sizes) -> Result<Case> {
    let (texts, width) = (embeddings(1, sizes, sizes.rows), sizes.width);
    let images = embeddings(2, sizes, 1000);
    let mut source = MemoryRows::f32("texts", &texts, width)?;
    let mut target = MemoryRows::f32("images", &images, width)?;
    let statistics = fit_statistics(device, &mut source, &mut target, &FitOptions::default())?;
    let device = device.clone();
    let call = move || apply_rows(&device, &statistics, &texts, width).map(drop);
    Ok(Case::job(shape(sizes.rows, sizes), rows_per_second(sizes.rows), call))
}

type Measure = fn(&Device, &mut dyn RowSource, StreamOptions<'_>) -> Result<Covariance>;

/// Of exact sums.
pub(super) fn covariance(device: &Device, sizes: &Sizes) -> Result<Case> {
    covariance_by(device, sizes, measure_covariance)
}

/// With products in f32.
pub(super) fn covariance_in_f32(device: &Device, sizes: &Sizes) -> Result<Case> {
    covariance_by(device, sizes, covariance_fast)
}

/// FLOPs count half of the symmetric matrix.
fn covariance_by(device: &Device, sizes: &Sizes, measure: Measure) -> Result<Case> {
    let (rows, width) = (embeddings(1, sizes, sizes.rows), sizes.width);
    let device = device.clone();
    let call = move || {
        let mut source = MemoryRows::f32("rows", &rows, width)?;
        measure(&device, &mut source, StreamOptions::default()).map(drop)
    };
    let flops = (sizes.rows * width * (width + 1)) as u64;
    Ok(Case::job(shape(sizes.rows, sizes), rows_per_second(sizes.rows), call).with_flops(flops))
}

/// Of a covariance whose spectrum falls as a power law.
pub(super) fn leading(device: &Device, sizes: &Sizes) -> Result<Case> {
    let (width, device) = (sizes.width, device.clone());
    let fall = |(i, x): (usize, f32)| f64::from(x) / ((i % width) as f64 / 40.0 + 0.3);
    let rows: Vec<f64> = numbers(3, 2 * width * width).into_iter().enumerate().map(fall).collect();
    let matrix = Covariance::of_rows(&rows, width)?.matrix;
    let call =
        move || leading_directions(&device, &matrix, width, LEADING.min(width), LeadingOptions::default()).map(drop);
    let items = Items { count: LEADING as u64, unit: "eigenvectors" };
    Ok(Case::job(format!("[{width}, {width}] f64"), items, call))
}

/// Of as many queries among as many rows. FLOPs are the product's; of bytes, beside the product's, a GPU reads each cosine once more.
pub(super) fn neighbours(device: &Device, sizes: &Sizes) -> Result<Case> {
    let (n, width, device) = (sizes.neighbours, sizes.width, device.clone());
    let (queries, base) = (embeddings(1, sizes, n), embeddings(2, sizes, n));
    let call =
        move || nearest(&device, Rows::new(&queries, width)?, Rows::new(&base, width)?, NEIGHBOURS, None).map(drop);
    Ok(Case::job(format!("2 × {}", shape(n, sizes)), rows_per_second(n), call).with_flops((2 * n * n * width) as u64))
}
