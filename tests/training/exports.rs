//! The decoder that a run leaves, in each type.

use half::{bf16, f16};
use realign::ElementType;
use realign::device::Device;
use realign::io::{DecoderConfig, Weights};
use realign::train::{Run, Stage, Start, Trained};

use super::refused;
use super::runs::{finish, setup};

#[test]
fn the_trained_decoder_is_written_in_the_type_that_is_asked_for() {
    let host = Device::host();
    for trained in [Trained::All, Trained::Lora] {
        let (_folder, mut settings) = setup(Stage::Two);
        (settings.train, settings.epochs, settings.lora_rank) = (trained, 3.0, 3);
        settings.merge_lora = trained == Trained::Lora;
        finish(Run::start(&host, settings.clone(), Start::New).unwrap());
        let read = || {
            let weights = Weights::open(&settings.out.join("model")).unwrap();
            let config = DecoderConfig::read(&settings.out.join("model")).unwrap();
            let tensors = config.tensors().into_iter();
            let all = tensors.map(|(name, shape)| (name.clone(), weights.read_f32(&name, &shape).unwrap()));
            (weights.element_type(), all.collect::<Vec<_>>())
        };
        let (element, exact) = read();
        assert_eq!(element, ElementType::F32);
        for wanted in [ElementType::F16, ElementType::BF16] {
            // A finished run writes its results again.
            let again = settings.clone().export_dtype(Some(wanted));
            Run::start(&host, again, Start::Resume).unwrap().finish().unwrap();
            let (element, rounded) = read();
            assert_eq!(element, wanted);
            let round = |x: &f32| match wanted {
                ElementType::F16 => f16::from_f32(*x).to_f32(),
                _ => bf16::from_f32(*x).to_f32(),
            };
            for ((name, numbers), (_, exact)) in rounded.iter().zip(&exact) {
                assert!(numbers.iter().zip(exact).all(|(r, x)| *r == round(x)), "{trained:?} {wanted}: {name}");
            }
            assert!(rounded != exact, "{wanted}: nothing was rounded");
        }
    }
}

#[test]
fn what_has_no_effect_is_said_and_what_contradicts_is_refused() {
    let (_folder, settings) = setup(Stage::Two);
    assert_eq!(settings.ignored(), Vec::<String>::new());
    let odd = settings.clone().stats(Some("s.safetensors".into())).eval_embeddings(vec!["e.npy".into()]);
    let told = odd.ignored();
    assert!(told.len() == 2 && told[0].contains("stats") && told[1].contains("eval_embeddings"), "{told:?}");
    let host = Device::host();
    let linear = settings.clone().adapter("linear".parse().unwrap());
    refused(Run::start(&host, linear, Start::New), &["linear", "init_adapter", "mlp2x_gelu"]);
    let tokens = settings.clone().adapter_tokens(2).visual_tokens(2);
    refused(Run::start(&host, tokens, Start::New), &["adapter_tokens: 2", "makes 1"]);
    let double = settings.export_dtype(Some(ElementType::F64));
    refused(Run::start(&host, double, Start::New), &["export_dtype", "bf16"]);
}
