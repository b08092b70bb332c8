//! Mixed precision against f32: how far losses and gradients are off, that both engines round alike, and that switches change nothing.

use realign::ElementType;
use realign::device::{Device, Tensor};
use realign::nn::decoder::LowRankOptions;
use realign::nn::{Precision, ShardedMatrix};
use realign::optim::AdamWOptions;
use realign::train::{Batch, Model, Trainer, Trains};

use super::{Golden, case, devices, each, model, relative, stored_model};

/// Gradients of a batch by name, without the loss's factor, and its losses.
struct Pass {
    losses: Vec<f32>,
    gradients: Vec<(String, Vec<f32>)>,
}

fn trainer(device: &Device, mut model: Model, precision: Precision, trains: Trains, recompute: bool) -> Trainer {
    model.decoder.compute_in(device, precision).unwrap();
    Trainer::new(device, model, trains, (AdamWOptions::default(), recompute)).unwrap()
}

fn pass(device: &Device, trainer: &mut Trainer, (batch, embeddings): (&Batch, &Tensor), scale: f32) -> Pass {
    trainer.clear().unwrap();
    trainer.set_loss_scale(scale).unwrap();
    let losses = trainer.accumulate(batch, embeddings).unwrap().read_blocking(device).unwrap();
    let (adapter, decoder) = trainer.gradients();
    let parameters = [(&trainer.model.adapter.parameters, adapter), (&trainer.model.decoder.parameters, decoder)];
    let read = |g: &ShardedMatrix| g.to_f32_blocking(device).unwrap().into_iter().map(|x| x / scale).collect();
    let of = |(p, g): (&realign::nn::Parameters, &realign::nn::Gradients)| {
        g.iter().map(|(slot, g)| (p.get(slot).name.clone(), read(g))).collect::<Vec<_>>()
    };
    let gradients = parameters.into_iter().flat_map(of).collect();
    Pass { losses, gradients }
}

/// With low-rank additions that do something.
fn with_low_rank(device: &Device, mut model: Model) -> Model {
    model.decoder.add_low_rank(device, LowRankOptions { rank: 3, alpha: 6.0, seed: 1 }).unwrap();
    for (i, factor) in model.decoder.parameters.iter().filter(|p| p.name.contains(".lora_B")).enumerate() {
        let count: usize = factor.shape.iter().product();
        let numbers: Vec<f32> = (0..count).map(|j| 0.1 * ((7 * i + 13 * j) as f32).sin()).collect();
        factor.value.write_f32(device, &numbers).unwrap();
    }
    model
}

/// Half an ulp of f16 is 2^-11 = 4.9e-4; a gradient has gone through some twenty such roundings, whose errors add up like a random walk's.
#[test]
fn losses_and_gradients_are_those_of_f32_but_for_rounding() {
    each(|device, kind, golden, what| {
        let (batch, embeddings, _) = case(device, golden);
        for low_rank in [false, true] {
            let made = || if low_rank { with_low_rank(device, model(device, kind)) } else { model(device, kind) };
            let trains = if low_rank { Trains::LowRank } else { Trains::All };
            let [f32, mixed] = [(Precision::F32, 1.0), (Precision::Mixed, 256.0)].map(|(precision, scale)| {
                let mut trainer = trainer(device, made(), precision, trains, false);
                pass(device, &mut trainer, (&batch, &embeddings), scale)
            });
            let error = relative(&mixed.losses, &f32.losses);
            println!("{what} {trains:?}: losses {error:.1e}");
            assert!(error > 0.0 && error < 1e-3, "{what}: losses are off by {error:e}");
            assert_eq!(f32.gradients.len(), mixed.gradients.len());
            for ((name, want), (_, got)) in f32.gradients.iter().zip(&mixed.gradients) {
                let error = relative(got, want);
                println!("{what} {trains:?}: gradient {error:.1e} {name}");
                assert!(error < 1e-2, "{what}: {name} is off by {error:e}");
            }
        }
    });
}

/// A power of two as the loss's factor changes no bit of what does not underflow, and recomputed activations none at all.
#[test]
fn recomputed_activations_and_frozen_halves_give_the_same_bits() {
    let golden = Golden::open("llama.case_b.safetensors");
    for device in devices() {
        let (batch, embeddings, _) = case(&device, &golden);
        let both = (&batch, &embeddings);
        for trains in [Trains::All, Trains::LowRank, Trains::Adapter] {
            // Numbers that f16 holds, so that f16 storage and a rounded copy are the same.
            let made = |storage| {
                let round = |x| half::f16::from_f32(x).to_f32();
                let model = stored_model(&device, "llama", storage, round);
                if trains == Trains::LowRank { with_low_rank(&device, model) } else { model }
            };
            let run = |storage, recompute| {
                let mut trainer = trainer(&device, made(storage), Precision::Mixed, trains, recompute);
                let pass = pass(&device, &mut trainer, both, 1024.0);
                (pass.losses, pass.gradients)
            };
            let plain = run(ElementType::F32, false);
            assert!(plain == run(ElementType::F32, true), "{} {trains:?}: recomputed", device.name());
            if trains != Trains::All {
                assert!(plain == run(ElementType::F16, false), "{} {trains:?}: stored in f16", device.name());
                assert!(
                    plain == run(ElementType::F16, true),
                    "{} {trains:?}: stored in f16, recomputed",
                    device.name()
                );
            }
        }
    }
}

/// The host engine rounds where the GPU does: they differ by less than either from f32.
#[test]
fn both_engines_round_alike() {
    for kind in ["llama", "qwen2"] {
        let golden = Golden::open(&format!("{kind}.case_a.safetensors"));
        let [host, gpu] = devices().try_into().unwrap_or_else(|_| panic!("two devices"));
        let run = |device: &Device, precision| {
            let (batch, embeddings, _) = case(device, &golden);
            let mut trainer = trainer(device, model(device, kind), precision, Trains::All, false);
            pass(device, &mut trainer, (&batch, &embeddings), 1024.0)
        };
        let all = |pass: Pass| pass.gradients.into_iter().flat_map(|(_, g)| g).collect::<Vec<f32>>();
        let [f32, on_host, on_gpu] =
            [run(&host, Precision::F32), run(&host, Precision::Mixed), run(&gpu, Precision::Mixed)].map(all);
        let (engines, rounding) = (relative(&on_host, &on_gpu), relative(&on_host, &f32));
        assert!(engines < 0.5 * rounding, "{kind}: {engines:e} between the engines, {rounding:e} to f32");
    }
}

/// A step whose gradient overflows f16 changes nothing, and the next one goes on as if it had not been.
#[test]
fn an_overflow_changes_nothing() {
    let golden = Golden::open("llama.case_a.safetensors");
    for device in devices() {
        let (batch, embeddings, _) = case(&device, &golden);
        let mut trainer = trainer(&device, model(&device, "llama"), Precision::Mixed, Trains::All, false);
        let parameters = |trainer: &Trainer| {
            let all = trainer.model.decoder.parameters.iter().chain(trainer.model.adapter.parameters.iter());
            all.map(|p| p.value.to_f32_blocking(&device).unwrap()).collect::<Vec<_>>()
        };
        let before = parameters(&trainer);
        pass(&device, &mut trainer, (&batch, &embeddings), 1e30);
        trainer.step(1e-2).unwrap();
        assert!(!trainer.gradient_norm_blocking().unwrap().is_finite(), "{}", device.name());
        assert!(parameters(&trainer) == before, "{}: parameters changed", device.name());
        pass(&device, &mut trainer, (&batch, &embeddings), 1024.0);
        assert!(trainer.set_loss_scale(2.0).is_err(), "within a step");
        trainer.step(1e-2).unwrap();
        assert!(trainer.gradient_norm_blocking().unwrap().is_finite(), "{}", device.name());
        assert!(parameters(&trainer) != before, "{}", device.name());
    }
}

/// What products read follows the parameters: a fresh model of what was learnt computes the same bits, and does so in f32 again.
#[test]
fn a_step_reaches_what_products_read() {
    let golden = Golden::open("qwen2.case_a.safetensors");
    for device in devices() {
        let (batch, embeddings, _) = case(&device, &golden);
        for trains in [Trains::All, Trains::LowRank] {
            let made = || {
                let plain = model(&device, "qwen2");
                if trains == Trains::LowRank { with_low_rank(&device, plain) } else { plain }
            };
            let what = format!("{} {trains:?}", device.name());
            let losses = |trainer: &mut Trainer| -> Vec<f32> {
                trainer.evaluate(&batch, &embeddings).unwrap().read_blocking(&device).unwrap()
            };
            let mut learnt = trainer(&device, made(), Precision::Mixed, trains, false);
            let before = losses(&mut learnt);
            for _ in 0..2 {
                pass(&device, &mut learnt, (&batch, &embeddings), 1024.0);
                learnt.step(1e-2).unwrap();
            }
            let after = losses(&mut learnt);
            assert!(after != before, "{what}");
            let fresh = |first: Precision, precision| {
                let mut other = made();
                other.decoder.compute_in(&device, first).unwrap();
                let sides = [
                    (&other.decoder.parameters, &learnt.model.decoder.parameters),
                    (&other.adapter.parameters, &learnt.model.adapter.parameters),
                ];
                for (to, from) in sides.into_iter().flat_map(|(to, from)| to.iter().zip(from.iter())) {
                    to.value.write_f32(&device, &from.value.to_f32_blocking(&device).unwrap()).unwrap();
                }
                losses(&mut trainer(&device, other, precision, trains, false))
            };
            assert!(
                after == fresh(Precision::F32, Precision::Mixed),
                "{what}: products read what was before the steps"
            );
            // Nothing of mixed precision is left where it was asked for before.
            let plain = fresh(Precision::F32, Precision::F32);
            assert!(plain != after && plain == fresh(Precision::Mixed, Precision::F32), "{what}: back to f32");
        }
    }
}
