//! From files to rows against Transformers: tiny random towers on every golden picture.

use std::path::Path;
use std::sync::Arc;

use realign::encode::ImageEncoder;
use realign::encode::embed::{EmbedOptions, embed_pictures};
use realign::encode::picture::{Preprocessor, is_picture};
use realign::io::{Dataset, OpenOptions, PictureList};
use realign::{ElementType, Error};

use super::common::devices;
use super::{expected, golden};

/// The f32 rows of one tensor, `[n, width]`.
fn rows(path: &Path, key: Option<&str>) -> (usize, Vec<f32>) {
    let options = OpenOptions { key: key.map(str::to_owned), ..Default::default() };
    let set = Dataset::open(&[path.to_path_buf()], &options).unwrap();
    assert_eq!(set.element_type(), ElementType::F32);
    let mut bytes = vec![0; set.rows() as usize * set.width() * 4];
    set.reader(0).unwrap().read(set.rows() as usize, &mut bytes).unwrap();
    (set.width(), bytes.chunks(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// A folder of a golden tower with the settings of its pictures.
pub fn model(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(golden().join("../encoders").join(name)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    let configs: serde_json::Value =
        serde_json::from_slice(&std::fs::read(golden().join("rows.json")).unwrap()).unwrap();
    std::fs::write(folder.path().join("preprocessor_config.json"), configs[name].to_string()).unwrap();
    folder
}

/// Rows as near to Transformers' as decoding allows: a cosine of 0.99999 for lossless files, of 0.9999 for lossy ones; and of the same length.
#[test]
fn rows_of_files_are_transformers() {
    let (expected, files) = (expected(), golden().join("files"));
    let list = Arc::new(PictureList::open(&[files], is_picture).unwrap());
    for name in ["clip_quick", "clip_gelu", "siglip", "siglip2"] {
        let folder = model(name);
        let preprocessor = Preprocessor::load(folder.path()).unwrap();
        let (width, want) = rows(&golden().join("rows.safetensors"), Some(name));
        for device in devices() {
            let encoder = ImageEncoder::load(&device, folder.path()).unwrap();
            let options = EmbedOptions::new(folder.path().join("rows.npy")).model(Some(folder.path())).batch_size(13);
            let embedded = embed_pictures(&encoder, &preprocessor, &list, &options).unwrap();
            assert_eq!((embedded.rows as usize, embedded.width), (want.len() / width, width));
            let (_, got) = rows(&embedded.files[0], None);
            for (i, (got, want)) in got.chunks(width).zip(want.chunks(width)).enumerate() {
                let file = list.id(i);
                let lossy = expected["files"][file]["lossy"].as_bool().unwrap();
                let (cosine, least) = (cosine(got, want), if lossy { 0.9999 } else { 0.99999 });
                assert!(cosine >= least, "{name} {file} on {}: {cosine}", device.name());
                if !lossy {
                    let norm = want.iter().map(|x| x * x).sum::<f32>().sqrt();
                    let off = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(off <= 1e-4 * norm, "{name} {file} on {}: {off} of {norm}", device.name());
                }
            }
            std::fs::remove_file(folder.path().join("rows.npy")).unwrap();
        }
    }
}

/// The comparison can fail: a filter that is not the one of the model.
#[test]
fn another_filter_is_noticed() {
    let folder = model("clip_quick");
    let path = folder.path().join("preprocessor_config.json");
    let text = std::fs::read_to_string(&path).unwrap().replace("\"resample\":3", "\"resample\":0");
    std::fs::write(&path, text).unwrap();
    let preprocessor = Preprocessor::load(folder.path()).unwrap();
    let encoder = ImageEncoder::load(&realign::Device::host(), folder.path()).unwrap();
    let (width, want) = rows(&golden().join("rows.safetensors"), Some("clip_quick"));
    let list = PictureList::open(&[golden().join("files")], is_picture).unwrap();
    let index = (0..list.len()).find(|i| list.id(*i) == "rgb8.png").unwrap();
    let pixels = preprocessor.of_file(&list.path(index)).unwrap();
    let got = encoder.encode_blocking(&pixels).unwrap();
    assert!(cosine(&got, &want[index * width..(index + 1) * width]) < 0.9999);
}

/// A model whose preprocessor makes pictures of another size than its tower takes is refused before anything is computed.
#[test]
fn sizes_that_do_not_fit_are_refused() {
    let folder = model("siglip");
    let path = folder.path().join("preprocessor_config.json");
    std::fs::write(&path, std::fs::read_to_string(&path).unwrap().replace("42", "40")).unwrap();
    let preprocessor = Preprocessor::load(folder.path()).unwrap();
    let encoder = ImageEncoder::load(&realign::Device::host(), folder.path()).unwrap();
    let list = Arc::new(PictureList::open(&[golden().join("files/rgb8.png")], is_picture).unwrap());
    let options = EmbedOptions::new(folder.path().join("rows.npy"));
    let error = embed_pictures(&encoder, &preprocessor, &list, &options).unwrap_err();
    assert!(
        matches!(&error, Error::Argument { argument: "model", .. }) && error.to_string().contains("40 x 40"),
        "{error}"
    );
}
