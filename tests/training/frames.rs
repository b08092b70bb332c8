//! Training and answers within an app's frame loop: in small pieces, with the same results, without a wait for the device.

use std::ops::ControlFlow;

use realign::device::{Device, Pieces};
use realign::inference::{AnswerOptions, Assistant, End, Reply};
use realign::io::{Role, Turn};
use realign::train::{Run, Stage, Start, Tick, Trained};

use super::runs::{devices, finish, mixed, results};
use super::{golden, model_folder};

/// Ticks a run to its end; none may wait for the device. Gives the pieces that were submitted, and the steps.
fn tick_through(device: &Device, run: &mut Run) -> (u64, u64) {
    let (mut submitted, mut stepped) = (0, 0);
    let waits = device.waits();
    while !run.is_done() {
        match run.tick().unwrap() {
            Tick::Submitted => submitted += 1,
            Tick::Waiting => {}
            Tick::Stepped(record) => {
                stepped += 1;
                assert_eq!(record.step, stepped);
            }
        }
        assert_eq!(device.waits(), waits, "{}: a tick of step {} waited", device.name(), stepped + 1);
    }
    (submitted, stepped)
}

#[test]
fn a_step_in_pieces_gives_the_same_as_a_whole_one() {
    for device in devices() {
        for (stage, trained) in
            [(Stage::One, Trained::Adapter), (Stage::Two, Trained::All), (Stage::Two, Trained::Lora)]
        {
            let (_folder, mut settings) = mixed(stage);
            // Evaluations and checkpoints come in pieces, too.
            (settings.train, settings.epochs, settings.checkpoint_every) = (trained, 2.0, 2);
            (settings.eval_data, settings.eval_every) = (Some(settings.data.clone()), 3);
            let out = settings.out.clone();
            finish(Run::start(&device, settings.clone(), Start::New).unwrap());
            settings.out = out.with_file_name("ticks");
            let mut run = Run::start(&device, settings.clone(), Start::New).unwrap();
            let (submitted, stepped) = tick_through(&device, &mut run);
            // Two passes of three batches: two steps each, of two batches and of one. The model has two layers, so each batch passes
            // four, forward and backward.
            assert_eq!(stepped, 4);
            assert!(submitted > 3 * 4 * 2, "{}: {submitted} pieces", device.name());
            run.finish().unwrap();
            assert!(results(&out) == results(&settings.out), "{} {trained:?}", device.name());
        }
    }
}

#[test]
fn a_step_that_has_begun_is_not_saved_and_can_be_finished_at_once() {
    for device in devices() {
        let (_folder, settings) = mixed(Stage::One);
        let out = settings.out.clone();
        finish(Run::start(&device, settings.clone(), Start::New).unwrap());
        let settings = settings.out(out.with_file_name("both"));
        let mut run = Run::start(&device, settings.clone(), Start::New).unwrap();
        // Each time a few pieces more of a step, and the rest of it as a whole.
        for ticks in 0.. {
            if run.is_done() {
                break;
            }
            (0..ticks).for_each(|_| assert!(!matches!(run.tick().unwrap(), Tick::Stepped(_))));
            assert_eq!(run.save().is_err(), ticks > 0, "saved within a step");
            run.advance().unwrap();
        }
        run.finish().unwrap();
        assert!(results(&out) == results(&settings.out), "{}", device.name());
    }
}

#[test]
fn an_answer_in_pieces_is_the_same() {
    let folder = model_folder("llama");
    for device in devices() {
        let adapter = golden("models/llama.safetensors");
        let assistant = Assistant::open(&device, folder.path(), &adapter, 1).unwrap();
        let embedding: Vec<f32> = (0..48).map(|i| (i as f32).sin() / 5.0).collect();
        let turns = [Turn { role: Role::User, text: "<image>\nWhat is it?".to_owned() }];
        let entries = assistant.chat(&turns).unwrap();
        let prompt = (&entries[..], Some(&embedding[..]));
        for (one_line, max_tokens) in [(false, 9), (true, 9), (false, 1)] {
            let options = AnswerOptions { one_line, max_tokens, ..Default::default() };
            let mut heard = String::new();
            let hear = |text: &str| {
                heard.push_str(text);
                ControlFlow::Continue(())
            };
            let whole = assistant.answer(prompt, &options, hear).unwrap();
            let mut answering = assistant.begin(prompt, &options).unwrap();
            let (mut text, mut pieces, waits) = (String::new(), 0, device.waits());
            let answer = loop {
                match answering.tick().unwrap() {
                    Reply::Submitted => pieces += 1,
                    Reply::Waiting => {}
                    Reply::Text(piece) => text.push_str(&piece),
                    Reply::Done(answer) => break answer,
                }
            };
            assert_eq!(device.waits(), waits, "{}: a tick waited", device.name());
            assert_eq!((&answer, &text), (&whole, &heard), "{}", device.name());
            assert!(pieces > 2 * answer.tokens.len(), "{}: {pieces} pieces", device.name());
            assert_eq!(answering.tick().unwrap(), Reply::Done(answer.clone()));
            assert_eq!(answering.into_answer(), answer);
        }
        let mut stopped = assistant.begin(prompt, &AnswerOptions::default()).unwrap();
        while !matches!(stopped.tick().unwrap(), Reply::Text(_)) {}
        assert_eq!(stopped.into_answer().end, End::Stopped);
    }
}

/// What the tests above rely on: a read that blocks counts as a wait, and a piece is not submitted before the one before is done.
#[test]
fn waits_are_counted() {
    for device in devices() {
        let buffer = device.buffer("numbers", 1 << 20).unwrap();
        let before = device.waits();
        device.read_blocking(&buffer).unwrap();
        assert_eq!(device.waits() > before, device.wgpu().is_some(), "{}", device.name());
        let mut recorder = device.recorder();
        (0..5).for_each(|_| recorder.clear(&buffer));
        let mut pieces = Pieces::default();
        pieces.push(recorder, 1);
        let mut submitted = 0;
        loop {
            match pieces.submit().unwrap() {
                realign::device::Piece::Submitted => submitted += 1,
                realign::device::Piece::Waiting => {}
                realign::device::Piece::Done => break,
            }
        }
        // They hold no kernel, so that they stay together.
        assert_eq!(submitted, 1);
    }
}
