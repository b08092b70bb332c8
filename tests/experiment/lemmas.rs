//! Lemmas B.6 and B.7 on gradients of live runs: whatever the loss, the temperature, the length of the run and the batch.

use proptest::prelude::*;
use realign::Device;
use realign::experiment::*;
use realign::geometry::{CovarianceView, Cut, Frame, leakage, principal_angles};
use realign::nn::dual_encoder::EncoderSpace;
use realign::nn::{Gradients, PairLoss, PairSpace};

use crate::common::{Rng, devices};
use crate::live::{digits, run, small};

const WIDTH: usize = 32;

fn settings() -> impl Strategy<Value = EncoderSettings> {
    let kind = prop_oneof![Just(PairLoss::InfoNce), Just(PairLoss::Sigmoid)];
    (kind, 0u64..1000, 31u64..70, 0.02f32..0.5, 8usize..40).prop_map(|(kind, seed, steps, temperature, batch)| {
        EncoderSettings { seed, steps, temperature, batch, ..small(kind) }
    })
}

/// How far the gradients of a batch of `pairs` leave the spans of Lemma B.6: images' gradients that of the texts, and the other
/// way round.
fn leaks_out_of_span(trained: &TrainedEncoder, kind: PairLoss, (pairs, seed): (usize, u64)) -> [f64; 2] {
    let (gradients, x, y) = gradients(trained, kind, (pairs, seed));
    let (of_x, of_y) = gradients.split_at(pairs * WIDTH);
    [(of_x, &y), (of_y, &x)].map(|(gradients, others)| {
        let span = Frame::from_directions(orthonormal(others, WIDTH), WIDTH).unwrap();
        assert!(span.rank() <= pairs, "a span that is everything tests nothing");
        // Other rows do leave it: the test can fail.
        let mut rng = Rng(1);
        let random: Vec<f64> = (0..WIDTH * 8).map(|_| rng.normal()).collect();
        assert!(leakage(&random, &span).unwrap().unwrap() > 0.4);
        leakage(gradients, &span).unwrap().unwrap_or(0.0)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..Default::default() })]

    /// Lemma B.6: the gradients of a batch's images lie in the span of its texts, and the other way round.
    #[test]
    fn gradients_lie_in_the_contrastive_span(settings in settings(), pairs in 2usize..20, seed in 0u64..1000) {
        let (trained, ..) = run(&Device::host(), &settings);
        for leak in leaks_out_of_span(&trained, settings.loss, (pairs, seed)) {
            prop_assert!(leak < 2e-4, "{leak:e}");
        }
    }

    /// Lemma B.7: gradients inside the frame of the moment leak out of the frozen one by sin θ at most, and what leaks out of the
    /// former adds to that.
    #[test]
    fn leakage_is_bounded_by_the_angle(
        settings in settings(),
        (pairs, seed) in (3usize..30, 0u64..1000),
        cut in prop_oneof![(0.3f64..0.99).prop_map(Cut::Energy), (1usize..12).prop_map(Cut::Rank)],
    ) {
        let (trained, monitor, _) = run(&Device::host(), &settings);
        for r in monitor.records() {
            if let (Some(leak), Some(own)) = (r.fixed.leakage, r.dynamic.leakage) {
                prop_assert!(leak <= r.sin_theta + own + 1e-9, "step {}: {leak} above {} + {own}", r.step, r.sin_theta);
            }
        }
        let (gradients, x, y) = gradients(&trained, settings.loss, (pairs, seed));
        let frozen = monitor.frame().unwrap();
        // So few pairs span no more directions.
        let cut = if let Cut::Rank(rank) = cut { Cut::Rank(rank.min(pairs - 1)) } else { cut };
        let (of_x, of_y) = (covariance(&x, WIDTH), covariance(&y, WIDTH));
        let now = Frame::of(CovarianceView::new(&of_x, WIDTH), CovarianceView::new(&of_y, WIDTH), cut).unwrap();
        let inside: Vec<f64> = gradients.chunks_exact(WIDTH).flat_map(|g| now.project_u(g).unwrap()).collect();
        let angle = principal_angles(frozen, &now).unwrap().sin_theta_max;
        if let Some(leak) = leakage(&inside, frozen).unwrap() {
            prop_assert!(leak <= angle + 1e-12, "{cut:?}: {leak} above {angle}");
            prop_assert!(leak > 0.0, "nothing was tested");
        }
    }
}

/// Lemma B.6 on the GPU, untrained there: the lemma holds at any point.
#[test]
fn gradients_lie_in_the_contrastive_span_on_a_gpu() {
    for device in devices().into_iter().filter(|d| d.wgpu().is_some()) {
        for kind in [PairLoss::InfoNce, PairLoss::Sigmoid] {
            let digits = digits();
            let pairs = DigitPairs::new(&digits, Length::Short);
            let settings = EncoderSettings { steps: 1, ..small(kind) };
            let trained = train_dual_encoder(&device, &pairs, None, &settings, &mut |_| Ok(())).unwrap();
            for leak in leaks_out_of_span(&trained, kind, (8, 9)) {
                assert!(leak < 2e-4, "{kind:?} on {}: {leak:e}", device.name());
            }
        }
    }
}

/// Gradients of a batch's embeddings, images then texts, `[2 pairs, 32]`, and the embeddings; the batch is drawn by `seed`.
fn gradients(trained: &TrainedEncoder, kind: PairLoss, (pairs, seed): (usize, u64)) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let (digits, device, encoder) = (digits(), trained.device(), &trained.encoder);
    let source = DigitPairs::new(&digits, Length::Short);
    let mut random = Random::new(seed, 9);
    let chosen = random.choose(pairs, source.len());
    let images: Vec<f32> = chosen.iter().flat_map(|&i| source.image(i).to_vec()).collect();
    let texts: Vec<Vec<u32>> = chosen.iter().map(|&i| source.text(i, &mut random)).collect();
    let (space, losses) = (EncoderSpace::new(device, encoder, pairs).unwrap(), PairSpace::new(device, pairs).unwrap());
    let towers = Gradients::new(device, &encoder.parameters, |_| true).unwrap();
    let temperature = Gradients::new(device, &encoder.temperature, |_| true).unwrap();
    encoder.load(device, &space, &images, &texts).unwrap();
    let mut recorder = device.recorder();
    encoder.forward(&mut recorder, &space).unwrap();
    encoder.loss(&mut recorder, kind, (&space, &losses), Some((&towers, &temperature))).unwrap();
    recorder.submit().unwrap();
    let wide = |t: &realign::device::Tensor| -> Vec<f64> {
        t.to_f32_blocking(device).unwrap().into_iter().map(f64::from).collect()
    };
    let (dx, dy) = space.embedding_gradients();
    ([wide(dx), wide(dy)].concat(), wide(space.images()), wide(space.texts()))
}

/// Gram and Schmidt; rows that depend on those before them are left out.
fn orthonormal(rows: &[f64], d: usize) -> Vec<f64> {
    let mut done: Vec<f64> = Vec::new();
    for row in rows.chunks_exact(d) {
        let mut rest = row.to_vec();
        for _ in 0..2 {
            for u in done.chunks_exact(d) {
                let along: f64 = rest.iter().zip(u).map(|(a, b)| a * b).sum();
                rest.iter_mut().zip(u).for_each(|(a, b)| *a -= along * b);
            }
        }
        let norm = rest.iter().map(|x| x * x).sum::<f64>().sqrt();
        if norm > 1e-5 {
            done.extend(rest.iter().map(|x| x / norm));
        }
    }
    done
}

fn covariance(rows: &[f64], d: usize) -> Vec<f64> {
    let n = (rows.len() / d) as f64;
    let mean = crate::common::mean(rows, d);
    let mut out = vec![0.0; d * d];
    for row in rows.chunks_exact(d) {
        for (i, j) in (0..d * d).map(|k| (k / d, k % d)) {
            out[i * d + j] += (row[i] - mean[i]) * (row[j] - mean[j]) / n;
        }
    }
    out
}
