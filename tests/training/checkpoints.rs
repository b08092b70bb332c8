//! Checkpoints and the log: whole or not there, and found again.

use std::collections::BTreeMap;
use std::path::Path;

use realign::ElementType;
use realign::io::TensorSpec;
use realign::train::{Checkpoint, Checkpoints, LogRecord, Position, RunLog, RunState};

use super::{put, refused};

fn specs() -> Vec<TensorSpec> {
    vec![TensorSpec::new("w", &[3, 2], ElementType::F32), TensorSpec::new("adam.m.w", &[3, 2], ElementType::F32)]
}

fn state(step: u64) -> RunState {
    let settings = BTreeMap::from([("lr".to_string(), "0.1".to_string())]);
    let more = serde_json::json!({"best": 0.5}).as_object().unwrap().clone();
    RunState { step, position: Position { epoch: 1, batch: 7 }, seed: u64::MAX, tokens: 99, settings, more }
}

fn numbers(step: u64) -> Vec<f32> {
    (0..6).map(|i| (step * 10 + i) as f32 * 0.1).collect()
}

fn save(checkpoints: &Checkpoints, step: u64) -> std::path::PathBuf {
    let mut writer = checkpoints.begin(state(step), &specs()).unwrap();
    writer.write("adam.m.w", &numbers(step + 1)).unwrap();
    numbers(step).chunks(4).for_each(|piece| writer.write("w", piece).unwrap());
    writer.commit().unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

#[test]
fn the_newest_comes_back_and_old_ones_go() {
    let spot = tempfile::tempdir().unwrap();
    let folder = spot.path().join("run/checkpoints");
    let checkpoints = Checkpoints::open(&folder, 2).unwrap();
    assert!(checkpoints.newest().unwrap().is_none());
    for step in [5, 10, 90, 100_000_000] {
        save(&checkpoints, step);
    }
    assert_eq!(names(&folder), ["step-00000090", "step-100000000"]);
    let newest = checkpoints.newest().unwrap().unwrap();
    assert_eq!(newest.state, state(100_000_000));
    assert_eq!(newest.tensors.read_f32("w", &[3, 2]).unwrap(), numbers(100_000_000));
    assert_eq!(newest.tensors.read_f32("adam.m.w", &[3, 2]).unwrap(), numbers(100_000_001));
    // The same step again replaces.
    save(&checkpoints, 100_000_000);
    assert_eq!(names(&folder).len(), 2);
}

#[test]
fn every_kind_of_damage_is_found_and_the_one_before_is_used() {
    type Damage = fn(&Path);
    fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = std::fs::read(path).unwrap();
        change(&mut bytes);
        std::fs::write(path, bytes).unwrap();
    }
    let kinds: [(Damage, &str); 7] = [
        (|p| change(&p.join("tensors.safetensors"), |b| b.truncate(b.len() - 1)), "bytes instead of"),
        (|p| change(&p.join("tensors.safetensors"), |b| *b.last_mut().unwrap() ^= 1), "checksum"),
        (|p| std::fs::remove_file(p.join("tensors.safetensors")).unwrap(), "tensors.safetensors"),
        (|p| std::fs::remove_file(p.join("state.json")).unwrap(), "state.json"),
        (|p| change(&p.join("state.json"), |b| b.truncate(b.len() / 2)), "not a valid checkpoint"),
        (|p| std::fs::write(p.join("state.json"), "{\"version\": 1}").unwrap(), "\"step\""),
        (|p| std::fs::write(p.join("state.json"), "{\"version\": 2}").unwrap(), "version 2"),
    ];
    for (damage, words) in kinds {
        let spot = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::open(spot.path(), 3).unwrap();
        save(&checkpoints, 1);
        let path = save(&checkpoints, 2);
        damage(&path);
        refused(Checkpoint::open(&path), &[words]);
        assert_eq!(checkpoints.newest().unwrap().unwrap().state.step, 1, "{words}");
    }
}

#[test]
fn unfinished_ones_never_appear() {
    let spot = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(spot.path(), 1).unwrap();
    save(&checkpoints, 1);
    let mut writer = checkpoints.begin(state(2), &specs()).unwrap();
    writer.write("w", &numbers(2)).unwrap();
    refused(writer.commit(), &["adam.m.w", "too few"]);
    let mut writer = checkpoints.begin(state(2), &specs()).unwrap();
    refused(writer.write("w", &[f32::NAN]), &["\"w\"", "NaN"]);
    // As a killed process leaves it.
    std::mem::forget(writer);
    assert_eq!(names(spot.path()).len(), 2);
    assert_eq!(checkpoints.newest().unwrap().unwrap().state.step, 1);
    let again = Checkpoints::open(spot.path(), 1).unwrap();
    assert_eq!(names(spot.path()), ["step-00000001"]);
    refused(again.begin(state(3), &[specs(), specs()].concat()), &["\"adam.m.w\"", "twice"]);
    refused(Checkpoints::open(spot.path(), 0), &["keep"]);
    let file = put(spot.path(), "file", "");
    refused(Checkpoints::open(&file, 1), &["create", "file"]);
}

fn record(step: u64) -> LogRecord {
    LogRecord { step, loss: 2.5, lr: 1e-5, grad_norm: f64::NAN, tokens: 10 * step, more: vec![("eval_loss", 3.0)] }
}

#[test]
fn the_log_continues_at_the_checkpoint() {
    let spot = tempfile::tempdir().unwrap();
    let path = spot.path().join("log.jsonl");
    let mut log = RunLog::create(&path, false).unwrap();
    (1..=5).for_each(|step| log.write(&record(step)).unwrap());
    drop(log);
    let whole = std::fs::read_to_string(&path).unwrap();
    let first: serde_json::Value = serde_json::from_str(whole.lines().next().unwrap()).unwrap();
    let expected =
        serde_json::json!({"step": 1, "loss": 2.5, "lr": 1e-5, "grad_norm": null, "tokens": 10, "eval_loss": 3.0});
    assert_eq!(first, expected);
    refused(RunLog::create(&path, false), &["exists"]);
    for (cut, step, kept) in [(0, 3, 3), (0, 9, 5), (7, 9, 4), (0, 0, 0)] {
        std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
        let mut log = RunLog::resume(&path, step).unwrap();
        log.write(&record(77)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = whole.lines().take(kept).collect();
        assert_eq!(text.lines().take(kept).collect::<Vec<_>>(), lines);
        assert_eq!((text.lines().count(), text.lines().last().unwrap().contains("77")), (kept + 1, true));
    }
    std::fs::write(&path, "{\"step\": 1}\nnonsense\n").unwrap();
    refused(RunLog::resume(&path, 5), &["line 2", "no record"]);
    std::fs::remove_file(&path).unwrap();
    RunLog::resume(&path, 5).unwrap();
}
