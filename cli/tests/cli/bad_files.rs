//! Malformed inputs, devices and arguments that are not there.

use super::*;

/// Tries the file in every place that reads rows.
fn refused(folder: &Folder, name: &str, words: &[&str]) {
    let words = [&[name], words].concat();
    for line in [
        format!("stats {name} --out o.st"),
        format!("fit --source {name} --target image.npy --out o.st"),
        format!("fit --source text.npy --target {name} --out o.st"),
        format!("apply {name} --stats s.st --out out.npy"),
        format!("apply {name} --stats s.st --out out/"),
        format!("info {name} --json"),
    ] {
        folder.bad(1, &line, &words);
    }
}

#[test]
fn files_that_are_no_rows() {
    let folder = fitted();
    let rows = cloud(5, 12, 3, 0.0);
    let body = encode("<f4", &rows);
    let whole = safetensors(&[("x", &rows, 12)]);
    let plain = npy("<f4", &rows, 12);
    for (name, bytes, words) in [
        ("empty.npy", vec![], &["not an npy file"][..]),
        ("empty.safetensors", vec![], &["0 bytes"]),
        ("cut.npy", plain[..plain.len() - 5].to_vec(), &["truncated"]),
        ("cut.safetensors", whole[..whole.len() - 5].to_vec(), &["truncated"]),
        ("header.npy", plain[..20].to_vec(), &["truncated"]),
        ("header.safetensors", whole[..20].to_vec(), &["claims"]),
        ("none.npy", npy_file("<f4", "False", "(0, 12)", &[]), &["empty", "0 rows"]),
        ("huge.npy", npy_file("<f4", "False", "(99999999999, 12)", &body), &["truncated"]),
        ("fortran.npy", npy_file("<f4", "True", "(5, 12)", &body), &["Fortran", "np.ascontiguousarray"]),
        ("integers.npy", npy_file("<i4", "False", "(5, 12)", &body), &["<i4", "astype"]),
        ("flat.npy", npy_file("<f4", "False", "(60,)", &body), &["1-D", "reshape"]),
        ("two.safetensors", safetensors(&[("x", &rows, 12), ("y", &rows, 12)]), &["--key", "\"x\"", "\"y\""]),
        ("zero.safetensors", safetensors(&[]), &["no tensor"]),
    ] {
        folder.put(name, &bytes);
        refused(&folder, name, words);
    }
    refused(&folder, "missing.npy", &["No such file"]);
    folder.bad(1, "stats two.safetensors --key z --out o.st", &["two.safetensors", "\"z\"", "\"x\""]);
    folder.good("stats two.safetensors --key y --out y.st");
    folder.put("text.csv", b"1,2");
    refused(&folder, "text.csv", &[".npy, .safetensors, .parquet or .arrow"]);
    folder.bad(1, "stats nothing_*.npy --out o.st", &["nothing_*.npy", "no file matches"]);
    std::fs::create_dir(folder.at("hollow")).unwrap();
    refused(&folder, "hollow", &["holds no"]);
}

#[test]
fn a_parquet_file_that_is_none() {
    let folder = fitted();
    folder.put("cut.parquet", b"PAR1 and then nothing");
    refused(&folder, "cut.parquet", &[]);
    folder.put("empty.parquet", b"");
    refused(&folder, "empty.parquet", &[]);
}

#[test]
fn devices_that_are_not_there() {
    let folder = fitted();
    for command in [
        "stats text.npy --out o.st",
        "fit --source text.npy --target image.npy --out o.st",
        "apply text.npy --stats s.st --out out/",
        "demo",
    ] {
        folder.bad(1, &format!("{command} --device nosuchadapter"), &["nosuchadapter", "--device host"]);
        folder.bad(1, &format!("{command} --device 4711"), &["4711", "--device host"]);
        folder.bad(2, &format!("{command} --backend nosuchbackend"), &["nosuchbackend", "vulkan"]);
        let absent = if cfg!(target_vendor = "apple") { "dx12" } else { "metal" };
        folder.bad(1, &format!("{command} --device gpu --backend {absent}"), &["no GPU", "--device host"]);
        if adapters().iter().all(|a| a["kind"] == "software GPU") {
            folder.bad(1, &format!("{command} --device gpu"), &["no GPU", "--device host"]);
        }
    }
}

#[test]
fn usage_errors() {
    let folder = fitted();
    let fit = "fit --source text.npy --target image.npy --out o.st";
    for (line, word) in [
        ("fit --target image.npy --out o.st".to_owned(), "--source"),
        ("fit --source text.npy --out o.st".to_owned(), "--target"),
        ("fit --source text.npy --target image.npy".to_owned(), "--out"),
        (format!("{fit} --method nonsense"), "anchor-trace"),
        (format!("{fit} --centroid 0"), "exact"),
        (format!("{fit} --centroid nonsense"), "exact"),
        (format!("{fit} --centroid 99999"), "exact"),
        (format!("{fit} --chunk-rows 0"), "--chunk-rows"),
        (format!("{fit} --nonfinite maybe"), "--nonfinite"),
        (format!("{fit} --device="), "--device"),
        (format!("{fit} --seed -1"), "-1"),
        (format!("{fit} --target-stats m.st"), "--target-stats"),
        ("apply text.npy --out o.npy".to_owned(), "--stats"),
        ("apply --stats s.st --out o.npy".to_owned(), "INPUT"),
        ("apply text.npy --stats s.st --out o.npy --dtype i8".to_owned(), "f16"),
        ("apply text.npy --stats s.st --out o.npy --format csv".to_owned(), "parquet"),
        ("stats text.npy --out o.st --chunk-rows -3".to_owned(), "-3"),
        ("merge --out o.st".to_owned(), "MOMENTS"),
        ("nonsense".to_owned(), "nonsense"),
        (String::new(), "Usage"),
    ] {
        folder.bad(2, &line, &[word]);
    }
    for sigma in ["-1", "nan", "inf", "1e300"] {
        folder.bad(1, &format!("{fit} --method c3 --sigma={sigma}"), &["--sigma"]);
    }
}
