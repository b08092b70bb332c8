//! Digits, attributes, texts, and the files made from them, read back by what trains on them.

use std::collections::HashSet;

use realign::device::Tensor;
use realign::experiment::words::{QUESTIONS, WORDS, caption, document, question, read};
use realign::experiment::*;
use realign::io::{ChatTemplate, Dataset, DecoderConfig, EmbeddingRows, IdIndex, Ids, OpenOptions, SampleOptions};
use realign::io::{Role, Samples, TARGET, TOKEN, Tokenizer, Turn, VISUAL, Weights};
use realign::nn::{Adapter, Decoder};
use realign::optim::AdamWOptions;
use realign::train::{Batch, Model, Trainer, Trains};

fn digits() -> Digits {
    Digits::new(Parts::default(), 7).unwrap()
}

/// By NumPy from scikit-learn's copy of the data: ink, slant, width, row of four images.
#[test]
fn measures_of_four_images() {
    let want = [
        (0, 0, [0.287109375, 0.029306528122882293, 1.5436032221695601, 3.360544217687075]),
        (1, 1, [0.3056640625, -0.02280120507780646, 0.90053918143485, 3.5654952076677318]),
        (1000, 1, [0.26171875, -0.2708388406593988, 1.2756337995501252, 4.574626865671642]),
        (1796, 8, [0.3828125, -0.09432625273221809, 1.2748059280151065, 3.811224489795918]),
    ];
    let digits = digits();
    for (image, label, [ink, slant, width, row]) in want {
        let m = digits.measures()[image];
        for (got, want) in [(m.ink, ink), (m.slant, slant), (m.width, width), (m.row, row)] {
            assert!((got - want).abs() < 1e-12, "image {image}: {got} for {want}");
        }
        assert_eq!(digits.attributes()[image][0], label);
    }
}

#[test]
fn attributes_are_balanced_and_parts_disjoint() {
    let digits = digits();
    for k in 1..ATTRIBUTES {
        for value in 0..VALUES[k] {
            let share = digits.attributes().iter().filter(|a| usize::from(a[k]) == value).count() as f64 / 1797.0;
            let fair = 1.0 / VALUES[k] as f64;
            assert!((share - fair).abs() < 0.05, "attribute {k}, value {value}: {share}");
        }
    }
    let split = digits.split();
    let all: Vec<usize> =
        [&split.pairs, &split.pool, &split.instruction, &split.test].into_iter().flatten().copied().collect();
    assert_eq!(all.len(), 1797);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 1797);
    let parts = Parts { test: 100, ..Default::default() };
    assert_ne!(Digits::new(parts, 1).unwrap().split(), Digits::new(parts, 2).unwrap().split());
    assert_eq!(Digits::new(parts, 1).unwrap().split(), Digits::new(parts, 1).unwrap().split());
}

#[test]
fn bad_images_and_parts() {
    assert!(Measures::of(&[0.0; 64], 8).unwrap_err().to_string().contains("no ink"));
    let mut row = [0.0; 64];
    row[8..16].fill(1.0);
    assert!(Measures::of(&row, 8).unwrap_err().to_string().contains("one row"));
    row[3] = f32::NAN;
    Measures::of(&row, 8).unwrap_err();
    Measures::of(&row[..63], 8).unwrap_err();
    Measures::of(&row, 0).unwrap_err();
    Thresholds::of(&[]).unwrap_err();
    Digits::new(Parts { pairs: 1798, ..Default::default() }, 0).unwrap_err();
    Digits::new(Parts { pairs: 0, ..Default::default() }, 0).unwrap_err();
    Digits::new(Parts { pairs: usize::MAX, pool: 1, instruction: 0, test: 0 }, 0).unwrap_err();
}

#[test]
fn a_caption_says_all_attributes_and_no_others() {
    let mut random = Random::new(3, 0);
    let mut seen = HashSet::new();
    for i in 0..2000 {
        let attributes: Attributes = std::array::from_fn(|k| random.below(VALUES[k]) as u8);
        let length = if i % 2 == 0 { Length::Short } else { Length::Long };
        let text = caption(&attributes, length, &mut random);
        assert_eq!(read(&text), attributes.map(Some), "{text}");
        let words = text.split(' ').count();
        assert!(if length == Length::Short { words <= 13 } else { words >= 20 }, "{text}");
        seen.insert(text);
    }
    assert!(seen.len() > 1500, "{}", seen.len());
    assert_eq!(read("a thick thin three"), [Some(3), None, None, None, None]);
    assert_eq!(read("three bold thick strokes, three"), [Some(3), Some(1), None, None, None]);
}

#[test]
fn questions_have_right_answers() {
    let mut random = Random::new(4, 0);
    for i in 0..1000 {
        let attributes: Attributes = std::array::from_fn(|k| random.below(VALUES[k]) as u8);
        let k = i % ATTRIBUTES;
        let q = question(&attributes, k);
        assert_eq!((q.question.as_str(), q.answer), (QUESTIONS[k], WORDS[k][usize::from(attributes[k])]));
    }
}

/// A folder with model, texts, conversations and embeddings.
fn folder() -> (tempfile::TempDir, Digits) {
    let (folder, digits) = (tempfile::tempdir().unwrap(), digits());
    let options = FileOptions { texts: 300, ..Default::default() };
    write_digits(&folder.path().join("digits"), &digits, options).unwrap();
    write_digits(&folder.path().join("digits"), &digits, options).unwrap_err();
    write_digits(&folder.path().join("digits"), &digits, FileOptions { force: true, ..options }).unwrap();
    TinyDecoder::default().write(&folder.path().join("model"), &Vocabulary::of_digits(), false).unwrap();
    (folder, digits)
}

fn index(folder: &std::path::Path, stem: &str, ids: &[String]) -> IdIndex {
    let rows: Vec<f32> = (0..ids.len() * 3).map(|i| i as f32).collect();
    write_embeddings(&folder.join(stem), &rows, ids, false).unwrap();
    let dataset = Dataset::open(&[folder.join(stem).with_extension("npy")], &OpenOptions::default()).unwrap();
    let list = folder.join(stem).with_extension("txt");
    let mut all = EmbeddingRows::open(&dataset).unwrap();
    let mut last = [0.0; 3];
    all.read(&[ids.len() as u32 - 1], &mut last).unwrap();
    assert_eq!(last[2], rows[rows.len() - 1]);
    IdIndex::new(Ids::of_dataset(&dataset, Some(&list), None).unwrap(), &list).unwrap()
}

#[test]
fn the_training_readers_take_the_files() {
    let (folder, digits) = folder();
    let at = |name: &str| folder.path().join(name);
    let tokenizer = Tokenizer::open(&at("model")).unwrap();
    let template = ChatTemplate::open(&at("model"), &tokenizer).unwrap();
    let texts = index(folder.path(), "texts", &(0..300).map(text_id).collect::<Vec<_>>());
    let options = SampleOptions { visual_tokens: 2, max_length: 256, ..Default::default() };
    let stage1 = Samples::captions(&at("digits/texts.jsonl"), &tokenizer, &texts, &options).unwrap();
    assert_eq!((stage1.len(), stage1.cut()), (300, 0));
    let sample = stage1.get(5).unwrap();
    let vocabulary = Vocabulary::of_digits();
    let text = &digits.texts(300, Length::Short)[5].0;
    let mut want = vec![tokenizer.bos().unwrap(), VISUAL, VISUAL | 1];
    want.extend(vocabulary.encode(&format!("{text}\n")).into_iter().map(|id| id | TARGET));
    assert_eq!((sample.entries, sample.row), (&want[..], Some(5)));

    let images = index(folder.path(), "images", &(0..1797).map(Digits::id).collect::<Vec<_>>());
    for (name, count) in [("instruction", 200), ("test", 597)] {
        let path = at("digits").join(name).with_extension("json");
        let stage2 = Samples::conversations(&path, &tokenizer, &template, &images, &options).unwrap();
        assert_eq!((stage2.len(), stage2.cut(), stage2.missing()), (count, 0, 0));
        for i in 0..count {
            let sample = stage2.get(i).unwrap();
            assert!(sample.entries.iter().all(|e| e & TOKEN != 1 || e & VISUAL != 0), "an unknown word");
            // Five answers of one word, each with the token that ends it.
            assert_eq!(sample.entries.iter().filter(|e| *e & (VISUAL | TARGET) == TARGET).count(), 10);
        }
    }
    let turns = [Turn { role: Role::User, text: "<image>\nwhich digit is it ?".into() }];
    assert_eq!(template.render(&turns, true).unwrap(), "<bos><image>\nwhich digit is it ?<a>");
}

#[test]
fn the_model_folder_loads_and_its_tokenizer_agrees_with_the_vocabulary() {
    let (folder, digits) = folder();
    let model = folder.path().join("model");
    let config = DecoderConfig::read(&model).unwrap();
    assert_eq!(
        config.parameters(),
        Vocabulary::of_digits().len() as u64 * 192 + 2 * (4 * 96 * 96 + 3 * 96 * 192 + 192) + 96
    );
    let weights = Weights::open(&model).unwrap();
    let device = realign::Device::host();
    Decoder::new(&device, &config, |name, shape| weights.read_f32(name, shape)).unwrap();
    let (tokenizer, vocabulary) = (Tokenizer::open(&model).unwrap(), Vocabulary::of_digits());
    let tokenizer = tokenizer.fitted_to(vocabulary.len()).unwrap();
    assert_eq!(vocabulary.len(), config.vocab_size);
    let mut random = Random::new(1, 2);
    for (i, attributes) in digits.attributes().iter().enumerate().take(300) {
        let text = document(attributes, Length::Short, Vocabulary::marks(), &mut random);
        let ids = tokenizer.encode(&text).unwrap();
        assert_eq!(ids, vocabulary.encode(&text), "{text}");
        assert!(!ids.contains(&1) && ids.len() <= 64, "{text}");
        let long = digits.caption(i, Length::Long);
        assert_eq!(tokenizer.encode(&long).unwrap(), vocabulary.encode(&long));
        assert_eq!(tokenizer.decode(&vocabulary.encode(&long)).unwrap(), long);
    }
    assert_eq!(tokenizer.encode("a zebra, \n thin?").unwrap(), vocabulary.encode("a zebra, \n thin?"));
    let wrong = TinyDecoder { heads: 5, ..Default::default() };
    wrong.write(&folder.path().join("other"), &vocabulary, false).unwrap_err();
}
/// The decoder learns the language from texts alone, without an embedding in any batch.
#[test]
fn a_decoder_warms_up_on_texts() {
    let folder = tempfile::tempdir().unwrap();
    let vocabulary = Vocabulary::of_digits();
    let shape = TinyDecoder { hidden: 32, layers: 1, heads: 2, intermediate: 48, seed: 1 };
    let path = shape.write(&folder.path().join("model"), &vocabulary, false).unwrap();
    let (device, config) = (realign::Device::host(), DecoderConfig::read(&path).unwrap());
    let weights = Weights::open(&path).unwrap();
    let decoder = Decoder::new(&device, &config, |name, shape| weights.read_f32(name, shape)).unwrap();
    let kind = realign::io::AdapterKind::Linear;
    let adapter = Adapter::new(&device, &realign::nn::adapter::fresh(kind, 8, 32, 2)).unwrap();
    let options = AdamWOptions::default();
    let mut trainer = Trainer::new(&device, Model { adapter, decoder }, Trains::All, (options, false)).unwrap();
    let samples = warm_up_samples(&vocabulary, 1600, Length::Short, 5);
    assert_eq!((samples.len(), samples.cut()), (1600, 0));
    let none = Tensor::new(&device, 0, 8, realign::ElementType::F32).unwrap();
    let mut losses = Vec::new();
    for step in 0..50u32 {
        let batch = Batch::pack(&samples, &(32 * step..32 * (step + 1)).collect::<Vec<_>>()).unwrap();
        trainer.clear().unwrap();
        let nll = trainer.accumulate(&batch, &none).unwrap().read_blocking(&device).unwrap();
        losses.push(nll.iter().sum::<f32>() / nll.len() as f32);
        trainer.step(1e-2).unwrap();
    }
    // From near ln(vocabulary), all words alike, to well below.
    assert!((losses[0] - (vocabulary.len() as f32).ln()).abs() < 0.5, "{losses:?}");
    assert!(losses[49] < 0.6 * losses[0], "{losses:?}");
}
