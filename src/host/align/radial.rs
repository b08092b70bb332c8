//! Twin of `shaders/align/radial.wgsl`.

use bytemuck::{Pod, Zeroable};

use crate::Result;
use crate::host::nn::math::Float;
use crate::host::nn::parallel::{Row, for_each_row};
use crate::host::nn::{floats, floats_mut};
use crate::host::{HostCall, check_params, volume};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub count: u32,
    pub width4: u32,
    pub planes: u32,
    pub knots: u32,
    pub half: u32,
    pub padding: [u32; 3],
}

/// How lengths in planes are mapped: of plane k, piecewise linearly from `source[k]` to `target[k]`.
#[derive(Clone, Copy, Debug)]
pub struct Knots<'a, R> {
    /// What coordinates are moved by first, `[2 planes]`.
    pub offset: &'a [R],
    /// Ascending, `[planes, knots]`.
    pub source: &'a [R],
    /// Ascending, `[planes, knots]`.
    pub target: &'a [R],
    /// Knots of a plane, 1 at least.
    pub knots: usize,
}

impl<R: Float> Knots<'_, R> {
    /// The length that a plane maps `length` to; beyond the outermost knots, theirs.
    #[inline(always)]
    fn length(&self, plane: usize, length: R) -> R {
        let range = plane * self.knots..(plane + 1) * self.knots;
        let (source, target) = (&self.source[range.clone()], &self.target[range]);
        // The last knot that is no longer, or the first.
        let low = source.partition_point(|knot| *knot <= length).saturating_sub(1);
        let high = (low + 1).min(self.knots - 1);
        let span = source[high] - source[low];
        let share = if span > R::ZERO { (length - source[low]) / span } else { R::ZERO };
        target[low] + share.max(R::ZERO).min(R::ONE) * (target[high] - target[low])
    }

    /// A plane's two coordinates, moved and stretched.
    #[inline(always)]
    fn stretched(&self, plane: usize, [a, b]: [R; 2]) -> [R; 2] {
        let (a, b) = (a + self.offset[2 * plane], b + self.offset[2 * plane + 1]);
        let square = a * a + b * b;
        let mapped = self.length(plane, (square + R::from_f64(1e-12)).sqrt());
        // What has no direction gets that of the first axis, the angle 0.
        if square < R::from_f64(1e-36) {
            return [mapped, R::ZERO];
        }
        let factor = mapped / square.sqrt();
        [factor * a, factor * b]
    }
}

impl<R: Float> Row<R> for Knots<'_, R> {
    #[inline(always)]
    fn row(&self, _index: usize, row: &mut [R]) {
        for (plane, pair) in row[..self.offset.len()].chunks_exact_mut(2).enumerate() {
            let [a, b] = self.stretched(plane, [pair[0], pair[1]]);
            (pair[0], pair[1]) = (a, b);
        }
    }
}

/// Maps every plane of rows of `stride` coordinates, in place.
pub fn stretch<R: Float>(knots: &Knots<'_, R>, coordinates: &mut [R], stride: usize) {
    for_each_row(knots, coordinates, stride);
}

/// Runs the kernel: buffers are offset, source, target, coordinates.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: Params = call.params()?;
    let (stride, planes, knots) = (volume([4, p.width4 as usize]), p.planes as usize, p.knots as usize);
    check_params(knots > 0 && planes > 0 && volume([2, planes]) <= stride, "no knots, or more planes than a row has")?;
    let (size, elements) = (volume([planes, knots]), volume([4, p.count as usize]));
    let (offset, source) = (floats(call, 0, 2 * planes)?, floats(call, 1, size)?);
    let knots = Knots { offset: &offset[..2 * planes], source, target: floats(call, 2, size)?, knots };
    stretch(&knots, &mut floats_mut(call, 3, elements)?[..elements], stride);
    Ok(())
}
