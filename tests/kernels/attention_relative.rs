//! Attention whose scores have a term by distance, against the definition in f64.

use realign::ElementType;
use realign::device::{Device, Tensor};
use realign::kernels::nn::attention::{self, Family, Heads, Mask, Sequences};
use realign::kernels::nn::attention_relative;

use crate::nn::{check_relative, dot, normal, read, rubbish, run, tensor, wide, zeros};
use crate::nn_attention::{families, pack};

/// As attention's own: scores of up to 10 with sums of up to 260 terms, exponentials, sums over keys.
const BOUND: f64 = 1e-5;

/// `out` and `lse` of packed sequences; a head's row of the table has `2 reach + 1` terms.
fn reference((heads, mask): (Heads, Mask), table: &[f64], lengths: &[u32], [q, k, v]: [&[f64]; 3]) -> [Vec<f64>; 2] {
    let (w, qs, ks) = (heads.width, heads.query * heads.width, heads.key_value * heads.width);
    let (mut out, mut sums) = (Vec::new(), Vec::new());
    let (distances, mut first) = (table.len() / heads.query, 0);
    let reach = (distances / 2) as isize;
    for &length in lengths {
        let n = length as usize;
        for (i, h) in (0..n).flat_map(|i| (0..heads.query).map(move |h| (i, h))) {
            let query = &q[(first + i) * qs + h * w..][..w];
            let key = |j: usize| (first + j) * ks + h / (heads.query / heads.key_value) * w;
            let seen = if mask == Mask::Causal { i + 1 } else { n };
            let score = |j: usize| {
                let place = (j as isize - i as isize).clamp(-reach, reach) + reach;
                f64::from(heads.scale) * dot(query, &k[key(j)..][..w]) + table[h * distances + place as usize]
            };
            // Places from the first that is seen on.
            let begin = heads.window.map_or(0, |window| seen.saturating_sub(window as usize));
            let scores: Vec<f64> = (begin..seen).map(score).collect();
            let top = scores.iter().fold(f64::MIN, |top, &x| top.max(x));
            let sum: f64 = scores.iter().map(|x| (x - top).exp()).sum();
            let weight = |j: usize| (scores[j - begin] - top).exp() / sum;
            out.extend((0..w).map(|c| (begin..seen).map(|j| weight(j) * v[key(j) + c]).sum::<f64>()));
            sums.push(top + sum.ln());
        }
        first += n;
    }
    [out, sums]
}

/// A device and the family of shaders that it takes.
type On = (Device, Family);

/// Packed sequences on a device, of a table of so many distances.
fn sequences((device, family): &On, mask: Mask, lengths: &[u32]) -> Sequences {
    let list = pack(&lengths.iter().map(|&n| (n, n)).collect::<Vec<_>>());
    Sequences::of_family_masked(device, *family, mask, &list).unwrap()
}

fn verify(on: &On, (heads, mask): (Heads, Mask), reach: usize, lengths: &[u32]) {
    let (device, n) = (&on.0, lengths.iter().sum::<u32>() as usize);
    let (qs, ks) = (heads.query * heads.width, heads.key_value * heads.width);
    let (q, k, v) = (normal(1, n * qs), normal(2, n * ks), normal(3, n * ks));
    let table: Vec<f32> = normal(4, heads.query * (2 * reach + 1)).iter().map(|x| 2.0 * x).collect();
    let (tq, tk, tv) = (tensor(device, &q, qs), tensor(device, &k, ks), tensor(device, &v, ks));
    let (out, lse) = (rubbish(device, n, qs), rubbish(device, n, heads.query));
    let (on_device, packed) = (tensor(device, &table, 2 * reach + 1), sequences(on, mask, lengths));
    run(device, |r| {
        attention_relative::forward(r, (heads, &on_device), &packed, &tq, &tk, &tv, &out, &lse).unwrap();
    });
    let want = reference((heads, mask), &wide(&table), lengths, [&wide(&q), &wide(&k), &wide(&v)]);
    for (tensor, want) in [&out, &lse].into_iter().zip(&want) {
        let what = format!("{} {:?} {mask:?} {heads:?} reach {reach} {lengths:?}", device.name(), on.1);
        check_relative(&read(device, tensor), want, BOUND, &what);
    }
}

#[test]
fn lengths_widths_and_reaches() {
    for on in families() {
        for heads in [Heads::new(1, 1, 16), Heads::new(4, 2, 6), Heads::new(3, 3, 64), Heads::new(2, 1, 256)] {
            for mask in [Mask::Full, Mask::Causal] {
                // Nobody, one, less than a block, more than the table reaches and than a tile of the host's.
                for n in [0, 1, 2, 17, 133] {
                    verify(&on, (heads, mask), 20, &[n]);
                }
                verify(&on, (heads, mask), 3, &[5, 1, 67, 0, 34]);
            }
        }
        // One term for all distances, and a table that no sequence comes to the end of.
        for reach in [0, 1, 128, 400] {
            verify(&on, (Heads::new(4, 4, 20), Mask::Full), reach, &[260, 3]);
        }
        verify(&on, (Heads { window: Some(9), ..Heads::new(2, 2, 16) }, Mask::Causal), 4, &[70, 33]);
    }
}

/// Terms of zero are attention's own bits, in f16, too; other terms are not.
#[test]
fn no_term_changes_no_bit() {
    for on in families() {
        let (device, heads, n) = (&on.0, Heads::new(4, 2, 16), 90);
        let packed = sequences(&on, Mask::Full, &[50, 40]);
        for element in [ElementType::F32, ElementType::F16] {
            let make = |seed: u64, width: usize| {
                let x = Tensor::new(device, n, width, element).unwrap();
                x.write_f32(device, &normal(seed, n * width)).unwrap();
                x
            };
            let (q, k, v) = (make(1, 64), make(2, 32), make(3, 32));
            let bits = |table: Option<f32>| {
                let (out, lse) = (make(4, 64), zeros(device, n, 4));
                let table = table.map(|x| tensor(device, &[[0.0, 0.0, x]; 4].concat(), 3));
                run(device, |r| match &table {
                    None => attention::forward(r, heads, &packed, &q, &k, &v, &out, &lse).unwrap(),
                    Some(t) => {
                        attention_relative::forward(r, (heads, t), &packed, &q, &k, &v, &out, &lse).unwrap();
                    }
                });
                let out = out.to_f32_blocking(device).unwrap();
                out.into_iter().chain(read(device, &lse)).map(f32::to_bits).collect::<Vec<_>>()
            };
            assert!(bits(Some(0.0)) == bits(None), "{} {:?} {element}", device.name(), on.1);
            assert!(bits(Some(0.1)) != bits(None), "{} {:?} {element}", device.name(), on.1);
        }
    }
}

#[test]
fn operands_that_do_not_fit() {
    for on in families() {
        let (device, heads) = (&on.0, Heads::new(4, 2, 8));
        let (t, mut r) = (|n, width| zeros(device, n, width), device.recorder());
        let (q, k, v, out, lse) = (t(9, 32), t(9, 16), t(9, 16), t(9, 32), t(9, 4));
        let packed = sequences(&on, Mask::Full, &[5, 4]);
        let mut error = |table: &Tensor, packed: &Sequences, out: &Tensor| {
            attention_relative::forward(&mut r, (heads, table), packed, &q, &k, &v, out, &lse).unwrap_err().to_string()
        };
        assert!(error(&t(4, 6), &packed, &out).contains("odd number"));
        assert!(error(&t(3, 7), &packed, &out).contains("[4, 7]"));
        assert!(error(&zeros(&Device::host(), 4, 7), &packed, &out).contains("device"));
        let cached = Sequences::of_family_masked(device, on.1, Mask::Full, &pack(&[(2, 5), (3, 4)])).unwrap();
        assert!(error(&t(4, 7), &cached, &out).contains("same rows"));
        assert!(error(&t(4, 7), &packed, &q).contains("memory of its own"));
        assert!(r.commands().is_empty());
    }
}
