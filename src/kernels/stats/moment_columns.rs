//! Second of the two dispatches that sum moments without workgroup memory: the weighted column sums. Formats and proofs:
//! [`super::moments`], which records it where [`crate::device::Capabilities::texel_reads`].
//!
//! Bytes: one read of the rows. Per element one product, one shift and one addition of 64 bits.

use bytemuck::{Pod, Zeroable};

use super::super::{Binding, KernelSpec};

/// The kernel.
pub static SPEC: KernelSpec = KernelSpec {
    name: "moment_columns",
    source: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/stats/moment_columns.wgsl")),
    bindings: &[
        Binding::uniform("params"),
        Binding::texels(1, "rows"),
        Binding::texels(2, "vectors"),
        Binding::read_write(4, "sums"),
    ],
    twin: crate::host::stats::moment_columns::twin,
};

/// Rows that an invocation adds up before it adds to the sums of all.
pub(crate) const SLAB: u32 = 256;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub rows: u32,
    pub width4: u32,
    pub slab: u32,
    pub padding: u32,
}
