//! Matrices and tables in blocks of Q8_0: what those in f32 that hold the same numbers give.

use realign::ElementType;
use realign::device::{Device, Purpose, Tensor};
use realign::kernels::linalg::matmul::{self, Operand, Product};
use realign::kernels::nn::embedding::{Scales, VISUAL, gather, gather_shards};

use crate::common::devices;
use crate::matmul::variants;
use crate::nn::{normal, read, rubbish, run, tensor, words};
use crate::rows::U;

const LABEL: (Purpose, &str) = (Purpose::Data, "in blocks");

/// Numbers in blocks whose scales differ, subnormal f16 among them.
fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut data = normal(seed, count);
    data.iter_mut().enumerate().for_each(|(i, x)| *x *= [1.0, 1e-3, 30.0, 2e-6][i / 32 % 4]);
    data
}

/// `data` in blocks, and the numbers that they stand for.
fn quantized(device: &Device, data: &[f32], width: usize) -> (Tensor, Vec<f32>) {
    let blocks = Tensor::quantized(device, LABEL, data, width).unwrap();
    let wide = blocks.to_f32_blocking(device).unwrap();
    assert!(wide != data, "nothing was rounded");
    for (x, y) in data.chunks(32).zip(wide.chunks(32)) {
        let most = x.iter().fold(0f32, |most, x| most.max(x.abs()));
        // Half a step; the scale's rounding, of 127 steps; and where it is subnormal, of half of the least.
        let bound = most / 254.0 + most * 2f32.powi(-11) + 127.0 * 2f32.powi(-25);
        assert!(x.iter().zip(y).all(|(x, y)| (x - y).abs() <= bound));
    }
    (blocks, wide)
}

/// Forward and backward shapes, odd numbers of blocks, rows from the middle: on a driver and on the host the bits of the product by f32.
#[test]
fn a_product_by_blocks_has_the_bits_of_one_by_their_numbers() {
    for (name, device) in variants() {
        // Turned, B is [n, k]: k is a multiple of 32; else n is.
        for (turned, m, n, k) in [
            (true, 1, 1, 32),
            (true, 17, 9, 96),
            (true, 65, 131, 64),
            (true, 5, 67, 224),
            (false, 1, 32, 1),
            (false, 17, 96, 33),
            (false, 66, 160, 31),
            (false, 3, 64, 130),
        ] {
            let (rows, width) = if turned { (n, k) } else { (k, n) };
            // Five rows before those that are used.
            let (blocks, wide) = quantized(&device, &numbers(2, (rows + 5) * width), width);
            let full = Tensor::from_f32(&device, &wide, width).unwrap();
            for (element, accumulate) in
                [(ElementType::F32, false), (ElementType::F32, true), (ElementType::F16, false)]
            {
                let a = Tensor::new(&device, m, k, element).unwrap();
                a.write_f32(&device, &normal(1, m * k)).unwrap();
                let results = [&blocks, &full].map(|b| {
                    let c = Tensor::from_f32(&device, &normal(3, m * n), n).unwrap();
                    let b = Operand::new(b).rows(5, rows);
                    let operands = (Operand::new(&a), if turned { b.transposed() } else { b });
                    run(&device, |r| {
                        matmul::record(r, Product { alpha: 0.5, accumulate, upper: false }, operands, (&c, 0)).unwrap();
                    });
                    c.to_f32_blocking(&device).unwrap()
                });
                assert_eq!(results[0], results[1], "{name} {turned} [{m}, {n}, {k}] {element} {accumulate}");
                assert!(results[0].iter().any(|x| *x != 0.0));
            }
        }
    }
}

/// On the host a B that is widened in several parts: sums in another order, within the bound of sums.
#[test]
fn a_product_by_many_blocks_on_the_host() {
    let (device, (m, n, k)) = (Device::host(), (2, 1120, 1056));
    let a = normal(1, m * k);
    for turned in [false, true] {
        let (blocks, wide) = quantized(&device, &numbers(2, n * k), if turned { k } else { n });
        let (ta, c) = (tensor(&device, &a, k), rubbish(&device, m, n));
        let b = Operand::new(&blocks);
        let operands = (Operand::new(&ta), if turned { b.transposed() } else { b });
        run(&device, |r| matmul::record(r, Product::default(), operands, (&c, 0)).unwrap());
        for (place, got) in read(&device, &c).iter().enumerate() {
            let (i, j) = (place / n, place % n);
            let at = |l: usize| if turned { j * k + l } else { l * n + j };
            let terms = (0..k).map(|l| f64::from(a[i * k + l]) * f64::from(wide[at(l)]));
            let (sum, size) = terms.fold((0.0, 0.0), |(s, z): (f64, f64), p| (s + p, z + p.abs()));
            assert!((f64::from(*got) - sum).abs() <= (k + 3) as f64 * U * size, "{turned} ({i}, {j}): {got} for {sum}");
        }
    }
}

#[test]
fn rows_of_a_table_in_blocks() {
    for device in devices() {
        for (rows, width) in [(1, 32), (7, 96), (5, 64), (33, 160)] {
            let (table, wide) = quantized(&device, &numbers(4, rows * width), width);
            let visual = tensor(&device, &vec![7.0; width], width);
            let ids = [rows as u32 - 1, 0, VISUAL, rows as u32 / 2, rows as u32];
            let row = |id: usize| wide[id * width..(id + 1) * width].to_vec();
            let want = [row(rows - 1), row(0), vec![7.0; width], row(rows / 2), vec![0.0; width]].concat();
            let out = rubbish(&device, 5, width);
            run(&device, |r| gather(r, &table, Some(&visual), &words(&device, &ids), &out).unwrap());
            assert_eq!(read(&device, &out), want, "{} [{rows}, {width}]", device.name());
            // In two tensors, scaled.
            let first = rows / 2;
            if first > 0 {
                let part = |rows: std::ops::Range<usize>| {
                    Tensor::quantized(&device, LABEL, &wide[rows.start * width..rows.end * width], width).unwrap()
                };
                let shards = [(0, part(0..first)), (first, part(first..rows))];
                let scales = Scales { table: 2.0, visual: 1.0 };
                run(&device, |r| {
                    let shards = shards.iter().map(|(first, shard)| (*first, shard));
                    gather_shards(r, shards, Some(&visual), &words(&device, &ids), (&out, scales)).unwrap();
                });
                let twice = want.iter().enumerate().map(|(i, x)| if i / width == 2 { *x } else { 2.0 * x });
                assert_eq!(read(&device, &out), twice.collect::<Vec<_>>(), "{} [{rows}, {width}]", device.name());
            }
        }
    }
}

#[test]
fn what_is_no_matrix_in_blocks_is_refused() {
    for device in devices() {
        for width in [0, 16, 33] {
            assert!(Tensor::new(&device, 2, width, ElementType::Q8_0).is_err());
            assert!(Tensor::quantized(&device, LABEL, &[0.0; 66], width).is_err());
        }
        assert!(Tensor::from_bytes(&device, &[0; 64], 32, ElementType::Q8_0).is_err());
        for bad in [f32::NAN, f32::INFINITY, 1e8] {
            let error = Tensor::quantized(&device, LABEL, &[bad; 32], 32).unwrap_err().to_string();
            assert!(error.contains("q8_0") && error.contains("bf16"), "{error}");
        }
        let blocks = Tensor::quantized(&device, LABEL, &[1.0; 1024], 32).unwrap();
        // 8.5 bits a number.
        assert_eq!(blocks.buffer().bytes(), 1024 * 17 / 16);
        blocks.write_f32(&device, &[1.0; 1024]).unwrap_err();
        let full = Tensor::from_f32(&device, &[1.0; 1024], 32).unwrap();
        let mut r = device.recorder();
        for (a, b, c) in [(&blocks, &full, &rubbish(&device, 32, 32)), (&full, &full, &blocks)] {
            matmul::record(&mut r, Product::default(), (Operand::new(a), Operand::new(b)), (c, 0)).unwrap_err();
        }
        realign::kernels::nn::elementwise::cast(&mut r, &blocks, &full).unwrap_err();
        let status = device.buffer("status", 64).unwrap();
        realign::kernels::stats::normalize::record(&mut r, &blocks, &full, 32, &status).unwrap_err();
    }
}

/// Products by blocks beside those by bf16, in turns, at a training batch's rows and at a token's. Run with `--ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn how_fast_beside_bf16() {
    let (n, k) = (2048, 2048);
    for device in devices() {
        let data = normal(1, n * k);
        let blocks = Tensor::quantized(&device, LABEL, &data, k).unwrap();
        let brain = Tensor::new(&device, n, k, ElementType::BF16).unwrap();
        brain.write_f32(&device, &data).unwrap();
        for (m, turned, repeats) in [(1, true, 8), (128, true, 2), (128, false, 2), (512, true, 1)] {
            let a = tensor(&device, &normal(2, m * k), k);
            let c = rubbish(&device, m, n);
            let time = |b: &Tensor| {
                let began = std::time::Instant::now();
                let mut r = device.recorder();
                for _ in 0..repeats {
                    let b = if turned { Operand::new(b).transposed() } else { Operand::new(b) };
                    matmul::record(&mut r, Product::default(), (Operand::new(&a), b), (&c, 0)).unwrap();
                }
                r.submit().unwrap().wait().unwrap();
                began.elapsed().as_secs_f64() / f64::from(repeats)
            };
            time(&brain);
            time(&blocks);
            let mut turns: Vec<(f64, f64)> = (0..9).map(|_| (time(&brain), time(&blocks))).collect();
            turns.sort_by(|x, y| (x.1 / x.0).total_cmp(&(y.1 / y.0)));
            let ratios = [0, 4, 8].map(|i| turns[i].1 / turns[i].0);
            let best = turns.iter().map(|t| t.0).fold(f64::MAX, f64::min);
            println!(
                "{}: [{m}, {k}] by [{n}, {k}]{}: bf16 {:.2} ms at best; blocks take {:.2} times as long ({:.2} to {:.2})",
                device.name(),
                if turned { "ᵀ" } else { "" },
                best * 1e3,
                ratios[1],
                ratios[0],
                ratios[2]
            );
        }
    }
}
