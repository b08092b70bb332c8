//! Pipelines and bind groups, made once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Gpu, GpuMemory};
use crate::Result;
use crate::device::Dispatch;
use crate::kernels::{BindingKind, GRID_BINDING, shader};

/// A compiled kernel variant.
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

type Imports = Vec<(&'static str, &'static str)>;
/// Kernel, imports, and the overrides' names and bits.
type Key = (&'static str, Imports, Vec<(&'static str, u64)>);

/// Pipeline and buffers.
type BindGroupKey = (usize, Vec<u64>);

/// Bind groups by pipeline and buffers; shared with the buffers, which leave it when they are dropped.
#[derive(Clone, Default)]
pub(super) struct BindGroups(Arc<Mutex<HashMap<BindGroupKey, wgpu::BindGroup>>>);

impl BindGroups {
    pub(super) fn forget(&self, id: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(_, ids), _| !ids.contains(&id));
    }
}

/// Of a pipeline that may be in the making.
type Slot = Arc<Mutex<Option<Arc<Pipeline>>>>;

#[derive(Default)]
pub(super) struct Cache {
    pipelines: Mutex<HashMap<Key, Slot>>,
    pub(super) bind_groups: BindGroups,
}

impl Gpu {
    /// The dispatch's pipeline, compiled by the first who asks for it: others who want the same one wait, threads that want
    /// different ones compile side by side.
    pub(super) fn pipeline(&self, dispatch: &Dispatch, texel_reads: bool) -> Result<Arc<Pipeline>> {
        let constants = dispatch.constants.iter().map(|(name, value)| (*name, value.to_bits())).collect();
        let key = (dispatch.kernel.name, dispatch.imports.clone(), constants);
        let slot = {
            let mut cache = self.pipelines.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
            cache.entry(key).or_default().clone()
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        match &*slot {
            Some(found) => Ok(found.clone()),
            None => Ok(slot.insert(Arc::new(self.compile(dispatch, texel_reads)?)).clone()),
        }
    }

    /// Number of pipelines and bind groups.
    pub(crate) fn cached(&self) -> (usize, usize) {
        let slots: Vec<Slot> =
            self.pipelines.pipelines.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        // One that did not compile left its slot empty.
        let made = slots.iter().filter(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner).is_some());
        (made.count(), self.pipelines.bind_groups.0.lock().unwrap_or_else(PoisonError::into_inner).len())
    }

    fn compile(&self, dispatch: &Dispatch, texel_reads: bool) -> Result<Pipeline> {
        let kernel = dispatch.kernel;
        let source = shader::expand(kernel.source, &dispatch.imports)?;
        let bindings = kernel.bindings.iter().map(|b| (b.index, b.kind)).chain([(GRID_BINDING, BindingKind::Uniform)]);
        let entries: Vec<_> = bindings.map(|(index, kind)| layout_entry(index, kind, texel_reads)).collect();
        // Only the overrides that the shader has: an unknown name is an error.
        let constants: Vec<_> = dispatch
            .constants
            .iter()
            .copied()
            .filter(|(name, _)| source.contains(&format!("override {name}")))
            .collect();
        self.guarded(kernel.name, 0, || {
            let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some(kernel.name),
                source: wgpu::ShaderSource::Wgsl(source.into()),
            });
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
                compilation_options: wgpu::PipelineCompilationOptions { constants: &constants, ..Default::default() },
                cache: None,
            });
            Pipeline { pipeline, layout }
        })
    }

    /// The dispatch's bind group; the parameters, and the grid behind them, are bound with a dynamic offset.
    pub(super) fn bind_group(
        &self,
        pipeline: &Arc<Pipeline>,
        dispatch: &Dispatch,
        memory: &[&GpuMemory],
        texel_reads: bool,
    ) -> wgpu::BindGroup {
        // A pipeline is never dropped before its device, so its address identifies it.
        let key = (Arc::as_ptr(pipeline) as usize, memory.iter().map(|m| m.id).collect());
        let mut cache = self.pipelines.bind_groups.0.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let params =
                [0, GRID_BINDING].map(|binding| wgpu::BindGroupEntry { binding, resource: self.params.binding() });
            let buffers = dispatch.kernel.bindings[1..].iter().zip(memory);
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
                label: Some(dispatch.kernel.name),
                layout: &pipeline.layout,
                entries: &entries,
            })
        };
        cache.entry(key).or_insert_with(make).clone()
    }
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
