//! Kernels on rows of embeddings.

use super::case::{Case, Sizes, numbers};
use crate::device::{Device, Tensor};
use crate::kernels::align;
use crate::kernels::stats::{self, moments::Summand};
use crate::{ElementType, Result};

/// Rows that are not centred, as real embeddings are not.
pub(super) fn embeddings(seed: u32, sizes: &Sizes, rows: usize) -> Vec<f32> {
    numbers(seed, rows * sizes.width).into_iter().map(|x| x + 0.1).collect()
}

fn shape(sizes: &Sizes) -> String {
    format!("[{}, {}] f32", sizes.rows, sizes.width)
}

fn row_bytes(sizes: &Sizes) -> u64 {
    (4 * sizes.rows * sizes.width) as u64
}

/// So many FLOPs an element.
fn flops(sizes: &Sizes, each: u64) -> u64 {
    each * (sizes.rows * sizes.width) as u64
}

fn vectors(count: usize, width: usize) -> Vec<Vec<f64>> {
    let vector = |k: usize| (0..width).map(|j| ((j * (2 * k + 3)) as f64 * 0.37).sin() * 0.02).collect();
    (0..count).map(vector).collect()
}

/// Rows on the device, as many as a binding holds.
pub(super) fn input(device: &Device, sizes: &Sizes) -> Result<(Tensor, Sizes)> {
    let most = device.capabilities().max_binding / (4 * sizes.width as u64);
    let rows = sizes.rows.min(usize::try_from(most).unwrap_or(usize::MAX));
    let sizes = Sizes { rows, ..*sizes };
    Ok((Tensor::from_f32(device, &embeddings(1, &sizes, rows), sizes.width)?, sizes))
}

fn output(device: &Device, sizes: &Sizes) -> Result<Tensor> {
    Tensor::new(device, sizes.rows, sizes.width, ElementType::F32)
}

pub(super) fn normalize(device: &Device, sizes: &Sizes) -> Result<Case> {
    let (x, sizes) = input(device, sizes)?;
    let (y, status) = (output(device, &sizes)?, align::apply::status_buffer(device)?);
    let work = (2 * row_bytes(&sizes), flops(&sizes, 3));
    let result = y.buffer().clone();
    Ok(Case::kernel(shape(&sizes), work, (&result, false), move |r| {
        stats::normalize::record(r, &x, &y, sizes.rows, &status)
    }))
}

/// Integer operations are not FLOPs: memory is what bounds a moment's sum at best.
fn summed(device: &Device, sizes: &Sizes, count: usize) -> Result<Case> {
    let (x, sizes) = input(device, sizes)?;
    let summand = Summand::operator(device, 0.75, &vectors(count, sizes.width), sizes.width)?;
    let sums = device.buffer("sums", summand.sums_bytes())?;
    let result = sums.clone();
    Ok(Case::kernel(shape(&sizes), (row_bytes(&sizes), 0), (&result, true), move |r| {
        r.clear(&sums);
        stats::moments::record(r, &summand, &x, sizes.rows, (&sums, 0))
    }))
}

pub(super) fn moments(device: &Device, sizes: &Sizes) -> Result<Case> {
    summed(device, sizes, 0)
}

pub(super) fn moments_about(device: &Device, sizes: &Sizes) -> Result<Case> {
    summed(device, sizes, 1)
}

/// Of as many directions as columns.
pub(super) fn power_sums(device: &Device, sizes: &Sizes) -> Result<Case> {
    let (z, sizes) = input(device, sizes)?;
    let weights = vec![1f32; sizes.rows.next_multiple_of(4)];
    let weights = device.buffer_from("weights", bytemuck::cast_slice(&weights))?;
    let sums = Tensor::new(device, sizes.width, 4, ElementType::F32)?;
    let work = (row_bytes(&sizes) + weights.bytes(), flops(&sizes, 11));
    let result = sums.buffer().clone();
    Ok(Case::kernel(shape(&sizes), work, (&result, false), move |r| {
        stats::power_sums::record(r, (&z, &weights), &sums, false)
    }))
}

pub(super) fn apply(device: &Device, sizes: &Sizes) -> Result<Case> {
    let (x, sizes) = input(device, sizes)?;
    let (y, status) = (output(device, &sizes)?, align::apply::status_buffer(device)?);
    let operator = align::apply::Operator::new(device, 0.75, &vectors(2, sizes.width), sizes.width)?;
    let work = (2 * row_bytes(&sizes), flops(&sizes, 11));
    let result = y.buffer().clone();
    Ok(Case::kernel(shape(&sizes), work, (&result, false), move |r| {
        align::apply::record(r, &operator, &x, &y, sizes.rows, (&status, 0))
    }))
}

pub(super) fn c3(device: &Device, sizes: &Sizes) -> Result<Case> {
    let (x, sizes) = input(device, sizes)?;
    let (y, status) = (output(device, &sizes)?, align::apply::status_buffer(device)?);
    let shift: Vec<f32> = vectors(1, sizes.width)[0].iter().map(|&x| x as f32).collect();
    let shift = device.buffer_from("shift", bytemuck::cast_slice(&shift))?;
    let noise = align::c3::Noise { sigma: 0.03, seed: 7 };
    let work = (2 * row_bytes(&sizes), flops(&sizes, 120));
    let result = y.buffer().clone();
    Ok(Case::kernel(shape(&sizes), work, (&result, false), move |r| {
        align::c3::record(r, (&shift, noise, 0), &x, &y, sizes.rows, (&status, 0))
    }))
}

/// In as many coordinates as rows have columns; tables of the same lengths on both sides, so that they stay from run to run.
pub(super) fn radial(device: &Device, sizes: &Sizes) -> Result<Case> {
    const KNOTS: usize = 1025;
    let (x, sizes) = input(device, sizes)?;
    let lengths: Vec<f64> = (0..sizes.width / 2 * KNOTS).map(|k| 2.0 * (k % KNOTS) as f64 / KNOTS as f64).collect();
    let planes = align::radial::Planes::new(device, &vec![0.0; sizes.width], (&lengths, &lengths))?;
    let work = (2 * row_bytes(&sizes), flops(&sizes, 10));
    let result = x.buffer().clone();
    Ok(Case::kernel(shape(&sizes), work, (&result, false), move |r| align::radial::record(r, &planes, &x, sizes.rows)))
}
