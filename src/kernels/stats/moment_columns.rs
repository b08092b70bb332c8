//! Second of the two dispatches that sum moments without workgroup memory: the weighted column sums. Formats and proofs:
//! [`super::moments`], which records it where [`crate::device::Capabilities::texel_reads`].
//!
//! Bytes: one read of the rows. Per element one product, one shift and one addition of 64 bits.

use super::super::{Binding, KernelSpec};
use crate::spec::in_range;
use crate::spec::shader::source;

/// The kernel.
pub static SPEC: KernelSpec = KernelSpec::new(
    "moment_columns",
    source!("stats/moment_columns.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::texels(1, "rows"),
        Binding::texels(2, "vectors"),
        Binding::read_write(4, "sums"),
    ],
    crate::host::stats::moment_columns::twin,
)
.with_grid()
.with_overrides(&["GROUP"])
.trusted(in_range::MOMENTS);

/// Rows that an invocation adds up before it adds to the sums of all.
pub(crate) const SLAB: u32 = 256;
