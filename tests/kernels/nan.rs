//! A NaN that goes into a kernel comes out of it: no engine drops one in a maximum, a clamp, an exponential or a comparison.
//!
//! The twins in f32 say which results are NaN, and each test says so of its own; every device must have all of these.

use realign::Device;
use realign::device::{Buffer, Recorder, Tensor};
use realign::host::nn::info_nce::Scaling;
use realign::host::nn::{cross_entropy as cross_entropy_host, gelu as gelu_host, pair_sigmoid as sigmoid_host};
use realign::kernels::nn::attention::{self, Heads, Sequences};
use realign::kernels::nn::cross_entropy::{self, IGNORED};
use realign::kernels::nn::info_nce::{self, Temperature};
use realign::kernels::nn::{bias, elementwise, gate, gelu, layer_norm, pair_sigmoid, rms_norm};
use realign::kernels::optim::{adamw, norm};

use crate::nn::{normal, read_floats, run, tensor, wide, words, zeros};
use crate::nn_attention;
use crate::rows::variants;

/// NaNs of both signs, and one that is not the usual one.
const NANS: [u32; 3] = [0x7fc0_0000, 0xffc0_0000, 0x7f80_0001];

/// Rows and width of the operands: more than a team, no multiple of 4, more than a vector.
const ROWS: usize = 9;
const WIDTH: usize = 70;

/// What a kernel is given, one after the other, and where it is to leave its results.
struct Io<'a> {
    device: &'a Device,
    /// The operand that has the NaN, its place there, and its bits.
    poison: (usize, usize, u32),
    next: usize,
    results: Vec<Buffer>,
}

impl Io<'_> {
    fn numbers(&mut self, count: usize) -> Vec<f32> {
        let mut numbers = normal(self.next as u64 + 1, count);
        if self.poison.0 == self.next {
            numbers[self.poison.1 % count] = f32::from_bits(self.poison.2);
        }
        self.next += 1;
        numbers
    }

    /// The next operand, `[rows, width]`.
    fn matrix(&mut self, rows: usize, width: usize) -> Tensor {
        let numbers = self.numbers(rows * width);
        tensor(self.device, &numbers, width)
    }

    fn rows(&mut self) -> Tensor {
        self.matrix(ROWS, WIDTH)
    }

    /// A tensor that is compared.
    fn result(&mut self, rows: usize, width: usize) -> Tensor {
        let result = zeros(self.device, rows, width);
        self.results.push(result.buffer().clone());
        result
    }

    fn also(&mut self, tensor: &Tensor) {
        self.results.push(tensor.buffer().clone());
    }
}

type Kernel = fn(&mut Io<'_>, &mut Recorder);

/// Whether each element of each result is a NaN, with the NaN in `place` of operand `operand`.
fn nans(device: &Device, kernel: Kernel, poison: (usize, usize, u32)) -> Vec<Vec<bool>> {
    let mut io = Io { device, poison, next: 0, results: Vec::new() };
    run(device, |r| kernel(&mut io, r));
    assert!(poison.0 < io.next, "there is no operand {}", poison.0);
    io.results.iter().map(|result| read_floats(device, result).into_iter().map(f32::is_nan).collect()).collect()
}

/// With a NaN in each of `operands`: the host has some, and the devices have all of the host's.
fn check(name: &str, operands: usize, kernel: Kernel) {
    let host = Device::host();
    for operand in 0..operands {
        for (place, bits) in [0, 3, 4 * 71 + 1, 1013].into_iter().flat_map(|p| NANS.map(|bits| (p, bits))) {
            let poison = (operand, place, bits);
            let want = nans(&host, kernel, poison);
            assert!(want.iter().flatten().any(|nan| *nan), "{name}: the host dropped the NaN of {poison:?}");
            for (variant, device) in variants() {
                for (i, (want, got)) in want.iter().zip(nans(&device, kernel, poison)).enumerate() {
                    let dropped = want.iter().zip(&got).position(|(want, got)| *want && !got);
                    assert!(
                        dropped.is_none(),
                        "{name} on {variant}: result {i} lacks the NaN at {dropped:?}, {poison:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn element_by_element() {
    check("gelu", 1, |io, r| {
        let (x, y, z) = (io.rows(), io.result(ROWS, WIDTH), io.result(ROWS, WIDTH));
        gelu::forward(r, gelu::Form::Erf, &x, &y).unwrap();
        gelu::forward(r, gelu::Form::Tanh, &x, &z).unwrap();
    });
    check("gelu backward", 2, |io, r| {
        let (x, dy, dx, dz) = (io.rows(), io.rows(), io.result(ROWS, WIDTH), io.result(ROWS, WIDTH));
        gelu::backward(r, gelu::Form::Erf, &x, &dy, &dx).unwrap();
        gelu::backward(r, gelu::Form::Tanh, &x, &dy, &dz).unwrap();
    });
    check("SiLU gate", 2, |io, r| {
        let (g, up, y) = (io.rows(), io.rows(), io.result(ROWS, WIDTH));
        gate::forward(r, gate::Act::Silu, &g, &up, &y).unwrap();
    });
    check("SiLU gate backward", 3, |io, r| {
        let (g, up, dy) = (io.rows(), io.rows(), io.rows());
        let (dgate, dup) = (io.result(ROWS, WIDTH), io.result(ROWS, WIDTH));
        gate::backward(r, gate::Act::Silu, &g, &up, &dy, &dgate, &dup).unwrap();
    });
    check("GELU gate", 2, |io, r| {
        let (g, up, y, z) = (io.rows(), io.rows(), io.result(ROWS, WIDTH), io.result(ROWS, WIDTH));
        gate::forward(r, gate::Act::Gelu(gelu::Form::Erf), &g, &up, &y).unwrap();
        gate::forward(r, gate::Act::Gelu(gelu::Form::Tanh), &g, &up, &z).unwrap();
    });
    check("GELU gate backward", 3, |io, r| {
        let (g, up, dy) = (io.rows(), io.rows(), io.rows());
        for form in [gelu::Form::Erf, gelu::Form::Tanh, gelu::Form::Quick] {
            let (dgate, dup) = (io.result(ROWS, WIDTH), io.result(ROWS, WIDTH));
            gate::backward(r, gate::Act::Gelu(form), &g, &up, &dy, &dgate, &dup).unwrap();
        }
    });
    check("sums of multiples", 2, |io, r| {
        let (x, y, z) = (io.rows(), io.rows(), io.result(ROWS, WIDTH));
        elementwise::add_scaled(r, &x, 0.5, &y, &z).unwrap();
    });
    check("sums", 2, |io, r| {
        let (x, y, sums) = (io.rows(), io.rows(), io.result(1, WIDTH));
        elementwise::add(r, &x, &y).unwrap();
        elementwise::scale(r, 2.0, &y).unwrap();
        bias::backward(r, &y, &sums, false).unwrap();
        io.also(&y);
    });
}

#[test]
fn norms() {
    check("RMS norm", 3, |io, r| {
        let (x, weight, dy) = (io.rows(), io.matrix(1, WIDTH), io.rows());
        let (y, dx, dweight) = (io.result(ROWS, WIDTH), io.result(ROWS, WIDTH), io.result(1, WIDTH));
        rms_norm::forward(r, 1e-5, &x, &weight, &y).unwrap();
        rms_norm::backward(r, 1e-5, &x, &weight, &dy, (&dx, false), Some(&dweight)).unwrap();
    });
    check("layer norm", 4, |io, r| {
        let (x, weight, shift, dy) = (io.rows(), io.matrix(1, WIDTH), io.matrix(1, WIDTH), io.rows());
        let (y, dx, dweight) = (io.result(ROWS, WIDTH), io.result(ROWS, WIDTH), io.result(1, WIDTH));
        layer_norm::forward(r, 1e-5, &x, &weight, &shift, &y).unwrap();
        layer_norm::backward(r, 1e-5, &x, &weight, &dy, (&dx, false), Some(&dweight), None).unwrap();
    });
}

/// In the first chunk and in the second.
#[test]
fn cross_entropy() {
    check("cross entropy", 2, |io, r| {
        let labels: Vec<i32> = (0..ROWS as i32).map(|i| if i == 7 { IGNORED } else { (31 * i) % 140 }).collect();
        let labels = words(io.device, bytemuck::cast_slice(&labels));
        let (state, nll) = (io.result(ROWS, 4), io.device.buffer("nll", 4 * ROWS as u64).unwrap());
        io.results.push(nll.clone());
        let chunks = [io.rows(), io.rows()];
        chunks.iter().for_each(|chunk| io.also(chunk));
        let each = |f: &mut dyn FnMut(&Tensor, (usize, usize))| {
            chunks.iter().enumerate().for_each(|(i, chunk)| f(chunk, (0, i * WIDTH)));
        };
        each(&mut |chunk, at| cross_entropy::forward_chunk(r, chunk, at, &labels, &state).unwrap());
        cross_entropy::finish(r, &state, &labels, &nll).unwrap();
        each(&mut |chunk, at| cross_entropy::backward_chunk(r, chunk, at, &labels, &state, 0.5).unwrap());
        // The host's maximum is no NaN, and nobody reads it.
        io.results.remove(0);
    });
}

/// The loss of exactly the row that has it is NaN: for a NaN in any place, and for +infinity; not for -infinity, which takes a token out.
#[test]
fn the_loss_of_a_row_with_a_nan() {
    let labels: Vec<i32> = (0..ROWS as i32).collect();
    for (name, device) in variants() {
        for (place, bits) in (0..WIDTH).flat_map(|p| NANS.into_iter().chain([0x7f80_0000]).map(move |bits| (p, bits))) {
            let mut logits = normal(1, ROWS * WIDTH);
            let row = 1 + place % (ROWS - 1);
            logits[row * WIDTH + place] = f32::from_bits(bits);
            logits[place.max(1)] = f32::NEG_INFINITY;
            let nll = losses(&device, &logits, &labels);
            let what = format!("{name}: {bits:x} at {place}, {nll:?}");
            assert!(
                nll.iter().enumerate().all(|(i, x)| x.is_nan() == (i == row) && (i == row || x.is_finite())),
                "{what}"
            );
        }
    }
}

fn losses(device: &Device, logits: &[f32], labels: &[i32]) -> Vec<f32> {
    let logits = tensor(device, logits, WIDTH);
    let (state, nll) = (zeros(device, ROWS, 4), device.buffer("nll", 4 * ROWS as u64).unwrap());
    let labels = words(device, bytemuck::cast_slice(labels));
    run(device, |r| {
        cross_entropy::forward_chunk(r, &logits, (0, 0), &labels, &state).unwrap();
        cross_entropy::finish(r, &state, &labels, &nll).unwrap();
    });
    read_floats(device, &nll)[..ROWS].to_vec()
}

/// Of similarities, t and b, below the largest t and above it.
#[test]
fn contrastive_losses() {
    fn outputs(io: &mut Io<'_>) -> (Buffer, Tensor) {
        let losses = io.device.buffer("losses", 4 * ROWS as u64).unwrap();
        io.results.push(losses.clone());
        (losses, io.result(ROWS, 2))
    }
    fn softmax(io: &mut Io<'_>, r: &mut Recorder, most: f32) {
        let (s, turned, t) = (io.matrix(ROWS, ROWS), io.matrix(ROWS, ROWS), io.numbers(1)[0]);
        let value = tensor(io.device, &[t, 0.0], 2);
        let temperature = Temperature { value: &value, most };
        let (rows, columns) = (io.result(ROWS, 4), io.result(ROWS, 4));
        let (losses, terms) = outputs(io);
        info_nce::softmax(r, temperature, &s, &rows).unwrap();
        info_nce::softmax(r, temperature, &turned, &columns).unwrap();
        info_nce::terms(r, temperature, (&rows, &columns), 0.25, (&losses, &terms)).unwrap();
        info_nce::backward(r, temperature, (&rows, &columns), 0.25, &s).unwrap();
        io.also(&s);
    }
    fn sigmoid(io: &mut Io<'_>, r: &mut Recorder, most: f32) {
        let (s, value) = (io.matrix(ROWS, ROWS), io.matrix(1, 2));
        let temperature = Temperature { value: &value, most };
        let (losses, terms) = outputs(io);
        pair_sigmoid::forward(r, temperature, &s, 0.25, (&losses, &terms)).unwrap();
        pair_sigmoid::backward(r, temperature, 0.25, &s).unwrap();
        io.also(&s);
    }
    check("InfoNCE", 3, |io, r| softmax(io, r, 5.0));
    check("InfoNCE at the limit", 3, |io, r| softmax(io, r, -9.0));
    check("sigmoid loss", 2, |io, r| sigmoid(io, r, 5.0));
    check("sigmoid loss at the limit", 2, |io, r| sigmoid(io, r, -9.0));
}

/// Every family's, forward and backward: the definition says which results are NaN. What a query does not see counts 0 times, and may leave
/// more of them.
#[test]
fn attention() {
    let heads = Heads::new(4, 2, 8);
    let (n, qs, ks) = (45, 32, 16);
    for (device, family) in nn_attention::families() {
        let list = Sequences::packed(&device, &[5, 40]).unwrap().list().to_vec();
        let sequences = Sequences::of_family(&device, family, &list).unwrap();
        for poison in (0..4).flat_map(|operand| [0, 3, 285, 1013].map(|place| (operand, place, NANS[place % 3]))) {
            let mut io = Io { device: &device, poison, next: 0, results: Vec::new() };
            let [q, k, v, dout] = [qs, ks, ks, qs].map(|width| io.numbers(n * width));
            let [tq, tdout] = [&q, &dout].map(|x| tensor(&device, x, qs));
            let [tk, tv] = [&k, &v].map(|x| tensor(&device, x, ks));
            let [out, lse, dq, dk, dv] = [qs, 4, qs, ks, ks].map(|width| zeros(&device, n, width));
            run(&device, |r| {
                attention::forward(r, heads, &sequences, &tq, &tk, &tv, &out, &lse).unwrap();
                attention::backward(r, heads, &sequences, &tq, &tk, &tv, &out, &lse, &tdout, &dq, &dk, &dv).unwrap();
            });
            let want = nn_attention::reference(heads, &list, [&wide(&q), &wide(&k), &wide(&v), &wide(&dout)]);
            assert!(want[..5].iter().flatten().any(|x| x.is_nan()));
            for (name, (result, want)) in
                ["out", "lse", "dq", "dk", "dv"].iter().zip([&out, &lse, &dq, &dk, &dv].iter().zip(&want))
            {
                let got = result.to_f32_blocking(&device).unwrap();
                let dropped = want.iter().zip(&got).position(|(want, got)| want.is_nan() && !got.is_nan());
                let what = format!("{} {family:?} {poison:?}: {name}", device.name());
                assert!(dropped.is_none(), "{what} lacks the NaN at {dropped:?}");
            }
        }
    }
}

/// A gradient with a NaN has the norm NaN, and a step with it changes nothing.
#[test]
fn clipping_and_steps() {
    for (name, device) in variants() {
        for (max_norm, bits) in [None, Some(1.0)].into_iter().flat_map(|m| NANS.map(|bits| (m, bits))) {
            let mut numbers = normal(1, ROWS * WIDTH);
            numbers[333] = f32::from_bits(bits);
            let g = tensor(&device, &numbers, WIDTH);
            let [p, m, v] = [2, 3, 4].map(|seed| tensor(&device, &normal(seed, ROWS * WIDTH), WIDTH));
            let (partials, scale) = (norm::partials(&device, 1).unwrap(), device.buffer("scale", 8).unwrap());
            let hyper = adamw::Hyper { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1, step: 1 };
            run(&device, |r| {
                norm::square_sum(r, &g, &partials, 0).unwrap();
                norm::clip(r, &partials, max_norm, 1.0, &scale).unwrap();
                adamw::step(r, &hyper, &scale, &g, &p, &m, &v).unwrap();
            });
            let scale = read_floats(&device, &scale);
            assert!(scale[0] == 0.0 && scale[1].is_nan(), "{name}: {scale:?}");
            for (tensor, seed) in [(&p, 2), (&m, 3), (&v, 4)] {
                assert!(
                    tensor.to_f32_blocking(&device).unwrap() == normal(seed, ROWS * WIDTH),
                    "{name}: a step was made"
                );
            }
        }
    }
}

/// The twins in f64, which are the oracle of other tests, keep NaNs too.
#[test]
fn twins_in_f64() {
    let mut y = [0.0; 4];
    for form in [gelu::Form::Erf, gelu::Form::Tanh, gelu::Form::Quick] {
        gelu_host::backward(form, &[f64::NAN; 4], &[1.0; 4], &mut y);
        assert!(y.iter().all(|y| y.is_nan()));
    }
    let (mut state, mut nll) = ([0.0; 4], [0.0]);
    let columns = cross_entropy_host::Columns { first: 0, width: 4 };
    cross_entropy_host::forward(columns, &[1.0, f64::NAN, 2.0, 3.0], &[0], &mut state);
    cross_entropy_host::finish(&state, &[0], &mut nll);
    assert!(nll[0].is_nan());
    let (scaling, mut out) = (Scaling { t: f64::NAN, b: 0.0, most: 1.0 }, [0.0; 4]);
    assert!(scaling.factor().is_nan());
    sigmoid_host::forward(scaling, &[0.5, 0.0, 0.0, 0.0], 1.0, &mut out);
    assert!(out[0].is_nan() && out[1].is_nan());
}
