//! Long runs: memory stays flat over many steps and calls; a device that is lost ends a run with an error, and no other.
//!
//! The two of many turns are ignored unless asked for, and must run alone, since they look at the memory of their process:
//! `cargo test --release --test training endurance:: -- --include-ignored --test-threads 1`, with
//! `REALIGN_ENDURANCE_TURNS=10000` for the long form.

use realign::Error;
use realign::align::{FitOptions, apply_rows, fit};
use realign::device::{Device, DeviceOptions, Selection};
use realign::stats::MemoryRows;
use realign::train::{Run, Stage, Start};

use super::runs::setup;

/// Turns after which caches are full and allocators have what they need.
const WARM: usize = 200;

pub fn gpu() -> Device {
    let name = std::env::var("REALIGN_TEST_ADAPTER")
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "llvmpipe".to_owned());
    let options = DeviceOptions::default().selection(Selection::Named(name));
    Device::request_blocking(&options).unwrap()
}

fn turns() -> usize {
    let asked = std::env::var("REALIGN_ENDURANCE_TURNS").ok().filter(|n| !n.is_empty());
    asked.map_or(1000, |n| n.parse().expect("REALIGN_ENDURANCE_TURNS must be a number"))
}

/// Memory of the process and of the device, and what the device keeps.
#[derive(Debug)]
struct Held {
    /// Resident bytes, where the system tells.
    process: Option<u64>,
    /// Names and bytes of the driver's allocations, in order, where the backend tells.
    device: Option<Vec<(String, u64)>>,
    cached: (usize, usize),
}

fn held(device: &Device) -> Held {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages: Option<u64> = pages.and_then(|text| text.split(' ').nth(1)?.parse().ok());
    let report = device.wgpu().and_then(|(device, _)| device.generate_allocator_report());
    Held {
        process: pages.map(|n| 4096 * n),
        device: report.map(|report| {
            let mut held: Vec<_> = report.allocations.into_iter().map(|a| (a.name, a.size)).collect();
            held.sort();
            held
        }),
        cached: device.cached(),
    }
}

/// The device's allocations of `one` that `other` has not.
fn only(one: &Held, other: &Held) -> Vec<(String, u64)> {
    let mut others = other.device.clone().unwrap_or_default();
    let missing = |held: &&(String, u64)| match others.iter().position(|other| other == *held) {
        Some(place) => {
            others.swap_remove(place);
            false
        }
        None => true,
    };
    one.device.iter().flatten().filter(missing).cloned().collect()
}

/// Checks that `turn` leaves nothing behind from its turn [`WARM`] on.
fn flat(device: &Device, turns: usize, mut turn: impl FnMut()) {
    assert!(turns >= 2 * WARM, "{turns} turns prove nothing");
    (0..WARM).for_each(|_| turn());
    let before = held(device);
    (WARM..turns).for_each(|_| turn());
    let after = held(device);
    let count = |held: &Held| held.device.as_ref().map(Vec::len);
    println!("{WARM} turns: {:?} bytes, {:?} allocations, {:?} cached", before.process, count(&before), before.cached);
    println!("{turns} turns: {:?} bytes, {:?} allocations, {:?} cached", after.process, count(&after), after.cached);
    assert_eq!(after.cached, before.cached);
    assert_eq!(only(&after, &before), only(&before, &after), "left: allocations that are new, right: that are gone");
    if let (Some(before), Some(after)) = (before.process, after.process) {
        // Noise of the allocator, whatever the number of turns.
        assert!(after <= before + (8 << 20), "{before} bytes grew to {after}");
    }
    if cfg!(target_os = "linux") && device.backend() == "vulkan" {
        assert!(before.process.is_some() && before.device.is_some(), "nothing was measured");
    }
}

#[test]
#[ignore = "long"]
fn memory_stays_flat_over_training_steps() {
    let device = gpu();
    let (_folder, mut settings) = setup(Stage::One);
    // Checkpoints read memory, for which staging buffers are kept: the first ones fall among the turns that warm up.
    (settings.epochs, settings.checkpoint_every) = (turns() as f64, (WARM / 2) as u64);
    let mut run = Run::start(&device, settings, Start::New).unwrap();
    flat(&device, turns(), || {
        run.advance().unwrap();
    });
    assert!(run.is_done());
}

#[test]
#[ignore = "long"]
fn memory_stays_flat_over_fits_and_applications() {
    let device = gpu();
    let rows = |seed: u32| -> Vec<f32> {
        (0..64 * 12).map(|i: u32| (i.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) as f32 / 1e7).collect()
    };
    let (text, image) = (rows(1), rows(77_777));
    let mut first = None;
    flat(&device, turns(), || {
        let source = |data| MemoryRows::f32("rows", data, 12).unwrap();
        let options = FitOptions::default().allow_degenerate(true);
        let statistics = fit(&device, &mut source(&text), &mut source(&image), &options).unwrap();
        let aligned = apply_rows(&device, &statistics, &text, 12).unwrap();
        assert_eq!(first.get_or_insert_with(|| aligned.clone()), &aligned);
    });
}

/// A measurement that sees no leak proves nothing.
#[test]
#[ignore = "long"]
#[should_panic(expected = "left")]
fn a_leak_is_seen() {
    let device = gpu();
    let mut kept = Vec::new();
    flat(&device, 2 * WARM, || kept.push(device.buffer("kept", 4096).unwrap()));
}

#[test]
fn a_device_lost_in_training_is_an_error_and_a_new_one_trains() {
    let losses = |device: &Device, lose_at: Option<usize>| {
        let (_folder, mut settings) = setup(Stage::One);
        settings.epochs = 6.0;
        let mut run = Run::start(device, settings, Start::New)?;
        let mut losses = Vec::new();
        while !run.is_done() {
            if lose_at == Some(losses.len()) {
                device.wgpu().unwrap().0.destroy();
            }
            losses.push(run.advance()?.loss.to_bits());
        }
        Ok::<_, Error>(losses)
    };
    let want = losses(&gpu(), None).unwrap();
    let lost = gpu();
    let error = losses(&lost, Some(3)).unwrap_err();
    assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
    assert!(matches!(losses(&lost, None), Err(Error::DeviceLost { .. })), "it stays lost");
    assert_eq!(losses(&gpu(), None).unwrap(), want);
    // Two threads, on a device each and on one for both: nobody disturbs anybody.
    let (one, other) = (gpu(), gpu());
    std::thread::scope(|scope| {
        for device in [&one, &one, &other] {
            scope.spawn(|| assert_eq!(losses(device, None).unwrap(), want));
        }
    });
}
