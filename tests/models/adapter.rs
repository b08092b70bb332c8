//! The adapter by itself against PyTorch in f64: its output, a loss, every gradient, and steps of AdamW.

use std::path::Path;

use realign::ElementType;
use realign::device::{Device, Tensor};
use realign::io::{AdapterKind, AdapterLayer, AdapterWeights, DecoderConfig};
use realign::nn::adapter::AdapterSpace;
use realign::nn::{Adapter, Gradients};
use realign::optim::{AdamW, AdamWOptions, Moments};
use safetensors::SafeTensors;

use super::oracle::off;
use super::twins::{Matrix, Twin};
use super::{devices, golden};

const LAYERS: [&str; 4] = ["0.weight", "0.bias", "2.weight", "2.bias"];
/// Embeddings, their width, that of the output.
const SHAPE: (usize, usize, usize) = (5, 48, 64);

fn doubles(name: &str) -> Vec<f64> {
    let bytes = std::fs::read(golden("../adapter.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    bytemuck::pod_collect_to_vec(tensors.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}")).data())
}

fn floats(name: &str) -> Vec<f32> {
    doubles(name).into_iter().map(|x| x as f32).collect()
}

/// The golden file's loss, `Σ out W + mean(out²) / 2`, and its gradient.
fn loss(out: &[f64]) -> (f64, Vec<f64>) {
    let (weights, count) = (doubles("W"), out.len() as f64);
    let terms = out.iter().zip(&weights).map(|(o, w)| o * w + o * o / 2.0 / count);
    (terms.sum(), out.iter().zip(&weights).map(|(o, w)| w + o / count).collect())
}

struct Bench {
    device: Device,
    adapter: Adapter,
    gradients: Gradients,
    space: AdapterSpace,
    x: Tensor,
    dx: Tensor,
}

impl Bench {
    fn new(device: &Device) -> Self {
        let (rows, d, h) = SHAPE;
        let layer = |index: usize, inputs| AdapterLayer {
            inputs,
            outputs: h,
            weight: floats(&format!("init.{index}.weight")),
            bias: floats(&format!("init.{index}.bias")),
        };
        let layers = vec![layer(0, d), layer(2, h)];
        let weights = AdapterWeights { kind: AdapterKind::Mlp(2), layers, notes: Default::default() };
        let adapter = Adapter::new(device, &weights).unwrap();
        Bench {
            gradients: Gradients::new(device, &adapter.parameters, |_| true).unwrap(),
            space: AdapterSpace::new(device, &adapter, rows).unwrap(),
            x: Tensor::from_f32(device, &floats("x"), d).unwrap(),
            dx: Tensor::new(device, rows, d, ElementType::F32).unwrap(),
            device: device.clone(),
            adapter,
        }
    }

    /// Output and loss; the gradients are then on the device.
    fn pass(&self) -> (Vec<f64>, f64) {
        let mut recorder = self.device.recorder();
        self.adapter.forward(&mut recorder, &self.x, &self.space).unwrap();
        recorder.submit().unwrap();
        let out = wide(&self.space.output().to_f32_blocking(&self.device).unwrap());
        let (loss, dout) = loss(&out);
        let dout: Vec<f32> = dout.into_iter().map(|x| x as f32).collect();
        let dout = Tensor::from_f32(&self.device, &dout, SHAPE.2).unwrap();
        let mut recorder = self.device.recorder();
        self.gradients.clear(&mut recorder);
        let both = (&self.x, &dout);
        self.adapter.backward(&mut recorder, &self.gradients, both, &self.space, Some(&self.dx)).unwrap();
        recorder.submit().unwrap();
        (out, loss)
    }
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

#[test]
fn forward_and_backward_against_pytorch() {
    for device in devices() {
        let bench = Bench::new(&device);
        let (out, loss) = bench.pass();
        let what = device.name();
        assert!(off(&out, &doubles("out")) < 1e-6, "{what}: {:e}", off(&out, &doubles("out")));
        let want = doubles("loss")[0];
        assert!((loss - want).abs() < 1e-5 * want.abs(), "{what}: loss {loss} for {want}");
        let mut all = vec![("grad_x".to_owned(), wide(&bench.dx.to_f32_blocking(&device).unwrap()))];
        let gradients = bench.gradients.iter().map(|(_, g)| wide(&g.to_f32_blocking(&device).unwrap()));
        all.extend(LAYERS.map(|name| format!("grad.{name}")).into_iter().zip(gradients));
        assert_eq!(all.len(), 5);
        for (name, got) in all {
            let error = off(&got, &doubles(&name));
            assert!(error < 1e-6, "{what}: {name} is off by {error:e}");
        }
    }
}

#[test]
fn adamw_against_pytorch() {
    // (run, rate, decay, clipping, steps); parameters and moments relative to their size. The gradient's rounding, about 1e-6 of
    // its norm, is all in AdamW's first step, which divides by the gradient itself, and grows where one is near 0.
    let runs = [("a", 5e-4, 0.0, None, 1), ("b", 1e-3, 0.1, Some(1.0), 1), ("c", 1e-3, 0.1, Some(1.0), 5)];
    for device in devices() {
        for (run, lr, weight_decay, max_norm, steps) in runs {
            let bench = Bench::new(&device);
            let options = AdamWOptions { weight_decay, max_norm, ..Default::default() };
            let mut optimizer = AdamW::new(&device, options, &[&bench.gradients]).unwrap();
            for _ in 0..steps {
                bench.pass();
                let mut recorder = device.recorder();
                let models = [(&bench.adapter.parameters, &bench.gradients)];
                optimizer.record(&mut recorder, (lr, 1.0), &models).unwrap();
                recorder.submit().unwrap();
            }
            let moments: Vec<_> = optimizer.moments().collect();
            for (i, parameter) in bench.adapter.parameters.iter().enumerate() {
                let Moments::F32(m, v) = moments[i] else { panic!("moments in f32") };
                let parts = [(&parameter.value, "", 1e-6), (m, "m.", 1e-5), (v, "v.", 1e-5)];
                for (table, moment, bound) in parts {
                    let name = format!("adamw_{run}.{moment}{}", LAYERS[i]);
                    let error = off(&wide(&table.to_f32_blocking(&device).unwrap()), &doubles(&name));
                    assert!(error < bound, "{}: {name} is off by {error:e}", device.name());
                }
            }
        }
    }
}

/// The same through the twins in f64, within 1e-10.
#[test]
fn the_twins_in_f64_against_pytorch() {
    let path = golden("llama.config.json");
    let config = DecoderConfig::parse(&std::fs::read_to_string(&path).unwrap(), Path::new("config.json")).unwrap();
    let (_, d, h) = SHAPE;
    let named = |name: &str| format!("model.mm_projector.{name}");
    let width = |name: &str| if name == "0.weight" { d } else { h };
    let values = LAYERS.map(|n| (named(n), Matrix::new(&doubles(&format!("init.{n}")), width(n)))).into();
    let twin = Twin { config, values, low_rank_scale: 1.0, mask: None };
    let x = Matrix::new(&doubles("x"), d);
    let pass = twin.adapter(&x);
    let (loss, dout) = loss(&pass.out.tight());
    let mut gradients = twin.values.iter().map(|(n, v)| (n.clone(), Matrix::zeros(v.rows, v.width))).collect();
    let dx = twin.adapter_backward(&mut gradients, &x, &pass, &Matrix::new(&dout, h));
    let mut all = vec![("hidden".to_owned(), pass.hidden.tight()), ("out".to_owned(), pass.out.tight())];
    all.extend([("loss".to_owned(), vec![loss]), ("grad_x".to_owned(), dx.tight())]);
    all.extend(LAYERS.map(|name| (format!("grad.{name}"), gradients[&named(name)].tight())));
    for (name, got) in all {
        let error = off(&got, &doubles(&name));
        assert!(error <= 1e-10, "{name} is off by {error:e}");
    }
}
