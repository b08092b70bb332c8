//! AdamW, norms and clipping, against f64 and PyTorch.

use realign::device::{Device, Tensor};
use realign::host::optim as host;
use realign::kernels::optim::adamw::{self, Hyper};
use realign::kernels::optim::norm::{self, clip, square_sum};

use crate::common::devices;
use crate::golden::golden;
use crate::nn::{SHAPES, normal, read, read_floats, run, tensor, wide, zeros};
use crate::rows::{check, variants};

const HYPER: Hyper = Hyper { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1, step: 1 };
const LAYERS: [(&str, usize); 4] = [("0.weight", 48), ("0.bias", 64), ("2.weight", 64), ("2.bias", 64)];

/// One step from the definition, PyTorch's order of operations.
fn reference(h: &Hyper, scale: f64, g: &[f64], p: &mut [f64], m: &mut [f64], v: &mut [f64]) {
    let step = h.step as i32;
    for i in 0..g.len() {
        let g = scale * g[i];
        p[i] -= p[i] * h.lr * h.weight_decay;
        m[i] += (g - m[i]) * (1.0 - h.beta1);
        v[i] = v[i] * h.beta2 + (1.0 - h.beta2) * g * g;
        let denominator = v[i].sqrt() / (1.0 - h.beta2.powi(step)).sqrt() + h.eps;
        p[i] -= h.lr / (1.0 - h.beta1.powi(step)) * m[i] / denominator;
    }
}

#[test]
fn steps_of_all_shapes() {
    for device in devices() {
        for (n, d) in SHAPES {
            let (p, g) = (normal(1, n * d), normal(2, n * d));
            let [tp, tm, tv] = [tensor(&device, &p, d), zeros(&device, n, d), zeros(&device, n, d)];
            let tg = tensor(&device, &g, d);
            let scale = device.buffer_from("scale", &0.5f32.to_le_bytes()).unwrap();
            let (mut wp, mut wm, mut wv) = (wide(&p), vec![0.0; n * d], vec![0.0; n * d]);
            for step in 1..=3 {
                let hyper = Hyper { step, ..HYPER };
                run(&device, |r| adamw::step(r, &hyper, &scale, &tp, &tg, &tm, &tv).unwrap());
                reference(&hyper, 0.5, &wide(&g), &mut wp, &mut wm, &mut wv);
            }
            let what = format!("{} [{n}, {d}]", device.name());
            // Three steps of up to 1e-3 each, computed to a few ulp, and three roundings of p.
            let bounds = |want: &[f64], r: f64, a: f64| want.iter().map(|w| w.abs() * r + a).collect::<Vec<_>>();
            check(&read(&device, &tp), &wp, &bounds(&wp, 4e-7, 1e-8), &what);
            check(&read(&device, &tm), &wm, &bounds(&wm, 1e-6, 1e-20), &what);
            check(&read(&device, &tv), &wv, &bounds(&wv, 1e-6, 1e-20), &what);
        }
    }
}

/// Parameters, gradients and moments of the adapter's four tensors.
struct State {
    device: Device,
    p: Vec<Tensor>,
    g: Vec<Tensor>,
    m: Vec<Tensor>,
    v: Vec<Tensor>,
}

impl State {
    fn new(device: &Device) -> Self {
        let init = |(name, d): (&str, usize)| {
            let data: Vec<f32> = golden("adapter", &format!("init.{name}")).iter().map(|&x| x as f32).collect();
            tensor(device, &data, d)
        };
        let zero = || LAYERS.iter().map(|l| init(*l)).map(|t| zeros(device, t.rows(), t.width())).collect::<Vec<_>>();
        State { device: device.clone(), p: LAYERS.iter().map(|l| init(*l)).collect(), g: zero(), m: zero(), v: zero() }
    }

    /// One step with these gradients; gives the factor and the norm.
    fn step(&self, gradients: &[Vec<f64>], hyper: &Hyper, max_norm: Option<f32>) -> Vec<f32> {
        for (tensor, g) in self.g.iter().zip(gradients) {
            let narrow: Vec<f32> = g.iter().map(|&x| x as f32).collect();
            self.device.write(tensor.buffer(), bytemuck::cast_slice(&narrow)).unwrap();
        }
        let partials = norm::partials(&self.device, 4).unwrap();
        let out = self.device.buffer("clip", 8).unwrap();
        run(&self.device, |r| {
            self.g.iter().enumerate().for_each(|(i, g)| square_sum(r, g, &partials, i).unwrap());
            clip(r, &partials, max_norm, 1.0, &out).unwrap();
            for i in 0..4 {
                adamw::step(r, hyper, &out, &self.p[i], &self.g[i], &self.m[i], &self.v[i]).unwrap();
            }
        });
        read_floats(&self.device, &out)
    }

    fn parameters(&self) -> Vec<Vec<f64>> {
        self.p.iter().map(|t| wide(&read(&self.device, t))).collect()
    }

    fn check(&self, run: &str, tensors: &[Tensor], moment: &str, (relative, absolute): (f64, f64)) {
        for ((name, _), t) in LAYERS.iter().zip(tensors) {
            let want = golden("adapter", &format!("adamw_{run}.{moment}{name}"));
            let bounds: Vec<f64> = want.iter().map(|w| w.abs() * relative + absolute).collect();
            check(&read(&self.device, t), &want, &bounds, &format!("{} {run} {moment}{name}", self.device.name()));
        }
    }
}

#[test]
fn one_step_against_pytorch() {
    let gradients: Vec<_> = LAYERS.iter().map(|(name, _)| golden("adapter", &format!("grad.{name}"))).collect();
    for device in devices() {
        let state = State::new(&device);
        let factor = state.step(&gradients, &Hyper { lr: 5e-4, weight_decay: 0.0, ..HYPER }, None);
        assert_eq!(factor[0], 1.0);
        state.check("a", &state.p, "", (2e-7, 1e-9));
        let state = State::new(&device);
        let factor = state.step(&gradients, &HYPER, Some(1.0));
        assert!((f64::from(factor[1]) - 22.520555090421794).abs() < 3e-6, "{factor:?}");
        assert!((f64::from(factor[0]) - 1.0 / (22.520555090421794 + 1e-6)).abs() < 1e-8, "{factor:?}");
        state.check("b", &state.p, "", (2e-7, 1e-9));
    }
}

/// `x Wᵀ + b` and friends: the adapter's gradients in f64, for the loss that the golden file names.
fn adapter_gradients(p: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let (x, w) = (golden("adapter", "x"), golden("adapter", "W"));
    let (d, h, n) = (48, 64, 5);
    let linear = |x: &[f64], w: &[f64], b: &[f64], d: usize| -> Vec<f64> {
        let row = |x: &[f64], j: usize| b[j] + (0..d).map(|k| x[k] * w[j * d + k]).sum::<f64>();
        x.chunks_exact(d).flat_map(|x| (0..h).map(|j| row(x, j)).collect::<Vec<_>>()).collect()
    };
    let hidden = linear(&x, &p[0], &p[1], d);
    let (mut act, mut slope) = (vec![0.0; n * h], vec![0.0; n * h]);
    realign::host::nn::gelu::forward(realign::kernels::nn::gelu::Form::Erf, &hidden, &mut act);
    let out = linear(&act, &p[2], &p[3], h);
    let dout: Vec<f64> = out.iter().zip(&w).map(|(o, w)| w + o / (n * h) as f64).collect();
    let dact: Vec<f64> = (0..n * h).map(|i| (0..h).map(|j| dout[i / h * h + j] * p[2][j * h + i % h]).sum()).collect();
    realign::host::nn::gelu::backward(realign::kernels::nn::gelu::Form::Erf, &hidden, &dact, &mut slope);
    let weight = |dy: &[f64], x: &[f64], d: usize| -> Vec<f64> {
        (0..h * d).map(|i| (0..n).map(|r| dy[r * h + i / d] * x[r * d + i % d]).sum()).collect()
    };
    let bias = |dy: &[f64]| -> Vec<f64> { (0..h).map(|j| (0..n).map(|r| dy[r * h + j]).sum()).collect() };
    vec![weight(&slope, &x, d), bias(&slope), weight(&dout, &act, h), bias(&dout)]
}

#[test]
fn five_steps_against_pytorch() {
    let norms = [22.520555090421794, 22.51689101539413, 22.52673218635521, 22.55056527496447, 22.58883549778515];
    for device in devices() {
        let state = State::new(&device);
        for (step, want) in (1..).zip(norms) {
            let factor = state.step(&adapter_gradients(&state.parameters()), &Hyper { step, ..HYPER }, Some(1.0));
            assert!((f64::from(factor[1]) - want).abs() < 1e-5, "step {step}: {} for {want}", factor[1]);
        }
        // Where a gradient passes zero, a rounding of it moves the parameter by up to a step.
        state.check("c", &state.p, "", (1e-6, 1e-6));
        state.check("c", &state.m, "m.", (1e-4, 1e-7));
        state.check("c", &state.v, "v.", (1e-4, 1e-9));
    }
}

#[test]
fn five_steps_in_f64() {
    let mut p: Vec<_> = LAYERS.iter().map(|(name, _)| golden("adapter", &format!("init.{name}"))).collect();
    let mut m: Vec<Vec<f64>> = p.iter().map(|p| vec![0.0; p.len()]).collect();
    let mut v = m.clone();
    for step in 1..=5 {
        let g = adapter_gradients(&p);
        let mut partials = vec![0.0; 4 * 64];
        g.iter().zip(partials.chunks_exact_mut(64)).for_each(|(g, to)| host::norm::square_sum(g, to));
        let (factor, _) = host::norm::clip(&partials, Some(1.0), 1.0);
        let constants = Hyper { step, ..HYPER }.constants().unwrap();
        for i in 0..4 {
            host::adamw::step(&constants, factor, &g[i], &mut p[i], &mut m[i], &mut v[i]);
        }
    }
    for (i, (name, _)) in LAYERS.iter().enumerate() {
        for (got, moment) in [(&p[i], ""), (&m[i], "m."), (&v[i], "v.")] {
            let want = golden("adapter", &format!("adamw_c.{moment}{name}"));
            let worst = got.iter().zip(&want).map(|(g, w)| (g - w).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-10, "{moment}{name}: {worst:e}");
        }
    }
}

#[test]
fn norms_in_every_variant() {
    for (name, device) in variants() {
        for (n, d) in SHAPES.into_iter().chain([(3000, 1000)]) {
            if n * d > 1_000_000 && name.contains("team") {
                continue;
            }
            let (a, b) = (normal(3, n * d), normal(4, 5));
            let partials = norm::partials(&device, 3).unwrap();
            let out = device.buffer("clip", 8).unwrap();
            let (ta, tb) = (tensor(&device, &a, d), tensor(&device, &b, 5));
            for (max_norm, base) in [(None, 1.0f32), (Some(0.25f32), 0.5), (Some(1e6), 2.0)] {
                run(&device, |r| {
                    square_sum(r, &ta, &partials, 0).unwrap();
                    square_sum(r, &tb, &partials, 2).unwrap();
                    clip(r, &partials, max_norm, base, &out).unwrap();
                });
                let square: f64 = wide(&a).iter().chain(&wide(&b)).map(|x| x * x).sum();
                let want = f64::from(base) * square.sqrt();
                let limit = max_norm.map_or(1.0, |m| (f64::from(m) / (want + 1e-6)).min(1.0));
                let got = read_floats(&device, &out);
                let what = format!("{name} [{n}, {d}] {max_norm:?}");
                check(&got[..2], &[f64::from(base) * limit, want], &[limit * 4e-6, want * 2e-6], &what);
            }
        }
    }
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing_and_is_visible() {
    for device in devices() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut data = normal(5, 40);
            let p = tensor(&device, &data, 8);
            let (m, v) = (zeros(&device, 5, 8), zeros(&device, 5, 8));
            let before = read(&device, &p);
            data[17] = value;
            let g = tensor(&device, &data, 8);
            let (partials, out) = (norm::partials(&device, 1).unwrap(), device.buffer("clip", 8).unwrap());
            run(&device, |r| {
                square_sum(r, &g, &partials, 0).unwrap();
                clip(r, &partials, Some(1.0), 1.0, &out).unwrap();
                adamw::step(r, &HYPER, &out, &p, &g, &m, &v).unwrap();
            });
            let factor = read_floats(&device, &out);
            assert!(factor[0] == 0.0 && !factor[1].is_finite(), "{} {value}: {factor:?}", device.name());
            assert_eq!(read(&device, &p), before);
            assert_eq!(read(&device, &m), [0.0; 40]);
        }
    }
}

#[test]
fn settings_outside_their_domain() {
    let wrong = [
        Hyper { lr: f64::NAN, ..HYPER },
        Hyper { lr: -1.0, ..HYPER },
        Hyper { beta1: 1.0, ..HYPER },
        Hyper { beta2: -0.1, ..HYPER },
        Hyper { eps: 0.0, ..HYPER },
        Hyper { weight_decay: f64::INFINITY, ..HYPER },
        Hyper { step: 0, ..HYPER },
    ];
    for device in devices() {
        let [p, g, m, v] = [(); 4].map(|()| zeros(&device, 2, 4));
        let scale = device.buffer("scale", 8).unwrap();
        let partials = norm::partials(&device, 1).unwrap();
        let mut r = device.recorder();
        for hyper in wrong {
            adamw::step(&mut r, &hyper, &scale, &p, &g, &m, &v).unwrap_err();
        }
        adamw::step(&mut r, &HYPER, &scale, &p, &g, &m, &m).unwrap_err();
        adamw::step(&mut r, &HYPER, &scale, &p, &zeros(&device, 2, 5), &m, &v).unwrap_err();
        square_sum(&mut r, &g, &partials, 1).unwrap_err();
        clip(&mut r, &partials, Some(0.0), 1.0, &scale).unwrap_err();
        clip(&mut r, &partials, None, f32::NAN, &scale).unwrap_err();
        clip(&mut r, &partials, None, 1.0, &device.buffer("small", 4).unwrap()).unwrap_err();
        assert!(r.commands().is_empty());
    }
}
