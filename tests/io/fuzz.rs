//! Random bytes and random damage: any answer will do but a panic, a hang or a huge allocation.

use proptest::prelude::*;
use tempfile::tempdir;

use super::*;

/// Opens the bytes as a file of this name and reads all its rows if it claims few enough.
pub fn survives(name: &str, bytes: &[u8]) {
    let folder = tempdir().unwrap();
    let path = put(folder.path(), name, bytes);
    let Ok(input) = open(&[&path]) else { return };
    // A raw file has as many bytes as it claims rows; compressed lists may be larger, but these were small.
    if input.rows().saturating_mul(input.width() as u64) < 1 << 22 {
        let _ = rows(&input);
        let out = folder.path().join(format!("out_{name}"));
        let bytes = vec![0; input.rows() as usize * input.width() * input.element_type().bytes()];
        let _ = write(&input, &out, &OutputOptions::default(), &bytes);
    }
}

/// Overwrites, cuts or extends.
pub fn damage(mut bytes: Vec<u8>, edits: &[(prop::sample::Index, u8)], cut: Option<prop::sample::Index>) -> Vec<u8> {
    for (at, value) in edits {
        let at = at.index(bytes.len());
        bytes[at] = *value;
    }
    if let Some(cut) = cut {
        bytes.truncate(cut.index(bytes.len()));
    }
    bytes
}

pub fn edits() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)
}

fn tensors() -> Vec<u8> {
    let table = concat!(
        r#"{"__metadata__":{"k":"v"},"a":{"dtype":"F16","shape":[3,2],"data_offsets":[0,12]},"#,
        r#""b":{"dtype":"I8","shape":[4],"data_offsets":[12,16]}}"#
    );
    safetensors(table, &[1; 16])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        survives("a.npy", &bytes);
        survives("a.npy", &[b"\x93NUMPY\x01\x00", &bytes[..]].concat());
        survives("a.safetensors", &bytes);
        survives("a.safetensors", &safetensors("{}", &bytes));
        survives("a.parquet", &bytes);
        survives("a.parquet", &[b"PAR1", &bytes[..], &(bytes.len() as u32).to_le_bytes(), b"PAR1"].concat());
    }

    #[test]
    fn random_headers(text in "[{}()\\[\\]'\": ,a-z0-9<>=|TrueFals_L-]{0,120}") {
        survives("a.npy", &npy(&text, &[0; 64]));
        survives("a.npy", &npy(&format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {text}}}"), &[0; 64]));
        survives("a.safetensors", &safetensors(&text, &[0; 64]));
    }

    #[test]
    fn damaged_npy(edits in edits(), cut in any::<Option<prop::sample::Index>>()) {
        survives("a.npy", &damage(counting("<f4", 5, 3), &edits, cut));
    }

    #[test]
    fn damaged_safetensors(edits in edits(), cut in any::<Option<prop::sample::Index>>()) {
        survives("a.safetensors", &damage(tensors(), &edits, cut));
    }
}
