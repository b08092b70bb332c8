//! From recorded commands to one submission.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Gpu, GpuMemory};
use crate::device::{Buffer, Command, Dispatch, Storage, Use};
use crate::kernels::BindingKind;
use crate::{Error, Result};

/// Bytes of one dispatch's parameters: also WebGPU's alignment of dynamic offsets.
const PARAM_BYTES: u64 = 256;
/// Where in them `common/grid.wgsl` has its words.
const GRID_AT: usize = 240;
/// Dispatches of one command buffer; longer recordings are cut.
const MAX_DISPATCHES: usize = 64;

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

/// What the encoding of a submission keeps track of.
struct Part<'a> {
    /// Dispatches so far.
    index: u32,
    queries: Option<&'a wgpu::QuerySet>,
    /// Buffers whose texture is up to date, by identity; `None` where kernels read buffers.
    copied: Option<HashSet<u64>>,
}

impl Part<'_> {
    fn changed(&mut self, memory: &GpuMemory) {
        if let Some(copied) = &mut self.copied {
            copied.remove(&memory.id);
        }
    }
}

/// Timestamps of a submission, to be read when it is done.
pub(crate) struct Timing {
    pub(super) names: Vec<&'static str>,
    pub(super) buffer: wgpu::Buffer,
}

fn memory(buffer: &Buffer) -> Result<&GpuMemory> {
    match buffer.storage() {
        Storage::Gpu(memory) => Ok(memory),
        Storage::Host(_) | Storage::Nothing => {
            Err(Error::shape("submit", "buffer", "a buffer of this device", "the host engine's"))
        }
    }
}

impl Gpu {
    pub(crate) fn submit(
        &self,
        commands: &[Command],
        timed: bool,
        texel_reads: bool,
    ) -> Result<(wgpu::SubmissionIndex, Vec<Timing>)> {
        let mut parts = vec![Vec::new()];
        let mut count = 0;
        for command in commands {
            if matches!(command, Command::Dispatch(_)) {
                if count == MAX_DISPATCHES {
                    parts.push(Vec::new());
                    count = 0;
                }
                count += 1;
            }
            // Invariant: `parts` starts with one element and only grows.
            if let Some(part) = parts.last_mut() {
                part.push(command);
            }
        }
        let (last, rest) = (parts.pop().unwrap_or_default(), parts);
        let mut timings = Vec::new();
        for part in rest {
            timings.extend(self.submit_part(&part, timed, texel_reads)?.1);
        }
        let (index, timing) = self.submit_part(&last, timed, texel_reads)?;
        timings.extend(timing);
        Ok((index, timings))
    }

    fn submit_part(
        &self,
        commands: &[&Command],
        timed: bool,
        texel_reads: bool,
    ) -> Result<(wgpu::SubmissionIndex, Option<Timing>)> {
        let dispatches: Vec<&Dispatch> =
            commands.iter().filter_map(|c| if let Command::Dispatch(d) = c { Some(d) } else { None }).collect();
        let queries = self.queries(if timed { dispatches.len() as u32 } else { 0 })?;
        let _turn = self.params.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.write_params(&dispatches)?;
        let mut encoder =
            self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("realign") });
        let mut part = Part { index: 0, queries: queries.as_ref(), copied: texel_reads.then(HashSet::new) };
        for command in commands {
            self.encode(&mut encoder, command, &mut part)?;
        }
        let timing = queries.map(|set| self.resolve(&mut encoder, &set, &dispatches)).transpose()?;
        let submitted = self.guarded("submit", 0, || self.queue.submit([encoder.finish()]))?;
        for command in commands {
            match command {
                Command::Dispatch(d) => {
                    d.buffers.iter().try_for_each(|b| memory(b).map(|m| m.set_last_use(&submitted)))?;
                }
                Command::Copy(from, to) | Command::CopyRange((from, _), (to, _), _) => {
                    memory(from)?.set_last_use(&submitted);
                    memory(to)?.set_last_use(&submitted);
                }
                Command::Clear(b) | Command::Upload(b) | Command::Download(b) => memory(b)?.set_last_use(&submitted),
            }
        }
        Ok((submitted, timing))
    }

    fn write_params(&self, dispatches: &[&Dispatch]) -> Result<()> {
        let mut params = vec![0u8; PARAM_BYTES as usize * dispatches.len()];
        for (slot, dispatch) in params.chunks_exact_mut(PARAM_BYTES as usize).zip(dispatches) {
            let (parameters, grid) = slot.split_at_mut(GRID_AT);
            let Some(parameters) = parameters.get_mut(..dispatch.params.len()) else {
                let got = format!("{} bytes", dispatch.params.len());
                return Err(Error::shape(dispatch.kernel.name, "parameters", format!("at most {GRID_AT} bytes"), got));
            };
            parameters.copy_from_slice(&dispatch.params);
            let whole = [0, dispatch.groups.iter().fold(1, |all: u32, &side| all.saturating_mul(side))];
            let words = dispatch.part.unwrap_or(whole);
            grid[..8].copy_from_slice(bytemuck::bytes_of(&words));
        }
        if params.is_empty() {
            return Ok(());
        }
        self.guarded("kernel parameters", params.len() as u64, || {
            self.queue.write_buffer(&self.params.buffer, 0, &params)
        })
    }

    fn encode(&self, encoder: &mut wgpu::CommandEncoder, command: &Command, part: &mut Part<'_>) -> Result<()> {
        match command {
            Command::Dispatch(dispatch) => {
                self.encode_dispatch(encoder, dispatch, part)?;
                part.index += 1;
            }
            Command::Clear(buffer) => {
                part.changed(memory(buffer)?);
                encoder.clear_buffer(&memory(buffer)?.buffer, 0, None);
            }
            Command::Copy(from, to) => {
                let size = from.bytes().min(to.bytes());
                part.changed(memory(to)?);
                encoder.copy_buffer_to_buffer(&memory(from)?.buffer, 0, &memory(to)?.buffer, 0, Some(size));
            }
            Command::CopyRange((from, f), (to, t), bytes) => {
                part.changed(memory(to)?);
                encoder.copy_buffer_to_buffer(&memory(from)?.buffer, *f, &memory(to)?.buffer, *t, Some(*bytes));
            }
            Command::Upload(buffer) => {
                part.changed(memory(buffer)?);
                copy(encoder, memory(buffer)?, Use::Upload);
            }
            Command::Download(buffer) => copy(encoder, memory(buffer)?, Use::Download),
        }
        Ok(())
    }

    /// Brings the textures of a dispatch's operands up to date.
    fn encode_texels(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        dispatch: &Dispatch,
        memory: &[&GpuMemory],
        part: &mut Part<'_>,
    ) -> Result<()> {
        let Some(copied) = &mut part.copied else { return Ok(()) };
        let bindings = || dispatch.kernel.bindings[1..].iter().zip(memory);
        for (_, memory) in bindings().filter(|(binding, _)| binding.kind == BindingKind::Texels) {
            if copied.insert(memory.id) {
                self.copy_to_texels(encoder, memory)?;
            }
        }
        for (_, memory) in bindings().filter(|(binding, _)| binding.kind == BindingKind::ReadWrite) {
            copied.remove(&memory.id);
        }
        Ok(())
    }

    fn encode_dispatch(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        dispatch: &Dispatch,
        part: &mut Part<'_>,
    ) -> Result<()> {
        let texel_reads = part.copied.is_some();
        let pipeline = self.pipeline(dispatch, texel_reads)?;
        let memory = dispatch.buffers.iter().map(memory).collect::<Result<Vec<_>>>()?;
        self.encode_texels(encoder, dispatch, &memory, part)?;
        let (index, queries) = (part.index, part.queries);
        self.guarded(dispatch.kernel.name, 0, || {
            let group = self.bind_group(&pipeline, dispatch, &memory, texel_reads);
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: Some(dispatch.kernel.name),
                timestamp_writes: queries.map(|query_set| wgpu::ComputePassTimestampWrites {
                    query_set,
                    beginning_of_pass_write_index: Some(2 * index),
                    end_of_pass_write_index: Some(2 * index + 1),
                }),
            });
            pass.set_pipeline(&pipeline.pipeline);
            pass.set_bind_group(0, &group, &[index * PARAM_BYTES as u32; 2]);
            let [x, y, z] = dispatch.groups;
            pass.dispatch_workgroups(x, y, z);
        })
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

    fn resolve(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        set: &wgpu::QuerySet,
        dispatches: &[&Dispatch],
    ) -> Result<Timing> {
        let count = 2 * dispatches.len() as u32;
        let make = |label, usage| {
            let size = 8 * u64::from(count);
            self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size,
                usage,
                mapped_at_creation: false,
            })
        };
        self.guarded("timestamps", 0, || {
            let resolved =
                make("resolved timestamps", wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC);
            let buffer = make("read timestamps", wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
            encoder.resolve_query_set(set, 0..count, &resolved, 0);
            encoder.copy_buffer_to_buffer(&resolved, 0, &buffer, 0, Some(8 * u64::from(count)));
            Timing { names: dispatches.iter().map(|d| d.kernel.name).collect(), buffer }
        })
    }

    /// Nanoseconds of `ticks` timestamps.
    pub(super) fn ticks(&self, ticks: u64) -> Duration {
        Duration::from_nanos((ticks as f64 * f64::from(self.queue.get_timestamp_period())) as u64)
    }
}

/// Between the tensor and its staging buffer, if it has one.
fn copy(encoder: &mut wgpu::CommandEncoder, memory: &GpuMemory, direction: Use) {
    if let Some(staging) = &memory.staging {
        let (from, to) = match direction {
            Use::Upload => (staging, &memory.buffer),
            _ => (&memory.buffer, staging),
        };
        encoder.copy_buffer_to_buffer(from, 0, to, 0, Some(from.size()));
    }
}
