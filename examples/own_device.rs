//! An app that has a wgpu device of its own (for drawing, say) aligns one query embedding on it, and reads the result first
//! waiting for it, then without ever waiting, from its frame loop.
//!
//! `cargo run --release --example own_device`

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use realign::align::{Aligner, FitOptions, OnDevice, Target, fit};
use realign::device::{Device, Tensor};
use realign::kernels::align::apply::{first_bad_row, status_buffer};
use realign::stats::MemoryRows;
use realign::{ElementType, Error};

const WIDTH: usize = 64;

/// What the app does anyway: an instance, an adapter, a device. No feature and no limit beyond wgpu's defaults is needed.
fn app_device() -> Result<(wgpu::AdapterInfo, wgpu::Device, wgpu::Queue), Box<dyn std::error::Error>> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))?;
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default()))?;
    Ok((adapter.get_info(), device, queue))
}

/// Embeddings of two modalities, each around a mean of its own: the gap. An app has them from its encoders.
fn embeddings(rows: usize, mean: f32, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    (0..rows * WIDTH).map(|i| mean * ((i % WIDTH) as f32 * mean * 3.0).sin() + noise()).collect()
}

/// Records the operator on one row; gives where the result and the check for bad numbers will be. Nothing runs yet.
fn align(
    device: &Device,
    operator: &dyn OnDevice,
    query: &[f32],
) -> realign::Result<(Tensor, realign::device::Buffer)> {
    let input = Tensor::from_f32(device, query, WIDTH)?;
    let output = Tensor::new(device, 1, WIDTH, ElementType::F32)?;
    let status = status_buffer(device)?;
    let mut recorder = device.recorder();
    operator.record(&mut recorder, &input, 1, Target { output: &output, status: &status, first_row: 0 })?;
    recorder.submit()?; // the device works from here on; nobody waits
    Ok((output, status))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The app keeps its device; realign gets handles to the same one. The app's error callbacks stay in place.
    let (info, wgpu_device, wgpu_queue) = app_device()?;
    let device = Device::from_wgpu(&info, wgpu_device.clone(), wgpu_queue.clone())?;
    println!("on {}, shared with the app", device.name());

    // Once per pair of encoders; an app would load a file that `realign fit` wrote (`Statistics::load`).
    let (text, image) = (embeddings(2000, 0.9, 1), embeddings(1500, 0.5, 2));
    let mut texts = MemoryRows::f32("text", &text, WIDTH)?;
    let mut images = MemoryRows::f32("image", &image, WIDTH)?;
    let statistics = fit(&device, &mut texts, &mut images, &FitOptions::default())?;
    println!("gap between the modalities: {:.3}", statistics.gap());

    // The operator's vectors go to the device once.
    let aligner: Box<dyn Aligner> = statistics.aligner();
    let operator = aligner.on(&device)?;
    let query = &text[..WIDTH];

    // First, waiting: for tools, and wherever a millisecond does not matter.
    let (output, status) = align(&device, &*operator, query)?;
    let waited = output.to_f32_blocking(&device)?;
    if let Some(row) = first_bad_row(&device.read_blocking(&status)?) {
        return Err(Error::argument("query", format!("row {row} holds a NaN or an infinity")).into());
    }

    // Then without waiting. The future owns its staging buffer; polling it costs next to nothing.
    let (output, _status) = align(&device, &*operator, query)?;
    let mut reading = pin!(output.to_f32(&device));
    let mut context = Context::from_waker(Waker::noop()); // we ask every frame, so that nobody needs to wake us
    let mut frame = 0;
    let aligned = loop {
        // ... the app draws and submits its own work here, to the same queue ...
        frame += 1;
        // An app that submits every frame needs no poll of ours; one that draws nothing does.
        device.poll()?;
        if let Poll::Ready(rows) = reading.as_mut().poll(&mut context) {
            break rows?;
        }
    };
    println!("the result came in frame {frame}");
    assert_eq!(aligned, waited);

    let length = aligned.iter().map(|x| x * x).sum::<f32>().sqrt();
    println!("aligned query: length {length:.6}, starts with {:?}", &aligned[..4]);
    Ok(())
}
