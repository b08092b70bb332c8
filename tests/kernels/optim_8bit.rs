//! AdamW with moments in 8 bits, and parameters in bf16 with stochastic rounding, against the definition in f64.

use realign::ElementType;
use realign::device::{Device, Tensor};
use realign::host::optim::dynamic::{first_value, second_value};
use realign::kernels::optim::adamw::{self, Hyper, Rounding};
use realign::kernels::optim::adamw_8bit::{self, BLOCK, Moments8};

use crate::common::devices;
use crate::nn::{SHAPES, normal, run, tensor, wide, zeros};
use crate::rows::{U, check, variants};

const HYPER: Hyper = Hyper { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1, step: 1 };

fn scale_of(device: &Device, factor: f32) -> realign::device::Buffer {
    device.buffer_from("scale", &factor.to_le_bytes()).unwrap()
}

/// A matrix with its state.
struct State {
    device: Device,
    p: Tensor,
    g: Tensor,
    moments: Moments8,
}

/// The state's moments as numbers, padding included, and the largest ones of its blocks.
struct Seen {
    m: Vec<f64>,
    v: Vec<f64>,
    largest: Vec<f32>,
}

impl State {
    fn new(device: &Device, (n, d): (usize, usize), element: ElementType) -> Self {
        let p = Tensor::new(device, n, d, element).unwrap();
        p.write_f32(device, &normal(1, n * d)).unwrap();
        let moments = Moments8::zeros(device, &p).unwrap();
        State { device: device.clone(), p, g: tensor(device, &normal(2, n * d), d), moments }
    }

    fn step(&self, hyper: &Hyper, factor: f32, rounding: Rounding) {
        let scale = scale_of(&self.device, factor);
        run(&self.device, |r| {
            adamw_8bit::step(r, hyper, (&scale, rounding), (&self.p, &self.g), &self.moments).unwrap();
        });
    }

    fn bytes(&self) -> [Vec<u8>; 2] {
        let read = |buffer| self.device.read_blocking(buffer).unwrap()[..self.moments.elements()].to_vec();
        [read(&self.moments.first), read(&self.moments.second)]
    }

    fn seen(&self) -> Seen {
        let [first, second] = self.bytes();
        let largest: Vec<f32> =
            bytemuck::pod_collect_to_vec(&self.device.read_blocking(&self.moments.largest).unwrap());
        let of = |bytes: &[u8], which: usize, value: fn(u8) -> f32| -> Vec<f64> {
            let number =
                |(i, byte): (usize, &u8)| f64::from(largest[2 * (i / BLOCK) + which]) * f64::from(value(*byte));
            bytes.iter().enumerate().map(number).collect()
        };
        Seen { m: of(&first, 0, first_value), v: of(&second, 1, second_value), largest }
    }

    fn padded(&self, tight: &[f32]) -> Vec<f64> {
        let (d, stride) = (self.p.width(), 4 * self.p.width4());
        let row = |row: &[f32]| wide(row).into_iter().chain(vec![0.0; stride - d]).collect::<Vec<f64>>();
        tight.chunks_exact(d).flat_map(row).collect()
    }
}

/// The distance between `x` and the nearest number of a map.
fn distance(x: f64, map: &[f64]) -> f64 {
    map.iter().map(|m| (m - x).abs()).fold(f64::MAX, f64::min)
}

/// Checks the moments after a step, that should be `want`, against the blocks' largest and the map.
fn check_moments(seen: &[f64], largest: &[f32], want: &[f64], map: &[f64], what: &str) {
    for (block, (seen, want)) in seen.chunks(BLOCK).zip(want.chunks(BLOCK)).enumerate() {
        let most = want.iter().fold(0f64, |most, x| most.max(x.abs()));
        // Two products and a sum of a few roundings each, which terms of unlike signs may cancel: errors of the larger one.
        let close = 16.0 * U;
        let stored = f64::from(largest[2 * block]);
        assert!((stored - most).abs() <= close * most, "{what}: {stored} for {most} in block {block}");
        for (i, (seen, want)) in seen.iter().zip(want).enumerate() {
            let error = (seen - want).abs();
            // As near as the map has one, but for the roundings of the quotient, which may choose the neighbour at the middle.
            let allowed = most * (distance(want / most, map) + close + 1e-6 * (want / most).abs());
            assert!(
                most == 0.0 && *seen == 0.0 || error <= allowed,
                "{what}: {seen} for {want} at {i} of {block}: {allowed:e}"
            );
        }
    }
}

#[test]
fn steps_of_all_shapes_in_every_variant() {
    let firsts: Vec<f64> = (0..=255).map(|b| f64::from(first_value(b))).collect();
    // A second moment above zero does not become zero.
    let seconds: Vec<f64> = (1..=255).map(|b| f64::from(second_value(b))).collect();
    for (name, device) in variants() {
        for shape in SHAPES.into_iter().filter(|(n, _)| *n > 0) {
            let state = State::new(&device, shape, ElementType::F32);
            let g: Vec<f64> = state.padded(&normal(2, shape.0 * shape.1)).iter().map(|g| 0.5 * g).collect();
            for step in 1..=3 {
                let hyper = Hyper { step, ..HYPER };
                let what = format!("{name} {shape:?} step {step}");
                let (before, p) = (state.seen(), state.padded(&state.p.to_f32_blocking(&device).unwrap()));
                state.step(&hyper, 0.5, Rounding::default());
                let (after, c) = (state.seen(), hyper.constants().unwrap());
                let next = |old: &[f64], beta: f64, power: i32| -> Vec<f64> {
                    old.iter().zip(&g).map(|(old, g)| beta * old + (1.0 - beta) * g.powi(power)).collect()
                };
                let (m, v) = (next(&before.m, c.beta1, 1), next(&before.v, c.beta2, 2));
                check_moments(&after.m, &after.largest, &m, &firsts, &what);
                check_moments(&after.v, &after.largest[1..], &v, &seconds, &what);
                let moved =
                    |((p, m), v): ((&f64, &f64), &f64)| c.keep * p - c.rate * m / (v.sqrt() * c.correction + c.eps);
                let want: Vec<f64> = p.iter().zip(&m).zip(&v).map(moved).collect();
                // The step is f32: a few ulp of it, where terms of m cancel of its larger one, and the rounding of p.
                let bounds: Vec<f64> = want
                    .iter()
                    .zip(&v)
                    .map(|(p, v)| {
                        let cancelled = c.rate * 16.0 * U * f64::from(after.largest[0].max(1.0))
                            / (v.sqrt() * c.correction + c.eps);
                        p.abs() * 4e-7 + 1e-8 + cancelled
                    })
                    .collect();
                let got = state.padded(&state.p.to_f32_blocking(&device).unwrap());
                let got: Vec<f32> = got.into_iter().map(|x| x as f32).collect();
                check(&got, &want, &bounds, &what);
            }
        }
    }
}

/// The engines' bytes are the same but where a moment lies in the middle between two, to rounding.
#[test]
fn bytes_are_the_host_engines() {
    let host = State::new(&Device::host(), (131, 1280), ElementType::F32);
    (1..=3).for_each(|step| host.step(&Hyper { step, ..HYPER }, 0.5, Rounding::default()));
    for (name, device) in variants() {
        let state = State::new(&device, (131, 1280), ElementType::F32);
        (1..=3).for_each(|step| state.step(&Hyper { step, ..HYPER }, 0.5, Rounding::default()));
        for (ours, theirs) in state.bytes().iter().zip(host.bytes()) {
            let differing = ours.iter().zip(&theirs).filter(|(a, b)| a != b).count();
            // A cell is at least 1/128 of its numbers, and a quotient is wrong by some 1e-6 of itself: 1e-4 of cells' widths.
            assert!(differing * 2000 <= ours.len(), "{name}: {differing} of {} bytes differ", ours.len());
        }
    }
}

/// A step of a third of bf16's last place, on every element: their mean moves by it, and each is one of the two neighbours.
#[test]
fn stochastic_rounding_keeps_the_mean() {
    const SHAPE: (usize, usize) = (64, 257);
    let count = SHAPE.0 * SHAPE.1;
    let (digit, lr) = (2f64.powi(-8), 2f64.powi(-8) / 3.0);
    let hyper = Hyper { lr, weight_decay: 0.0, ..HYPER };
    let rounding = Rounding { seed: 7, tensor: 3 };
    let mut all = Vec::new();
    for device in devices() {
        for eight_bit in [false, true] {
            let step = |hyper: &Hyper, rounding: Rounding| -> Vec<f32> {
                let p = Tensor::new(&device, SHAPE.0, SHAPE.1, ElementType::BF16).unwrap();
                p.write_f32(&device, &vec![1.0; count]).unwrap();
                let (g, scale) = (tensor(&device, &vec![0.5; count], SHAPE.1), scale_of(&device, 1.0));
                run(&device, |r| {
                    if eight_bit {
                        let moments = Moments8::zeros(&device, &p).unwrap();
                        adamw_8bit::step(r, hyper, (&scale, rounding), (&p, &g), &moments).unwrap();
                    } else {
                        let [m, v] = [(); 2].map(|()| zeros(&device, SHAPE.0, SHAPE.1));
                        adamw::step_rounded(r, hyper, (&scale, rounding), (&p, &g), (&m, &v)).unwrap();
                    }
                });
                let bytes = device.read_blocking(p.buffer()).unwrap();
                assert!(bytes.chunks_exact(p.row_bytes()).all(|row| row[2 * SHAPE.1..].iter().all(|b| *b == 0)));
                p.to_f32_blocking(&device).unwrap()
            };
            let what = format!("{} {eight_bit}", device.name());
            let got = step(&hyper, rounding);
            assert!(got.iter().all(|p| *p == 1.0 || f64::from(*p) == 1.0 - digit), "{what}");
            let mean = got.iter().map(|p| f64::from(*p)).sum::<f64>() / count as f64;
            // Five standard errors of a coin that falls on one side in a third of the throws.
            let error = 5.0 * digit * (2.0f64 / 9.0 / count as f64).sqrt();
            assert!((mean - (1.0 - lr)).abs() < error, "{what}: {mean} for {}", 1.0 - lr);
            assert!(step(&hyper, rounding) == got, "{what}: other bits in another run");
            for (hyper, rounding) in [
                (Hyper { lr: lr * 1.000_001, ..hyper }, Rounding { seed: 8, ..rounding }),
                (hyper, Rounding { seed: 7 | 1 << 40, ..rounding }),
                (hyper, Rounding { tensor: 4, ..rounding }),
            ] {
                let other = step(&hyper, rounding);
                let same = got.iter().zip(&other).filter(|(a, b)| a == b).count();
                // Independent coins agree in 5/9 of the throws.
                assert!(
                    (same as f64 / count as f64 - 5.0 / 9.0).abs() < 0.02,
                    "{what} {rounding:?}: {same} of {count}"
                );
            }
            all.push(got);
        }
    }
    // One step from the same numbers is the same on every engine and by either kernel, to a rounding's chance in 65,536.
    for other in &all[1..] {
        let differing = all[0].iter().zip(other).filter(|(a, b)| a != b).count();
        assert!(differing <= 4, "{differing}");
    }
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing() {
    for (name, device) in variants() {
        for element in [ElementType::F32, ElementType::BF16] {
            let state = State::new(&device, (65, 130), element);
            state.step(&HYPER, 0.5, Rounding::default());
            let before = (state.bytes(), state.seen().largest, state.p.to_f32_blocking(&device).unwrap());
            state.step(&Hyper { step: 2, ..HYPER }, 0.0, Rounding::default());
            let after = (state.bytes(), state.seen().largest, state.p.to_f32_blocking(&device).unwrap());
            assert!(before == after, "{name} {element}");
        }
    }
}

/// Where a gradient vanishes after it was there, the step does not explode, as it would if its second moment became zero.
#[test]
fn steps_stay_bounded_where_moments_are_small() {
    for device in devices() {
        let state = State::new(&device, (64, 64), ElementType::F32);
        let mut g = vec![1e-5f32; 64 * 64];
        g.iter_mut().step_by(BLOCK).for_each(|g| *g = 10.0);
        state.g.write_f32(&device, &g).unwrap();
        for step in 1..=50 {
            if step == 25 {
                g.iter_mut().filter(|g| **g < 1.0).for_each(|g| *g = 0.0);
                state.g.write_f32(&device, &g).unwrap();
            }
            let before = state.p.to_f32_blocking(&device).unwrap();
            state.step(&Hyper { step, weight_decay: 0.0, ..HYPER }, 1.0, Rounding::default());
            let after = state.p.to_f32_blocking(&device).unwrap();
            let most = before.iter().zip(&after).map(|(b, a)| (a - b).abs()).fold(0.0, f32::max);
            assert!(most < 10.0 * HYPER.lr as f32, "{} step {step}: {most}", device.name());
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    for device in devices() {
        let state = State::new(&device, (64, 64), ElementType::F32);
        let (scale, rounding) = (scale_of(&device, 1.0), Rounding::default());
        let half = Tensor::new(&device, 64, 64, ElementType::F16).unwrap();
        let small = Moments8::zeros(&device, &zeros(&device, 8, 64)).unwrap();
        let mut twice = state.moments.clone();
        twice.second = twice.first.clone();
        let mut r = device.recorder();
        let State { p, g, moments, .. } = &state;
        let mut refused = |hyper: &Hyper, both: (&Tensor, &Tensor), moments: &Moments8| {
            adamw_8bit::step(&mut r, hyper, (&scale, rounding), both, moments).unwrap_err();
        };
        refused(&Hyper { step: 0, ..HYPER }, (p, g), moments);
        refused(&HYPER, (&half, g), moments);
        refused(&HYPER, (p, &half), moments);
        refused(&HYPER, (p, &zeros(&device, 64, 65)), moments);
        refused(&HYPER, (p, g), &small);
        refused(&HYPER, (p, g), &twice);
        let m = zeros(&device, 64, 64);
        adamw::step_rounded(&mut r, &HYPER, (&scale, rounding), (&half, g), (&m, p)).unwrap_err();
        adamw::step(&mut r, &HYPER, &scale, &half, g, &m, p).unwrap_err();
        assert!(r.commands().is_empty());
    }
}
