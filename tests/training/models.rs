//! Weights in and out: shards, types, damage.

use half::{bf16, f16};
use realign::ElementType;
use realign::io::{DecoderConfig, MAX_SHARD_BYTES, ModelWriter, Weights};

use super::{model_folder, put, refused, safetensors};

fn all(weights: &Weights, config: &DecoderConfig) -> Vec<(String, Vec<f32>)> {
    config.tensors().into_iter().map(|(name, shape)| (name.clone(), weights.read_f32(&name, &shape).unwrap())).collect()
}

/// Writes the model of `from` again, tensor by tensor in pieces.
fn rewrite(from: &std::path::Path, to: &std::path::Path, element: ElementType, shard: u64) {
    let config = DecoderConfig::read(from).unwrap();
    let weights = Weights::open(from).unwrap();
    let mut writer = ModelWriter::create(to, false, from, &config, element, shard).unwrap();
    for (name, numbers) in all(&weights, &config).into_iter().rev() {
        for piece in numbers.chunks(1000) {
            writer.write(&name, piece).unwrap();
        }
    }
    assert!(!to.exists(), "the folder appeared before it was complete");
    writer.commit().unwrap();
}

#[test]
fn a_model_comes_back_whole_from_one_file_and_from_shards() {
    for (kind, shard, files) in [("llama", MAX_SHARD_BYTES, 1), ("llama", 100_000, 5), ("qwen2", 1, 26)] {
        let source = model_folder(kind);
        let spot = tempfile::tempdir().unwrap();
        let out = spot.path().join("model");
        rewrite(source.path(), &out, ElementType::F32, shard);
        let config = DecoderConfig::read(&out).unwrap();
        let (a, b) = (Weights::open(source.path()).unwrap(), Weights::open(&out).unwrap());
        assert_eq!(all(&a, &config), all(&b, &config));
        assert_eq!(b.names().count(), config.tensors().len());
        let ends = |name: &std::ffi::OsStr| name.to_string_lossy().ends_with(".safetensors");
        let found = std::fs::read_dir(&out).unwrap().filter(|f| ends(&f.as_ref().unwrap().file_name())).count();
        assert_eq!(found, files, "{kind}");
        assert!(out.join("tokenizer.json").is_file());
        let config = std::fs::read_to_string(out.join("config.json")).unwrap();
        assert!(config.contains("\"torch_dtype\": \"float32\""), "{config}");
        assert_eq!(std::fs::read_dir(spot.path()).unwrap().count(), 1, "something was left behind");
    }
}

#[test]
fn halves_are_rounded_to_the_nearest_and_read_back() {
    let source = model_folder("llama");
    let spot = tempfile::tempdir().unwrap();
    let exact = Weights::open(source.path()).unwrap();
    let config = DecoderConfig::read(source.path()).unwrap();
    let (name, shape) = ("model.layers.1.mlp.up_proj.weight", [128, 64]);
    let numbers = exact.read_f32(name, &shape).unwrap();
    for element in [ElementType::F16, ElementType::BF16] {
        let rounded = |x: &f32| match element {
            ElementType::F16 => f16::from_f32(*x).to_f32(),
            _ => bf16::from_f32(*x).to_f32(),
        };
        let out = spot.path().join(element.name());
        rewrite(source.path(), &out, element, 1 << 30);
        let weights = Weights::open(&out).unwrap();
        assert_eq!(weights.element_type(), element);
        let expected: Vec<f32> = numbers.iter().map(rounded).collect();
        assert_eq!(weights.read_f32(name, &shape).unwrap(), expected);
        // The same by conversion on reading, from the middle of the tensor.
        let (mut a, mut b) = (vec![0; 200], vec![0; 200]);
        weights.read(name, &shape, 1003, element, &mut a).unwrap();
        exact.read(name, &shape, 1003, element, &mut b).unwrap();
        assert_eq!(a, b);
        assert_eq!(all(&weights, &config).len(), config.tensors().len());
    }
}

#[test]
fn wrong_tensors_are_named() {
    let folder = model_folder("qwen2");
    let weights = Weights::open(folder.path()).unwrap();
    let name = "model.norm.weight";
    refused(weights.read_f32(name, &[65]), &["model.safetensors", name, "[64]", "[65]"]);
    refused(weights.read_f32("lm_head.weight", &[256, 64]), &["lm_head.weight", "config.json"]);
    refused(weights.read(name, &[64], 60, ElementType::F32, &mut [0; 20]), &[name, "64 numbers", "60"]);
    refused(weights.read(name, &[64], 0, ElementType::F64, &mut [0; 8]), &["f64"]);
}

#[test]
fn damaged_files_are_refused() {
    let folder = model_folder("llama");
    let path = folder.path().join("model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    refused(Weights::open(folder.path()), &["model.safetensors", "truncated"]);
    std::fs::write(&path, &whole[..4]).unwrap();
    refused(Weights::open(folder.path()), &["not a safetensors file"]);
    std::fs::remove_file(&path).unwrap();
    refused(Weights::open(folder.path()), &["neither model.safetensors nor"]);
    put(folder.path(), "pytorch_model.bin", "");
    refused(Weights::open(folder.path()), &["pickled", "safe_serialization"]);
    let mut odd = vec![1.0f32; 64];
    odd[7] = f32::NAN;
    put(folder.path(), "model.safetensors", safetensors(&[("a", &[64], &odd)]));
    refused(Weights::open(folder.path()).unwrap().read_f32("a", &[64]), &["\"a\"", "NaN", "number 7"]);
    odd[7] = 1e6;
    put(folder.path(), "model.safetensors", safetensors(&[("a", &[64], &odd)]));
    let weights = Weights::open(folder.path()).unwrap();
    refused(weights.read("a", &[64], 0, ElementType::F16, &mut [0; 128]), &["inf", "bf16"]);
    weights.read("a", &[64], 0, ElementType::BF16, &mut [0; 128]).unwrap();
}

#[test]
fn damaged_shards_are_refused() {
    let source = model_folder("llama");
    let spot = tempfile::tempdir().unwrap();
    let out = spot.path().join("m");
    rewrite(source.path(), &out, ElementType::F32, 100_000);
    let index = out.join("model.safetensors.index.json");
    let text = std::fs::read_to_string(&index).unwrap();
    let shard = out.join("model-00002-of-00005.safetensors");
    let whole = std::fs::read(&shard).unwrap();
    std::fs::write(&shard, &whole[..whole.len() / 2]).unwrap();
    refused(Weights::open(&out), &["model-00002-of-00005", "truncated"]);
    std::fs::remove_file(&shard).unwrap();
    refused(Weights::open(&out), &["open", "model-00002-of-00005"]);
    std::fs::write(&shard, safetensors(&[("other", &[1], &[1.0])])).unwrap();
    refused(Weights::open(&out), &["model-00002-of-00005", "promises"]);
    std::fs::write(&index, text.replace("model-00002", "../model-00002")).unwrap();
    refused(Weights::open(&out), &["index.json", "file name of this folder"]);
    std::fs::write(&index, "{}").unwrap();
    refused(Weights::open(&out), &["index.json", "weight_map"]);
    std::fs::write(&index, "{").unwrap();
    refused(Weights::open(&out), &["index.json", "JSON"]);
}

#[test]
fn incomplete_or_impossible_exports_leave_nothing() {
    let source = model_folder("llama");
    let config = DecoderConfig::read(source.path()).unwrap();
    let spot = tempfile::tempdir().unwrap();
    let out = spot.path().join("m");
    let create = |element| ModelWriter::create(&out, false, source.path(), &config, element, MAX_SHARD_BYTES);
    let mut writer = create(ElementType::F16).unwrap();
    refused(writer.write("nonsense", &[1.0]), &["nonsense"]);
    refused(writer.write("model.norm.weight", &[f32::NAN]), &["model.norm.weight", "NaN"]);
    refused(writer.write("model.norm.weight", &[70000.0]), &["model.norm.weight", "70000", "f16"]);
    refused(writer.write("model.norm.weight", &[0.0; 65]), &["64 more", "65"]);
    writer.write("model.norm.weight", &[0.0; 63]).unwrap();
    refused(writer.commit(), &["too few"]);
    refused(create(ElementType::F64), &["f64"]);
    refused(
        ModelWriter::create(&out.join("x/y"), false, source.path(), &config, ElementType::F32, 1),
        &["does not exist"],
    );
    assert_eq!(std::fs::read_dir(spot.path()).unwrap().count(), 0);
    std::fs::create_dir(&out).unwrap();
    put(&out, "precious", "1");
    refused(create(ElementType::F32), &["exists", "allow it to be replaced"]);
    assert!(out.join("precious").is_file());
}
