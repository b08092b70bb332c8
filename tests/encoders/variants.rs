//! What must not change rows: how many images or texts are taken at once, older files, prompts by name or as texts.

use realign::device::Device;
use realign::encode::{ImageEncoder, Pooling, TextEncoder, TextOptions, text_width};
use serde_json::json;

use super::{again, changed, check, devices, difference, expected, folder, pixels, texts};

#[test]
fn a_batch_is_its_images_one_by_one() {
    for device in devices() {
        for name in ["clip_gelu", "siglip2"] {
            let encoder = ImageEncoder::load(&device, &folder(name)).unwrap();
            let data = pixels(name);
            let (height, width) = encoder.image_size();
            let single = |image: &[f32]| encoder.encode_blocking(image).unwrap();
            let one_by_one: Vec<f32> = data.chunks_exact(3 * height * width).flat_map(single).collect();
            let want: Vec<f64> = one_by_one.into_iter().map(f64::from).collect();
            // More than a batch on any device here.
            let many = 2 * encoder.batch() / (want.len() / encoder.width()) + 1;
            let got = encoder.encode_blocking(&data.repeat(many.min(900))).unwrap();
            let what = format!("{name} on {}, {} images", device.name(), got.len() / encoder.width());
            check(&got, &want.repeat(many.min(900)), encoder.width(), &what);
        }
    }
    assert!(ImageEncoder::load(&Device::host(), &folder("siglip")).unwrap().encode_blocking(&[]).unwrap().is_empty());
}

#[test]
fn texts_are_independent_of_their_batch() {
    for device in devices() {
        for name in ["clip_quick", "siglip", "minilm", "bert_dense", "mpnet"] {
            let encoder = TextEncoder::load(&device, &folder(name), &TextOptions::default()).unwrap();
            let (all, want) = (texts(name), expected(name, "texts"));
            for (text, want) in all.iter().zip(want.chunks_exact(encoder.width())) {
                let got = encoder.encode_blocking(std::slice::from_ref(text)).unwrap();
                check(&got.rows, want, encoder.width(), &format!("{name} {text:?}"));
            }
            let got = encoder.encode_blocking(&again(&all, 60)).unwrap();
            check(&got.rows, &want.repeat(60), encoder.width(), &format!("{name}, {} texts", 60 * all.len()));
            assert!(encoder.encode_blocking(&[]).unwrap().rows.is_empty());
        }
    }
}

/// Texts beyond the positions are counted, and keep the mark at their end.
#[test]
fn long_texts_are_cut_and_counted() {
    let device = Device::host();
    for (name, cut, positions) in [("clip_quick", 1, 20), ("clip_gelu", 1, 17), ("siglip", 3, 16), ("minilm", 2, 12)] {
        let encoder = TextEncoder::load(&device, &folder(name), &TextOptions::default()).unwrap();
        let ids: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder(name).join("expected.json")).unwrap()).unwrap();
        let full = ids["ids"].as_array().unwrap().iter().filter(|ids| ids.as_array().unwrap().len() == positions);
        assert_eq!(encoder.positions(), positions, "{name}");
        let got = encoder.encode_blocking(&texts(name)).unwrap();
        assert_eq!(got.cut, cut, "{name}, where {} texts are full", full.count());
    }
}

/// Older files have their sections under another name, too, which has the last word.
#[test]
fn older_sections_have_the_last_word() {
    let device = Device::host();
    let older = changed("clip_quick", |config| {
        for name in ["text_config", "vision_config"] {
            config[format!("{name}_dict")] = config[name].clone();
            config[name] = json!({"hidden_size": 99, "num_attention_heads": 3});
        }
    });
    let encoder = ImageEncoder::load(&device, older.path()).unwrap();
    check(&encoder.encode_blocking(&pixels("clip_quick")).unwrap(), &expected("clip_quick", "images"), 20, "images");
    let encoder = TextEncoder::load(&device, older.path(), &TextOptions::default()).unwrap();
    let got = encoder.encode_blocking(&texts("clip_quick")).unwrap();
    check(&got.rows, &expected("clip_quick", "texts"), 20, "texts");
}

/// CamemBERT is RoBERTa by another name, and a folder may say its class alone.
#[test]
fn other_names_of_a_kind() {
    let by_class = |config: &mut serde_json::Value| drop(config.as_object_mut().unwrap().remove("model_type"));
    let renamed = changed("roberta_max", |config| config["model_type"] = json!("camembert"));
    let mut folders = vec![("roberta_max", renamed)];
    folders.extend(["roberta_max", "xlm_roberta", "mpnet", "distilbert"].map(|name| (name, changed(name, by_class))));
    for (name, copy) in folders {
        let encoder = TextEncoder::load(&Device::host(), copy.path(), &TextOptions::default()).unwrap();
        let got = encoder.encode_blocking(&texts(name)).unwrap();
        check(&got.rows, &expected(name, "texts"), encoder.width(), name);
    }
}

/// What is known of a row without loading the encoder.
#[test]
fn widths_are_known_beforehand() {
    for name in super::TEXTS.into_iter().chain(["decoder_last"]) {
        let encoder = TextEncoder::load(&Device::host(), &folder(name), &TextOptions::default()).unwrap();
        assert_eq!(text_width(&folder(name)).unwrap(), encoder.width(), "{name}");
    }
    assert!(text_width(&folder("clip_image")).is_err() && text_width(&folder("nowhere")).is_err());
}

#[test]
fn prompts_by_name_and_as_texts() {
    let device = Device::host();
    let want = expected("minilm", "texts_query");
    let load = |options: TextOptions| TextEncoder::load(&device, &folder("minilm"), &options);
    for options in [
        TextOptions::default().prompt_name(Some("query".into())),
        TextOptions::default().prompt(Some("a photo of: ".into())),
    ] {
        let encoder = load(options).unwrap();
        let got = encoder.encode_blocking(&texts("minilm")).unwrap();
        check(&got.rows, &want, encoder.width(), "a prompt");
    }
    let error = load(TextOptions::default().prompt_name(Some("passage".into()))).unwrap_err().to_string();
    assert!(error.contains("\"passage\"") && error.contains("query"), "{error}");
    let both = TextOptions::default().prompt(Some("a".into())).prompt_name(Some("query".into()));
    assert!(load(both).is_err());
}

/// A folder of BERT's without modules is pooled as the options say, by the mean where they say nothing.
#[test]
fn pooling_of_plain_folders() {
    let device = Device::host();
    let plain = changed("distilbert", |_| ());
    std::fs::remove_file(plain.path().join("modules.json")).unwrap();
    let rows = |options: &TextOptions| {
        let encoder = TextEncoder::load(&device, plain.path(), options).unwrap();
        (encoder.encode_blocking(&texts("distilbert")).unwrap().rows, encoder.width())
    };
    let norm = |row: &[f64]| row.iter().map(|x| x * x).sum::<f64>().sqrt();
    let (mean, width) = rows(&TextOptions::default());
    let unit: Vec<f32> = mean
        .chunks_exact(width)
        .flat_map(|row| {
            let wide: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
            let size = norm(&wide);
            wide.into_iter().map(move |x| (x / size) as f32).collect::<Vec<_>>()
        })
        .collect();
    check(&unit, &expected("distilbert", "texts"), width, "the mean");
    let wide: Vec<f64> = mean.iter().map(|&x| f64::from(x)).collect();
    for pooling in [Pooling::First, Pooling::Last, Pooling::Max, Pooling::RootMean] {
        let (other, _) = rows(&TextOptions::default().pooling(Some(pooling)));
        assert!(difference(&other, &wide, width) > 1e-2, "{pooling:?}");
    }
    let of_modules = TextOptions::default().pooling(Some(Pooling::First));
    assert!(TextEncoder::load(&device, &folder("distilbert"), &of_modules).is_err());
    assert!(TextEncoder::load(&device, &folder("clip_quick"), &of_modules).is_err());
}
