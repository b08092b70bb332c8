//! Adapters: enumeration, kind, and the device that we ask of one.

use super::pipeline_cache::PipelineCache;
use crate::error::{Problem, Remedy};
use crate::spec::tiles::COOPERATIVE_LANES;
use crate::spec::{AdapterSummary, DeviceKind};
use crate::{Error, Result};

/// An adapter and what it says of itself.
pub(crate) struct Adapter {
    inner: wgpu::Adapter,
    pub(crate) info: wgpu::AdapterInfo,
}

/// Cooperative matrices; only where they are asked for.
const COOPERATIVE_MATRICES: wgpu::Features = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;

/// wgpu's token for experimental features.
#[expect(unsafe_code, reason = "wgpu asks for it: bugs of its experimental features may be met by safe code")]
fn experimental() -> wgpu::ExperimentalFeatures {
    // SAFETY: callers named the option. Its one feature is used by one shader, whose accesses the tests compare with the twin's.
    unsafe { wgpu::ExperimentalFeatures::enabled() }
}

/// Features that are used where an adapter has them, and their names.
const WANTED: [(wgpu::Features, &str); 5] = [
    (wgpu::Features::SUBGROUP, "subgroups"),
    (wgpu::Features::SHADER_INT64, "int64"),
    (wgpu::Features::SHADER_F16, "f16"),
    (wgpu::Features::TIMESTAMP_QUERY, "timestamps"),
    (wgpu::Features::MAPPABLE_PRIMARY_BUFFERS, "mapped storage"),
];

/// Adapters of these backends. `unset` are flags that wgpu's reading of the environment may set but that are to be as by default.
pub(crate) async fn enumerate(backends: wgpu::Backends, unset: wgpu::InstanceFlags) -> Vec<Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    descriptor.backends = backends;
    let default = wgpu::InstanceFlags::from_build_config();
    descriptor.flags = (descriptor.flags - unset) | (default & unset);
    let instance = wgpu::Instance::new(descriptor);
    let found = instance.enumerate_adapters(backends).await;
    found.into_iter().map(|inner| Adapter { info: inner.get_info(), inner }).collect()
}

/// The kind, from what the driver says and, for OpenGL, from the names of software renderers.
pub(crate) fn kind(info: &wgpu::AdapterInfo) -> DeviceKind {
    let name = info.name.to_lowercase();
    let software = ["llvmpipe", "lavapipe", "swiftshader", "softpipe", "basic render", "warp"];
    if info.device_type == wgpu::DeviceType::Cpu || software.iter().any(|s| name.contains(s)) {
        return DeviceKind::Software;
    }
    match info.device_type {
        wgpu::DeviceType::DiscreteGpu => DeviceKind::DiscreteGpu,
        wgpu::DeviceType::IntegratedGpu => DeviceKind::IntegratedGpu,
        _ => DeviceKind::OtherGpu,
    }
}

impl Adapter {
    pub(crate) fn kind(&self) -> DeviceKind {
        kind(&self.info)
    }

    /// Whether the name or driver contains `text`; `lavapipe` is what Mesa's Vulkan driver calls llvmpipe.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        let fields = [&self.info.name, &self.info.driver, &self.info.driver_info];
        fields.iter().any(|f| f.to_lowercase().contains(&text))
            || (text == "lavapipe" && self.info.backend == wgpu::Backend::Vulkan && self.matches("llvmpipe"))
    }

    pub(crate) fn summary(&self) -> AdapterSummary {
        let features = self.inner.features();
        AdapterSummary {
            name: self.info.name.clone(),
            kind: self.kind(),
            backend: self.info.backend.to_str().to_owned(),
            driver: format!("{} {}", self.info.driver, self.info.driver_info).trim().to_owned(),
            max_binding: self.inner.limits().max_storage_buffer_binding_size,
            features: WANTED
                .iter()
                .filter(|(f, _)| features.contains(*f))
                .map(|(_, name)| *name)
                .chain(self.tensor_cores().is_ok().then_some("tensor cores"))
                .collect(),
        }
    }

    /// Side of the fragments that the tensor cores multiply with f16 operands and f32 sums, in subgroups as our kernel has them.
    pub(crate) fn tensor_cores(&self) -> Result<u32> {
        let (features, size) = (self.inner.features(), (self.info.subgroup_min_size, self.info.subgroup_max_size));
        let needed = wgpu::Features::SUBGROUP | wgpu::Features::SHADER_F16 | COOPERATIVE_MATRICES;
        let fits = |p: &wgpu::CooperativeMatrixProperties, side: u32| {
            (p.m_size, p.n_size, p.k_size) == (side, side, side)
                && p.ab_type == wgpu::CooperativeScalarType::F16
                && p.cr_type == wgpu::CooperativeScalarType::F32
        };
        let offered = self.inner.cooperative_matrix_properties();
        let side = [16, 8].into_iter().find(|&side| offered.iter().any(|p| fits(p, side)));
        match side {
            Some(side) if features.contains(needed) && size == (COOPERATIVE_LANES, COOPERATIVE_LANES) => Ok(side),
            _ => Err(Error::Unsupported {
                adapter: self.info.name.clone(),
                problem: "no tensor cores for f16 operands and f32 sums in subgroups of 32; leave them out".into(),
            }),
        }
    }

    /// A device with every feature that we use and the adapter has; cooperative matrices if `tensor_cores`.
    pub(crate) async fn request_device(&self, tensor_cores: bool) -> Result<(wgpu::Device, wgpu::Queue)> {
        let mut wanted = WANTED.iter().fold(wgpu::Features::empty(), |all, (f, _)| all | *f);
        wanted |= PipelineCache::FEATURE;
        wanted.set(COOPERATIVE_MATRICES, tensor_cores);
        // On others the host's way to the device's own memory is slow, and wgpu warns of it.
        if !matches!(self.kind(), DeviceKind::Software | DeviceKind::IntegratedGpu) {
            wanted.remove(wgpu::Features::MAPPABLE_PRIMARY_BUFFERS);
        }
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("realign"),
            required_features: self.inner.features() & wanted,
            required_limits: self.inner.limits(),
            experimental_features: if tensor_cores { experimental() } else { wgpu::ExperimentalFeatures::disabled() },
            ..Default::default()
        };
        self.inner.request_device(&descriptor).await.map_err(|e| Error::Unsupported {
            adapter: self.info.name.clone(),
            problem: Problem::new(format!("no device: {e}")).remedy(Remedy::AnotherDevice),
        })
    }
}
