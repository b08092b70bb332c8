//! Grouped-query attention, causal and of all to all, against the full matrix of probabilities in f64.

use realign::device::{Command, Device};
use realign::host::nn::attention::{self as host, Operands, Upstream};
use realign::kernels::nn::attention::{Family, Heads, Mask, Sequence, Sequences, backward, forward};

use crate::common::{devices, gpu};
use crate::nn::{check_relative, dot, finite_differences, normal, read, rubbish, run, tensor, wide, zeros};
use crate::rows::{U, sum_error};

/// Packed sequences of (queries, keys).
pub fn pack(sequences: &[(u32, u32)]) -> Vec<Sequence> {
    let (mut q, mut k) = (0, 0);
    let sequence = |&(q_count, k_count): &(u32, u32)| {
        let sequence = Sequence { q_first: q, q_count, k_first: k, k_count };
        (q, k) = (q + q_count, k + k_count);
        sequence
    };
    sequences.iter().map(sequence).collect()
}

/// Every device with the families of shaders that it takes.
pub fn families() -> Vec<(Device, Family)> {
    devices().into_iter().flat_map(|d| families_of(&d).iter().map(|f| (d.clone(), *f)).collect::<Vec<_>>()).collect()
}

/// Both, but for GPUs.
fn families_of(device: &Device) -> &'static [Family] {
    if device.capabilities().kind.is_gpu() { &[Family::Tiles] } else { &[Family::Rows, Family::Tiles] }
}

fn rows(sequences: &[Sequence]) -> (usize, usize) {
    sequences.last().map_or((0, 0), |s| ((s.q_first + s.q_count) as usize, (s.k_first + s.k_count) as usize))
}

fn magnitude(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a * b).abs()).sum()
}

/// out, lse, dq, dk, dv from the definition, with every probability; then the sums of the magnitudes of what dq and dk add up, which
/// cancel: a single key has no gradient at all.
pub fn reference(heads: Heads, sequences: &[Sequence], operands: [&[f64]; 4]) -> [Vec<f64>; 7] {
    reference_masked((heads, Mask::Causal), sequences, operands)
}

/// The same, seeing what the mask says.
pub fn reference_masked(
    (heads, mask): (Heads, Mask),
    sequences: &[Sequence],
    [q, k, v, dout]: [&[f64]; 4],
) -> [Vec<f64>; 7] {
    let (w, group) = (heads.width, heads.query / heads.key_value);
    let (qs, ks) = (heads.query * w, heads.key_value * w);
    let (queries, keys) = (vec![0.0; q.len()], vec![0.0; k.len()]);
    let lse = vec![0.0; q.len() / w];
    let mut all = [queries.clone(), lse, queries.clone(), keys.clone(), keys.clone(), queries, keys];
    let scale = f64::from(heads.scale);
    for s in sequences {
        for i in 0..s.q_count as usize {
            for h in 0..heads.query {
                let at = (s.q_first as usize + i) * qs + h * w;
                let key = |j: usize| (s.k_first as usize + j) * ks + h / group * w;
                let seen = match mask {
                    Mask::Causal => (s.k_count - s.q_count) as usize + i + 1,
                    Mask::Full => s.k_count as usize,
                };
                let range = seen.saturating_sub(heads.window.map_or(seen, |w| w as usize))..seen;
                let key = |j: usize| key(range.start + j);
                let seen = range.len();
                let scores: Vec<f64> = (0..seen).map(|j| scale * dot(&q[at..at + w], &k[key(j)..key(j) + w])).collect();
                let top = scores.iter().fold(f64::MIN, |m, &x| m.max(x));
                let sum: f64 = scores.iter().map(|x| (x - top).exp()).sum();
                all[1][(s.q_first as usize + i) * heads.query + h] = top + sum.ln();
                let p: Vec<f64> = scores.iter().map(|x| (x - top).exp() / sum).collect();
                for j in 0..seen {
                    (0..w).for_each(|c| all[0][at + c] += p[j] * v[key(j) + c]);
                }
                let dp: Vec<f64> = (0..seen).map(|j| dot(&dout[at..at + w], &v[key(j)..key(j) + w])).collect();
                let mean = dot(&p, &dp);
                for j in 0..seen {
                    let ds = scale * p[j] * (dp[j] - mean);
                    let gross = scale * p[j] * magnitude(&dout[at..at + w], &v[key(j)..key(j) + w]);
                    for c in 0..w {
                        all[2][at + c] += ds * k[key(j) + c];
                        all[3][key(j) + c] += ds * q[at + c];
                        all[4][key(j) + c] += p[j] * dout[at + c];
                        all[5][at + c] += gross * k[key(j) + c].abs();
                        all[6][key(j) + c] += gross * q[at + c].abs();
                    }
                }
            }
        }
    }
    all
}

/// What f32 may err by, relative to the whole: scores of up to 10 with sums of up to 130 terms, exponentials, sums over keys.
const BOUND: f64 = 1e-5;

pub fn verify(device: &(Device, Family), heads: Heads, sequences: &[(u32, u32)], size: f32) {
    verify_masked(device, (heads, Mask::Causal), sequences, size);
}

fn verify_masked(
    (device, family): &(Device, Family),
    (heads, mask): (Heads, Mask),
    sequences: &[(u32, u32)],
    size: f32,
) {
    let list = pack(sequences);
    let (n, m) = rows(&list);
    let (qs, ks) = (heads.query * heads.width, heads.key_value * heads.width);
    let scaled = |seed, count| normal(seed, count).iter().map(|x| x * size).collect::<Vec<f32>>();
    let (q, k, v, dout) = (scaled(1, n * qs), scaled(2, m * ks), normal(3, m * ks), normal(4, n * qs));
    let sequences = Sequences::of_family_masked(device, *family, mask, &list).unwrap();
    let [tq, tdout] = [&q, &dout].map(|x| tensor(device, x, qs));
    let [tk, tv] = [&k, &v].map(|x| tensor(device, x, ks));
    let (out, lse, dq) = (rubbish(device, n, qs), rubbish(device, n, heads.query), rubbish(device, n, qs));
    let (dk, dv) = (rubbish(device, m, ks), rubbish(device, m, ks));
    run(device, |r| {
        forward(r, heads, &sequences, &tq, &tk, &tv, &out, &lse).unwrap();
        backward(r, heads, &sequences, &tq, &tk, &tv, &out, &lse, &tdout, &dq, &dk, &dv).unwrap();
    });
    let want = reference_masked((heads, mask), &list, [&wide(&q), &wide(&k), &wide(&v), &wide(&dout)]);
    let norm = |x: &[f64]| dot(x, x).sqrt();
    // dout · v and dout · out err as sums do, relative to their magnitudes, and their difference is what counts.
    let cancelled = |i: usize| 2.0 * sum_error(heads.width, U) * norm(&want[i]);
    let results = [
        (&out, "out", 0.0),
        (&lse, "lse", 0.0),
        (&dq, "dq", cancelled(5)),
        (&dk, "dk", cancelled(6)),
        (&dv, "dv", 0.0),
    ];
    for ((tensor, name, extra), want) in results.into_iter().zip(&want) {
        let got = read(device, tensor);
        let difference: Vec<f64> = got.iter().zip(want).map(|(&g, w)| f64::from(g) - w).collect();
        let (error, bound) = (norm(&difference), BOUND * norm(want) + extra);
        let what = format!("{} {family:?} {mask:?} {heads:?} {sequences:?} {name}", device.name());
        assert!(error <= bound, "{what}: {error:e} of {:e}, allowed {bound:e}", norm(want));
    }
}

fn heads(query: usize, key_value: usize, width: usize) -> Heads {
    Heads::new(query, key_value, width)
}

#[test]
fn lengths_heads_and_widths() {
    for device in families() {
        for h in [heads(1, 1, 16), heads(4, 2, 16), heads(8, 1, 64), heads(4, 2, 128), heads(3, 3, 20)] {
            for n in [0, 1, 2, 17, 130] {
                verify(&device, h, &[(n, n)], 1.0);
            }
        }
    }
}

#[test]
fn packed_sequences() {
    for device in families() {
        verify(&device, heads(4, 2, 16), &[(5, 5), (1, 1), (67, 67), (2, 2), (64, 64)], 1.0);
        verify(&device, heads(8, 1, 64), &[(9, 9), (33, 33)], 1.0);
    }
}

#[test]
fn a_cache_of_keys() {
    for device in families() {
        verify(&device, heads(4, 2, 16), &[(1, 130), (3, 70), (17, 17), (1, 1)], 1.0);
        verify(&device, heads(8, 2, 64), &[(1, 65)], 1.0);
        verify(&device, heads(2, 1, 128), &[(66, 200)], 1.0);
    }
}

/// Lengths, heads and widths again, packed; queries of their own number, one for many keys, and many for few.
#[test]
fn all_see_all() {
    let full = |h: Heads| (h, Mask::Full);
    for device in families() {
        for h in [heads(1, 1, 16), heads(4, 2, 16), heads(8, 1, 64), heads(4, 2, 128), heads(3, 3, 20), heads(5, 5, 6)]
        {
            for n in [0, 1, 2, 17, 130] {
                verify_masked(&device, full(h), &[(n, n)], 1.0);
            }
        }
        verify_masked(&device, full(heads(4, 2, 16)), &[(5, 5), (1, 1), (67, 67), (2, 2), (64, 64)], 1.0);
        verify_masked(&device, full(heads(4, 2, 16)), &[(1, 130), (1, 70), (1, 1), (1, 33)], 1.0);
        verify_masked(&device, full(heads(2, 1, 64)), &[(70, 3), (0, 7), (33, 32), (1, 1)], 1.0);
    }
}

/// Beyond 128 elements, as every_even_width has it under a causal mask.
#[test]
fn all_see_all_in_wide_heads() {
    for device in families() {
        verify_masked(&device, (heads(2, 1, 256), Mask::Full), &[(40, 66)], 1.0);
    }
}

#[test]
fn masks_that_do_not_fit() {
    for device in devices() {
        let list = pack(&[(3, 3), (2, 0)]);
        assert!(Sequences::masked(&device, Mask::Full, &list).unwrap_err().to_string().contains("a key at least"));
        Sequences::masked(&device, Mask::Full, &pack(&[(0, 0), (3, 2)])).unwrap();
        let sequences = Sequences::packed_masked(&device, Mask::Full, &[3]).unwrap();
        let [q, k, v, out, lse] = [8, 8, 8, 8, 1].map(|d| zeros(&device, 3, d));
        let windowed = Heads { window: Some(2), ..heads(1, 1, 8) };
        let error = forward(&mut device.recorder(), windowed, &sequences, &q, &k, &v, &out, &lse).unwrap_err();
        assert!(error.to_string().contains("window"), "{error}");
    }
}

#[test]
fn keys_that_no_query_sees_have_no_gradient() {
    for device in families() {
        verify(&device, heads(2, 1, 16), &[(0, 7), (4, 4)], 1.0);
        verify(&device, heads(2, 1, 16), &[(0, 7)], 1.0);
    }
}

#[test]
fn large_scores() {
    // Scores of several hundreds: the probabilities are 0 and 1, and their differences are what f32 keeps of the scores.
    for (device, family) in families() {
        let h = heads(2, 1, 16);
        let (n, qs, ks) = (30, 32, 16);
        let q: Vec<f32> = normal(1, n * qs).iter().map(|x| x * 3e3).collect();
        let k: Vec<f32> = normal(2, n * ks).iter().map(|x| x * 3e3).collect();
        let sequences = Sequences::of_family(&device, family, &pack(&[(30, 30)])).unwrap();
        let (tq, tk, tv) = (tensor(&device, &q, qs), tensor(&device, &k, ks), tensor(&device, &normal(3, n * ks), ks));
        let (out, lse) = (rubbish(&device, n, qs), rubbish(&device, n, 2));
        run(&device, |r| forward(r, h, &sequences, &tq, &tk, &tv, &out, &lse).unwrap());
        let v = normal(3, n * ks);
        let zero = vec![0.0; n * qs];
        let want = reference(h, sequences.list(), [&wide(&q), &wide(&k), &wide(&v), &zero]);
        check_relative(&read(&device, &out), &want[0], 1e-4, device.name());
        check_relative(&read(&device, &lse), &want[1], 1e-6, device.name());
    }
}

#[test]
fn rows_outside_of_the_spans_are_left_alone() {
    for (device, family) in families() {
        let sequence = Sequence { q_first: 2, q_count: 3, k_first: 1, k_count: 4 };
        let sequences = Sequences::of_family(&device, family, &[sequence]).unwrap();
        let h = heads(1, 1, 4);
        let [q, k, v] = [7, 8, 8].map(|n| tensor(&device, &normal(n as u64, n * 4), 4));
        let (out, lse) = (rubbish(&device, 7, 4), rubbish(&device, 7, 1));
        run(&device, |r| forward(r, h, &sequences, &q, &k, &v, &out, &lse).unwrap());
        let got = read(&device, &out);
        assert!(got[..8].iter().chain(&got[20..]).all(|&x| x == -777.25), "{}", device.name());
        assert!(got[8..20].iter().all(|&x| x != -777.25));
    }
}

#[test]
fn a_gpu_takes_tiles_and_a_driver_on_a_cpu_rows() {
    let cpu = gpu().with_capabilities(|c| (c.group, c.lanes, c.subgroup_teams) = (64, 1, false)).unwrap();
    let shaped = |texel_reads| {
        let shape = gpu().with_capabilities(|c| {
            (c.group, c.lanes, c.subgroup_teams) = (64, 32, false);
            c.texel_reads = texel_reads && c.texel_reads;
        });
        shape.unwrap()
    };
    let of_one = *families_of(&cpu).first().unwrap();
    for (device, family) in [(cpu, of_one), (shaped(true), Family::Tiles), (shaped(false), Family::Tiles)] {
        assert_eq!(Family::of(device.capabilities()), family);
        let sequences = Sequences::packed(&device, &[3]).unwrap();
        let [q, k, v, out, lse] = [8, 8, 8, 8, 2].map(|d| zeros(&device, 3, d));
        let mut r = device.recorder();
        forward(&mut r, heads(2, 2, 4), &sequences, &q, &k, &v, &out, &lse).unwrap();
        let [Command::Dispatch(d)] = r.commands() else { panic!("one dispatch") };
        assert_eq!(d.kernel.name == "attention tiled", family == Family::Tiles);
        verify(&(device, family), heads(4, 2, 64), &[(70, 70), (1, 90), (33, 40)], 1.0);
    }
}

#[test]
fn every_run_agrees_also_in_many_short_dispatches() {
    let slow = gpu().with_capabilities(|c| c.dispatch_flops = 1 << 14).unwrap();
    for &family in families_of(&slow) {
        let once = gradients(&gpu(), family);
        assert_eq!(once, gradients(&gpu(), family));
        assert_eq!(once, gradients(&slow, family));
    }
}

/// Of the attention's operands; on a device with a small budget for a dispatch, in several.
fn gradients(device: &Device, family: Family) -> [Vec<f32>; 3] {
    let h = heads(4, 2, 16);
    let sequences = Sequences::of_family(device, family, &pack(&[(40, 40), (13, 13)])).unwrap();
    let [q, dout] = [1, 2].map(|s| tensor(device, &normal(s, 53 * 64), 64));
    let [k, v] = [3, 4].map(|s| tensor(device, &normal(s, 53 * 32), 32));
    let (out, lse, dq) = (zeros(device, 53, 64), zeros(device, 53, 4), zeros(device, 53, 64));
    let (dk, dv) = (zeros(device, 53, 32), zeros(device, 53, 32));
    run(device, |r| {
        forward(r, h, &sequences, &q, &k, &v, &out, &lse).unwrap();
        backward(r, h, &sequences, &q, &k, &v, &out, &lse, &dout, &dq, &dk, &dv).unwrap();
        let parts = r.commands().len();
        assert!((parts == 4) == (device.capabilities().dispatch_flops > 1 << 20), "{parts} dispatches");
    });
    [dq, dk, dv].map(|t| read(device, &t))
}

/// Whatever its shape and whoever asks: the registers of the other family spill on every GPU whose compiler was tried.
#[test]
fn a_gpu_takes_tiles_alone() {
    let shape = |c: &mut realign::device::Capabilities| {
        (c.kind, c.group, c.lanes, c.subgroup_teams) = (realign::device::DeviceKind::DiscreteGpu, 64, 1, false);
    };
    let device = gpu().with_capabilities(shape).unwrap();
    assert_eq!(Family::of(device.capabilities()), Family::Tiles);
    let [q, k, v, out, lse] = [8, 8, 8, 8, 1].map(|d| zeros(&device, 8, d));
    let mut r = device.recorder();
    let sequences = Sequences::of_family(&device, Family::Rows, &pack(&[(8, 8)])).unwrap();
    let error = forward(&mut r, heads(1, 1, 8), &sequences, &q, &k, &v, &out, &lse).unwrap_err();
    assert!(error.to_string().contains("spill"), "{error}");
}

#[test]
fn gradients_by_finite_differences() {
    let h = heads(4, 2, 8);
    // (5, 5) and (3, 6).
    let blocks = [[0, 5, 0, 1], [5, 3, 5, 4]];
    let key_blocks = [[0, 5, 0, 5, 0], [5, 6, 5, 3, -3i32 as u32]];
    let [q, c] = [1, 2].map(|s| wide(&normal(s, 8 * 32)));
    let [k, v] = [3, 4].map(|s| wide(&normal(s, 11 * 16)));
    let run = |q: &[f64], k: &[f64], v: &[f64]| {
        let (mut out, mut lse) = (vec![0.0; 8 * 32], vec![0.0; 8 * 4]);
        host::forward((h, host::Mask::Causal), &blocks, Operands { q, k, v }, &mut out, (&mut lse, 4));
        (out, lse)
    };
    let (out, lse) = run(&q, &k, &v);
    let mut stats = vec![0.0; 8 * 4 * 2];
    host::delta(h, (&c, &out), (&lse, 4), &mut stats);
    let (operands, upstream) = (Operands { q: &q[..], k: &k, v: &v }, Upstream { dout: &c[..], stats: &stats });
    let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
    host::queries_backward((h, host::Mask::Causal), &blocks, operands, upstream, &mut dq);
    host::keys_backward(h, &key_blocks, operands, upstream, (&mut dk, &mut dv));
    finite_differences(&q, &dq, |q| dot(&run(q, &k, &v).0, &c), "q");
    finite_differences(&k, &dk, |k| dot(&run(&q, k, &v).0, &c), "k");
    finite_differences(&v, &dv, |v| dot(&run(&q, &k, v).0, &c), "v");
}

/// Mesa's CPU driver ends an invocation's loops after 65,535 iterations, without a word: an error comes first.
#[test]
fn sequences_that_a_driver_would_cut_short_are_refused() {
    let device = gpu().with_capabilities(|c| c.kind = realign::device::DeviceKind::Software).unwrap();
    let [q, out, lse] = [4, 4, 1].map(|d| zeros(&device, 1, d));
    let [k, v] = [(); 2].map(|()| zeros(&device, 66_000, 4));
    let mut r = device.recorder();
    for family in [Family::Rows, Family::Tiles] {
        let sequences = Sequences::of_family(&device, family, &pack(&[(1, 66_000)])).unwrap();
        let error = forward(&mut r, heads(1, 1, 4), &sequences, &q, &k, &v, &out, &lse).unwrap_err();
        assert!(error.to_string().contains("host engine"), "{error}");
    }
}

#[test]
fn operands_that_do_not_fit() {
    for device in devices() {
        let sequence = |q_first, q_count, k_first, k_count| Sequence { q_first, q_count, k_first, k_count };
        for list in [
            vec![sequence(0, 3, 0, 2)],
            vec![sequence(0, 3, 0, 3), sequence(2, 1, 3, 1)],
            vec![sequence(0, 3, 0, 3), sequence(3, 1, 2, 1)],
            vec![sequence(u32::MAX - 1, 1, 0, 1)],
        ] {
            assert!(Sequences::new(&device, &list).unwrap_err().to_string().contains("sequence"), "{list:?}");
        }
        let sequences = Sequences::packed(&device, &[3]).unwrap();
        let t = |n, d| zeros(&device, n, d);
        let mut r = device.recorder();
        let mut refused = |h: Heads, q: (usize, usize), k: (usize, usize)| {
            let [q, out] = [(); 2].map(|()| t(q.0, q.1));
            let [k, v] = [(); 2].map(|()| t(k.0, k.1));
            forward(&mut r, h, &sequences, &q, &k, &v, &out, &t(3, 2)).unwrap_err();
        };
        refused(heads(2, 1, 8), (2, 16), (3, 8));
        refused(heads(2, 1, 8), (3, 16), (2, 8));
        refused(heads(2, 1, 8), (3, 20), (3, 8));
        refused(heads(3, 2, 8), (3, 24), (3, 16));
        refused(heads(2, 0, 8), (3, 16), (3, 8));
        refused(heads(2, 1, 5), (3, 10), (3, 5));
        refused(heads(2, 1, 258), (3, 516), (3, 258));
        refused(Heads { window: Some(0), ..heads(2, 1, 8) }, (3, 16), (3, 8));
        for scale in [0.0, -1.0, f32::INFINITY, f32::NAN] {
            refused(Heads { scale, ..heads(2, 1, 8) }, (3, 16), (3, 8));
        }
        assert!(r.commands().is_empty());
    }
}
