//! Devices: where recorded commands run. Two engines run the same commands: wgpu, and the host's cores.

mod buffer;
mod environment;
mod memory;
mod nodes;
mod pieces;
mod recorder;
mod select;
mod slots;

use std::sync::Arc;

use buffer::SharedBuffer;
pub use buffer::{Buffer, Tensor};
pub(crate) use buffer::{Storage, Use, pad_rows};
pub use environment::backends_of;
pub use memory::Purpose;
#[cfg(feature = "train")]
pub(crate) use pieces::next_look;
pub use pieces::{Pending, Piece, Pieces};
pub use recorder::{Command, Dispatch, Recorder, Submission};
pub use select::{AdapterSummary, DeviceOptions, Selection, adapters, list_adapters};
pub use slots::{DownloadSlot, UploadSlot};

use crate::gpu::Gpu;
use crate::kernels::linalg::tiles::Tiling;
use crate::{Error, Result};
use memory::Ledger;

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
}

/// What a device offers, and the shapes that kernels take on it.
#[derive(Clone, Debug)]
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
    /// Side of the fragments that the adapter's matrix units multiply, f16 operands and f32 sums: 16 or 8, where
    /// [`DeviceOptions::matrix_units`] asked for them.
    pub matrix_units: Option<u32>,
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
}

impl Capabilities {
    /// Whether a device of these features, that comes as `offered`, can run kernels of these shapes.
    fn check(&self, offered: &Capabilities, features: wgpu::Features) -> Result<()> {
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
            (!self.int64 || features.contains(wgpu::Features::SHADER_INT64), "the device has no 64-bit integers"),
            (
                !self.mapped_storage || features.contains(wgpu::Features::MAPPABLE_PRIMARY_BUFFERS),
                "the device does not map storage buffers",
            ),
            (
                !self.texel_reads || self.max_binding <= offered.max_texels_bytes,
                "max_binding is above what a texture holds; lower it, or turn texel_reads off",
            ),
            (!self.timestamps || features.contains(wgpu::Features::TIMESTAMP_QUERY), "the device has no timestamps"),
            (self.dispatch_flops > 0 && self.dispatch_bytes > 0, "dispatch_flops and dispatch_bytes must be above 0"),
            (
                self.matrix_units.is_none() || self.matrix_units == offered.matrix_units,
                "the device was not asked for matrix units",
            ),
            (
                self.tiling.is_none_or(|t| t.runs_on(self)),
                "a tile needs subgroups or matrix units that the device does not have",
            ),
            (self.max_binding <= offered.max_binding, "max_binding is above the device's"),
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

#[expect(clippy::large_enum_variant, reason = "there is one to a device, behind an `Arc`")]
pub(crate) enum Engine {
    Gpu(Gpu),
    Host,
    /// Nothing: buffers are counted and commands dropped.
    Plan,
}

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) name: String,
    pub(crate) capabilities: Capabilities,
    ledger: Ledger,
    idle: SharedBuffer,
}

impl Inner {
    fn new(engine: Engine, name: String, capabilities: Capabilities) -> Self {
        Inner { engine, name, capabilities, ledger: Ledger::default(), idle: SharedBuffer::default() }
    }
}

/// A device: cheap to clone, safe to share. Tensors, buffers and recorders belong to the device that made them.
#[derive(Clone)]
pub struct Device(pub(crate) Arc<Inner>);

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device").field("name", &self.0.name).field("capabilities", &self.0.capabilities).finish()
    }
}

impl Device {
    /// The host engine: this machine's cores, no driver needed.
    pub fn host() -> Device {
        let threads = rayon::current_num_threads();
        let capabilities = Capabilities {
            kind: DeviceKind::Host,
            group: 64,
            lanes: 1,
            subgroup_teams: false,
            subgroup_size: None,
            matrix_units: None,
            int64: true,
            texel_reads: false,
            mapped_storage: true,
            timestamps: false,
            max_binding: u64::MAX,
            max_texels_bytes: u64::MAX,
            // Stays in a core's outer cache between reading and computing.
            chunk_bytes: (1 << 20) * threads as u64,
            dispatch_flops: u64::MAX,
            dispatch_bytes: u64::MAX,
            tiling: None,
        };
        let name = format!("host engine ({threads} threads)");
        Device(Arc::new(Inner::new(Engine::Host, name, capabilities)))
    }

    /// A device that only plans: it binds `max_binding` bytes at once, its buffers are counted ([`Device::memory`]) but hold nothing,
    /// what is written to them or submitted is dropped, and nothing can be read.
    pub fn plan(max_binding: u64) -> Device {
        let capabilities = Capabilities { max_binding, ..Device::host().capabilities().clone() };
        let name = "a device that plans".to_owned();
        Device(Arc::new(Inner::new(Engine::Plan, name, capabilities)))
    }

    /// Adopts an app's own wgpu device. Its error and device-lost callbacks are left alone; features are used only as far
    /// as the device was created with them.
    ///
    /// # Errors
    /// The device's limits are below what the kernels need.
    pub fn from_wgpu(info: &wgpu::AdapterInfo, device: wgpu::Device, queue: wgpu::Queue) -> Result<Device> {
        Self::from_gpu(Gpu::adopt(info, device, queue)?)
    }

    pub(crate) fn from_gpu(gpu: Gpu) -> Result<Device> {
        let (name, capabilities) = (gpu.name().to_owned(), gpu.capabilities()?);
        Ok(Device(Arc::new(Inner::new(Engine::Gpu(gpu), name, capabilities))))
    }

    /// The device with other kernel shapes: for tests and benches of the variants that its adapter would not get, and for
    /// tuning. Call it before anything is made on the device.
    ///
    /// # Errors
    /// A shape that the kernels or the device do not allow; a clone, a buffer or a recorder of the device is in use.
    pub fn with_capabilities(self, change: impl FnOnce(&mut Capabilities)) -> Result<Device> {
        let mut inner = Arc::try_unwrap(self.0).map_err(|_| {
            Error::argument("capabilities", "the device is in use; change it before making anything on it")
        })?;
        let offered = match &inner.engine {
            Engine::Gpu(gpu) => Some((gpu.capabilities()?, gpu.device.features())),
            Engine::Host => Some((inner.capabilities.clone(), wgpu::Features::all())),
            // One that only plans has what it is told.
            Engine::Plan => None,
        };
        change(&mut inner.capabilities);
        let (offered, features) = offered.unwrap_or_else(|| (inner.capabilities.clone(), wgpu::Features::all()));
        inner.capabilities.check(&offered, features)?;
        Ok(Device(Arc::new(inner)))
    }

    /// The device with no more than `bytes` for all its buffers: for apps that share it, and for tests of what happens then. Call it
    /// before anything is made on the device.
    ///
    /// # Errors
    /// A clone, a buffer or a recorder of the device is in use.
    pub fn with_memory_limit(self, bytes: u64) -> Result<Device> {
        let in_use = |_| Error::argument("memory limit", "the device is in use; set it before making anything on it");
        let mut inner = Arc::try_unwrap(self.0).map_err(in_use)?;
        inner.ledger.limit = bytes;
        Ok(Device(Arc::new(inner)))
    }

    /// Bytes of the buffers that are alive and of this purpose; without staging buffers, and without the textures that stand for
    /// operands where a driver reads those faster.
    pub fn memory(&self, purpose: Purpose) -> u64 {
        self.0.ledger.taken(purpose)
    }

    /// The most bytes that all buffers together have taken so far.
    pub fn peak_memory(&self) -> u64 {
        self.0.ledger.peak()
    }

    /// Whether it only plans.
    pub(crate) fn plans(&self) -> bool {
        matches!(self.0.engine, Engine::Plan)
    }

    /// The adapter's name, or the host engine's.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The adapter's driver and its version, where known; empty on the host engine.
    pub fn driver(&self) -> &str {
        match &self.0.engine {
            Engine::Gpu(gpu) => gpu.driver(),
            Engine::Host | Engine::Plan => "",
        }
    }

    /// `vulkan`, `metal`, `dx12`, `gl`, or `host`.
    pub fn backend(&self) -> &'static str {
        match &self.0.engine {
            Engine::Gpu(gpu) => gpu.backend(),
            Engine::Host | Engine::Plan => "host",
        }
    }

    /// What the device offers.
    pub fn capabilities(&self) -> &Capabilities {
        &self.0.capabilities
    }

    /// The wgpu device and queue, for apps that share them; `None` on the host engine.
    pub fn wgpu(&self) -> Option<(&wgpu::Device, &wgpu::Queue)> {
        match &self.0.engine {
            Engine::Gpu(gpu) => Some((&gpu.device, &gpu.queue)),
            Engine::Host | Engine::Plan => None,
        }
    }

    /// How many pipelines and bind groups the device keeps: as many as the kernels and the living buffers in use need, however often
    /// they are used. None on the host engine.
    pub fn cached(&self) -> (usize, usize) {
        match &self.0.engine {
            Engine::Gpu(gpu) => gpu.cached(),
            Engine::Host | Engine::Plan => (0, 0),
        }
    }

    /// A recorder of commands for this device.
    pub fn recorder(&self) -> Recorder {
        Recorder::new(self.clone())
    }

    /// A zeroed buffer of at least 4 bytes, rounded up to a multiple of 4; `label` names it in errors.
    ///
    /// # Errors
    /// Larger than a binding may be; no memory; the device was lost.
    pub fn buffer(&self, label: &str, bytes: u64) -> Result<Buffer> {
        Buffer::new(self, label, bytes, (Use::Compute, Purpose::Data))
    }

    /// 16 bytes to bind where an operand has none, which nobody reads or writes: the same for all who hold it at a time.
    ///
    /// # Errors
    /// As [`Device::buffer`].
    pub(crate) fn idle(&self) -> Result<Buffer> {
        self.0.idle.get(|| self.buffer("in place of an operand without rows", 16))
    }

    /// A buffer that holds `bytes`.
    ///
    /// # Errors
    /// As [`Device::buffer`].
    pub fn buffer_from(&self, label: &str, bytes: &[u8]) -> Result<Buffer> {
        let buffer = self.buffer(label, bytes.len() as u64)?;
        self.write(&buffer, bytes)?;
        Ok(buffer)
    }

    /// Writes `bytes` to the start of `buffer`, before whatever is submitted next.
    ///
    /// # Errors
    /// More bytes than the buffer has, or a length that is no multiple of 4.
    pub fn write(&self, buffer: &Buffer, bytes: &[u8]) -> Result<()> {
        if bytes.len() as u64 > buffer.bytes() || !bytes.len().is_multiple_of(4) {
            let want = format!("a multiple of 4 up to {} bytes", buffer.bytes());
            return Err(Error::shape("write", "data", want, format!("{} bytes", bytes.len())));
        }
        buffer.check_device("write", self)?;
        match (&self.0.engine, buffer.storage()) {
            (Engine::Gpu(gpu), Storage::Gpu(memory)) => gpu.write(memory, bytes),
            (Engine::Host, Storage::Host(memory)) => {
                memory.write(|to| to[..bytes.len()].copy_from_slice(bytes));
                Ok(())
            }
            (Engine::Plan, Storage::Nothing) => Ok(()),
            _ => Err(Error::shape("write", "buffer", "a buffer of this device", "another device's")),
        }
    }

    /// Reads a buffer once everything submitted so far is done.
    ///
    /// On a GPU the future makes progress when the device is polled: by [`Device::poll`], by the app, or by
    /// [`Device::read_blocking`].
    ///
    /// # Errors
    /// The device was lost; the buffer is another device's.
    pub async fn read(&self, buffer: &Buffer) -> Result<Vec<u8>> {
        self.begin_read(buffer)?.into_future().await
    }

    /// Begins to read a buffer: as it is once everything submitted so far is done, whatever is submitted later.
    ///
    /// # Errors
    /// As [`Device::read`].
    pub fn begin_read(&self, buffer: &Buffer) -> Result<Pending<Vec<u8>>> {
        buffer.check_device("read", self)?;
        match (&self.0.engine, buffer.storage()) {
            (Engine::Gpu(gpu), Storage::Gpu(memory)) => Ok(Pending::new(gpu.read(memory)?)),
            (Engine::Host, Storage::Host(memory)) => {
                Ok(Pending::new(std::future::ready(Ok(memory.read(<[u8]>::to_vec)))))
            }
            (Engine::Plan, _) => Err(Error::argument("device", "one that plans has nothing to read")),
            _ => Err(Error::shape("read", "buffer", "a buffer of this device", "another device's")),
        }
    }

    /// [`Device::read`], waiting for it.
    ///
    /// # Errors
    /// As [`Device::read`].
    pub fn read_blocking(&self, buffer: &Buffer) -> Result<Vec<u8>> {
        buffer.check_device("read", self)?;
        match (&self.0.engine, buffer.storage()) {
            (Engine::Gpu(gpu), Storage::Gpu(memory)) => gpu.read_blocking(memory),
            _ => pollster::block_on(self.read(buffer)),
        }
    }

    /// Lets finished work report, without waiting. For apps that poll nothing themselves.
    ///
    /// # Errors
    /// The device was lost.
    pub fn poll(&self) -> Result<()> {
        match &self.0.engine {
            Engine::Gpu(gpu) => gpu.poll(),
            Engine::Host | Engine::Plan => Ok(()),
        }
    }

    /// Waits until the device is done with all that was submitted, and has reported it.
    ///
    /// # Errors
    /// The device was lost.
    pub fn wait(&self) -> Result<()> {
        match &self.0.engine {
            Engine::Gpu(gpu) => gpu.wait_for(None),
            Engine::Host | Engine::Plan => Ok(()),
        }
    }

    /// How many times a call on this device has waited for it so far. In a frame loop that is to stay smooth this number stays as
    /// it is.
    pub fn waits(&self) -> u64 {
        match &self.0.engine {
            Engine::Gpu(gpu) => gpu.waits(),
            Engine::Host | Engine::Plan => 0,
        }
    }

    /// Requests a device: see [`DeviceOptions`].
    ///
    /// # Errors
    /// No adapter answers the options; the adapter refuses a device; its limits are too low.
    pub async fn request(options: &DeviceOptions) -> Result<Device> {
        select::request(options).await
    }

    /// [`Device::request`], waiting for it.
    ///
    /// # Errors
    /// As [`Device::request`].
    pub fn request_blocking(options: &DeviceOptions) -> Result<Device> {
        pollster::block_on(Self::request(options))
    }
}
