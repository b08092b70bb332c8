//! Mixed precision against f32: how far rows are off.

use realign::device::Device;
use realign::encode::{ImageEncoder, TextEncoder, TextOptions};
use realign::nn::Precision;

use super::{IMAGES, TEXTS, devices, difference, folder, pixels, texts};

/// Half an ulp of f16 is 2^-11. What a row is made of is rounded some seven times in a block (the norms, queries, keys, values, attention's result, the
/// MLP's rows, and the matrices), so some twenty times in these towers of two or three blocks; such errors add up like a random walk's, to 4.5 of
/// one, and the blocks and the norm of the last rows may enlarge them a little.
const ROUNDED: f64 = 8.0 / 2048.0;

fn check(mixed: &[f32], f32: &[f32], width: usize, what: &str) {
    let want: Vec<f64> = f32.iter().map(|x| f64::from(*x)).collect();
    let difference = difference(mixed, &want, width);
    println!("{what}: {difference:.1e}");
    assert!(difference <= ROUNDED, "{what}: {difference:e}, allowed {ROUNDED:e}");
    // f32's own errors are a hundredth of this: it did compute in f16.
    assert!(difference > 2e-5, "{what}: {difference:e}, no more than f32's");
}

#[test]
fn images_are_those_of_f32_but_for_rounding() {
    for device in devices() {
        for name in IMAGES {
            let rows = |precision| {
                let encoder = ImageEncoder::load_in(&device, &folder(name), precision).unwrap();
                (encoder.encode_blocking(&pixels(name)).unwrap(), encoder.width())
            };
            let ([mixed, f32], what) = ([Precision::Mixed, Precision::F32].map(rows), device.name());
            check(&mixed.0, &f32.0, f32.1, &format!("{name} on {what}"));
        }
    }
}

#[test]
fn texts_are_those_of_f32_but_for_rounding() {
    for device in devices() {
        for name in TEXTS.into_iter().chain(["decoder_mean", "decoder_last"]) {
            let (mixed, f32, width) = both(&device, name);
            check(&mixed, &f32, width, &format!("{name} on {}", device.name()));
        }
    }
}

/// Rows in mixed precision and in f32, and their width.
fn both(device: &Device, name: &str) -> (Vec<f32>, Vec<f32>, usize) {
    let rows = |precision| {
        let options = TextOptions::default().precision(precision);
        let encoder = TextEncoder::load(device, &folder(name), &options).unwrap();
        (encoder.encode_blocking(&texts(name)).unwrap().rows, encoder.width())
    };
    let [(mixed, _), (f32, width)] = [Precision::Mixed, Precision::F32].map(rows);
    (mixed, f32, width)
}
