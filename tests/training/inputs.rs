//! A run is resumed on the inputs that it began with, wherever they lie now.

use std::path::{Path, PathBuf};

use realign::device::Device;
use realign::train::{Run, Settings, Stage, Start};

use super::refused;
use super::runs::{finish, mixed, results};

/// Copies a file or a folder.
fn copy(from: &Path, to: &Path) {
    if from.is_file() {
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
        return;
    }
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        copy(&path, &to.join(path.file_name().unwrap()));
    }
}

/// The settings of a run whose inputs are all copied into a folder.
fn moved(settings: &Settings, folder: &Path) -> Settings {
    let take = |path: &Path| -> PathBuf {
        let to = folder.join(path.file_name().unwrap());
        copy(path, &to);
        to
    };
    let mut moved = settings.clone();
    (moved.data, moved.model) = (take(&settings.data), take(&settings.model));
    moved.embeddings = settings.embeddings.iter().map(|path| take(path)).collect();
    moved.ids = settings.ids.as_deref().map(take);
    moved.stats = settings.stats.as_deref().map(take);
    moved
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_run_goes_on_with_the_same_files_elsewhere() {
    let device = Device::host();
    let (_folder, settings) = mixed(Stage::Two);
    let out = settings.out.clone();
    finish(Run::start(&device, settings.clone(), Start::New).unwrap());
    let mut again = settings.clone().out(out.with_file_name("again"));
    let mut run = Run::start(&device, again.clone(), Start::New).unwrap();
    (0..3).for_each(|_| drop(run.advance().unwrap()));
    run.save().unwrap();
    drop(run);
    let elsewhere = tempfile::tempdir().unwrap();
    again = moved(&again, elsewhere.path());
    let run = Run::start(&device, again.clone(), Start::Resume).unwrap();
    assert_eq!(run.step(), 3);
    finish(run);
    assert!(results(&out) == results(&again.out));
}

#[test]
fn a_run_is_not_resumed_on_other_inputs() {
    let device = Device::host();
    for stage in [Stage::One, Stage::Two] {
        let (_folder, settings) = mixed(stage);
        let mut run = Run::start(&device, settings.clone(), Start::New).unwrap();
        drop(run.advance().unwrap());
        run.save().unwrap();
        drop(run);
        type Change = (&'static str, fn(&Settings), &'static [&'static str]);
        let changes: [Change; 6] = [
            (
                "an edited line",
                |s| change(&s.data, |b| *b.iter_mut().rev().find(|c| c.is_ascii_lowercase()).unwrap() = b'Q'),
                &["data: ", "another content"],
            ),
            ("an appended line", |s| change(&s.data, |b| b.push(b'\n')), &["data: ", "bytes and had"]),
            (
                "other embeddings",
                |s| change(&s.embeddings[0], |b| *b.last_mut().unwrap() ^= 1),
                &["embeddings: ", "another content"],
            ),
            (
                "a model that trained on",
                |s| change(&s.model.join("model.safetensors"), |b| *b.last_mut().unwrap() ^= 1),
                &["model/model.safetensors: "],
            ),
            (
                "another configuration",
                |s| change(&s.model.join("config.json"), |b| b.push(b' ')),
                &["model/config.json: "],
            ),
            (
                "a template",
                |s| {
                    std::fs::write(
                        s.model.join("chat_template.jinja"),
                        "{{ bos_token }}{% for m in messages %}{{ m.content }}<|eot_id|>{% endfor %}",
                    )
                    .unwrap()
                },
                &["model/chat_template.jinja: ", "is new"],
            ),
        ];
        for (what, change, words) in changes {
            let elsewhere = tempfile::tempdir().unwrap();
            let now = moved(&settings, elsewhere.path());
            change(&now);
            let words = [words, &["resume", "inputs changed", "start anew"]].concat();
            println!("{what}");
            refused(Run::start(&device, now, Start::Resume), &words);
        }
        if settings.stats.is_some() {
            let elsewhere = tempfile::tempdir().unwrap();
            let now = moved(&settings, elsewhere.path());
            change(now.stats.as_ref().unwrap(), |b| *b.last_mut().unwrap() ^= 1);
            refused(Run::start(&device, now, Start::Resume), &["stats: "]);
        }
    }
}
