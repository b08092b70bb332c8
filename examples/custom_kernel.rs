//! A kernel of an app's own, through the public API: the largest element of each row, [n, d] to [n].
//!
//! A kernel is a [`KernelSpec`]: WGSL for GPUs, a twin in Rust for the host engine, and the bindings that both share. Commands
//! that use it mix with this crate's own in one recording.
//!
//! `cargo run --release --example custom_kernel [DEVICE]`, for instance `llvmpipe`

use realign::device::{Buffer, Device, DeviceOptions, Dispatch, Recorder, Tensor, adapters};
use realign::host::{HostCall, volume};
use realign::kernels::{Binding, KernelSpec};
use realign::{ElementType, Error, Result};

/// The declaration: the parameter block is always binding 0, the buffers follow in the order of [`Dispatch::buffers`].
static ROW_MAXIMUM: KernelSpec = KernelSpec::new("row maximum", WGSL, BINDINGS, twin).with_overrides(&["GROUP"]);

const BINDINGS: &[Binding] = &[Binding::uniform("params"), Binding::read(1, "rows"), Binding::read_write(2, "maxima")];

/// One invocation takes one row. Rows are padded to a multiple of 4 elements, so that they are read four at a time; the
/// padding is zero, and must not win over a row of negative numbers: hence `width`.
const WGSL: &str = "
    struct Params { rows: u32, width: u32, width4: u32, }
    override GROUP: u32 = 64u;
    @group(0) @binding(0) var<uniform> params: Params;
    @group(0) @binding(1) var<storage, read> rows: array<vec4<f32>>;
    @group(0) @binding(2) var<storage, read_write> maxima: array<f32>;

    @compute @workgroup_size(GROUP)
    fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
        // A dispatch holds at most 65535 workgroups a side: stride, so that any number of rows fits.
        for (var row = id.x; row < params.rows; row += groups.x * GROUP) {
            var most = rows[row * params.width4].x;
            for (var j = 0u; j < params.width; j += 1u) {
                most = max(most, rows[row * params.width4 + j / 4u][j % 4u]);
            }
            maxima[row] = most;
        }
    }
";

/// The same parameters in Rust: as many bytes as the WGSL struct, rounded up to 16.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    rows: u32,
    width: u32,
    width4: u32,
    padding: u32,
}

/// The same computation on the host's memory: what runs where there is no GPU, and what tests compare the shader with.
fn twin(call: &mut HostCall<'_>) -> Result<()> {
    let params: Params = call.params()?;
    let (count, width, stride) = (params.rows as usize, params.width as usize, 4 * params.width4 as usize);
    // Whatever was recorded comes here: what does not fit is an error.
    let rows: &[f32] = call.read_as(0, volume([count, stride]))?;
    let maxima: &mut [f32] = call.write_as(1, count)?;
    for (row, most) in rows.chunks_exact(stride.max(1)).zip(&mut maxima[..count]) {
        *most = row.iter().take(width).copied().fold(f32::NEG_INFINITY, f32::max);
    }
    Ok(())
}

/// The wrapper: checks shapes, then records. Everything that does not fit is an error here and never a panic later.
fn record_row_maximum(recorder: &mut Recorder, input: &Tensor, maxima: &Buffer) -> Result<()> {
    if input.element_type() != ElementType::F32 {
        return Err(Error::shape("row maximum", "rows", ElementType::F32, input.element_type()));
    }
    if maxima.bytes() < 4 * input.rows() as u64 {
        return Err(Error::shape("row maximum", "maxima", format!("{} bytes", 4 * input.rows()), maxima.bytes()));
    }
    let group = recorder.device().capabilities().group;
    let (rows, width, width4) = (input.rows() as u32, input.width() as u32, input.width4() as u32);
    // No names for `#import` lines in the WGSL, and one override.
    let variant = recorder.device().variant(&[], &[("GROUP", f64::from(group))]);
    let dispatch = Dispatch::new(&ROW_MAXIMUM).variant(variant).params(&Params { rows, width, width4, padding: 0 });
    recorder.dispatch(dispatch.buffers([input.buffer(), maxima]).groups([rows.div_ceil(group).clamp(1, 65_535), 1, 1]))
}

fn row_maxima(device: &Device, data: &[f32], width: usize) -> Result<Vec<f32>> {
    let input = Tensor::from_f32(device, data, width)?;
    let maxima = device.buffer("maxima", 4 * input.rows() as u64)?;
    let mut recorder = device.recorder();
    record_row_maximum(&mut recorder, &input, &maxima)?;
    recorder.submit()?;
    let bytes = device.read_blocking(&maxima)?;
    Ok(bytemuck::pod_collect_to_vec(&bytes))
}

fn main() -> Result<()> {
    // The device named, else the first adapter (a software driver, too: we want to see the shader run), and the host.
    let named = std::env::args().nth(1).or_else(|| adapters(None).first().map(|a| a.name.clone()));
    let mut devices = vec![Device::host()];
    if let Some(Ok(selection)) = named.map(|name| name.parse()) {
        devices.push(Device::request_blocking(&DeviceOptions::default().selection(selection))?);
    }
    let (rows, width) = (1000, 7);
    let data: Vec<f32> = (0..rows * width).map(|i| (i as f32 * 0.37).sin() - 1.5).collect();
    for device in devices {
        let maxima = row_maxima(&device, &data, width)?;
        println!("{}: maxima of the first rows {:?}", device.name(), &maxima[..4]);
        let by_hand = data.chunks(width).map(|row| row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        assert!(by_hand.eq(maxima), "{}", device.name());
    }
    Ok(())
}
