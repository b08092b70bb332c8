//! From steps to submissions.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Gpu, GpuMemory};
use crate::spec::{BindingKind, KernelSpec, Use, Variant};
use crate::{Error, Result};

/// Bytes of one dispatch's parameters: also WebGPU's alignment of dynamic offsets.
const PARAM_BYTES: u64 = 256;
/// Where in them `common/grid.wgsl` has its words.
const GRID_AT: usize = 240;
/// Dispatches of one command buffer; longer recordings are cut.
const MAX_DISPATCHES: usize = 64;

/// A kernel over a grid of workgroups.
pub(crate) struct Launch<'a> {
    pub kernel: &'static KernelSpec,
    pub variant: &'a Variant,
    /// The parameter block.
    pub params: &'a [u8],
    /// The storage buffers, in the order of the kernel's bindings.
    pub buffers: Vec<&'a GpuMemory>,
    /// Workgroups along each side.
    pub groups: [u32; 3],
    /// Where the grid is run in parts: the workgroups of the parts before, and of the whole.
    pub part: Option<[u32; 2]>,
    /// Whether wgpu's checks may be left out.
    pub trusted: bool,
}

/// A part of a texture's first layer and level.
#[derive(Clone, Copy)]
pub(crate) struct TexturePart<'a> {
    pub texture: &'a wgpu::Texture,
    pub origin: [u32; 2],
    pub size: [u32; 2],
    /// Bytes from a line of the buffer that it is copied to to the next.
    pub line_bytes: u32,
}

/// What the engine does, one after the other.
pub(crate) enum Step<'a> {
    Launch(Launch<'a>),
    /// Fills a buffer with zeros.
    Clear(&'a GpuMemory),
    /// Copies bytes: from a buffer and its offset, to a buffer and its offset, so many.
    Copy((&'a GpuMemory, u64), (&'a GpuMemory, u64), u64),
    /// Copies a part of a texture to a buffer.
    CopyTexture(TexturePart<'a>, &'a GpuMemory),
    /// From the staging buffer, if there is one.
    Upload(&'a GpuMemory),
    /// To the staging buffer, if there is one.
    Download(&'a GpuMemory),
}

impl<'a> Step<'a> {
    fn launch(&self) -> Option<&Launch<'a>> {
        match self {
            Step::Launch(launch) => Some(launch),
            _ => None,
        }
    }

    fn for_each_memory(&self, mut f: impl FnMut(&GpuMemory)) {
        match self {
            Step::Launch(launch) => launch.buffers.iter().for_each(|m| f(m)),
            Step::Copy((from, _), (to, _), _) => [from, to].into_iter().for_each(|m| f(m)),
            Step::Clear(m) | Step::Upload(m) | Step::Download(m) | Step::CopyTexture(_, m) => f(m),
        }
    }
}

/// The uniform buffer that all dispatches of a submission share.
pub(super) struct ParamBuffer {
    buffer: wgpu::Buffer,
    /// Held from the write of the parameters to the submission that reads them.
    turn: Mutex<()>,
}

impl ParamBuffer {
    pub(super) fn new(device: &wgpu::Device) -> Self {
        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("kernel parameters"),
            size: PARAM_BYTES * MAX_DISPATCHES as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        ParamBuffer { buffer, turn: Mutex::new(()) }
    }

    pub(super) fn binding(&self) -> wgpu::BindingResource<'_> {
        let size = wgpu::BufferSize::new(PARAM_BYTES);
        wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer: &self.buffer, offset: 0, size })
    }
}

/// Timestamps of a submission, to be read when it is done.
pub(crate) struct Timing {
    pub(super) names: Vec<&'static str>,
    pub(super) buffer: wgpu::Buffer,
}

/// Up to [`MAX_DISPATCHES`] dispatches, ready to be submitted.
struct Encoded<'a> {
    steps: &'a [Step<'a>],
    params: Vec<u8>,
    commands: wgpu::CommandBuffer,
    timing: Option<Timing>,
}

/// The encoding of a part: dispatches follow each other in one pass as long as nothing else comes between.
struct Encoding<'a> {
    encoder: &'a mut wgpu::CommandEncoder,
    pass: Option<wgpu::ComputePass<'static>>,
    /// Dispatches so far.
    index: u32,
    queries: Option<&'a wgpu::QuerySet>,
    /// Buffers whose texture is up to date, by identity; `None` where kernels read buffers.
    copied: Option<HashSet<u64>>,
}

impl Encoding<'_> {
    /// The encoder, for something that is no dispatch.
    fn between(&mut self) -> &mut wgpu::CommandEncoder {
        self.pass = None;
        self.encoder
    }

    fn changed(&mut self, memory: &GpuMemory) {
        if let Some(copied) = &mut self.copied {
            copied.remove(&memory.id);
        }
    }

    fn pass(&mut self, name: &'static str) -> &mut wgpu::ComputePass<'static> {
        let (index, queries) = (self.index, self.queries);
        if queries.is_some() {
            // Each dispatch has timestamps of its own, which only a pass has.
            self.pass = None;
        }
        self.pass.get_or_insert_with(|| {
            let descriptor = wgpu::ComputePassDescriptor {
                label: Some(name),
                timestamp_writes: queries.map(|query_set| wgpu::ComputePassTimestampWrites {
                    query_set,
                    beginning_of_pass_write_index: Some(2 * index),
                    end_of_pass_write_index: Some(2 * index + 1),
                }),
            };
            self.encoder.begin_compute_pass(&descriptor).forget_lifetime()
        })
    }
}

/// The steps in parts of at most [`MAX_DISPATCHES`] dispatches.
fn parts<'a>(steps: &'a [Step<'a>]) -> Vec<&'a [Step<'a>]> {
    let (mut parts, mut first, mut count) = (Vec::new(), 0, 0);
    for (i, _) in steps.iter().enumerate().filter(|(_, step)| step.launch().is_some()) {
        if count == MAX_DISPATCHES {
            parts.push(&steps[first..i]);
            (first, count) = (i, 0);
        }
        count += 1;
    }
    parts.push(&steps[first..]);
    parts
}

impl Gpu {
    /// Runs the steps. All of them are encoded, their pipelines compiled and their bindings checked, before the first part is
    /// submitted: what wgpu objects to keeps every step from running.
    pub(crate) fn submit(
        &self,
        steps: &[Step<'_>],
        timed: bool,
        texel_reads: bool,
    ) -> Result<(wgpu::SubmissionIndex, Vec<Timing>)> {
        let encoded = parts(steps).into_iter().map(|part| self.encode_part(part, timed, texel_reads));
        let encoded = encoded.collect::<Result<Vec<_>>>()?;
        let mut timings = Vec::new();
        let mut last = None;
        for part in encoded {
            let submitted = self.submit_part(part.params, part.commands)?;
            part.steps.iter().for_each(|step| step.for_each_memory(|m| m.set_last_use(&submitted)));
            timings.extend(part.timing);
            last = Some(submitted);
        }
        // Invariant: there is one part at least.
        let last = last.ok_or_else(|| Error::argument("submission", "it has no part"))?;
        Ok((last, timings))
    }

    fn submit_part(&self, params: Vec<u8>, commands: wgpu::CommandBuffer) -> Result<wgpu::SubmissionIndex> {
        let _turn = self.params.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.guarded("submit", 0, || {
            if !params.is_empty() {
                self.queue.write_buffer(&self.params.buffer, 0, &params);
            }
            self.queue.submit([commands])
        })
    }

    fn encode_part<'a>(&self, steps: &'a [Step<'a>], timed: bool, texel_reads: bool) -> Result<Encoded<'a>> {
        let launches: Vec<&Launch<'_>> = steps.iter().filter_map(Step::launch).collect();
        let queries = self.queries(if timed { launches.len() as u32 } else { 0 })?;
        let params = params(&launches)?;
        // What may take long, and has errors of its own.
        for launch in &launches {
            self.pipeline(launch, texel_reads)?;
        }
        let operation = launches.first().map_or("submit", |launch| launch.kernel.name);
        let (commands, timing) = self.guarded(operation, 0, || -> Result<_> {
            let mut encoder =
                self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("realign") });
            let mut encoding = Encoding {
                encoder: &mut encoder,
                pass: None,
                index: 0,
                queries: queries.as_ref(),
                copied: texel_reads.then(HashSet::new),
            };
            for step in steps {
                self.encode(&mut encoding, step)?;
            }
            drop(encoding);
            let timing = queries.as_ref().map(|set| self.resolve(&mut encoder, set, &launches));
            Ok((encoder.finish(), timing))
        })??;
        Ok(Encoded { steps, params, commands, timing })
    }

    fn encode(&self, encoding: &mut Encoding<'_>, step: &Step<'_>) -> Result<()> {
        match *step {
            Step::Launch(ref launch) => {
                self.encode_launch(encoding, launch)?;
                encoding.index += 1;
            }
            Step::Clear(memory) => {
                encoding.changed(memory);
                encoding.between().clear_buffer(&memory.buffer, 0, None);
            }
            Step::Copy((from, f), (to, t), bytes) => {
                encoding.changed(to);
                encoding.between().copy_buffer_to_buffer(&from.buffer, f, &to.buffer, t, Some(bytes));
            }
            Step::CopyTexture(part, memory) => {
                encoding.changed(memory);
                copy_texture(encoding.between(), part, memory);
            }
            Step::Upload(memory) => {
                encoding.changed(memory);
                copy(encoding, memory, Use::Upload);
            }
            Step::Download(memory) => copy(encoding, memory, Use::Download),
        }
        Ok(())
    }

    /// Brings the textures of a launch's operands up to date.
    fn encode_texels(&self, encoding: &mut Encoding<'_>, launch: &Launch<'_>) -> Result<()> {
        let bindings = || launch.kernel.bindings[1..].iter().zip(&launch.buffers);
        for (_, memory) in bindings().filter(|(binding, _)| binding.kind == BindingKind::Texels) {
            if encoding.copied.as_mut().is_some_and(|copied| copied.insert(memory.id)) {
                self.copy_to_texels(encoding.between(), memory)?;
            }
        }
        bindings().filter(|(b, _)| b.kind == BindingKind::ReadWrite).for_each(|(_, memory)| encoding.changed(memory));
        Ok(())
    }

    fn encode_launch(&self, encoding: &mut Encoding<'_>, launch: &Launch<'_>) -> Result<()> {
        let texel_reads = encoding.copied.is_some();
        let pipeline = self.pipeline(launch, texel_reads)?;
        self.encode_texels(encoding, launch)?;
        let group = self.bind_group(&pipeline, launch, texel_reads);
        let offset = encoding.index * PARAM_BYTES as u32;
        let pass = encoding.pass(launch.kernel.name);
        pass.set_pipeline(&pipeline.pipeline);
        pass.set_bind_group(0, &group, &[offset; 2]);
        let [x, y, z] = launch.groups;
        pass.dispatch_workgroups(x, y, z);
        Ok(())
    }

    fn queries(&self, dispatches: u32) -> Result<Option<wgpu::QuerySet>> {
        if dispatches == 0 || !self.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Ok(None);
        }
        let descriptor = wgpu::QuerySetDescriptor {
            label: Some("timestamps"),
            ty: wgpu::QueryType::Timestamp,
            count: 2 * dispatches,
        };
        self.guarded("timestamps", 0, || self.device.create_query_set(&descriptor)).map(Some)
    }

    fn resolve(&self, encoder: &mut wgpu::CommandEncoder, set: &wgpu::QuerySet, launches: &[&Launch<'_>]) -> Timing {
        let count = 2 * launches.len() as u32;
        let make = |label, usage| {
            let size = 8 * u64::from(count);
            self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size,
                usage,
                mapped_at_creation: false,
            })
        };
        let resolved = make("resolved timestamps", wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC);
        let buffer = make("read timestamps", wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
        encoder.resolve_query_set(set, 0..count, &resolved, 0);
        encoder.copy_buffer_to_buffer(&resolved, 0, &buffer, 0, Some(8 * u64::from(count)));
        Timing { names: launches.iter().map(|launch| launch.kernel.name).collect(), buffer }
    }

    /// Nanoseconds of `ticks` timestamps.
    pub(super) fn ticks(&self, ticks: u64) -> Duration {
        Duration::from_nanos((ticks as f64 * f64::from(self.queue.get_timestamp_period())) as u64)
    }
}

/// The parameter blocks of a part, each with its grid behind it.
fn params(launches: &[&Launch<'_>]) -> Result<Vec<u8>> {
    let mut params = vec![0u8; PARAM_BYTES as usize * launches.len()];
    for (slot, launch) in params.chunks_exact_mut(PARAM_BYTES as usize).zip(launches) {
        let (parameters, grid) = slot.split_at_mut(GRID_AT);
        let Some(parameters) = parameters.get_mut(..launch.params.len()) else {
            let got = format!("{} bytes", launch.params.len());
            return Err(Error::shape(launch.kernel.name, "parameters", format!("at most {GRID_AT} bytes"), got));
        };
        parameters.copy_from_slice(launch.params);
        let whole = [0, launch.groups.iter().fold(1, |all: u32, &side| all.saturating_mul(side))];
        grid[..8].copy_from_slice(bytemuck::bytes_of(&launch.part.unwrap_or(whole)));
    }
    Ok(params)
}

/// Between the tensor and its staging buffer, if it has one.
fn copy(encoding: &mut Encoding<'_>, memory: &GpuMemory, direction: Use) {
    if let Some(staging) = &memory.staging {
        let (from, to) = match direction {
            Use::Upload => (staging, &memory.buffer),
            _ => (&memory.buffer, staging),
        };
        encoding.between().copy_buffer_to_buffer(from, 0, to, 0, Some(from.size()));
    }
}

fn copy_texture(encoder: &mut wgpu::CommandEncoder, part: TexturePart<'_>, memory: &GpuMemory) {
    let TexturePart { texture, origin: [x, y], size: [width, height], line_bytes } = part;
    let mut source = texture.as_image_copy();
    source.origin = wgpu::Origin3d { x, y, z: 0 };
    let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(line_bytes), rows_per_image: None };
    let target = wgpu::TexelCopyBufferInfo { buffer: &memory.buffer, layout };
    encoder.copy_texture_to_buffer(source, target, wgpu::Extent3d { width, height, depth_or_array_layers: 1 });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_submission_without_steps_is_one_part() {
        assert_eq!(parts(&[]).len(), 1);
    }
}
