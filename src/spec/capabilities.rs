//! What a device offers, and the shapes that kernels take on it.

use super::exact_form::ExactForm;
use super::tiles::Tiling;
use crate::{Error, Result};

/// What kind of processor a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// A GPU with memory of its own.
    DiscreteGpu,
    /// A GPU that shares the host's memory.
    IntegratedGpu,
    /// A GPU in a virtual machine, or one that does not say.
    OtherGpu,
    /// A GPU driver that runs on the CPU (lavapipe, SwiftShader, WARP).
    Software,
    /// This crate's host engine.
    Host,
}

impl DeviceKind {
    /// As shown to people.
    pub const fn name(self) -> &'static str {
        match self {
            DeviceKind::DiscreteGpu => "discrete GPU",
            DeviceKind::IntegratedGpu => "integrated GPU",
            DeviceKind::OtherGpu => "GPU",
            DeviceKind::Software => "software GPU",
            DeviceKind::Host => "host engine",
        }
    }

    /// Whether it is a GPU, and no driver that runs on the CPU.
    pub const fn is_gpu(self) -> bool {
        matches!(self, DeviceKind::DiscreteGpu | DeviceKind::IntegratedGpu | DeviceKind::OtherGpu)
    }
}

/// Which products a device's tensor cores take; wgpu offers them as cooperative matrices, an experimental feature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TensorCores {
    /// None.
    #[default]
    Off,
    /// Those whose operands are both f16, if the adapter has tensor cores: products are exact, sums f32.
    Halves,
    /// All, other operands rounded to f16: several times as fast, and an element is off by up to 2^-10 Σ |a b|. A request fails on an adapter
    /// without.
    All,
}

/// What a device offers, and the shapes that kernels take on it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Capabilities {
    /// The kind of processor.
    pub kind: DeviceKind,
    /// Invocations of a row kernel's workgroup.
    pub group: u32,
    /// Invocations that share a row: 1 where an invocation is a CPU's vector lane, else a GPU's usual subgroup.
    pub lanes: u32,
    /// Whether teams are subgroups: all have one size, and it is `lanes`.
    pub subgroup_teams: bool,
    /// Size of the adapter's subgroups, where shaders may use them and all have one size.
    pub subgroup_size: Option<u32>,
    /// Side of the fragments that the adapter's tensor cores multiply, f16 operands and f32 sums: 16 or 8, where
    /// `DeviceOptions::tensor_cores` asked for them. Products whose operands are both f16 take them, and attention of f16 those of 16.
    pub tensor_cores: Option<u32>,
    /// Whether other products take the tensor cores, too, their operands rounded to f16.
    pub rounds_operands: bool,
    /// Whether shaders use the adapter's 64-bit integers.
    pub int64: bool,
    /// Whether read-only operands are read as textures, and moments are summed in two dispatches without workgroup memory:
    /// drivers that run on the CPU read a texel many times faster than an element of a buffer.
    pub texel_reads: bool,
    /// Whether the host maps storage buffers directly, without a staging copy.
    pub mapped_storage: bool,
    /// Whether commands can be timed by timestamp queries.
    pub timestamps: bool,
    /// Largest storage binding, in bytes.
    pub max_binding: u64,
    /// Bytes of workgroup memory that a kernel may have.
    pub workgroup_bytes: u32,
    /// Bytes that a texture of four words a texel holds.
    pub max_texels_bytes: u64,
    /// Bytes that a chunk of rows should have.
    pub chunk_bytes: u64,
    /// FLOPs of one dispatch of matrix products or attention at most, so that none runs into a desktop's watchdog: a quarter of a second of the slowest kernel
    /// where it was measured, else a guess by the device's kind.
    pub dispatch_flops: u64,
    /// Bytes that one dispatch of any other kernel moves at most, counted over all of its buffers: a quarter of a second of
    /// the slowest kernel where memory was measured, else a guess by the device's kind.
    pub dispatch_bytes: u64,
    /// Which tiles multiply matrices, where that was measured; `None` for [`Tiling::fixed`].
    pub tiling: Option<Tiling>,
    /// In which form integers are multiplied exactly, where that was tried and measured; `None` for digits.
    pub exact_form: Option<ExactForm>,
}

impl Capabilities {
    /// Checks that a device that offers so much can run kernels of these shapes.
    pub(crate) fn check(&self, device: &Offered) -> Result<()> {
        let offered = &device.capabilities;
        let teams = self.group.checked_div(self.lanes).unwrap_or(0);
        let checks = [
            ((1..=256).contains(&self.group), "group must be 1 to 256"),
            (
                teams * self.lanes == self.group && (1..=64).contains(&teams),
                "lanes must split the group into 1 to 64 teams",
            ),
            (
                !self.subgroup_teams || offered.subgroup_size == Some(self.lanes),
                "subgroup teams need subgroups of one size, lanes",
            ),
            (!self.int64 || device.int64, "the device has no 64-bit integers"),
            (!self.mapped_storage || device.mapped_storage, "the device does not map storage buffers"),
            (
                !self.texel_reads || self.max_binding <= offered.max_texels_bytes,
                "max_binding is above what a texture holds; lower it, or turn texel_reads off",
            ),
            (!self.timestamps || device.timestamps, "the device has no timestamps"),
            (self.dispatch_flops > 0 && self.dispatch_bytes > 0, "dispatch_flops and dispatch_bytes must be above 0"),
            (
                (self.tensor_cores.is_none() && !self.rounds_operands) || self.tensor_cores == offered.tensor_cores,
                "the device was not asked for tensor cores",
            ),
            (
                self.tiling.is_none_or(|t| t.runs_on(self)),
                "a tile needs subgroups, tensor cores or workgroup memory that the device does not have, or is for drivers that run on the CPU",
            ),
            (self.max_binding <= offered.max_binding, "max_binding is above the device's"),
            (self.workgroup_bytes <= offered.workgroup_bytes, "workgroup_bytes is above the device's"),
        ];
        match checks.iter().find(|(holds, _)| !holds) {
            Some((_, problem)) => Err(Error::argument("capabilities", *problem)),
            None => Ok(()),
        }
    }

    /// Rows that a workgroup of a row kernel holds at a time.
    pub(crate) fn teams(&self) -> usize {
        (self.group / self.lanes).max(1) as usize
    }

    /// Rows of `row_bytes` that make a chunk on this device.
    pub fn chunk_rows(&self, row_bytes: u64) -> usize {
        (self.chunk_bytes.min(self.max_binding) / row_bytes.max(1)).max(1) as usize
    }
}

/// What a device could do, whatever of it its capabilities use.
pub(crate) struct Offered {
    /// As the device comes.
    pub capabilities: Capabilities,
    /// Whether it has 64-bit integers.
    pub int64: bool,
    /// Whether it maps storage buffers.
    pub mapped_storage: bool,
    /// Whether it has timestamps.
    pub timestamps: bool,
}

impl Offered {
    /// Everything, with these capabilities.
    pub fn all(capabilities: Capabilities) -> Self {
        Offered { capabilities, int64: true, mapped_storage: true, timestamps: true }
    }
}

/// One adapter of this machine, or the host engine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AdapterSummary {
    /// Name, as `Selection::Named` takes it.
    pub name: String,
    /// The kind of processor.
    pub kind: DeviceKind,
    /// `vulkan`, `metal`, `dx12`, `gl`, or `host`.
    pub backend: String,
    /// Driver and version, where known.
    pub driver: String,
    /// Largest storage binding, in bytes.
    pub max_binding: u64,
    /// Optional features that this crate uses where it finds them.
    pub features: Vec<&'static str>,
}
