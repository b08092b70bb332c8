//! A real model, where one is at hand: `tools/encode_reference.py` says how.

use std::path::PathBuf;

use realign::encode::{TextEncoder, TextOptions};
use safetensors::SafeTensors;

use super::{check, devices};

/// `REALIGN_SENTENCE_MODEL` names a sentence-transformers folder and `REALIGN_SENTENCE_ROWS` what Transformers makes of texts with it.
#[test]
#[ignore = "needs a real model, see tools/encode_reference.py"]
fn a_real_model_gives_the_rows_of_transformers() {
    let path = |name: &str| PathBuf::from(std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set")));
    let bytes = std::fs::read(path("REALIGN_SENTENCE_ROWS")).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let texts: Vec<String> = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["texts"]).unwrap();
    let want: Vec<f64> =
        bytemuck::pod_collect_to_vec(SafeTensors::deserialize(&bytes).unwrap().tensor("rows").unwrap().data());
    for device in devices() {
        let encoder = TextEncoder::load(&device, &path("REALIGN_SENTENCE_MODEL"), &TextOptions::default()).unwrap();
        let got = encoder.encode_blocking(&texts).unwrap();
        check(&got.rows, &want, encoder.width(), &format!("{} cut, {}", got.cut, device.name()));
    }
}
