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
        has(&run("adapters"), &["adapters", "host", "chosen"]);
    }
    let merge = folder.json(&["merge", "m.st", "--out", "jm2.st", "--json"]);
    has(&merge, &["rows", "width", "trace", "zero_rows"]);
    for (file, kind) in [("m.st", "moments"), ("s.st", "statistics"), ("text.npy", "rows")] {
        assert_eq!(folder.json(&["info", file, "--json"])["kind"], kind);
    }
}

#[test]
fn the_demo_makes_a_page_and_says_what_came_out() {
    let folder = Folder::fresh();
    let value = folder.json_quiet("demo --quick --device host --json --out d");
    has(&value, &["device", "seed", "seconds", "gap", "retrieval", "language_model_loss", "methods", "rows"]);
    let names: Vec<&str> = value["rows"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!(names[..4], ["no stage 1", "no alignment", "mean shift (anchor alone)", "realign"]);
    let method =
        |name: &str| value["methods"].as_array().unwrap().iter().find(|m| m["method"] == name).cloned().unwrap();
    assert!(method("realign, exact")["gap"].as_f64().unwrap() < 1e-5);
    assert!(method("no alignment")["gap"].as_f64().unwrap() > 0.1);
    let page = String::from_utf8(folder.bytes("d/report.html")).unwrap();
    for word in ["<svg", "no stage 1", "paired images", "aligner", "✗"] {
        assert!(page.contains(word), "{word} is not on the page");
    }
    assert_eq!(serde_json::from_slice::<Value>(&folder.bytes("d/results.json")).unwrap(), value);
    folder.bad(1, "demo --quick --device host --out d", &["is there already", "--force", "--out"]);
    folder.put("mine/thesis.txt", b"x");
    folder.bad(1, "demo --quick --device host --force --out mine", &["mine", "is there already", "--out"]);
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
