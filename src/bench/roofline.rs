//! What a device can do at most: bandwidth, arithmetic, and transfers from and to the host.

use serde_json::{Value, json};

use super::timing::{Budget, Timer, recorded};
use crate::device::{Device, DeviceKind, Tensor};
use crate::kernels::bench::{copy, fma};
use crate::{ElementType, Result};

/// Invocations of the FMA kernel: enough to fill a large GPU.
const INVOCATIONS: usize = 1 << 18;
/// On a CPU's cores.
const FEW_INVOCATIONS: usize = 1 << 12;
/// A dispatch that is timed should take at least so long, in seconds.
const LONG: f64 = 0.01;

/// Rates that nothing on the device exceeds by much: the best of several measurements each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Roofline {
    /// Bytes read and written per second by the better of a copy kernel and the driver's own copy of a buffer.
    pub bandwidth: f64,
    /// Bytes per second of the copy kernel alone.
    pub copy_kernel: f64,
    /// FLOPs per second of fused multiply-adds of f32 in registers.
    pub arithmetic: f64,
    /// Bytes per second from the host's memory to a tensor.
    pub upload: f64,
    /// Bytes per second from a tensor to the host's memory.
    pub download: f64,
    /// Bytes that were moved.
    pub bytes: u64,
    /// The clock of the first three.
    pub timer: Timer,
}

impl Roofline {
    /// Measures a device with some `bytes` bytes, as far as a binding goes.
    ///
    /// # Errors
    /// The device is lost or out of memory.
    pub fn measure(device: &Device, bytes: u64, budget: Budget) -> Result<Self> {
        let bytes = (bytes.min(device.capabilities().max_binding) / 4096).max(1) * 4096;
        let width = 1024;
        let make = || Tensor::new(device, bytes as usize / (4 * width), width, ElementType::F32);
        let (from, to) = (make()?, make()?);
        // Touched before it is timed: a host hands out memory when it is first written.
        device.write(from.buffer(), &vec![1; bytes as usize])?;
        let kernel = recorded(device, budget, &|r| copy::record(r, from.buffer(), to.buffer(), bytes))?;
        let driver = super::timing::called(budget, &mut || {
            let mut recorder = device.recorder();
            recorder.copy(&from, &to)?;
            recorder.submit()?.wait()
        })?;
        let rate = |seconds: f64| 2.0 * bytes as f64 / seconds;
        let (upload, download) = transfers(device, &from, budget)?;
        let copy_kernel = rate(kernel.quantile(0.0));
        Ok(Roofline {
            bandwidth: copy_kernel.max(rate(driver.quantile(0.0))),
            copy_kernel,
            arithmetic: arithmetic(device, budget)?,
            upload,
            download,
            bytes,
            timer: kernel.timer,
        })
    }

    /// Seconds that `bytes` and `flops` take at least, and whether memory is what bounds them.
    pub fn bound(&self, bytes: u64, flops: u64) -> (f64, bool) {
        let (memory, arithmetic) = (bytes as f64 / self.bandwidth, flops as f64 / self.arithmetic);
        (memory.max(arithmetic), memory >= arithmetic)
    }

    /// For results files, in GB/s and GFLOP/s.
    pub fn json(&self) -> Value {
        json!({
            "bandwidth_gb_s": self.bandwidth / 1e9, "copy_kernel_gb_s": self.copy_kernel / 1e9,
            "arithmetic_gflop_s": self.arithmetic / 1e9, "upload_gb_s": self.upload / 1e9,
            "download_gb_s": self.download / 1e9, "bytes": self.bytes, "timer": self.timer.name(),
        })
    }
}

/// Invocations of the FMA kernel that keep a device busy.
pub(super) fn invocations(device: &Device) -> usize {
    let on_cpu = matches!(device.capabilities().kind, DeviceKind::Host | DeviceKind::Software);
    if on_cpu { FEW_INVOCATIONS } else { INVOCATIONS }
}

/// FLOPs per second: rounds are doubled until a dispatch takes long enough to be timed.
fn arithmetic(device: &Device, budget: Budget) -> Result<f64> {
    let invocations = invocations(device) as u64;
    let sums = device.buffer("sums", 16 * invocations)?;
    let short = Budget { seconds: 0.0, least: 1, most: 1 };
    let mut rounds = 16;
    while rounds < fma::MAX_ROUNDS && recorded(device, short, &|r| fma::record(r, &sums, rounds))?.median() < LONG {
        rounds *= 2;
    }
    let timing = recorded(device, budget, &|r| fma::record(r, &sums, rounds))?;
    Ok((invocations * u64::from(rounds) * fma::ROUND_FLOPS) as f64 / timing.quantile(0.0))
}

/// Bytes per second to the device and back, to memory that is there.
fn transfers(device: &Device, tensor: &Tensor, budget: Budget) -> Result<(f64, f64)> {
    let bytes = tensor.buffer().bytes();
    let data = vec![1u8; bytes as usize];
    let up = super::timing::called(budget, &mut || {
        device.write(tensor.buffer(), &data)?;
        device.recorder().submit()?.wait()
    })?;
    let mut back = data;
    let down = super::timing::called(budget, &mut || device.read_into_blocking(tensor.buffer(), &mut back))?;
    Ok((bytes as f64 / up.quantile(0.0), bytes as f64 / down.quantile(0.0)))
}
