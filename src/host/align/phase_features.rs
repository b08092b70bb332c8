//! Twin of `shaders/align/phase_features.wgsl`.

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
    pub planes: u32,
    pub tail: u32,
    pub coordinates4: u32,
    pub tail4: u32,
    pub features4: u32,
    pub padding: [u32; 2],
}

/// Rows and the distance from one to the next.
#[derive(Clone, Copy, Debug)]
pub struct Strided<'a, R> {
    /// The rows.
    pub rows: &'a [R],
    /// Elements from one row to the next.
    pub stride: usize,
}

impl<'a, R> Strided<'a, R> {
    /// Rows without padding, or with it.
    pub fn new(rows: &'a [R], stride: usize) -> Self {
        Strided { rows, stride }
    }

    #[inline(always)]
    pub(super) fn row(&self, index: usize) -> &'a [R] {
        &self.rows[index * self.stride..(index + 1) * self.stride]
    }
}

struct Features<'a, R> {
    coordinates: Strided<'a, R>,
    tail: Strided<'a, R>,
    planes: usize,
    tail_width: usize,
}

impl<R: Float> Row<R> for Features<'_, R> {
    #[inline(always)]
    fn row(&self, index: usize, out: &mut [R]) {
        let (directions, rest) = out.split_at_mut(2 * self.planes);
        let (lengths, tail) = rest.split_at_mut(self.planes);
        let pairs = self.coordinates.row(index)[..2 * self.planes].chunks_exact(2);
        for ((pair, direction), length) in pairs.zip(directions.chunks_exact_mut(2)).zip(lengths) {
            let square = pair[0] * pair[0] + pair[1] * pair[1];
            // What has no direction gets that of the first axis, the angle 0.
            if square < R::from_f64(1e-36) {
                (direction[0], direction[1], *length) = (R::ONE, R::ZERO, R::from_f64(SHORTEST_LOG));
                continue;
            }
            let root = square.sqrt();
            (direction[0], direction[1], *length) = (pair[0] / root, pair[1] / root, Float::ln(root));
        }
        tail[..self.tail_width].copy_from_slice(&self.tail.row(index)[..self.tail_width]);
    }
}

/// ln 1e-18: the logarithm of what counts as no length.
const SHORTEST_LOG: f64 = -41.446_531_673_892_82;

/// Fills rows `[cos θ_k, sin θ_k]` of each plane, `ln ρ_k` of each plane, and the tail, from coordinates `[2 planes]` and the tail; rows of `out` are
/// `stride` apart.
pub fn features<R: Float>(
    (coordinates, tail): (Strided<'_, R>, Strided<'_, R>),
    (planes, tail_width): (usize, usize),
    out: &mut [R],
    stride: usize,
) {
    for_each_row(&Features { coordinates, tail, planes, tail_width }, out, stride);
}

/// Runs the kernel: buffers are coordinates, tail, features.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: Params = call.params()?;
    let [planes, tail] = [p.planes, p.tail].map(|x| x as usize);
    let [coordinates4, tail4, features4] = [p.coordinates4, p.tail4, p.features4].map(|x| volume([4, x as usize]));
    let fit = planes > 0 && volume([2, planes]) <= coordinates4 && tail <= tail4;
    check_params(fit && volume([3, planes]).saturating_add(tail) <= features4, "no planes, or more than a row has")?;
    let rows = p.count as usize / planes;
    let coordinates = Strided::new(floats(call, 0, volume([rows, coordinates4]))?, coordinates4);
    let tails = Strided::new(floats(call, 1, volume([rows, tail4]))?, tail4);
    let elements = volume([rows, features4]);
    let out = &mut floats_mut(call, 2, elements)?[..elements];
    features((coordinates, tails), (planes, tail), out, features4);
    Ok(())
}
