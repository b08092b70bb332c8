//! Statistics and moments files that are damaged, newer, of another kind.

use super::*;

/// Replaces text of the same length, so that the header stays well formed.
fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).expect(from);
    let mut out = bytes.to_vec();
    out[at..at + to.len()].copy_from_slice(to.as_bytes());
    out
}

#[test]
fn newer_versions() {
    let folder = fitted();
    let (version, newer) = (r#""format_version":"1""#, r#""format_version":"7""#);
    folder.put("s7.st", &replaced(&folder.bytes("s.st"), version, newer));
    folder.put("m7.st", &replaced(&folder.bytes("m.st"), version, newer));
    folder.bad(1, "apply text.npy --stats s7.st --out o.npy", &["s7.st", "version 7", "update realign"]);
    folder.bad(1, "info s7.st", &["s7.st", "version 7", "update realign"]);
    folder.bad(1, "info m7.st --json", &["m7.st", "version 7", "update realign"]);
    folder.bad(1, "merge m.st m7.st --out o.st", &["m7.st", "version 7", "update realign"]);
    folder.bad(1, "fit --source-stats m7.st --target image.npy --out o.st", &["m7.st", "version 7", "update realign"]);
}

#[test]
fn files_of_another_kind() {
    let folder = fitted();
    folder.bad(1, "apply text.npy --stats m.st --out o.npy", &["m.st", "moments", "realign fit"]);
    folder.bad(1, "fit --source-stats s.st --target image.npy --out o.st", &["s.st", "operator", "realign apply"]);
    folder.bad(1, "merge m.st s.st --out o.st", &["s.st", "operator", "realign apply"]);
    folder.put("rows.safetensors", &safetensors(&[("x", &cloud(5, 12, 3, 0.0), 12)]));
    for other in ["text.npy", "rows.safetensors"] {
        folder.bad(1, &format!("apply text.npy --stats {other} --out o.npy"), &[other, "realign"]);
        folder.bad(1, &format!("merge {other} --out o.st"), &[other, "realign"]);
    }
    folder.put("empty.st", b"");
    folder.bad(1, "apply text.npy --stats empty.st --out o.npy", &["empty.st", "make it again"]);
    folder.bad(1, "apply text.npy --stats missing.st --out o.npy", &["missing.st", "No such file"]);
    std::fs::create_dir(folder.at("folder")).unwrap();
    folder.bad(1, "apply text.npy --stats folder --out o.npy", &["folder"]);
}

/// Damages one byte after the other, evenly spread: each time a message and exit 1, or a working run.
fn flip(name: &str, line: &str, out: &str) {
    flip_in(&fitted(), name, line, out);
}

fn flip_in(folder: &Folder, name: &str, line: &str, out: &str) {
    let whole = folder.bytes(name);
    let (mut good, mut bad) = (0, 0);
    let step = (whole.len() / 90).max(1);
    for (i, at) in (0..whole.len()).step_by(step).enumerate() {
        let mut bytes = whole.clone();
        bytes[at] ^= [1, 0x80, 0xff, 0x20, 0x7f][i % 5];
        folder.put(name, &bytes);
        let before = folder.tree();
        let output = folder.run(line);
        let stderr = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => {
                good += 1;
                std::fs::remove_file(folder.at(out)).unwrap();
            }
            Some(1) => {
                bad += 1;
                assert!(stderr.contains(name), "byte {at}: {stderr}");
            }
            code => panic!("byte {at}: {code:?}: {stderr}"),
        }
        assert!(folder.tree() == before, "byte {at}: files changed");
    }
    assert!(good > 0 && bad > 0, "{good} good, {bad} bad");
    for length in [0, 1, 7, 8, 9, 100, whole.len() / 2, whole.len() - 8, whole.len() - 1] {
        folder.put(name, &whole[..length]);
        folder.bad(1, line, &[name]);
    }
    folder.put(name, &whole);
}

#[test]
fn damaged_statistics() {
    flip("s.st", "apply text.npy --stats s.st --out o.npy --device host", "o.npy");
}

#[test]
fn damaged_moments() {
    flip("m.st", "merge m.st --out o.st", "o.st");
    flip("m.st", "fit --source-stats m.st --target image.npy --out o.st --device host", "o.st");
}

#[test]
fn damaged_covariances() {
    let folder = fitted();
    folder.good("stats text.npy --out m.st --force --covariance --device host");
    flip_in(&folder, "m.st", "merge m.st --out o.st", "o.st");
    flip_in(&folder, "m.st", "frame --source-stats m.st --target image.npy --out o.frame --device host", "o.frame");
}

#[test]
fn absurd_numbers_in_statistics() {
    let folder = fitted();
    let whole = folder.bytes("s.st");
    let header = 8 + u64::from_le_bytes(*whole.first_chunk::<8>().unwrap()) as usize;
    for value in [f64::NAN, f64::INFINITY, 1e300, f64::MAX] {
        for at in (header..whole.len() - 7).step_by(8) {
            let mut bytes = whole.clone();
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
            folder.put("s.st", &bytes);
            let output = folder.run("apply text.npy --stats s.st --out o.npy --device host");
            // The counts alone may hold any bits.
            if output.status.code() == Some(0) {
                assert!(floats(&folder.bytes("o.npy")).iter().all(|x| x.is_finite()), "{value} at {at}");
                std::fs::remove_file(folder.at("o.npy")).unwrap();
            }
        }
    }
}
