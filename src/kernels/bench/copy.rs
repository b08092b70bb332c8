//! The yardstick for memory: one read and one write of every byte.

use crate::device::{Buffer, Dispatch, Recorder};
use crate::kernels::{Binding, KernelSpec, groups};
use crate::spec::in_range;
use crate::spec::shader::source;
use crate::{Error, Result};

/// The kernel.
pub static SPEC: KernelSpec = KernelSpec::new(
    "copy",
    source!("bench/copy.wgsl"),
    &[Binding::uniform("params"), Binding::read(1, "from_vectors"), Binding::read_write(2, "to_vectors")],
    crate::host::bench::copy_twin,
)
.with_overrides(&["GROUP"])
.trusted(in_range::BENCH);

/// Vectors that an invocation moves.
const EACH: usize = 4;
/// Bytes of one copy at most: the shader counts vectors in 32 bits and passes the last by up to a stride.
const MOST: u64 = 16 * ((1 << 32) - (1 << 26));

/// Records the copy of the first `bytes` bytes of `from` to `to`.
///
/// # Errors
/// A number of bytes that is not a multiple of 16 or that one of the buffers does not have; another device's buffers; one
/// buffer twice.
pub fn record(recorder: &mut Recorder, from: &Buffer, to: &Buffer, bytes: u64) -> Result<()> {
    let most = from.bytes().min(to.bytes()).min(MOST);
    if !bytes.is_multiple_of(16) || bytes > most {
        return Err(Error::shape(SPEC.name, "bytes", format!("a multiple of 16 up to {most}"), bytes));
    }
    if from.same(to) {
        return Err(Error::shape(SPEC.name, "output", "another buffer", "the input"));
    }
    let vectors = (bytes / 16) as u32;
    let group = recorder.device().capabilities().group;
    let variant = recorder.device().variant(&[], &[("GROUP", f64::from(group))]);
    recorder.dispatch_trusted(
        Dispatch::new(&SPEC).variant(variant).params(&[vectors, 0, 0, 0]).buffers([from, to]).groups([
            groups(vectors as usize / (group as usize * EACH)),
            1,
            1,
        ]),
    )
}
