//! Twins of `shaders/nn/info_nce*.wgsl`.

use bytemuck::{Pod, Zeroable};

use super::math::Float;
use super::parallel::{Row, for_each_row, sum_of};
use super::{floats, floats_mut};
use crate::Result;
use crate::host::{HostCall, check_params, volume};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct BackwardParams {
    pub count: u32,
    pub width: u32,
    pub width4: u32,
    pub most: f32,
    pub scale: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct SoftmaxParams {
    pub rows: u32,
    pub width4: u32,
    pub most: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct TermsParams {
    pub count: u32,
    pub most: f32,
    pub scale: f32,
}

/// What turns similarities into logits: `z = e^min(t, most) s + b`; InfoNCE has no b.
#[derive(Clone, Copy, Debug)]
pub struct Scaling<R> {
    /// Logarithm of the factor.
    pub t: R,
    /// Added by the sigmoid loss.
    pub b: R,
    /// The largest t that counts.
    pub most: R,
}

impl<R: Float> Scaling<R> {
    /// From the temperature's buffer.
    pub(super) fn of(values: &[R], most: R) -> Self {
        Scaling { t: values[0], b: values[1], most }
    }

    /// e^t.
    #[inline(always)]
    pub fn factor(&self) -> R {
        self.t.min(self.most).exp()
    }

    /// The gradient by t: beyond the limit only what leads back, or a NaN.
    #[inline(always)]
    pub fn slope(&self, slope: R) -> R {
        if self.t >= self.most && slope <= R::ZERO { R::ZERO } else { slope }
    }
}

struct Softmax<'a, R> {
    factor: R,
    similarities: &'a [R],
    count: usize,
}

impl<R: Float> Row<R> for Softmax<'_, R> {
    #[inline(always)]
    fn row(&self, index: usize, state: &mut [R]) {
        let row = &self.similarities[index * self.count.next_multiple_of(4)..][..self.count];
        let top = row.iter().fold(R::LEAST, |m, &s| m.max(self.factor * s));
        let below = |s: R| self.factor * s - top;
        let sum = sum_of([row], |[s]| below(s).exp());
        let product = sum_of([row], |[s]| below(s).exp() * below(s));
        state.copy_from_slice(&[top + sum.ln(), self.factor * row[index], top + product / sum, R::ZERO]);
    }
}

/// States `[n, 4]` of the rows of `similarities` `[n, stride]`: log Σ_j e^z_ij, z_ii, Σ_j p_ij z_ij, 0.
pub fn softmax<R: Float>(scaling: Scaling<R>, similarities: &[R], state: &mut [R]) {
    let (factor, count) = (scaling.factor(), state.len() / 4);
    for_each_row(&Softmax { factor, similarities, count }, state, 4);
}

/// `losses` `[n]` and `terms` `[n, 4]` (the gradient by t, and zeros) of `scale Σ losses`, from the states of rows and columns.
pub fn terms<R: Float>(
    scaling: Scaling<R>,
    (rows, columns): (&[R], &[R]),
    scale: R,
    (losses, terms): (&mut [R], &mut [R]),
) {
    let half = R::from_f64(0.5);
    let states = rows.chunks_exact(4).zip(columns.chunks_exact(4));
    for ((loss, term), (r, c)) in losses.iter_mut().zip(terms.chunks_exact_mut(4)).zip(states) {
        *loss = half * ((r[0] - r[1]) + (c[0] - c[1]));
        let slope = half * scale * ((r[2] - r[1]) + (c[2] - c[1]));
        term.copy_from_slice(&[scaling.slope(slope), R::ZERO, R::ZERO, R::ZERO]);
    }
}

struct Backward<'a, R> {
    factor: R,
    rows: &'a [R],
    columns: &'a [R],
    scale: R,
}

impl<R: Float> Row<R> for Backward<'_, R> {
    #[inline(always)]
    fn row(&self, index: usize, out: &mut [R]) {
        let (own, half) = (self.rows[4 * index], R::from_f64(0.5) * self.scale * self.factor);
        let count = self.rows.len() / 4;
        out[count..].fill(R::ZERO);
        for (s, column) in out.iter_mut().zip(self.columns.chunks_exact(4)) {
            let z = self.factor * *s;
            *s = half * ((z - own).min(R::ZERO).exp() + (z - column[0]).min(R::ZERO).exp());
        }
        out[index] -= half + half;
    }
}

/// Similarities `[n, stride]` to the gradient of `scale Σ losses`, in their place.
pub fn backward<R: Float>(scaling: Scaling<R>, (rows, columns): (&[R], &[R]), scale: R, similarities: &mut [R]) {
    let stride = (rows.len() / 4).next_multiple_of(4);
    for_each_row(&Backward { factor: scaling.factor(), rows, columns, scale }, similarities, stride);
}

/// Runs the kernel: buffers are similarities, temperature, state.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn softmax_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: SoftmaxParams = call.params()?;
    let rows = p.rows as usize;
    let similarities = floats(call, 0, volume([rows, rows.next_multiple_of(4)]))?;
    let scaling = Scaling::of(floats(call, 1, 2)?, p.most);
    softmax(scaling, similarities, &mut floats_mut(call, 2, 4 * rows)?[..4 * rows]);
    Ok(())
}

/// Runs the kernel: buffers are temperature, rows, columns, losses, terms.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn terms_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: TermsParams = call.params()?;
    let (scaling, count) = (Scaling::of(floats(call, 0, 2)?, p.most), p.count as usize);
    let states = (&floats(call, 1, 4 * count)?[..4 * count], &floats(call, 2, 4 * count)?[..4 * count]);
    let (losses, sums) = (floats_mut(call, 3, count)?, floats_mut(call, 4, 4 * count)?);
    terms(scaling, states, p.scale, (&mut losses[..count], &mut sums[..4 * count]));
    Ok(())
}

/// Runs the kernel: buffers are temperature, rows, columns, similarities.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn backward_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: BackwardParams = call.params()?;
    let (scaling, n, elements) = (Scaling::of(floats(call, 0, 2)?, p.most), p.width as usize, 4 * p.count as usize);
    check_params(elements <= volume([n, n.next_multiple_of(4)]), "more rows than pairs")?;
    let states = (&floats(call, 1, 4 * n)?[..4 * n], &floats(call, 2, 4 * n)?[..4 * n]);
    backward(scaling, states, p.scale, &mut floats_mut(call, 3, elements)?[..elements]);
    Ok(())
}
