//! Evaluations between steps: answers, the best, and an early end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use realign::device::Device;
use realign::inference::{AnswerOptions, Assistant, evaluate};
use realign::io::{QuestionOptions, Questions, Samples, TARGET, Tokenizer};
use realign::nn::decoder::OpenDecoder;
use realign::train::{
    EmbeddingFiles, EvalMetric, LogRecord, PretrainOptions, Run, ScheduleKind, Settings, Stage, Start, Tick, Trained,
    VisualInputs, pretrain, visual,
};
use serde_json::Value;

use super::runs::{devices, finish, mixed, setup};
use super::{put, refused};

const MODES: [(Stage, Trained); 4] = [
    (Stage::One, Trained::Adapter),
    (Stage::Two, Trained::Adapter),
    (Stage::Two, Trained::All),
    (Stage::Two, Trained::Lora),
];

fn number(record: &LogRecord, name: &str) -> Option<f64> {
    record.more.iter().find(|(n, _)| *n == name).map(|(_, x)| *x)
}

/// Every file of a run's results but run.toml and checkpoints, by its place in the folder.
fn tree(out: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut files, mut folders) = (BTreeMap::new(), vec![out.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true if path.ends_with("checkpoints") => {}
                true => folders.push(path),
                false => drop(files.insert(path.strip_prefix(out).unwrap().to_owned(), std::fs::read(&path).unwrap())),
            }
        }
    }
    files.retain(|path, _| !path.ends_with("run.toml") && !path.ends_with(".realign-lock"));
    files
}

fn named(settings: &Settings) -> EmbeddingFiles<'_> {
    let (inputs, ids) = (&settings.embeddings[..], settings.ids.as_deref());
    EmbeddingFiles { inputs, ids, key: None, column: None, id_column: None }
}

/// Exact, lenient and F1 of a folder's results, as `realign evaluate` finds them.
fn evaluated(device: &Device, settings: &Settings, folder: &Path) -> [f64; 3] {
    let (model, lora) = (folder.join("model"), folder.join("lora"));
    let model = if model.is_dir() { &model } else { &settings.model };
    let options = OpenDecoder { low_rank: Some(&*lora).filter(|lora| lora.is_dir()), ..Default::default() };
    let adapter = folder.join("adapter.safetensors");
    let assistant = Assistant::open_in(device, model, &adapter, None, options).unwrap();
    let embeddings = named(settings).open().unwrap();
    let read = if settings.stage == Stage::One { Questions::captions } else { Questions::read };
    let mut questions = read(&settings.data, &embeddings.index, QuestionOptions::default()).unwrap().questions;
    questions.truncate(settings.eval_generate);
    let aligner = settings.stats.as_deref().and_then(|path| visual::aligner(path, None, (&[], false)).unwrap());
    let mut inputs = VisualInputs::new(device, embeddings.rows, aligner.as_deref()).unwrap();
    let options = AnswerOptions { max_tokens: settings.eval_max_tokens, ..Default::default() };
    let mut ask =
        |lenient| evaluate(&assistant, (&questions, &mut inputs), (&options, lenient), |_, _| Ok(())).unwrap();
    let (exact, lenient) = (ask(false), ask(true));
    assert_eq!(exact.overall.count, questions.len() as u64);
    [exact.overall.share(), lenient.overall.share(), exact.f1()]
}

/// A model that has learnt the captions by heart, without images.
fn that_speaks(settings: &Settings, out: &Path) {
    let tokenizer = Tokenizer::open(&settings.model).unwrap();
    let mut samples = Samples::default();
    for line in std::fs::read_to_string(&settings.data).unwrap().lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let text = tokenizer.encode(&format!("{}\n", record["text"].as_str().unwrap())).unwrap();
        let targets = text.into_iter().map(|id| id | TARGET);
        let entries: Vec<u32> = tokenizer.bos().into_iter().chain(targets).collect();
        samples.push(record["id"].as_str().unwrap(), &entries, None, 2048);
    }
    let options = PretrainOptions { steps: 150, batch_size: 12, ..Default::default() };
    pretrain(&Device::host(), (&settings.model, out), &samples, &options, &mut |_, _| Ok(())).unwrap();
}

#[test]
fn answers_while_training_are_those_of_what_is_written() {
    let (folder, settings) = setup(Stage::One);
    let spoken = folder.path().join("spoken");
    that_speaks(&settings, &spoken);
    for device in devices() {
        for (stage, trained) in MODES {
            let (_folder, mut settings) = setup(stage);
            (settings.train, settings.epochs, settings.lora_rank) = (trained, 24.0, 4);
            if trained == Trained::Lora {
                // Additions begin at nothing: at the rate of whole matrices they would say nothing right yet.
                settings.lr = 2e-2;
            }
            if trained == Trained::Adapter {
                // One that has no words would give no answer that has any right.
                settings.model.clone_from(&spoken);
            }
            settings.eval_data = Some(settings.data.clone());
            (settings.eval_every, settings.eval_generate, settings.eval_max_tokens) = (8, 9, 12);
            (settings.keep_best, settings.eval_metric) = (true, EvalMetric::F1);
            let records = finish(Run::start(&device, settings.clone(), Start::New).unwrap());
            let what = format!("{} {stage:?} {trained:?}", device.name());
            let keys = [EvalMetric::ExactMatch, EvalMetric::LenientMatch, EvalMetric::F1].map(EvalMetric::key);
            let at = |record: &LogRecord| keys.map(|key| number(record, key).unwrap());
            let asked: Vec<&LogRecord> = records.iter().filter(|r| number(r, "eval_f1").is_some()).collect();
            assert_eq!(asked.iter().map(|r| r.step).collect::<Vec<_>>(), [8, 16, 24], "{what}");
            let last = at(asked[2]);
            println!("{what}: {last:?}");
            // What the frozen one says by heart are captions, not answers.
            let may_be_wrong = (stage, trained) == (Stage::Two, Trained::Adapter);
            assert!((may_be_wrong || last[2] > 0.0) && last[0] <= last[1] && last[1] <= 1.0, "{what}: {last:?}");
            assert_eq!(evaluated(&device, &settings, &settings.out), last, "{what}");
            // The same for the best one, in its folder.
            let best: Value =
                serde_json::from_slice(&std::fs::read(settings.out.join("best/best.json")).unwrap()).unwrap();
            let step = best["step"].as_u64().unwrap();
            let kept = asked.iter().find(|r| r.step == step).unwrap();
            assert_eq!(evaluated(&device, &settings, &settings.out.join("best")), at(kept), "{what}");
            assert_eq!((best["value"].as_f64(), &best["metric"]), (number(kept, "eval_f1"), &"eval_f1".into()));
            assert_eq!(best["evaluation"]["eval_loss"].as_f64(), number(kept, "eval_loss"));
            let top = asked.iter().filter_map(|r| number(r, "eval_f1")).fold(0.0, f64::max);
            assert_eq!(number(kept, "eval_f1"), Some(top), "{what}");
        }
    }
}

/// Evaluations of all kinds after every second of eight steps.
fn watched(settings: &Settings) -> Settings {
    let mut settings = settings.clone();
    settings.eval_data = Some(settings.data.clone());
    (settings.eval_every, settings.eval_generate, settings.eval_max_tokens) = (2, 3, 5);
    (settings.keep_best, settings.patience) = (true, 100);
    settings
}

#[test]
fn evaluations_change_no_bit_of_what_is_trained() {
    for device in devices() {
        for (stage, trained) in MODES {
            let (_folder, settings) = mixed(stage);
            let settings = settings.train(trained);
            finish(Run::start(&device, settings.clone(), Start::New).unwrap());
            let plain = tree(&settings.out);
            let again = watched(&settings).out(settings.out.with_file_name("watched"));
            finish(Run::start(&device, again.clone(), Start::New).unwrap());
            let watched = tree(&again.out);
            for (name, bytes) in plain.iter().filter(|(name, _)| !name.ends_with("log.jsonl")) {
                assert!(watched[name] == *bytes, "{} {trained:?}: {} differs", device.name(), name.display());
            }
            assert!(watched.keys().any(|name| name.starts_with("best")) && plain.len() > 1);
        }
    }
}

#[test]
fn in_pieces_or_killed_evaluations_come_out_the_same() {
    for device in devices() {
        for (stage, trained) in MODES {
            let (_folder, mut settings) = mixed(stage);
            (settings.train, settings.checkpoint_every, settings.log_every) = (trained, 3, 1);
            let settings = watched(&settings);
            let out = settings.out.clone();
            finish(Run::start(&device, settings.clone(), Start::New).unwrap());
            let whole = tree(&out);
            let same = |settings: &Settings, how: &str| {
                let tree = tree(&settings.out);
                assert_eq!(tree.keys().collect::<Vec<_>>(), whole.keys().collect::<Vec<_>>(), "{how}");
                for (name, bytes) in &whole {
                    assert!(tree[name] == *bytes, "{} {trained:?} {how}: {} differs", device.name(), name.display());
                }
            };

            let frames = settings.clone().out(out.with_file_name("frames"));
            let mut run = Run::start(&device, frames.clone(), Start::New).unwrap();
            let (mut submitted, waits) = (0, device.waits());
            while !run.is_done() {
                submitted += usize::from(run.tick().unwrap() == Tick::Submitted);
                assert_eq!(device.waits(), waits, "{}: a tick of step {} waited", device.name(), run.step());
            }
            // Four evaluations of three answers; the model's two layers are some pieces for each token.
            assert!(submitted > 4 * 3 * 5 * 4, "{}: {submitted} pieces", device.name());
            run.finish().unwrap();
            same(&frames, "in pieces");

            let killed = settings.clone().out(out.with_file_name("killed"));
            let mut run = Run::start(&device, killed.clone(), Start::New).unwrap();
            // The evaluation after step 4 is lost with the process.
            (0..5).for_each(|_| drop(run.advance_ahead().unwrap()));
            drop(run);
            let run = Run::start(&device, killed.clone(), Start::Resume).unwrap();
            assert_eq!(run.step(), 3);
            finish(run);
            same(&killed, "killed");
        }
    }
}

/// Held-out records whose answers are those to other questions: a run that learns its data by heart gets worse at them.
fn spoilt(folder: &Path) -> (PathBuf, Settings) {
    let (own, mut settings) = setup(Stage::Two);
    // The folder of the model goes with the test's own.
    let kept = folder.join("kept");
    std::fs::rename(own.path(), &kept).unwrap();
    (settings.model, settings.out) = (kept.clone(), kept.join("run"));
    let mut records: Value = serde_json::from_slice(&std::fs::read(&settings.data).unwrap()).unwrap();
    let list = records.as_array_mut().unwrap();
    let turns: Vec<Value> = list.iter().map(|record| record["conversations"].clone()).collect();
    let n = turns.len();
    list.iter_mut().enumerate().for_each(|(i, record)| record["conversations"] = turns[(i + 5) % n].clone());
    settings.eval_data = Some(put(folder, "spoilt.json", records.to_string()));
    (settings.schedule, settings.warmup_ratio, settings.lr) = (ScheduleKind::Constant, 0.0, 4e-3);
    (settings.eval_every, settings.checkpoint_every, settings.max_steps) = (2, 4, Some(60));
    (kept, settings)
}

fn last_line(settings: &Settings) -> Value {
    let log = std::fs::read_to_string(settings.out.join("log.jsonl")).unwrap();
    serde_json::from_str(log.lines().last().unwrap()).unwrap()
}

#[test]
fn patience_ends_a_run_and_the_best_is_that_of_its_step() {
    let folder = tempfile::tempdir().unwrap();
    let (_, mut settings) = spoilt(folder.path());
    (settings.keep_best, settings.patience) = (true, 3);
    let out = settings.out.clone();
    for device in devices() {
        settings.out = out.with_file_name(format!("patience-{}", device.backend()));
        let mut run = Run::start(&device, settings.clone(), Start::New).unwrap();
        let mut steps = 0;
        while !run.is_done() {
            run.advance_ahead().unwrap();
            steps += 1;
        }
        let (best, value) = run.best().unwrap();
        let losses = std::fs::read_to_string(settings.out.join("log.jsonl")).unwrap();
        let why = run.stopped_early().unwrap_or_else(|| panic!("it went on: {losses}"));
        assert_eq!((run.step(), steps), (best + 6, best + 6), "{why}");
        assert!(best > 0 && run.step() < 60, "best after step {best}");
        assert_eq!(why, format!("eval_loss has not improved in 3 evaluations since step {best} ({value})"));
        let finished = run.finish().unwrap();
        assert_eq!(last_line(&settings)["stopped_early"], Value::from(why));

        // What was kept is what a run leaves that ends there.
        let mut short = settings.clone().out(settings.out.with_extension("short")).max_steps(Some(best));
        (short.keep_best, short.patience) = (false, 0);
        let short = Run::start(&device, short, Start::New).unwrap();
        let wanted = short.settings().out.clone();
        finish(short);
        let kept = finished.best.unwrap();
        for name in ["adapter.safetensors", "model/model.safetensors"] {
            let [kept, wanted] = [&kept, &wanted].map(|folder| std::fs::read(folder.join(name)).unwrap());
            assert!(kept == wanted, "{}: {name}", device.name());
        }

        // It is at its end still, and goes on with more patience, as if it had had that from the start.
        let again = Run::start(&device, settings.clone(), Start::Resume).unwrap();
        assert!(again.is_done() && again.best() == Some((best, value)));
        drop(again);
        let patient = settings.clone().patience(0);
        let resumed = Run::start(&device, patient.clone(), Start::Resume).unwrap();
        assert!(!resumed.is_done());
        finish(resumed);
        let anew = patient.clone().out(settings.out.with_extension("anew"));
        finish(Run::start(&device, anew.clone(), Start::New).unwrap());
        let (a, b) = (tree(&patient.out), tree(&anew.out));
        assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
        for (name, bytes) in a.iter().filter(|(name, _)| !name.ends_with("log.jsonl")) {
            assert!(b[name] == *bytes, "{}: {} differs", device.name(), name.display());
        }
    }
}

/// A run that is killed while it waits for an improvement knows how long it has waited.
#[test]
fn patience_is_counted_across_a_resumption() {
    let folder = tempfile::tempdir().unwrap();
    let (_, settings) = spoilt(folder.path());
    let settings = settings.patience(3);
    let host = Device::host();
    let mut run = Run::start(&host, settings.clone(), Start::New).unwrap();
    while !run.is_done() {
        run.advance().unwrap();
    }
    let (end, line) = (run.step(), last_line(&settings));
    assert!(run.stopped_early().is_some(), "it went on");
    drop(run);
    // The checkpoint before the end is one of every fourth step.
    let killed = settings.clone().out(settings.out.with_file_name("killed"));
    let mut run = Run::start(&host, killed.clone(), Start::New).unwrap();
    (0..end - 1).for_each(|_| drop(run.advance().unwrap()));
    drop(run);
    let mut run = Run::start(&host, killed.clone(), Start::Resume).unwrap();
    assert!(run.step() > 0 && run.step() < end);
    while !run.is_done() {
        run.advance().unwrap();
    }
    assert_eq!((run.step(), last_line(&killed)), (end, line));
    drop(run);
    // By another measure they cannot be compared: it is counted anew.
    let other = killed.clone().eval_generate(2).eval_max_tokens(2).eval_metric(EvalMetric::F1);
    let run = Run::start(&host, other, Start::Resume).unwrap();
    assert_eq!((run.best(), run.stopped_early()), (None, None));
}

#[test]
fn the_best_comes_back_after_a_kill_between_two_renames() {
    let (_folder, settings) = mixed(Stage::One);
    let settings = watched(&settings).max_steps(Some(4));
    let host = Device::host();
    finish(Run::start(&host, settings.clone(), Start::New).unwrap());
    let whole = tree(&settings.out);
    let aside = settings.out.join(".realign-abc.tmp");
    let half_done = settings.out.join(".realign-def.tmp/lora");
    std::fs::create_dir_all(&aside).unwrap();
    std::fs::create_dir_all(&half_done).unwrap();
    std::fs::rename(settings.out.join("best"), aside.join("old-best")).unwrap();
    let run = Run::start(&host, settings.clone(), Start::Resume).unwrap();
    assert!(run.best().is_some());
    drop(run);
    assert!(tree(&settings.out) == whole);
    assert!(!aside.exists() && !half_done.exists());
    // One that is gone for good is looked for anew.
    std::fs::remove_dir_all(settings.out.join("best")).unwrap();
    assert_eq!(Run::start(&host, settings.clone(), Start::Resume).unwrap().best(), None);
    // Begun again, nothing of it is left.
    finish(Run::start(&host, settings.clone(), Start::Replace).unwrap());
    assert!(settings.out.join("best").is_dir());
    drop(Run::start(&host, settings.clone(), Start::Replace).unwrap());
    assert!(!settings.out.join("best").exists());
}

#[test]
fn what_cannot_be_asked_for_is_named() {
    let (_folder, settings) = setup(Stage::Two);
    let held_out = settings.clone().eval_data(Some(settings.data.clone()));
    let start = |settings: Settings| Run::start(&Device::host(), settings, Start::New);
    refused(start(settings.clone().keep_best(true)), &["keep_best", "eval_data"]);
    refused(start(settings.clone().patience(1)), &["patience", "eval_data"]);
    refused(start(settings.clone().eval_generate(1)), &["eval_generate", "eval_data"]);
    refused(start(held_out.clone().eval_metric(EvalMetric::F1)), &["eval_metric", "eval_generate"]);
    refused(start(held_out.clone().eval_max_tokens(0)), &["eval_max_tokens", "at least 1"]);
    refused(start(held_out.clone().min_delta(-0.5)), &["min_delta", "at least 0"]);
    refused(settings.clone().set("eval-metric", "accuracy"), &["eval-metric", "loss, exact_match, lenient_match, f1"]);
    assert!(held_out.clone().patience(2).ignored().iter().any(|line| line.contains("eval_every is 0")));
    assert!(held_out.ignored().is_empty());
}

/// A template that writes the date: the log says which, and a resumed run repeats it, also where its settings are lost.
#[test]
fn the_date_is_in_the_log_and_comes_back() {
    let (_folder, mut settings) = mixed(Stage::Two);
    let template = "{{ bos_token }}{{ strftime_now('%d') }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n\
                    {{ m.content }}<|eot_id|>{% endfor %}\
                    {% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}";
    put(&settings.model, "chat_template.jinja", template);
    settings.log_every = 1;
    let host = Device::host();
    let dated = settings.clone().date(Some("2020-02-03".parse().unwrap()));
    let mut run = Run::start(&host, dated, Start::New).unwrap();
    (0..2).for_each(|_| drop(run.advance().unwrap()));
    run.save().unwrap();
    drop(run);
    let log = std::fs::read_to_string(settings.out.join("log.jsonl")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["start"]["date"], lines[1].get("start")), (&"2020-02-03".into(), None));
    std::fs::remove_file(settings.out.join("run.toml")).unwrap();
    let run = Run::start(&host, settings.clone(), Start::Resume).unwrap();
    assert_eq!(run.settings().date.map(|date| date.to_string()), Some("2020-02-03".to_owned()));
    finish(run);
    let after = std::fs::read_to_string(settings.out.join("log.jsonl")).unwrap();
    assert!(after.starts_with(&log) && after.matches("\"start\"").count() == 1, "{after}");
}
