//! C3 against f64, with a generator of the test's own, and its promises: noise by position, seed and column alone.

use realign::device::{Buffer, Device, Recorder, Tensor};
use realign::host::align::c3::perturb;
use realign::host::gaussian::gaussian4;
use realign::kernels::align::apply::status_buffer;
use realign::kernels::align::c3::{self, Noise};
use realign::{ElementType, Error};

use crate::common::{Rng, cloud, devices, gpu};
use crate::rows::{
    INPUTS, Input, OUTPUTS, ROOT, SHAPES, U, check, extreme_rows, run, stored, sum_error, unit_error, unit_row,
    variants, width_classes, with_int64,
};

const NOISE: Noise = Noise { sigma: 0.03125, seed: 0x1234_5678_9abc_def0 };

/// Standard normal numbers by position in f64: Philox 4x32-10 on (row, column / 4), Box-Muller with `std`'s functions. Gives
/// the number and the radius that it was made with.
fn gaussian(row: u64, column: usize, seed: u64) -> (f64, f64) {
    let mut c = [row & 0xffff_ffff, row >> 32, column as u64 / 4, 0];
    let mut k = [seed & 0xffff_ffff, seed >> 32];
    for _ in 0..10 {
        let (p, q) = (0xD251_1F53 * c[0], 0xCD9E_8D57 * c[2]);
        c = [(q >> 32) ^ c[1] ^ k[0], q & 0xffff_ffff, (p >> 32) ^ c[3] ^ k[1], p & 0xffff_ffff];
        k = [(k[0] + 0x9E37_79B9) & 0xffff_ffff, (k[1] + 0xBB67_AE85) & 0xffff_ffff];
    }
    let (m, q) = if column % 4 < 2 { (c[0], c[1]) } else { (c[2], c[3]) };
    let radius = (-2.0 * (((m >> 8) + 1) as f64 / 16_777_216.0).ln()).sqrt();
    let angle = q as f64 / 4_294_967_296.0 * std::f64::consts::TAU;
    (radius * if column.is_multiple_of(2) { angle.cos() } else { angle.sin() }, radius)
}

/// How far the kernel's normal number may lie from the exact one of this radius, in unit roundoffs times the radius.
///
/// The logarithm: argument reduction is exact, division 2.5 ulp (5 u), the series and its product 8 u; adding e ln 2 amplifies
/// by at most 3 (at f = 1.41, e = -1: (0.69 + 0.35) / 0.35). Hence 39 u, half of it after the square root, whose own error is
/// 6 u. Cosine and sine: the angle in an octant 3 u, its polynomial 4 u and a truncation below 1 u, absolute.
const GAUSSIAN: f64 = 39.0 / 2.0 + 6.0 + 8.0;

/// `P(u + b + sigma g)` by its definition, with a bound for each element.
///
/// `z_j` errs by `e_j`: the unit row's element by [`unit_error`], `b_j` by its conversion, `sigma g_j` by the generator, by
/// sigma's conversion and a product; and by 2 u of the magnitudes for the two additions. The square of `z` then errs,
/// relatively, by [`sum_error`] and by `2 |e| / |z|`; half of that is the root's, and the last product rounds once.
fn reference(row: &[f64], shift: &[f64], noise: Noise, index: u64) -> (Vec<f64>, Vec<f64>) {
    let d = row.len();
    let (mut z, mut e) = (unit_row(row), Vec::new());
    for (j, z) in z.iter_mut().enumerate() {
        let (g, radius) = gaussian(index, j, noise.seed);
        let (u, s) = (*z, noise.sigma * g);
        let generator = noise.sigma * GAUSSIAN * radius + 2.0 * s.abs();
        let rounding = 2.0 * (u.abs() + shift[j].abs() + s.abs());
        e.push(unit_error(d, U) * u.abs() + (shift[j].abs() + generator + rounding) * U);
        *z = u + shift[j] + s;
    }
    let length = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
    let norm = length(&z);
    let relative = sum_error(d, U) / 2.0 + length(&e) / norm + (ROOT + 1.0) * U;
    let bounds = z.iter().zip(&e).map(|(z, e)| (e + z.abs() * relative) / norm).collect();
    (z.iter().map(|z| z / norm).collect(), bounds)
}

fn shift(d: usize) -> Vec<f64> {
    let mut rng = Rng(77);
    (0..d).map(|_| rng.normal() * 0.5 / (d as f64).sqrt()).collect()
}

/// As the kernel takes it: f32, padded to a multiple of 4.
fn shift_buffer(device: &Device, shift: &[f64]) -> Buffer {
    let mut padded: Vec<f32> = shift.iter().map(|&x| x as f32).collect();
    padded.resize(shift.len().div_ceil(4) * 4, 0.0);
    device.buffer_from("shift", bytemuck::cast_slice(&padded)).unwrap()
}

fn perturbed(device: &Device, input: &Input, noise: Noise, first_row: u64, out: ElementType) -> Vec<f32> {
    let shift = shift_buffer(device, &shift(input.width));
    let record = |recorder: &mut Recorder, i: &Tensor, o: &Tensor, status: &Buffer| {
        c3::record(recorder, (&shift, noise, first_row), i, o, i.rows(), (status, 0)).unwrap();
    };
    let (got, bad) = run(device, input, out, record);
    assert_eq!(bad, None);
    got
}

fn verify(device: &Device, input: &Input, first_row: u64, out: ElementType, what: &str) {
    let got = perturbed(device, input, NOISE, first_row, out);
    let shift = shift(input.width);
    let (mut want, mut bounds) = (Vec::new(), Vec::new());
    for (row, index) in input.exact.chunks_exact(input.width).zip(first_row..) {
        let (r, b) = reference(row, &shift, NOISE, index);
        bounds.extend(r.iter().zip(b).map(|(&r, b)| stored(r, b, out)));
        want.extend(r);
    }
    check(&got, &want, &bounds, what);
}

#[test]
fn shapes_and_variants() {
    for (name, device) in variants() {
        for (n, d) in SHAPES {
            let input = Input::new(&cloud(n as u64 + 1, n, d), d, ElementType::F32);
            verify(&device, &input, 0, ElementType::F32, &format!("{name} [{n}, {d}]"));
        }
    }
}

/// Rows that a team holds just so, or just not.
#[test]
fn widths_of_every_team() {
    for (name, device, widths) in width_classes() {
        for d in widths {
            for n in [1, 5] {
                let input = Input::new(&cloud(d as u64, n, d), d, ElementType::F32);
                verify(&device, &input, 3, ElementType::F32, &format!("{name} [{n}, {d}]"));
            }
        }
    }
}

#[test]
fn element_types() {
    for device in devices() {
        // 67 × 9 groups of four 16-bit elements end in half a texel.
        let (n, d) = (67, 33);
        for element in INPUTS {
            let input = Input::new(&cloud(3, n, d), d, element);
            for out in OUTPUTS {
                verify(&device, &input, 5, out, &format!("{} {element} to {out}", device.name()));
            }
        }
    }
}

#[test]
fn more_rows_than_a_dispatch_holds() {
    let single = gpu().with_capabilities(|c| (c.group, c.lanes, c.subgroup_teams) = (4, 4, false)).unwrap();
    let (n, d) = (65_535 + 70, 3);
    let input = Input::new(&cloud(9, n, d), d, ElementType::F32);
    for device in [Device::host(), single] {
        verify(&device, &input, 0, ElementType::F32, device.name());
    }
}

#[test]
fn zero_tiny_and_huge_rows() {
    let (data, d) = extreme_rows();
    for (name, device) in variants() {
        for element in [ElementType::F32, ElementType::Fixed, ElementType::BF16] {
            verify(&device, &Input::new(&data, d, element), 0, ElementType::F32, &format!("{name} {element}"));
        }
    }
}

#[test]
fn row_numbers_above_32_bits() {
    for (name, device) in variants() {
        let input = Input::new(&cloud(4, 20, 6), 6, ElementType::F32);
        verify(&device, &input, (3 << 32) - 7, ElementType::F32, &name);
    }
}

#[test]
fn chunks_do_not_matter_and_seeds_do() {
    let (n, d) = (201, 13);
    let data = cloud(6, n, d);
    for (name, device) in variants() {
        let whole = perturbed(&device, &Input::new(&data, d, ElementType::F32), NOISE, 0, ElementType::F32);
        for chunk in [1, 7, 64, 200] {
            let parts = data.chunks(chunk * d).enumerate().flat_map(|(i, part)| {
                let input = Input::new(part, d, ElementType::F32);
                perturbed(&device, &input, NOISE, (i * chunk) as u64, ElementType::F32)
            });
            assert_eq!(parts.collect::<Vec<_>>(), whole, "{name} by {chunk}");
        }
        let input = Input::new(&data, d, ElementType::F32);
        for seed in [NOISE.seed ^ 1, NOISE.seed ^ (1 << 63), 0] {
            let other = perturbed(&device, &input, Noise { seed, ..NOISE }, 0, ElementType::F32);
            let same = other.iter().zip(&whole).filter(|(a, b)| a == b).count();
            assert!(same < n * d / 100, "{name}: {same} of {} elements are the same", n * d);
        }
        let moved = perturbed(&device, &input, NOISE, 1, ElementType::F32);
        assert_ne!(moved, whole);
    }
}

/// 64-bit products and 32-bit halves are the same integers.
#[test]
fn products_of_either_kind_give_the_same_bits() {
    let input = Input::new(&cloud(2, 100, 21), 21, ElementType::F32);
    let narrow = gpu().with_capabilities(|c| c.int64 = false).unwrap();
    let get = |device: &Device| perturbed(device, &input, NOISE, 0, ElementType::F32);
    if let Some(wide) = with_int64() {
        assert_eq!(get(&wide), get(&narrow));
    }
}

/// The twin's noise against the test's, then its f64 instantiation against the definition with the twin's own noise.
#[test]
fn the_f64_twin_follows_the_definition() {
    let seed = [NOISE.seed as u32, (NOISE.seed >> 32) as u32];
    for row in [0u64, 1, 12345, (5 << 32) + 3] {
        for column in 0..2000 {
            let (want, radius) = gaussian(row, column, NOISE.seed);
            let four = gaussian4(row, column as u32 / 4, seed);
            let error = (f64::from(four[column % 4]) - want).abs();
            assert!(error <= GAUSSIAN * U * radius, "{row} {column}: {error:e} for {want}");
        }
    }
    for d in [4, 64, 332] {
        let shift = shift(d);
        for (i, row) in cloud(15, 30, d).chunks_exact(d).enumerate() {
            let row: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
            let mut got = vec![0.0; d];
            perturb(&row, 1.0, &shift, NOISE.sigma, (i as u64, seed), d, &mut got);
            let noise = |j: usize| f64::from(gaussian4(i as u64, j as u32 / 4, seed)[j % 4]);
            let z: Vec<f64> =
                unit_row(&row).iter().enumerate().map(|(j, u)| u + shift[j] + NOISE.sigma * noise(j)).collect();
            let norm = z.iter().map(|x| x * x).sum::<f64>().sqrt();
            // The same analysis with f64's roundoff; 4 d is above every constant in it.
            let bound = 4.0 * (d as f64 + 16.0) * f64::EPSILON;
            z.iter().zip(&got).for_each(|(z, g)| assert!((z / norm - g).abs() < bound, "{d}: {g} for {}", z / norm));
        }
    }
}

#[test]
fn the_least_bad_row_is_reported() {
    let (n, d) = (150, 10);
    for (name, device) in variants() {
        let mut data = cloud(1, n, d);
        (data[140 * d + 9], data[99 * d]) = (f32::INFINITY, f32::NAN);
        let shift = shift_buffer(&device, &shift(d));
        let (_, bad) = run(&device, &Input::new(&data, d, ElementType::F32), ElementType::F32, |r, i, o, s| {
            c3::record(r, (&shift, NOISE, 0), i, o, n, (s, 50)).unwrap();
        });
        assert_eq!(bad, Some(149), "{name}");
    }
}

#[test]
fn operands_that_do_not_fit() {
    for device in devices() {
        let tensor = |n, d| Tensor::new(&device, n, d, ElementType::F32).unwrap();
        let (input, output, status) = (tensor(5, 6), tensor(5, 6), status_buffer(&device).unwrap());
        let b = shift_buffer(&device, &shift(6));
        let mut recorder = device.recorder();
        let mut refused = |b: &Buffer, input: &Tensor, output: &Tensor, rows, status: &Buffer| {
            let error = c3::record(&mut recorder, (b, NOISE, 0), input, output, rows, (status, 0)).unwrap_err();
            assert!(matches!(error, Error::Shape { .. } | Error::Argument { .. }), "{error}");
        };
        refused(&shift_buffer(&device, &shift(9)), &input, &output, 5, &status);
        refused(&b, &input, &tensor(5, 7), 5, &status);
        refused(&b, &input, &tensor(4, 6), 5, &status);
        refused(&b, &input, &output, 6, &status);
        let other = Device::host();
        let stranger = Tensor::new(&other, 5, 6, ElementType::F32).unwrap();
        refused(&b, &stranger, &output, 5, &status);
        refused(&b, &input, &stranger, 5, &status);
        refused(&b, &input, &output, 5, &status_buffer(&other).unwrap());
        refused(&shift_buffer(&other, &shift(6)), &input, &output, 5, &status);
        assert!(recorder.commands().is_empty());
    }
}
