//! Twins of `shaders/nn/add.wgsl`, `add_scaled.wgsl`, `cast.wgsl`, `heads.wgsl` and `scale.wgsl`.

use bytemuck::{Pod, Zeroable};

use super::math::Float;
use super::parallel::{Map, for_each_element};
use super::{floats, floats_mut};
use crate::Result;
use crate::host::{HostCall, check_params, volume};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct AddParams {
    pub count: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct CastParams {
    pub count: u32,
    pub first: u32,
    pub factor: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct HeadsParams {
    pub count: u32,
    pub heads: u32,
    pub width: u32,
    pub apart4: u32,
    pub together4: u32,
    pub split: u32,
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

struct ScaledSum<R>(R);

impl<R: Float> Map<R, 2, 1> for ScaledSum<R> {
    #[inline(always)]
    fn map(&self, [x, y]: [R; 2], _: [R; 1]) -> [R; 1] {
        [x + self.0 * y]
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

/// `z = x + factor y`, slices of one length.
pub fn add_scaled<R: Float>(x: &[R], factor: R, y: &[R], z: &mut [R]) {
    for_each_element(&ScaledSum(factor), [x, y], [z]);
}

/// From rows of `heads` heads of `width` elements beside each other to a row for each head, or back where `split` is false; rows of both
/// start at multiples of 4 elements, and what lies beyond their widths in `y` becomes zero.
pub fn move_heads<R: Float>((heads, width): (usize, usize), split: bool, x: &[R], y: &mut [R]) {
    let (apart, together) = (width.next_multiple_of(4), (heads * width).next_multiple_of(4));
    y.fill(R::ZERO);
    let rows = if split { x.len() / together } else { y.len() / together };
    for (row, head) in (0..rows).flat_map(|row| (0..heads).map(move |head| (row, head))) {
        let (one, all) = ((row * heads + head) * apart, row * together + head * width);
        let (from, to) = if split { (all, one) } else { (one, all) };
        y[to..to + width].copy_from_slice(&x[from..from + width]);
    }
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
    let (count, first) = (4 * params.count as usize, 4 * params.first as usize);
    let (x, y) = (floats(call, 0, count)?, floats_mut(call, 1, first + count)?);
    let pairs = y[first..first + count].iter_mut().zip(&x[..count]);
    pairs.for_each(|(y, x)| *y = params.factor * x);
    Ok(())
}

/// Runs the kernel: buffers are x, y, z.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn add_scaled_twin(call: &mut HostCall<'_>) -> Result<()> {
    let params: ScaleParams = call.params()?;
    let count = 4 * params.count as usize;
    let (x, y, z) = (floats(call, 0, count)?, floats(call, 1, count)?, floats_mut(call, 2, count)?);
    add_scaled(&x[..count], params.factor, &y[..count], &mut z[..count]);
    Ok(())
}

/// Runs the kernel: buffers are x, y. The engine widens and rounds.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn heads_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: HeadsParams = call.params()?;
    let (heads, width, split) = (p.heads as usize, p.width as usize, p.split == 1);
    let (apart, together) = (width.next_multiple_of(4), volume([heads, width]).next_multiple_of(4));
    let fit = heads > 0 && width > 0 && 4 * p.apart4 as usize == apart && 4 * p.together4 as usize == together;
    check_params(fit, "heads without elements, or strides that are not theirs")?;
    let (count, of_row) = (4 * p.count as usize, if split { heads * apart } else { together });
    let rows = count / of_row;
    let other = volume([rows, if split { together } else { heads * apart }]);
    let (x, y) = (floats(call, 0, other)?, floats_mut(call, 1, count)?);
    move_heads((heads, width), split, &x[..other], &mut y[..rows * of_row]);
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
