//! What the tests of neural networks share: tensors in and out, bounds, finite differences.

use realign::ElementType;
use realign::device::{Buffer, Device, Recorder, Tensor};

use crate::common::Rng;

/// A group of shapes for kernels on elements and rows: empty, 1, prime, no multiple of 4, above one workgroup.
pub const SHAPES: [(usize, usize); 8] = [(0, 8), (1, 1), (1, 64), (7, 3), (65, 130), (257, 17), (131, 1280), (1009, 6)];

/// Roughly normal numbers.
pub fn normal(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = Rng(seed);
    (0..count).map(|_| rng.normal() as f32).collect()
}

pub fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// `[n, width]` rows; no rows give an empty tensor.
pub fn tensor(device: &Device, data: &[f32], width: usize) -> Tensor {
    Tensor::from_f32(device, data, width).unwrap()
}

/// A tensor of zeros.
pub fn zeros(device: &Device, rows: usize, width: usize) -> Tensor {
    Tensor::new(device, rows, width, ElementType::F32).unwrap()
}

/// A tensor whose elements, but for its padding, are a number that no kernel leaves behind.
pub fn rubbish(device: &Device, rows: usize, width: usize) -> Tensor {
    tensor(device, &vec![-777.25; rows * width], width)
}

pub fn words(device: &Device, words: &[u32]) -> Buffer {
    device.buffer_from("words", bytemuck::cast_slice(words)).unwrap()
}

/// Submits what `record` records.
pub fn run(device: &Device, record: impl FnOnce(&mut Recorder)) {
    let mut recorder = device.recorder();
    record(&mut recorder);
    recorder.submit().unwrap();
}

/// The tensor's elements; its padding must be zero.
pub fn read(device: &Device, tensor: &Tensor) -> Vec<f32> {
    let bytes = device.read_blocking(tensor.buffer()).unwrap();
    for row in bytes.chunks_exact(tensor.row_bytes()).take(tensor.rows()) {
        assert!(row[4 * tensor.width()..].iter().all(|&b| b == 0), "padding is not zero");
    }
    tensor.to_f32_blocking(device).unwrap()
}

pub fn read_floats(device: &Device, buffer: &Buffer) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(&device.read_blocking(buffer).unwrap())
}

/// WGSL's bound for the exponential, relative: 3 + 2 |x| ulp.
pub fn exp_error(x: f64) -> f64 {
    (3.0 + 2.0 * x.abs()) * 1.2e-7
}

/// Frobenius norm of the difference over that of `want` (or 1e-30).
pub fn relative(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let difference: f64 = got.iter().zip(want).map(|(&g, w)| (f64::from(g) - w).powi(2)).sum();
    (difference / want.iter().map(|w| w * w).sum::<f64>().max(1e-60)).sqrt()
}

/// Fails unless the relative difference is below `bound`; NaN fails.
pub fn check_relative(got: &[f32], want: &[f64], bound: f64, what: &str) {
    let error = relative(got, want);
    assert!(error <= bound || want.is_empty(), "{what}: relative difference {error:e}, allowed {bound:e}");
}

/// Rows of `width` in rows of a multiple of 4, zero at the end.
pub fn padded(data: &[f64], width: usize) -> Vec<f64> {
    let stride = width.next_multiple_of(4);
    let mut out = vec![0.0; data.len() / width * stride];
    for (to, from) in out.chunks_exact_mut(stride).zip(data.chunks_exact(width)) {
        to[..width].copy_from_slice(from);
    }
    out
}

/// The reverse of [`padded`].
pub fn tight(data: &[f64], width: usize) -> Vec<f64> {
    data.chunks_exact(width.next_multiple_of(4)).flat_map(|row| row[..width].to_vec()).collect()
}

/// Compares a gradient with central differences of `f` at `x`: both are f64, so that the step's error, h² f''' and u |f| / h with
/// h = 1e-5, stays below 1e-7 of what matters here.
pub fn finite_differences(x: &[f64], gradient: &[f64], f: impl Fn(&[f64]) -> f64, what: &str) {
    assert_eq!(x.len(), gradient.len(), "{what}");
    let size = gradient.iter().fold(1e-3f64, |m, g| m.max(g.abs()));
    let mut moved = x.to_vec();
    for i in 0..x.len() {
        let h = 1e-5;
        moved[i] = x[i] + h;
        let above = f(&moved);
        moved[i] = x[i] - h;
        let below = f(&moved);
        moved[i] = x[i];
        let slope = (above - below) / (2.0 * h);
        let error = (slope - gradient[i]).abs();
        assert!(error <= 1e-7 * size, "{what}: {} at {i}, finite differences say {slope}", gradient[i]);
    }
}

/// `Σ a b`.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// One recorded dispatch of each kernel of neural networks and optimisation, at least, but for those of [`record_cooperative`].
pub fn record_all(device: &Device, r: &mut Recorder) {
    use realign::kernels::nn::*;
    use realign::kernels::optim::{adamw, adamw_8bit, norm};
    const ROWS: usize = 9;
    let t = |width| tensor(device, &normal(width as u64, ROWS * width), width);
    let (a, b, c, d, e) = (t(32), t(32), t(32), t(32), t(32));
    let one = |seed| tensor(device, &normal(seed, 32), 32);
    let (row, other_row) = (one(1), one(2));
    let places: Vec<u32> = (0..ROWS as u32).map(|i| i % 4).collect();
    let ids = words(device, &places);
    gelu::forward(r, gelu::Form::Erf, &a, &b).unwrap();
    gelu::backward(r, gelu::Form::Tanh, &a, &b, &c).unwrap();
    gate::forward(r, gate::Act::Silu, &a, &b, &c).unwrap();
    gate::backward(r, gate::Act::Silu, &a, &b, &c, &d, &e).unwrap();
    elementwise::add(r, &a, &b).unwrap();
    elementwise::cast(r, &a, &b).unwrap();
    elementwise::add_scaled(r, &a, 2.0, &b, &c).unwrap();
    elementwise::split_heads(r, 4, &a, &tensor(device, &normal(3, ROWS * 32), 8)).unwrap();
    gate::forward(r, gate::Act::Gelu(gelu::Form::Erf), &a, &b, &c).unwrap();
    gate::backward(r, gate::Act::Gelu(gelu::Form::Tanh), &a, &b, &c, &d, &e).unwrap();
    elementwise::scale(r, 2.0, &a).unwrap();
    let mask = dropout::Mask { positions: &ids, samples: &ids, module: 1, key: [2, 3], probability: 0.5 };
    dropout::record(r, mask, 2.0, &a, (&b, true)).unwrap();
    bias::backward(r, &a, &row, true).unwrap();
    rms_norm::forward(r, 1e-5, &a, &row, &b).unwrap();
    layer_norm::forward(r, 1e-5, &a, &row, &row, &b).unwrap();
    layer_norm::backward(r, 1e-5, &a, &row, &b, (&c, true), Some(&other_row), None).unwrap();
    let frequencies = rotary::Frequencies::new(device, 8, 1e4, None).unwrap();
    rotary::record(r, &frequencies, &ids, 4, &a, false).unwrap();
    let pairs = rotary::Frequencies::of(device, 2, &[0.5], 1.5).unwrap();
    rotary::record(r, &pairs, &ids, 16, &a, true).unwrap();
    let heads = attention::Heads::new(4, 1, 8);
    let sequences = attention::Sequences::packed(device, &[4, ROWS as u32 - 4]).unwrap();
    let ([k, v, dk, dv], lse) = ([(); 4].map(|()| t(8)), t(4));
    attention::forward(r, heads, &sequences, &a, &k, &v, &b, &lse).unwrap();
    attention::backward(r, heads, &sequences, &a, &k, &v, &b, &lse, &c, &d, &dk, &dv).unwrap();
    // Heads of a single pair, which see three keys.
    let (heads, lse) = (attention::Heads { window: Some(3), ..attention::Heads::new(16, 4, 2) }, t(16));
    attention::forward(r, heads, &sequences, &a, &k, &v, &b, &lse).unwrap();
    attention::backward(r, heads, &sequences, &a, &k, &v, &b, &lse, &c, &d, &dk, &dv).unwrap();
    let lse = t(4);
    embedding::gather(r, &a, None, &ids, &b).unwrap();
    let sequences = attention::Sequences::packed_masked(device, attention::Mask::Full, &[4, ROWS as u32 - 4]).unwrap();
    let heads_of_8 = attention::Heads::new(4, 1, 8);
    attention::forward(r, heads_of_8, &sequences, &a, &k, &v, &c, &lse).unwrap();
    let distances = tensor(device, &normal(6, 20), 5);
    attention_relative::forward(r, (heads_of_8, &distances), &sequences, &a, &k, &v, &d, &lse).unwrap();
    let cut = patches::Cut { channels: 2, lines: 4, pixels: 4, side: 2 };
    patches::record(r, cut, &a, &tensor(device, &normal(4, ROWS * 32), 8)).unwrap();
    add_rows::record(r, &b, &ids, &a).unwrap();
    let spans = pool::Spans::new(device, &[[0, 4], [4, 1], [2, 7]]).unwrap();
    pool::record(r, pool::Kind::Mean, &a, &spans, &tensor(device, &normal(5, 96), 32)).unwrap();
    let plan = embedding::ScatterPlan::new(device, &places).unwrap();
    embedding::scatter(r, &plan, &a, Some(&b), None).unwrap();
    let nll = device.buffer("nll", 4 * ROWS as u64).unwrap();
    cross_entropy::forward_chunk(r, &a, (0, 0), &ids, &lse).unwrap();
    cross_entropy::finish(r, &lse, &ids, &nll).unwrap();
    cross_entropy::backward_chunk(r, &a, (0, 0), &ids, &lse, 1.0).unwrap();
    let temperature = info_nce::Temperature { value: &zeros(device, 1, 2), most: 4.0 };
    let (square, two) = (t(ROWS), t(2));
    info_nce::softmax(r, temperature, &square, &lse).unwrap();
    info_nce::terms(r, temperature, (&lse, &lse), 1.0, (&nll, &two)).unwrap();
    info_nce::backward(r, temperature, (&lse, &lse), 1.0, &square).unwrap();
    pair_sigmoid::forward(r, temperature, &square, 1.0, (&nll, &two)).unwrap();
    pair_sigmoid::backward(r, temperature, 1.0, &square).unwrap();
    let partials = norm::partials(device, 1).unwrap();
    norm::square_sum(r, &a, &partials, 0).unwrap();
    norm::clip(r, &partials, None, 1.0, &nll).unwrap();
    let hyper = adamw::Hyper { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, step: 1 };
    adamw::step(r, &hyper, &nll, &a, &b, &c, &d).unwrap();
    let moments = adamw_8bit::Moments8::zeros(device, &a).unwrap();
    adamw_8bit::step(r, &hyper, (&nll, adamw::Rounding::default()), (&a, &b), &moments).unwrap();
}

/// One recorded dispatch of each of attention's kernels on tensor cores, which only devices that have some can run as they are.
pub fn record_cooperative(device: &Device, r: &mut Recorder) {
    use realign::ElementType::F16;
    use realign::kernels::nn::attention::{Family, Heads, Sequences, backward, forward};
    let list = crate::nn_attention::pack(&[(40, 40), (5, 9)]);
    let (n, m) = (45, 49);
    let sequences = Sequences::of_family(device, Family::TensorCores, &list).unwrap();
    let heads = Heads::new(4, 1, 16);
    let halves = |seed: u64, rows: usize, width: usize| {
        let x = Tensor::new(device, rows, width, F16).unwrap();
        x.write_f32(device, &normal(seed, rows * width)).unwrap();
        x
    };
    let ([q, dout], [k, v]) = ([1, 4].map(|seed| halves(seed, n, 64)), [2, 3].map(|seed| halves(seed, m, 16)));
    let ([o, dq], [dk, dv]) = ([5, 6].map(|seed| halves(seed, n, 64)), [7, 8].map(|seed| halves(seed, m, 16)));
    let lse = zeros(device, n, 4);
    forward(r, heads, &sequences, &q, &k, &v, &o, &lse).unwrap();
    backward(r, heads, &sequences, &q, &k, &v, &o, &lse, &dout, &dq, &dk, &dv).unwrap();
}

mod helpers {
    use super::*;

    #[test]
    fn the_helpers_can_fail() {
        assert!(relative(&[1.0, 2.0], &[1.0, 2.00002]) > 8e-6);
        assert!(std::panic::catch_unwind(|| check_relative(&[f32::NAN], &[1.0], 1.0, "nan")).is_err());
        assert!(
            std::panic::catch_unwind(|| finite_differences(&[2.0], &[4.00001], |x| x[0] * x[0], "square")).is_err()
        );
        finite_differences(&[2.0], &[4.0], |x| x[0] * x[0], "square");
    }
}
