//! Decoders as encoders of texts.

use realign::device::Device;
use realign::encode::{Pooling, TextEncoder, TextOptions};

use super::{again, check, devices, difference, expected, folder, texts};

fn llm2vec() -> TextOptions {
    TextOptions::default()
        .bidirectional(true)
        .pooling(Some(Pooling::Mean))
        .prompt(Some("find: ".into()))
        .projection(Some(folder("decoder_mean").join("projection.safetensors")))
}

#[test]
fn decoders_are_what_transformers_makes_of_them() {
    for device in devices() {
        for (name, options) in [("decoder_mean", llm2vec()), ("decoder_last", TextOptions::default())] {
            let encoder = TextEncoder::load(&device, &folder(name), &options).unwrap();
            let got = encoder.encode_blocking(&texts(name)).unwrap();
            check(&got.rows, &expected(name, "texts"), encoder.width(), &format!("{name} on {}", device.name()));
            assert_eq!(got.cut, 1, "{name}");
            let many = encoder.encode_blocking(&again(&texts(name), 40)).unwrap();
            check(&many.rows, &expected(name, "texts").repeat(40), encoder.width(), "many texts");
        }
    }
}

/// Each of the options matters.
#[test]
fn options_make_other_rows() {
    let device = Device::host();
    let want = expected("decoder_mean", "texts");
    for options in [
        llm2vec().bidirectional(false),
        llm2vec().pooling(None),
        llm2vec().pooling(Some(Pooling::Last)),
        llm2vec().prompt(None),
    ] {
        let encoder = TextEncoder::load(&device, &folder("decoder_mean"), &options).unwrap();
        let got = encoder.encode_blocking(&texts("decoder_mean")).unwrap();
        assert!(difference(&got.rows, &want, 18) > 1e-2, "{options:?}");
    }
    let plain = TextEncoder::load(&device, &folder("decoder_mean"), &llm2vec().projection(None)).unwrap();
    assert_eq!(plain.width(), 24);
}

#[test]
fn options_that_do_not_fit() {
    let device = Device::host();
    let refused = |name: &str, options: TextOptions, part: &str| {
        let error = TextEncoder::load(&device, &folder(name), &options).unwrap_err().to_string();
        assert!(error.contains(part), "{error} lacks {part}");
    };
    let file = folder("decoder_mean").join("projection.safetensors");
    refused("minilm", TextOptions::default().bidirectional(true), "bidirectional");
    refused("clip_quick", TextOptions::default().projection(Some(file)), "projection");
    let other = folder("minilm").join("model.safetensors");
    refused("decoder_mean", TextOptions::default().projection(Some(other)), "matrices of 24 columns");
    refused("decoder_last", TextOptions::default().pooling(Some(Pooling::Mean)), "Last");
}
