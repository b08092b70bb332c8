//! `--json`: nothing but JSON on stdout, nothing on stderr, and the keys that scripts rely on.

use super::*;

fn has(value: &Value, keys: &[&str]) {
    let object = value.as_object().unwrap();
    for key in keys {
        assert!(object.contains_key(*key), "{key} is not in {value}");
    }
}

#[test]
fn keys_of_every_command() {
    let folder = fitted();
    for device in devices() {
        let run = |line: &str| {
            let line = format!("{line} --json --device {device}");
            folder.json(&line.split(' ').collect::<Vec<_>>())
        };
        let fit = run("fit --source text.npy --target image.npy --out j.st --force");
        has(&fit, &["method", "centroid", "width", "rows_source", "rows_target", "trace_source", "trace_target"]);
        has(&fit, &["scale", "gap", "residual_gap", "device", "seconds", "out"]);
        assert_eq!((&fit["method"], &fit["centroid"]), (&"realign".into(), &"1".into()));
        assert_eq!((&fit["rows_source"], &fit["rows_target"]), (&61.into(), &40.into()));
        assert_eq!(fit["out"], "j.st");
        let exact = run("fit --source text.npy --target image.npy --out j.st --force --centroid exact");
        assert!(exact["residual_gap"].as_f64().unwrap() < 1e-9, "{exact}");
        let apply = run("apply text.npy --stats j.st --out j.npy --force");
        has(&apply, &["method", "rows", "width", "dtype", "files", "nonfinite_replaced"]);
        assert_eq!((&apply["rows"], &apply["files"]), (&61.into(), &serde_json::json!(["j.npy"])));
        let stats = run("stats text.npy --out jm.st --force");
        has(&stats, &["rows", "width", "trace", "zero_rows"]);
        has(&run("demo"), &["methods"]);
        has(&run("adapters"), &["adapters", "host", "chosen"]);
    }
    let merge = folder.json(&["merge", "m.st", "--out", "jm2.st", "--json"]);
    has(&merge, &["rows", "width", "trace", "zero_rows"]);
    for (file, kind) in [("m.st", "moments"), ("s.st", "statistics"), ("text.npy", "rows")] {
        assert_eq!(folder.json(&["info", file, "--json"])["kind"], kind);
    }
}

#[test]
fn the_demo_shows_the_methods() {
    let folder = Folder::fresh();
    let output = folder.run("demo --device host");
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    for word in ["method", "realign", "exact", "anchor-trace", "mean-shift", "c3", "none"] {
        assert!(text.contains(word), "{word} is not in {text}");
    }
    assert!(folder.tree().is_empty());
}

#[test]
fn help_and_version() {
    let folder = Folder::fresh();
    for line in ["--help", "--version", "fit --help", "apply --help"] {
        let output = folder.run(line);
        assert_eq!(output.status.code(), Some(0), "{line}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{line}");
    }
}
