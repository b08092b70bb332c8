//! Commands as plain data, recorded first and run by either engine.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::{Buffer, Device, Engine, Storage, Tensor, TextureCopy, halves};
use crate::gpu::{GpuMemory, Launch, Step, TexturePart};
use crate::spec::{BindingKind, Constant, HostCall, HostSlice, Import, KernelSpec, Variant};
use crate::{ElementType, Error, Result};

/// One kernel over a grid.
///
/// ```
/// # use realign::device::{Buffer, Dispatch};
/// # fn record(recorder: &mut realign::device::Recorder, kernel: &'static realign::kernels::KernelSpec, rows: &Buffer) -> realign::Result<()> {
/// let count = [5u32];
/// recorder.dispatch(Dispatch::new(kernel).params(&count).buffers([rows]).groups([1, 1, 1]))
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Dispatch {
    /// The kernel.
    pub kernel: &'static KernelSpec,
    /// Its imports and the values of its overrides; `None` for a kernel without them.
    pub variant: Option<Variant>,
    /// Bytes of the parameter block; a multiple of 16.
    pub params: Vec<u8>,
    /// The storage buffers, in the order of the kernel's bindings.
    pub buffers: Vec<Buffer>,
    /// Element types of the input and output rows, for the twin.
    pub elements: (ElementType, ElementType),
    /// Which of the storage buffers hold f16 where the twin takes f32, bit `i` for buffer `i`: the host engine widens such a one before the
    /// twin, and rounds to nearest even what the twin wrote. The shader's variant must read and write them so by itself.
    pub halves: u32,
    /// Workgroups along each side, 1 to 65,535.
    pub groups: [u32; 3],
    /// Where the kernel's grid is run in parts: the workgroups of the parts before, and of the whole. Only for kernels whose
    /// shader reads `common/grid.wgsl`.
    pub part: Option<[u32; 2]>,
}

impl Dispatch {
    /// The kernel with one workgroup, without parameters, buffers and imports, on f32 rows.
    pub fn new(kernel: &'static KernelSpec) -> Self {
        Dispatch {
            kernel,
            variant: None,
            params: Vec::new(),
            buffers: Vec::new(),
            elements: (ElementType::F32, ElementType::F32),
            halves: 0,
            groups: [1; 3],
            part: None,
        }
    }

    /// With these parameters, filled up with zeros to a multiple of 16 bytes, as uniforms are.
    #[must_use]
    pub fn params<T: bytemuck::NoUninit>(self, params: &T) -> Self {
        let mut bytes = bytemuck::bytes_of(params).to_vec();
        bytes.resize(bytes.len().next_multiple_of(16), 0);
        Dispatch { params: bytes, ..self }
    }

    /// With these storage buffers, in the order of the kernel's bindings.
    #[must_use]
    pub fn buffers<'a>(self, buffers: impl IntoIterator<Item = &'a Buffer>) -> Self {
        Dispatch { buffers: buffers.into_iter().cloned().collect(), ..self }
    }

    /// With these imports and values of overrides, see [`Device::variant`].
    #[must_use]
    pub fn variant(self, variant: Variant) -> Self {
        Dispatch { variant: Some(variant), ..self }
    }

    /// The files for the names that the source imports, besides the kernel's own.
    pub fn imports(&self) -> &[Import] {
        self.variant.as_ref().map_or(&[], Variant::imports)
    }

    /// The complete WGSL.
    ///
    /// # Errors
    /// A name or path that does not exist.
    pub fn source(&self) -> Result<String> {
        self.kernel.expanded(self.imports())
    }

    /// The values of the overrides that the shader has.
    pub fn constants(&self) -> Vec<Constant> {
        self.variant.as_ref().map_or_else(Vec::new, |variant| self.kernel.constants(variant.constants()))
    }

    /// With input and output rows of these element types.
    #[must_use]
    pub fn elements(self, input: ElementType, output: ElementType) -> Self {
        Dispatch { elements: (input, output), ..self }
    }

    /// With f16 in these storage buffers, see [`Dispatch::halves`].
    #[must_use]
    pub fn halves(self, halves: u32) -> Self {
        Dispatch { halves, ..self }
    }

    /// With so many workgroups along each side, 1 to 65,535.
    #[must_use]
    pub fn groups(self, groups: [u32; 3]) -> Self {
        Dispatch { groups, ..self }
    }
}

/// A recorded command.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Command {
    /// Run a kernel.
    Dispatch(Dispatch),
    /// Fill a buffer with zeros.
    Clear(Buffer),
    /// Copy a range of bytes of one buffer into another: from and its offset, to and its offset, the number of bytes.
    Copy((Buffer, u64), (Buffer, u64), u64),
    /// Copy a part of a texture into a buffer.
    CopyTexture(TextureCopy),
    /// Bring an upload's data to its tensor (nothing where the host maps it directly).
    Upload(Buffer),
    /// Bring a tensor's data to where a download reads it (nothing where the host maps it directly).
    Download(Buffer),
}

/// Collects commands for one submission.
#[derive(Debug)]
pub struct Recorder {
    device: Device,
    commands: Vec<Command>,
    /// Places of the dispatches that run without wgpu's checks. Not in the dispatches, which anyone may change.
    trusted: Vec<usize>,
    timed: bool,
}

impl Recorder {
    pub(super) fn new(device: Device) -> Self {
        Recorder { device, commands: Vec::new(), trusted: Vec::new(), timed: false }
    }

    /// The device that will run the commands.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What has been recorded.
    pub fn commands(&self) -> &[Command] {
        &self.commands
    }

    /// Asks for each dispatch's duration: by timestamp queries on a GPU that has them, by the clock on the host.
    pub fn timed(mut self) -> Self {
        self.timed = true;
        self
    }

    /// Records a kernel.
    ///
    /// # Errors
    /// Buffers that are not as many as the kernel binds, or another device's; a grid out of range.
    pub fn dispatch(&mut self, dispatch: Dispatch) -> Result<()> {
        let kernel = dispatch.kernel;
        if dispatch.buffers.len() + 1 != kernel.bindings.len() {
            return Err(Error::shape(
                kernel.name,
                "buffers",
                kernel.bindings.len().saturating_sub(1),
                dispatch.buffers.len(),
            ));
        }
        if kernel.cpu_only && self.device.capabilities().kind.is_gpu() {
            let problem = format!("{} is for drivers that run on the CPU: on a GPU its registers spill", kernel.name);
            return Err(Error::Unsupported { adapter: self.device.name().to_owned(), problem: problem.into() });
        }
        if dispatch.buffers.iter().any(|b| !b.belongs_to(&self.device)) {
            return Err(Error::shape(kernel.name, "buffer", "a buffer of the recorder's device", "another device's"));
        }
        if !dispatch.params.len().is_multiple_of(16) {
            let got = format!("{} bytes", dispatch.params.len());
            return Err(Error::shape(kernel.name, "parameters", "a multiple of 16 bytes", got));
        }
        if dispatch.groups.iter().any(|&g| g == 0 || g > 65_535) {
            return Err(Error::shape(kernel.name, "workgroups", "1 to 65535 a side", format!("{:?}", dispatch.groups)));
        }
        self.commands.push(Command::Dispatch(dispatch));
        Ok(())
    }

    /// As [`Recorder::dispatch`], by the kernel's own wrapper, which has seen to what its reason to be trusted asks for: without wgpu's checks
    /// of indices, loops and divisors, unless the device was asked for them.
    ///
    /// # Errors
    /// As [`Recorder::dispatch`].
    pub(crate) fn dispatch_trusted(&mut self, dispatch: Dispatch) -> Result<()> {
        let trusted = dispatch.kernel.in_range.is_some();
        self.dispatch(dispatch)?;
        if trusted {
            self.trusted.push(self.commands.len() - 1);
        }
        Ok(())
    }

    /// As [`Recorder::dispatch`], without wgpu's checks: bounds of buffers and arrays are not looked at, loops are not bounded,
    /// divisors may not be zero, and workgroup memory is not zeroed before the kernel starts.
    ///
    /// # Errors
    /// As [`Recorder::dispatch`].
    ///
    /// # Safety
    /// With these parameters, buffers and workgroups every index of the kernel's shader is in range, every loop ends, no divisor is zero
    /// (or the least number by -1), and every word of workgroup memory is written before it is read.
    #[expect(unsafe_code, reason = "what the caller promises nobody can check")]
    pub unsafe fn dispatch_unchecked(&mut self, dispatch: Dispatch) -> Result<()> {
        self.dispatch(dispatch)?;
        self.trusted.push(self.commands.len() - 1);
        Ok(())
    }

    /// Records the zeroing of a buffer.
    pub fn clear(&mut self, buffer: &Buffer) {
        self.commands.push(Command::Clear(buffer.clone()));
    }

    /// Records the copy of a tensor's rows to the first rows of another of the same width and element type.
    ///
    /// # Errors
    /// Shapes or types that differ; another device's tensors; a tensor and itself.
    pub fn copy(&mut self, from: &Tensor, to: &Tensor) -> Result<()> {
        self.copy_rows((from, 0), (to, 0), from.rows())
    }

    /// Records the copy of `rows` rows of a tensor, from `from.1` on, to the rows of another from `to.1` on.
    ///
    /// # Errors
    /// Widths or element types that differ; rows that are not there; another device's tensors; a tensor and itself.
    pub fn copy_rows(&mut self, from: (&Tensor, usize), to: (&Tensor, usize), rows: usize) -> Result<()> {
        let shape = |t: &Tensor| format!("width {} {}", t.width(), t.element_type());
        if shape(from.0) != shape(to.0) {
            return Err(Error::shape("copy", "output", shape(from.0), shape(to.0)));
        }
        for (what, (tensor, first)) in [("input", from), ("output", to)] {
            if first.checked_add(rows).is_none_or(|end| end > tensor.rows()) {
                let got = format!("{rows} from {first}");
                return Err(Error::shape("copy", what, format!("at most {} rows", tensor.rows()), got));
            }
        }
        let (f, t) = (from.0.buffer(), to.0.buffer());
        if f.same(t) || [f, t].iter().any(|b| !b.belongs_to(&self.device)) {
            return Err(Error::shape("copy", "output", "another tensor of the recorder's device", "not that"));
        }
        let stride = from.0.row_bytes() as u64;
        if rows > 0 {
            let place = |(tensor, first): (&Tensor, usize)| (tensor.buffer().clone(), first as u64 * stride);
            self.commands.push(Command::Copy(place(from), place(to), rows as u64 * stride));
        }
        Ok(())
    }

    /// The same commands as recordings of at most `dispatches` kernels each, to be submitted in this order.
    pub fn cut(self, dispatches: usize) -> Vec<Recorder> {
        let mut parts: Vec<Recorder> = Vec::new();
        let mut count = 0;
        for (place, command) in self.commands.into_iter().enumerate() {
            let kernel = matches!(command, Command::Dispatch(_));
            if parts.is_empty() || (kernel && count >= dispatches.max(1)) {
                parts.push(Recorder { timed: self.timed, ..Recorder::new(self.device.clone()) });
                count = 0;
            }
            count += usize::from(kernel);
            // Invariant: there is one at least.
            if let Some(part) = parts.last_mut() {
                if self.trusted.binary_search(&place).is_ok() {
                    part.trusted.push(part.commands.len());
                }
                part.commands.push(command);
            }
        }
        parts
    }

    pub(super) fn push(&mut self, command: Command) {
        self.commands.push(command);
    }

    /// The command at this place as the wgpu engine runs it.
    fn lowered<'a>(&'a self, (place, command): (usize, &'a Command)) -> Result<Step<'a>> {
        Ok(match command {
            Command::Dispatch(dispatch) => Step::Launch(Launch {
                kernel: dispatch.kernel,
                variant: dispatch.variant.as_ref().unwrap_or(self.device.0.variants.plain()),
                params: &dispatch.params,
                buffers: dispatch.buffers.iter().map(memory).collect::<Result<_>>()?,
                groups: dispatch.groups,
                part: dispatch.part,
                trusted: self.trusted.binary_search(&place).is_ok(),
            }),
            Command::Clear(buffer) => Step::Clear(memory(buffer)?),
            Command::Copy((from, f), (to, t), bytes) => Step::Copy((memory(from)?, *f), (memory(to)?, *t), *bytes),
            Command::CopyTexture(TextureCopy { texture, origin, size, buffer, line_bytes }) => {
                let part = TexturePart { texture, origin: *origin, size: *size, line_bytes: *line_bytes };
                Step::CopyTexture(part, memory(buffer)?)
            }
            Command::Upload(buffer) => Step::Upload(memory(buffer)?),
            Command::Download(buffer) => Step::Download(memory(buffer)?),
        })
    }

    /// Hands the commands to the device. A GPU works on them while this returns; the host engine is done when it returns.
    ///
    /// # Errors
    /// The device was lost or is out of memory; a shader was rejected; a twin found its buffers unfit; a buffer to clear, or
    /// a slot, is another device's. On a GPU, a recording with a command that wgpu objects to does not run at all, but a device that
    /// is lost may have run a part; on the host engine, what was recorded before the twin that fails has run.
    pub fn submit(self) -> Result<Submission> {
        for command in &self.commands {
            if let Command::Clear(buffer) | Command::Upload(buffer) | Command::Download(buffer) = command {
                buffer.check_device("submit", &self.device)?;
            }
        }
        match &self.device.0.engine {
            Engine::Gpu(gpu) => {
                let steps = self.commands.iter().enumerate().map(|c| self.lowered(c)).collect::<Result<Vec<_>>>()?;
                let (index, timing) = gpu.submit(&steps, self.timed, self.device.capabilities().texel_reads)?;
                Ok(Submission { device: self.device.clone(), work: Work::Gpu(index, timing) })
            }
            Engine::Plan => Ok(Submission { device: self.device.clone(), work: Work::Host(Vec::new()) }),
            Engine::Host => {
                let commands = &self.commands;
                let run = || commands.iter().filter_map(|c| run_on_host(c).transpose()).collect::<Result<_>>();
                let times = self.device.among_cores(run)?;
                Ok(Submission { device: self.device.clone(), work: Work::Host(times) })
            }
        }
    }
}

/// The memory of a GPU's buffer.
fn memory(buffer: &Buffer) -> Result<&GpuMemory> {
    match buffer.storage() {
        Storage::Gpu(memory) => Ok(memory),
        Storage::Host(_) | Storage::Nothing => {
            Err(Error::shape("submit", "buffer", "a buffer of this device", "the host engine's"))
        }
    }
}

/// Runs a command; a dispatch's name and duration come back.
fn run_on_host(command: &Command) -> Result<Option<(&'static str, Duration)>> {
    match command {
        Command::Dispatch(dispatch) => {
            let start = Instant::now();
            run_twin(dispatch)?;
            Ok(Some((dispatch.kernel.name, start.elapsed())))
        }
        Command::Clear(buffer) => {
            if let Storage::Host(memory) = buffer.storage() {
                memory.write(|bytes| bytes.fill(0));
            }
            Ok(None)
        }
        Command::Copy((from, f), (to, t), bytes) => {
            let range = |first: u64| first as usize..(first + bytes) as usize;
            if let (Storage::Host(from), Storage::Host(to)) = (from.storage(), to.storage()) {
                from.read(|from| to.write(|to| to[range(*t)].copy_from_slice(&from[range(*f)])));
            }
            Ok(None)
        }
        // The last is not recorded for the host engine.
        Command::Upload(_) | Command::Download(_) | Command::CopyTexture(_) => Ok(None),
    }
}

fn run_twin(dispatch: &Dispatch) -> Result<()> {
    enum Guard<'a> {
        Read(std::sync::RwLockReadGuard<'a, Vec<u64>>),
        Write(std::sync::RwLockWriteGuard<'a, Vec<u64>>),
    }
    let mut guards = Vec::with_capacity(dispatch.buffers.len());
    for (buffer, binding) in dispatch.buffers.iter().zip(&dispatch.kernel.bindings[1..]) {
        let Storage::Host(memory) = buffer.storage() else {
            return Err(Error::shape(dispatch.kernel.name, binding.name, "host memory", "a GPU's"));
        };
        guards.push(match binding.kind {
            // try_: a buffer bound for writing twice is an error, not a deadlock.
            BindingKind::ReadWrite => Guard::Write(match memory.lock().try_write() {
                Ok(guard) => guard,
                Err(std::sync::TryLockError::Poisoned(p)) => PoisonError::into_inner(p),
                Err(std::sync::TryLockError::WouldBlock) => {
                    return Err(Error::shape(dispatch.kernel.name, binding.name, "a buffer bound once", "bound twice"));
                }
            }),
            _ => Guard::Read(match memory.lock().try_read() {
                Ok(guard) => guard,
                Err(std::sync::TryLockError::Poisoned(p)) => PoisonError::into_inner(p),
                Err(std::sync::TryLockError::WouldBlock) => {
                    return Err(Error::shape(dispatch.kernel.name, binding.name, "a buffer not also written", "both"));
                }
            }),
        });
    }
    let buffers = guards.iter_mut().zip(&dispatch.buffers).map(|(guard, buffer)| {
        let bytes = buffer.bytes() as usize;
        match guard {
            Guard::Read(memory) => HostSlice::Read(&bytemuck::cast_slice(&memory[..])[..bytes]),
            Guard::Write(memory) => HostSlice::Write(&mut bytemuck::cast_slice_mut(&mut memory[..])[..bytes]),
        }
    });
    let mut buffers: Vec<HostSlice<'_>> = buffers.collect();
    if dispatch.halves != 0 {
        return halves::run_twin(dispatch, &mut buffers);
    }
    let mut call = HostCall { params: &dispatch.params, buffers, elements: dispatch.elements };
    (dispatch.kernel.twin)(&mut call)
}

enum Work {
    Gpu(wgpu::SubmissionIndex, Vec<crate::gpu::Timing>),
    Host(Vec<(&'static str, Duration)>),
}

/// Work handed to a device.
pub struct Submission {
    device: Device,
    work: Work,
}

impl std::fmt::Debug for Submission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Submission").field("device", &self.device).finish_non_exhaustive()
    }
}

impl Submission {
    /// Waits until the work is done.
    ///
    /// # Errors
    /// The device was lost.
    pub fn wait(&self) -> Result<()> {
        match (&self.device.0.engine, &self.work) {
            (Engine::Gpu(gpu), Work::Gpu(index, _)) => gpu.wait(index),
            _ => Ok(()),
        }
    }

    /// Whether the work is done; does not wait.
    ///
    /// # Errors
    /// The device was lost.
    pub fn is_done(&self) -> Result<bool> {
        match (&self.device.0.engine, &self.work) {
            (Engine::Gpu(gpu), Work::Gpu(index, _)) => gpu.is_done(index),
            _ => Ok(true),
        }
    }

    /// Waits, then gives each dispatch's kernel and duration; empty if the recorder was not [`Recorder::timed`] or the
    /// adapter has no timestamps.
    ///
    /// # Errors
    /// The device was lost.
    pub fn durations_blocking(&self) -> Result<Vec<(&'static str, Duration)>> {
        match (&self.device.0.engine, &self.work) {
            (Engine::Gpu(gpu), Work::Gpu(_, timings)) => gpu.durations(timings),
            (_, Work::Host(times)) => Ok(times.clone()),
            _ => Ok(Vec::new()),
        }
    }
}
