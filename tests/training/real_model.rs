//! A real model, which nothing bundles: `REALIGN_SMOLLM2` names the folder that `tools/get_smollm2.py` makes.
//!
//! ```sh
//! tools/get_smollm2.py /tmp/smollm2
//! REALIGN_SMOLLM2=/tmp/smollm2 cargo test --release --test training real_model -- --ignored
//! ```

use std::ops::ControlFlow;
use std::path::PathBuf;

use realign::ElementType;
use realign::device::Device;
use realign::inference::{AnswerOptions, Assistant, End};
use realign::io::{AdapterKind, Role, Tokenizer, Turn};
use realign::nn::adapter;

fn folder() -> PathBuf {
    let named = std::env::var_os("REALIGN_SMOLLM2").filter(|path| !path.is_empty());
    named.expect("REALIGN_SMOLLM2 names no folder; tools/get_smollm2.py makes one").into()
}

/// The ids that Transformers 5.24 gives: digits one by one, blanks, letters beyond ASCII.
#[test]
#[ignore = "needs the folder that tools/get_smollm2.py makes"]
fn texts_become_the_tokens_of_transformers() {
    let tokenizer = Tokenizer::open(&folder()).unwrap();
    let ids = tokenizer.encode("In 2024, naïve  cafés\n sold 1,234 crêpes!").unwrap();
    let want = [
        788, 216, 34, 32, 34, 36, 28, 15486, 46494, 216, 20879, 17842, 198, 3459, 216, 33, 28, 34, 35, 36, 1650, 22069,
        3030, 17,
    ];
    assert_eq!(ids, want);
}

/// What Transformers' template and tokenizer make of the question.
const PROMPT: [u32; 42] = [
    1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308, 34519, 28, 7018, 411, 407, 19712, 8182, 2, 198,
    1, 4093, 198, 1780, 314, 260, 3575, 282, 4649, 47, 19842, 281, 582, 6330, 30, 2, 198, 1, 520, 9531, 198,
];

/// The answer that Transformers 5.24 gives in f32.
#[test]
#[ignore = "needs the folder that tools/get_smollm2.py makes"]
fn it_answers_as_in_transformers() {
    let spot = tempfile::tempdir().unwrap();
    let file = spot.path().join("adapter.safetensors");
    adapter::fresh(AdapterKind::Mlp(2), 64, 576, 1).save(&file, ElementType::F32, false).unwrap();
    for device in [Device::host(), super::endurance::gpu()] {
        let assistant = Assistant::open(&device, &folder(), &file, None).unwrap();
        let turn = Turn { role: Role::User, text: "What is the capital of France? Answer in one sentence.".to_owned() };
        let prompt = assistant.chat(&[turn]).unwrap();
        assert_eq!(prompt, PROMPT);
        let answer =
            assistant.answer((&prompt, None), &AnswerOptions::default(), |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(
            (&answer.text[..], answer.end),
            ("The capital of France is Paris.", End::Finished),
            "{}",
            device.name()
        );
    }
}
