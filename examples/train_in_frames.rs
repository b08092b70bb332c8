//! Training inside an app's frame loop: no call waits for the device, so frames keep coming.
//!
//! [`Run::tick`] submits the next few kernels, less than a layer's, and returns; it submits no more before the device is done with
//! them, and once all of a step is done it says whether the numbers have come. What is left of a frame is used for more of them.
//!
//! `cargo run --release --example train_in_frames -- stage1 run.toml [DEVICE]`, for instance `llvmpipe`; the settings are those
//! of `realign train`.

use std::path::Path;
use std::time::{Duration, Instant};

use realign::device::{Device, DeviceOptions};
use realign::train::{Run, Settings, Stage, Start, Tick};

/// Sixty frames a second.
const FRAME: Duration = Duration::from_micros(16_667);
/// What training may take of a frame.
const SHARE: Duration = Duration::from_millis(8);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (stage, config) = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["stage1", config, ..] => (Stage::One, config),
        ["stage2", config, ..] => (Stage::Two, config),
        _ => return Err("usage: train_in_frames stage1|stage2 run.toml [DEVICE]".into()),
    };
    let selection = match args.get(2).map_or("auto", String::as_str).parse() {
        Ok(selection) => selection,
        Err(never) => match never {},
    };
    let device = Device::request_blocking(&DeviceOptions::default().selection(selection))?;
    let mut settings = Settings::new(stage);
    settings.read(Path::new(config))?;

    // An app that holds a wgpu device already passes it with Device::from_wgpu instead.
    let mut run = Run::start(&device, settings, Start::Resume)?;
    let (mut frames, mut pieces) = (0u64, 0u64);
    while !run.is_done() {
        let began = Instant::now();
        draw();
        let trained = Instant::now();
        while !run.is_done() && trained.elapsed() < SHARE {
            match run.tick()? {
                Tick::Submitted => pieces += 1,
                // The device is busy: on with the next frame.
                Tick::Waiting => break,
                Tick::Stepped(record) => {
                    println!("frame {frames}: step {} of {}, loss {:.4}", record.step, run.total(), record.loss);
                }
            }
        }
        frames += 1;
        std::thread::sleep(FRAME.saturating_sub(began.elapsed()));
    }
    let finished = run.finish()?;
    println!("{pieces} pieces in {frames} frames; wrote {}", finished.adapter.display());
    Ok(())
}

/// What the app does besides.
fn draw() {}
