//! Kernels on f16: what they write is what they write in f32 of the same numbers, rounded once.

use half::f16;
use realign::ElementType;
use realign::device::{Device, Recorder, Tensor};
use realign::kernels::nn::attention::{self, Heads, Sequences};
use realign::kernels::nn::{bias, dropout, elementwise, gate, layer_norm, rms_norm, rotary};

use crate::common::devices;
use crate::nn::{normal, run, tensor, words};

/// Below one row of a texture's texel, no multiple of 4, odd numbers of rows, above one workgroup.
const SHAPES: [(usize, usize); 6] = [(1, 1), (1, 4), (7, 3), (65, 130), (257, 17), (33, 1280)];

pub fn round(data: &[f32]) -> Vec<f32> {
    data.iter().map(|&x| f16::from_f32(x).to_f32()).collect()
}

/// `[n, width]` in f16.
fn half(device: &Device, data: &[f32], width: usize) -> Tensor {
    let halves: Vec<f16> = data.iter().map(|&x| f16::from_f32(x)).collect();
    Tensor::from_bytes(device, bytemuck::cast_slice(&halves), width, ElementType::F16).unwrap()
}

/// A tensor's elements; its padding must be zero.
fn read(device: &Device, tensor: &Tensor) -> Vec<f32> {
    let bytes = device.read_blocking(tensor.buffer()).unwrap();
    let used = tensor.element_type().bytes() * tensor.width();
    for row in bytes.chunks_exact(tensor.row_bytes()).take(tensor.rows()) {
        assert!(row[used..].iter().all(|&b| b == 0), "padding is not zero");
    }
    tensor.to_f32_blocking(device).unwrap()
}

/// Data that f16 holds, by seed.
fn data(seed: u64, count: usize) -> Vec<f32> {
    round(&normal(seed, count))
}

/// An operand's data and width, and whether it is f16 in the second run.
type Input<'a> = (&'a [f32], usize, bool);

/// Runs a kernel on f32 and on f16, operands and results: rounded, the first's results have the second's bits. `inputs` are the operands,
/// `results` widths of what is written, rows being `n`; those with `true` are f16 in the second run.
fn same_when_rounded(
    device: &Device,
    what: &str,
    n: usize,
    inputs: &[Input<'_>],
    results: &[(usize, bool)],
    record: impl Fn(&mut Recorder, &[Tensor], &[Tensor]),
) {
    let both = [false, true].map(|halves| {
        let make = |(data, width, is_half): (&[f32], usize, bool)| match halves && is_half {
            true => half(device, data, width),
            false => tensor(device, data, width),
        };
        let operands: Vec<Tensor> = inputs.iter().map(|&input| make(input)).collect();
        let rubbish = |rows: usize, width: usize| vec![-777.25; rows * width];
        let outs: Vec<Tensor> =
            results.iter().map(|&(width, is_half)| make((&rubbish(n, width), width, is_half))).collect();
        run(device, |r| record(r, &operands, &outs));
        // What is changed in place is among the operands.
        let all = operands.iter().chain(&outs);
        all.map(|tensor| read(device, tensor)).collect::<Vec<_>>()
    });
    let [full, halves] = both;
    let is_half = inputs.iter().map(|i| i.2).chain(results.iter().map(|r| r.1));
    for (i, (is_half, (full, halves))) in is_half.zip(full.iter().zip(&halves)).enumerate() {
        let want = if is_half { round(full) } else { full.clone() };
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert!(bits(&want) == bits(halves), "{} {what}, tensor {i}: {:?}", device.name(), difference(&want, halves));
    }
}

/// The first place where two lists differ.
fn difference(a: &[f32], b: &[f32]) -> Option<(usize, f32, f32)> {
    a.iter().zip(b).enumerate().find(|(_, (a, b))| a.to_bits() != b.to_bits()).map(|(i, (a, b))| (i, *a, *b))
}

#[test]
fn a_cast_rounds_to_nearest_even_and_keeps_what_is_no_number() {
    let ulp = |x: f32| f32::from_bits(x.to_bits() + 1);
    let mut values = vec![0.0, -0.0, 1.0, 65_504.0, 65_519.0, 65_520.0, 65_536.0, 1e30, -1e30, f32::INFINITY];
    values.extend([f32::NEG_INFINITY, f32::NAN, -f32::NAN, f32::MAX, f32::MIN_POSITIVE, 1e-45]);
    // Ties, and just above them: among normals, between subnormals, at the least subnormal, at the border of both.
    for tie in [
        1.0 + 2f32.powi(-11),
        1.0 + 3.0 * 2f32.powi(-11),
        2f32.powi(-25),
        3.0 * 2f32.powi(-25),
        5.5 * 2f32.powi(-24),
        1023.5 * 2f32.powi(-24),
        2f32.powi(-14),
        2047.5 * 2f32.powi(-25),
    ] {
        values.extend([tie, ulp(tie), -tie, -ulp(tie)]);
    }
    let mut bits = 12_345u32;
    values.extend((0..10_000).map(|_| {
        bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from_bits(bits)
    }));
    for device in devices() {
        let (x, y) = (tensor(&device, &values, 1), Tensor::new(&device, values.len(), 1, ElementType::F16).unwrap());
        run(&device, |r| elementwise::cast(r, &x, &y).unwrap());
        for (x, y) in values.iter().zip(read(&device, &y)) {
            let want = f16::from_f32(*x).to_f32();
            let same = if want.is_nan() { y.is_nan() } else { y.to_bits() == want.to_bits() };
            // A driver may take a subnormal f32 for zero, which it is in f16.
            assert!(same, "{}: {x:e} ({:#x}) became {y:e}, not {want:e}", device.name(), x.to_bits());
        }
    }
}

#[test]
fn a_cast_back_is_exact() {
    let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).filter(|h| h.is_finite()).collect();
    let subnormal = |x: &f16| x.to_bits() & 0x7c00 == 0;
    for device in devices() {
        let x = Tensor::from_bytes(&device, bytemuck::cast_slice(&all), 8, ElementType::F16).unwrap();
        let y = Tensor::new(&device, x.rows(), 8, ElementType::F32).unwrap();
        run(&device, |r| elementwise::cast(r, &x, &y).unwrap());
        for (x, y) in all.iter().zip(read(&device, &y)) {
            let want = x.to_f32();
            let same = y.to_bits() == want.to_bits() || (subnormal(x) && y == 0.0);
            assert!(same, "{}: {want:e} became {y:e}", device.name());
        }
    }
}

#[test]
fn elements_and_rows() {
    for device in devices() {
        for (n, d) in SHAPES {
            let what = |kernel: &str| format!("{kernel} [{n}, {d}]");
            let [a, b, c] = [1, 2, 3].map(|seed| data(seed, n * d));
            let (w, s) = (normal(4, d), normal(5, d));
            fn matrix(x: &[f32], d: usize) -> Input<'_> {
                (x, d, true)
            }
            same_when_rounded(
                &device,
                &what("silu gate"),
                n,
                &[matrix(&a, d), matrix(&b, d)],
                &[(d, true)],
                |r, x, y| {
                    gate::forward(r, gate::Act::Silu, &x[0], &x[1], &y[0]).unwrap();
                },
            );
            same_when_rounded(
                &device,
                &what("silu gate times 1/16"),
                n,
                &[matrix(&a, d), matrix(&b, d)],
                &[(d, true)],
                |r, x, y| {
                    gate::forward_scaled(r, (gate::Act::Silu, 0.0625), &x[0], &x[1], &y[0]).unwrap();
                },
            );
            let operands = [matrix(&a, d), matrix(&b, d), matrix(&c, d)];
            same_when_rounded(&device, &what("silu gate backward"), n, &operands, &[(d, true); 2], |r, x, y| {
                gate::backward(r, gate::Act::Silu, &x[0], &x[1], &x[2], &y[0], &y[1]).unwrap();
            });
            let operands = [(&a[..], d, false), (&w, d, false), (&s, d, false)];
            same_when_rounded(&device, &what("rms norm"), n, &operands, &[(d, true)], |r, x, y| {
                rms_norm::forward(r, 1e-5, &x[0], &x[1], &y[0]).unwrap();
            });
            same_when_rounded(&device, &what("layer norm"), n, &operands, &[(d, true)], |r, x, y| {
                layer_norm::forward(r, 1e-5, &x[0], &x[1], &x[2], &y[0]).unwrap();
            });
            let sums = Tensor::new(&device, 1, d, ElementType::F32).unwrap();
            let both = [tensor(&device, &a, d), half(&device, &a, d)].map(|dy| {
                run(&device, |r| bias::backward(r, &dy, &sums, false).unwrap());
                read(&device, &sums)
            });
            assert_eq!(both[0], both[1], "{} {}", device.name(), what("bias backward"));
        }
    }
}

#[test]
fn rotation_in_place() {
    for device in devices() {
        let frequencies = rotary::Frequencies::new(&device, 16, 1e4, None).unwrap();
        for (n, heads) in [(1, 1), (7, 3), (65, 5)] {
            let positions: Vec<u32> = (0..n as u32).map(|i| 17 * i).collect();
            let positions = words(&device, &positions);
            let x = data(6, n * heads * 16);
            same_when_rounded(&device, "rotary", n, &[(&x, heads * 16, true)], &[], |r, x, _| {
                rotary::record(r, &frequencies, &positions, heads, &x[0], false).unwrap();
            });
        }
    }
}

#[test]
fn attention_and_its_gradients() {
    verify_attention(&[4, 6, 20, 64, 128]);
}

#[test]
fn attention_in_wide_heads() {
    verify_attention(&[192]);
}

fn verify_attention(widths: &[usize]) {
    for device in devices() {
        for &width in widths {
            let heads = Heads::new(4, 2, width);
            let lengths = [5, 40, 1];
            let n = lengths.iter().sum::<u32>() as usize;
            let (wide, narrow) = (4 * width, 2 * width);
            let [q, dout] = [7, 8].map(|seed| data(seed, n * wide));
            let [k, v] = [9, 10].map(|seed| data(seed, n * narrow));
            let sequences = Sequences::packed(&device, &lengths).unwrap();
            let operands = [(&q[..], wide, true), (&k, narrow, true), (&v, narrow, true)];
            same_when_rounded(&device, "attention", n, &operands, &[(wide, true), (4, false)], |r, x, y| {
                attention::forward(r, heads, &sequences, &x[0], &x[1], &x[2], &y[0], &y[1]).unwrap();
            });
            // The forward's results, the same for both.
            let [tq, tk, tv] = [(&q, wide), (&k, narrow), (&v, narrow)].map(|(x, width)| tensor(&device, x, width));
            let (out, lse) = (tensor(&device, &q, wide), tensor(&device, &vec![0.0; 4 * n], 4));
            run(&device, |r| attention::forward(r, heads, &sequences, &tq, &tk, &tv, &out, &lse).unwrap());
            let (out, lse) = (round(&read(&device, &out)), read(&device, &lse));
            let saved = [(&out[..], wide, true), (&lse, 4, false), (&dout, wide, true)];
            let results = [(wide, true), (narrow, true), (narrow, true)];
            let all = [operands, saved].concat();
            same_when_rounded(&device, "attention backward", n, &all, &results, |r, x, y| {
                let (q, k, v, out, lse, dout) = (&x[0], &x[1], &x[2], &x[3], &x[4], &x[5]);
                attention::backward(r, heads, &sequences, q, k, v, out, lse, dout, &y[0], &y[1], &y[2]).unwrap();
            });
        }
    }
}

#[test]
fn types_without_a_form_are_refused() {
    for device in devices() {
        let bf16 = Tensor::new(&device, 3, 8, ElementType::BF16).unwrap();
        let f32 = Tensor::new(&device, 3, 8, ElementType::F32).unwrap();
        let mut r = device.recorder();
        let error = elementwise::cast(&mut r, &f32, &bf16).unwrap_err().to_string();
        assert!(error.contains("f32 or f16") && error.contains("bf16"), "{error}");
        assert!(gate::forward(&mut r, gate::Act::Silu, &bf16, &f32, &f32).is_err());
        assert!(r.commands().is_empty());
    }
}

#[test]
fn dropout_of_halves() {
    for device in devices() {
        for (n, d) in SHAPES {
            let (x, y) = (data(1, n * d), data(2, n * d));
            let at = words(&device, &(0..n as u32).collect::<Vec<_>>());
            let mask = dropout::Mask { positions: &at, samples: &at, module: 1, key: [2, 3], probability: 0.4 };
            for (x_half, y_half) in [(true, true), (true, false), (false, true)] {
                let inputs: [Input<'_>; 2] = [(&x, d, x_half), (&y, d, y_half)];
                for accumulate in [false, true] {
                    same_when_rounded(&device, "dropout", n, &inputs, &[], |r, x, _| {
                        dropout::record(r, mask, 1.25, &x[0], (&x[1], accumulate)).unwrap();
                    });
                }
            }
        }
    }
}
