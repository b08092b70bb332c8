//! Both towers, both losses and the temperature against an f64 reference that knows nothing of kernels, and its finite
//! differences.

use std::collections::HashMap;

use realign::Device;
use realign::nn::dual_encoder::{DualEncoder, DualEncoderConfig, EncoderSpace, ImageShape};
use realign::nn::{Gradients, PairLoss, PairSpace, ShardedMatrix};

use crate::common::{Rng, devices};

type Numbers = HashMap<String, Vec<f64>>;

const SHAPE: ImageShape = ImageShape { height: 5, width: 4, channels: 3 };
const WORDS: usize = 11;
const WIDTH: usize = 6;
const PAIRS: usize = 5;

fn config() -> DualEncoderConfig {
    DualEncoderConfig {
        image: SHAPE,
        vocabulary: WORDS,
        width: WIDTH,
        temperature: 0.3,
        least_temperature: 0.01,
        bias: -1.5,
        seed: 5,
    }
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2))
}

/// W x + b.
fn linear(p: &Numbers, name: &str, x: &[f64]) -> Vec<f64> {
    let (weight, bias) = (&p[&format!("{name}.weight")], &p[&format!("{name}.bias")]);
    let row = |(w, b): (&[f64], &f64)| b + w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
    weight.chunks_exact(x.len()).zip(bias).map(row).collect()
}

/// A 3 × 3 convolution of `[height, width, channels]`, padded by 1, with GELU.
fn convolution(p: &Numbers, name: &str, x: &[f64], (h, w, c): (usize, usize, usize), stride: usize) -> Vec<f64> {
    let mut out = Vec::new();
    for y in (0..h).step_by(stride) {
        for z in (0..w).step_by(stride) {
            let mut patch = Vec::new();
            for (dy, dz) in (0..9).map(|k| (k / 3, k % 3)) {
                let inside = (1..=h).contains(&(y + dy)) && (1..=w).contains(&(z + dz));
                patch.extend((0..c).map(|k| if inside { x[((y + dy - 1) * w + z + dz - 1) * c + k] } else { 0.0 }));
            }
            out.extend(linear(p, name, &patch).into_iter().map(gelu));
        }
    }
    out
}

fn head(p: &Numbers, name: &str, x: &[f64]) -> Vec<f64> {
    let hidden: Vec<f64> = linear(p, &format!("{name}.first"), x).into_iter().map(gelu).collect();
    let out = linear(p, &format!("{name}.last"), &hidden);
    let norm = out.iter().map(|x| x * x).sum::<f64>().sqrt();
    out.iter().map(|x| x / norm).collect()
}

fn image(p: &Numbers, pixels: &[f64]) -> Vec<f64> {
    let first = convolution(p, "image.convolution1", pixels, (5, 4, 3), 1);
    head(p, "image", &convolution(p, "image.convolution2", &first, (5, 4, 16), 2))
}

fn text(p: &Numbers, words: &[u32]) -> Vec<f64> {
    let table = &p["text.words.weight"];
    let column = |k: usize, id: u32| table[k * WORDS + id as usize];
    let mean = |k| words.iter().map(|&id| column(k, id)).sum::<f64>() / words.len() as f64;
    head(p, "text", &(0..table.len() / WORDS).map(mean).collect::<Vec<_>>())
}

fn loss(p: &Numbers, kind: PairLoss, images: &[f64], texts: &[Vec<u32>]) -> f64 {
    let x: Vec<Vec<f64>> = images.chunks_exact(SHAPE.elements()).map(|i| image(p, i)).collect();
    let y: Vec<Vec<f64>> = texts.iter().map(|t| text(p, t)).collect();
    let (t, b) = (p["logit_scale_and_bias"][0], p["logit_scale_and_bias"][1]);
    let z = |i: usize, j: usize| t.exp() * x[i].iter().zip(&y[j]).map(|(a, b)| a * b).sum::<f64>();
    let n = x.len();
    let pair = |i: usize| match kind {
        PairLoss::InfoNce => {
            let row: f64 = (0..n).map(|j| z(i, j).exp()).sum();
            let column: f64 = (0..n).map(|j| z(j, i).exp()).sum();
            0.5 * (row.ln() + column.ln()) - z(i, i)
        }
        PairLoss::Sigmoid => {
            (0..n).map(|j| (if i == j { -(z(i, j) + b) } else { z(i, j) + b }).exp().ln_1p()).sum::<f64>()
        }
    };
    (0..n).map(pair).sum::<f64>() / n as f64
}

fn data() -> (Vec<f32>, Vec<Vec<u32>>) {
    let mut rng = Rng(77);
    let images = (0..PAIRS * SHAPE.elements()).map(|_| rng.uniform() as f32).collect();
    let texts = (0..PAIRS).map(|i| (0..2 + i % 3).map(|_| (rng.next() % WORDS as u64) as u32).collect()).collect();
    (images, texts)
}

/// The device's loss, its parameters and their gradients, by name.
fn on_device(device: &Device, kind: PairLoss) -> (f64, Numbers, Numbers) {
    let encoder = DualEncoder::new(device, config()).unwrap();
    let (images, texts) = data();
    let (space, pairs) = (EncoderSpace::new(device, &encoder, PAIRS).unwrap(), PairSpace::new(device, PAIRS).unwrap());
    let towers = Gradients::new(device, &encoder.parameters, |_| true).unwrap();
    let temperature = Gradients::new(device, &encoder.temperature, |_| true).unwrap();
    encoder.load(device, &space, &images, &texts).unwrap();
    let mut recorder = device.recorder();
    encoder.forward(&mut recorder, &space).unwrap();
    encoder.loss(&mut recorder, kind, (&space, &pairs), Some((&towers, &temperature))).unwrap();
    recorder.submit().unwrap();
    let wide = |t: &ShardedMatrix| t.to_f32_blocking(device).unwrap().into_iter().map(f64::from).collect::<Vec<_>>();
    let (mut numbers, mut slopes) = (Numbers::new(), Numbers::new());
    for (parameters, gradients) in [(&encoder.parameters, &towers), (&encoder.temperature, &temperature)] {
        for (slot, gradient) in gradients.iter() {
            let parameter = parameters.get(slot);
            numbers.insert(parameter.name.clone(), wide(&parameter.value));
            slopes.insert(parameter.name.clone(), wide(gradient));
        }
    }
    (pairs.mean_loss_blocking(device).unwrap(), numbers, slopes)
}

#[test]
fn loss_and_every_gradient() {
    let (images, texts) = data();
    let images: Vec<f64> = images.into_iter().map(f64::from).collect();
    for kind in [PairLoss::InfoNce, PairLoss::Sigmoid] {
        for device in devices() {
            let (got, numbers, slopes) = on_device(&device, kind);
            let want = loss(&numbers, kind, &images, &texts);
            assert!((got - want).abs() < 2e-6 * want.max(1.0), "{kind:?} on {}: {got} for {want}", device.name());
            assert_eq!(slopes.len(), 14);
            for (name, slope) in &slopes {
                let size = slope.iter().fold(0f64, |m, g| m.max(g.abs()));
                assert!(size > 0.0, "{name} has no gradient");
                let largest = slope.iter().position(|g| g.abs() == size).unwrap();
                let places = (0..12).map(|k| k * slope.len() / 12).chain([largest, slope.len() - 1]);
                for at in places {
                    let mut moved = numbers.clone();
                    let mut shifted = |h: f64| {
                        moved.get_mut(name).unwrap()[at] = numbers[name][at] + h;
                        loss(&moved, kind, &images, &texts)
                    };
                    let want = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
                    // f32 sums of some hundred terms, through eight layers.
                    let error = (slope[at] - want).abs();
                    assert!(
                        error < 2e-4 * size,
                        "{kind:?} on {}: {name}[{at}] is {} for {want}",
                        device.name(),
                        slope[at]
                    );
                }
            }
        }
    }
}

#[test]
fn embeddings_do_not_depend_on_the_batch() {
    for device in devices() {
        let encoder = DualEncoder::new(&device, config()).unwrap();
        let (images, texts) = data();
        let all = encoder.embed_images_blocking(&device, &images, 5).unwrap();
        let want: Vec<f64> = {
            let numbers: Numbers = encoder
                .parameters
                .iter()
                .map(|p| {
                    let values = p.value.to_f32_blocking(&device).unwrap();
                    (p.name.clone(), values.into_iter().map(f64::from).collect())
                })
                .collect();
            let wide: Vec<f64> = images.iter().map(|&x| f64::from(x)).collect();
            wide.chunks_exact(SHAPE.elements()).flat_map(|i| image(&numbers, i)).collect()
        };
        for (got, want) in all.iter().zip(&want) {
            assert!((f64::from(*got) - want).abs() < 3e-6, "{got} for {want}");
        }
        let close = |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(close(&all, &encoder.embed_images_blocking(&device, &images, 2).unwrap()));
        let all = encoder.embed_texts_blocking(&device, &texts, 5).unwrap();
        assert!(close(&all, &encoder.embed_texts_blocking(&device, &texts, 3).unwrap()));
        assert_eq!(all.len(), PAIRS * WIDTH);
        // A text without words is not an error, and no NaN.
        let empty: [Vec<u32>; 1] = [vec![]];
        assert!(encoder.embed_texts_blocking(&device, &empty, 1).unwrap().iter().all(|x| x.is_finite()));
    }
}

/// Against rows that stay as they are, the image tower's gradients are those that it has beside the text tower.
#[test]
fn the_image_tower_alone_has_the_same_gradients() {
    let (images, texts) = data();
    for device in devices() {
        let encoder = DualEncoder::new(&device, config()).unwrap();
        let space = EncoderSpace::new(&device, &encoder, PAIRS).unwrap();
        let pairs = PairSpace::new(&device, PAIRS).unwrap();
        for kind in [PairLoss::InfoNce, PairLoss::Sigmoid] {
            let gradients = || {
                let towers = Gradients::new(&device, &encoder.parameters, |p| p.name.starts_with("image.")).unwrap();
                (towers, Gradients::new(&device, &encoder.temperature, |_| true).unwrap())
            };
            let (both, alone) = (gradients(), gradients());
            let everything = Gradients::new(&device, &encoder.parameters, |_| true).unwrap();
            encoder.load(&device, &space, &images, &texts).unwrap();
            let mut recorder = device.recorder();
            encoder.forward(&mut recorder, &space).unwrap();
            encoder.loss(&mut recorder, kind, (&space, &pairs), Some((&everything, &both.1))).unwrap();
            recorder.submit().unwrap();
            let loss = pairs.mean_loss_blocking(&device).unwrap();
            let rows = space.texts().to_f32_blocking(&device).unwrap();
            let rows = realign::device::Tensor::from_f32(&device, &rows, WIDTH).unwrap();
            encoder.load_images(&device, &space, &images).unwrap();
            let mut recorder = device.recorder();
            encoder.loss_against(&mut recorder, kind, (&space, &pairs), &rows, (&alone.0, &alone.1)).unwrap();
            recorder.submit().unwrap();
            assert_eq!(loss, pairs.mean_loss_blocking(&device).unwrap(), "{kind:?} on {}", device.name());
            let mut seen = 0;
            for (slot, gradient) in alone.0.iter() {
                let name = &encoder.parameters.get(slot).name;
                let read = |g: &ShardedMatrix| g.to_f32_blocking(&device).unwrap();
                let got = read(gradient);
                assert!(got.iter().any(|x| *x != 0.0), "{name}");
                assert_eq!(got, read(everything.get(slot).unwrap()), "{kind:?} on {}: {name}", device.name());
                seen += 1;
            }
            assert_eq!(seen, 8);
            let scale = |g: &Gradients| g.get(0).unwrap().to_f32_blocking(&device).unwrap();
            assert_eq!(scale(&both.1), scale(&alone.1));
            assert!(encoder.load_images(&device, &space, &images[1..]).is_err());
        }
    }
}

#[test]
fn bad_input() {
    let device = Device::host();
    let encoder = DualEncoder::new(&device, config()).unwrap();
    let (mut images, mut texts) = data();
    let space = EncoderSpace::new(&device, &encoder, PAIRS).unwrap();
    encoder.load(&device, &space, &images[1..], &texts).unwrap_err();
    encoder.load(&device, &space, &images, &texts[1..]).unwrap_err();
    images[3] = f32::NAN;
    encoder.load(&device, &space, &images, &texts).unwrap_err();
    encoder.embed_images_blocking(&device, &images, 4).unwrap_err();
    texts[2][0] = WORDS as u32;
    encoder.embed_texts_blocking(&device, &texts, 4).unwrap_err();
    EncoderSpace::new(&device, &encoder, 0).unwrap_err();
    PairSpace::new(&device, 0).unwrap_err();
    let wrong = [
        DualEncoderConfig { width: 0, ..config() },
        DualEncoderConfig { vocabulary: 0, ..config() },
        DualEncoderConfig { temperature: 0.0, ..config() },
        DualEncoderConfig { temperature: f32::NAN, ..config() },
        DualEncoderConfig { least_temperature: -1.0, ..config() },
        DualEncoderConfig { bias: f32::INFINITY, ..config() },
        DualEncoderConfig { image: ImageShape { channels: 0, ..SHAPE }, ..config() },
        DualEncoderConfig { image: ImageShape { height: 70_000, ..SHAPE }, ..config() },
    ];
    for config in wrong {
        DualEncoder::new(&device, config).unwrap_err();
    }
}
