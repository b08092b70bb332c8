//! The kernels that measure a device.

use realign::device::Device;
use realign::kernels::bench::{copy, fma};

use crate::common::devices;

fn copied(device: &Device, bytes: usize, part: u64) -> (Vec<u8>, Vec<u8>) {
    let data: Vec<u8> = (0..bytes).map(|i| (i * 31 % 251) as u8).collect();
    let (from, to) = (device.buffer_from("from", &data).unwrap(), device.buffer("to", bytes as u64).unwrap());
    let mut recorder = device.recorder();
    copy::record(&mut recorder, &from, &to, part).unwrap();
    recorder.submit().unwrap().wait().unwrap();
    (data, device.read_blocking(&to).unwrap())
}

#[test]
fn copies_what_was_asked_for() {
    for device in devices() {
        // Nothing, one vector, a part, and more than one vector for each invocation of the largest grid.
        for (bytes, part) in [(16, 0), (16, 16), (4096, 4080), (1 << 20, 1 << 20), (70 << 20, 70 << 20)] {
            let (data, got) = copied(&device, bytes, part as u64);
            assert!(got[..part] == data[..part], "{}: {part} bytes", device.name());
            assert!(got[part..].iter().all(|b| *b == 0), "{}: {part} bytes", device.name());
        }
    }
}

#[test]
fn multiplies_and_adds() {
    for device in devices() {
        for (invocations, rounds) in [(1usize, 0u32), (3, 1), (1000, 7), (65, 300)] {
            let sums = device.buffer("sums", 16 * invocations as u64).unwrap();
            let mut recorder = device.recorder();
            fma::record(&mut recorder, &sums, rounds).unwrap();
            recorder.submit().unwrap().wait().unwrap();
            let got: Vec<f32> = bytemuck::pod_collect_to_vec(&device.read_blocking(&sums).unwrap());
            for (i, got) in got.iter().enumerate() {
                let (id, lane) = (i / 4, i % 4);
                let start = |k: usize| [k as f64, (id % 4) as f64, 1.0, 0.5][lane];
                let (x, y) = (f64::from(0.999f32), f64::from(0.001f32));
                let end = |k| (0..4 * rounds).fold(start(k), |s, _| s * x + y);
                let want: f64 = (0..8).map(end).sum();
                // Each turn rounds once, at most 7, by 2^-24 of it.
                let bound = (f64::from(4 * rounds) * 8.0 + 40.0) * 7.0 * 2f64.powi(-24);
                assert!((f64::from(*got) - want).abs() <= bound, "{}: {i}: {got} for {want}", device.name());
            }
        }
    }
}

#[test]
fn operands_that_do_not_fit() {
    let device = Device::host();
    let (a, b) = (device.buffer("a", 64).unwrap(), device.buffer("b", 32).unwrap());
    let mut recorder = device.recorder();
    for (from, to, bytes, want) in [(&a, &b, 24, "16"), (&a, &b, 48, "32"), (&a, &a, 16, "another")] {
        let problem = copy::record(&mut recorder, from, to, bytes).unwrap_err().to_string();
        assert!(problem.contains(want), "{problem}");
    }
    let problem = fma::record(&mut recorder, &a, fma::MAX_ROUNDS + 1).unwrap_err().to_string();
    assert!(problem.contains("16384"), "{problem}");
    copy::record(&mut recorder, &Device::host().buffer("c", 16).unwrap(), &b, 16).unwrap_err();
}

#[test]
fn a_tuning_serves_whether_or_not_it_can_be_kept() {
    use realign::tuning::Tuning;

    let (device, folder) = (crate::common::gpu(), tempfile::tempdir().unwrap());
    let file = folder.path().join("new").join("tuning.json");
    let (tuning, problem) = Tuning::load_or_tune(Some(&file), &device).unwrap();
    assert!(problem.is_none() && !tuning.tried.is_empty());
    // From now on it is read.
    let (again, problem) = Tuning::load_or_tune(Some(&file), &device).unwrap();
    assert!(problem.is_none() && again.tried.is_empty() && again.tiling == tuning.tiling);
    // A folder cannot be made below a file.
    let blocked = file.join("below").join("tuning.json");
    let (tuning, problem) = Tuning::load_or_tune(Some(&blocked), &device).unwrap();
    let problem = problem.unwrap().to_string();
    assert!(problem.contains("tuning.json") && problem.contains("below"), "{problem}");
    assert!(!tuning.tried.is_empty() && !blocked.exists());
    assert_eq!(tuning.apply(device).unwrap().capabilities().tiling, Some(tuning.tiling));
    assert!(Tuning::load_or_tune(None, &Device::host()).is_err());
}
