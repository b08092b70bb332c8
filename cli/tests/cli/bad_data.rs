//! NaN, infinities, widths, degenerate clouds.

use super::*;

/// Three shards of five rows; the bad value is in the second, at row 3, column 2.
fn shards(folder: &Folder, descr: &str, value: f64) {
    for (i, name) in ["a", "b", "c"].iter().enumerate() {
        let mut rows = cloud(5, 5, i as u64 + 1, 1.0);
        if *name == "b" {
            rows[3 * 5 + 2] = value;
        }
        folder.put(&format!("in/{name}.npy"), &npy(descr, &rows, 5));
    }
}

#[test]
fn nan_and_infinity_are_named_and_nothing_is_written() {
    let devices = devices();
    for descr in TYPES {
        for (value, word) in [(f64::NAN, "NaN"), (f64::INFINITY, "inf"), (f64::NEG_INFINITY, "-inf")] {
            let folder = Folder::fresh();
            shards(&folder, descr, value);
            folder.put("good.npy", &npy(descr, &cloud(9, 5, 7, -1.0), 5));
            folder.good("fit --source good.npy --target in/a.npy --out s.st --device host");
            folder.put("old/b.npy", b"precious");
            let words = ["b.npy", word, "row 3, column 2", "--nonfinite zero"];
            for device in &devices {
                for line in [
                    "stats in --out m.st",
                    "stats in --out m.st --chunk-rows 2",
                    "fit --source in --target good.npy --out f.st",
                    "fit --source in --target good.npy --out f.st --centroid exact",
                    "fit --source good.npy --target in --out f.st",
                    "apply in --stats s.st --out out",
                    "apply in --stats s.st --out out/deep --chunk-rows 1",
                    "apply in --stats s.st --out old --force",
                    "apply in/b.npy --stats s.st --out b.npy",
                ] {
                    folder.bad(1, &format!("{line} --device {device}"), &words);
                }
            }
        }
    }
}

#[test]
fn every_method_refuses_nan_in_apply() {
    for method in ["none", "mean-shift", "anchor", "anchor-trace", "realign", "c3"] {
        let folder = Folder::fresh();
        shards(&folder, "<f4", f64::NAN);
        folder.good(&format!("fit --source in/a.npy --target in/c.npy --out s.st --device host --method {method}"));
        for device in devices() {
            let line = format!("apply in --stats s.st --out out --device {device}");
            folder.bad(1, &line, &["b.npy", "NaN", "row 3, column 2", "--nonfinite zero"]);
            let args = format!("{line} --nonfinite zero --force --json");
            let value = folder.json(&args.split(' ').collect::<Vec<_>>());
            assert_eq!(value["nonfinite_replaced"], 1, "{method}");
            assert!(floats(&folder.bytes("out/b.npy")).iter().all(|x| x.is_finite()), "{method}");
            std::fs::remove_dir_all(folder.at("out")).unwrap();
        }
    }
}

#[test]
fn nonfinite_zero_counts_and_equals_zeros() {
    for descr in TYPES {
        let (bad, zero) = (Folder::fresh(), Folder::fresh());
        shards(&bad, descr, f64::NEG_INFINITY);
        shards(&zero, descr, 0.0);
        for device in devices() {
            let args = format!("stats in --out m.st --json --force --nonfinite zero --device {device}");
            let args: Vec<&str> = args.split(' ').collect();
            let (a, b) = (bad.json(&args), zero.json(&args));
            assert_eq!((&a["nonfinite_replaced"], &b["nonfinite_replaced"]), (&1.into(), &0.into()));
            assert_eq!(a["trace"], b["trace"]);
            assert_eq!(bad.json(&["info", "m.st", "--json"])["nonfinite_replaced"], 1);
        }
    }
}

#[test]
fn widths_that_differ() {
    let folder = fitted();
    folder.put("wide.npy", &npy("<f4", &cloud(9, 13, 1, 1.0), 13));
    folder.good("stats wide.npy --out wide.st --device host");
    for device in devices() {
        let bad = |line: &str, words: &[&str]| folder.bad(1, &format!("{line} --device {device}"), words);
        bad("fit --source text.npy --target wide.npy --out o.st", &["text.npy", "wide.npy", "width 12", "width 13"]);
        bad("fit --source-stats m.st --target-stats wide.st --out o.st", &["m.st", "wide.st", "12", "13"]);
        bad(
            "fit --source wide.npy --source-stats m.st --target image.npy --out o.st",
            &["wide.npy", "m.st", "12", "13"],
        );
        bad("apply wide.npy --stats s.st --out o.npy", &["wide.npy", "s.st", "12", "13"]);
        bad("stats text.npy wide.npy --out o.st", &["wide.npy", "text.npy", "12", "13"]);
    }
    folder.bad(1, "merge m.st wide.st --out o.st", &["wide.st", "12", "13"]);
}

#[test]
fn one_row_and_equal_rows_need_leave() {
    let folder = Folder::fresh();
    folder.put("text.npy", &npy("<f4", &cloud(9, 3, 1, 1.0), 3));
    folder.put("one.npy", &npy("<f4", &[0.5, 0.25, 1.0], 3));
    folder.put("equal.npy", &npy("<f4", &[0.5, 0.25, 1.0].repeat(8), 3));
    for device in devices() {
        for (name, word) in [("one.npy", "single row"), ("equal.npy", "all equal")] {
            for (source, target) in [("text.npy", name), (name, "text.npy"), (name, name)] {
                for centroid in ["1", "3", "exact"] {
                    let line = format!(
                        "fit --source {source} --target {target} --out o.st --device {device} --centroid {centroid}"
                    );
                    folder.bad(1, &line, &[name, word, "--allow-degenerate"]);
                    folder.good(&format!("{line} --allow-degenerate"));
                    folder.good(&format!("apply text.npy --stats o.st --out o.npy --device {device}"));
                    let rows = floats(&folder.bytes("o.npy"));
                    assert!(rows.iter().all(|x| x.is_finite()), "{line}");
                    std::fs::remove_file(folder.at("o.st")).unwrap();
                    std::fs::remove_file(folder.at("o.npy")).unwrap();
                }
            }
        }
    }
}
