//! No dispatch runs long: on a device that seems slow, every kernel is many dispatches, with the same bits.

use std::collections::BTreeMap;

use realign::ElementType;
use realign::device::{Buffer, Command, Device, Recorder, Tensor};
use realign::kernels::ALL;
use realign::kernels::align::{apply, c3};
use realign::kernels::geometry::{angles, histogram, nearest};
use realign::kernels::linalg::exact_product::{self, Digits, Placement, Sums};
use realign::kernels::linalg::matmul::{self, Operand, Product};
use realign::kernels::linalg::slices::{self, Parts, Slices};
use realign::kernels::nn::elementwise;
use realign::kernels::stats::{moments, normalize, power_sums};

use crate::common::{cloud, gpu, gpu_with};

/// Rows for the kernels that take many to a workgroup.
const ROWS: usize = 200;
/// Kernels of a single workgroup, which sum what others prepared, and those that measure a device and choose their own size.
const WHOLE: [&str; 3] = ["clip", "copy", "fma"];

/// Every kernel on data of its own.
fn record(device: &Device, r: &mut Recorder) {
    crate::nn::record_all(device, r);
    crate::picture::record_all(device, r);
    crate::phases::record_all(device, r);
    crate::radial::record_all(device, r);
    crate::attention_cores::emulate(r, &|r| crate::nn::record_cooperative(device, r));
    let tensor = |seed| Tensor::from_f32(device, &cloud(seed, ROWS, 12), 12).unwrap();
    let (input, status) = (tensor(1), apply::status_buffer(device).unwrap());
    let vectors = [vec![0.1; 12], vec![-0.05; 12]];
    let summand = moments::Summand::operator(device, 0.5, &vectors, 12).unwrap();
    let sums = device.buffer("sums", summand.sums_bytes()).unwrap();
    moments::record(r, &summand, &input, ROWS, (&sums, 0)).unwrap();
    normalize::record(r, &input, &tensor(2), ROWS, &status).unwrap();
    let operator = apply::Operator::new(device, 0.5, &vectors, 12).unwrap();
    apply::record(r, &operator, &input, &tensor(3), ROWS, (&status, 0)).unwrap();
    let shift = device.buffer("shift", 48).unwrap();
    c3::record(r, (&shift, c3::Noise { sigma: 0.1, seed: 1 }, 0), &input, &tensor(4), ROWS, (&status, 0)).unwrap();
    let lists = nearest::Lists::new(device, ROWS, 3).unwrap();
    let own = device.buffer("excluded", 4 * ROWS as u64).unwrap();
    nearest::record(r, (&input, nearest::Queries::Rows), (0, 0), &own, &lists).unwrap();
    let histogram = histogram::Histogram::new(device, 9).unwrap();
    histogram::record(r, &input, (0, 0), histogram::Pairs::Ordered, &histogram).unwrap();
    let weights = device.buffer_from("weights", bytemuck::cast_slice(&[0.5f32; ROWS])).unwrap();
    power_sums::record(r, (&input, &weights), &Tensor::new(device, 12, 4, ElementType::F32).unwrap(), false).unwrap();
    let mut digits = Digits::new(device, ROWS, 70).unwrap();
    digits.write(device, &(0..ROWS * 70).map(|i| (i * i) as f64 - 1e7).collect::<Vec<_>>()).unwrap();
    exact_product::record(r, &digits, &digits, Placement::default(), &Sums::new(device, 70, 70).unwrap()).unwrap();
    let mut slices = Slices::new(device, ROWS, 70, ElementType::F16).unwrap();
    slices.write(device, &(0..ROWS * 70).map(|i| (i * i) as f64 - 1e7).collect::<Vec<_>>()).unwrap();
    let (parts, sums) = (Parts::new(device, 70, 70).unwrap(), Sums::new(device, 70, 70).unwrap());
    slices::record(r, (&slices, &slices), Placement::default(), (&parts, &sums)).unwrap();
    let unit = |k: usize| {
        (0..12)
            .map(|j| {
                if j == k {
                    0.8
                } else if j == k + 1 {
                    -0.6
                } else {
                    0.0
                }
            })
            .collect::<Vec<_>>()
    };
    let (large, small) = ([0, 2, 4, 6, 8].map(unit).concat(), [1, 3, 5, 7, 9].map(unit).concat());
    angles::prepare(device, (&large, 5), (&small, 5)).unwrap().record(r).unwrap();
    let product = Tensor::new(device, ROWS, ROWS, ElementType::F32).unwrap();
    let operands = (Operand::new(&input), Operand::new(&input).transposed());
    matmul::record(r, Product::default(), operands, (&product, 0)).unwrap();
}

/// A kernel, the place of a buffer among its own, and the bytes that it left there.
type Written = (&'static str, usize, Vec<u8>);

/// Dispatches by kernel, and all buffers afterwards: the kernel that was the first to see it, the number of its buffer, and the bytes.
fn run(device: &Device) -> (BTreeMap<&'static str, usize>, Vec<Written>) {
    let mut recorder = device.recorder();
    record(device, &mut recorder);
    let (mut counts, mut buffers) = (BTreeMap::new(), Vec::<(&str, usize, Buffer)>::new());
    for command in recorder.commands() {
        let dispatch = match command {
            Command::Dispatch(dispatch) => dispatch,
            Command::Clear(_) => continue,
            other => panic!("{other:?}"),
        };
        *counts.entry(dispatch.kernel.name).or_insert(0) += 1;
        let all = dispatch.buffers.iter().enumerate();
        let new = all.filter(|(_, b)| !buffers.iter().any(|(.., known)| known.same(b)));
        let new: Vec<_> = new.map(|(i, b)| (dispatch.kernel.name, i, b.clone())).collect();
        buffers.extend(new);
    }
    recorder.submit().unwrap();
    (counts, buffers.iter().map(|(name, i, b)| (*name, *i, device.read_blocking(b).unwrap())).collect())
}

/// The buffers whose bytes differ: kernel, number, bytes of the first difference.
fn different(a: &[(&'static str, usize, Vec<u8>)], b: &[(&'static str, usize, Vec<u8>)]) -> Vec<String> {
    let unequal = a.iter().zip(b).filter(|(a, b)| a.2 != b.2);
    let told = unequal.map(|((name, i, a), (.., b))| {
        let words = |bytes: &[u8]| bytes.chunks(4).map(<[u8]>::to_vec).collect::<Vec<_>>();
        let first = words(a).into_iter().zip(words(b)).enumerate().find(|(_, (a, b))| a != b);
        format!("{name} {i}: {first:?}")
    });
    told.collect()
}

#[test]
fn every_kernel_splits_with_the_same_bits() {
    let mut split = Vec::new();
    for (lanes, group, texel_reads) in [(1, 1, false), (1, 1, gpu().capabilities().texel_reads), (4, 4, false)] {
        let shaped = |flops, bytes| {
            let device = gpu().with_capabilities(|c| {
                (c.lanes, c.group, c.subgroup_teams, c.texel_reads) = (lanes, group, false, texel_reads);
                (c.dispatch_flops, c.dispatch_bytes) = (flops, bytes);
            });
            device.unwrap()
        };
        let (whole, want) = run(&shaped(1 << 40, 1 << 40));
        let (parts, got) = run(&shaped(64, 64));
        for (kernel, count) in &parts {
            let more = *count > whole[kernel];
            assert!(more || WHOLE.contains(kernel), "{kernel}: {count} dispatches, {} without a limit", whole[kernel]);
            split.push(*kernel);
        }
        assert_eq!(got.len(), want.len());
        let different = different(&got, &want);
        assert!(different.is_empty(), "{different:?} of {} buffers, teams of {lanes}", want.len());
        // The comparison can fail: the outputs are not what the inputs were.
        assert!(want.iter().any(|(.., bytes)| bytes.iter().any(|b| *b != 0)));
    }
    // Which product a device takes is a matter of its subgroups and tensor cores, and its epilogue changes nothing of the grid.
    let product = |name: &str| name.starts_with("matmul");
    for kernel in ALL.iter().map(|spec| spec.name).filter(|name| !WHOLE.contains(name) && !product(name)) {
        // Where texels are not read, moments are one kernel.
        let texels_only = ["moment_weights", "moment_columns"].contains(&kernel) && !gpu().capabilities().texel_reads;
        assert!(
            split.contains(&kernel) || texels_only,
            "{kernel} was not tried: add a call to `record` in tests/kernels/watchdog.rs"
        );
    }
    assert!(split.iter().any(|name| product(name)));
}

/// Without wgpu's checks of indices, loops and divisors, and without zeroed workgroup memory.
#[test]
fn trusted_kernels_give_the_bits_of_checked_ones() {
    for (lanes, group, texel_reads) in [(1, 64, false), (1, 64, gpu().capabilities().texel_reads), (32, 64, false)] {
        let [checked, trusted] = [true, false].map(|checked| {
            let device = gpu_with(checked).with_capabilities(|c| {
                (c.lanes, c.group, c.subgroup_teams, c.texel_reads) = (lanes, group, false, texel_reads);
            });
            run(&device.unwrap())
        });
        assert_eq!(checked.0, trusted.0);
        let different = different(&checked.1, &trusted.1);
        assert_eq!((checked.1.len(), &different[..]), (trusted.1.len(), &[][..]), "teams of {lanes}");
        assert!(trusted.1.iter().any(|(.., bytes)| bytes.iter().any(|b| *b != 0)));
    }
}

/// A dispatch that anyone could have changed is not trusted, whatever kernel it runs: it has a pipeline of its own.
#[test]
fn dispatches_by_hand_are_checked() {
    let device = gpu_with(false);
    let y = Tensor::from_f32(&device, &[1.0; 64], 4).unwrap();
    let mut recorder = device.recorder();
    elementwise::scale(&mut recorder, 2.0, &y).unwrap();
    let Some(Command::Dispatch(wrapped)) = recorder.commands().first().cloned() else { panic!("a dispatch") };
    recorder.submit().unwrap();
    assert_eq!(device.cached().0, 1);
    let mut by_hand = device.recorder();
    by_hand.dispatch(wrapped.clone()).unwrap();
    by_hand.submit().unwrap();
    assert_eq!(device.cached().0, 2);
    assert_eq!(y.to_f32_blocking(&device).unwrap(), [4.0; 64]);
}

/// A part of the grid and the whole are counted in workgroups; a large one has two sides, and no part runs into the next.
#[test]
fn parts_cover_large_grids_once() {
    // 70,000 groups of one invocation.
    let count = 4 * 70_000;
    for bytes in [u64::MAX, 4 * count as u64 + 1] {
        let shape = |c: &mut realign::device::Capabilities| (c.lanes, c.group, c.dispatch_bytes) = (1, 1, bytes);
        let device = gpu().with_capabilities(shape).unwrap();
        let data: Vec<f32> = (0..count).map(|i| i as f32).collect();
        let tensor = Tensor::from_f32(&device, &data, 4).unwrap();
        let mut recorder = device.recorder();
        elementwise::scale(&mut recorder, 2.0, &tensor).unwrap();
        assert_eq!(recorder.commands().len(), if bytes == u64::MAX { 1 } else { 2 });
        recorder.submit().unwrap();
        let got = tensor.to_f32_blocking(&device).unwrap();
        assert!(got.iter().zip(&data).all(|(got, x)| *got == 2.0 * x));
    }
}

#[test]
fn a_budget_of_nothing_is_refused() {
    let error = gpu().with_capabilities(|c| c.dispatch_bytes = 0).unwrap_err().to_string();
    assert!(error.contains("dispatch_bytes"), "{error}");
}
