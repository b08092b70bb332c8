//! A question about a picture: its file goes through an image tower, an adapter and a decoder, and the answer is printed as it comes.
//!
//! `cargo run --release --features encode,pictures --example ask_a_picture -- VISION_DIR ADAPTER.safetensors MODEL_DIR PICTURE "What is it?"`

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

use realign::device::{Device, DeviceOptions};
use realign::encode::ImageEncoder;
use realign::inference::{Answer, AnswerOptions, Assistant};
use realign::io::{Role, Turn};

/// Asks; `say` gets the answer piece by piece. The folders are the tower's and the decoder's.
pub fn ask(
    device: &Device,
    [vision, adapter, model, picture]: [&Path; 4],
    question: &str,
    say: impl FnMut(&str) -> ControlFlow<()>,
) -> realign::Result<Answer> {
    let assistant = Assistant::open(device, model, adapter, None)?;
    let encoder = ImageEncoder::load(device, vision)?;
    // Adapters that learnt from aligned texts learnt from rows of length 1; a tower's are longer.
    let encoder = if assistant.model.adapter.unit_rows() == Some(true) { encoder.unit_rows()? } else { encoder };

    // PNG, JPEG, WebP, GIF or BMP. An app that has the pixels calls `encode_rgb_blocking` or `encode_texture`.
    let embedding = encoder.encode_file_blocking(picture)?;

    let turns = [Turn { role: Role::User, text: format!("<image>\n{question}") }];
    let entries = assistant.chat(&turns)?;
    assistant.answer((&entries, Some(&embedding)), &AnswerOptions::default(), say)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [vision, adapter, model, picture, question] = &args[..] else {
        return Err("usage: ask_a_picture VISION_DIR ADAPTER.safetensors MODEL_DIR PICTURE QUESTION".into());
    };
    // An app that holds a wgpu device already passes it with Device::from_wgpu instead.
    let device = Device::request_blocking(&DeviceOptions::default())?;
    let files = [vision, adapter, model, picture].map(Path::new);
    let answer = ask(&device, files, question, |text| {
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
