//! Model folders as people have them: types that differ from tensor to tensor, ties that are no longer, files that were left over, other names.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use half::bf16;
use realign::ElementType;
use realign::device::Device;
use realign::io::{AdapterKind, AdapterWeights, DecoderConfig, TensorFile, Weights};
use realign::nn::Decoder;
use serde_json::{Value, json};

use super::{model_folder, put, refused, safetensors};

/// All tensors of a file, by name, with their shapes.
fn tensors(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let file = TensorFile::open(path).unwrap();
    let names = file.tensors().iter();
    names.map(|(name, info)| (name.clone(), (info.shape.clone(), file.read_f32(name, &info.shape).unwrap()))).collect()
}

/// A file of these tensors, each f32, or bf16 where `halved` says so.
fn file_of(tensors: &BTreeMap<String, (Vec<usize>, Vec<f32>)>, halved: impl Fn(&str) -> bool) -> Vec<u8> {
    let (mut table, mut body) = (serde_json::Map::new(), Vec::new());
    for (name, (shape, numbers)) in tensors {
        let start = body.len();
        let kind = match halved(name) {
            true => {
                body.extend(numbers.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()));
                "BF16"
            }
            false => {
                body.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
                "F32"
            }
        };
        table.insert(name.clone(), json!({"dtype": kind, "shape": shape, "data_offsets": [start, body.len()]}));
    }
    let table = Value::Object(table).to_string();
    [&(table.len() as u64).to_le_bytes()[..], table.as_bytes(), &body].concat()
}

fn configure(folder: &Path, change: impl FnOnce(&mut Value)) {
    let path = folder.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(path, config.to_string()).unwrap();
}

/// One device for all: it alone reads its own buffers.
fn host() -> &'static Device {
    static HOST: LazyLock<Device> = LazyLock::new(Device::host);
    &HOST
}

fn opened(folder: &Path) -> Decoder {
    Decoder::open(host(), folder, None).unwrap()
}

/// A decoder's parameters, by name.
fn numbers(decoder: &Decoder) -> BTreeMap<String, Vec<f32>> {
    decoder.parameters.iter().map(|p| (p.name.clone(), p.value.to_f32_blocking(host()).unwrap())).collect()
}

#[test]
fn matrices_keep_each_their_own_type() {
    let folder = model_folder("llama");
    let path = folder.path().join("model.safetensors");
    let mut all = tensors(&path);
    all.retain(|name, _| !name.contains("mm_projector"));
    // A table of most of the numbers in 16 bits must not round the rest, nor the other way round.
    for halved in ["model.embed_tokens.weight", "mlp"] {
        std::fs::write(&path, file_of(&all, |name| name.contains(halved))).unwrap();
        let decoder = opened(folder.path());
        for parameter in decoder.parameters.iter().filter(|p| p.shape.len() == 2) {
            let wanted = if parameter.name.contains(halved) { ElementType::BF16 } else { ElementType::F32 };
            assert_eq!(parameter.value.element_type(), wanted, "{}", parameter.name);
        }
        for (name, found) in numbers(&decoder) {
            let round = |x: &f32| if name.contains(halved) { bf16::from_f32(*x).to_f32() } else { *x };
            assert!(found.iter().zip(&all[&name].1).all(|(a, b)| *a == round(b)), "{halved}: {name}");
        }
        let wide = Decoder::open(host(), folder.path(), Some(ElementType::F32)).unwrap();
        assert!(wide.parameters.iter().all(|p| p.value.element_type() == ElementType::F32));
    }
}

#[test]
fn a_stored_output_matrix_counts_whatever_ties_are_said() {
    let folder = model_folder("llama");
    let path = folder.path().join("model.safetensors");
    let all = tensors(&path);
    configure(folder.path(), |config| config["tie_word_embeddings"] = true.into());
    let decoder = opened(folder.path());
    assert!(!decoder.config().tied_embeddings);
    assert_eq!(numbers(&decoder)["lm_head.weight"], all["lm_head.weight"].1);
    // What is written says what it is.
    let out = folder.path().join("out");
    decoder.save_blocking(host(), (&out, false), folder.path(), ElementType::F32).unwrap();
    let written: Value = serde_json::from_slice(&std::fs::read(out.join("config.json")).unwrap()).unwrap();
    assert_eq!(written["tie_word_embeddings"], false);
    assert_eq!(tensors(&out.join("model.safetensors"))["lm_head.weight"], all["lm_head.weight"]);
    // A copy of the table is tied.
    let mut same = all.clone();
    same.insert("lm_head.weight".to_string(), all["model.embed_tokens.weight"].clone());
    std::fs::write(&path, file_of(&same, |_| false)).unwrap();
    let decoder = opened(folder.path());
    assert!(decoder.config().tied_embeddings && !numbers(&decoder).contains_key("lm_head.weight"));
}

#[test]
fn an_index_left_beside_a_whole_file_is_not_read() {
    let folder = model_folder("llama");
    let index = json!({"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}});
    put(folder.path(), "model.safetensors.index.json", index.to_string());
    opened(folder.path());
    std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    refused(Weights::open(folder.path()), &["model-00001-of-00002.safetensors"]);
}

#[test]
fn a_model_without_its_head_has_shorter_names() {
    let folder = model_folder("llama");
    let path = folder.path().join("model.safetensors");
    let mut all = tensors(&path);
    all.retain(|name, _| !name.contains("mm_projector") && name != "lm_head.weight");
    let whole = model_folder("llama");
    std::fs::write(whole.path().join("model.safetensors"), file_of(&all, |_| false)).unwrap();
    configure(whole.path(), |config| config["tie_word_embeddings"] = true.into());
    let bare = all.into_iter().map(|(name, tensor)| (name.strip_prefix("model.").unwrap().to_string(), tensor));
    std::fs::write(&path, file_of(&bare.collect(), |_| false)).unwrap();
    configure(folder.path(), |config| {
        config["tie_word_embeddings"] = true.into();
        config["architectures"] = json!(["LlamaModel"]);
    });
    let decoder = opened(folder.path());
    assert_eq!(numbers(&decoder), numbers(&opened(whole.path())));
    let out = folder.path().join("out");
    decoder.save_blocking(host(), (&out, false), folder.path(), ElementType::F32).unwrap();
    let written: Value = serde_json::from_slice(&std::fs::read(out.join("config.json")).unwrap()).unwrap();
    assert_eq!(written["architectures"], json!(["LlamaForCausalLM"]));
    assert_eq!(numbers(&opened(&out)), numbers(&decoder));
    // With a head that is called for and not there, it is refused.
    configure(folder.path(), |config| config["tie_word_embeddings"] = false.into());
    refused(Weights::with_config(folder.path()), &["lm_head.weight"]);
    assert!(!DecoderConfig::read(folder.path()).unwrap().tied_embeddings);
}

#[test]
fn projectors_have_transformers_names_too() {
    let spot = tempfile::tempdir().unwrap();
    let (w1, b1, w2, b2) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [0.1, 0.2, 0.3], [1.0f32; 9], [0.5; 3]);
    let of = |prefix: &str, names: [&str; 2]| {
        let name = |layer: usize, part: &str| format!("{prefix}{}.{part}", names[layer]);
        let names = [name(0, "weight"), name(0, "bias"), name(1, "weight"), name(1, "bias")];
        let shapes: [&[usize]; 4] = [&[3, 2], &[3], &[3, 3], &[3]];
        let numbers: [&[f32]; 4] = [&w1, &b1, &w2, &b2];
        let list: Vec<(&str, &[usize], &[f32])> = (0..4).map(|i| (&names[i][..], shapes[i], numbers[i])).collect();
        put(spot.path(), "a.safetensors", safetensors(&list));
        AdapterWeights::load(&spot.path().join("a.safetensors"))
    };
    let wanted = of("model.mm_projector.", ["0", "2"]).unwrap();
    assert_eq!(wanted.kind, AdapterKind::Mlp(2));
    for prefix in ["multi_modal_projector.", "model.multi_modal_projector.", "base_model.model.model.mm_projector."] {
        let names = if prefix.contains("multi") { ["linear_1", "linear_2"] } else { ["0", "2"] };
        assert_eq!(of(prefix, names).unwrap().layers, wanted.layers, "{prefix}");
    }
    refused(of("multi_modal_projector.", ["linear_0", "linear_2"]), &["does not belong", "mlpNx_gelu"]);
}
