//! Encoders against Transformers in float64: tiny random models of each kind (see `golden/generate_encoders.py`), their images and texts, on the
//! host engine and on a driver.

mod bad_input;
mod decoders;
mod in_apps;
mod mixed;
mod real_model;
mod variants;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use realign::device::{Device, DeviceOptions, Selection, Tensor};
use realign::encode::{ImageEncoder, ImageSpace, TextEncoder, TextOptions};
use safetensors::{Dtype, SafeTensors};

/// What f32 may differ by from float64, relative to a row: a dozen blocks of products whose sums have up to 600 terms each err by a few 1e-7.
const BOUND: f64 = 5e-6;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/encoders").join(name)
}

fn gpu() -> Device {
    let name = std::env::var("REALIGN_TEST_ADAPTER").ok().filter(|name| !name.is_empty());
    let selection = Selection::Named(name.unwrap_or_else(|| "llvmpipe".to_owned()));
    Device::request_blocking(&DeviceOptions::default().selection(selection)).unwrap()
}

/// The GPU is one device for all tests, so that each pipeline is compiled once.
fn devices() -> Vec<Device> {
    static GPU: OnceLock<Device> = OnceLock::new();
    vec![Device::host(), GPU.get_or_init(gpu).clone()]
}

/// A tensor of a folder's `expected.safetensors`.
fn expected(name: &str, tensor: &str) -> Vec<f64> {
    let bytes = std::fs::read(folder(name).join("expected.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = tensors.tensor(tensor).unwrap();
    match tensor.dtype() {
        Dtype::F64 => bytemuck::pod_collect_to_vec(tensor.data()),
        Dtype::F32 => bytemuck::pod_collect_to_vec(tensor.data()).into_iter().map(f32::into).collect(),
        other => panic!("{name} is {other:?}"),
    }
}

fn pixels(name: &str) -> Vec<f32> {
    expected(name, "pixels").into_iter().map(|x| x as f32).collect()
}

fn texts(name: &str) -> Vec<String> {
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder(name).join("expected.json")).unwrap()).unwrap();
    json["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// The texts again and again.
fn again(texts: &[String], times: usize) -> Vec<String> {
    texts.iter().cycle().take(times * texts.len()).cloned().collect()
}

/// The largest relative difference of a row.
fn difference(got: &[f32], want: &[f64], width: usize) -> f64 {
    assert_eq!(got.len(), want.len());
    let norm = |row: &[f64]| row.iter().map(|x| x * x).sum::<f64>().sqrt();
    let rows = got.chunks_exact(width).zip(want.chunks_exact(width)).map(|(got, want)| {
        let apart: Vec<f64> = got.iter().zip(want).map(|(&g, w)| f64::from(g) - w).collect();
        let part = norm(&apart) / norm(want);
        if part.is_nan() { f64::INFINITY } else { part }
    });
    rows.fold(0.0, f64::max)
}

fn check(got: &[f32], want: &[f64], width: usize, what: &str) {
    let difference = difference(got, want, width);
    println!("{what}: {difference:.1e}");
    assert!(difference <= BOUND, "{what}: {difference:e}, allowed {BOUND:e}");
}

const IMAGES: [&str; 7] = ["clip_quick", "clip_gelu", "clip_bfloat", "clip_sparse", "clip_image", "siglip", "siglip2"];

const TEXTS: [&str; 14] = [
    "clip_quick",
    "clip_gelu",
    "clip_bfloat",
    "clip_sparse",
    "clip_text",
    "siglip",
    "siglip2",
    "minilm",
    "bert_dense",
    "roberta_max",
    "xlm_roberta",
    "mpnet",
    "mpnet_sparse",
    "distilbert",
];

#[test]
fn images_are_what_transformers_makes_of_them() {
    for device in devices() {
        for name in IMAGES {
            let encoder = ImageEncoder::load(&device, &folder(name)).unwrap();
            let got = encoder.encode_blocking(&pixels(name)).unwrap();
            check(&got, &expected(name, "images"), encoder.width(), &format!("{name} on {}", device.name()));
        }
    }
}

#[test]
fn texts_are_what_transformers_makes_of_them() {
    for device in devices() {
        for name in TEXTS {
            let encoder = TextEncoder::load(&device, &folder(name), &TextOptions::default()).unwrap();
            let got = encoder.encode_blocking(&texts(name)).unwrap();
            check(&got.rows, &expected(name, "texts"), encoder.width(), &format!("{name} on {}", device.name()));
        }
    }
}

/// The comparison can fail: a row that is off by a little more than the bound.
#[test]
fn a_difference_is_noticed() {
    let want = expected("clip_quick", "texts");
    let mut got: Vec<f32> = want.iter().map(|x| *x as f32).collect();
    assert!(difference(&got, &want, 20) < 1e-7);
    let norm = want[20..40].iter().map(|x| x * x).sum::<f64>().sqrt();
    got[30] += (2.0 * BOUND * norm) as f32;
    assert!(difference(&got, &want, 20) > BOUND);
    got[30] = f32::NAN;
    assert!(difference(&got, &want, 20) > BOUND);
}

/// Recorded on an app's device: nothing waits, a space serves again and again, and its result is that of the blocking call.
#[test]
fn recordings_do_not_wait() {
    // Devices of its own: other tests wait for theirs.
    for device in [Device::host(), gpu()] {
        for name in ["clip_gelu", "siglip"] {
            let encoder = ImageEncoder::load(&device, &folder(name)).unwrap();
            let (data, (height, width)) = (pixels(name), encoder.image_size());
            let images = Tensor::from_f32(&device, &data, 3 * height * width).unwrap();
            let space = ImageSpace::new(&encoder, images.rows()).unwrap();
            let before = device.waits();
            let mut out = Vec::new();
            for _ in 0..3 {
                let mut recorder = device.recorder();
                out.push(encoder.record(&mut recorder, &images, &space).unwrap());
                recorder.submit().unwrap();
            }
            assert_eq!(device.waits(), before, "{name}");
            let want = encoder.encode_blocking(&data).unwrap();
            for out in out {
                assert_eq!(out.to_f32_blocking(&device).unwrap(), want, "{name} on {}", device.name());
            }
        }
    }
}

/// A copy of a folder whose `config.json` is changed.
fn changed(name: &str, change: impl FnOnce(&mut serde_json::Value)) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_all(&folder(name), copy.path());
    let path = copy.path().join("config.json");
    let mut config = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(&path, config.to_string()).unwrap();
    copy
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_all(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}
