//! Twins on f16: the host engine widens what they read and rounds what they write, as the shaders do element by element.

use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use super::Dispatch;
use crate::spec::{HostCall, HostSlice};
use crate::{Error, Result};

/// Elements of a task of one core.
const PART: usize = 1 << 14;

/// Runs a dispatch's twin on buffers of which some hold f16.
pub(super) fn run_twin(dispatch: &Dispatch, buffers: &mut [HostSlice<'_>]) -> Result<()> {
    let is_half = |i: usize| dispatch.halves >> i & 1 == 1;
    let mut wide = Vec::with_capacity(buffers.len());
    for (i, buffer) in buffers.iter().enumerate() {
        wide.push(if is_half(i) { widened(dispatch, buffer)? } else { Vec::new() });
    }
    let seen = buffers.iter_mut().zip(&mut wide).enumerate().map(|(i, (buffer, wide))| match buffer {
        HostSlice::Read(_) if is_half(i) => HostSlice::Read(bytemuck::cast_slice(wide)),
        HostSlice::Write(_) if is_half(i) => HostSlice::Write(bytemuck::cast_slice_mut(wide)),
        HostSlice::Read(bytes) => HostSlice::Read(bytes),
        HostSlice::Write(bytes) => HostSlice::Write(bytes),
    });
    let mut call = HostCall { params: &dispatch.params, buffers: seen.collect(), elements: dispatch.elements };
    (dispatch.kernel.twin)(&mut call)?;
    for (i, (buffer, wide)) in buffers.iter_mut().zip(&wide).enumerate() {
        if let (true, HostSlice::Write(bytes)) = (is_half(i), buffer) {
            round(wide, halves_mut(dispatch, bytes)?);
        }
    }
    Ok(())
}

fn widened(dispatch: &Dispatch, buffer: &HostSlice<'_>) -> Result<Vec<f32>> {
    let bytes: &[u8] = match buffer {
        HostSlice::Read(bytes) => bytes,
        HostSlice::Write(bytes) => bytes,
    };
    let halves: &[f16] = bytemuck::try_cast_slice(bytes).map_err(|_| unfit(dispatch, bytes.len()))?;
    let mut wide = vec![0f32; halves.len()];
    let parts = wide.par_chunks_mut(PART).zip(halves.par_chunks(PART));
    parts.for_each(|(wide, halves)| halves.convert_to_f32_slice(wide));
    Ok(wide)
}

fn halves_mut<'a>(dispatch: &Dispatch, bytes: &'a mut [u8]) -> Result<&'a mut [f16]> {
    let length = bytes.len();
    bytemuck::try_cast_slice_mut(bytes).map_err(|_| unfit(dispatch, length))
}

fn round(wide: &[f32], halves: &mut [f16]) {
    let parts = halves.par_chunks_mut(PART).zip(wide.par_chunks(PART));
    parts.for_each(|(halves, wide)| halves.convert_from_f32_slice(wide));
}

fn unfit(dispatch: &Dispatch, bytes: usize) -> Error {
    Error::shape(dispatch.kernel.name, "buffer of f16", "whole elements of 2 bytes", format!("{bytes} bytes"))
}
