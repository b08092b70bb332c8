//! Softmax cross-entropy in chunks, against f64 over the whole vocabulary.

use realign::Device;
use realign::host::nn::cross_entropy::{self as host, Columns};
use realign::kernels::nn::cross_entropy::{IGNORED, backward_chunk, finish, forward_chunk};

use crate::common::{Rng, devices, gpu};
use crate::nn::{
    check_relative, exp_error, finite_differences, normal, read, read_floats, run, tensor, wide, words, zeros,
};
use crate::rows::{check, variants, width_classes};

struct Case {
    rows: usize,
    /// Widths of the chunks.
    chunks: Vec<usize>,
    logits: Vec<f32>,
    labels: Vec<i32>,
}

impl Case {
    fn new(rows: usize, chunks: &[usize], size: f32) -> Self {
        let vocabulary: usize = chunks.iter().sum();
        let mut rng = Rng(rows as u64 + 5);
        let labels =
            (0..rows).map(|i| if i % 4 == 2 { IGNORED } else { (rng.next() % vocabulary as u64) as i32 }).collect();
        let logits = normal(7, rows * vocabulary).iter().map(|l| l * size).collect();
        Case { rows, chunks: chunks.to_vec(), logits, labels }
    }

    fn vocabulary(&self) -> usize {
        self.chunks.iter().sum()
    }

    /// First column and tight rows of each chunk.
    fn parts(&self) -> Vec<(usize, usize, Vec<f32>)> {
        let mut first = 0;
        self.chunks
            .iter()
            .map(|&c| {
                let rows = self.logits.chunks_exact(self.vocabulary());
                let part = rows.flat_map(|row| row[first..first + c].to_vec()).collect();
                first += c;
                (first - c, c, part)
            })
            .collect()
    }

    /// Negative log-likelihoods, and the gradient of `scale Σ nll`.
    fn reference(&self, scale: f64) -> (Vec<f64>, Vec<f64>) {
        let mut gradient = Vec::new();
        let nll = wide(&self.logits)
            .chunks_exact(self.vocabulary())
            .zip(&self.labels)
            .map(|(row, &label)| {
                let top = row.iter().fold(f64::MIN, |m, &x| m.max(x));
                let sum: f64 = row.iter().map(|x| (x - top).exp()).sum();
                let on = f64::from(u8::from(label != IGNORED));
                gradient.extend(
                    (0..row.len())
                        .map(|j| on * scale * ((row[j] - top).exp() / sum - f64::from(u8::from(j as i32 == label)))),
                );
                if label == IGNORED { 0.0 } else { top + sum.ln() - row[label as usize] }
            })
            .collect();
        (nll, gradient)
    }
}

fn verify(device: &Device, case: &Case, what: &str) {
    let labels = words(device, bytemuck::cast_slice(&case.labels));
    let (state, nll) = (zeros(device, case.rows, 4), device.buffer("nll", 4 * case.rows as u64).unwrap());
    let parts = case.parts();
    let chunks: Vec<_> = parts.iter().map(|(_, c, part)| tensor(device, part, *c)).collect();
    let scale = 0.125;
    // Twice: the first chunk must start anew.
    for _ in 0..2 {
        run(device, |r| {
            for ((first, ..), chunk) in parts.iter().zip(&chunks) {
                forward_chunk(r, chunk, (0, *first), &labels, &state).unwrap();
            }
            finish(r, &state, &labels, &nll).unwrap();
        });
    }
    run(device, |r| {
        for ((first, ..), chunk) in parts.iter().zip(&chunks) {
            backward_chunk(r, chunk, (0, *first), &labels, &state, scale).unwrap();
        }
    });
    let (want, gradient) = case.reference(f64::from(scale));
    let (top, vocabulary) = (case.logits.iter().fold(0f32, |m, x| m.max(x.abs())), case.vocabulary());
    // The logits as they are, rounded once more in each difference; the exponentials; the sum; the logarithm (2^-21 by WGSL).
    let bound =
        4.0 * 6e-8 * f64::from(top) + exp_error(f64::from(top).min(20.0)) + vocabulary as f64 / 4.0 * 6e-8 + 5e-7;
    check(&read_floats(device, &nll)[..case.rows], &want, &vec![bound; case.rows], &format!("{what} nll"));
    for ((first, c, _), chunk) in parts.iter().zip(&chunks) {
        let want: Vec<f64> =
            gradient.chunks_exact(vocabulary).flat_map(|row| row[*first..first + c].to_vec()).collect();
        check(&read(device, chunk), &want, &vec![f64::from(scale) * bound; want.len()], &format!("{what} gradient"));
        if top < 20.0 && case.rows > 1 {
            check_relative(&read(device, chunk), &want, 1e-5, what);
        }
    }
}

#[test]
fn shapes_chunks_and_variants() {
    for (name, device) in variants() {
        for (rows, chunks) in [
            (0, vec![8]),
            (1, vec![1]),
            (7, vec![3, 5]),
            (65, vec![64, 64, 2]),
            (130, vec![257]),
            (33, vec![1000, 1000, 777]),
        ] {
            verify(&device, &Case::new(rows, &chunks, 3.0), &format!("{name} {rows} {chunks:?}"));
        }
    }
}

/// Rows that a team holds just so, or just not.
#[test]
fn widths_of_every_team() {
    for (name, device, widths) in width_classes() {
        for d in widths {
            for n in [1, 5] {
                verify(&device, &Case::new(n, &[d, d], 3.0), &format!("{name} [{n}, {d}]"));
            }
        }
    }
}

/// Rows in blocks, each with all its chunks, give the bits of all rows at once.
#[test]
fn rows_in_blocks() {
    for device in devices() {
        let case = Case::new(65, &[40, 37], 3.0);
        let labels = words(&device, bytemuck::cast_slice(&case.labels));
        let parts = case.parts();
        let all = |blocks: &[usize]| {
            let (state, nll) = (zeros(&device, 65, 4), device.buffer("nll", 4 * 65).unwrap());
            let (mut first_row, mut gradients) = (0, [Vec::new(), Vec::new()]);
            for rows in blocks {
                let chunk = |(_, c, part): &(usize, usize, Vec<f32>)| {
                    tensor(&device, &part[first_row * c..(first_row + rows) * c], *c)
                };
                let chunks: Vec<_> = parts.iter().map(chunk).collect();
                let places = parts.iter().map(|(column, ..)| (first_row, *column));
                run(&device, |r| {
                    let mut each = chunks.iter().zip(places.clone());
                    each.try_for_each(|(chunk, at)| forward_chunk(r, chunk, at, &labels, &state)).unwrap();
                    let mut each = chunks.iter().zip(places.clone());
                    each.try_for_each(|(chunk, at)| backward_chunk(r, chunk, at, &labels, &state, 0.5)).unwrap();
                });
                chunks.iter().zip(&mut gradients).for_each(|(chunk, all)| all.extend(read(&device, chunk)));
                first_row += rows;
            }
            run(&device, |r| finish(r, &state, &labels, &nll).unwrap());
            (read_floats(&device, &nll)[..65].to_vec(), gradients)
        };
        assert!(all(&[65]) == all(&[31, 1, 33]), "{}", device.name());
    }
}

#[test]
fn large_logits() {
    for device in devices() {
        verify(&device, &Case::new(17, &[50, 49], 1e4), device.name());
        let mut case = Case::new(3, &[4, 4], 0.0);
        case.logits = vec![-1e4; 24];
        verify(&device, &case, device.name());
    }
}

#[test]
fn more_rows_than_a_dispatch_holds() {
    let single = gpu().with_capabilities(|c| (c.group, c.lanes, c.subgroup_teams) = (1, 1, false)).unwrap();
    verify(&single, &Case::new(65_535 + 9, &[5], 1.0), "strides");
}

#[test]
fn a_label_outside_of_the_vocabulary_is_visible() {
    for device in devices() {
        let labels = words(&device, bytemuck::cast_slice(&[2i32, 3, -1, IGNORED, i32::MIN]));
        let (logits, state) = (tensor(&device, &[1.0; 15], 3), zeros(&device, 5, 4));
        let nll = device.buffer("nll", 20).unwrap();
        run(&device, |r| {
            forward_chunk(r, &logits, (0, 0), &labels, &state).unwrap();
            finish(r, &state, &labels, &nll).unwrap();
        });
        let got = read_floats(&device, &nll);
        assert!((got[0] - 3f32.ln()).abs() < 1e-6, "{got:?}");
        assert_eq!(got[1..5], [f32::INFINITY, f32::INFINITY, 0.0, f32::INFINITY], "{}", device.name());
    }
}

#[test]
fn gradient_by_finite_differences() {
    let labels = [4, IGNORED, 0];
    let x = wide(&normal(9, 3 * 8));
    let chunks = [(0, 4), (4, 4)];
    let part = |x: &[f64], first: usize| -> Vec<f64> {
        x.chunks_exact(8).flat_map(|r| r[first..first + 4].to_vec()).collect()
    };
    let state = |x: &[f64]| {
        let mut state = vec![0.0; 12];
        for (first, width) in chunks {
            host::forward(Columns { first, width }, &part(x, first), &labels, &mut state);
        }
        state
    };
    let loss = |x: &[f64]| {
        let mut nll = vec![0.0; 3];
        host::finish(&state(x), &labels, &mut nll);
        0.3 * nll.iter().sum::<f64>()
    };
    let mut gradient = vec![0.0; 24];
    for (first, width) in chunks {
        let mut logits = part(&x, first);
        host::backward(Columns { first, width }, &labels, &state(&x), 0.3, &mut logits);
        for (to, from) in gradient.chunks_exact_mut(8).zip(logits.chunks_exact(4)) {
            to[first..first + 4].copy_from_slice(from);
        }
    }
    finite_differences(&x, &gradient, loss, "cross entropy");
}

#[test]
fn operands_that_do_not_fit() {
    for device in devices() {
        let (logits, state, labels) = (zeros(&device, 3, 8), zeros(&device, 3, 4), words(&device, &[0; 3]));
        let mut r = device.recorder();
        forward_chunk(&mut r, &logits, (0, 0), &labels, &zeros(&device, 2, 4)).unwrap_err();
        forward_chunk(&mut r, &logits, (0, 0), &words(&device, &[0; 2]), &state).unwrap_err();
        forward_chunk(&mut r, &logits, (0, usize::MAX), &labels, &state).unwrap_err();
        forward_chunk(&mut r, &logits, (1, 0), &labels, &state).unwrap_err();
        backward_chunk(&mut r, &logits, (usize::MAX, 0), &labels, &state, 1.0).unwrap_err();
        forward_chunk(&mut r, &state, (0, 0), &labels, &state).unwrap_err();
        finish(&mut r, &state, &labels, &words(&device, &[0; 2])).unwrap_err();
        backward_chunk(&mut r, &logits, (0, 0), &labels, &state, f32::INFINITY).unwrap_err();
        assert!(r.commands().is_empty());
    }
}
