//! Parquet files with a changed footer, on which the decoder panics: one clean error, and nothing else.

use super::*;

/// Files of 20 rows of width 3 whose footer names another encoding than the pages have: it shows in the first row, or later.
const FILES: [(&str, &[u8], &str); 2] = [
    ("first_row.parquet", include_bytes!("damaged_first_row.parquet"), "Decoder for dict"),
    ("pages.parquet", include_bytes!("damaged_pages.parquet"), "index out of bounds"),
];

fn check(folder: &Folder, line: &str, words: &[&str]) {
    let before = folder.tree();
    let args: Vec<_> = line.split_whitespace().collect();
    let output = folder.command(&args).env("RUST_BACKTRACE", "1").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{line}: {stderr}");
    assert!(!stderr.contains("panicked") && !stderr.contains("backtrace"), "{line}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{line}: {stderr}");
    for word in words.iter().chain(&["error: ", "not a valid parquet file"]) {
        assert!(stderr.contains(word), "{line}: {word:?} is not in: {stderr}");
    }
    assert!(folder.tree() == before, "{line}: files changed");
}

#[test]
fn a_panic_of_the_decoder_is_one_clean_error() {
    let folder = Folder::fresh();
    folder.put("good.npy", &npy("<f4", &cloud(30, 3, 1, 1.0), 3));
    folder.put("other.npy", &npy("<f4", &cloud(30, 3, 2, -1.0), 3));
    folder.good("fit --source good.npy --target other.npy --out s.st --device host");
    folder.good("fit --source good.npy --target other.npy --out b.st --device host --method blockwise");
    for (name, bytes, message) in FILES {
        folder.put(name, bytes);
        for line in [
            format!("stats {name} --out new.st --device host"),
            format!("stats {name} --out new.st --device host --covariance"),
            format!("fit --source {name} --target good.npy --out new.st --device host"),
            format!("fit --source good.npy --target {name} --out new.st --device host --method blockwise"),
            format!("apply {name} --stats s.st --out new.parquet --device host"),
            format!("apply {name} --stats b.st --out new.npy --device host"),
            format!("measure --source good.npy --target {name} --device host"),
        ] {
            check(&folder, &line, &[name, message]);
        }
    }
    check(&folder, "info first_row.parquet", &["first_row.parquet"]);
}
