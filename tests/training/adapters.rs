//! Adapters under LLaVA's names.

use realign::ElementType;
use realign::io::{AdapterKind, AdapterLayer, AdapterWeights};

use super::{golden, put, refused, safetensors};

fn layer(inputs: usize, outputs: usize) -> AdapterLayer {
    let weight = (0..inputs * outputs).map(|i| (i as f32 * 0.37).sin()).collect();
    AdapterLayer { inputs, outputs, weight, bias: (0..outputs).map(|i| i as f32 - 0.5).collect() }
}

fn adapter(kind: AdapterKind) -> AdapterWeights {
    let layers = (0..kind.depth()).map(|i| layer(if i == 0 { 5 } else { 7 }, 7)).collect();
    AdapterWeights { kind, layers, notes: [("trained".to_string(), "yes".to_string())].into() }
}

#[test]
fn every_kind_comes_back() {
    let spot = tempfile::tempdir().unwrap();
    for kind in [AdapterKind::Linear, AdapterKind::Mlp(1), AdapterKind::Mlp(2), AdapterKind::Mlp(3)] {
        let path = spot.path().join("adapter.safetensors");
        let saved = adapter(kind);
        saved.save(&path, ElementType::F32, true).unwrap();
        for place in [path.as_path(), spot.path()] {
            let loaded = AdapterWeights::load(place).unwrap();
            assert_eq!((loaded.kind, &loaded.layers), (kind, &saved.layers));
            assert_eq!((loaded.notes["trained"].as_str(), loaded.notes["format"].as_str()), ("yes", "pt"));
            assert_eq!(loaded.notes["mm_projector_type"], kind.to_string());
            assert_eq!((loaded.inputs(), loaded.outputs()), (5, 7));
        }
        assert_eq!(kind.to_string().parse::<AdapterKind>().unwrap(), kind);
        refused(saved.save(&path, ElementType::F32, false), &["exists"]);
    }
    for bad in ["mlp0x_gelu", "mlp65x_gelu", "mlp2x_relu", "", "mlp-1x_gelu", "mlp99999999999999999999x_gelu"] {
        refused(bad.parse::<AdapterKind>(), &["linear", "mlpNx_gelu"]);
    }
}

#[test]
fn the_projector_is_found_in_a_whole_model() {
    let found = AdapterWeights::load(&golden("models/llama.safetensors")).unwrap();
    assert_eq!((found.kind, found.inputs(), found.outputs()), (AdapterKind::Mlp(2), 48, 64));
}

#[test]
fn names_follow_the_convention() {
    let two = AdapterKind::Mlp(2).tensors(5, 7);
    let names: Vec<&str> = two.iter().map(|(name, _)| name.as_str()).collect();
    let expected = ["0.weight", "0.bias", "2.weight", "2.bias"].map(|name| format!("model.mm_projector.{name}"));
    assert_eq!(names, expected);
    assert_eq!(two[0].1, [7, 5]);
    assert_eq!(AdapterKind::Linear.tensors(5, 7)[0].0, "model.mm_projector.weight");
}

#[test]
fn broken_adapters_are_refused() {
    let spot = tempfile::tempdir().unwrap();
    let bad = |tensors: &[(&str, &[usize], &[f32])], words: &[&str]| {
        let path = put(spot.path(), "a.safetensors", safetensors(tensors));
        refused(AdapterWeights::load(&path), words);
    };
    let (w, b): (&[f32], &[f32]) = (&[1.0; 6], &[1.0; 2]);
    bad(&[("lm_head.weight", &[2, 3], w)], &["no adapter", "lm_head.weight"]);
    bad(&[("mm_projector.weight", &[2, 3], w)], &["\"bias\"", "missing"]);
    bad(
        &[
            ("mm_projector.0.weight", &[2, 3], w),
            ("mm_projector.0.bias", &[2], b),
            ("mm_projector.4.weight", &[2, 3], w),
        ],
        &["4.weight", "gaps"],
    );
    bad(&[("mm_projector.0.weight", &[6], w), ("mm_projector.0.bias", &[2], b)], &["[outputs, inputs]", "[6]"]);
    bad(&[("mm_projector.0.weight", &[2, 3], w), ("mm_projector.0.bias", &[6], w)], &["0.bias", "[6]", "[2]"]);
    bad(
        &[("mm_projector.weight", &[2, 3], w), ("mm_projector.bias", &[2], b), ("mm_projector.0.bias", &[2], b)],
        &["0.bias"],
    );
    bad(&[("a.mm_projector.weight", &[2, 3], w), ("mm_projector.weight", &[2, 3], w)], &["both"]);
    bad(
        &[
            ("mm_projector.0.weight", &[2, 3], w),
            ("mm_projector.0.bias", &[2], b),
            ("mm_projector.2.weight", &[2, 3], w),
            ("mm_projector.2.bias", &[2], b),
        ],
        &["gives 2", "takes 3"],
    );
    bad(&[("mm_projector.weight", &[2, 3], &[f32::INFINITY; 6]), ("mm_projector.bias", &[2], b)], &["inf"]);
    refused(AdapterWeights::load(&put(spot.path(), "mm_projector.bin", "")), &["pickled"]);
    refused(AdapterWeights::load(&spot.path().join("none.safetensors")), &["none.safetensors"]);
    let empty = tempfile::tempdir().unwrap();
    refused(AdapterWeights::load(empty.path()), &["no adapter.safetensors"]);
    let mut odd = adapter(AdapterKind::Mlp(2));
    odd.layers[1].inputs = 6;
    refused(odd.save(&empty.path().join("x"), ElementType::F32, false), &["layer 1"]);
    odd.layers.pop();
    refused(odd.save(&empty.path().join("x"), ElementType::F32, false), &["2 layers"]);
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);
}
