//! Attention's windows, scales and widths of heads, against the definition in f64.

use realign::device::Device;
use realign::host::nn::attention::{self as host, Operands, Upstream};
use realign::kernels::nn::attention::{Family, Heads, Sequence, Sequences, backward, forward};

use crate::nn::{dot, finite_differences, normal, padded, read, run, tensor, wide, zeros};
use crate::nn_attention::{families, pack, reference, verify};

/// Even, odd and no multiples of 4 and 8; narrower and wider than what a kernel holds at a time.
const WIDTHS: [usize; 13] = [2, 4, 6, 8, 20, 50, 64, 80, 100, 128, 138, 192, 256];
/// Those for a driver, which compiles each anew, half a minute for the widest; the others have a kind of these, and 16, 64 and 128 their tests.
const COMPILED: [usize; 6] = [2, 6, 20, 50, 138, 256];

fn windowed(heads: Heads, window: u32) -> Heads {
    Heads { window: Some(window), ..heads }
}

#[test]
fn windows() {
    for device in families() {
        for window in [1, 2, 7, 31, 32, 33, 64, 65, 1000, u32::MAX] {
            let heads = windowed(Heads::new(4, 2, 16), window);
            // Packed; a cache; keys that no query sees, before the window or in no query's sequence at all.
            verify(&device, heads, &[(0, 0), (1, 1), (130, 130), (5, 5)], 1.0);
            verify(&device, heads, &[(1, 130), (3, 70), (17, 17), (0, 7), (66, 200)], 1.0);
        }
    }
}

#[test]
fn every_even_width() {
    for device in families() {
        let host = device.0.wgpu().is_none();
        for width in WIDTHS.into_iter().filter(|width| host || COMPILED.contains(width)) {
            // Three heads of an odd number of pairs end a row in the middle of a vector.
            verify(&device, Heads::new(3, 1, width), &[(5, 5), (1, 37), (35, 40)], 1.0);
            verify(&device, windowed(Heads::new(4, 2, width), 3), &[(0, 3), (1, 1), (37, 40)], 1.0);
        }
    }
}

#[test]
fn a_scale_of_ones_own() {
    for device in families() {
        for scale in [1e-3, 0.31, 1.0] {
            verify(&device, Heads { scale, ..Heads::new(2, 1, 16) }, &[(40, 40), (1, 9)], 1.0);
        }
    }
}

/// Results and gradients.
fn all((device, family): &(Device, Family), heads: Heads, list: &[Sequence]) -> [Vec<u32>; 5] {
    let last = list.last().unwrap();
    let (n, m) = ((last.q_first + last.q_count) as usize, (last.k_first + last.k_count) as usize);
    let (qs, ks) = (heads.query * heads.width, heads.key_value * heads.width);
    let sequences = Sequences::of_family(device, *family, list).unwrap();
    let [q, dout] = [1, 2].map(|seed| tensor(device, &normal(seed, n * qs), qs));
    let [k, v] = [3, 4].map(|seed| tensor(device, &normal(seed, m * ks), ks));
    let (out, lse, dq) = (zeros(device, n, qs), zeros(device, n, heads.query), zeros(device, n, qs));
    let (dk, dv) = (zeros(device, m, ks), zeros(device, m, ks));
    run(device, |r| {
        forward(r, heads, &sequences, &q, &k, &v, &out, &lse).unwrap();
        backward(r, heads, &sequences, &q, &k, &v, &out, &lse, &dout, &dq, &dk, &dv).unwrap();
    });
    [out, lse, dq, dk, dv].map(|t| read(device, &t).into_iter().map(f32::to_bits).collect())
}

#[test]
fn a_window_of_everything_changes_no_bit() {
    for device in families() {
        for width in [6, 16, 64, 256] {
            let (heads, list) = (Heads::new(4, 2, width), pack(&[(40, 67), (1, 1), (33, 33)]));
            let want = all(&device, heads, &list);
            for window in [67, 68, 1 << 20, 1 << 31, u32::MAX] {
                assert!(all(&device, windowed(heads, window), &list) == want, "{device:?} {width} {window}");
            }
            // The comparison can fail: the longest sequence's last query misses one key.
            assert!(all(&device, windowed(heads, 66), &list) != want, "{device:?} {width}");
        }
    }
}

/// What no query sees is not even read: keys outside of all windows, and the queries that see nothing of a block of keys, are NaN.
#[test]
fn blocks_outside_of_the_window_are_skipped() {
    for (device, family) in families() {
        let (heads, n) = (windowed(Heads::new(2, 1, 8), 20), 400);
        // A query that sees the last 20 keys alone: on the host tiles have 128 keys and begin with the first that is seen.
        let sequences = Sequences::of_family(&device, family, &pack(&[(1, n as u32)])).unwrap();
        let [mut k, mut v] = [1, 2].map(|seed| normal(seed, n * 8));
        let (q, (out, lse)) = (tensor(&device, &normal(3, 16), 16), (zeros(&device, 1, 16), zeros(&device, 1, 2)));
        k[..(n - 20) * 8].fill(f32::NAN);
        v[..(n - 20) * 8].fill(f32::NAN);
        let [k, v] = [k, v].map(|x| tensor(&device, &x, 8));
        run(&device, |r| forward(r, heads, &sequences, &q, &k, &v, &out, &lse).unwrap());
        assert!(read(&device, &out).iter().all(|x| x.is_finite()), "{} {family:?}", device.name());
    }
}

/// Of a decoder's cost: pairs that are seen count, and dispatches are cut by them.
#[test]
fn a_window_takes_fewer_dispatches() {
    let device = crate::common::gpu().with_capabilities(|c| c.dispatch_flops = 1 << 20).unwrap();
    let dispatches = |heads: Heads| {
        let sequences = Sequences::packed(&device, &[2048]).unwrap();
        let [q, k, v, out] = [(); 4].map(|()| zeros(&device, 2048, 16));
        let mut r = device.recorder();
        forward(&mut r, heads, &sequences, &q, &k, &v, &out, &zeros(&device, 2048, 1)).unwrap();
        r.commands().len()
    };
    let heads = Heads::new(1, 1, 16);
    // 4 · 16 FLOPs for each of 2048 · 2049 / 2 pairs, and of 2048 · 64 but for the first queries'; a block of 32 rows at least.
    let (whole, part) = (dispatches(heads), dispatches(windowed(heads, 64)));
    assert!(whole >= 64 && part == 8, "{whole}, {part}");
}

/// Keys of a block of queries, and queries of a block of keys, as `Sequences` makes them.
fn blocks(list: &[Sequence], rows: u32) -> (Vec<[u32; 4]>, Vec<[u32; 5]>) {
    let (mut queries, mut keys) = (Vec::new(), Vec::new());
    for s in list {
        let before = s.k_count - s.q_count;
        for i in (0..s.q_count).step_by(rows as usize) {
            queries.push([s.q_first + i, rows.min(s.q_count - i), s.k_first, before + i + 1]);
        }
        for j in (0..s.k_count).step_by(rows as usize) {
            keys.push([s.k_first + j, rows.min(s.k_count - j), s.q_first, s.q_count, j.wrapping_sub(before)]);
        }
    }
    (queries, keys)
}

/// out, lse, dq, dk, dv of the twin in f64, on rows that are filled up.
fn twin(heads: Heads, list: &[Sequence], [q, k, v, dout]: [&[f64]; 4]) -> [Vec<f64>; 5] {
    let rows = q.len() / (heads.query * heads.width).next_multiple_of(4);
    let (queries, keys) = blocks(list, 7);
    let operands = Operands { q, k, v };
    let (mut out, mut lse) = (vec![0.0; q.len()], vec![0.0; rows * heads.query]);
    host::forward((heads, host::Mask::Causal), &queries, operands, &mut out, (&mut lse, heads.query));
    let mut stats = vec![0.0; 2 * rows * heads.query];
    host::delta(heads, (dout, &out), (&lse, heads.query), &mut stats);
    let upstream = Upstream { dout, stats: &stats };
    let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
    host::queries_backward((heads, host::Mask::Causal), &queries, operands, upstream, &mut dq);
    host::keys_backward(heads, &keys, operands, upstream, (&mut dk, &mut dv));
    [out, lse, dq, dk, dv]
}

#[test]
fn the_twin_in_f64_is_the_definition() {
    for (width, window) in [(2, None), (6, Some(1)), (6, Some(5)), (20, Some(13)), (192, Some(150)), (256, None)] {
        let heads = Heads { window, scale: 0.25, ..Heads::new(3, 1, width) };
        let list = pack(&[(0, 4), (9, 9), (1, 301), (150, 170)]);
        let (n, m, qs, ks) = (160, 484, 3 * width, width);
        let [q, dout] = [1, 2].map(|seed| wide(&normal(seed, n * qs)));
        let [k, v] = [3, 4].map(|seed| wide(&normal(seed, m * ks)));
        let want = reference(heads, &list, [&q, &k, &v, &dout]);
        let (filled_q, filled_k) = (|x: &[f64]| padded(x, qs), |x: &[f64]| padded(x, ks));
        let got = twin(heads, &list, [&filled_q(&q), &filled_k(&k), &filled_k(&v), &filled_q(&dout)]);
        let want = [filled_q(&want[0]), want[1].clone(), filled_q(&want[2]), filled_k(&want[3]), filled_k(&want[4])];
        for (name, (got, want)) in ["out", "lse", "dq", "dk", "dv"].iter().zip(got.iter().zip(&want)) {
            let norm = |x: &[f64]| dot(x, x).sqrt();
            let difference: Vec<f64> = got.iter().zip(want).map(|(g, w)| g - w).collect();
            let (error, bound) = (norm(&difference), 1e-13 * norm(want));
            assert!(error <= bound, "{width} {window:?} {name}: {error:e} of {:e}", norm(want));
        }
    }
}

#[test]
fn gradients_within_a_window_by_finite_differences() {
    let heads = Heads { window: Some(3), scale: 0.7, ..Heads::new(3, 1, 6) };
    let list = pack(&[(5, 5), (3, 6)]);
    // Rows of 18 elements in 20, and of 6 in 8.
    let [q, c] = [1, 2].map(|seed| padded(&wide(&normal(seed, 8 * 18)), 18));
    let [k, v] = [3, 4].map(|seed| padded(&wide(&normal(seed, 11 * 6)), 6));
    let loss = |q: &[f64], k: &[f64], v: &[f64]| dot(&twin(heads, &list, [q, k, v, &c])[0], &c);
    let [_, _, dq, dk, dv] = twin(heads, &list, [&q, &k, &v, &c]);
    finite_differences(&q, &dq, |q| loss(q, &k, &v), "q");
    finite_differences(&k, &dk, |k| loss(&q, k, &v), "k");
    finite_differences(&v, &dv, |v| loss(&q, &k, v), "v");
}

#[test]
fn errors_name_the_width_and_its_limits() {
    for device in crate::common::devices() {
        let sequences = Sequences::packed(&device, &[3]).unwrap();
        for width in [1, 7, 258] {
            let [q, k, v, out] = [(); 4].map(|()| zeros(&device, 3, width));
            let (mut r, lse) = (device.recorder(), zeros(&device, 3, 1));
            let error = forward(&mut r, Heads::new(1, 1, width), &sequences, &q, &k, &v, &out, &lse).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("even number from 2 to 256") && text.contains(&width.to_string()), "{text}");
        }
    }
}
