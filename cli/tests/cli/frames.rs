//! `stats --covariance`, `frame` and `angles`: what is counted, framed and compared, on every device.

use super::geometry::{numbers, run, sets};
use super::*;

#[test]
fn frames_and_angles() {
    let folder = sets();
    let made = run(&folder, "frame --source text.npy --target image.npy --rank 3 --out a.frame --json");
    assert_eq!((&made["rank"], &made["width"]), (&3.into(), &12.into()));
    folder.good("frame --source image.npy --target text.npy --energy 0.5 --out b.frame");
    let angles = run(&folder, "angles --a a.frame --b a.frame --json");
    let radians: Vec<f64> = angles["angles_rad"].as_array().unwrap().iter().map(|a| a.as_f64().unwrap()).collect();
    assert!(radians.len() == 3 && radians.iter().all(|a| *a < 1e-12), "{angles}");
    assert!(angles["sin_theta_max"].as_f64().unwrap() < 1e-12);
    let angles = run(&folder, "angles --a a.frame --b b.frame --json");
    assert!(angles["angles_rad"].as_array().unwrap().is_sorted_by(|a, b| a.as_f64() <= b.as_f64()));
    // With the directions that make them: the same angles, and a file.
    let line = "angles --a a.frame --b b.frame --vectors pairs.st --json";
    assert_eq!(run(&folder, line), angles);
    let bytes = folder.bytes("pairs.st");
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let pairs = angles["angles_rad"].as_array().unwrap().len();
    assert_eq!([&header["a"]["shape"], &header["b"]["shape"]], [&serde_json::json!([pairs, 12]); 2]);
    assert_eq!(header["angles_rad"]["shape"], serde_json::json!([pairs]));
    let info = run(&folder, "info pairs.st --json");
    assert_eq!(
        (&info["kind"], &info["width"], &info["pairs"]),
        (&"principal vectors".into(), &12.into(), &pairs.into())
    );
    let degrees = |value: &Value, scale: f64| value.as_array().unwrap().last().unwrap().as_f64().unwrap() * scale;
    let (found, want) =
        (degrees(&info["angles_deg"], 1.0), degrees(&angles["angles_rad"], 180.0 / std::f64::consts::PI));
    assert!((found - want).abs() < 1e-9, "{found} {want}");
    folder.bad(1, line, &["pairs.st", "exists"]);
    folder.bad(1, "angles --a a.frame --b b.frame --vectors b.frame --force", &["b.frame", "is also an input"]);
    assert_eq!(run(&folder, "info a.frame --json")["kind"], "frame");
    // One direction of twelve: found by itself on a device, among all on the host.
    for device in devices() {
        let line = format!(
            "frame --source text.npy --target image.npy --rank 1 --out {device}.frame --json --device {device}"
        );
        let made = run(&folder, &line);
        assert!(made["energy"].as_f64().is_some_and(|e| e > 0.0 && e < 1.0) && made["rows_source"] == 80, "{made}");
    }
    let across = format!("angles --a {}.frame --b {}.frame --json", devices()[0], devices()[1]);
    assert!(run(&folder, &across)["sin_theta_max"].as_f64().unwrap() < 1e-4);
    let value = run(&folder, "measure --source text.npy --target image.npy --frame a.frame --paired --json");
    assert_eq!(value["frame_rank"], 3);
    // The frame of these rows, and one of others.
    assert!(value["frame_sin_theta"].as_f64().unwrap() < 1e-10, "{value}");
    folder.good("frame --source short.npy --target short.npy --rank 3 --out other.frame");
    let moved = run(&folder, "measure --source text.npy --target image.npy --frame other.frame --json");
    let leans = run(&folder, "angles --a other.frame --b a.frame --json")["sin_theta_max"].as_f64();
    assert!(
        (moved["frame_sin_theta"].as_f64().unwrap() - leans.unwrap()).abs() < 1e-9 && leans > Some(1e-3),
        "{moved}"
    );
    let drift = "drift --source text.npy --target image.npy --source-now short.npy --target-now image.npy --json";
    numbers(&run(&folder, drift), &["pob_drift", "adjacent_cosine", "gamma_norm", "phantom_drift", "phantom_error"]);
    folder.bad(1, "frame --source text.npy --target image.npy --out a.frame", &["a.frame", "--force"]);
    folder.bad(1, "frame --source text.npy --target image.npy --out text.npy --force", &["text.npy", "input"]);
    folder.bad(1, "angles --a a.frame --b text.npy", &["text.npy"]);
    folder.bad(1, "angles --a a.frame --b t2.st", &["t2.st"]);
    folder.bad(1, "angles --a a.frame --b s.st", &["s.st", "fitted operator"]);
}

#[test]
fn covariances_are_counted_merged_shown_and_framed() {
    let folder = sets();
    folder.put("first.npy", &npy("<f4", &cloud(80, 12, 1, 1.0)[..50 * 12], 12));
    folder.put("rest.npy", &npy("<f4", &cloud(80, 12, 1, 1.0)[50 * 12..], 12));
    for device in devices() {
        let stats = |inputs: &str, out: &str| {
            run(&folder, &format!("stats {inputs} --out {out} --covariance --force --json --device {device}"))
        };
        let whole = stats("text.npy", "text.cov");
        numbers(&whole, &["trace", "covariance_trace", "covariance_error"]);
        assert!(
            (&stats("first.npy", "first.cov")["rows"], &stats("rest.npy", "rest.cov")["rows"])
                == (&50.into(), &30.into())
        );
        stats("image.npy", "image.cov");
        let merged = run(&folder, "merge first.cov rest.cov --out merged.cov --force --json");
        let of = |value: &Value, key: &str| value[key].as_f64().unwrap();
        assert!((of(&merged, "covariance_trace") / of(&whole, "covariance_trace") - 1.0).abs() <= 1e-6, "{merged}");
        assert!((of(&whole, "covariance_trace") / of(&whole, "trace") - 1.0).abs() <= 1e-6, "{whole}");
        let info = run(&folder, "info merged.cov --json");
        assert_eq!((&info["kind"], &info["rows"]), (&"moments".into(), &80.into()));
        let surveyed = run(&folder, &format!("measure --source text.npy --target image.npy --json --device {device}"));
        for key in ["effective_rank", "kappa", "alpha"] {
            let want = of(&surveyed, &format!("{key}_source"));
            assert!((of(&info, key) / want - 1.0).abs() <= 1e-5, "{key} on {device}: {info} {surveyed}");
        }
        // The same frame from rows, from counts, and from one of each.
        for (cut, name) in [("--rank 1", "one"), ("--rank 3", "three"), ("--energy 0.8", "most")] {
            let frame = |sides: &str, out: &str| {
                run(&folder, &format!("frame {sides} {cut} --out {out} --force --json --device {device}"))
            };
            let rows = frame("--source text.npy --target image.npy", "rows.frame");
            for sides in
                ["--source-stats merged.cov --target-stats image.cov", "--source-stats text.cov --target image.npy"]
            {
                let counted = frame(sides, "counts.frame");
                assert_eq!(counted["rank"], rows["rank"], "{name} on {device}");
                assert_eq!((&counted["rows_source"], &counted["rows_target"]), (&80.into(), &80.into()));
                let angles = run(&folder, "angles --a rows.frame --b counts.frame --json");
                assert!(of(&angles, "sin_theta_max") < 1e-4, "{name} on {device}: {angles}");
            }
        }
    }
    // What reads moments alone takes the same file, and none of it is shown where there is no covariance.
    folder.good("fit --source-stats merged.cov --target-stats image.cov --method anchor-trace --out f.st");
    assert!(run(&folder, "info m.st --json").get("covariance_trace").is_none());
}

/// The whole file, byte for byte: on every device, for every cut and however its parts are merged.
#[test]
fn exact_covariances_are_one_file() {
    let folder = sets();
    let rows = cloud(80, 12, 1, 1.0);
    folder.put("first.npy", &npy("<f4", &rows[..50 * 12], 12));
    folder.put("rest.npy", &npy("<f4", &rows[50 * 12..], 12));
    folder.good("stats text.npy --covariance --out whole.st --device host");
    let whole = folder.bytes("whole.st");
    for device in devices() {
        for rest in ["rest.npy first.npy --covariance", "--covariance exact first.npy rest.npy --chunk-rows 7"] {
            folder.good(&format!("stats {rest} --out other.st --force --device {device}"));
            assert!(folder.bytes("other.st") == whole, "{rest} on {device}");
        }
        folder.good(&format!("stats --covariance=exact first.npy --out a.st --force --device {device}"));
        folder.good("stats rest.npy --covariance --out b.st --force --device host");
        folder.good("merge b.st a.st --out merged.st --force");
        assert!(folder.bytes("merged.st") == whole, "merged on {device}");
    }
    let fast = run(&folder, "stats text.npy --covariance fast --out fast.st --json --device host");
    let mixed = run(&folder, "merge fast.st whole.st --out mixed.st --json");
    assert_eq!((&fast["covariance"], &mixed["covariance"]), (&"rounded".into(), &"rounded".into()));
    assert_eq!(run(&folder, "info whole.st --json")["covariance"], "exact");
    let trace = |value: &Value| value["covariance_trace"].as_f64().unwrap();
    assert!((trace(&mixed) / trace(&fast) - 1.0).abs() < 1e-6);
    // A mode is no file, unless there is one: then nothing is guessed.
    folder.bad(2, "stats text.npy --covariance=quick --out q.st", &["quick", "exact", "fast"]);
    folder.put("fast", &npy("<f4", &rows[..12], 12));
    folder.bad(2, "stats --covariance fast text.npy --out q.st", &["--covariance=fast", "./fast"]);
    folder.good("stats --covariance=fast text.npy --out q.st --device host");
}

#[test]
fn covariances_that_are_missing_or_do_not_fit() {
    let folder = sets();
    for (rows, out) in [("text.npy", "text.cov"), ("image.npy", "image.cov"), ("narrow.npy", "narrow.cov")] {
        folder.good(&format!("stats {rows} --out {out} --covariance --device host"));
    }
    let words = ["--covariance", "--without-covariance"];
    folder.bad(1, "merge text.cov m.st --out o.st", &[&["m.st", "no covariance"][..], &words].concat());
    folder.bad(1, "merge m.st text.cov --out o.st", &[&["text.cov", "a covariance"][..], &words].concat());
    folder.good("merge m.st text.cov --without-covariance --out plain.st");
    assert!(run(&folder, "info plain.st --json").get("covariance_trace").is_none());
    folder.bad(1, "merge text.cov narrow.cov --out o.st", &["narrow.cov", "width 12", "width 5"]);
    let frame = |sides: &str| format!("frame {sides} --out o.frame");
    folder.bad(1, &frame("--source-stats m.st --target image.npy"), &["m.st", "stats --covariance"]);
    folder.bad(1, &frame("--source-stats s.st --target image.npy"), &["s.st", "fitted operator"]);
    folder.bad(1, &frame("--source-stats text.cov --target-stats narrow.cov"), &["narrow.cov", "width 5", "12"]);
    folder.bad(1, &frame("--source-stats missing.cov --target image.npy"), &["missing.cov", "No such file"]);
    folder.bad(2, &frame("--source-stats text.cov --source text.npy --target image.npy"), &["--source"]);
    folder.bad(2, &frame("--source-stats text.cov"), &["--target"]);
    let force = "frame --source-stats text.cov --target-stats image.cov --force --out";
    folder.bad(1, &format!("{force} text.cov"), &["text.cov", "is also an input"]);
    folder.bad(1, &format!("{force} o.frame --rank 13"), &["--rank", "1 to 12"]);
    folder.good("stats constant.npy --out c.cov --covariance --device host");
    folder.bad(1, "frame --source-stats c.cov --target-stats c.cov --out o.frame", &["all rows are equal"]);
    let info = run(&folder, "info c.cov --json");
    assert_eq!((&info["effective_rank"], &info["kappa"]), (&0.0.into(), &Value::Null));
    folder.put("wide.npy", &npy("<f4", &cloud(1, 8193, 1, 1.0), 8193));
    folder.bad(1, "stats wide.npy --out o.st --covariance --device host", &["width 1 to 8192", "8193"]);
    let mut rows = cloud(80, 12, 5, 1.0);
    rows[7 * 12 + 3] = f64::INFINITY;
    folder.put("nan.npy", &npy("<f4", &rows, 12));
    folder.bad(1, "stats nan.npy --out o.st --covariance", &["nan.npy", "row 7", "column 3"]);
    let zeroed = run(&folder, "stats nan.npy --out o.st --covariance --nonfinite zero --json");
    assert_eq!(zeroed["nonfinite_replaced"], 1);
}
