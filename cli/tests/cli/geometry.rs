//! `measure`, `compare`, `calibrate`, `frame`, `angles`, `drift`: keys, files, bad input.

use super::*;

pub const KEYS: [&str; 21] = [
    "gap",
    "frechet_mean",
    "frechet_covariance",
    "sliced_wasserstein",
    "trace_source",
    "trace_target",
    "alpha_source",
    "alpha_target",
    "effective_rank_source",
    "effective_rank_target",
    "kappa_source",
    "kappa_target",
    "jsd",
    "jsd_cross",
    "mixing_rate",
    "knn_overlap",
    "spectral_correlation",
    "subspace_overlap",
    "phi",
    "psi",
    "omega",
];
const PAIRED: [&str; 12] = [
    "beta_norm",
    "gamma_norm",
    "trace_u",
    "trace_v",
    "kappa_u",
    "kappa_v",
    "gamma_v1_angle_deg",
    "coupling_norm",
    "coupling_r2",
    "residual_anisotropy",
    "effective_dimension",
    "frame_rank",
];

/// text.npy and image.npy of 80 rows of width 12, short.npy of 15, constant.npy of 40 equal ones; narrow.npy of width 5.
pub fn sets() -> Folder {
    let folder = fitted();
    folder.put("text.npy", &npy("<f4", &cloud(80, 12, 1, 1.0), 12));
    folder.put("image.npy", &npy("<f4", &cloud(80, 12, 2, -1.0), 12));
    folder.put("short.npy", &npy("<f4", &cloud(15, 12, 3, -1.0), 12));
    folder.put("narrow.npy", &npy("<f4", &cloud(80, 5, 4, -1.0), 5));
    folder.put("constant.npy", &npy("<f4", &[0.5; 480], 12));
    folder
}

#[track_caller]
pub fn numbers(value: &Value, keys: &[&str]) {
    keys.iter().for_each(|key| assert!(value[*key].is_number(), "{key} is {} in {value}", value[*key]));
}

pub fn run(folder: &Folder, line: &str) -> Value {
    folder.json(&line.split_whitespace().collect::<Vec<_>>())
}

#[test]
fn keys_of_measure() {
    let folder = sets();
    let before = run(&folder, "measure --source text.npy --target image.npy --json --device host");
    for device in devices() {
        let value = run(&folder, &format!("measure --source text.npy --target image.npy --json --device {device}"));
        let gap = |v: &Value| v["gap"].as_f64().unwrap();
        assert!((gap(&value) - gap(&before)).abs() < 1e-6, "{device}");
    }
    let sliced = |rest: &str| {
        run(&folder, &format!("measure --source text.npy --target image.npy --json --device host {rest}"))["sliced_wasserstein"].clone()
    };
    assert!(sliced("--seed 0") == before["sliced_wasserstein"] && sliced("--seed 1") != before["sliced_wasserstein"]);
    for key in KEYS {
        let defined = !["knn_overlap", "phi", "psi", "omega"].contains(&key);
        assert!(before.get(key).is_some_and(|v| v.is_number() == defined), "{key} in {before}");
    }
    assert!(PAIRED[..11].iter().all(|key| before.get(*key).is_none()));
    folder.good("fit --source text.npy --target image.npy --out t.st --device host");
    folder.good("apply text.npy --stats t.st --out aligned.npy --device host");
    let line = "measure --source text.npy --target image.npy --aligned aligned.npy --paired --json";
    let after = run(&folder, line);
    numbers(&after, &KEYS);
    numbers(&after, &PAIRED);
    assert_eq!(after["before"]["gap"], before["gap"]);
    assert!(after["gap"].as_f64().unwrap() < 0.05 * before["gap"].as_f64().unwrap());
    assert!(after["trace_source"].as_f64().unwrap() != before["trace_source"].as_f64().unwrap());
}

#[test]
fn results_go_to_files() {
    let folder = sets();
    let line = "measure --source text.npy --target image.npy --paired --json m.json --html m.html --svg-dir pictures";
    let output = folder.run(line);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("gap"));
    let value: Value = serde_json::from_slice(&folder.bytes("m.json")).unwrap();
    numbers(&value, &PAIRED);
    let page = String::from_utf8(folder.bytes("m.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("What the difference of a pair is made of"));
    // Self-contained: no address but the namespaces of SVG.
    let foreign = page.split("http").skip(1).filter(|rest| !rest.contains("www.w3.org")).count();
    assert!(foreign == 0 && !page.contains("NaN"), "{page}");
    assert_eq!(std::fs::read_dir(folder.at("pictures")).unwrap().count(), 5);
    folder.bad(1, line, &["m.json", "--force"]);
    folder.bad(
        1,
        "measure --source text.npy --target image.npy --svg-dir pictures",
        &["pictures/variance-per-direction", "--force"],
    );
    folder.bad(1, "measure --source text.npy --target image.npy --svg-dir text.npy/x", &["text.npy"]);
    folder.good(&format!("{line} --force"));
    let compare =
        "compare --source text.npy --target image.npy --paired --html c.html --svg-dir new/pictures --device host";
    folder.good(compare);
    let page = String::from_utf8(folder.bytes("c.html")).unwrap();
    assert!(page.contains("Gap left by each method") && page.contains("Cosines within") && page.contains("The clouds"));
    assert_eq!(std::fs::read_dir(folder.at("new/pictures")).unwrap().count(), 6);
    folder.bad(1, &compare.replace("--html c.html", ""), &["gap-left-by-each-method.svg", "--force"]);
    let calibrate = "calibrate --source text.npy --target image.npy --domain a text.npy image.npy --domain b image.npy text.npy \
                     --stats s.st --batch text.npy --trials 2 --device host --svg-dir curves --html k.html";
    folder.good(calibrate);
    let page = String::from_utf8(folder.bytes("k.html")).unwrap();
    assert!(page.contains("Gap on held-out rows") && page.contains("fitted on b") && page.contains("p-value"));
    assert_eq!(std::fs::read_dir(folder.at("curves")).unwrap().count(), 2);
    folder.bad(1, &calibrate.replace("--html k.html", ""), &["curves/gap-on-held-out-rows", "--force"]);
}

#[test]
fn inputs_are_never_replaced() {
    let folder = sets();
    folder.good("frame --source text.npy --target image.npy --rank 3 --out a.frame");
    let measure = "measure --source text.npy --target image.npy --aligned short.npy --frame a.frame";
    let drift =
        "drift --source text.npy --target image.npy --source-now short.npy --target-now image.npy --frame a.frame";
    let calibrate = "calibrate --source text.npy --target image.npy --domain a short.npy image.npy --domain b image.npy \
                     text.npy --stats s.st --batch constant.npy";
    for (line, inputs) in [
        (measure, &["text.npy", "image.npy", "short.npy", "a.frame"][..]),
        ("compare --source text.npy --target image.npy", &["text.npy", "image.npy"]),
        (calibrate, &["text.npy", "image.npy", "short.npy", "s.st", "constant.npy"]),
        ("frame --source text.npy --target image.npy --out b.frame", &["text.npy", "image.npy"]),
        ("angles --a a.frame --b a.frame", &["a.frame"]),
        (drift, &["text.npy", "image.npy", "short.npy", "a.frame"]),
    ] {
        for input in inputs {
            folder.bad(1, &format!("{line} --json {input} --force"), &[input, "is also an input"]);
            if ["measure", "compare", "calibrate"].contains(&line.split(' ').next().unwrap()) {
                folder.bad(1, &format!("{line} --html ./{input} --force"), &[input, "is also an input"]);
            }
        }
    }
    let twice = "compare --source text.npy --target image.npy --json x.html --html ./x.html";
    folder.bad(1, twice, &["x.html", "two outputs"]);
    folder.bad(1, "frame --source text.npy --target image.npy --out x --json x", &["two outputs"]);
}

#[test]
fn compare_measures_every_method() {
    let folder = sets();
    for device in devices() {
        let value = run(&folder, &format!("compare --source text.npy --target image.npy --json --device {device}"));
        let methods = [
            "none",
            "mean-shift",
            "centre",
            "anchor",
            "anchor-trace",
            "realign",
            "c3",
            "blockwise",
            "ot",
            "anisoalign",
        ];
        for method in methods {
            numbers(&value["methods"][method], &KEYS);
            numbers(&value["methods"][method], &["seconds"]);
        }
        let gap = |method: &str| value["methods"][method]["gap"].as_f64().unwrap();
        assert!(gap("realign") < 0.3 * gap("none"), "{value}");
        assert_eq!((&value["rows_source"], &value["fitted_rows_source"]), (&40.into(), &40.into()));
    }
    let value = run(&folder, "compare --source text.npy --target image.npy --paired --json --device host");
    for method in [
        "none",
        "mean-shift",
        "centre",
        "anchor",
        "anchor-trace",
        "realign",
        "c3",
        "blockwise",
        "ot",
        "anisoalign",
        "ridge",
    ] {
        numbers(&value["methods"][method], &KEYS);
        numbers(&value["methods"][method], &PAIRED);
        assert_eq!(value["methods"][method]["frame_rank"], value["frame_rank"]);
    }
    // The parts of the mean difference make up the gap.
    for (method, line) in value["methods"].as_object().unwrap() {
        let of = |key: &str| line[key].as_f64().unwrap();
        assert!((of("beta_norm").hypot(of("gamma_norm")) - of("gap")).abs() < 1e-12, "{method}: {line}");
    }
    let only = run(&folder, "compare --source text.npy --target image.npy --methods realign --json --device host");
    assert_eq!(only["methods"].as_object().unwrap().len(), 1);
    let text = folder.run("compare --source text.npy --target image.npy --device host").stdout;
    assert!(String::from_utf8(text).unwrap().contains("blockwise"));
}

#[test]
fn calibration() {
    let folder = sets();
    let line = "calibrate --source text.npy --target image.npy --sizes 5 40 --trials 3 --device host --json";
    let study = run(&folder, line);
    assert_eq!(study["sizes"][0]["gaps"].as_array().unwrap().len(), 3);
    numbers(&study["sizes"][0], &["rows", "gap_mean", "gap_sd"]);
    // All rows: one trial, which has no spread.
    assert!(study["sizes"][1]["gap_mean"].is_number() && study["sizes"][1]["gap_sd"].is_null(), "{study}");
    let line = "calibrate --domain a text.npy image.npy --domain b image.npy text.npy --device host --json";
    let gaps = run(&folder, line)["transfer"]["gap"].clone();
    let gap = |i: usize, j: usize| gaps[i][j].as_f64().unwrap();
    assert!(gap(0, 0) < gap(0, 1) && gap(1, 1) < gap(1, 0), "{gaps}");
    folder.good("fit --source text.npy --target image.npy --out t.st --device host");
    let same = run(&folder, "calibrate --stats t.st --batch text.npy --json");
    assert_eq!(same["drift"]["recalibrate"], false, "{same}");
    let moved = run(&folder, "calibrate --stats t.st --batch image.npy --json");
    assert_eq!(moved["drift"]["recalibrate"], true, "{moved}");
    assert!(
        run(&folder, "calibrate --stats t.st --batch image.npy --side target --json")["drift"]["p_value"].is_number()
    );
    folder.bad(1, "calibrate", &["nothing to do", "--domain"]);
    folder.bad(1, "calibrate --domain a text.npy image.npy", &["two or more"]);
    folder.bad(1, "calibrate --stats t.st --batch text.npy --significance 2", &["--significance"]);
    folder.bad(1, "calibrate --stats t.st --batch narrow.npy", &["width 12", "width 5"]);
    folder.bad(1, "calibrate --source text.npy --target image.npy --sizes 41 --device host", &["--sizes", "2 to 40"]);
    folder.bad(2, "calibrate --stats t.st", &["--batch"]);
}

#[test]
fn bad_sets() {
    let folder = sets();
    let measure = |rest: &str| format!("measure --source text.npy {rest}");
    folder.bad(1, &measure("--target narrow.npy"), &["narrow.npy", "width 5", "12"]);
    folder.bad(1, &measure("--target short.npy --paired"), &["--paired", "80 rows", "15"]);
    folder.bad(1, &measure("--target image.npy --aligned short.npy"), &["80 rows", "15 rows"]);
    folder.bad(1, &measure("--target image.npy --mixing-k 200"), &["--mixing-k", "160 pooled"]);
    folder.bad(1, &measure("--target image.npy --aligned image.npy --overlap-k 80"), &["--overlap-k", "80 rows"]);
    folder.bad(1, &measure("--target image.npy --rank 13"), &["--rank", "1 to 12"]);
    folder.bad(1, &measure("--target image.npy --energy 1.5"), &["--energy"]);
    folder.bad(2, &measure("--target image.npy --energy 0.5 --rank 3"), &["--rank"]);
    folder.bad(1, "compare --source short.npy --target image.npy --device host", &["20 neighbours of 7 rows"]);
    folder.bad(1, "compare --source short.npy --target image.npy --paired", &["--paired", "15 rows", "80 rows"]);
    folder.bad(
        1,
        "compare --source constant.npy --target image.npy --mixing-k 5 --overlap-k 3",
        &["source", "all equal"],
    );
    folder.bad(1, "compare --source text.npy --target image.npy --rank 13", &["--rank", "1 to 12"]);
    folder.good("compare --source text.npy --target image.npy --centroid exact --device host");
    folder.good("frame --source narrow.npy --target narrow.npy --out narrow.frame");
    folder.bad(1, &measure("--target image.npy --frame narrow.frame"), &["narrow.frame", "width 5", "12"]);
    folder.bad(1, "frame --source constant.npy --target constant.npy --out c.frame", &["all rows are equal"]);
    folder.bad(
        1,
        "fit --source text.npy --target image.npy --method blockwise --shrinkage=-1 --out b.st",
        &["--shrinkage"],
    );
    folder.bad(
        1,
        "fit --source constant.npy --target image.npy --method blockwise --out b.st --device host",
        &["source", "all equal"],
    );
}

#[test]
fn values_that_are_not_finite_are_located() {
    let folder = sets();
    let mut rows = cloud(80, 12, 5, 1.0);
    rows[7 * 12 + 3] = f64::NAN;
    folder.put("nan.npy", &npy("<f4", &rows, 12));
    let place = ["nan.npy", "row 7", "column 3"];
    for device in devices() {
        for line in [
            "measure --source text.npy --target nan.npy --html p.html",
            "measure --source text.npy --target image.npy --aligned nan.npy --json p.json",
            "compare --source nan.npy --target image.npy --html p.html",
            "compare --source text.npy --target nan.npy --json p.json",
            "calibrate --source text.npy --target nan.npy --html p.html",
            "frame --source nan.npy --target image.npy --out f.frame",
        ] {
            folder.bad(1, &format!("{line} --device {device}"), &place);
        }
    }
    folder.bad(1, "calibrate --stats s.st --batch nan.npy", &place);
    let value = run(&folder, "measure --source nan.npy --target image.npy --nonfinite zero --json");
    assert_eq!(value["nonfinite_replaced"], 1);
}

#[test]
fn constant_and_identical_sets_are_measured() {
    let folder = sets();
    for device in devices() {
        let line = "measure --source constant.npy --target constant.npy --html p.html --force --json --device";
        let value = run(&folder, &format!("{line} {device}"));
        for key in ["alpha_source", "kappa_target", "subspace_overlap", "spectral_correlation", "frame_rank"] {
            assert!(value[key].is_null(), "{key} on {device} in {value}");
        }
        for key in ["gap", "effective_rank_source", "trace_target"] {
            assert_eq!(value[key], 0.0, "{key} on {device}");
        }
        let page = String::from_utf8(folder.bytes("p.html")).unwrap();
        assert!(page.contains("<svg") && !page.contains("NaN") && !page.contains("inf"), "{page}");
        let line = "measure --source text.npy --target constant.npy --html p.html --force --json --device";
        assert!(run(&folder, &format!("{line} {device}"))["subspace_overlap"].is_null());
        // 7 directions are what 8 rows span.
        folder.put("few.npy", &npy("<f4", &cloud(8, 12, 6, 1.0), 12));
        let frame = "frame --source few.npy --target few.npy --out few.frame --force --rank";
        folder.bad(1, &format!("{frame} 8 --device {device}"), &["8 directions", "span 7"]);
        folder.good(&format!("{frame} 7 --device {device}"));
    }
    folder.bad(1, "measure --source constant.npy --target constant.npy --paired", &["--paired", "equal"]);
    let line = "measure --source text.npy --target text.npy --aligned text.npy --paired --json";
    folder.put("copy.npy", &folder.bytes("text.npy"));
    let value = run(&folder, &line.replace("--aligned text.npy", "--aligned copy.npy"));
    assert_eq!((&value["gap"], &value["jsd"], &value["coupling_r2"]), (&0.0.into(), &0.0.into(), &Value::Null));
    assert_eq!((&value["knn_overlap"], &value["beta_norm"]), (&1.0.into(), &0.0.into()));
}

#[test]
fn maps_run_on_every_device() {
    for method in ["blockwise", "ot", "anisoalign"] {
        map_runs_on_every_device(method);
    }
}

fn map_runs_on_every_device(method: &str) {
    let folder = sets();
    let mut outputs = Vec::new();
    for device in devices() {
        let rest = format!("--device {device} --force");
        folder.good(&format!("fit --source text.npy --target image.npy --method {method} --out b.st {rest}"));
        folder.good(&format!("apply text.npy --stats b.st --out b.npy {rest}"));
        outputs.push(folder.bytes("b.npy"));
    }
    assert_eq!(outputs[0], outputs[1]);
    assert_eq!(run(&folder, "info b.st --json")["method"], method);
    let line = format!("fit --source-stats m.st --target image.npy --method {method} --out c.st --device host");
    folder.bad(1, &line, &["covariances", "--source"]);
}

#[test]
fn ridge_is_fitted_to_pairs() {
    let folder = sets();
    let fit = "fit --source text.npy --target image.npy --method ridge --device host --out r.st";
    folder.bad(1, fit, &["--paired", "ridge"]);
    folder.good(&format!("{fit} --paired"));
    assert_eq!(run(&folder, "info r.st --json")["method"], "ridge");
    folder.good("apply text.npy --stats r.st --out r.npy --device host");
    folder.bad(1, &fit.replace("image.npy", "short.npy --paired --force"), &["--paired", "15 rows", "80 rows"]);
    folder.bad(1, "compare --source text.npy --target image.npy --methods ridge", &["--paired"]);
    let study = "calibrate --source text.npy --target image.npy --method ridge --device host";
    folder.bad(1, study, &["--method", "ridge", "choose another"]);
}

#[test]
fn transport_has_a_strength() {
    let folder = sets();
    let fit = "fit --source text.npy --target image.npy --method ot --device host --out w.st --force --json";
    assert_eq!(run(&folder, &format!("{fit} --strength 0.25"))["strength"], 0.25);
    assert_eq!(run(&folder, "info w.st --json")["strength"], 0.25);
    assert_eq!(run(&folder, fit)["strength"], 1.0);
    let other = fit.replace("--method ot", "--method realign");
    folder.bad(1, &format!("{other} --strength 0.25"), &["--strength", "realign", "--method ot"]);
    folder.bad(1, &format!("{other} --paired"), &["--paired", "realign", "--method ridge"]);
    folder.bad(1, &format!("{fit} --strength 2"), &["--strength", "0", "1"]);
    folder.bad(1, &format!("{fit} --shrinkage=-1"), &["--shrinkage"]);
    folder.bad(1, &format!("{fit} --centroid exact"), &["--centroid", "ot"]);
    let study =
        "calibrate --source text.npy --target image.npy --method ot --strength 0.5 --trials 2 --device host --json";
    numbers(&run(&folder, study)["sizes"][0], &["gap_mean"]);
    let lesser =
        run(&folder, "compare --source text.npy --target image.npy --methods ot --strength 0 --json --device host");
    let realign = run(&folder, "compare --source text.npy --target image.npy --methods realign --json --device host");
    let gap = |value: &Value, method: &str| value["methods"][method]["gap"].as_f64().unwrap();
    assert!((gap(&lesser, "ot") - gap(&realign, "realign")).abs() < 1e-6, "{lesser}");
}

/// The one method that moves both sides: what is left lies between the two centred clouds.
#[test]
fn centring_moves_both_sides() {
    let folder = sets();
    folder.good("fit --source text.npy --target image.npy --method centre --device host --out c.st");
    folder.good("apply text.npy --stats c.st --device host --out text_c.npy");
    folder.good("apply image.npy --stats c.st --side target --device host --out image_c.npy");
    let measured = run(&folder, "measure --source text_c.npy --target image_c.npy --device host --json");
    let before = run(&folder, "measure --source text.npy --target image.npy --device host --json");
    let gap = |value: &Value| value["gap"].as_f64().unwrap();
    assert!(gap(&measured) < 0.2 * gap(&before), "{measured} {before}");
    let compared =
        run(&folder, "compare --source text.npy --target image.npy --methods centre --json --device host --paired");
    let study = "calibrate --source text.npy --target image.npy --method centre --sizes 40 --device host --json";
    let sizes = run(&folder, study);
    let (line, gaps) = (&compared["methods"]["centre"], &sizes["sizes"][0]);
    // All of one half, and measured on the other: what `compare` does.
    assert!((gap(line) - gaps["gap_mean"].as_f64().unwrap()).abs() < 1e-6, "{line} {gaps}");
    folder.good("fit --source text.npy --target image.npy --method realign --device host --out r.st");
    let words = ["--side", "realign", "only centre"];
    folder.bad(1, "apply image.npy --stats r.st --side target --device host --out no.npy", &words);
}

/// An option of another method is no option: it is refused with the methods that have it.
#[test]
fn options_of_other_methods_are_refused() {
    let folder = sets();
    for (command, options) in [
        (
            "fit --source text.npy --target image.npy --out no.st --method anchor-trace",
            &["--sigma 0.1", "--shrinkage 0.1", "--strength 0.1", "--energy 0.5", "--centroid 2", "--seed 3"][..],
        ),
        (
            "compare --source text.npy --target image.npy --methods anchor --methods mean-shift",
            &["--sigma 0.1", "--shrinkage 0.1", "--strength 0.1", "--centroid 2"],
        ),
        ("calibrate --source text.npy --target image.npy --method centre", &["--sigma 0.1", "--centroid exact"]),
    ] {
        for option in options {
            let flag = option.split(' ').next().unwrap();
            folder.bad(1, &format!("{command} {option} --device host"), &[flag, "is no option of", "--method "]);
        }
    }
    // A batch is held against a fit that is done.
    folder.good("fit --source text.npy --target image.npy --out done.st --device host");
    for option in ["--sigma 0.1", "--mix haar", "--method realign"] {
        let flag = option.split(' ').next().unwrap();
        let line = format!("calibrate --stats done.st --batch text.npy {option} --device host");
        folder.bad(1, &line, &[flag, "a batch is held against --stats", "leave it out"]);
    }
    // Where one of several heeds it, it is taken.
    folder.good("compare --source text.npy --target image.npy --methods c3 --methods anchor --sigma 0.1 --device host");
    // A side is not counted for a method that its moments do not determine.
    folder.good("stats image.npy --device host --out moments.st");
    folder.put("broken.npy", &npy("<f4", &[f64::NAN; 24], 12));
    let fit = "fit --source broken.npy --target-stats moments.st --out no.st --device host --method";
    for method in ["ot", "blockwise"] {
        folder.bad(1, &format!("{fit} {method}"), &["--method", method, "needs covariances"]);
    }
}
