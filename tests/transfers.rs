//! Transfers: staging buffers that are used again, order, several in flight, and devices that go meanwhile.

#[path = "common/mod.rs"]
mod common;

use common::gpu;
use realign::device::Device;
use realign::kernels::bench;

/// Sizes below and above what goes through staging buffers, of one piece and of several, and none a whole number of pages.
const SIZES: [usize; 5] = [16, 65_520, 70_000, 4 << 20, (9 << 20) + 48];

/// Writes of fewer bytes take no staging buffer.
const LEAST_WRITTEN: usize = 64 << 10;

/// Bytes of the staging buffers that hold one transfer at a time of each of [`SIZES`] from `least` bytes on: pieces of 4 MiB, each
/// in a buffer of a power of two.
fn at_once(least: usize) -> u64 {
    let whole = SIZES.iter().map(|size| size >> 22).max().unwrap() << 22;
    let rests = SIZES.iter().filter(|&&size| size >= least).map(|size| size % (4 << 20)).filter(|&rest| rest > 0);
    let mut buffers: Vec<_> = rests.map(|rest| rest.next_power_of_two().max(4 << 10)).collect();
    buffers.sort_unstable();
    buffers.dedup();
    (whole + buffers.iter().sum::<usize>()) as u64
}

/// Devices of a test's own, whose staging buffers and waits nobody else counts up.
fn own() -> [Device; 2] {
    [Device::host(), gpu()]
}

fn bytes(seed: u32, count: usize) -> Vec<u8> {
    let word = |i: u32| (i ^ seed).wrapping_mul(0x9E37_79B9).to_le_bytes();
    (0..count as u32 / 4).flat_map(word).collect()
}

#[test]
fn staging_buffers_are_used_again() {
    for device in own() {
        let buffers = SIZES.map(|size| device.buffer("there and back", size as u64).unwrap());
        for round in 0..6 {
            for (buffer, size) in buffers.iter().zip(SIZES) {
                let data = bytes(round, size);
                device.write(buffer, &data).unwrap();
                assert!(device.read_blocking(buffer).unwrap() == data, "{} {size} round {round}", device.name());
                let begun = device.begin_read(buffer).unwrap();
                device.wait().unwrap();
                let again = begun.wait(&device).unwrap();
                assert!(again == data, "{} {size} round {round}", device.name());
                let mut there = vec![7; size - 12];
                device.read_into_blocking(buffer, &mut there).unwrap();
                assert!(there == data[..size - 12], "{} {size} round {round}", device.name());
            }
            // However fast the device is: of each size as many as one transfer may have in flight, written and read.
            let (made, most) = (device.staging_bytes(), at_once(LEAST_WRITTEN) + at_once(0));
            assert!(made <= most, "{} round {round}: {made} bytes, {most} at once", device.name());
        }
    }
}

#[test]
fn reads_that_do_not_fit_are_refused() {
    for device in own() {
        let buffer = device.buffer("small", 16).unwrap();
        for length in [20, 3] {
            let error = device.read_into_blocking(&buffer, &mut vec![0; length]).unwrap_err().to_string();
            assert!(error.contains("up to 16 bytes"), "{error}");
        }
        device.read_into_blocking(&buffer, &mut []).unwrap();
        gpu().read_into_blocking(&buffer, &mut [0; 16]).unwrap_err();
    }
}

/// What is written, submitted, written again and read happens in that order, and nothing but the reads waits.
#[test]
fn transfers_keep_their_order() {
    for device in own() {
        for size in SIZES {
            let [from, to] = ["from", "to"].map(|label| device.buffer(label, size as u64).unwrap());
            let waits = device.waits();
            let mut reads = Vec::new();
            for round in 0..4 {
                device.write(&from, &bytes(round, size)).unwrap();
                let mut recorder = device.recorder();
                bench::copy::record(&mut recorder, &from, &to, size as u64).unwrap();
                recorder.submit().unwrap();
                // The copy must not see this.
                device.write(&from, &bytes(100 + round, size)).unwrap();
                reads.push((device.begin_read(&to).unwrap(), device.begin_read(&from).unwrap(), round));
            }
            assert_eq!(device.waits(), waits, "{} {size}", device.name());
            device.wait().unwrap();
            for (copied, written, round) in reads {
                let [copied, written] = [copied, written].map(|read| read.wait(&device).unwrap());
                let right = copied == bytes(round, size) && written == bytes(100 + round, size);
                assert!(right, "{} {size} round {round}", device.name());
            }
        }
    }
}

/// More than is kept, without a wait between: what has no staging buffer left goes another way.
#[test]
fn many_in_flight() {
    for device in own() {
        let size = 5 << 20;
        let buffers: Vec<_> = (0..24).map(|_| device.buffer("one of many", size as u64).unwrap()).collect();
        for (i, buffer) in buffers.iter().enumerate() {
            device.write(buffer, &bytes(i as u32, size)).unwrap();
        }
        let most = 160 << 20;
        assert!(device.staging_bytes() < most, "{}: {}", device.name(), device.staging_bytes());
        for (i, buffer) in buffers.iter().enumerate() {
            assert!(device.read_blocking(buffer).unwrap() == bytes(i as u32, size), "{} {i}", device.name());
        }
    }
}

#[test]
fn reads_that_nobody_waits_for() {
    for device in own() {
        let size = (9 << 20) + 48;
        let buffer = device.buffer("read and dropped", size as u64).unwrap();
        device.write(&buffer, &bytes(1, size)).unwrap();
        for _ in 0..3 {
            drop(device.begin_read(&buffer).unwrap());
        }
        assert!(device.read_blocking(&buffer).unwrap() == bytes(1, size), "{}", device.name());
    }
}

#[test]
fn threads_share_the_staging_buffers() {
    for device in own() {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let device = &device;
                scope.spawn(move || {
                    let size = (4 << 20) + 16 * thread as usize;
                    let buffer = device.buffer("a thread's", size as u64).unwrap();
                    for round in 0..5 {
                        let data = bytes(1000 * thread + round, size);
                        device.write(&buffer, &data).unwrap();
                        assert!(device.read_blocking(&buffer).unwrap() == data, "{} {thread} {round}", device.name());
                    }
                });
            }
        });
    }
}

/// Large transfers are errors on a lost device too, begun before or after.
#[test]
fn a_device_that_is_lost() {
    let device = gpu();
    let size = 9 << 20;
    let buffer = device.buffer("lost", size as u64).unwrap();
    device.write(&buffer, &bytes(1, size)).unwrap();
    let begun = device.begin_read(&buffer).unwrap();
    lose(&device);
    // Either it came before the loss, or it is an error; it is never a wait without end.
    let _ = begun.wait(&device);
    device.write(&buffer, &bytes(2, size)).unwrap_err();
    device.begin_read(&buffer).map(drop).unwrap_err();
    device.read_blocking(&buffer).unwrap_err();
    device.read_into_blocking(&buffer, &mut vec![0; size]).unwrap_err();
}

fn lose(device: &Device) {
    let Some((inner, _)) = device.wgpu() else { panic!("a GPU") };
    inner.destroy();
    let _ = device.poll();
}
