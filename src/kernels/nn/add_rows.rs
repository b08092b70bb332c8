//! Rows of a table added by id: positions to tokens.
//!
//! Bytes: 12 per element, 8 where the table stays in the caches. One FLOP per element.

use super::super::{Binding, KernelSpec, Work, check_index, check_matrix, check_words, check_written};
use crate::device::{Buffer, Recorder, Tensor};
use crate::host::nn::add_rows::Params;
use crate::spec::in_range;
use crate::spec::shader::source;
use crate::{Error, Result};

/// The kernel.
pub static SPEC: KernelSpec = KernelSpec::new(
    "add rows",
    source!("nn/add_rows.wgsl"),
    &[Binding::uniform("params"), Binding::read(1, "table"), Binding::read(2, "ids"), Binding::read_write(3, "y")],
    crate::host::nn::add_rows::twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::ELEMENTS);

/// Records `y[i] += table[ids[i]]`; `table` `[V, d]` and `y` `[n, d]` f32, `ids` u32 `[n]`, of which one beyond the table adds nothing.
///
/// # Errors
/// A table without rows, shapes that do not fit, other element types, `y` the memory of an operand, another device's tensors.
pub fn record(recorder: &mut Recorder, table: &Tensor, ids: &Buffer, y: &Tensor) -> Result<()> {
    let name = SPEC.name;
    check_matrix(recorder, name, ("y", y), (y.rows(), y.width()))?;
    check_matrix(recorder, name, ("table", table), (table.rows(), y.width()))?;
    check_words(recorder, name, ("ids", ids), y.rows())?;
    if table.rows() == 0 {
        return Err(Error::shape(name, "table", "at least one row", 0));
    }
    check_index(name, table)?;
    let buffers = [table.buffer(), ids, y.buffer()];
    check_written(name, &buffers, 1)?;
    let count = check_index(name, y)?;
    if count == 0 {
        return Ok(());
    }
    let params = Params { count, width4: y.width4() as u32, table_rows: table.rows() as u32 };
    Work { kernel: &SPEC, params: bytemuck::bytes_of(&params), buffers: &buffers, constants: &[] }
        .elements(recorder, count as usize)
}
