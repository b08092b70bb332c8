//! Pictures against Pillow and Transformers' Pillow-backed image processors: the golden files are in `tests/golden/pictures`.

mod asking;
mod cache;
#[path = "../common/mod.rs"]
mod common;
mod embed;
mod files;
mod on_device;
mod resized;
mod rows;

use std::path::{Path, PathBuf};

use serde_json::Value;

/// The folder of the golden files.
pub fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pictures")
}

/// What Pillow and Transformers made of them.
pub fn expected() -> Value {
    serde_json::from_slice(&std::fs::read(golden().join("expected.json")).unwrap()).unwrap()
}

pub fn size(value: &Value, name: &str) -> usize {
    usize::try_from(value[name].as_u64().unwrap()).unwrap()
}

/// The bytes of `noise` in `generate_pictures.py`: each the upper byte of a hash of its place.
pub fn noise(n: usize) -> Vec<u8> {
    let byte = |i: usize| {
        let mut x = (i as u32).wrapping_mul(0x9e37_79b1);
        x ^= x >> 15;
        x = x.wrapping_mul(0x85eb_ca77);
        x ^= x >> 13;
        (x >> 24) as u8
    };
    (0..n).map(byte).collect()
}
