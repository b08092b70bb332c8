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
        assert_eq!(
            names,
            [
                "apply",
                "product A Bᵀ + bias, gelu",
                "gelu",
                "gelu backward",
                "gelu gate",
                "gelu gate backward",
                "apply to rows"
            ]
        );
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
        assert_eq!((&results[6]["items"], &results[6]["kind"]), (&"rows".into(), &"end to end".into()));
        assert!(value["wgpu"].as_str().unwrap().starts_with("30."), "{}", value["wgpu"]);
        // On Linux, which says it.
        assert_eq!(value["host"]["cpu"].is_string(), cfg!(target_os = "linux"), "{}", value["host"]);
        let of_device = &value["device"];
        match device.as_str() {
            "host" => assert!(of_device["tiles"].is_null() && of_device["dispatch_flops"].is_null()),
            _ => {
                assert_eq!(of_device["tiles"].as_object().unwrap().len(), 8);
                assert_eq!(of_device["tuned"], false);
                assert!(of_device["dispatch_flops"].as_u64().min(of_device["dispatch_bytes"].as_u64()) > Some(0));
            }
        }
        let page = String::from_utf8(folder.bytes("r.html")).unwrap();
        assert!(page.contains("<svg") && page.contains("gelu backward") && page.contains("Measured limits"));
        assert!(page.contains("What ran") && page.contains(value["host"]["cpu"].as_str().unwrap_or("–")));
        assert_eq!(page.contains("tile of A Bᵀ, large"), device != "host");
        let text = cached(&folder, &format!("{line} --compare r.json")).stdout;
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("against realign") && text.contains("at most:") && text.contains("×"), "{text}");
        assert!(text.contains("drifted between them is unknown") && text.contains("bandwidth"), "{text}");
        folder.bad(1, &format!("bench --quick --filter gelu --device {device} --json r.json"), &["r.json", "--force"]);
    }
}

/// This build against itself: what is not drift is wrong, within what a busy machine may do in a few turns.
#[test]
fn builds_are_timed_in_turns() {
    let folder = Folder::fresh();
    let own = env!("CARGO_BIN_EXE_realign");
    let line = format!("bench --quick --device host --filter rotary,gelu,zebra --against {own} --rounds 4");
    let said = String::from_utf8(cached(&folder, &format!("{line} --json r.json")).stdout).unwrap();
    for word in ["in turns with realign", own, "88% interval", "drift", "product A Bᵀ + bias, gelu"] {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
    let value = parsed(&folder.bytes("r.json"));
    // The results of this build are in the file as ever.
    let results: Vec<&str> = value["results"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!(
        results,
        [
            "product A Bᵀ + bias, gelu",
            "gelu",
            "gelu backward",
            "gelu gate",
            "gelu gate backward",
            "rotary",
            "rotary of parts"
        ]
    );
    let against = &value["against"];
    assert_eq!((&against["binary"], &against["version"]), (&own.into(), &value["version"]));
    assert_eq!((&against["rounds"], &against["in_turns"]), (&4.into(), &true.into()));
    assert_eq!((&against["device"]["kind"], &against["left_out"]), (&"host engine".into(), &Value::Array(vec![])));
    let cases = against["cases"].as_array().unwrap();
    let mut names: Vec<&str> = cases.iter().map(|c| c["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    let sorted = ["gelu", "gelu backward", "gelu gate", "gelu gate backward", "product A Bᵀ + bias, gelu", "rotary"];
    assert_eq!(names, [&sorted[..], &["rotary of parts"]].concat());
    for case in cases {
        let times = |key: &str| {
            let times: Vec<f64> = case[key].as_array().unwrap().iter().map(|s| s.as_f64().unwrap()).collect();
            assert!(times.len() == 4 && times.iter().all(|s| *s > 0.0), "{case}");
            times
        };
        let ratios: Vec<f64> = times("seconds").iter().zip(times("other_seconds")).map(|(this, b)| b / this).collect();
        let number = |key: &str| case[key].as_f64().unwrap();
        let [least, most] = [f64::min, f64::max].map(|of| ratios.iter().copied().reduce(of).unwrap());
        assert!((number("speedup_low") / least - 1.0).abs() < 1e-9, "{case}");
        assert!((number("speedup_high") / most - 1.0).abs() < 1e-9, "{case}");
        assert!(least <= number("speedup") && number("speedup") <= most, "{case}");
        assert!(number("confidence") == 0.875 && number("drift") >= 0.0, "{case}");
        let same = ["within the drift", "unsettled"].contains(&case["verdict"].as_str().unwrap());
        assert!(same || (0.25..4.0).contains(&number("speedup")), "{case}");
    }
}

#[test]
fn devices_are_timed_in_turns() {
    let folder = Folder::fresh();
    let [_, device] = &devices()[..] else { panic!("no adapter") };
    let line = format!("bench --quick --device host --filter rotary --against-device {device} --rounds 4 --json");
    let value = parsed(&cached(&folder, &line).stdout);
    let name = |v: &Value| v["device"]["name"].as_str().unwrap().to_lowercase();
    assert!(name(&value).contains("host engine") && name(&value["against"]).contains(&device.to_lowercase()));
    assert_eq!(value["against"]["cases"][0]["name"], "rotary");
}

#[test]
fn what_cannot_be_timed_in_turns() {
    let folder = Folder::fresh();
    let bad = |flags: &str, words: &[&str]| {
        let line = format!("bench --quick --device host --filter rotary {flags}");
        folder.bad(1, &line, words);
        // Nothing is measured before the other side is known to be one.
        let said = String::from_utf8(folder.run(&line).stderr).unwrap();
        assert!(!said.contains("roofline"), "{said}");
    };
    bad("--against gone", &["--against gone", "is no file"]);
    bad("--against .", &["--against .", "is no file"]);
    folder.put("notes.txt", b"hello");
    bad("--against notes.txt", &["cannot run", "notes.txt"]);
    bad("--against-device 'none", &["'bench' failed", "no adapter", "'none"]);
    for line in ["--rounds 4", "--rounds 3 --against-device host", "--against-device host --gallery all"] {
        folder.bad(2, &format!("bench {line}"), &["--"]);
    }
}

/// Programs that stand for builds of realign that have no such case, fail, or say something else.
#[cfg(unix)]
#[test]
fn other_builds_that_do_not_do_their_part() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::fresh();
    let program = |name: &str, lines: &str| {
        folder.put(name, format!("#!/bin/sh\n{lines}\n").as_bytes());
        std::fs::set_permissions(folder.at(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let version = "if [ \"$1\" = --version ]; then echo realign 9.9; exit; fi";
    let bad = |name: &str, lines: &str, words: &[&str]| {
        program(name, lines);
        let line = format!("bench --quick --device host --filter rotary --against ./{name}");
        folder.bad(1, &line, &[&[name], words].concat());
    };
    bad("quiet", "exit 0", &["is no build of realign"]);
    bad("other", "echo other 1.0", &["is no build of realign"]);
    bad("silent", version, &["printed no results"]);
    bad(
        "lost",
        &format!("{version}\necho rotary >&2; echo error: the device is lost >&2; exit 1"),
        &["the device is lost"],
    );
    bad("mute", &format!("{version}\nexit 3"), &["'bench' failed", "3", "it said nothing"]);
    bad("later", &format!("{version}\necho '{{\"schema\": 7, \"results\": []}}'"), &["form 7"]);
    let file = |results: &str| {
        let device = "{\"name\": \"host engine\", \"kind\": \"host engine\", \"backend\": \"host\"}";
        format!("{version}\necho '{{\"schema\": 1, \"device\": {device}, \"results\": [{results}]}}'")
    };
    bad("without", &file(""), &["no case can be timed", "rotary", "has no such case"]);
    bad(
        "failing",
        &file("{\"name\": \"rotary\", \"error\": \"wrong result\"}"),
        &["fails on the other side: wrong result"],
    );
    let shapes = file("{\"name\": \"rotary\", \"shape\": \"[7]\", \"seconds\": 1.0}");
    bad("shapes", &shapes, &["other shapes", "[7]"]);
    // This build, which says that it took far longer than it did: a true difference, in the right direction.
    let own = env!("CARGO_BIN_EXE_realign");
    program("slow", &format!("{own} \"$@\" | sed 's/\"seconds\": /&9/'"));
    let line = "bench --quick --device host --filter rotary --against ./slow --rounds 4";
    let value = folder.json_quiet(&format!("{line} --json"));
    let case = &value["against"]["cases"][0];
    assert!(case["verdict"] == "faster" && case["speedup_low"].as_f64() > Some(10.0), "{case}");
    bad("elsewhere", &shapes.replace("host engine", "a GPU"), &["took another device", "a GPU", "--device"]);
}

#[test]
fn a_gallery_of_several_devices() {
    let folder = Folder::fresh();
    folder.put("all/notes.txt", b"");
    for (i, device) in devices().iter().enumerate() {
        cached(&folder, &format!("bench --quick --filter normalize --device {device} --json all/{i}.json"));
    }
    // A file of before hosts and tiles were in it.
    folder.put("all/nvidia-h100.json", include_bytes!("../../../docs/benchmarks/nvidia-h100.json"));
    cached(&folder, "bench --gallery all");
    let page = String::from_utf8(folder.bytes("all/index.html")).unwrap();
    assert!(page.contains("NVIDIA H100") && page.contains("Share of the roofline, continued"));
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
    let files: [(&str, &[u8], &str); 5] = [
        ("broken.json", b"{", "not JSON"),
        ("list.json", b"[1]", "realign bench --json"),
        ("bare.json", b"{\"schema\": 1}", "realign bench --json"),
        ("later.json", b"{\"schema\": 7, \"results\": []}", "form 7"),
        ("gone.json", b"", "cannot read"),
    ];
    for (name, bytes, problem) in files {
        if !bytes.is_empty() {
            folder.put(name, bytes);
        }
        let line = format!("bench --quick --device host --filter normalize --compare {name}");
        folder.bad(1, &line, &[name, problem]);
        // It says what it measures, and here measured nothing.
        let said = String::from_utf8(folder.run(&line).stderr).unwrap();
        assert!(!said.contains("roofline") && !said.contains("normalize"), "{said}");
    }
    let said = folder.good("bench --quick --device host --filter normalize,copy --json old.json");
    assert!(said.contains("roofline") && said.contains("normalize"), "{said}");
    let value = folder.json_quiet("bench --quick --device host --filter normalize,copy --compare old.json --json");
    let (drift, compared) = (&value["drift"], value["compared"].as_array().unwrap());
    assert_eq!((&drift["in_turns"], &drift["same_device"], compared.len()), (&false.into(), &true.into(), 2));
    let yardsticks = drift["yardsticks"].as_object().unwrap();
    assert_eq!(yardsticks.keys().collect::<Vec<_>>(), ["arithmetic", "bandwidth", "copy"]);
    let ratios: Vec<f64> = yardsticks.values().map(|r| r.as_f64().unwrap()).chain([1.0]).collect();
    assert_eq!(drift["low"].as_f64(), ratios.iter().copied().reduce(f64::min));
    assert_eq!(drift["high"].as_f64(), ratios.iter().copied().reduce(f64::max));
    // A yardstick's own ratio is never called a difference.
    let copy = compared.iter().find(|c| c["name"] == "copy").unwrap();
    assert!(["within the drift", "the same within the noise"].contains(&copy["verdict"].as_str().unwrap()), "{copy}");
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
    assert!(["digits", "floats", "halves"].contains(&value["exact_products"].as_str().unwrap()), "{value}");
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
    cached(&folder, &format!("bench --quick --filter residual --device {device} --json tuned.json"));
    cached(&folder, &format!("bench --quick --filter residual --device {device} --no-tune --json fixed.json"));
    // A file that nobody understands is as good as none.
    std::fs::write(&file, "{").unwrap();
    cached(&folder, &format!("adapters --device {device}"));
}

#[test]
fn a_tuning_that_cannot_be_kept_is_shown() {
    let folder = Folder::fresh();
    let [_, device] = &devices()[..] else { panic!("no adapter") };
    // A file where the cache folder would be.
    folder.put("cache", b"");
    let mut command = folder.command(&["tune", "--device", device, "--json"]);
    command
        .env("XDG_CACHE_HOME", folder.at("cache"))
        .env("HOME", folder.path())
        .env("LOCALAPPDATA", folder.at("cache"));
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for word in ["could not be kept", "cannot create", "realign", "cache"] {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
    let value = parsed(&output.stdout);
    assert!(value["file"].is_null() && value["dispatch_flops"].as_u64() > Some(0) && !value["tried"][0].is_null());
}

/// The script for owners of a GPU, tried on the driver under test with tiny sizes: it ends well, its table has a rate for each model,
/// stage and precision, and what fails is named and stops nothing else.
#[test]
#[cfg(unix)]
fn the_script_that_measures_a_gpu() {
    let folder = Folder::fresh();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/measure_gpu.sh");
    let device = devices().pop().unwrap();
    let run = |out: &str, parts: &str, shapes: &str| {
        let mut command = std::process::Command::new("bash");
        command.args([script, out]).current_dir(folder.path()).env("REALIGN", env!("CARGO_BIN_EXE_realign"));
        command.envs([
            ("DEVICE", &device[..]),
            ("PARTS", parts),
            ("SHAPES", shapes),
            ("QUICK", "1"),
            ("FILTER", "copy,cast"),
        ]);
        command.env("XDG_CACHE_HOME", folder.at("cache")).output().unwrap()
    };
    let output = run("results", "bench steps", "tiny nosuch");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text} {}", String::from_utf8_lossy(&output.stderr));
    let summary = parsed(&folder.bytes("results/summary.json"));
    for stage in ["tiny, stage 1", "tiny, stage 2"] {
        for precision in ["realign f32", "realign mixed"] {
            let rate = summary["tokens_per_second"][stage][precision].as_f64();
            assert!(rate.is_some_and(|rate| rate > 0.0), "{stage} {precision}: {summary:#}");
        }
        assert!(text.contains(&format!("{stage} tokens/s: realign f32 ")), "{text}");
    }
    assert!(summary["kernels_share_of_roofline"]["cast"].as_f64().unwrap() > 0.0, "{summary:#}");
    assert!(text.contains("nosuch-stage1-f32: failed with 1") && text.contains("nosuch-stage1-f32.err"), "{text}");
    let error = String::from_utf8(folder.bytes("results/nosuch-stage1-f32.err")).unwrap();
    assert!(error.contains("nosuch-shaped") && error.contains("1B-shaped"), "{error}");
    let output = std::process::Command::new("bash").arg(script).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stdout).contains("usage: tools/measure_gpu.sh OUT"));
}
