//! What a dispatch costs the processor: ten thousand tiny ones, recorded and submitted, and the same loop in plain wgpu.

use std::time::Instant;

use super::case::{Case, Items, Run, Sizes};
use crate::device::{Buffer, Device};
use crate::kernels::bench::copy;
use crate::{Error, Result};

/// Dispatches of a sample.
const COUNT: usize = 10_000;
/// Of one command buffer, and bytes between the parameters of two: as the engine has them.
const PART: usize = 64;
const STRIDE: usize = 256;
/// Bytes that a dispatch copies.
const BYTES: u64 = 16;

/// A sample takes the seconds until the last submission returns; the device may work on.
fn case(shape: &str, once: impl FnMut() -> Result<f64> + 'static) -> Case {
    let items = Some(Items { count: COUNT as u64, unit: "dispatches" });
    Case { shape: shape.to_owned(), bytes: 0, flops: 0, items, run: Run::Timed(Box::new(once)), check: None }
}

fn buffers(device: &Device) -> Result<[Buffer; 2]> {
    Ok([device.buffer("copied from", BYTES)?, device.buffer("copied to", BYTES)?])
}

/// Through a recorder: variants, parameters, bind groups and pipelines are found for each dispatch.
pub(super) fn recorded(device: &Device, _: &Sizes) -> Result<Case> {
    let (device, [from, to]) = (device.clone(), buffers(device)?);
    Ok(case("10000 copies of 16 bytes", move || {
        device.wait()?;
        let start = Instant::now();
        let mut recorder = device.recorder();
        for _ in 0..COUNT {
            copy::record(&mut recorder, &from, &to, BYTES)?;
        }
        let submission = recorder.submit()?;
        let seconds = start.elapsed().as_secs_f64();
        submission.wait()?;
        Ok(seconds)
    }))
}

/// The same commands written by hand, with all that can be made before made before.
pub(super) fn plain(device: &Device, _: &Sizes) -> Result<Case> {
    let by_hand = ByHand::new(device)?;
    let device = device.clone();
    Ok(case("10000 copies of 16 bytes", move || {
        device.wait()?;
        let start = Instant::now();
        by_hand.run();
        let seconds = start.elapsed().as_secs_f64();
        device.wait()?;
        Ok(seconds)
    }))
}

/// A pipeline and a bind group of plain wgpu.
struct ByHand {
    device: wgpu::Device,
    queue: wgpu::Queue,
    params: wgpu::Buffer,
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
}

impl ByHand {
    fn new(device: &Device) -> Result<Self> {
        let Some((device, queue)) = device.wgpu() else {
            return Err(Error::argument("device", "the host engine has no wgpu device"));
        };
        let make = |size, usage| {
            device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
        };
        let params = make((STRIDE * PART) as u64, wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST);
        let [from, to] = [(); 2].map(|()| make(BYTES, wgpu::BufferUsages::STORAGE));
        let entry = |binding, ty| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty,
                has_dynamic_offset: ty == wgpu::BufferBindingType::Uniform,
                min_binding_size: None,
            },
            count: None,
        };
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: None,
            entries: &[
                entry(0, wgpu::BufferBindingType::Uniform),
                entry(1, wgpu::BufferBindingType::Storage { read_only: true }),
                entry(2, wgpu::BufferBindingType::Storage { read_only: false }),
            ],
        });
        let source = copy::SPEC.expanded(&[])?;
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(source.into()),
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            bind_group_layouts: &[Some(&layout)],
            ..Default::default()
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        let block = wgpu::BufferBinding { buffer: &params, offset: 0, size: wgpu::BufferSize::new(STRIDE as u64) };
        let resources = [wgpu::BindingResource::Buffer(block), from.as_entire_binding(), to.as_entire_binding()];
        let entries: Vec<_> = resources
            .into_iter()
            .zip(0..)
            .map(|(resource, binding)| wgpu::BindGroupEntry { binding, resource })
            .collect();
        let group =
            device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries });
        Ok(ByHand { device: device.clone(), queue: queue.clone(), params, pipeline, group })
    }

    fn run(&self) {
        for first in (0..COUNT).step_by(PART) {
            let count = PART.min(COUNT - first);
            let mut params = vec![0u8; STRIDE * count];
            // One vector of 16 bytes.
            params.chunks_exact_mut(STRIDE).for_each(|block| block[0] = 1);
            self.queue.write_buffer(&self.params, 0, &params);
            let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for i in 0..count {
                pass.set_pipeline(&self.pipeline);
                pass.set_bind_group(0, &self.group, &[(STRIDE * i) as u32]);
                pass.dispatch_workgroups(1, 1, 1);
            }
            drop(pass);
            self.queue.submit([encoder.finish()]);
        }
    }
}
