//! What the tests of the row kernels share: inputs of every element type, error bounds of sums and roundings, and a run.

use std::sync::OnceLock;

use half::{bf16, f16};
use realign::device::{Buffer, Capabilities, Device, Recorder, Tensor};
use realign::kernels::align::apply::{first_bad_row, status_buffer};
use realign::{ElementType, host};

use crate::common::{devices, gpu};

/// Unit roundoff of f32.
pub const U: f64 = 5.960_464_477_539_063e-8;
/// What f32 may lose where it underflows, after scaling back: far below every bound that matters.
pub const UNDERFLOW: f64 = 1e-37;

pub const INPUTS: [ElementType; 4] = [ElementType::F32, ElementType::F16, ElementType::BF16, ElementType::Fixed];
pub const OUTPUTS: [ElementType; 3] = [ElementType::F32, ElementType::F16, ElementType::BF16];

/// Shapes: empty, 1, prime, not a multiple of 4, above one workgroup.
pub const SHAPES: [(usize, usize); 10] =
    [(0, 8), (1, 1), (1, 64), (7, 3), (63, 5), (64, 64), (65, 130), (257, 17), (1009, 6), (131, 1280)];

/// Rows in a device's element type, and the same numbers in f64 (of [`ElementType::Fixed`]: up to a factor per row).
pub struct Input {
    pub bytes: Vec<u8>,
    pub element: ElementType,
    pub exact: Vec<f64>,
    pub width: usize,
}

impl Input {
    pub fn new(data: &[f32], width: usize, element: ElementType) -> Self {
        let (bytes, exact): (Vec<u8>, Vec<f64>) = match element {
            ElementType::F16 => {
                let e: Vec<f16> = data.iter().map(|&x| f16::from_f32(x)).collect();
                (bytemuck::cast_slice(&e).to_vec(), e.iter().map(|x| x.to_f64()).collect())
            }
            ElementType::BF16 => {
                let e: Vec<bf16> = data.iter().map(|&x| bf16::from_f32(x)).collect();
                (bytemuck::cast_slice(&e).to_vec(), e.iter().map(|x| x.to_f64()).collect())
            }
            ElementType::Fixed => {
                let mut e = vec![0i32; data.len()];
                for (row, out) in data.chunks_exact(width).zip(e.chunks_exact_mut(width)) {
                    let row: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
                    assert_eq!(host::rows::fixed_row(&row, out), None);
                }
                (bytemuck::cast_slice(&e).to_vec(), e.iter().map(|&x| f64::from(x)).collect())
            }
            _ => (bytemuck::cast_slice(data).to_vec(), data.iter().map(|&x| f64::from(x)).collect()),
        };
        Input { bytes, element, exact, width }
    }

    pub fn rows(&self) -> usize {
        self.exact.len() / self.width
    }
}

/// The unit rows in f64, overflow-safe; a row of norm below 1e-10 becomes zero. Written without the crate.
pub fn unit(exact: &[f64], width: usize) -> Vec<f64> {
    exact.chunks_exact(width).flat_map(unit_row).collect()
}

pub fn unit_row(row: &[f64]) -> Vec<f64> {
    let peak = row.iter().fold(0f64, |m, x| m.max(x.abs()));
    let norm = if peak > 0.0 { peak * row.iter().map(|x| (x / peak) * (x / peak)).sum::<f64>().sqrt() } else { 0.0 };
    row.iter().map(|x| if norm < 1e-10 { 0.0 } else { x / norm }).collect()
}

/// A sum of `width` products in floating point of unit roundoff `u`: at most this, times the sum of their magnitudes.
///
/// However a kernel adds (lanes, vectors of 4, 16 interleaved sums), a product passes through at most `width / 4 + 20`
/// additions: a team of one adds `width / 4` dots of 4 terms (3 more additions); larger teams and the host's 16 sums
/// add less and merge at most 64 partial sums, of which fewer than `width / 4 + 16` are not empty. The product rounds once,
/// and each factor once where it is converted (fixed point, vectors given in f64).
pub fn sum_error(width: usize, u: f64) -> f64 {
    (width as f64 / 4.0 + 23.0) * u
}

/// `1 / sqrt(x)`: WGSL allows inverseSqrt 2 ulp, 4 unit roundoffs; the host's sqrt and division round once each.
pub const ROOT: f64 = 4.0;

/// Relative error of an element of `row / |row|`: half of the square's, the root's, the conversion of a fixed-point
/// element, and the product's rounding.
pub fn unit_error(width: usize, u: f64) -> f64 {
    sum_error(width, u) / 2.0 + (ROOT + 2.0) * u
}

/// How far a value of error `error` in f32 may lie from `value` once it is stored as `out`: f16 has 11 bits of
/// significand and bf16 has 8, so that rounding to nearest moves a value by 2⁻¹¹ or 2⁻⁸ of itself at most; f16's subnormals are
/// multiples of 2⁻²⁴.
pub fn stored(value: f64, error: f64, out: ElementType) -> f64 {
    let (relative, subnormal) = match out {
        ElementType::F16 => (2f64.powi(-11), 2f64.powi(-25)),
        ElementType::BF16 => (2f64.powi(-8), 0.0),
        _ => (0.0, 0.0),
    };
    error + UNDERFLOW + subnormal + relative * (value.abs() + error)
}

/// Fails, naming the place, if an element is farther from its reference than its own bound.
pub fn check(got: &[f32], want: &[f64], bounds: &[f64], what: &str) {
    assert_eq!((got.len(), want.len()), (want.len(), bounds.len()), "{what}");
    for (i, ((&g, &w), &b)) in got.iter().zip(want).zip(bounds).enumerate() {
        let difference = (f64::from(g) - w).abs();
        assert!(difference <= b, "{what}: {difference:e} at {i}, allowed {b:e}: {g} for {w}");
    }
}

/// Runs what `record` records on `input`; gives the rows and the first bad one. Padding columns must be zero.
pub fn run(
    device: &Device,
    input: &Input,
    out: ElementType,
    record: impl FnOnce(&mut Recorder, &Tensor, &Tensor, &Buffer),
) -> (Vec<f32>, Option<u64>) {
    let tensor = Tensor::from_bytes(device, &input.bytes, input.width, input.element).unwrap();
    let output = Tensor::new(device, input.rows(), input.width, out).unwrap();
    let status = status_buffer(device).unwrap();
    let mut recorder = device.recorder();
    record(&mut recorder, &tensor, &output, &status);
    recorder.submit().unwrap();
    let bytes = device.read_blocking(output.buffer()).unwrap();
    for row in bytes.chunks_exact(output.row_bytes()).take(input.rows()) {
        assert!(row[input.width * out.bytes()..].iter().all(|&b| b == 0), "padding is not zero");
    }
    let bad = first_bad_row(&device.read_blocking(&status).unwrap());
    (output.to_f32_blocking(device).unwrap(), bad)
}

/// The devices under test in every shape of kernel that the adapter allows, with a name for messages: the host; the
/// adapter as it comes; teams of 8 and 32 in workgroup memory; subgroups as teams; without 64-bit integers.
pub fn variants() -> Vec<(String, Device)> {
    // One device each for all tests: each pipeline is compiled once.
    static VARIANTS: OnceLock<Vec<(String, Device)>> = OnceLock::new();
    VARIANTS.get_or_init(make_variants).clone()
}

fn make_variants() -> Vec<(String, Device)> {
    let mut all: Vec<(String, Device)> = devices().into_iter().map(|d| (d.name().to_owned(), d)).collect();
    let shaped = |group, lanes| {
        // Teams share a row of the moments in one dispatch; two dispatches have no teams.
        gpu()
            .with_capabilities(|c| {
                (c.group, c.lanes, c.subgroup_teams, c.texel_reads) = (group, lanes, false, false);
            })
            .unwrap()
    };
    all.push(("teams of 8".into(), shaped(64, 8)));
    all.push(("one team of 32".into(), shaped(32, 32)));
    if let Some(size) = gpu().capabilities().subgroup_size {
        let teams = gpu()
            .with_capabilities(|c| {
                (c.group, c.lanes, c.subgroup_teams, c.texel_reads) = (4 * size, size, true, false);
            })
            .unwrap();
        all.push((format!("subgroups of {size}"), teams));
    }
    let reads = gpu().capabilities().texel_reads;
    let other = gpu().with_capabilities(|c| c.texel_reads = !reads).unwrap();
    all.push((if reads { "rows in buffers" } else { "rows in textures" }.into(), other));
    all.push(("two dispatches".into(), Device::host().with_capabilities(|c| c.texel_reads = true).unwrap()));
    all.push(("32-bit products".into(), gpu().with_capabilities(|c| c.int64 = false).unwrap()));
    all.extend(with_int64().map(|device| ("64-bit products".into(), device)));
    all
}

/// Devices whose teams are made for a row's width, and the widths below, at and above those where teams and what they hold change: the least
/// team, a subgroup, and a workgroup that holds the row no more.
pub fn width_classes() -> Vec<(String, Device, Vec<usize>)> {
    static LARGE: OnceLock<Device> = OnceLock::new();
    let shape = |c: &mut Capabilities| (c.group, c.lanes, c.subgroup_teams, c.texel_reads) = (256, 32, false, false);
    let large = LARGE.get_or_init(|| gpu().with_capabilities(shape).unwrap()).clone();
    let teams = variants().into_iter().filter(|(_, device)| (2..32).contains(&device.capabilities().lanes));
    let classes = teams.map(|(name, device)| {
        let (group, lanes) = (device.capabilities().group as usize, device.capabilities().lanes as usize);
        // Four vectors of four elements to each lane, and eight. A CPU driver takes seconds to compile each width's pipeline: subgroups
        // and portable teams share them out.
        let limits =
            if device.capabilities().subgroup_teams { [16 * lanes, 16 * lanes + 1] } else { [16 * 4, 16 * 4 + 1] };
        let last = if device.capabilities().subgroup_teams { 32 * group } else { 32 * group + 1 };
        (name, device, limits.into_iter().chain([last]).collect())
    });
    let mut classes: Vec<_> = classes.collect();
    classes.push(("workgroups of 256".into(), large, vec![1280, 8193]));
    classes
}

/// Zero, tiny and huge rows of width 8, and which of them count as zero.
pub fn extreme_rows() -> (Vec<f32>, usize) {
    let d = 8;
    let mut data = vec![0f32; 9 * d];
    let rows: [[f32; 3]; 9] = [
        [0.0, 0.0, 0.0],
        [1e-39, 0.0, 0.0],
        [9e-11, 0.0, 0.0],      // below 1e-10
        [6e-11, -8.2e-11, 0.0], // above
        [3e38, 3e38, -3e38],
        [1e-30, 1.0, f32::MIN_POSITIVE],
        [3.38e38, 1.0, 0.0],
        [-6e-11, -7.9e-11, 0.0], // below
        [3.0, -4.0, 0.0],
    ];
    data.chunks_exact_mut(d).zip(&rows).for_each(|(to, row)| to[..3].copy_from_slice(row));
    (data, d)
}

/// The adapter with its own 64-bit integers, if it has them.
pub fn with_int64() -> Option<Device> {
    let device = gpu();
    let there = device.wgpu().unwrap().0.features().contains(wgpu::Features::SHADER_INT64);
    there.then(|| device.with_capabilities(|c| c.int64 = true).unwrap())
}
