//! Adapters: enumeration, kind, and the device that we ask of one.

use crate::device::{AdapterSummary, DeviceKind};
use crate::{Error, Result};

/// An adapter and what it says of itself.
pub(crate) struct Adapter {
    inner: wgpu::Adapter,
    pub(crate) info: wgpu::AdapterInfo,
}

/// Features that are used where an adapter has them, and their names.
const WANTED: [(wgpu::Features, &str); 5] = [
    (wgpu::Features::SUBGROUP, "subgroups"),
    (wgpu::Features::SHADER_INT64, "int64"),
    (wgpu::Features::SHADER_F16, "f16"),
    (wgpu::Features::TIMESTAMP_QUERY, "timestamps"),
    (wgpu::Features::MAPPABLE_PRIMARY_BUFFERS, "mapped storage"),
];

pub(crate) async fn enumerate(backends: wgpu::Backends) -> Vec<Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    descriptor.backends = backends;
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
            features: WANTED.iter().filter(|(f, _)| features.contains(*f)).map(|(_, name)| *name).collect(),
        }
    }

    pub(crate) async fn request_device(&self) -> Result<(wgpu::Device, wgpu::Queue)> {
        let wanted = WANTED.iter().fold(wgpu::Features::empty(), |all, (f, _)| all | *f);
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("realign"),
            required_features: self.inner.features() & wanted,
            required_limits: self.inner.limits(),
            ..Default::default()
        };
        self.inner.request_device(&descriptor).await.map_err(|e| Error::Unsupported {
            adapter: self.info.name.clone(),
            problem: format!("no device: {e}; try another --device"),
        })
    }
}
