//! The wgpu engine. It knows buffers, shaders and queues, and no kernel; only `readback` waits and polls.

mod adapter;
mod memory;
mod pipeline_cache;
mod pipelines;
mod readback;
mod staging;
mod submit;

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use adapter::{Adapter, enumerate};
pub(crate) use memory::GpuMemory;
pub(crate) use submit::{Launch, Step, TexturePart, Timing};

use crate::error::{Problem, Remedy};
use crate::spec::{Capabilities, DeviceKind, Offered, Purpose, TEXEL_LINE, TensorCores};
use crate::{Error, Result};

/// A wgpu device with its queue and caches.
pub(crate) struct Gpu {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    name: String,
    driver: String,
    kind: DeviceKind,
    subgroup_sizes: (u32, u32),
    backend: wgpu::Backend,
    /// Side of a fragment of the tensor cores, if they were asked for.
    tensor_cores: Option<u32>,
    rounds_operands: bool,
    /// Whether every shader keeps wgpu's checks.
    checked: bool,
    /// Where pipelines are kept between processes, if anywhere.
    kept: Option<pipeline_cache::PipelineCache>,
    /// The driver's words, once the device is lost.
    lost: Arc<Mutex<Option<String>>>,
    pipelines: pipelines::Cache,
    params: submit::ParamBuffer,
    staging: Arc<staging::Staging>,
    /// Calls that waited for the device.
    waits: AtomicU64,
}

/// What is asked of a device of our own.
pub(crate) struct Wanted<'a> {
    /// Cooperative matrices.
    pub tensor_cores: TensorCores,
    /// wgpu's checks in every shader.
    pub checked: bool,
    /// The folder in which compiled pipelines are kept between processes.
    pub pipelines: Option<&'a Path>,
}

impl Drop for Gpu {
    fn drop(&mut self) {
        if let Some(kept) = &self.kept {
            kept.save();
        }
    }
}

impl Gpu {
    fn new(info: &wgpu::AdapterInfo, device: wgpu::Device, queue: wgpu::Queue) -> Result<Self> {
        let params = submit::ParamBuffer::new(&device);
        let gpu = Gpu {
            name: info.name.clone(),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            kind: adapter::kind(info),
            subgroup_sizes: (info.subgroup_min_size, info.subgroup_max_size),
            backend: info.backend,
            tensor_cores: None,
            rounds_operands: false,
            checked: false,
            kept: None,
            lost: Arc::default(),
            pipelines: pipelines::Cache::default(),
            params,
            staging: Arc::default(),
            waits: AtomicU64::new(0),
            device,
            queue,
        };
        gpu.check_limits()?;
        Ok(gpu)
    }

    /// A device and queue of the app's own.
    pub(crate) fn adopt(info: &wgpu::AdapterInfo, device: wgpu::Device, queue: wgpu::Queue) -> Result<Self> {
        Self::new(info, device, queue)
    }

    /// A device of our own on `adapter`, with every feature that we use and the adapter has.
    pub(crate) async fn request(adapter: &adapter::Adapter, wanted: Wanted<'_>) -> Result<Self> {
        let tensor_cores = match wanted.tensor_cores {
            TensorCores::Off => None,
            TensorCores::Halves => adapter.tensor_cores().ok(),
            TensorCores::All => Some(adapter.tensor_cores()?),
        };
        let (device, queue) = adapter.request_device(tensor_cores.is_some()).await?;
        let mut gpu = Self::new(&adapter.info, device, queue)?;
        (gpu.tensor_cores, gpu.checked) = (tensor_cores, wanted.checked);
        gpu.rounds_operands = wanted.tensor_cores == TensorCores::All;
        gpu.kept = wanted.pipelines.and_then(|at| pipeline_cache::PipelineCache::open(&gpu.device, &adapter.info, at));
        let lost = gpu.lost.clone();
        gpu.device.set_device_lost_callback(move |reason, message| {
            *lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{reason:?}: {message}"));
        });
        let name = gpu.name.clone();
        // Whatever escapes the error scopes must not end the process.
        gpu.device.on_uncaptured_error(Arc::new(move |error| log::error!("{name}: {error}")));
        Ok(gpu)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Driver and version, where known.
    pub(crate) fn driver(&self) -> &str {
        &self.driver
    }

    pub(crate) fn backend(&self) -> &'static str {
        self.backend.to_str()
    }

    /// WebGPU's default limits are all that the kernels need.
    fn check_limits(&self) -> Result<()> {
        let (have, need) = (self.device.limits(), wgpu::Limits::default());
        let checks = [
            ("storage buffers per stage", have.max_storage_buffers_per_shader_stage, 8),
            ("invocations per workgroup", have.max_compute_invocations_per_workgroup, 256),
            ("workgroup memory", have.max_compute_workgroup_storage_size, need.max_compute_workgroup_storage_size),
            ("workgroups per side", have.max_compute_workgroups_per_dimension, 65_535),
        ];
        match checks.iter().find(|(_, have, need)| have < need) {
            Some((what, have, need)) => Err(Error::Unsupported {
                adapter: self.name.clone(),
                problem: Problem::new(format!("{what}: {have}, needed {need}")).remedy(Remedy::HostEngine),
            }),
            None => Ok(()),
        }
    }

    /// What the device could do.
    pub(crate) fn offered(&self) -> Result<Offered> {
        let features = self.device.features();
        Ok(Offered {
            capabilities: self.capabilities()?,
            int64: features.contains(wgpu::Features::SHADER_INT64),
            mapped_storage: features.contains(wgpu::Features::MAPPABLE_PRIMARY_BUFFERS),
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        })
    }

    pub(crate) fn capabilities(&self) -> Result<Capabilities> {
        let (features, limits) = (self.device.features(), self.device.limits());
        let software = self.kind == DeviceKind::Software;
        let (least, most) = self.subgroup_sizes;
        let fixed = features.contains(wgpu::Features::SUBGROUP) && least == most && (4..=128).contains(&least);
        let max_texels_bytes = u64::from(limits.max_texture_dimension_2d) * 16 * u64::from(TEXEL_LINE);
        let max_binding = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        let texel_reads = software && self.backend == wgpu::Backend::Vulkan;
        let subgroup_teams = !software && fixed && least >= 8;
        Ok(Capabilities {
            kind: self.kind,
            group: if software { 64 } else { 256 },
            // A CPU's vector lanes each take a row; a GPU's neighbours read neighbouring columns.
            lanes: if software {
                1
            } else if subgroup_teams {
                least
            } else {
                32
            },
            subgroup_teams,
            subgroup_size: fixed.then_some(least),
            tensor_cores: self.tensor_cores,
            rounds_operands: self.rounds_operands,
            int64: features.contains(wgpu::Features::SHADER_INT64) && self.backend != wgpu::Backend::Gl,
            texel_reads,
            mapped_storage: features.contains(wgpu::Features::MAPPABLE_PRIMARY_BUFFERS)
                && matches!(self.kind, DeviceKind::Software | DeviceKind::IntegratedGpu),
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            max_binding: if texel_reads { max_binding.min(max_texels_bytes) } else { max_binding },
            workgroup_bytes: limits.max_compute_workgroup_storage_size,
            max_texels_bytes,
            chunk_bytes: if software { 4 << 20 } else { 64 << 20 },
            // Some 0.3 s at 2 GFLOP/s, the slowest kernel of a software driver; 0.2 s at 0.1 TFLOP/s.
            dispatch_flops: if software { 1 << 29 } else { 1 << 34 },
            // 0.3 s at 0.2 GB/s, the slowest kernel of a software driver; 0.2 s at 5 GB/s.
            dispatch_bytes: if software { 1 << 26 } else { 1 << 30 },
            tiling: None,
            exact_form: None,
        })
    }

    /// The error of a lost device, if it is lost.
    fn check_lost(&self) -> Result<()> {
        match &*self.lost.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(reason) => Err(Error::DeviceLost { adapter: self.name.clone(), reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// Runs `f` and turns what wgpu objects to into an error value.
    fn guarded<R>(&self, operation: &str, bytes: u64, f: impl FnOnce() -> R) -> Result<R> {
        self.check_lost()?;
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let result = f();
        // Native error scopes resolve at once.
        let errors = [
            pollster::block_on(internal.pop()),
            pollster::block_on(validation.pop()),
            pollster::block_on(memory.pop()),
        ];
        self.check_lost()?;
        match errors.into_iter().flatten().next() {
            None => Ok(result),
            Some(wgpu::Error::OutOfMemory { .. }) => {
                let (what, remedy) = (operation.to_owned(), Purpose::Data.remedy());
                Err(Error::OutOfMemory { adapter: self.name.clone(), what, bytes, remedy })
            }
            Some(error) => {
                self.probe();
                self.check_lost()?;
                Err(Error::Gpu {
                    adapter: self.name.clone(),
                    operation: operation.to_owned(),
                    reason: error.to_string(),
                })
            }
        }
    }

    /// Finds out whether the device is lost where no callback tells (an adopted device's belongs to the app; a destroyed
    /// device's comes late). wgpu answers calls on a lost device with invalid objects and no error: only their use is one.
    fn probe(&self) {
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("probe"),
            size: 4,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        buffer.map_async(wgpu::MapMode::Read, .., |_| ());
        let invalid = pollster::block_on(validation.pop()).is_some();
        if pollster::block_on(memory.pop()).is_none() && invalid {
            let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
            lost.get_or_insert_with(|| "the device takes no more commands".to_owned());
        }
    }
}
