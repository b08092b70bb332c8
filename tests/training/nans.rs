//! Numbers that overflow are said to be NaN, by every engine: by scores, answers, evaluations and steps.

use realign::device::Device;
use realign::inference::{AnswerOptions, Assistant, score};
use realign::io::{DecoderConfig, MAX_SHARD_BYTES, ModelWriter, Role, SampleOptions, Turn, Weights, write_npy};
use realign::train::{Form, Run, Settings, Stage, Start, VisualInputs, data, visual};
use realign::{ElementType, Result};

use super::refused;
use super::runs::{devices, finish, setup};

/// The settings' model with a token that no text has, whose logit overflows on both sides: every other number stays finite.
fn broken_model(settings: &Settings) -> std::path::PathBuf {
    let out = settings.out.with_file_name("broken");
    let config = DecoderConfig::read(&settings.model).unwrap();
    let weights = Weights::open(&settings.model).unwrap();
    let mut writer =
        ModelWriter::create(&out, true, &settings.model, &config, ElementType::F32, MAX_SHARD_BYTES).unwrap();
    for (name, shape) in config.tensors() {
        let mut numbers = weights.read_f32(&name, &shape).unwrap();
        if name == "lm_head.weight" {
            let row = &mut numbers[200 * config.hidden_size..][..config.hidden_size];
            row.iter_mut().enumerate().for_each(|(i, x)| *x = if i % 2 == 0 { 3e38 } else { -3e38 });
        }
        writer.write(&name, &numbers).unwrap();
    }
    writer.commit().unwrap()
}

fn scored(device: &Device, settings: &Settings, assistant: &Assistant) -> Result<usize> {
    let files = visual::EmbeddingFiles {
        inputs: &settings.embeddings,
        ids: settings.ids.as_deref(),
        key: None,
        column: None,
        id_column: None,
    };
    let embeddings = files.open()?;
    let options = SampleOptions::default();
    let samples = data::samples(&settings.model, &settings.data, &embeddings, &options, Form::Conversations)?;
    let mut inputs = VisualInputs::new(device, embeddings.rows, None)?;
    score(device, &assistant.model, (&samples, &mut inputs), 5, |_| ()).map(|scores| scores.len())
}

#[test]
fn one_nan_among_the_logits() {
    let (_folder, settings) = setup(Stage::Two);
    let broken = settings.clone().model(broken_model(&settings));
    for device in devices() {
        let open = |s: &Settings| Assistant::open(&device, &s.model, s.init_adapter.as_ref().unwrap(), 1).unwrap();
        let (good, bad) = (open(&settings), open(&broken));
        assert_eq!(scored(&device, &settings, &good).unwrap(), 12);
        refused(scored(&device, &broken, &bad), &["sample 0", "the loss NaN", "check weights"]);
        let entries = bad.plain("a", false).unwrap();
        let said = bad.answer((&entries, None), &AnswerOptions::default(), |_| std::ops::ControlFlow::Continue(()));
        refused(said, &["logits are not numbers"]);
        let entries = good.chat(&[Turn { role: Role::User, text: "a".into() }]).unwrap();
        assert!(good.plain("a", false).is_ok() && !entries.is_empty());
        let mut run = Run::start(&device, broken.clone(), Start::Replace).unwrap();
        refused(run.advance(), &["step 1", "the loss is NaN"]);
    }
}

/// An embedding that the adapter cannot take, among those held out: the evaluation says so, and the run goes on.
#[test]
fn a_nan_among_the_held_out() {
    let (folder, mut settings) = setup(Stage::Two);
    settings.max_steps = Some(3);
    settings.eval_data = Some(settings.data.clone());
    (settings.eval_every, settings.eval_generate, settings.eval_max_tokens) = (1, 12, 2);
    let rows = realign::io::Dataset::open(&settings.embeddings, &Default::default()).unwrap();
    let mut rows = realign::io::EmbeddingRows::open(&rows).unwrap();
    let width = rows.width();
    let mut all = vec![0.0; 12 * width];
    rows.read(&(0..12).collect::<Vec<_>>(), &mut all).unwrap();
    all[3 * width..4 * width].iter_mut().enumerate().for_each(|(i, x)| *x = if i % 2 == 0 { 3e38 } else { -3e38 });
    let path = folder.path().join("held_out.npy");
    write_npy(&path, &all, width, true).unwrap();
    (settings.eval_embeddings, settings.eval_ids) = (vec![path], settings.ids.clone());
    for device in devices() {
        let records = finish(Run::start(&device, settings.clone(), Start::Replace).unwrap());
        assert_eq!(records.len(), 3);
        for record in &records {
            let evaluated = record.more.iter().find(|(name, _)| *name == "eval_loss").unwrap().1;
            assert!(record.loss.is_finite() && evaluated.is_nan(), "{}: {record:?}", device.name());
            // Answers that cannot be made are wrong ones.
            let answered = record.more.iter().filter(|(name, x)| name.starts_with("eval_") && (0.0..1.0).contains(x));
            assert_eq!(answered.count(), 3, "{}: {record:?}", device.name());
        }
        let log = std::fs::read_to_string(settings.out.join("log.jsonl")).unwrap();
        assert!(log.lines().all(|line| line.contains("\"eval_loss\":null")), "{log}");
    }
}
