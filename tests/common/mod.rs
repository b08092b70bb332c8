//! Devices under test, seeded data, and comparison helpers that can fail.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::sync::OnceLock;

use realign::device::{Device, DeviceOptions, Selection};

/// The adapter that the tests run on, besides the host engine: `REALIGN_TEST_ADAPTER`, else Mesa's llvmpipe.
pub fn adapter_name() -> String {
    std::env::var("REALIGN_TEST_ADAPTER").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "llvmpipe".to_owned())
}

/// The GPU under test. A missing adapter is a failure: no GPU test is skipped. `REALIGN_TEST_CHECKED`, whatever it holds, keeps wgpu's
/// checks in its kernels.
pub fn gpu() -> Device {
    gpu_with(std::env::var_os("REALIGN_TEST_CHECKED").is_some())
}

/// The GPU under test, with wgpu's checks in all kernels or in apps' alone.
pub fn gpu_with(checked: bool) -> Device {
    let options = DeviceOptions::default().selection(Selection::Named(adapter_name())).checked(checked);
    Device::request_blocking(&options)
        .unwrap_or_else(|e| panic!("{e}. Install a Vulkan driver (apt-get install mesa-vulkan-drivers)"))
}

/// Every device under test. The GPU is one device for all of a binary's tests, so that each pipeline is compiled once.
pub fn devices() -> Vec<Device> {
    static GPU: OnceLock<Device> = OnceLock::new();
    vec![Device::host(), GPU.get_or_init(gpu).clone()]
}

/// A small generator, so that data does not depend on a crate's version.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Roughly normal: a sum of twelve uniforms.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// `[n, d]` rows with a mean of their own and norms that vary.
pub fn cloud(seed: u64, n: usize, d: usize) -> Vec<f32> {
    let mut rng = Rng(seed);
    let mean: Vec<f64> = (0..d).map(|_| rng.normal()).collect();
    (0..n)
        .flat_map(|_| {
            let size = (0.5 * rng.normal()).exp();
            let row: Vec<f32> = mean.iter().map(|m| (size * (m + rng.normal())) as f32).collect();
            row
        })
        .collect()
}

/// Rows in f64 divided by their norms; rows of norm below 1e-10 as they are.
pub fn unit_rows(data: &[f32], d: usize) -> Vec<f64> {
    data.chunks_exact(d)
        .flat_map(|row| {
            let peak = row.iter().fold(0f64, |m, x| m.max(f64::from(x.abs())));
            let scale = if peak > 0.0 { peak } else { 1.0 };
            let norm = scale * row.iter().map(|&x| (f64::from(x) / scale).powi(2)).sum::<f64>().sqrt();
            let norm = if norm < 1e-10 { 1.0 } else { norm };
            row.iter().map(move |&x| f64::from(x) / norm).collect::<Vec<_>>()
        })
        .collect()
}

/// Column means, f64.
pub fn mean(rows: &[f64], d: usize) -> Vec<f64> {
    let n = (rows.len() / d) as f64;
    let mut out = vec![0.0; d];
    rows.chunks_exact(d).for_each(|r| out.iter_mut().zip(r).for_each(|(o, x)| *o += x / n));
    out
}

/// The largest absolute difference, or an error that says where it is above `bound`. NaN counts as above.
pub fn max_difference(got: &[f64], want: &[f64], bound: f64) -> Result<f64, String> {
    if got.len() != want.len() {
        return Err(format!("{} values, expected {}", got.len(), want.len()));
    }
    let mut worst = (0, 0.0f64);
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let difference = (g - w).abs();
        if difference.is_nan() || difference > worst.1 {
            worst = (i, difference);
        }
        if difference.is_nan() {
            break;
        }
    }
    if worst.1 <= bound {
        Ok(worst.1)
    } else {
        Err(format!("{} at {}, allowed {bound}: {} for {}", worst.1, worst.0, got[worst.0], want[worst.0]))
    }
}
