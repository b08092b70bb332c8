//! A folder of one's own images.

use std::path::Path;

use image::{GrayImage, Luma, Rgb, RgbImage};
use realign::Device;
use realign::experiment::folder::{FolderOptions, FolderPairs};
use realign::experiment::{EncoderSettings, Pairs, Random, train_dual_encoder, train_image_tower};

/// Forty images, dark or bright, PNG or JPEG, of different sizes.
fn fill(folder: &Path) {
    let mut lines = String::new();
    for i in 0..40u32 {
        let level = if i % 2 == 0 { 30 } else { 220 };
        let (width, height) = (10 + i % 7, 8 + i % 5);
        let name = if i % 3 == 0 { format!("{i}.jpg") } else { format!("{i}.png") };
        if i % 4 == 0 {
            RgbImage::from_pixel(width, height, Rgb([level, level, level])).save(folder.join(&name)).unwrap();
        } else {
            GrayImage::from_pixel(width, height, Luma([level])).save(folder.join(&name)).unwrap();
        }
        let word = if i % 2 == 0 { "dark" } else { "bright" };
        for text in [format!("a {word} picture, number {i}"), format!("{word}!")] {
            lines.push_str(&serde_json::json!({"image": name, "text": text}).to_string());
            lines.push('\n');
        }
    }
    std::fs::write(folder.join("captions.jsonl"), lines).unwrap();
}

#[test]
fn a_folder_is_read_and_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    for colour in [false, true] {
        let options = FolderOptions { side: 6, colour, ..Default::default() };
        let pairs = FolderPairs::open(folder.path(), options).unwrap();
        assert_eq!((pairs.len(), pairs.probe().texts.len(), pairs.names().len()), (36, 4, 36));
        assert_eq!(pairs.image(0).len(), if colour { 108 } else { 36 });
        for (i, name) in pairs.names().iter().enumerate() {
            let number: u32 = name.split('.').next().unwrap().parse().unwrap();
            let level = if number.is_multiple_of(2) { 30.0 } else { 220.0 } / 255.0;
            assert!(pairs.image(i).iter().all(|p| (p - level).abs() < 0.02), "{name}");
        }
        assert!(!pairs.words().encode("a bright picture, number 7!").contains(&1));
        let settings = EncoderSettings { width: 8, steps: 40, batch: 12, temperature: 0.1, ..Default::default() };
        let mut losses = Vec::new();
        train_dual_encoder(&Device::host(), &pairs, None, &settings, &mut |s| {
            losses.push(s.loss);
            Ok(())
        })
        .unwrap();
        // Twelve pairs of two kinds: telling the kinds apart brings ln 12 down by about ln 2.
        assert!(losses[losses.len() - 1] < losses[0] - 0.3, "{losses:?}");
    }
}

/// Texts of two kinds have opposite rows: an image tower comes near them, and its rows tell the kinds apart.
#[test]
fn an_image_tower_learns_rows_that_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let pairs = FolderPairs::open(folder.path(), FolderOptions { side: 6, ..Default::default() }).unwrap();
    let dark = |i: usize| pairs.image(i)[0] < 0.5;
    let row = |i: usize, _: &mut Random| if dark(i) { vec![1.0, 0.0, 0.0, 0.0] } else { vec![0.0, 0.6, 0.8, 0.0] };
    let settings = EncoderSettings { width: 4, steps: 60, batch: 12, temperature: 0.1, ..Default::default() };
    let device = Device::host();
    let mut losses = Vec::new();
    let trained = train_image_tower(&device, &pairs, &row, &settings, &mut |s| {
        losses.push(s.loss);
        Ok(())
    })
    .unwrap();
    assert_eq!(losses.len(), 6);
    assert!(losses[5] < losses[0], "{losses:?}");
    let pixels: Vec<f32> = (0..pairs.len()).flat_map(|i| pairs.image(i)).copied().collect();
    for (i, got) in trained.images(&pixels).unwrap().chunks(4).enumerate() {
        let near = |at: bool| {
            let want = if at { [1.0, 0.0, 0.0, 0.0] } else { [0.0, 0.6, 0.8, 0.0] };
            got.iter().zip(want).map(|(a, b)| a * b).sum::<f32>()
        };
        assert!(near(dark(i)) > near(!dark(i)), "{i}: {got:?}");
    }
    let narrow = |_: usize, _: &mut Random| vec![1.0];
    assert!(train_image_tower(&device, &pairs, &narrow, &settings, &mut |_| Ok(())).is_err());
    let many = EncoderSettings { batch: 37, ..settings };
    assert!(train_image_tower(&device, &pairs, &row, &many, &mut |_| Ok(())).is_err());
}

#[test]
fn bad_folders() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let open = || FolderPairs::open(folder.path(), FolderOptions::default()).unwrap_err().to_string();
    assert!(open().contains("captions.jsonl"));
    std::fs::write(at("captions.jsonl"), "").unwrap();
    assert!(open().contains("no record"), "{}", open());
    std::fs::write(at("captions.jsonl"), "{\"image\": \"a.png\", \"text\": \"x\"}\n{\"image\": 3, \"text\": \"x\"}\n")
        .unwrap();
    assert!(open().contains("\"image\"") && open().contains('2'), "{}", open());
    std::fs::write(at("captions.jsonl"), "{\"image\": \"a.png\", \"text\": \"x\"}\n").unwrap();
    assert!(open().contains("a.png"));
    std::fs::write(at("a.png"), b"\x89PNG\r\n\x1a\nnothing").unwrap();
    assert!(open().contains("cannot be decoded"), "{}", open());
    std::fs::write(at("a.png"), b"GIF89a").unwrap();
    assert!(open().contains("PNG or JPEG"), "{}", open());
    fill(folder.path());
    for side in [0, 257] {
        FolderPairs::open(folder.path(), FolderOptions { side, ..Default::default() }).unwrap_err();
    }
}
