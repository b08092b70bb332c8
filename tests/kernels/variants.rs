//! Moments are the same bits in every shape of kernel: teams of one, of 8, of 32, subgroups, products of 32 or 64 bits.

use realign::ElementType;
use realign::device::{Command, Device, Tensor};
use realign::kernels::align::apply::status_buffer;
use realign::kernels::stats::moments::{self, Summand, Sums};
use realign::kernels::stats::normalize;

use crate::common::{Rng, cloud};
use crate::rows::{INPUTS, Input, extreme_rows, variants};

/// A comparison of variants proves nothing if one kernel runs for all: each must record the files and lanes of its own.
#[test]
fn each_variant_records_its_own_kernel() {
    let mut seen = Vec::new();
    for (name, device) in variants() {
        let tensor = Tensor::new(&device, 1, 8, ElementType::F32).unwrap();
        let status = status_buffer(&device).unwrap();
        let mut recorder = device.recorder();
        normalize::record(&mut recorder, &tensor, &tensor, 1, &status).unwrap();
        let [Command::Dispatch(dispatch)] = recorder.commands() else { panic!("one dispatch") };
        assert_eq!(dispatch.imports().contains(&("team", "common/team_subgroup.wgsl")), name.starts_with("subgroups"));
        assert_eq!(dispatch.imports().contains(&("product", "common/product_u64.wgsl")), device.capabilities().int64);
        let shape = (dispatch.constants(), dispatch.imports().to_vec());
        if name.contains("team") || name.starts_with("subgroups") {
            assert!(!seen.contains(&shape), "{name} is a variant that was there already");
        }
        seen.push(shape);
    }
}

fn sums(device: &Device, input: &Input, vectors: &[Vec<f64>]) -> Sums {
    let summand = Summand::operator(device, 0.75, vectors, input.width).unwrap();
    let buffer = device.buffer("sums", summand.sums_bytes()).unwrap();
    let tensor = Tensor::from_bytes(device, &input.bytes, input.width, input.element).unwrap();
    let mut recorder = device.recorder();
    moments::record(&mut recorder, &summand, &tensor, tensor.rows(), (&buffer, 0)).unwrap();
    recorder.submit().unwrap();
    Sums::from_bytes(&device.read_blocking(&buffer).unwrap(), &summand).unwrap()
}

#[test]
fn moments_have_the_same_bits_in_every_variant() {
    // 203 × 9 groups of four 16-bit elements end in half a texel.
    let mut inputs: Vec<Input> = INPUTS.iter().map(|&e| Input::new(&cloud(31, 203, 33), 33, e)).collect();
    inputs.push(Input::new(&cloud(32, 65, 1280), 1280, ElementType::F32));
    let (extreme, d) = extreme_rows();
    inputs.push(Input::new(&extreme, d, ElementType::F32));
    let mut rng = Rng(4);
    let variants = variants();
    for (i, input) in inputs.iter().enumerate() {
        let d = input.width;
        // Every number of vectors for one type of rows, and for the others those without a loop and with one: a CPU driver takes seconds to
        // compile what a GPU holds in registers.
        for count in if i == 0 { [0, 1, 2, 9].as_slice() } else { &[0, 2] }.iter().copied() {
            let size = 0.5 / (d as f64).sqrt();
            let vectors: Vec<Vec<f64>> = (0..count).map(|_| (0..d).map(|_| rng.normal() * size).collect()).collect();
            let want = sums(&Device::host(), input, &vectors);
            for (place, (name, device)) in variants.iter().enumerate() {
                // Teams, by far the longest to compile, take the other inputs in turns.
                let teams = name.contains("team") || name.starts_with("subgroups");
                if !teams || i == 0 || (i + place + count) % 3 == 0 {
                    assert_eq!(sums(device, input, &vectors), want, "{name}: {} [{d}] {count}", input.element);
                }
            }
        }
    }
}
