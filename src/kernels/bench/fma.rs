//! The yardstick for arithmetic: fused multiply-adds of f32 in registers.

use bytemuck::{Pod, Zeroable};

use crate::device::{Buffer, Dispatch, Recorder};
use crate::kernels::{Binding, KernelSpec};
use crate::{ElementType, Error, Result};

/// The kernel.
pub static SPEC: KernelSpec = KernelSpec {
    name: "fma",
    source: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/bench/fma.wgsl")),
    bindings: &[Binding::uniform("params"), Binding::read_write(1, "sums")],
    twin: crate::host::bench::fma_twin,
};

/// FLOPs of an invocation in a round: 32 FMAs of four elements.
pub const ROUND_FLOPS: u64 = 256;

/// Rounds of a dispatch at most: a driver ends loops at 65,535 turns.
pub const MAX_ROUNDS: u32 = 16_384;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Params {
    pub rounds: u32,
    pub factor: f32,
    pub summand: f32,
    pub padding: u32,
}

/// Records `rounds` rounds in one invocation for each 16 bytes of `sums`, which gets each invocation's sum: f32, four to an
/// invocation.
///
/// # Errors
/// More than [`MAX_ROUNDS`]; a buffer for more than 65,535 workgroups, or another device's.
pub fn record(recorder: &mut Recorder, sums: &Buffer, rounds: u32) -> Result<()> {
    let group = recorder.device().capabilities().group;
    let groups = (sums.bytes() / 16).div_ceil(u64::from(group));
    if rounds > MAX_ROUNDS || groups > 65_535 {
        let got = format!("{rounds} rounds in {groups} workgroups");
        return Err(Error::shape(SPEC.name, "grid", format!("{MAX_ROUNDS} rounds in 65535 workgroups at most"), got));
    }
    let params = Params { rounds, factor: 0.999, summand: 0.001, padding: 0 };
    recorder.dispatch(Dispatch {
        kernel: &SPEC,
        imports: Vec::new(),
        constants: vec![("GROUP", f64::from(group))],
        params: bytemuck::bytes_of(&params).to_vec(),
        buffers: vec![sums.clone()],
        elements: (ElementType::F32, ElementType::F32),
        groups: [groups as u32, 1, 1],
        part: None,
    })
}
