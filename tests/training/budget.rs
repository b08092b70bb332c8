//! Batches by a budget of tokens, low-rank additions to some layers alone and with dropout, and the plan of a run.

use realign::ElementType;
use realign::io::TensorFile;
use realign::nn::Precision;
use realign::train::{PlanOptions, PlanShape, Run, Settings, Stage, Start, Trained, Trains, plan_settings};

use super::refused;
use super::runs::{devices, finish, mixed, results, setup};

/// Interrupted after a checkpoint, a run gives the results of one that was not.
fn goes_on_bit_for_bit(device: &realign::device::Device, settings: &Settings, what: &str) {
    let plain = settings.clone();
    finish(Run::start(device, plain.clone(), Start::New).unwrap());
    let whole = results(&plain.out);
    assert!(whole.len() >= 2, "{what}");
    let again = plain.clone().out(plain.out.with_file_name("again"));
    let mut first = Run::start(device, again.clone(), Start::New).unwrap();
    (0..4).for_each(|_| drop(first.advance().unwrap()));
    drop(first);
    let run = Run::start(device, again.clone(), Start::Resume).unwrap();
    assert_eq!(run.step(), 3, "{what}");
    finish(run);
    assert!(results(&again.out) == whole, "{what}: results differ");
}

#[test]
fn a_run_by_tokens_goes_on_and_ends_with_its_last_pass() {
    for device in devices() {
        let (_folder, mut settings) = mixed(Stage::Two);
        let lengths = Run::start(&device, settings.clone(), Start::New).unwrap().samples().lengths();
        std::fs::remove_dir_all(&settings.out).unwrap();
        let (longest, all) = (*lengths.iter().max().unwrap() as usize, lengths.iter().sum::<u32>() as u64);
        (settings.batch_tokens, settings.checkpoint_every, settings.log_every) = (Some(longest + 3), 3, 1);
        (settings.eval_data, settings.eval_every) = (Some(settings.data.clone()), 2);
        goes_on_bit_for_bit(&device, &settings, device.name());
        let run = Run::start(&device, settings.clone(), Start::Resume).unwrap();
        // Four passes, all of each.
        assert_eq!((run.tokens(), run.step()), (4 * all, run.total()));
        drop(run);
        // Held-out data in other batches has the same loss.
        let evaluated = |settings: &Settings| {
            let records = finish(Run::start(&device, settings.clone(), Start::Replace).unwrap());
            records.iter().find_map(|r| r.more.iter().find(|(name, _)| *name == "eval_loss").map(|(_, x)| *x)).unwrap()
        };
        settings.lr = 1e-12;
        let by_tokens = evaluated(&settings);
        settings.batch_tokens = None;
        let by_samples = evaluated(&settings);
        assert!((by_tokens - by_samples).abs() < 1e-6 * by_samples, "{by_tokens} {by_samples}");
        settings.batch_tokens = Some(longest - 1);
        refused(Run::start(&device, settings, Start::Replace), &["batch_tokens", "longest", "max_length"]);
    }
}

#[test]
fn dropout_and_targets_are_found_again() {
    for device in devices() {
        let (_folder, mut settings) = mixed(Stage::Two);
        (settings.train, settings.lora_rank, settings.lr) = (Trained::Lora, 3, 1e-2);
        (settings.checkpoint_every, settings.lora_dropout) = (3, Some(0.2));
        settings.lora_targets = vec!["q_proj".to_owned(), "down_proj".to_owned()];
        goes_on_bit_for_bit(&device, &settings, device.name());
        let folder = settings.out.join("lora");
        let file = TensorFile::open(&folder.join("adapter_model.safetensors")).unwrap();
        let modules: Vec<&str> = file.tensors().keys().map(|name| name.rsplit('.').nth(2).unwrap()).collect();
        assert!(
            modules.iter().all(|m| ["q_proj", "down_proj"].contains(m)) && modules.contains(&"q_proj"),
            "{modules:?}"
        );
        let config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder.join("adapter_config.json")).unwrap()).unwrap();
        assert_eq!(config["lora_dropout"], 0.2);
        assert_eq!(config["target_modules"].as_array().unwrap().len(), 2);
        // Trained on from there; without dropout the results are others.
        let next = settings.clone().out(settings.out.with_file_name("next")).init_lora(Some(folder));
        let dropped = next.clone();
        finish(Run::start(&device, next, Start::New).unwrap());
        // The folder's dropout is gone on with, as PEFT does, unless another is said.
        let inherited = dropped.clone().out(settings.out.with_file_name("inherited")).lora_dropout(None);
        finish(Run::start(&device, inherited.clone(), Start::New).unwrap());
        assert!(results(&inherited.out) == results(&dropped.out), "{}", device.name());
        let none = dropped.clone().out(settings.out.with_file_name("none")).lora_dropout(Some(0.0));
        finish(Run::start(&device, none.clone(), Start::New).unwrap());
        assert!(results(&none.out) != results(&dropped.out), "{}", device.name());
        let whole = settings.clone().out(settings.out.with_file_name("whole")).lora_dropout(None);
        finish(Run::start(&device, whole.clone(), Start::New).unwrap());
        assert!(results(&whole.out) != results(&settings.out), "{}", device.name());
        settings.lora_targets = vec!["query_proj".to_owned()];
        refused(Run::start(&device, settings, Start::Replace), &["query_proj", "q_proj", "all-linear"]);
    }
}

/// What is planned from settings is what their runs take of a device, but for a batch's own tables.
#[test]
fn the_plan_of_settings_is_that_of_their_run() {
    let device = realign::device::Device::host();
    for (train, dropout) in [(Trained::Adapter, 0.0), (Trained::All, 0.0), (Trained::Lora, 0.1)] {
        let (_folder, mut settings) = setup(Stage::Two);
        (settings.train, settings.lora_rank, settings.lora_dropout) = (train, 3, Some(dropout).filter(|p| *p > 0.0));
        settings.precision = Some(Precision::F32);
        settings.lora_targets = if train == Trained::Lora { vec!["v_proj".to_owned()] } else { Vec::new() };
        let shape = PlanShape { length: Some(30), ..PlanShape::default() };
        let (options, planned) = plan_settings(&device, &settings, shape).unwrap();
        let PlanOptions { batch_size, length, embedding_width, storage, trains, .. } = options;
        assert_eq!((batch_size, length, embedding_width, storage), (12, 30, 48, ElementType::F32));
        let expected = match train {
            Trained::Adapter => Trains::Adapter,
            Trained::All => Trains::All,
            Trained::Lora => Trains::LowRank,
        };
        assert_eq!(trains, expected);
        let run = Run::start(&device, settings.clone(), Start::New).unwrap();
        let of_run = realign::device::Purpose::Weights;
        assert_eq!(run.device().memory(of_run), planned.layers + planned.tables + planned.additions, "{train:?}");
        let (gradients, moments) = (realign::device::Purpose::Gradients, realign::device::Purpose::Moments);
        assert_eq!(run.device().memory(gradients), planned.gradients, "{train:?}");
        assert_eq!(run.device().memory(moments), planned.moments, "{train:?}");
    }
    let (folder, mut settings) = setup(Stage::Two);
    settings.batch_tokens = Some(100);
    let shape = PlanShape { embedding_width: Some(48), length: Some(30) };
    assert_eq!(plan_settings(&device, &settings, shape).unwrap().0.batch_size, 3);
    // The weights are not needed, nor the embeddings.
    std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    (settings.embeddings, settings.init_adapter) = (Vec::new(), None);
    assert!(plan_settings(&device, &settings, shape).is_ok());
    refused(
        plan_settings(&device, &settings, PlanShape { length: Some(30), ..PlanShape::default() }),
        &["embedding_width"],
    );
    settings.lr = -1.0;
    refused(plan_settings(&device, &settings, shape), &["lr"]);
}
