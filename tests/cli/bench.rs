//! `bench` and `tune`.

use super::*;

/// Runs a command with a cache folder of the test's own.
fn cached(folder: &Folder, line: &str) -> Output {
    let args: Vec<&str> = line.split_whitespace().collect();
    let mut command = folder.command(&args);
    command.env("XDG_CACHE_HOME", folder.at("cache")).env("HOME", folder.path()).env("LOCALAPPDATA", folder.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn results_say_what_was_measured_and_how() {
    let folder = Folder::fresh();
    for device in devices() {
        let line = format!("bench --quick --filter apply,gelu --device {device} --force");
        cached(&folder, &format!("{line} --json r.json --html r.html"));
        let value = parsed(&folder.bytes("r.json"));
        assert_eq!((&value["schema"], &value["tool"]), (&1.into(), &"realign".into()));
        assert_eq!(value["device"]["clocks"], "unknown");
        for key in ["bandwidth_gb_s", "arithmetic_gflop_s", "upload_gb_s", "download_gb_s", "copy_kernel_gb_s"] {
            assert!(value["roofline"][key].as_f64().unwrap() > 0.0, "{key}");
        }
        let results = value["results"].as_array().unwrap();
        let names: Vec<&str> = results.iter().map(|r| r["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["apply", "gelu", "gelu backward", "apply to rows"]);
        for r in results {
            let time = |key: &str| r[key].as_f64().unwrap();
            assert!(time("seconds_q1") <= time("seconds") && time("seconds") <= time("seconds_q3"), "{r}");
            assert!(["wall", "timestamps"].contains(&r["timer"].as_str().unwrap()) && time("runs") >= 3.0, "{r}");
        }
        // A kernel on an adapter is checked against the host engine before it is timed.
        assert_eq!(results[0]["checked"], device != "host");
        let (bytes, seconds) = (results[0]["bytes"].as_f64().unwrap(), results[0]["seconds"].as_f64().unwrap());
        assert_eq!(bytes, 2.0 * 4.0 * 4000.0 * 1280.0);
        let rate = results[0]["gb_s"].as_f64().unwrap();
        assert!((rate * seconds * 1e9 / bytes - 1.0).abs() < 1e-9);
        assert_eq!((&results[3]["items"], &results[3]["kind"]), (&"rows".into(), &"end to end".into()));
        let page = String::from_utf8(folder.bytes("r.html")).unwrap();
        assert!(page.contains("<svg") && page.contains("gelu backward") && page.contains("Measured limits"));
        let text = cached(&folder, &format!("{line} --compare r.json")).stdout;
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("against realign") && text.contains("at most:") && text.contains("×"), "{text}");
        folder.bad(1, &format!("bench --quick --filter gelu --device {device} --json r.json"), &["r.json", "--force"]);
    }
}

#[test]
fn a_gallery_of_several_devices() {
    let folder = Folder::fresh();
    folder.put("all/notes.txt", b"");
    for (i, device) in devices().iter().enumerate() {
        cached(&folder, &format!("bench --quick --filter normalize --device {device} --json all/{i}.json"));
    }
    cached(&folder, "bench --gallery all");
    let page = String::from_utf8(folder.bytes("all/index.html")).unwrap();
    assert!(page.contains("host engine") && page.contains("Side by side") && page.contains("normalize"));
    folder.bad(1, "bench --gallery all", &["index.html", "--force"]);
    folder.put("all/other.json", b"{}");
    folder.bad(1, "bench --gallery all --force", &["other.json", "take it out"]);
    folder.put("none/x.txt", b"");
    folder.bad(1, "bench --gallery none", &["none", "no results file"]);
}

#[test]
fn what_cannot_be_measured() {
    let folder = Folder::fresh();
    folder.bad(1, "bench --quick --device host --filter zebra", &["zebra", "there are", "attention backward"]);
    folder.put("old.json", b"{");
    folder.bad(1, "bench --quick --device host --compare old.json", &["old.json", "not JSON"]);
    folder.put("old.json", b"{\"schema\": 7}");
    folder.bad(1, "bench --quick --device host --filter gelu --compare old.json", &["realign bench --json"]);
    folder.bad(1, "bench --quick --device host --compare gone.json", &["gone.json"]);
    folder.bad(1, "tune --device host", &["host engine", "nothing to tune"]);
}

#[test]
fn a_tuning_is_kept_and_found() {
    let folder = Folder::fresh();
    let [_, device] = &devices()[..] else { panic!("no adapter") };
    let value = parsed(&cached(&folder, &format!("tune --device {device} --json")).stdout);
    let tried = value["tried"].as_array().unwrap();
    let classes: std::collections::BTreeSet<&str> = tried.iter().map(|t| t["class"].as_str().unwrap()).collect();
    assert_eq!(classes.len(), 8);
    for class in classes {
        let of_class = || tried.iter().filter(|t| t["class"] == class);
        let rate = |t: &Value| t["gflop_s"].as_f64().unwrap();
        let chosen: Vec<&Value> = of_class().filter(|t| t["chosen"] == true).collect();
        assert!(chosen.len() == 1 && of_class().all(|t| rate(t) <= rate(chosen[0])), "{class}: {tried:?}");
    }
    let file = value["file"].as_str().unwrap().to_owned();
    assert!(file.starts_with(folder.path().to_str().unwrap()), "{file}");
    // Another tile in the file is the one that runs: what the products give has other bits, and nothing else changes.
    let text = std::fs::read_to_string(&file).unwrap();
    let kept = parsed(text.as_bytes());
    let (key, entry) = kept["devices"].as_object().unwrap().iter().next().unwrap();
    assert!(key.contains("realign 0."), "{key}");
    for budget in ["dispatch_flops", "dispatch_bytes"] {
        assert_eq!(entry[budget], value[budget]);
    }
    let mut other = kept.clone();
    for tile in other["devices"][key]["tiles"].as_object_mut().unwrap().values_mut() {
        *tile = "tiled 64x64x16".into();
    }
    std::fs::write(&file, other.to_string()).unwrap();
    cached(&folder, &format!("bench --quick --filter product --device {device} --json tuned.json"));
    cached(&folder, &format!("bench --quick --filter product --device {device} --no-tune --json fixed.json"));
    // A file that nobody understands is as good as none.
    std::fs::write(&file, "{").unwrap();
    cached(&folder, &format!("adapters --device {device}"));
}
