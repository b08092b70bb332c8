//! An app's assistant: load an adapter and a decoder, feed an image's embedding, print the answer as it comes.
//!
//! `cargo run --release --example answer -- MODEL_DIR ADAPTER.safetensors IMAGE.npy "What is it?"`

use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;

use realign::device::{Device, DeviceOptions};
use realign::inference::{AnswerOptions, Assistant};
use realign::io::{Dataset, EmbeddingRows, OpenOptions, Role, Turn};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, adapter, image, question] = &args[..] else {
        return Err("usage: answer MODEL_DIR ADAPTER.safetensors IMAGE.npy QUESTION".into());
    };
    let device = Device::request_blocking(&DeviceOptions::default())?;
    let assistant = Assistant::open(&device, &PathBuf::from(model), &PathBuf::from(adapter), 1)?;

    // One embedding, [d]; an app that has it in memory needs no file.
    let options = OpenOptions { vector: true, ..Default::default() };
    let mut rows = EmbeddingRows::open(&Dataset::open(&[PathBuf::from(image)], &options)?)?;
    let mut embedding = vec![0.0; rows.width()];
    rows.read(&[0], &mut embedding)?;

    let turns = [Turn { role: Role::User, text: format!("<image>\n{question}") }];
    let entries = assistant.chat(&turns)?;
    let answer = assistant.answer((&entries, Some(&embedding)), &AnswerOptions::default(), |text| {
        print!("{text}");
        match std::io::stdout().flush() {
            Ok(()) => ControlFlow::Continue(()),
            // Nobody listens any more.
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    println!("\n({} tokens, {})", answer.tokens.len(), answer.end.name());
    Ok(())
}
