//! Attention on tensor cores: with them where the adapter has some, and with fragments as loops on any adapter, against the definition in f64.

use realign::ElementType::{self, F16, F32};
use realign::device::{Command, Device, Recorder, Tensor};
use realign::kernels::nn::attention::{self, Family, Heads, Mask, Sequences};

use crate::common::gpu;
use crate::halves::round;
use crate::nn::{dot, normal, read, run, tensor, wide, zeros};
use crate::nn_attention::{self, pack};
use crate::rows::{U, sum_error};
use crate::tensor_cores::with_tensor_cores;

/// Forward and backward of f16 operands, with results of an element type.
struct Case {
    /// Heads of queries and of keys, and their width.
    heads: (usize, usize, usize),
    /// Queries and keys.
    sequences: &'static [(u32, u32)],
    window: Option<u32>,
    mask: Mask,
    out: ElementType,
}

/// Records what `tell` records, with fragments as loops, which any adapter runs.
pub fn emulate(r: &mut Recorder, tell: &dyn Fn(&mut Recorder)) {
    let device = r.device().clone();
    let mut plan = device.recorder();
    tell(&mut plan);
    for command in plan.commands() {
        let Command::Dispatch(dispatch) = command else { panic!("{command:?}") };
        let mut dispatch = dispatch.clone();
        if dispatch.kernel.name.ends_with("cooperative") {
            let mut imports = dispatch.imports().to_vec();
            imports.iter_mut().find(|(name, _)| *name == "cores").unwrap().1 = "nn/cores_emulated.wgsl";
            let variant = device.variant(&imports, &dispatch.constants());
            dispatch = dispatch.variant(variant);
        }
        r.dispatch(dispatch).unwrap();
    }
}

type Record<'a> = &'a dyn Fn(&mut Recorder, &dyn Fn(&mut Recorder));

/// Sums of the magnitudes of what out, dq, dk and dv add up, whose factors are rounded to f16.
fn magnitudes((heads, mask): (Heads, Mask), sequences: &Sequences, [q, k, v, dout]: [&[f64]; 4]) -> [Vec<f64>; 4] {
    let (w, group) = (heads.width, heads.query / heads.key_value);
    let (qs, ks) = (heads.query * w, heads.key_value * w);
    let mut all = [q, q, k, k].map(|x| vec![0.0; x.len()]);
    let scale = f64::from(heads.scale);
    for s in sequences.list() {
        for (i, h) in (0..s.q_count as usize).flat_map(|i| (0..heads.query).map(move |h| (i, h))) {
            let at = (s.q_first as usize + i) * qs + h * w;
            let key = |j: usize| (s.k_first as usize + j) * ks + h / group * w;
            let last = match mask {
                Mask::Causal => (s.k_count - s.q_count) as usize + i + 1,
                Mask::Full => s.k_count as usize,
            };
            let first = last.saturating_sub(heads.window.map_or(last, |w| w as usize));
            let (seen, key) = (last - first, |j: usize| key(first + j));
            let of = |x: &[f64], y: &[f64], j: usize| dot(&x[at..at + w], &y[key(j)..key(j) + w]);
            let scores: Vec<f64> = (0..seen).map(|j| scale * of(q, k, j)).collect();
            let top = scores.iter().fold(f64::MIN, |m, &x| m.max(x));
            let sum: f64 = scores.iter().map(|x| (x - top).exp()).sum();
            let p: Vec<f64> = scores.iter().map(|x| (x - top).exp() / sum).collect();
            let dp: Vec<f64> = (0..seen).map(|j| of(dout, v, j)).collect();
            let mean = dot(&p, &dp);
            for j in 0..seen {
                let ds = (scale * p[j] * (dp[j] - mean)).abs();
                for c in 0..w {
                    all[0][at + c] += p[j] * v[key(j) + c].abs();
                    all[1][at + c] += ds * k[key(j) + c].abs();
                    all[2][key(j) + c] += ds * q[at + c].abs();
                    all[3][key(j) + c] += p[j] * dout[at + c].abs();
                }
            }
        }
    }
    all
}

fn half(device: &Device, data: &[f32], width: usize) -> Tensor {
    let bytes: Vec<u8> = data.iter().flat_map(|&x| half::f16::from_f32(x).to_le_bytes()).collect();
    Tensor::from_bytes(device, &bytes, width, F16).unwrap()
}

/// The kernels' names, in order.
fn names(r: &Recorder) -> Vec<&'static str> {
    let name = |command: &Command| match command {
        Command::Dispatch(dispatch) => dispatch.kernel.name,
        other => panic!("{other:?}"),
    };
    r.commands().iter().map(name).collect()
}

impl Case {
    fn verify(&self, device: &Device, record: Record) {
        let ((query, key_value, width), out) = (self.heads, self.out);
        let heads = Heads { window: self.window, ..heads(query, key_value, width) };
        let list = pack(self.sequences);
        let sequences = Sequences::of_family_masked(device, Family::TensorCores, self.mask, &list).unwrap();
        let last = list.last().unwrap();
        let (n, m) = ((last.q_first + last.q_count) as usize, (last.k_first + last.k_count) as usize);
        let (qs, ks) = (heads.query * heads.width, heads.key_value * heads.width);
        let [q, dout] = [1, 4].map(|seed| round(&normal(seed, n * qs)));
        let [k, v] = [2, 3].map(|seed| round(&normal(seed, m * ks)));
        let ([tq, td], [tk, tv]) = ([&q, &dout].map(|x| half(device, x, qs)), [&k, &v].map(|x| half(device, x, ks)));
        let rubbish = |rows, width| {
            let data = vec![-777.25; rows * width];
            if out == F16 { half(device, &data, width) } else { tensor(device, &data, width) }
        };
        let (o, lse) = (rubbish(n, qs), tensor(device, &vec![-777.25; n * heads.query], heads.query));
        let (dq, dk, dv) = (rubbish(n, qs), rubbish(m, ks), rubbish(m, ks));
        run(device, |r| {
            let forward = |r: &mut Recorder| {
                attention::forward(r, heads, &sequences, &tq, &tk, &tv, &o, &lse).unwrap();
                assert_eq!(names(r), ["attention cooperative"]);
            };
            record(r, &forward);
        });
        run(device, |r| {
            let backward = |r: &mut Recorder| {
                attention::backward(r, heads, &sequences, &tq, &tk, &tv, &o, &lse, &td, &dq, &dk, &dv).unwrap();
                // Gradients of wide heads take 48 KiB of workgroup memory, which drivers on a CPU do not have.
                let fits = heads.width <= 64 || device.capabilities().workgroup_bytes >= 49_152;
                let family = if fits { "cooperative" } else { "tiled" };
                assert_eq!(names(r)[1..], ["queries", "keys"].map(|of| format!("attention {of} backward {family}")));
            };
            record(r, &backward);
        });
        let operands = [&wide(&q)[..], &wide(&k), &wide(&v), &wide(&dout)];
        let [want_out, want_lse, want_dq, want_dk, want_dv, gross_dq, gross_dk] =
            nn_attention::reference_masked((heads, self.mask), &list, operands);
        let [out_terms, dq_terms, dk_terms, dv_terms] = magnitudes((heads, self.mask), &sequences, operands);
        let norm = |x: &[f64]| dot(x, x).sqrt();
        // Terms' factors and results of f16 err by half an ulp, 2^-11; dout . out of a rounded out by as much, and what f32 errs by.
        let ulp = 2f64.powi(-11);
        let cancelled =
            |gross: &[f64]| (2.0 * sum_error(heads.width, U) + if out == F16 { ulp } else { 0.0 }) * norm(gross);
        let results = [
            (&o, "out", &want_out, ulp * norm(&out_terms)),
            (&lse, "lse", &want_lse, 0.0),
            (&dq, "dq", &want_dq, ulp * norm(&dq_terms) + cancelled(&gross_dq)),
            (&dk, "dk", &want_dk, ulp * norm(&dk_terms) + cancelled(&gross_dk)),
            (&dv, "dv", &want_dv, ulp * norm(&dv_terms)),
        ];
        for (got, name, want, extra) in results {
            let rounded = if got.element_type() == F16 { ulp } else { 0.0 };
            let got = got.to_f32_blocking(device).unwrap();
            let difference: Vec<f64> = got.iter().zip(want).map(|(&g, w)| f64::from(g) - w).collect();
            let (error, bound) = (norm(&difference), (1e-5 + rounded) * norm(want) + extra);
            let what = format!("{} {heads:?} {:?} {out} {name}", device.name(), self.sequences);
            assert!(error <= bound, "{what}: {error:e} of {:e}, allowed {bound:e}", norm(want));
        }
    }
}

fn heads(query: usize, key_value: usize, width: usize) -> Heads {
    Heads::new(query, key_value, width)
}

/// Every width of fragments, whole tiles and others, shared heads, several sequences, keys of a cache, keys that nobody sees; windows.
const CASES: &[Case] = &[
    Case { heads: (1, 1, 16), sequences: &[(1, 1), (17, 17)], window: None, mask: Mask::Causal, out: F32 },
    Case { heads: (4, 2, 32), sequences: &[(40, 40), (5, 5), (32, 32)], window: None, mask: Mask::Causal, out: F16 },
    Case { heads: (3, 1, 64), sequences: &[(33, 33), (64, 64)], window: None, mask: Mask::Causal, out: F32 },
    Case { heads: (2, 1, 80), sequences: &[(1, 70), (3, 40)], window: None, mask: Mask::Causal, out: F16 },
    Case { heads: (2, 2, 96), sequences: &[(35, 66)], window: None, mask: Mask::Causal, out: F32 },
    Case { heads: (2, 1, 128), sequences: &[(0, 7), (70, 70), (2, 34)], window: None, mask: Mask::Causal, out: F32 },
    Case { heads: (2, 1, 64), sequences: &[(100, 100), (3, 70)], window: Some(1), mask: Mask::Causal, out: F32 },
    Case { heads: (2, 1, 32), sequences: &[(100, 130), (1, 70)], window: Some(37), mask: Mask::Causal, out: F16 },
    Case { heads: (4, 2, 16), sequences: &[(70, 70), (2, 2)], window: Some(64), mask: Mask::Causal, out: F32 },
    Case { heads: (4, 2, 64), sequences: &[(70, 70), (1, 50), (40, 3)], window: None, mask: Mask::Full, out: F32 },
];

#[test]
fn fragments_as_loops_give_attention_and_its_gradients() {
    for case in CASES {
        case.verify(&gpu(), &emulate);
    }
}

/// The comparison can fail: heads of another width than the operands have are other scores.
#[test]
#[should_panic(expected = "allowed")]
fn another_scale_is_noticed() {
    CASES[2].verify(&gpu(), &|r, tell| {
        let device = r.device().clone();
        let mut plan = device.recorder();
        emulate(&mut plan, tell);
        for command in plan.commands() {
            let Command::Dispatch(dispatch) = command else { panic!("{command:?}") };
            let mut dispatch = dispatch.clone();
            if dispatch.kernel.name == "attention keys backward cooperative" {
                // One tenth more.
                let scale = f32::from_le_bytes(dispatch.params[28..32].try_into().unwrap());
                dispatch.params[28..32].copy_from_slice(&(1.1 * scale).to_le_bytes());
            }
            r.dispatch(dispatch).unwrap();
        }
    });
}

#[test]
fn tensor_cores_give_attention_and_its_gradients() {
    let Some(device) = with_tensor_cores("tensor_cores_give_attention_and_its_gradients") else { return };
    for case in CASES {
        case.verify(&device, &|r, tell| tell(r));
    }
}

/// A race between tiles in workgroup memory would show as other bits.
#[test]
fn a_hundred_runs_of_attention_on_tensor_cores_have_the_same_bits() {
    let Some(device) = with_tensor_cores("a_hundred_runs_of_attention_on_tensor_cores_have_the_same_bits") else {
        return;
    };
    let (h, n) = (heads(8, 2, 128), 1024);
    let sequences = Sequences::packed(&device, &[n as u32 - 100, 100]).unwrap();
    let [q, dout] = [1, 2].map(|seed| half(&device, &normal(seed, n * 1024), 1024));
    let [k, v] = [3, 4].map(|seed| half(&device, &normal(seed, n * 256), 256));
    let once = || {
        let (o, lse) = (zeros(&device, n, 1024), zeros(&device, n, 8));
        let (dq, dk, dv) = (zeros(&device, n, 1024), zeros(&device, n, 256), zeros(&device, n, 256));
        run(&device, |r| {
            attention::forward(r, h, &sequences, &q, &k, &v, &o, &lse).unwrap();
            attention::backward(r, h, &sequences, &q, &k, &v, &o, &lse, &dout, &dq, &dk, &dv).unwrap();
        });
        [o, lse, dq, dk, dv].map(|t| read(&device, &t).into_iter().map(f32::to_bits).collect::<Vec<_>>())
    };
    let want = once();
    (1..100).for_each(|turn| assert!(once() == want, "run {turn}"));
}

/// What tensor cores do not take falls to the tiles.
#[test]
fn other_operands_take_tiles() {
    let device = gpu();
    let told = |device: &Device, width: usize, element: ElementType| {
        let sequences = Sequences::of_family(device, Family::TensorCores, &pack(&[(3, 3)])).unwrap();
        let [q, k, v] = [(); 3].map(|()| Tensor::new(device, 3, width, element).unwrap());
        let mut r = device.recorder();
        let (out, lse) = (zeros(device, 3, width), zeros(device, 3, 1));
        attention::forward(&mut r, heads(1, 1, width), &sequences, &q, &k, &v, &out, &lse).unwrap();
        names(&r)
    };
    assert_eq!(told(&device, 64, F16), ["attention cooperative"]);
    assert_eq!(told(&device, 64, F32), ["attention tiled"]);
    assert_eq!(told(&device, 20, F16), ["attention tiled"]);
    let small = device.with_capabilities(|c| c.workgroup_bytes = 16_384).unwrap();
    assert_eq!(told(&small, 128, F16), ["attention tiled"]);
}
