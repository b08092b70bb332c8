//! Twins of `shaders/nn/rms_norm.wgsl`, `layer_norm.wgsl` and `norm_*.wgsl`.

use bytemuck::{Pod, Zeroable};

use super::bias::{Term, column_sums, slices};
use super::math::Float;
use super::parallel::{Row, for_each_result, for_each_row, sum_of};
use super::{floats, floats_mut};
use crate::Result;
use crate::host::nn::bias::Params as WeightParams;
use crate::host::real::dot;
use crate::host::{HostCall, check_params, volume};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct BackwardParams {
    pub count: u32,
    pub width: u32,
    pub width4: u32,
    pub accumulate: u32,
    pub offset: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub rows: u32,
    pub width: u32,
    pub width4: u32,
    pub eps: f32,
    pub offset: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct ScalarsParams {
    pub rows: u32,
    pub width: u32,
    pub width4: u32,
    pub eps: f32,
    pub center: u32,
    pub offset: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct RowsParams {
    pub rows: u32,
    pub width: u32,
    pub width4: u32,
    pub eps: f32,
    pub center: u32,
    pub accumulate: u32,
    pub offset: f32,
}

/// A normalisation: rows of `width` numbers, `eps` in the root, about the mean or about zero.
#[derive(Clone, Copy, Debug)]
pub struct Norm<R> {
    /// Numbers of a row.
    pub width: usize,
    /// Added to the mean square.
    pub eps: R,
    /// Whether about the mean.
    pub center: bool,
    /// Added to the weight: 1 where a norm multiplies by 1 + w.
    pub offset: R,
}

impl<R: Float> Norm<R> {
    /// Elements from one row to the next.
    fn stride(&self) -> usize {
        self.width.next_multiple_of(4)
    }

    /// Mean and 1 / √(mean square + ε).
    #[inline(always)]
    fn moments(&self, x: &[R]) -> (R, R) {
        let (x, width) = (&x[..self.width], R::from_f64(self.width as f64));
        let mean = if self.center { sum_of([x], |[x]| x) / width } else { R::ZERO };
        let square = match self.center {
            true => sum_of([x], |[x]| (x - mean) * (x - mean)),
            false => dot(x, x),
        };
        (mean, (square / width + self.eps).sqrt().recip())
    }
}

struct Forward<'a, R> {
    norm: Norm<R>,
    x: &'a [R],
    weight: &'a [R],
    bias: Option<&'a [R]>,
}

impl<R: Float> Row<R> for Forward<'_, R> {
    #[inline(always)]
    fn row(&self, index: usize, out: &mut [R]) {
        let x = &self.x[index * out.len()..][..out.len()];
        let (mean, inverse) = self.norm.moments(x);
        for ((y, &x), &w) in out.iter_mut().zip(x).zip(self.weight) {
            *y = (x - mean) * inverse * (self.norm.offset + w);
        }
        if let Some(bias) = self.bias {
            out.iter_mut().zip(bias).for_each(|(y, &b)| *y += b);
        }
    }
}

/// `y = (x - mean) (offset + weight) / √(mean square + ε) + bias`; `x` and `y` `[n, stride]`, `weight` and `bias` `[stride]`.
pub fn forward<R: Float>(norm: Norm<R>, x: &[R], weight: &[R], bias: Option<&[R]>, y: &mut [R]) {
    for_each_row(&Forward { norm, x, weight, bias }, y, norm.stride());
}

struct Scalars<'a, R> {
    norm: Norm<R>,
    x: &'a [R],
    weight: &'a [R],
    dy: &'a [R],
}

impl<R: Float> Row<R> for Scalars<'_, R> {
    #[inline(always)]
    fn row(&self, index: usize, out: &mut [R]) {
        let (width, stride) = (self.norm.width, self.norm.stride());
        let (x, dy) = (&self.x[index * stride..][..width], &self.dy[index * stride..][..width]);
        let (weight, width) = (&self.weight[..width], R::from_f64(width as f64));
        let (mean, inverse) = self.norm.moments(x);
        let offset = self.norm.offset;
        let plain = match self.norm.center {
            true => sum_of([dy, weight], |[dy, weight]| dy * (offset + weight)) / width,
            false => R::ZERO,
        };
        let product = sum_of([dy, weight, x], |[dy, weight, x]| dy * (offset + weight) * (x - mean)) * inverse / width;
        out.copy_from_slice(&[mean, inverse, plain, product]);
    }
}

/// The rows' scalars `[n, 4]`: mean, r = 1 / √(mean square + ε), and with g = dy (offset + weight), n = (x - mean) r: mean(g) (0 about zero)
/// and mean(g n). `x` and `dy` `[n, stride]`, `weight` `[stride]`.
pub fn scalars<R: Float>(norm: Norm<R>, (x, weight, dy): (&[R], &[R], &[R]), out: &mut [R]) {
    for_each_result(&Scalars { norm, x, weight, dy }, out, 4, 2 * norm.stride());
}

struct Backward<'a, R> {
    norm: Norm<R>,
    x: &'a [R],
    weight: &'a [R],
    dy: &'a [R],
    scalars: &'a [R],
    accumulate: bool,
}

impl<R: Float> Row<R> for Backward<'_, R> {
    #[inline(always)]
    fn row(&self, index: usize, out: &mut [R]) {
        let (stride, accumulate) = (out.len(), self.accumulate);
        let [mean, inverse, plain, product] = std::array::from_fn(|i| self.scalars[4 * index + i]);
        let (x, dy) = (&self.x[index * stride..][..stride], &self.dy[index * stride..][..stride]);
        let rows = out[..self.norm.width].iter_mut().zip(x).zip(dy).zip(self.weight);
        for (((out, &x), &dy), &w) in rows {
            let value = inverse * (dy * (self.norm.offset + w) - plain - (x - mean) * inverse * product);
            *out = if accumulate { *out + value } else { value };
        }
        out[self.norm.width..].fill(R::ZERO);
    }
}

/// `dx = r (g - mean(g) - n mean(g n))`, or `+=`, with the scalars of [`scalars`], which have ε and the mean in them.
pub fn backward<R: Float>(
    norm: Norm<R>,
    (x, weight, dy): (&[R], &[R], &[R]),
    scalars: &[R],
    dx: &mut [R],
    accumulate: bool,
) {
    for_each_row(&Backward { norm, x, weight, dy, scalars, accumulate }, dx, norm.stride());
}

struct Weight<'a, R> {
    x: &'a [R],
    dy: &'a [R],
    scalars: &'a [R],
}

impl<R: Float> Term<R> for Weight<'_, R> {
    #[inline(always)]
    fn add(&self, index: usize, sums: &mut [R]) {
        let stride = sums.len();
        let (mean, inverse) = (self.scalars[4 * index], self.scalars[4 * index + 1]);
        let (x, dy) = (&self.x[index * stride..][..stride], &self.dy[index * stride..][..stride]);
        for ((sum, &x), &dy) in sums.iter_mut().zip(x).zip(dy) {
            *sum += dy * ((x - mean) * inverse);
        }
    }
}

/// `dweight += Σ_rows dy n`, `[stride]`, with the scalars of [`scalars`].
pub fn weight_backward<R: Float>((x, dy): (&[R], &[R]), scalars: &[R], dweight: &mut [R]) {
    column_sums(&Weight { x, dy, scalars }, scalars.len() / 4, dweight, true);
}

/// Elements from one row to the next, which is what `width` numbers take.
fn stride(width: u32, width4: u32) -> Result<usize> {
    check_params(width.div_ceil(4) == width4, "a stride that is not the width's")?;
    Ok(4 * width4 as usize)
}

/// Runs the kernel: buffers are x, weight, y.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn rms_twin(call: &mut HostCall<'_>) -> Result<()> {
    forward_of(call, false)
}

/// Runs the kernel: buffers are x, weight, bias, y.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn layer_twin(call: &mut HostCall<'_>) -> Result<()> {
    forward_of(call, true)
}

/// About the mean there is a bias, too.
fn forward_of(call: &mut HostCall<'_>, center: bool) -> Result<()> {
    let p: Params = call.params()?;
    let stride = stride(p.width, p.width4)?;
    let (norm, elements) =
        (Norm { width: p.width as usize, eps: p.eps, center, offset: p.offset }, volume([p.rows as usize, stride]));
    let (x, weight) = (floats(call, 0, elements)?, floats(call, 1, stride)?);
    let bias = if center { Some(floats(call, 2, stride)?) } else { None };
    forward(norm, x, weight, bias, &mut floats_mut(call, 2 + usize::from(center), elements)?[..elements]);
    Ok(())
}

/// Runs the kernel: buffers are x, weight, dy, scalars.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn scalars_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: ScalarsParams = call.params()?;
    let norm = Norm { width: p.width as usize, eps: p.eps, center: p.center == 1, offset: p.offset };
    let (rows, stride) = (p.rows as usize, stride(p.width, p.width4)?);
    let elements = volume([rows, stride]);
    let operands = (floats(call, 0, elements)?, floats(call, 1, stride)?, floats(call, 2, elements)?);
    scalars(norm, operands, &mut floats_mut(call, 3, 4 * rows)?[..4 * rows]);
    Ok(())
}

/// Runs the kernel: buffers are x, weight, dy, scalars, dx.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn backward_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: BackwardParams = call.params()?;
    let (elements, stride) = (4 * p.count as usize, stride(p.width, p.width4)?);
    let operands = (floats(call, 0, elements)?, floats(call, 1, stride)?, floats(call, 2, elements)?);
    let rows = elements.checked_div(stride).unwrap_or(0);
    let (scalars, dx) = (floats(call, 3, 4 * rows)?, &mut floats_mut(call, 4, elements)?[..elements]);
    let norm = Norm { width: p.width as usize, eps: 0.0, center: false, offset: p.offset };
    backward(norm, operands, scalars, dx, p.accumulate == 1);
    Ok(())
}

/// Runs the kernel, [`scalars`] and then [`backward`]: buffers are x, weight, dy, scalars, dx.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn rows_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: RowsParams = call.params()?;
    let norm = Norm { width: p.width as usize, eps: p.eps, center: p.center == 1, offset: p.offset };
    let (rows, stride) = (p.rows as usize, stride(p.width, p.width4)?);
    let elements = volume([rows, stride]);
    let operands = (floats(call, 0, elements)?, floats(call, 1, stride)?, floats(call, 2, elements)?);
    let scalars_of = &mut floats_mut(call, 3, 4 * rows)?[..4 * rows];
    scalars(norm, operands, scalars_of);
    let dx = &mut floats_mut(call, 4, elements)?[..elements];
    backward(norm, operands, scalars_of, dx, p.accumulate == 1);
    Ok(())
}

/// Runs the kernel: buffers are x, dy, scalars, dweight.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn weight_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: WeightParams = call.params()?;
    let stride = 4 * p.width4 as usize;
    let (end, elements) = (p.end as usize, volume([p.end as usize, stride]));
    let (x, dy, scalars) = (floats(call, 0, elements)?, floats(call, 1, elements)?, floats(call, 2, 4 * end)?);
    for (rows, sums) in slices(&p, floats_mut(call, 3, 0)?)? {
        let part = rows.start * stride..rows.end * stride;
        let term = Weight { x: &x[part.clone()], dy: &dy[part], scalars: &scalars[4 * rows.start..4 * rows.end] };
        column_sums(&term, rows.len(), sums, p.accumulate == 1);
    }
    Ok(())
}
