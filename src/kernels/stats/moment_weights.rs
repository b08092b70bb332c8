//! First of the two dispatches that sum moments without workgroup memory: each row's multiplier. Formats and proofs:
//! [`super::moments`], which records it where [`crate::device::Capabilities::texel_reads`].
//!
//! Bytes: two reads of the rows. FLOPs: as [`super::moments`] without the column sums.

use super::super::{Binding, KernelSpec};
use crate::spec::in_range;
use crate::spec::shader::source;

/// The kernel.
pub static SPEC: KernelSpec = KernelSpec::new(
    "moment_weights",
    source!("stats/moment_weights.wgsl"),
    &[
        Binding::uniform("params"),
        Binding::texels(1, "rows"),
        Binding::texels(2, "vectors"),
        Binding::read(3, "constants"),
        Binding::read_write(4, "sums"),
        Binding::read_write(5, "weights"),
    ],
    crate::host::stats::moment_weights::twin,
)
.with_grid()
.with_overrides(&["GROUP", "VECTORS"])
.trusted(in_range::MOMENTS);

/// Bytes of one row's entry: weight, shift, bits of the scale, spare.
pub(crate) const ENTRY_BYTES: usize = 16;
