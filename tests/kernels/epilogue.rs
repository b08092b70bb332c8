//! Products with a bias, a residual or GELU in the same pass, against f64.

use realign::device::{Command, Device, DeviceKind, Tensor};
use realign::kernels::linalg::epilogue::Epilogue;
use realign::kernels::linalg::matmul::{self, Operand, Product};
use realign::kernels::nn::gate::Act;
use realign::kernels::nn::gelu::{self, Form};
use realign::nn::linear::{Linear, LowRank, Narrow, Then};
use realign::nn::parameters::Parameters;

use crate::common::gpu;
use crate::matmul::variants;
use crate::nn::{exp_error, normal, read, rubbish, run, tensor, wide, zeros};
use crate::nn_elements::{gelu_error, reference};
use crate::rows::{U, check};

/// Shapes, and whether the product is added to what C holds.
struct Case {
    shape: (usize, usize, usize),
    transpose: (bool, bool),
    accumulate: bool,
}

impl Case {
    /// Of a product with rows 1 .. m + 1 of `c`: the operands, and `alpha op(A) op(B)` (`+ C`), `[m, n]`, with the size of its terms.
    fn product(&self, device: &Device, before: &[f32]) -> ([Tensor; 2], Vec<f64>, Vec<f64>) {
        let ((m, n, k), (ta, tb)) = (self.shape, self.transpose);
        let (a, b) = (normal(1, m * k), normal(2, k * n));
        let (mut sums, mut sizes) = (Vec::new(), Vec::new());
        for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
            let start = if self.accumulate { f64::from(before[(i + 1) * n + j]) } else { 0.0 };
            let at = |l: usize| (if ta { l * m + i } else { i * k + l }, if tb { j * k + l } else { l * n + j });
            let terms = (0..k).map(|l| 0.5 * f64::from(a[at(l).0]) * f64::from(b[at(l).1]));
            let (sum, size) = terms.fold((start, start.abs()), |(s, z), p| (s + p, z + p.abs()));
            sums.push(sum);
            sizes.push(size);
        }
        let operands = [tensor(device, &a, if ta { m } else { k }), tensor(device, &b, if tb { k } else { n })];
        (operands, sums, sizes)
    }

    fn record(&self, device: &Device, [a, b]: &[Tensor; 2], c: &Tensor, epilogue: Epilogue<'_>) {
        let operand = |t, flip| if flip { Operand::new(t).transposed() } else { Operand::new(t) };
        let product = Product { alpha: 0.5, accumulate: self.accumulate, upper: false };
        let operands = (operand(a, self.transpose.0), operand(b, self.transpose.1));
        run(device, |r| matmul::record_fused(r, product, epilogue, operands, (c, 1)).unwrap());
    }

    fn verify_sums(&self, device: &Device, (biased, added): (bool, bool), what: &str) {
        let (m, n, k) = self.shape;
        let (before, bias, residual) = (normal(3, (m + 2) * n), normal(4, n), normal(5, m * n));
        let (operands, mut want, mut sizes) = self.product(device, &before);
        for i in 0..m * n {
            for term in [biased.then(|| bias[i % n]), added.then(|| residual[i])].into_iter().flatten() {
                want[i] += f64::from(term);
                sizes[i] += f64::from(term.abs());
            }
        }
        let (tb, tr, c) = (tensor(device, &bias, n), tensor(device, &residual, n), tensor(device, &before, n));
        let epilogue = Epilogue::Add { bias: biased.then_some(&tb), residual: added.then_some(&tr) };
        self.record(device, &operands, &c, epilogue);
        let got = read(device, &c);
        assert_eq!((&got[..n], &got[(m + 1) * n..]), (&before[..n], &before[(m + 1) * n..]), "{what}: rows around");
        let bounds: Vec<f64> = sizes.iter().map(|s| (k + 5) as f64 * U * s).collect();
        check(&got[n..(m + 1) * n], &want, &bounds, what);
    }

    fn verify_gelu(&self, device: &Device, (form, biased): (Form, bool), what: &str) {
        let (m, n, k) = self.shape;
        let (before, bias) = (normal(3, (m + 2) * n), normal(4, n));
        let (operands, mut want, mut sizes) = self.product(device, &before);
        for i in (0..m * n).filter(|_| biased) {
            want[i] += f64::from(bias[i % n]);
            sizes[i] += f64::from(bias[i % n].abs());
        }
        let (tb, kept, c) = (tensor(device, &bias, n), rubbish(device, m, n), tensor(device, &before, n));
        let epilogue = Epilogue::Gelu { form, bias: biased.then_some(&tb), before: &kept };
        self.record(device, &operands, &c, epilogue);
        let (got, argument) = (read(device, &c), read(device, &kept));
        assert_eq!((&got[..n], &got[(m + 1) * n..]), (&before[..n], &before[(m + 1) * n..]), "{what}: rows around");
        let bounds: Vec<f64> = sizes.iter().map(|s| (k + 4) as f64 * U * s).collect();
        check(&argument, &want, &bounds, &format!("{what}, argument"));
        // GELU of what was kept, to the last digits.
        let values: Vec<f64> = wide(&argument).iter().map(|&x| reference(form, x).0).collect();
        let bounds: Vec<f64> =
            values.iter().zip(&argument).map(|(y, &x)| y.abs() * gelu_error(form, f64::from(x)) + 1e-14).collect();
        check(&got[n..(m + 1) * n], &values, &bounds, what);
    }

    /// An activation of the sum: its slope, which is 1.13 at most, passes the sum's error on.
    fn verify_act(&self, device: &Device, (act, biased): (Act, bool), what: &str) {
        let (m, n, k) = self.shape;
        let (before, bias) = (normal(3, (m + 2) * n), normal(4, n));
        let (operands, mut want, mut sizes) = self.product(device, &before);
        for i in (0..m * n).filter(|_| biased) {
            want[i] += f64::from(bias[i % n]);
            sizes[i] += f64::from(bias[i % n].abs());
        }
        let (tb, c) = (tensor(device, &bias, n), tensor(device, &before, n));
        self.record(device, &operands, &c, Epilogue::Act { act, bias: biased.then_some(&tb) });
        let got = read(device, &c);
        assert_eq!((&got[..n], &got[(m + 1) * n..]), (&before[..n], &before[(m + 1) * n..]), "{what}: rows around");
        let values = want.iter().map(|&x| match act {
            Act::Gelu(form) => (reference(form, x).0, gelu_error(form, x)),
            Act::Silu => (x / (1.0 + (-x).exp()), 1e-6 + exp_error(x)),
            Act::Relu => (x.max(0.0), 0.0),
            Act::Tanh => (x.tanh(), 1e-6 + exp_error(2.0 * x.abs().min(10.0))),
        });
        let (values, errors): (Vec<f64>, Vec<f64>) = values.unzip();
        let bound = |i: usize| {
            let size = if act == Act::Tanh { 1.0 } else { values[i].abs() };
            1.2 * (k + 4) as f64 * U * sizes[i] + size * errors[i] + 1e-14
        };
        check(&got[n..(m + 1) * n], &values, &(0..m * n).map(bound).collect::<Vec<_>>(), what);
    }
}

/// With every transposition of every shape on the host; drivers compile each, and take one of each shape, in turns.
#[test]
fn every_epilogue_of_every_shader() {
    const TRANSPOSITIONS: [((bool, bool), bool); 3] =
        [((false, true), false), ((true, false), true), ((false, false), false)];
    for (place, (name, device)) in variants().into_iter().enumerate() {
        let host = device.capabilities().kind == DeviceKind::Host;
        for (i, shape) in [(1, 1, 1), (3, 5, 7), (17, 9, 33), (65, 130, 31)].into_iter().enumerate() {
            let turns = TRANSPOSITIONS.into_iter().enumerate().filter(|(turn, _)| host || *turn == (i + place) % 3);
            for (_, (transpose, accumulate)) in turns {
                let case = Case { shape, transpose, accumulate };
                let what = format!("{name} {shape:?} {transpose:?} {accumulate}");
                for terms in [(true, false), (false, true), (true, true), (false, false)] {
                    case.verify_sums(&device, terms, &format!("{what} {terms:?}"));
                }
                for kind in [(Form::Erf, true), (Form::Tanh, true), (Form::Quick, true), (Form::Erf, false)] {
                    case.verify_gelu(&device, kind, &format!("{what} {kind:?}"));
                }
                for kind in [(Act::Gelu(Form::Quick), true), (Act::Gelu(Form::Erf), false), (Act::Silu, true)] {
                    case.verify_act(&device, kind, &format!("{what} {kind:?}"));
                }
                case.verify_act(&device, (Act::Relu, true), &what);
                case.verify_act(&device, (Act::Tanh, false), &what);
            }
        }
    }
}

/// Sums that take several dispatches along k: the epilogue follows on the last alone.
#[test]
fn long_sums_get_their_epilogue_once() {
    for (name, device) in variants() {
        let case = Case { shape: (3, 6, (1 << 15) + 5), transpose: (false, true), accumulate: false };
        case.verify_sums(&device, (true, true), &name);
        case.verify_gelu(&device, (Form::Erf, true), &name);
        case.verify_act(&device, (Act::Gelu(Form::Tanh), true), &name);
    }
}

#[test]
fn an_epilogue_of_a_sum_of_nothing() {
    for (name, device) in variants() {
        let numbers = normal(1, 6);
        let (a, b, c) = (zeros(&device, 0, 3), zeros(&device, 0, 6), tensor(&device, &normal(2, 18), 6));
        let row = tensor(&device, &numbers, 6);
        let product = Product { accumulate: true, ..Product::default() };
        let operands = (Operand::new(&a).transposed(), Operand::new(&b));
        run(&device, |r| matmul::record_fused(r, product, bias(&row), operands, (&c, 0)).unwrap());
        let want: Vec<f32> = normal(2, 18).iter().enumerate().map(|(i, x)| x + numbers[i % 6]).collect();
        assert_eq!(read(&device, &c), want, "{name}");
    }
}

#[test]
fn a_product_and_its_epilogue_are_one_dispatch() {
    for (name, device) in variants() {
        let [a, b, c, d] = [3, 8, 3, 3].map(|n| zeros(&device, n, 8));
        let row = zeros(&device, 1, 8);
        let plain = |epilogue| {
            let mut r = device.recorder();
            let operands = (Operand::new(&a), Operand::new(&b));
            matmul::record_fused(&mut r, Product::default(), epilogue, operands, (&c, 0)).unwrap();
            let [Command::Dispatch(dispatch)] = r.commands() else { panic!("one dispatch") };
            dispatch.kernel.name
        };
        let product = plain(Epilogue::None);
        assert_eq!(plain(Epilogue::Add { bias: None, residual: None }), product, "{name}");
        assert_eq!(plain(bias(&row)), format!("{product}, add"));
        assert_eq!(plain(kept(&d)), format!("{product}, gelu"));
        assert_eq!(plain(Epilogue::Act { act: Act::Silu, bias: Some(&row) }), format!("{product}, act"));
    }
}

/// A low-rank addition comes before GELU and after a sum: the layer is what its parts are.
#[test]
fn layers_with_a_low_rank_addition() {
    for (name, device) in variants() {
        let mut parameters = Parameters::default();
        let mut add = |label: &str, shape: &[usize], seed| {
            parameters.add(&device, label, shape, &normal(seed, shape.iter().product())).unwrap()
        };
        let (weight, bias) = (add("w", &[9, 7], 1), Some(add("b", &[9], 2)));
        let low_rank = Some(LowRank { a: add("A", &[2, 7], 3), b: add("B", &[9, 2], 4), scale: 0.5 });
        let layer = Linear { weight, bias, low_rank, input_factor: 1.0 };
        let (x, residual) = (tensor(&device, &normal(5, 35), 7), tensor(&device, &normal(6, 45), 9));
        let [plain, y, before, active, summed] = [(); 5].map(|()| rubbish(&device, 5, 9));
        let product = zeros(&device, 5, 2);
        let narrow = Narrow::from(&product);
        run(&device, |r| {
            layer.forward(r, &parameters, &x, &plain, Some(narrow)).unwrap();
            layer.forward_then(r, &parameters, &x, (&y, Then::Gelu(Form::Tanh, &before)), Some(narrow)).unwrap();
            gelu::forward(r, Form::Tanh, &plain, &active).unwrap();
            layer.forward_then(r, &parameters, &x, (&summed, Then::Add(&residual)), Some(narrow)).unwrap();
        });
        assert_eq!(read(&device, &before), read(&device, &plain), "{name}");
        assert_eq!(read(&device, &y), read(&device, &active), "{name}");
        let (plain, residual) = (wide(&read(&device, &plain)), wide(&read(&device, &residual)));
        let want: Vec<f64> = plain.iter().zip(&residual).map(|(p, r)| p + r).collect();
        // Three roundings of terms below 32.
        check(&read(&device, &summed), &want, &[3.0 * 32.0 * U; 45], &name);
    }
}

fn bias(bias: &Tensor) -> Epilogue<'_> {
    Epilogue::Add { bias: Some(bias), residual: None }
}

fn residual(residual: &Tensor) -> Epilogue<'_> {
    Epilogue::Add { bias: None, residual: Some(residual) }
}

fn kept(before: &Tensor) -> Epilogue<'_> {
    Epilogue::Gelu { form: Form::Erf, bias: None, before }
}

#[test]
fn operands_that_do_not_fit() {
    let stranger = zeros(&Device::host(), 1, 7);
    for device in [Device::host(), gpu()] {
        let t = |n, d| zeros(&device, n, d);
        let (a, b, c) = (t(5, 6), t(6, 7), t(6, 7));
        let mut r = device.recorder();
        let mut refused = |epilogue: Epilogue<'_>| {
            let operands = (Operand::new(&a), Operand::new(&b));
            matmul::record_fused(&mut r, Product::default(), epilogue, operands, (&c, 1)).unwrap_err();
        };
        refused(bias(&t(1, 8)));
        refused(bias(&t(2, 7)));
        refused(bias(&stranger));
        refused(residual(&t(6, 7)));
        refused(residual(&c));
        refused(Epilogue::Act { act: Act::Relu, bias: Some(&t(1, 8)) });
        refused(kept(&t(5, 8)));
        refused(kept(&t(4, 7)));
        assert!(r.commands().is_empty());
        // What GELU keeps has memory of its own.
        let square = [(); 3].map(|()| t(6, 6));
        let [a, b, c] = &square;
        for before in &square {
            let operands = (Operand::new(a), Operand::new(b));
            matmul::record_fused(&mut r, Product::default(), kept(before), operands, (c, 0)).unwrap_err();
        }
        assert!(r.commands().is_empty());
    }
}
