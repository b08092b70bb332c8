//! The yardstick for arithmetic: fused multiply-adds of f32 in registers.

use crate::device::{Buffer, Dispatch, Recorder};
use crate::host::bench::Params;

pub use crate::host::bench::MAX_ROUNDS;
use crate::kernels::{Binding, KernelSpec};
use crate::spec::in_range;
use crate::spec::shader::source;
use crate::{Error, Result};

/// The kernel.
pub static SPEC: KernelSpec = KernelSpec::new(
    "fma",
    source!("bench/fma.wgsl"),
    &[Binding::uniform("params"), Binding::read_write(1, "sums")],
    crate::host::bench::fma_twin,
)
.with_overrides(&["GROUP"])
.trusted(in_range::BENCH);

/// FLOPs of an invocation in a round: 32 FMAs of four elements.
pub const ROUND_FLOPS: u64 = 256;

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
    let variant = recorder.device().variant(&[], &[("GROUP", f64::from(group))]);
    recorder.dispatch_trusted(Dispatch::new(&SPEC).variant(variant).params(&params).buffers([sums]).groups([
        groups as u32,
        1,
        1,
    ]))
}
