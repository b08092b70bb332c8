//! Resizing, cropping and normalising against Transformers.

use std::sync::Arc;

use realign::encode::picture::{Picture, PictureBatches, Preprocessor};

use super::{expected, golden, noise, size};

/// The preprocessor of these settings.
pub fn preprocessor(config: &serde_json::Value) -> Preprocessor {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("preprocessor_config.json"), config.to_string()).unwrap();
    Preprocessor::load(folder.path()).unwrap()
}

fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Every filter, size and crop, from 1 x 1 to 30,000 x 2 pixels: the bytes behind resizing, and the bits of the f32, are Transformers'.
#[test]
fn bytes_and_numbers_are_transformers() {
    let expected = expected();
    let mut wrong = Vec::new();
    for want in expected["resized"].as_array().unwrap() {
        let (height, width) = (size(want, "height"), size(want, "width"));
        let preprocessor = preprocessor(&want["config"]);
        let picture = Picture::of_rgb(noise(height * width * 3), width, height).unwrap();
        let case = format!("{height} x {width}, {}", want["config"]);
        let shape = [want["size"][0].as_u64().unwrap() as usize, want["size"][1].as_u64().unwrap() as usize];
        assert_eq!(preprocessor.size_of(height, width), (shape[0], shape[1]), "{case}");
        let bytes = preprocessor.bytes(&picture).unwrap();
        let pixels = preprocessor.of_rgb(picture.rgb(), width, height).unwrap();
        assert_eq!((bytes.len(), pixels.len()), (shape[0] * shape[1] * 3, shape[0] * shape[1] * 3), "{case}");
        if u64::from(crc32fast::hash(&bytes)) != want["bytes"].as_u64().unwrap() {
            wrong.push(format!("bytes of {case}"));
        }
        if u64::from(crc32fast::hash(&little_endian(&pixels))) != want["pixels"].as_u64().unwrap() {
            let sum: f64 = pixels.iter().map(|x| f64::from(*x)).sum();
            wrong.push(format!("numbers of {case}: their sum is {sum}, Transformers' {}", want["sum"]));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(expected["resized"].as_array().unwrap().len() > 35);
}

/// Batches have the pictures in order, each as it is by itself, and name the bad ones by their places.
#[test]
fn batches_are_the_pictures_one_by_one() {
    let config = serde_json::json!({"image_processor_type": "SiglipImageProcessor", "size": {"height": 6, "width": 5}});
    let preprocessor = preprocessor(&config);
    let names = ["grey1.png", "rgb8.png", "missing.png", "rgba16.png", "plain.gif", "rgb444.jpg", "clear.webp"];
    let paths: Arc<Vec<_>> = Arc::new(names.iter().map(|name| golden().join("files").join(name)).collect());
    for batch in [1, 2, 3, 7, 100] {
        let given = Arc::clone(&paths);
        let batches = PictureBatches::start(preprocessor.clone(), move |i| given[i].clone(), (0, 7), batch).unwrap();
        let (mut all, mut bad, mut next) = (Vec::new(), Vec::new(), 0);
        for batch in batches {
            let batch = batch.unwrap();
            assert_eq!((batch.first, batch.size), (next, (6, 5)));
            assert_eq!(batch.pixels.len(), batch.good() * 90);
            next += batch.files;
            all.extend(batch.pixels);
            bad.extend(batch.bad.into_iter().map(|b| (b.index, b.error.to_string())));
        }
        let good = paths.iter().filter(|p| !p.ends_with("missing.png"));
        let one_by_one: Vec<f32> = good.flat_map(|path| preprocessor.of_file(path).unwrap()).collect();
        assert!(all == one_by_one && next == 7, "batches of {batch}");
        assert!(bad.len() == 1 && bad[0].0 == 2 && bad[0].1.contains("missing.png"), "{bad:?}");
    }
    // Dropped before its end, and from a place in the middle.
    let given = Arc::clone(&paths);
    let mut part = PictureBatches::start(preprocessor.clone(), move |i| given[i].clone(), (3, 7), 1).unwrap();
    assert_eq!(part.next().unwrap().unwrap().first, 3);
    drop(part);
    let any = preprocessor_of_any_size();
    assert!(PictureBatches::start(any, move |_| golden(), (0, 1), 1).unwrap_err().to_string().contains("crop_size"));
}

fn preprocessor_of_any_size() -> Preprocessor {
    preprocessor(&serde_json::json!({"image_processor_type": "CLIPImageProcessor", "do_center_crop": false}))
}
