//! What is particular to some parameters: the adapter's learning rate, and decay of matrices alone.

use std::collections::BTreeMap;

use realign::device::Device;
use realign::io::TensorFile;
use realign::train::{Run, Settings, Stage, Start};

use super::refused;
use super::runs::{finish, setup};

/// All tensors that one step leaves, by name, with their number of dimensions.
fn after_a_step(change: impl Fn(&mut Settings)) -> BTreeMap<String, (usize, Vec<f32>)> {
    let (_folder, mut settings) = setup(Stage::Two);
    (settings.max_steps, settings.warmup_ratio) = (Some(1), 0.0);
    change(&mut settings);
    finish(Run::start(&Device::host(), settings.clone(), Start::New).unwrap());
    let mut all = BTreeMap::new();
    for name in ["adapter.safetensors", "model/model.safetensors"] {
        let file = TensorFile::open(&settings.out.join(name)).unwrap();
        for (tensor, info) in file.tensors() {
            all.insert(tensor.clone(), (info.shape.len(), file.read_f32(tensor, &info.shape).unwrap()));
        }
    }
    all
}

fn is_adapter(name: &str) -> bool {
    name.contains("mm_projector")
}

#[test]
fn the_adapter_has_a_rate_of_its_own() {
    let plain = after_a_step(|_| ());
    // That of all else, and another.
    assert!(plain == after_a_step(|s| s.projector_lr = Some(s.lr)));
    let slow = after_a_step(|s| s.projector_lr = Some(s.lr * 1e-3));
    let start = after_a_step(|s| (s.lr, s.projector_lr) = (1e-30, Some(1e-30)));
    for (name, (_, numbers)) in &plain {
        assert_eq!(numbers != &slow[name].1, is_adapter(name), "{name}");
        let moved = |now: &[f32]| now.iter().zip(&start[name].1).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        if is_adapter(name) {
            let ratio = moved(&slow[name].1) / moved(numbers);
            assert!((ratio - 1e-3).abs() < 2e-4, "{name}: {ratio}");
        }
    }
    let (_folder, settings) = setup(Stage::Two);
    refused(Run::start(&Device::host(), settings.projector_lr(Some(-1.0)), Start::New), &["projector_lr"]);
}

#[test]
fn vectors_need_not_decay() {
    let with = |decay: f64, only: bool| after_a_step(|s| (s.weight_decay, s.decay_matrices_only) = (decay, only));
    let (all, none, matrices) = (with(0.5, false), with(0.0, false), with(0.5, true));
    for (name, (dimensions, numbers)) in &matrices {
        let same = if *dimensions > 1 { &all[name] } else { &none[name] };
        assert!(numbers == &same.1, "{name}");
        assert!(all[name].1 != none[name].1, "{name}: nothing decays");
    }
}
