//! What the [`Roofline`](super::Roofline) is measured with, as cases: what a kernel reaches of what the device gives at most.

use super::case::{Case, Sizes};
use super::roofline::invocations;
use crate::Result;
use crate::device::Device;
use crate::kernels::bench::{copy as copying, fma as multiplying};

/// Rounds of the FMA kernel: 256 steps, over which a driver that does not fuse stays within the bound of the check.
const ROUNDS: u32 = 64;

pub(super) fn copy(device: &Device, sizes: &Sizes) -> Result<Case> {
    let (from, sizes) = super::rows::input(device, sizes)?;
    let (from, bytes) = (from.buffer().clone(), from.buffer().bytes());
    let to = device.buffer("copy", bytes)?;
    let shape = format!("[{}, {}] f32", sizes.rows, sizes.width);
    Ok(Case::kernel(shape, (2 * bytes, 0), (&to.clone(), true), move |r| copying::record(r, &from, &to, bytes)))
}

pub(super) fn fma(device: &Device, _: &Sizes) -> Result<Case> {
    let invocations = invocations(device) as u64;
    let sums = device.buffer("sums", 16 * invocations)?;
    let flops = invocations * u64::from(ROUNDS) * multiplying::ROUND_FLOPS;
    let shape = format!("{invocations} × {ROUNDS} rounds");
    Ok(Case::kernel(shape, (0, flops), (&sums.clone(), false), move |r| multiplying::record(r, &sums, ROUNDS)))
}
