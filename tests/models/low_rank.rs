//! Low-rank adapters against PEFT in f64 (see `golden/generate_lora.py`): every gradient, and steps of AdamW, with activations saved and
//! recomputed.

use realign::device::{Device, Tensor};
use realign::nn::decoder::LowRankOptions;
use realign::optim::AdamWOptions;
use realign::train::{Batch, Trainer, Trains};

use super::oracle::off;
use super::{Golden, case, devices, model};

/// The model of the golden file on a device, with its factors.
fn trainer(device: &Device, kind: &str, lora: &Golden, recompute: bool) -> Trainer {
    let mut model = model(device, kind);
    model.decoder.add_low_rank(device, LowRankOptions { rank: 3, alpha: 6.0, seed: 1 }).unwrap();
    for parameter in model.decoder.parameters.iter().filter(|p| p.name.contains(".lora_")) {
        assert_eq!(lora.shape(&parameter.name), parameter.shape, "{}", parameter.name);
        parameter.value.write_f32(device, &lora.floats(&parameter.name)).unwrap();
    }
    let options = AdamWOptions { weight_decay: 0.1, max_norm: None, ..Default::default() };
    Trainer::new(device, model, Trains::LowRank, (options, recompute)).unwrap()
}

fn each(mut f: impl FnMut(&Device, &str, &Golden, bool, &str)) {
    for device in devices() {
        for kind in ["llama", "qwen2"] {
            let lora = Golden::open(&format!("{kind}.lora.safetensors"));
            for recompute in [false, true] {
                f(&device, kind, &lora, recompute, &format!("{} {kind} recompute {recompute}", device.name()));
            }
        }
    }
}

fn opened(device: &Device, kind: &str, name: &str) -> (Batch, Tensor) {
    let (batch, embeddings, _) = case(device, &Golden::open(&format!("{kind}.case_{name}.safetensors")));
    (batch, embeddings)
}

#[test]
fn gradients_are_those_of_peft() {
    each(|device, kind, lora, recompute, what| {
        let mut trainer = trainer(device, kind, lora, recompute);
        for name in ["b", "c"] {
            let (batch, embeddings) = opened(device, kind, name);
            trainer.clear().unwrap();
            let count = trainer.accumulate(&batch, &embeddings).unwrap().count as f64;
            let (adapter, decoder) = trainer.gradients();
            let sides = [(&trainer.model.adapter.parameters, adapter), (&trainer.model.decoder.parameters, decoder)];
            let all = sides.iter().flat_map(|(p, g)| g.iter().map(move |(slot, g)| (&p.get(slot).name, g)));
            let mut checked = 0;
            for (parameter, gradient) in all {
                let got = gradient.to_f32_blocking(device).unwrap();
                let got: Vec<f64> = got.into_iter().map(|g| f64::from(g) / count).collect();
                let error = off(&got, &lora.doubles(&format!("grad.{name}.{parameter}")));
                assert!(error < 1e-5, "{what}, case {name}: {parameter} is off by {error:e}");
                checked += 1;
            }
            assert_eq!(checked, 4 + 2 * 7 * 2);
        }
    });
}

#[test]
fn steps_are_those_of_peft() {
    each(|device, kind, lora, recompute, what| {
        let mut trainer = trainer(device, kind, lora, recompute);
        let (batch, embeddings) = opened(device, kind, "b");
        for (step, want) in lora.doubles("steps").chunks_exact(2).enumerate() {
            trainer.clear().unwrap();
            let losses = trainer.accumulate(&batch, &embeddings).unwrap();
            trainer.step(2e-3).unwrap();
            let nll = losses.read_blocking(device).unwrap();
            let loss = nll.iter().map(|l| f64::from(*l)).sum::<f64>() / nll.len() as f64;
            let norm = f64::from(trainer.gradient_norm_blocking().unwrap());
            // AdamW's first steps divide gradients by their own size, and so carry on the rounding of those near 0.
            for (got, want, bound) in [(loss, want[0], 1e-5), (norm, want[1], 1e-4)] {
                assert!((got - want).abs() < bound * want, "{what}, step {step}: {got} for {want}");
            }
        }
    });
}
