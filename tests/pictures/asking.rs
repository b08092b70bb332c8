//! The examples that ask about a picture, on tiny models.

#[expect(dead_code, reason = "its `main` is not called")]
#[path = "../../examples/ask_a_picture.rs"]
mod ask_a_picture;
#[expect(dead_code, reason = "its `main` is not called")]
#[path = "../../examples/ask_in_frames.rs"]
mod ask_in_frames;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use realign::ElementType;
use realign::device::{Device, DeviceOptions, Selection, Tensor};
use realign::encode::ImageEncoder;
use realign::encode::picture::{Alpha, Picture};
use realign::inference::{AnswerOptions, Assistant};
use realign::io::AdapterKind;
use realign::nn::adapter::fresh;

use super::common::adapter_name;
use super::golden;
use super::rows::model;

/// A decoder's folder with an adapter for rows of 20 numbers beside its files, and a picture.
struct Files {
    decoder: tempfile::TempDir,
    tower: tempfile::TempDir,
    adapter: PathBuf,
    picture: PathBuf,
}

fn files() -> Files {
    let decoder = tempfile::tempdir().unwrap();
    let from = golden().join("..");
    let copy = |file: PathBuf, to: &str| {
        std::fs::copy(file, decoder.path().join(to)).unwrap();
    };
    copy(from.join("models/llama.config.json"), "config.json");
    copy(from.join("models/llama.safetensors"), "model.safetensors");
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        copy(from.join("tokenizers/llama").join(name), name);
    }
    let adapter = decoder.path().join("adapter.safetensors");
    fresh(AdapterKind::Linear, 20, 64, 7).save(&adapter, ElementType::F32, false).unwrap();
    Files { decoder, tower: model("clip_quick"), adapter, picture: golden().join("files/rgb8.png") }
}

fn own_devices() -> [Device; 2] {
    // Others' tests wait for theirs.
    let named = DeviceOptions::default().selection(Selection::Named(adapter_name()));
    [Device::host(), Device::request_blocking(&named).unwrap()]
}

#[test]
fn a_file_and_a_question_become_an_answer() {
    let files = files();
    for device in own_devices() {
        let mut heard = String::new();
        let paths: [&Path; 4] = [files.tower.path(), &files.adapter, files.decoder.path(), &files.picture];
        let answer = ask_a_picture::ask(&device, paths, "What is it?", |text| {
            heard.push_str(text);
            ControlFlow::Continue(())
        });
        let answer = answer.unwrap();
        assert!(answer.tokens.len() > 3 && heard.trim() == answer.text, "{answer:?} {heard:?}");
        // In frames, from a texture where there is one: the same, and no frame waits.
        let encoder = ImageEncoder::load(&device, files.tower.path()).unwrap();
        let assistant = Assistant::open(&device, files.decoder.path(), &files.adapter, None).unwrap();
        let picture = Picture::open(&files.picture, Alpha::OnWhite).unwrap();
        let (waits, mut shown) = (device.waits(), String::new());
        let in_frames = ask_in_frames::ask((&encoder, &assistant), (&picture, "What is it?"), |text| {
            assert_eq!(device.waits(), waits, "{}: a frame waited", device.name());
            shown.push_str(text);
        });
        assert_eq!((in_frames.unwrap(), shown), (answer, heard), "{}", device.name());
    }
}

/// A row that lies on the device must fit; its answer is that of the same numbers from the host.
#[test]
fn rows_on_the_device_are_checked() {
    let files = files();
    for device in own_devices() {
        let assistant = Assistant::open(&device, files.decoder.path(), &files.adapter, None).unwrap();
        let entries = assistant.plain("", true).unwrap();
        let options = AnswerOptions::default();
        let row = |device: &Device, rows, width, element| Tensor::new(device, rows, width, element).unwrap();
        for wrong in [
            row(&device, 1, 21, ElementType::F32),
            row(&device, 2, 20, ElementType::F32),
            row(&device, 1, 20, ElementType::F16),
            row(&Device::host(), 1, 20, ElementType::F32),
        ] {
            let said = assistant.begin_on((&entries, &wrong), &options).unwrap_err().to_string();
            assert!(said.contains("[1, 20] f32"), "{said}");
        }
        // Numbers on the host and on the device are answered alike, and other numbers otherwise.
        let numbers: Vec<f32> = (0..20).map(|i| (i as f32 * 1.7).sin() * 3.0).collect();
        let on_device = Tensor::from_f32(&device, &numbers, 20).unwrap();
        let mut answering = assistant.begin_on((&entries, &on_device), &options).unwrap();
        let answer = loop {
            if let realign::inference::Reply::Done(answer) = answering.tick().unwrap() {
                break answer;
            }
        };
        let by_host = |numbers: &[f32]| {
            assistant.answer((&entries, Some(numbers)), &options, |_| ControlFlow::Continue(())).unwrap()
        };
        assert_eq!(answer, by_host(&numbers));
        let others = (0..20).map(|k| numbers.iter().map(|x| -x * k as f32).collect::<Vec<_>>());
        assert!(others.into_iter().any(|numbers| by_host(&numbers) != answer), "{}", device.name());
    }
}

/// The examples stay short enough to be read at once.
#[test]
fn the_example_is_short() {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ask_a_picture.rs")).unwrap();
    assert!(text.lines().count() < 80);
}

/// An adapter that learnt from rows of length 1 gets such rows from the example.
#[test]
fn an_adapter_s_note_is_heeded() {
    let files = files();
    let mut weights = realign::io::AdapterWeights::load(&files.adapter).unwrap();
    weights.set_unit_rows(true);
    weights.save(&files.adapter, ElementType::F32, true).unwrap();
    let device = Device::host();
    let paths: [&Path; 4] = [files.tower.path(), &files.adapter, files.decoder.path(), &files.picture];
    let answer = ask_a_picture::ask(&device, paths, "What is it?", |_| ControlFlow::Continue(())).unwrap();
    let encoder = ImageEncoder::load(&device, files.tower.path()).unwrap();
    let assistant = Assistant::open(&device, files.decoder.path(), &files.adapter, None).unwrap();
    assert_eq!(assistant.model.adapter.unit_rows(), Some(true));
    let entries = assistant
        .chat(&[realign::io::Turn { role: realign::io::Role::User, text: "<image>\nWhat is it?".to_owned() }])
        .unwrap();
    let said = |row: Vec<f32>| {
        let keep_on = |_: &str| ControlFlow::Continue(());
        assistant.answer((&entries, Some(&row)), &AnswerOptions::default(), keep_on).unwrap().tokens
    };
    let raw = encoder.encode_file_blocking(&files.picture).unwrap();
    let unit = encoder.unit_rows().unwrap().encode_file_blocking(&files.picture).unwrap();
    assert!((unit.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5 && raw != unit);
    assert_eq!(answer.tokens, said(unit));
}
