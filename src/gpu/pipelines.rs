//! Pipelines and bind groups, made once.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Gpu, Launch};
use crate::spec::{BindingKind, GRID_BINDING, KernelSpec};
use crate::{Error, Result};

/// A compiled kernel variant.
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
    /// Its number on the device, from 0 on.
    id: u32,
}

/// Kernel, by its place in memory, variant, and whether it is checked.
type Key = (usize, u32, bool);

/// Most storage buffers of a kernel.
const MAX_BUFFERS: usize = 8;

/// Pipeline and buffers, by number; places that a kernel does not use hold [`u64::MAX`].
type BindGroupKey = (u32, [u64; MAX_BUFFERS]);

/// Bind groups by pipeline and buffers; shared with the buffers, which leave it when they are dropped.
#[derive(Clone, Default)]
pub(super) struct BindGroups(Arc<Mutex<BindGroupTable>>);

#[derive(Default)]
struct BindGroupTable {
    groups: HashMap<BindGroupKey, wgpu::BindGroup>,
    by_buffer: HashMap<u64, HashSet<BindGroupKey>>,
}

impl BindGroups {
    /// Drops the groups that bind the buffer of this number.
    pub(super) fn forget(&self, id: u64) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(keys) = table.by_buffer.remove(&id) else { return };
        for key in keys {
            table.groups.remove(&key);
            for other in key.1.iter().filter(|other| **other != id) {
                if let Some(keys) = table.by_buffer.get_mut(other) {
                    keys.remove(&key);
                }
            }
        }
    }

    fn get(&self, key: BindGroupKey, make: impl FnOnce() -> wgpu::BindGroup) -> wgpu::BindGroup {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = table.groups.get(&key) {
            return found.clone();
        }
        let made = make();
        for id in key.1.iter().filter(|id| **id != u64::MAX) {
            table.by_buffer.entry(*id).or_default().insert(key);
        }
        table.groups.insert(key, made.clone());
        made
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).groups.len()
    }
}

/// Of a pipeline that may be in the making.
type Slot = Arc<Mutex<Option<Arc<Pipeline>>>>;

#[derive(Default)]
pub(super) struct Cache {
    pipelines: Mutex<HashMap<Key, Slot>>,
    made: AtomicU32,
    pub(super) bind_groups: BindGroups,
}

impl Gpu {
    /// The launch's pipeline, compiled by the first who asks for it: others who want the same one wait, threads that want
    /// different ones compile side by side.
    pub(super) fn pipeline(&self, launch: &Launch<'_>, texel_reads: bool) -> Result<Arc<Pipeline>> {
        let key = (std::ptr::from_ref(launch.kernel) as usize, launch.variant.id(), self.checks(launch));
        let slot = {
            let mut cache = self.pipelines.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
            cache.entry(key).or_default().clone()
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        match &*slot {
            Some(found) => Ok(found.clone()),
            None => Ok(slot.insert(Arc::new(self.compile(launch, texel_reads)?)).clone()),
        }
    }

    /// Number of pipelines and bind groups.
    pub(crate) fn cached(&self) -> (usize, usize) {
        let slots: Vec<Slot> =
            self.pipelines.pipelines.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        // One that did not compile left its slot empty.
        let made = slots.iter().filter(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner).is_some());
        (made.count(), self.pipelines.bind_groups.count())
    }

    /// Whether wgpu's checks are in the launch's shader.
    fn checks(&self, launch: &Launch<'_>) -> bool {
        self.checked || !launch.trusted
    }

    fn compile(&self, launch: &Launch<'_>, texel_reads: bool) -> Result<Pipeline> {
        let kernel = launch.kernel;
        if kernel.bindings.len() > MAX_BUFFERS + 1 {
            let got = kernel.bindings.len() - 1;
            return Err(Error::shape(kernel.name, "bindings", format!("at most {MAX_BUFFERS} storage buffers"), got));
        }
        let source = kernel.expanded(launch.variant.imports())?;
        let entries = layout_entries(kernel, texel_reads);
        let checked = self.checks(launch);
        // To wgpu an unknown name is an error.
        let constants = kernel.constants(launch.variant.constants());
        self.guarded(kernel.name, 0, || {
            let module = self.shader_module(kernel.name, source, checked);
            let layout = self.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: Some(kernel.name),
                entries: &entries,
            });
            let pipeline_layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(kernel.name),
                bind_group_layouts: &[Some(&layout)],
                ..Default::default()
            });
            let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(kernel.name),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &constants,
                    zero_initialize_workgroup_memory: checked,
                },
                cache: self.kept.as_ref().map(|kept| kept.for_new()),
            });
            Pipeline { pipeline, layout, id: self.pipelines.made.fetch_add(1, Ordering::Relaxed) }
        })
    }

    fn shader_module(&self, name: &str, source: String, checked: bool) -> wgpu::ShaderModule {
        let descriptor =
            wgpu::ShaderModuleDescriptor { label: Some(name), source: wgpu::ShaderSource::Wgsl(source.into()) };
        if checked {
            return self.device.create_shader_module(descriptor);
        }
        // SAFETY: the launch is trusted: by the kernel's own wrapper, which sees to what `spec::in_range` says of its shader, or by a caller
        // who promised it to `Recorder::dispatch_unchecked`.
        #[expect(unsafe_code, reason = "a seventh to a third of a kernel's time")]
        unsafe {
            self.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
        }
    }

    /// The launch's bind group; the parameters, and the grid behind them, are bound with a dynamic offset.
    pub(super) fn bind_group(&self, pipeline: &Pipeline, launch: &Launch<'_>, texel_reads: bool) -> wgpu::BindGroup {
        let mut ids = [u64::MAX; MAX_BUFFERS];
        ids.iter_mut().zip(&launch.buffers).for_each(|(id, memory)| *id = memory.id);
        let make = || {
            let params =
                [0, GRID_BINDING].map(|binding| wgpu::BindGroupEntry { binding, resource: self.params.binding() });
            let buffers = launch.kernel.bindings[1..].iter().zip(&launch.buffers);
            let buffers = buffers.map(|(b, m)| {
                let texels = m.texels.get().filter(|_| texel_reads && b.kind == BindingKind::Texels);
                let resource = match texels {
                    Some(texels) => wgpu::BindingResource::TextureView(&texels.view),
                    None => m.buffer.as_entire_binding(),
                };
                wgpu::BindGroupEntry { binding: b.index, resource }
            });
            let entries: Vec<_> = params.into_iter().chain(buffers).collect();
            self.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(launch.kernel.name),
                layout: &pipeline.layout,
                entries: &entries,
            })
        };
        self.pipelines.bind_groups.get((pipeline.id, ids), make)
    }
}

fn layout_entries(kernel: &KernelSpec, texel_reads: bool) -> Vec<wgpu::BindGroupLayoutEntry> {
    let bindings = kernel.bindings.iter().map(|b| (b.index, b.kind)).chain([(GRID_BINDING, BindingKind::Uniform)]);
    bindings.map(|(index, kind)| layout_entry(index, kind, texel_reads)).collect()
}

fn layout_entry(binding: u32, kind: BindingKind, texel_reads: bool) -> wgpu::BindGroupLayoutEntry {
    let ty = match kind {
        BindingKind::Uniform => wgpu::BufferBindingType::Uniform,
        BindingKind::Texels if texel_reads => {
            let ty = wgpu::BindingType::Texture {
                sample_type: wgpu::TextureSampleType::Uint,
                view_dimension: wgpu::TextureViewDimension::D2,
                multisampled: false,
            };
            return wgpu::BindGroupLayoutEntry { binding, visibility: wgpu::ShaderStages::COMPUTE, ty, count: None };
        }
        BindingKind::Read | BindingKind::Texels => wgpu::BufferBindingType::Storage { read_only: true },
        BindingKind::ReadWrite => wgpu::BufferBindingType::Storage { read_only: false },
    };
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: kind == BindingKind::Uniform, min_binding_size: None },
        count: None,
    }
}
