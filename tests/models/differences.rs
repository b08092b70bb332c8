//! Gradients against finite differences in f64, through the twins; and the device's low-rank gradients against those.

use std::collections::BTreeMap;

use realign::ElementType;
use realign::device::{Device, Tensor};
use realign::host::nn::embedding;
use realign::kernels::nn::embedding::VISUAL;
use realign::nn::decoder::LowRankOptions;
use realign::nn::linear::{Linear, LowRank};
use realign::nn::{Gradients, Parameters};
use realign::optim::AdamWOptions;
use realign::train::{Trainer, Trains};

use super::oracle::{off, twin};
use super::twins::{Matrix, Tensors, Twin, WHOLE, linear, linear_backward, scatter};
use super::{Golden, case, devices, model};

/// Step of the differences: its own error, h² f''', and that of rounding, u |f| / h, stay below 1e-9 of what is compared.
const H: f64 = 1e-5;

/// Roughly normal numbers, the same every time.
fn normal(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    (0..count).map(|_| (0..12).map(|_| uniform()).sum::<f64>() - 6.0).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Numbers that f32 holds, so that devices start from the same.
pub fn short(seed: u64, rows: usize, width: usize, size: f64) -> Matrix {
    let numbers: Vec<f64> = normal(seed, rows * width).iter().map(|x| f64::from((size * x) as f32)).collect();
    Matrix::new(&numbers, width)
}

/// Central differences of `f` at each number of `at` against `gradient`.
fn elementwise(at: &Matrix, gradient: &Matrix, f: impl Fn(&Matrix) -> f64, what: &str) {
    let size = gradient.data.iter().fold(1e-3f64, |m, g| m.max(g.abs()));
    let (numbers, gradient) = (at.tight(), gradient.tight());
    for i in 0..numbers.len() {
        let moved = |by: f64| {
            let mut moved = numbers.clone();
            moved[i] += by;
            f(&Matrix::new(&moved, at.width))
        };
        let slope = (moved(H) - moved(-H)) / (2.0 * H);
        assert!((slope - gradient[i]).abs() <= 1e-8 * size, "{what}: {} at {i} for {slope}", gradient[i]);
    }
}

fn zeros_like(values: &Tensors) -> Tensors {
    values.iter().map(|(name, v)| (name.clone(), Matrix::zeros(v.rows, v.width))).collect()
}

/// A linear layer of odd widths with everything it can have, its input, and the gradient of its output.
fn layer() -> (Tensors, Matrix, Matrix) {
    let (n, inputs, outputs, rank) = (5, 7, 6, 3);
    let shapes = [("weight", outputs, inputs), ("bias", 1, outputs), ("lora_A.weight", rank, inputs)];
    let shapes = shapes.into_iter().chain([("lora_B.weight", outputs, rank)]);
    let named = |(i, (name, rows, width)): (usize, (&str, usize, usize))| {
        (format!("l.{name}"), short(i as u64 + 1, rows, width, 0.7))
    };
    (shapes.enumerate().map(named).collect(), short(9, n, inputs, 1.0), short(10, n, outputs, 1.0))
}

const SCALE: f64 = 1.5;

#[test]
fn linear_layers_and_their_low_rank_additions() {
    let (values, x, dy) = layer();
    let (_, narrow) = linear((&values, SCALE, None), "l", &x);
    let (mut gradients, mut dx) = (zeros_like(&values), Matrix::zeros(x.rows, x.width));
    linear_backward((&values, SCALE, None), &mut gradients, "l", (&x, &narrow), (&dy, &mut dx));
    let value = |values: &Tensors, x: &Matrix| dot(&linear((values, SCALE, None), "l", x).0.tight(), &dy.tight());
    elementwise(&x, &dx, |x| value(&values, x), "x");
    for (name, gradient) in &gradients {
        let f = |moved: &Matrix| {
            let mut values = values.clone();
            values.insert(name.clone(), moved.clone());
            value(&values, &x)
        };
        elementwise(&values[name], gradient, f, name);
    }
}

/// The layer of `nn` on a device does what the twins do.
#[test]
fn linear_layers_on_devices() {
    let (values, x, dy) = layer();
    let (y, narrow) = linear((&values, SCALE, None), "l", &x);
    let (mut gradients, mut dx) = (zeros_like(&values), Matrix::zeros(x.rows, x.width));
    linear_backward((&values, SCALE, None), &mut gradients, "l", (&x, &narrow), (&dy, &mut dx));
    for device in devices() {
        let narrowed = |m: &Matrix| -> Vec<f32> { m.tight().into_iter().map(|x| x as f32).collect() };
        let tensor = |m: &Matrix| Tensor::from_f32(&device, &narrowed(m), m.width).unwrap();
        let zeros = |rows, width| Tensor::new(&device, rows, width, ElementType::F32).unwrap();
        let mut parameters = Parameters::default();
        let mut add = |name: &str| {
            let m = &values[name];
            let shape = if name == "l.bias" { vec![m.width] } else { vec![m.rows, m.width] };
            parameters.add(&device, name, &shape, &narrowed(m)).unwrap()
        };
        let (weight, bias) = (add("l.weight"), Some(add("l.bias")));
        let low_rank = LowRank { a: add("l.lora_A.weight"), b: add("l.lora_B.weight"), scale: SCALE as f32 };
        let layer = Linear { weight, bias, low_rank: Some(low_rank), input_factor: 1.0 };
        let on_device = Gradients::new(&device, &parameters, |_| true).unwrap();
        let [out, back] = [&y, &x].map(|m| zeros(m.rows, m.width));
        let narrows = [zeros(x.rows, 3), zeros(x.rows, 3)];
        let (tx, tdy) = (tensor(&x), tensor(&dy));
        let mut recorder = device.recorder();
        layer.forward(&mut recorder, &parameters, &tx, &out, Some((&narrows[0]).into())).unwrap();
        let (both, narrow) = ((&parameters, &on_device), Some(((&narrows[0]).into(), &narrows[1])));
        layer.backward(&mut recorder, both, (&tx, &tdy), Some((&back, false)), narrow).unwrap();
        recorder.submit().unwrap();
        let read = |tensor: &Tensor| tensor.to_f32_blocking(&device).unwrap();
        let mut all = vec![("y", read(&out), &y), ("dx", read(&back), &dx)];
        all.extend(on_device.iter().map(|(slot, g)| {
            let name = &parameters.get(slot).name[..];
            (name, g.to_f32_blocking(&device).unwrap(), &gradients[name])
        }));
        assert_eq!(all.len(), 6);
        for (name, got, want) in all {
            let got: Vec<f64> = got.into_iter().map(f64::from).collect();
            // Sums of at most 7 products, in two stages.
            let error = off(&got, &want.tight());
            assert!(error < 1e-6, "{}: {name} is off by {error:e}", device.name());
        }
    }
}

#[test]
fn rows_gathered_and_scattered() {
    let ids = [2, VISUAL | 1, 0, 2, 2, VISUAL, VISUAL | 1, 4, 0];
    let (table, visual) = (short(1, 6, 5, 1.0), short(2, 2, 5, 1.0));
    let upstream = short(3, ids.len(), 5, 1.0);
    let value = |table: &Matrix, visual: &Matrix| {
        let mut out = Matrix::zeros(ids.len(), 5);
        embedding::gather((&table.data, &visual.data), WHOLE, &ids, &mut out.data, table.stride());
        dot(&out.data, &upstream.data)
    };
    let (mut d_table, mut d_visual) = (Matrix::zeros(6, 5), Matrix::zeros(2, 5));
    scatter(&ids, false, &upstream, &mut d_table);
    scatter(&ids, true, &upstream, &mut d_visual);
    elementwise(&table, &d_table, |table| value(table, &visual), "table");
    elementwise(&visual, &d_visual, |visual| value(&table, visual), "visual rows");
}

/// A low-rank addition of rank 3 to every linear layer of the decoder, as the library names and scales it.
fn with_low_rank(kind: &str) -> Twin {
    let mut twin = twin(kind);
    twin.low_rank_scale = 2.0;
    let of_layers = twin.values.iter().filter(|(name, v)| name.starts_with("model.layers.") && v.rows > 1);
    let mut additions = BTreeMap::new();
    for (i, (name, weight)) in of_layers.enumerate() {
        let name = name.strip_suffix(".weight").unwrap();
        additions.insert(format!("{name}.lora_A.weight"), short(2 * i as u64 + 1, 3, weight.width, 0.1));
        additions.insert(format!("{name}.lora_B.weight"), short(2 * i as u64 + 2, weight.rows, 3, 0.1));
    }
    assert_eq!(additions.len(), 2 * 7 * 2);
    twin.values.extend(additions);
    twin
}

/// Along a random direction in the space of each parameter, the loss changes as its gradient says.
#[test]
fn every_gradient_of_a_whole_model() {
    for kind in ["llama", "qwen2"] {
        let mut twin = with_low_rank(kind);
        let golden = Golden::open(&format!("{kind}.case_b.safetensors"));
        let (batch, _, _) = case(&Device::host(), &golden);
        let embeddings = Matrix::new(&golden.doubles("embed"), golden.shape("embed")[1]);
        let gradients = twin.pass(&batch, &embeddings).gradients;
        for (seed, (name, gradient)) in gradients.iter().enumerate() {
            let before = twin.values[name].clone();
            let count = before.rows * before.width;
            let numbers = normal(seed as u64, count);
            let size = dot(&numbers, &numbers).sqrt();
            let direction: Vec<f64> = numbers.iter().map(|x| x / size).collect();
            let mut loss = |by: f64| {
                let moved: Vec<f64> = before.tight().iter().zip(&direction).map(|(x, d)| x + by * d).collect();
                twin.values.insert(name.clone(), Matrix::new(&moved, before.width));
                let nll = twin.pass(&batch, &embeddings).nll;
                nll.iter().sum::<f64>() / nll.len() as f64
            };
            let h = 10.0 * H;
            let slope = (loss(h) - loss(-h)) / (2.0 * h);
            let (got, norm) = (dot(&gradient.tight(), &direction), dot(&gradient.data, &gradient.data).sqrt());
            // Of a random direction the gradient covers 1 / √count.
            let error = (got - slope).abs() / (norm / (count as f64).sqrt());
            assert!(error < 1e-4, "{kind} {name}: {got} along a direction, finite differences say {slope}");
            twin.values.insert(name.clone(), before);
        }
    }
}

/// The loss of the twins in f64 changes as the gradients of devices say, whose activations are recomputed: neither backward pass of the
/// twins nor saved activations have a part in it.
#[test]
fn recomputed_low_rank_gradients_against_differences() {
    for kind in ["llama", "qwen2"] {
        let mut twin = with_low_rank(kind);
        let golden = Golden::open(&format!("{kind}.case_b.safetensors"));
        let embeddings = Matrix::new(&golden.doubles("embed"), golden.shape("embed")[1]);
        let on_devices =
            devices().into_iter().map(|device| recomputed(&device, kind, &twin, &golden)).collect::<Vec<_>>();
        let names: Vec<String> = twin.values.keys().filter(|name| name.contains(".lora_")).cloned().collect();
        assert_eq!(names.len(), 2 * 7 * 2);
        let (batch, _, _) = case(&Device::host(), &golden);
        for (seed, name) in names.into_iter().enumerate() {
            let before = twin.values[&name].clone();
            let numbers = normal(seed as u64, before.rows * before.width);
            let size = dot(&numbers, &numbers).sqrt();
            let mut loss = |by: f64| {
                let moved = before.tight().iter().zip(&numbers).map(|(x, d)| x + by * d / size).collect::<Vec<_>>();
                twin.values.insert(name.clone(), Matrix::new(&moved, before.width));
                let nll = twin.pass(&batch, &embeddings).nll;
                nll.iter().sum::<f64>() / nll.len() as f64
            };
            let h = 10.0 * H;
            let slope = (loss(h) - loss(-h)) / (2.0 * h);
            for gradients in &on_devices {
                let gradient = &gradients[&name];
                let (got, norm) = (dot(gradient, &numbers) / size, dot(gradient, gradient).sqrt());
                let error = (got - slope).abs() / (norm / (numbers.len() as f64).sqrt());
                assert!(error < 1e-4, "{kind} {name}: {got} along a direction, finite differences say {slope}");
            }
            twin.values.insert(name, before);
        }
    }
}

/// Gradients of the mean loss on a device by every factor, activations recomputed.
fn recomputed(device: &Device, kind: &str, twin: &Twin, golden: &Golden) -> BTreeMap<String, Vec<f64>> {
    let trainer = low_rank_trainer(device, kind, twin, true);
    let (trainer, count) = accumulated(trainer, device, golden);
    let (parameters, gradients) = (&trainer.model.decoder.parameters, trainer.gradients().1);
    let read =
        |g: &realign::nn::ShardedMatrix| g.to_f32_blocking(device).unwrap().into_iter().map(|g| f64::from(g) / count);
    gradients.iter().map(|(slot, g)| (parameters.get(slot).name.clone(), read(g).collect())).collect()
}

/// A trainer of the model with the twin's factors.
fn low_rank_trainer(device: &Device, kind: &str, twin: &Twin, recompute: bool) -> Trainer {
    let mut model = model(device, kind);
    model.decoder.add_low_rank(device, LowRankOptions { rank: 3, alpha: 6.0, seed: 1 }).unwrap();
    for parameter in model.decoder.parameters.iter().filter(|p| p.name.contains(".lora_")) {
        let numbers: Vec<f32> = twin.values[&parameter.name].tight().iter().map(|x| *x as f32).collect();
        parameter.value.write_f32(device, &numbers).unwrap();
    }
    Trainer::new(device, model, Trains::LowRank, (AdamWOptions::default(), recompute)).unwrap()
}

/// With a case's gradients, and of how many targets.
fn accumulated(mut trainer: Trainer, device: &Device, golden: &Golden) -> (Trainer, f64) {
    let (batch, embeddings, _) = case(device, golden);
    trainer.clear().unwrap();
    let count = trainer.accumulate(&batch, &embeddings).unwrap().count;
    (trainer, count as f64)
}

/// Gradients of low-rank additions, and of the adapter behind them, on devices.
#[test]
fn low_rank_gradients_on_devices() {
    for device in devices() {
        for kind in ["llama", "qwen2"] {
            let twin = with_low_rank(kind);
            let golden = Golden::open(&format!("{kind}.case_c.safetensors"));
            let (batch, _, _) = case(&device, &golden);
            let want = twin.pass(&batch, &Matrix::new(&golden.doubles("embed"), golden.shape("embed")[1]));
            let trainer = low_rank_trainer(&device, kind, &twin, false);
            let (trainer, count) = accumulated(trainer, &device, &golden);
            let (adapter, decoder) = trainer.gradients();
            let sides = [(&trainer.model.adapter.parameters, adapter), (&trainer.model.decoder.parameters, decoder)];
            let all: Vec<_> =
                sides.iter().flat_map(|(p, g)| g.iter().map(move |(slot, g)| (&p.get(slot).name, g))).collect();
            assert_eq!(all.len(), 4 + 2 * 7 * 2);
            for (name, gradient) in all {
                let got = gradient.to_f32_blocking(&device).unwrap();
                let got: Vec<f64> = got.into_iter().map(|g| f64::from(g) / count).collect();
                let error = off(&got, &want.gradients[name].tight());
                assert!(error < 1e-4, "{} {kind}: {name} is off by {error:e}", device.name());
            }
        }
    }
}
