//! Dropout of low-rank additions against the f64 twins under the same masks, with activations saved and recomputed, in one batch and in several;
//! and that it changes nothing where it must not.

use std::collections::BTreeMap;
use std::rc::Rc;

use realign::ElementType;
use realign::device::Device;
use realign::host::nn::dropout::{self, Mask};
use realign::kernels::nn::dropout::threshold;
use realign::nn::Precision;
use realign::train::{Batch, Model, Trains, dropout_key};

use super::devices;
use super::oracle::off;
use super::product::{Bits, Shape, Visual, floats, run, wanted};
use super::twins::{Matrix, Tensors, Twin};

const PROBABILITY: f32 = 0.3;

fn shapes() -> [Shape; 2] {
    let shape =
        |tied, storage, (tokens, count)| Shape { tied, biases: !tied, storage, visual: Visual { tokens, count } };
    [shape(true, ElementType::F32, (1, 3)), shape(false, ElementType::BF16, (2, 3))]
}

fn model(shape: Shape, device: &Device, twin: &Twin, probability: f32, precision: Precision) -> Model {
    let mut model = shape.model(device, twin);
    model.decoder.set_dropout(probability).unwrap();
    model.decoder.compute_in(device, precision).unwrap();
    model
}

/// The factors of a batch's first step: layers go by the places of their A.
fn mask(batch: &Batch, modules: Rc<BTreeMap<String, u32>>) -> super::twins::Mask {
    let sample = |i: usize| std::iter::repeat_n(batch.samples[i], batch.sequences[i].1 as usize);
    let samples: Vec<u32> = (0..batch.samples.len()).flat_map(sample).collect();
    let positions = batch.positions.clone();
    Box::new(move |name, row, column| {
        let Some(&module) = modules.get(name) else { return 1.0 };
        let (positions, samples) = (&positions[row..][..1], &samples[row..][..1]);
        let mask = Mask { positions, samples, module, key: dropout_key(0, 0), threshold: threshold(PROBABILITY) };
        let mut left = [0.0; 64];
        dropout::dropout(mask, 1.0 / (1.0 - f64::from(PROBABILITY)), &[1.0; 64], (&mut left, 64), false);
        left[column]
    })
}

/// Gradients' sums and losses of the twin under its masks.
fn masked(twin: &mut Twin, batches: &[(Batch, Matrix)], modules: &Rc<BTreeMap<String, u32>>) -> (Tensors, Vec<f64>) {
    let (mut sums, mut losses) = (Tensors::new(), Vec::new());
    for (batch, embeddings) in batches {
        twin.mask = Some(mask(batch, modules.clone()));
        let (gradients, more) = wanted(twin, std::slice::from_ref(&(batch.clone(), embeddings.clone())));
        losses.extend(more);
        for (name, gradient) in gradients {
            match sums.get_mut(&name) {
                None => drop(sums.insert(name, gradient)),
                Some(sum) => sum.data.iter_mut().zip(&gradient.data).for_each(|(s, g)| *s += g),
            }
        }
    }
    twin.mask = None;
    (sums, losses)
}

fn check(bits: &Bits, (gradients, losses): &(Tensors, Vec<f64>), bound: f64, what: &str) {
    let error = off(&floats(&bits.losses), losses);
    assert!(error < bound, "{what}: losses are off by {error:e}");
    for (name, got) in &bits.gradients {
        let error = off(&floats(got), &gradients[name].tight());
        assert!(error < 10.0 * bound, "{what}: {name} is off by {error:e}");
    }
}

#[test]
fn dropout_is_that_of_the_twins() {
    for device in devices() {
        for (shape, accumulate) in shapes().into_iter().flat_map(|shape| [(shape, false), (shape, true)]) {
            let batches = shape.batches(accumulate);
            let mut twin = shape.twin(true);
            let plain = wanted(&twin, &batches);
            let of = model(shape, &device, &twin, PROBABILITY, Precision::F32);
            let parameters = of.decoder.parameters.iter().enumerate();
            let modules = parameters
                .filter_map(|(slot, p)| Some((p.name.strip_suffix(".lora_A.weight")?.to_owned(), slot as u32)));
            let modules = Rc::new(modules.collect::<BTreeMap<_, _>>());
            assert_eq!(modules.len(), 21);
            let want = masked(&mut twin, &batches, &modules);
            let what = format!("{} {shape:?} accumulate {accumulate}", device.name());
            assert!(off(&want.1, &plain.1) > 1e-3, "{what}: the masks leave nothing out");
            let train = |precision, recompute| {
                run(&device, model(shape, &device, &twin, PROBABILITY, precision), Trains::LowRank, &batches, recompute)
            };
            let saved = train(Precision::F32, false);
            check(&saved, &want, 1e-5, &what);
            assert!(saved == train(Precision::F32, true), "{what}: recomputed, the results are others");
            let error = off(&floats(&saved.evaluated), &plain.1);
            assert!(error < 1e-5, "{what}: evaluated with dropout, losses are off by {error:e}");
            if shape.storage == ElementType::F32 {
                continue;
            }
            let mixed = train(Precision::Mixed, false);
            check(&mixed, &want, 5e-3, &format!("{what} mixed"));
            assert!(mixed == train(Precision::Mixed, true), "{what} mixed: recomputed, the results are others");
        }
    }
}

#[test]
fn without_probability_nothing_changes() {
    for device in devices() {
        let shape = shapes()[0];
        let (twin, batches) = (shape.twin(true), shape.batches(true));
        let never = run(&device, shape.model(&device, &twin), Trains::LowRank, &batches, false);
        let zero = run(&device, model(shape, &device, &twin, 0.0, Precision::F32), Trains::LowRank, &batches, false);
        assert!(never == zero, "{}", device.name());
        for wrong in [-0.1, 1.0, f32::NAN] {
            assert!(
                shape.model(&device, &twin).decoder.set_dropout(wrong).unwrap_err().to_string().contains("dropout")
            );
        }
    }
}
