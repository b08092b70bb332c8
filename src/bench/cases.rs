//! The cases: what is timed, on how much data, and what it has to move and to compute at least.

use super::{cosines, elementwise, end_to_end, losses, products, rows, training, yardsticks};
use crate::device::{Buffer, Device, DeviceKind, Recorder};
pub(super) use crate::tuning::numbers;
use crate::{Error, Result};

/// Shapes of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Rows of embeddings.
    pub rows: usize,
    /// Their width.
    pub width: usize,
    /// Side of the matrices that are multiplied.
    pub side: usize,
    /// Tokens of a batch.
    pub tokens: usize,
    /// Width of a decoder's stream.
    pub hidden: usize,
    /// Columns of a chunk of the vocabulary.
    pub vocabulary: usize,
    /// Rows of either side whose neighbours are found.
    pub neighbours: usize,
    /// Sequences of a training step.
    pub batch: usize,
}

impl Sizes {
    /// The sizes for a device; `quick` ones take seconds instead of minutes, and on a GPU fit into its caches.
    pub fn of(device: &Device, quick: bool) -> Self {
        let gpu = !matches!(device.capabilities().kind, DeviceKind::Host | DeviceKind::Software);
        match (gpu, quick) {
            (_, true) => Sizes {
                rows: 4000,
                width: 1280,
                side: 512,
                tokens: 128,
                hidden: 1024,
                vocabulary: 4096,
                neighbours: 1000,
                batch: 2,
            },
            (false, false) => Sizes {
                rows: 20_000,
                width: 1280,
                side: 1024,
                tokens: 512,
                hidden: 2048,
                vocabulary: 8192,
                neighbours: 5000,
                batch: 8,
            },
            (true, false) => Sizes {
                rows: 100_000,
                width: 1280,
                side: 4096,
                tokens: 4096,
                hidden: 4096,
                vocabulary: 32_768,
                neighbours: 50_000,
                batch: 32,
            },
        }
    }
}

/// What kind of case it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One kernel.
    Kernel,
    /// A job as users run it, files left out: chunks, transfers and the host's share included.
    EndToEnd,
}

impl Kind {
    /// As results files have it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Kernel => "kernel",
            Kind::EndToEnd => "end to end",
        }
    }
}

/// Records a case's commands.
pub type Record = Box<dyn Fn(&mut Recorder) -> Result<()>>;

/// What is done.
pub enum Run {
    /// Commands that are recorded anew for each sample.
    Recorded(Record),
    /// A call.
    Called(Box<dyn FnMut() -> Result<()>>),
}

/// How a result is compared with the host engine's before it is timed.
pub struct Check {
    /// The result.
    pub result: Buffer,
    /// Whether every bit must agree: integers; f32 otherwise, to 2e-5 of the largest value.
    pub exact: bool,
}

/// Things of which there are so many in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Items {
    /// How many.
    pub count: u64,
    /// Of what, in the plural.
    pub unit: &'static str,
}

/// A case, ready to run on a device.
pub struct Case {
    /// Shapes, for people.
    pub shape: String,
    /// Bytes that must move at least; 0 where that says nothing.
    pub bytes: u64,
    /// FLOPs that the definition has; 0 where that says nothing.
    pub flops: u64,
    /// What throughput counts, if not bytes or FLOPs.
    pub items: Option<Items>,
    /// What is done.
    pub run: Run,
    /// How its result is checked.
    pub check: Option<Check>,
}

impl Case {
    /// A kernel whose result is compared with the host engine's.
    pub(super) fn kernel(
        shape: String,
        (bytes, flops): (u64, u64),
        (result, exact): (&Buffer, bool),
        record: impl Fn(&mut Recorder) -> Result<()> + 'static,
    ) -> Self {
        let check = Some(Check { result: result.clone(), exact });
        Case { shape, bytes, flops, items: None, run: Run::Recorded(Box::new(record)), check }
    }

    /// A job.
    pub(super) fn job(shape: String, items: Items, call: impl FnMut() -> Result<()> + 'static) -> Self {
        Case { shape, bytes: 0, flops: 0, items: Some(items), run: Run::Called(Box::new(call)), check: None }
    }

    /// With FLOPs.
    pub(super) fn with_flops(self, flops: u64) -> Self {
        Case { flops, ..self }
    }

    /// Runs it once, and gives its result's bytes.
    ///
    /// # Errors
    /// What the device says; a case without a result.
    pub fn result(&self, device: &Device) -> Result<Vec<u8>> {
        let (Run::Recorded(record), Some(check)) = (&self.run, &self.check) else {
            return Err(Error::argument("case", "has no result"));
        };
        let mut recorder = device.recorder();
        record(&mut recorder)?;
        recorder.submit()?.wait()?;
        device.read_blocking(&check.result)
    }
}

/// A case that is not made yet: its data takes memory.
pub struct Entry {
    /// Its name, the same in every version.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Makes it.
    pub make: fn(&Device, &Sizes) -> Result<Case>,
}

/// All cases, in the order in which they are run.
pub fn catalogue() -> Vec<Entry> {
    let kernel = |name, make| Entry { name, kind: Kind::Kernel, make };
    let job = |name, make| Entry { name, kind: Kind::EndToEnd, make };
    vec![
        kernel("copy", yardsticks::copy),
        kernel("fused multiply-add", yardsticks::fma),
        kernel("normalize", rows::normalize),
        kernel("moments, mean and trace", rows::moments),
        kernel("moments, with a centroid", rows::moments_about),
        kernel("power sums", rows::power_sums),
        kernel("apply", rows::apply),
        kernel("c3", rows::c3),
        kernel("product A B", products::plain),
        kernel("product A Bᵀ", products::by_transposed),
        kernel("product Aᵀ B", products::of_transposed),
        kernel("product A Bᵀ, B in f16", products::by_f16),
        kernel("product A Bᵀ, B in bf16", products::by_bf16),
        kernel("product A Bᵀ + bias", products::with_bias),
        kernel("product A Bᵀ + residual", products::with_residual),
        kernel("product A Bᵀ + bias, gelu", products::with_gelu),
        kernel("10 best of each row", cosines::nearest_of_rows),
        kernel("10 best of each column", cosines::nearest_of_columns),
        kernel("histogram of cosines", cosines::histogram),
        kernel("add", elementwise::add),
        kernel("scale", elementwise::scale),
        kernel("gelu", elementwise::gelu),
        kernel("gelu backward", elementwise::gelu_backward),
        kernel("silu gate", elementwise::silu_gate),
        kernel("silu gate backward", elementwise::silu_gate_backward),
        kernel("rms norm", elementwise::rms_norm),
        kernel("rms norm backward", elementwise::rms_norm_backward),
        kernel("rms norm backward, weight", elementwise::rms_norm_weight_backward),
        kernel("layer norm", elementwise::layer_norm),
        kernel("layer norm backward", elementwise::layer_norm_backward),
        kernel("bias backward", elementwise::bias_backward),
        kernel("rotary", elementwise::rotary),
        kernel("embedding gather", elementwise::gather),
        kernel("embedding scatter", elementwise::scatter),
        kernel("cross entropy", losses::cross_entropy),
        kernel("cross entropy finish", losses::cross_entropy_finish),
        kernel("cross entropy backward", losses::cross_entropy_backward),
        kernel("info nce", losses::info_nce),
        kernel("info nce backward", losses::info_nce_backward),
        kernel("pair sigmoid", losses::pair_sigmoid),
        kernel("pair sigmoid backward", losses::pair_sigmoid_backward),
        kernel("gradient norm", elementwise::norm),
        kernel("adamw", elementwise::adamw),
        kernel("attention", elementwise::attention),
        kernel("attention backward", elementwise::attention_backward),
        job("fit", end_to_end::fit),
        job("apply to rows", end_to_end::apply),
        job("covariance", end_to_end::covariance),
        job("64 leading eigenvectors", end_to_end::leading),
        job("10 nearest neighbours", end_to_end::neighbours),
        job("adapter step", training::adapter_case),
        job("stage 1 step", training::stage1_case),
        job("stage 2 step", training::stage2_case),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::device::{Capabilities, Command};
    use crate::kernels::ALL;

    /// Devices that choose each shader of this crate: a GPU, one with matrix units, and drivers on a CPU with subgroups and without.
    fn kinds() -> Vec<Device> {
        let gpu = |c: &mut Capabilities| (c.kind, c.group, c.lanes) = (DeviceKind::DiscreteGpu, 256, 32);
        let cpu = |c: &mut Capabilities| (c.kind, c.texel_reads) = (DeviceKind::Software, true);
        let of = |change: &dyn Fn(&mut Capabilities)| Device::plan(1 << 30).with_capabilities(change).unwrap();
        vec![
            of(&gpu),
            of(&|c| {
                gpu(c);
                c.matrix_units = Some(16);
            }),
            of(&cpu),
            of(&|c| {
                cpu(c);
                c.subgroup_size = Some(8);
            }),
        ]
    }

    /// The kernels that no case of `entries` records on any kind of device.
    fn missing(entries: &[Entry]) -> Vec<&'static str> {
        let sizes =
            Sizes { rows: 40, width: 8, side: 64, tokens: 64, hidden: 256, vocabulary: 64, neighbours: 4, batch: 1 };
        let mut met = BTreeSet::new();
        for device in kinds() {
            for entry in entries.iter().filter(|e| e.kind == Kind::Kernel) {
                let case = (entry.make)(&device, &sizes).unwrap();
                assert!(case.bytes + case.flops > 0, "{} states no work", entry.name);
                let Run::Recorded(record) = &case.run else { panic!("{} is a job", entry.name) };
                let mut recorder = device.recorder();
                record(&mut recorder).unwrap();
                met.extend(recorder.commands().iter().filter_map(|command| match command {
                    Command::Dispatch(dispatch) => Some(dispatch.kernel.name),
                    _ => None,
                }));
            }
        }
        ALL.iter().map(|kernel| kernel.name).filter(|name| !met.contains(name)).collect()
    }

    #[test]
    fn every_kernel_has_a_case() {
        let mut entries = catalogue();
        assert_eq!(missing(&entries), [] as [&str; 0]);
        // A kernel without a case is found.
        entries.retain(|e| !e.name.starts_with("rotary") && !e.name.contains("gelu"));
        let gone = ["gelu", "gelu backward", "rotary"];
        let fused = ["matmul subgroup, gelu", "matmul direct, gelu", "matmul tiled, gelu", "matmul units, gelu"];
        assert_eq!(missing(&entries), [&gone[..], &fused[..]].concat());
    }

    #[test]
    fn names_are_distinct() {
        let names: Vec<&str> = catalogue().iter().map(|e| e.name).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
    }
}
