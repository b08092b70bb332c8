//! Twins of `shaders/nn/cross_entropy*.wgsl`.

use bytemuck::{Pod, Zeroable};

use super::math::Float;
use super::parallel::{Row, for_each_result, for_each_row, sum_of};
use super::{floats, floats_mut};
use crate::Result;
use crate::host::{HostCall, volume};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct BackwardParams {
    pub count: u32,
    pub width: u32,
    pub width4: u32,
    pub first: u32,
    pub scale: f32,
    pub first_row: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct FinishParams {
    pub count: u32,
    pub infinity: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct ForwardParams {
    pub rows: u32,
    pub width: u32,
    pub width4: u32,
    pub first: u32,
    pub first_row: u32,
}

/// The label of a row that does not count.
pub const IGNORED: i32 = -100;

/// A chunk of the vocabulary: columns `first .. first + width` in rows of `stride`.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    /// Vocabulary index of the first column.
    pub first: usize,
    /// Number of columns.
    pub width: usize,
}

impl Columns {
    fn stride(&self) -> usize {
        self.width.next_multiple_of(4)
    }

    /// The label's column, if it is one of these.
    #[inline(always)]
    fn column(&self, label: i32) -> Option<usize> {
        usize::try_from(label).ok()?.checked_sub(self.first).filter(|&c| c < self.width)
    }
}

struct Forward<'a, R> {
    columns: Columns,
    logits: &'a [R],
    labels: &'a [i32],
}

impl<R: Float> Row<R> for Forward<'_, R> {
    #[inline(always)]
    fn row(&self, index: usize, state: &mut [R]) {
        if self.columns.first == 0 {
            state.copy_from_slice(&[R::LEAST, R::ZERO, R::ZERO, R::ZERO]);
        }
        let logits = &self.logits[index * self.columns.stride()..][..self.columns.width];
        let top = maximum(logits).max(state[0]);
        let sum = sum_of([logits], |[x]| (x - top).exp());
        state[1] = state[1] * (state[0] - top).exp() + sum;
        state[0] = top;
        if let Some(column) = self.columns.column(self.labels[index]) {
            (state[2], state[3]) = (logits[column], R::ONE);
        }
    }
}

/// The largest of some numbers, in sixteen lanes.
#[inline(always)]
fn maximum<R: Float>(x: &[R]) -> R {
    let mut lanes = [R::LEAST; 16];
    let blocks = x.chunks_exact(16);
    let rest = blocks.remainder();
    for block in blocks {
        for i in 0..16 {
            lanes[i] = lanes[i].max(block[i]);
        }
    }
    lanes.iter().chain(rest).fold(R::LEAST, |m, &x| m.max(x))
}

/// One chunk into the states, `[n, 4]`: running maximum, sum of exponentials, the label's logit, whether it was met; `logits`
/// `[n, stride]`. The chunk at 0 starts the states anew.
pub fn forward<R: Float>(columns: Columns, logits: &[R], labels: &[i32], state: &mut [R]) {
    for_each_result(&Forward { columns, logits, labels }, state, 4, columns.stride());
}

/// Negative log-likelihoods, `[n]`: 0 where the label is ignored, infinite where no chunk had it.
pub fn finish<R: Float>(state: &[R], labels: &[i32], nll: &mut [R]) {
    for ((nll, s), &label) in nll.iter_mut().zip(state.chunks_exact(4)).zip(labels) {
        *nll = match (label == IGNORED, s[3] == R::ONE) {
            (true, _) => R::ZERO,
            (_, true) => s[1].ln() + (s[0] - s[2]),
            _ => R::from_f64(f64::INFINITY),
        };
    }
}

struct Backward<'a, R> {
    columns: Columns,
    labels: &'a [i32],
    state: &'a [R],
    scale: R,
}

impl<R: Float> Row<R> for Backward<'_, R> {
    #[inline(always)]
    fn row(&self, index: usize, logits: &mut [R]) {
        if self.labels[index] == IGNORED {
            return logits.fill(R::ZERO);
        }
        let (top, factor) = (self.state[4 * index], self.scale / self.state[4 * index + 1]);
        logits[self.columns.width..].fill(R::ZERO);
        logits[..self.columns.width].iter_mut().for_each(|l| *l = (*l - top).exp() * factor);
        if let Some(column) = self.columns.column(self.labels[index]) {
            logits[column] -= self.scale;
        }
    }
}

/// Logits to their gradient in place: `scale (softmax - label)`, 0 in ignored rows.
pub fn backward<R: Float>(columns: Columns, labels: &[i32], state: &[R], scale: R, logits: &mut [R]) {
    for_each_row(&Backward { columns, labels, state, scale }, logits, columns.stride());
}

/// Runs the kernel: buffers are logits, labels, state.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn forward_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: ForwardParams = call.params()?;
    let columns = Columns { first: p.first as usize, width: p.width as usize };
    let (first, rows) = (p.first_row as usize, p.rows as usize);
    let labels: &[i32] = call.read_as(1, first + rows)?;
    let logits = floats(call, 0, volume([rows, columns.stride()]))?;
    let state = &mut floats_mut(call, 2, 4 * (first + rows))?[4 * first..4 * (first + rows)];
    forward(columns, logits, &labels[first..], state);
    Ok(())
}

/// Runs the kernel: buffers are state, labels, nll.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn finish_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: FinishParams = call.params()?;
    let count = p.count as usize;
    let (state, labels) = (floats(call, 0, 4 * count)?, call.read_as(1, count)?);
    finish(state, labels, &mut floats_mut(call, 2, count)?[..count]);
    Ok(())
}

/// Runs the kernel: buffers are labels, state, logits.
///
/// # Errors
/// Buffers that do not fit the parameters.
pub fn backward_twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: BackwardParams = call.params()?;
    let columns = Columns { first: p.first as usize, width: p.width as usize };
    let (first, elements) = (p.first_row as usize, 4 * p.count as usize);
    let end = first + elements.checked_div(columns.stride()).unwrap_or(0);
    let labels: &[i32] = call.read_as(0, end)?;
    let (labels, state) = (&labels[first..], &floats(call, 1, 4 * end)?[4 * first..]);
    backward(columns, labels, state, p.scale, &mut floats_mut(call, 2, elements)?[..elements]);
    Ok(())
}
