//! Low-rank additions from a folder: used beside the model, and trained on.

use realign::ElementType;
use realign::device::Device;
use realign::inference::score;
use realign::io::{AdapterWeights, SampleOptions};
use realign::nn::decoder::OpenDecoder;
use realign::nn::{Adapter, Decoder};
use realign::train::{EmbeddingFiles, Form, Model, Run, Settings, Stage, Start, Trained, VisualInputs, data};

use super::refused;
use super::runs::{devices, finish, setup};

/// The likelihoods of a run's data by a decoder and the run's adapter.
fn scores(device: &Device, settings: &Settings, decoder: Decoder) -> Vec<f64> {
    let weights = AdapterWeights::load(&settings.out.join("adapter.safetensors")).unwrap();
    let model = Model { adapter: Adapter::new(device, &weights).unwrap(), decoder };
    let inputs = &settings.embeddings[..];
    let files = EmbeddingFiles { inputs, ids: settings.ids.as_deref(), key: None, column: None, id_column: None };
    let embeddings = files.open().unwrap();
    let options = SampleOptions::default();
    let samples = data::samples(&settings.model, &settings.data, &embeddings, &options, Form::Conversations).unwrap();
    let mut inputs = VisualInputs::new(device, embeddings.rows, None).unwrap();
    score(device, &model, (&samples, &mut inputs), 8, |_| ()).unwrap().iter().map(|s| s.nll).collect()
}

fn lora() -> (tempfile::TempDir, Settings) {
    let (folder, mut settings) = setup(Stage::Two);
    (settings.train, settings.epochs, settings.lora_rank, settings.lora_alpha) = (Trained::Lora, 8.0, 3, 6.0);
    settings.merge_lora = true;
    (folder, settings)
}

#[test]
fn additions_beside_the_model_score_as_merged_ones() {
    for device in devices() {
        let (_folder, settings) = lora();
        finish(Run::start(&device, settings.clone(), Start::New).unwrap());
        let additions = settings.out.join("lora");
        let beside = OpenDecoder { low_rank: Some(&additions), ..OpenDecoder::default() };
        let open = |options| Decoder::open_with(&device, &settings.model, options).unwrap();
        let apart = scores(&device, &settings, open(beside));
        let merged = Decoder::open(&device, &settings.out.join("model"), None).unwrap();
        let merged = scores(&device, &settings, merged);
        let base = scores(&device, &settings, open(OpenDecoder::default()));
        for ((a, m), b) in apart.iter().zip(&merged).zip(&base) {
            assert!((a - m).abs() < 1e-5 * m && (a - b).abs() > 1e-3, "{}: {a} {m} {b}", device.name());
        }
        // Kept in 16 bits, the matrices are rounded; the additions are not.
        let rounded = scores(&device, &settings, open(OpenDecoder { weights: Some(ElementType::BF16), ..beside }));
        assert!(rounded.iter().zip(&apart).all(|(r, a)| (r - a).abs() < 0.05 * a && r != a));
    }
}

#[test]
fn a_run_goes_on_from_additions() {
    let device = Device::host();
    let (_folder, settings) = lora();
    let first = finish(Run::start(&device, settings.clone(), Start::New).unwrap());
    let mut next = settings.clone().out(settings.out.with_file_name("next"));
    next.init_lora = Some(settings.out.join("lora"));
    next.init_adapter = Some(settings.out.join("adapter.safetensors"));
    let records = finish(Run::start(&device, next.clone(), Start::New).unwrap());
    let (before, after) = (first.last().unwrap().loss, records[0].loss);
    assert!(after < 0.5 * (before + first[0].loss), "{} {before} {after}", first[0].loss);
    let read = |s: &Settings| std::fs::read(s.out.join("lora/adapter_model.safetensors")).unwrap();
    assert_ne!(read(&settings), read(&next));
}

#[test]
fn additions_that_would_be_computed_otherwise_are_refused() {
    let device = Device::host();
    let (_folder, settings) = lora();
    finish(Run::start(&device, settings.clone(), Start::New).unwrap());
    let folder = settings.out.join("lora");
    let path = folder.join("adapter_config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let open = |change: (&str, serde_json::Value)| {
        let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
        config[change.0] = change.1;
        std::fs::write(&path, config.to_string()).unwrap();
        let options = OpenDecoder { low_rank: Some(&folder), ..OpenDecoder::default() };
        Decoder::open_with(&device, &settings.model, options).map(drop)
    };
    open(("use_dora", false.into())).unwrap();
    refused(open(("use_dora", true.into())), &["adapter_config.json", "use_dora"]);
    refused(open(("bias", "all".into())), &["bias", "all"]);
    refused(open(("peft_type", "IA3".into())), &["peft_type", "IA3"]);
    refused(open(("rank_pattern", serde_json::json!({"q_proj": 4}))), &["rank_pattern"]);
    refused(open(("r", 4.into())), &["lora_A", "shape"]);
}
