//! Twin of `shaders/nn/pool.wgsl`.

use bytemuck::{Pod, Zeroable};

use super::math::Float;
use super::parallel::{Row, for_each_result};
use super::{floats, floats_mut};
use crate::Result;
use crate::host::{HostCall, check_params, volume};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub count: u32,
    pub width4: u32,
    pub kind: u32,
    pub spans: u32,
}

/// What is made of a span of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The mean.
    Mean,
    /// The largest element of each column.
    Max,
    /// The sum over the square root of the number of rows.
    RootMean,
}

impl Kind {
    /// As the parameter blocks have it.
    pub(crate) fn number(self) -> u32 {
        match self {
            Kind::Mean => 0,
            Kind::Max => 1,
            Kind::RootMean => 2,
        }
    }
}

struct Pooled<'a, R> {
    kind: Kind,
    x: &'a [R],
    /// First row, and rows.
    spans: &'a [[u32; 2]],
}

impl<R: Float> Row<R> for Pooled<'_, R> {
    #[inline(always)]
    fn row(&self, index: usize, out: &mut [R]) {
        let stride = out.len();
        let [first, count] = self.spans[index].map(|x| x as usize);
        let mut rows = self.x[first * stride..(first + count) * stride].chunks_exact(stride);
        if let Some(row) = rows.next() {
            out.copy_from_slice(row);
        }
        for row in rows {
            for (y, &x) in out.iter_mut().zip(row) {
                *y = match self.kind {
                    // A NaN stays one, on either side.
                    Kind::Max if x.partial_cmp(&x).is_some() => y.max(x),
                    Kind::Max => x,
                    Kind::Mean | Kind::RootMean => *y + x,
                };
            }
        }
        let count = R::from_f64(count as f64);
        match self.kind {
            Kind::Max => {}
            Kind::Mean => out.iter_mut().for_each(|y| *y /= count),
            Kind::RootMean => out.iter_mut().for_each(|y| *y /= count.sqrt()),
        }
    }
}

/// `y[s]` of the rows `spans[s]` of `x`, `[first, rows]` with a row at least; rows of `stride`.
pub fn pool<R: Float>(kind: Kind, x: &[R], spans: &[[u32; 2]], y: &mut [R], stride: usize) {
    let rows = spans.iter().map(|span| span[1] as usize).max().unwrap_or(0);
    for_each_result(&Pooled { kind, x, spans }, y, stride, rows.saturating_mul(stride));
}

/// Runs the kernel: buffers are x, spans, y.
///
/// # Errors
/// Buffers that do not fit the parameters; a span without rows.
pub fn twin(call: &mut HostCall<'_>) -> Result<()> {
    let p: Params = call.params()?;
    let kind = [Kind::Mean, Kind::Max, Kind::RootMean].into_iter().find(|kind| kind.number() == p.kind);
    let (stride, count) = (4 * p.width4 as usize, p.spans as usize);
    check_params(
        stride > 0 && volume([count, stride]) == 4 * p.count as usize,
        "rows without columns, or not as many",
    )?;
    let words: &[u32] = call.read_as(1, volume([count, 2]))?;
    let spans = &words.as_chunks::<2>().0[..count];
    check_params(spans.iter().all(|span| span[1] > 0), "a span without rows")?;
    let rows = spans.iter().map(|span| span[0] as usize + span[1] as usize).max().unwrap_or(0);
    let x = floats(call, 0, volume([rows, stride]))?;
    let y = &mut floats_mut(call, 2, count * stride)?[..count * stride];
    let Some(kind) = kind else { return check_params(false, "a way of pooling that there is not") };
    pool(kind, x, spans, y, stride);
    Ok(())
}
