//! Twins of `shaders/nn/add.wgsl`, `cast.wgsl` and `scale.wgsl`.

use bytemuck::{Pod, Zeroable};

use super::math::Float;
use super::parallel::{Map, for_each_element};
use super::{floats, floats_mut};
use crate::Result;
use crate::host::HostCall;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct AddParams {
    pub count: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct CastParams {
    pub count: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct ScaleParams {
    pub count: u32,
    pub factor: f32,
}

struct Sum;

impl<R: Float> Map<R, 1, 1> for Sum {
    #[inline(always)]
    fn map(&self, [x]: [R; 1], [y]: [R; 1]) -> [R; 1] {
        [y + x]
    }
}

struct Multiple<R>(R);

impl<R: Float> Map<R, 0, 1> for Multiple<R> {
    #[inline(always)]
    fn map(&self, _: [R; 0], [y]: [R; 1]) -> [R; 1] {
        [y * self.0]
    }
}

/// `y += x`, slices of one length.
pub fn add<R: Float>(x: &[R], y: &mut [R]) {
    for_each_element(&Sum, [x], [y]);
}

/// `y *= factor`.
pub fn scale<R: Float>(factor: R, y: &mut [R]) {
    for_each_element(&Multiple(factor), [], [y]);
}

/// Runs the kernel: buffers are x, y.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn add_twin(call: &mut HostCall<'_>) -> Result<()> {
    let params: AddParams = call.params()?;
    let (x, y) = (floats(call, 0, 0)?, floats_mut(call, 1, 0)?);
    let length = y.len().min(4 * params.count as usize);
    add(x, &mut y[..length]);
    Ok(())
}

/// Runs the kernel: buffers are x, y. The engine widens and rounds.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn cast_twin(call: &mut HostCall<'_>) -> Result<()> {
    let params: CastParams = call.params()?;
    let count = 4 * params.count as usize;
    let (x, y) = (floats(call, 0, count)?, floats_mut(call, 1, count)?);
    y[..count].copy_from_slice(&x[..count]);
    Ok(())
}

/// Runs the kernel: the buffer is y.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn scale_twin(call: &mut HostCall<'_>) -> Result<()> {
    let params: ScaleParams = call.params()?;
    let y = floats_mut(call, 0, 0)?;
    let length = y.len().min(4 * params.count as usize);
    scale(params.factor, &mut y[..length]);
    Ok(())
}
