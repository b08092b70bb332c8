//! Devices: where recorded commands run. Two engines run the same commands: wgpu, and the host's cores.

mod buffer;
mod environment;
mod halves;
mod memory;
mod nodes;
mod pieces;
mod recorder;
mod select;
mod slots;
mod textures;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use buffer::SharedBuffer;
pub use buffer::{Buffer, Tensor};
pub(crate) use buffer::{Storage, pad_rows};
pub use environment::backends_of;
pub use pieces::{Pending, Piece, Pieces};
pub(crate) use pieces::{block_on, yield_now};
pub use recorder::{Command, Dispatch, Recorder, Submission};
pub use select::{DeviceOptions, Selection, adapters, list_adapters};
pub use slots::{DownloadSlot, UploadSlot};
pub use textures::{LINE_BYTES, TextureCopy};

use crate::gpu::Gpu;
pub use crate::spec::{AdapterSummary, Capabilities, DeviceKind, Purpose, TensorCores};
use crate::spec::{Choice, Constant, Import, Offered, Use, Variant, Variants};
use crate::{ElementType, Error, Result};
use memory::MemoryTracker;

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
    variants: Variants,
    tracker: MemoryTracker,
    idle: SharedBuffer,
    /// Whether a recording runs among the threads of the host's cores.
    among_cores: AtomicBool,
}

impl Inner {
    fn new(engine: Engine, name: String, capabilities: Capabilities) -> Self {
        Inner {
            engine,
            name,
            capabilities,
            variants: Variants::default(),
            tracker: MemoryTracker::default(),
            idle: SharedBuffer::default(),
            among_cores: AtomicBool::new(false),
        }
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
            tensor_cores: None,
            rounds_operands: false,
            int64: true,
            texel_reads: false,
            mapped_storage: true,
            timestamps: false,
            max_binding: u64::MAX,
            workgroup_bytes: u32::MAX,
            max_texels_bytes: u64::MAX,
            // Stays in a core's outer cache between reading and computing.
            chunk_bytes: (1 << 20) * threads as u64,
            dispatch_flops: u64::MAX,
            dispatch_bytes: u64::MAX,
            tiling: None,
            exact_form: None,
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
            Engine::Gpu(gpu) => Some(gpu.offered()?),
            Engine::Host => Some(Offered::all(inner.capabilities.clone())),
            // One that only plans has what it is told.
            Engine::Plan => None,
        };
        change(&mut inner.capabilities);
        let offered = offered.unwrap_or_else(|| Offered::all(inner.capabilities.clone()));
        inner.capabilities.check(&offered)?;
        inner.variants.forget();
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
        inner.tracker.limit = bytes;
        Ok(Device(Arc::new(inner)))
    }

    /// Bytes of the buffers that are alive and of this purpose; without staging buffers, and without the textures that stand for
    /// operands where a driver reads those faster.
    pub fn memory(&self, purpose: Purpose) -> u64 {
        self.0.tracker.taken(purpose)
    }

    /// The most bytes that all buffers together have taken so far.
    pub fn peak_memory(&self) -> u64 {
        self.0.tracker.peak()
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

    /// Runs a recording of the host engine among the threads of the cores: to hand each part of each kernel to them from outside cost more than a short
    /// text's products. One at a time: a thread that waits within one for its kernel's parts takes up what else was handed in, and another recording may
    /// wait for a buffer that the first has locked. Further ones run on the threads that submit them.
    pub(crate) fn among_cores<R: Send>(&self, run: impl FnOnce() -> R + Send) -> R {
        struct Leave<'a>(&'a AtomicBool);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.store(false, Ordering::Release);
            }
        }
        if self.0.among_cores.swap(true, Ordering::Acquire) {
            return run();
        }
        let _leave = Leave(&self.0.among_cores);
        rayon::scope(|_| run())
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

    /// Bytes of all staging buffers that transfers have made so far: they are used again, so that this stays as it is once the largest
    /// transfers of a program have been made. None on the host engine.
    pub fn staging_bytes(&self) -> u64 {
        match &self.0.engine {
            Engine::Gpu(gpu) => gpu.staging_bytes(),
            Engine::Host | Engine::Plan => 0,
        }
    }

    /// The variant of kernels with these files for the names that a source imports, and these values of overrides: for
    /// [`Dispatch::variant`]. A shader takes the values that its kernel declares.
    pub fn variant(&self, imports: &[Import], constants: &[Constant]) -> Variant {
        let elements = (ElementType::F32, ElementType::F32);
        let choice = Choice { family: "as told", elements, imports, constants };
        let complete = || Ok((imports.to_vec(), constants.to_vec()));
        // Invariant: what completes the choice has no error.
        self.variant_for(choice, complete).unwrap_or_else(|_| self.0.variants.plain().clone())
    }

    /// The variant of kernels that answers a choice, made of the imports and constants of `complete` when it is asked for first.
    ///
    /// # Errors
    /// Those of `complete`.
    pub(crate) fn variant_for(
        &self,
        choice: Choice<'_>,
        complete: impl FnOnce() -> Result<(Vec<Import>, Vec<Constant>)>,
    ) -> Result<Variant> {
        self.0.variants.get(choice, complete)
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

    /// A zeroed buffer that counts as memory for `purpose`.
    ///
    /// # Errors
    /// As [`Device::buffer`].
    pub(crate) fn buffer_for(&self, purpose: Purpose, label: &str, bytes: u64) -> Result<Buffer> {
        Buffer::new(self, label, bytes, (Use::Compute, purpose))
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

    /// As [`Self::begin_read`], so many bytes of the buffer from the first number on, both multiples of 4, in memory that the caller has no
    /// more use for.
    ///
    /// # Errors
    /// As [`Device::read`]; more bytes than the buffer has.
    #[cfg(feature = "train")]
    pub(crate) fn begin_read_part(
        &self,
        buffer: &Buffer,
        (first, bytes): (u64, u64),
        mut into: Vec<u8>,
    ) -> Result<Pending<Vec<u8>>> {
        buffer.check_device("read", self)?;
        let inside = first.checked_add(bytes).is_some_and(|end| end <= buffer.bytes());
        if !inside || !first.is_multiple_of(4) || !bytes.is_multiple_of(4) {
            let want = format!("multiples of 4 within {} bytes", buffer.bytes());
            return Err(Error::shape("read", "part of a buffer", want, format!("{bytes} from {first}")));
        }
        match (&self.0.engine, buffer.storage()) {
            (Engine::Gpu(gpu), Storage::Gpu(memory)) => {
                Ok(Pending::new(gpu.read_part(memory, (first, bytes), into)?))
            }
            (Engine::Host, Storage::Host(memory)) => {
                into.clear();
                memory.read(|all| into.extend_from_slice(&all[first as usize..(first + bytes) as usize]));
                Ok(Pending::new(std::future::ready(Ok(into))))
            }
            _ => Err(Error::argument("device", "one that plans has nothing to read")),
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

    /// Reads the first bytes of a buffer to memory that is there already, waiting for them: for large reads again and again, where
    /// fresh memory for each would take longer than the transfer.
    ///
    /// # Errors
    /// As [`Device::read`]; more bytes than the buffer has, or a length that is no multiple of 4.
    pub fn read_into_blocking(&self, buffer: &Buffer, out: &mut [u8]) -> Result<()> {
        if out.len() as u64 > buffer.bytes() || !out.len().is_multiple_of(4) {
            let want = format!("a multiple of 4 up to {} bytes", buffer.bytes());
            return Err(Error::shape("read", "memory", want, format!("{} bytes", out.len())));
        }
        buffer.check_device("read", self)?;
        match (&self.0.engine, buffer.storage()) {
            (Engine::Gpu(gpu), Storage::Gpu(memory)) => gpu.read_into(memory, out),
            (Engine::Host, Storage::Host(memory)) => {
                memory.read(|bytes| out.copy_from_slice(&bytes[..out.len()]));
                Ok(())
            }
            _ => Err(Error::argument("device", "one that plans has nothing to read")),
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
