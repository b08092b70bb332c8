//! One row of a span of rows: the mean of a text's tokens, or the largest of each column.
//!
//! Bytes: 4 per element of the rows that are read, 4 of the result. One FLOP per element that is read. Sums are f32, in order of the rows.

use super::super::{Binding, KernelSpec, Work, check_index, check_matrix, check_written};
use crate::device::{Buffer, Device, Recorder, Tensor};
pub use crate::host::nn::pool::Kind;
use crate::host::nn::pool::Params;
use crate::spec::in_range;
use crate::spec::shader::source;
use crate::{Error, Result};

/// The kernel.
pub static SPEC: KernelSpec = KernelSpec::new(
    "pool",
    source!("nn/pool.wgsl"),
    &[Binding::uniform("params"), Binding::read(1, "x"), Binding::read(2, "spans"), Binding::read_write(3, "y")],
    crate::host::nn::pool::twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::SPANS);

/// Spans of rows, on the device.
#[derive(Clone, Debug)]
pub struct Spans {
    buffer: Buffer,
    count: usize,
    /// Rows that a tensor must have, and rows of the longest.
    rows: usize,
    longest: usize,
}

impl Spans {
    /// The spans `[first row, rows]`, in any order.
    ///
    /// # Errors
    /// A span without rows, or beyond 2³¹ rows; no memory.
    pub fn new(device: &Device, list: &[[u32; 2]]) -> Result<Self> {
        let end = |[first, rows]: [u32; 2]| u64::from(first) + u64::from(rows);
        if let Some(span) = list.iter().find(|span| span[1] == 0 || end(**span) > 1 << 31) {
            return Err(Error::shape(SPEC.name, "span", "a row at least, and rows below 2^31", format!("{span:?}")));
        }
        Ok(Spans {
            buffer: device.buffer_from("spans of rows", bytemuck::cast_slice(list))?,
            count: list.len(),
            rows: list.iter().map(|span| end(*span) as usize).max().unwrap_or(0),
            longest: list.iter().map(|span| span[1] as usize).max().unwrap_or(0),
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }
}

/// Records `y[s]`, what `kind` says of the rows of `x` in span `s`; `x` `[n, d]` and `y` `[spans, d]`, f32.
///
/// # Errors
/// Fewer rows than the spans reach to, shapes that do not fit, other element types, one memory for both, another device's tensors.
pub fn record(recorder: &mut Recorder, kind: Kind, x: &Tensor, spans: &Spans, y: &Tensor) -> Result<()> {
    let name = SPEC.name;
    check_matrix(recorder, name, ("x", x), (x.rows(), y.width()))?;
    check_matrix(recorder, name, ("y", y), (spans.count, y.width()))?;
    if x.rows() < spans.rows || !spans.buffer.belongs_to(recorder.device()) {
        let want = format!("the spans' {} rows, on their device", spans.rows);
        return Err(Error::shape(name, "x", want, x.rows()));
    }
    check_index(name, x)?;
    let buffers = [x.buffer(), &spans.buffer, y.buffer()];
    check_written(name, &buffers, 1)?;
    let count = check_index(name, y)?;
    if count == 0 {
        return Ok(());
    }
    let params = Params { count, width4: y.width4() as u32, kind: kind.number(), spans: spans.count as u32 };
    Work { kernel: &SPEC, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }
        .check_iterations(recorder, spans.longest)?
        .elements(recorder, count as usize)
}
