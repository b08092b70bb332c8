//! What must be equal is equal: chunks, devices, shards, moments against rows; names, ids and types are kept.

use super::*;

const METHODS: [&str; 7] = ["none", "mean-shift", "centre", "anchor", "anchor-trace", "realign", "c3"];

/// Splits text.npy into three shards in `parts`.
fn split(folder: &Folder) {
    let rows = cloud(61, 12, 1, 1.0);
    for (name, from, to) in [("x2", 0, 17), ("x10", 17, 18), ("y", 18, 61)] {
        folder.put(&format!("parts/{name}.npy"), &npy("<f4", &rows[from * 12..to * 12], 12));
    }
}

#[test]
fn chunks_and_devices_give_equal_files() {
    let folder = fitted();
    let devices = devices();
    let mut cases: Vec<String> = METHODS.map(|m| format!("--method {m}")).to_vec();
    cases.extend(["--centroid 3".to_owned(), "--centroid exact".to_owned()]);
    for case in cases {
        let fit = format!("fit --source text.npy --target image.npy {case} --force");
        folder.good(&format!("{fit} --out first.st --device host"));
        folder.good("apply text.npy --stats first.st --out first.npy --device host --force");
        let first = floats(&folder.bytes("first.npy"));
        for device in &devices {
            for chunk in ["1", "7", "1000"] {
                let options = format!("--device {device} --chunk-rows {chunk}");
                folder.good(&format!("{fit} --out again.st {options}"));
                assert!(folder.bytes("again.st") == folder.bytes("first.st"), "{case} {options}");
                folder.good(&format!("apply text.npy --stats first.st --out again.npy --force {options}"));
                let again = floats(&folder.bytes("again.npy"));
                assert_eq!(again.len(), first.len());
                let most = again.iter().zip(&first).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
                assert!(most <= 1e-6, "{case} {options}: {most}");
            }
        }
    }
}

#[test]
fn shards_merge_in_any_order() {
    let folder = fitted();
    split(&folder);
    for device in devices() {
        for name in ["x2", "x10", "y"] {
            folder.good(&format!("stats parts/{name}.npy --out {name}.st --device {device} --force"));
        }
        folder.good(&format!("stats parts --out folder.st --device {device} --force --chunk-rows 7"));
        assert!(folder.bytes("folder.st") == folder.bytes("m.st"), "{device}");
        for order in ["x2.st x10.st y.st", "y.st x2.st x10.st", "x10.st y.st x2.st"] {
            folder.good(&format!("merge {order} --out merged.st --force"));
            assert!(folder.bytes("merged.st") == folder.bytes("m.st"), "{device} {order}");
        }
    }
}

/// Noise in what is shared, and no more of the rows than that.
#[test]
fn private_moments_are_fitted_to() {
    let folder = fitted();
    let value = folder
        .json(&"stats image.npy --out pi.st --private 50,1e-4 --json --device host".split(' ').collect::<Vec<_>>());
    assert_eq!((&value["private"]["epsilon"], &value["private"]["delta"]), (&50.0.into(), &1e-4.into()));
    assert!(value["private"]["noise"].as_f64().unwrap() > 0.0, "{value}");
    let info = folder.json(&["info", "pi.st", "--json"]);
    assert_eq!(info["private"], value["private"]);
    folder.good("stats image.npy --out again.st --private 50,1e-4 --device host");
    assert!(folder.bytes("pi.st") != folder.bytes("again.st"), "its own noise each time");
    folder.good("merge pi.st again.st --out both.st");
    folder.good("fit --source text.npy --target-stats pi.st --out p.st --device host");
    folder.good("apply text.npy --stats p.st --out private.npy --device host");
    // The fit remembers the budget of the side that had one.
    let fitted = folder.json(&["info", "p.st", "--json"]);
    assert_eq!(fitted["private_target"]["epsilon"], 50.0);
    assert_eq!(fitted["private_target"]["delta"], 1e-4);
    let (found, want) = (fitted["private_target"]["noise"].as_f64(), info["private"]["noise"].as_f64());
    assert!((found.unwrap() / want.unwrap() - 1.0).abs() < 1e-9 && fitted["private_source"].is_null(), "{fitted}");
    folder.bad(2, "stats image.npy --out x.st --private 1,1e-6 --covariance", &["--private", "--covariance"]);
    for (budget, word) in [("0,1e-6", "ε is 0"), ("1", "comma"), ("1,2", "δ is 2"), ("a,1e-6", "'a' is no number")] {
        folder.bad(2, &format!("stats image.npy --out x.st --private {budget}"), &[word]);
    }
    assert!(!folder.at("x.st").exists());
}

#[test]
fn moments_fit_as_rows_do() {
    let folder = fitted();
    folder.good("stats image.npy --out mi.st --device host");
    for device in devices() {
        for case in ["--centroid 1", "--centroid 3", "--centroid exact", "--method c3", "--method anchor-trace"] {
            let rest = format!("{case} --force --device {device}");
            folder.good(&format!("fit --source text.npy --target image.npy --out rows.st {rest}"));
            for sides in [
                "--source text.npy --source-stats m.st --target-stats mi.st",
                "--source text.npy --target-stats mi.st",
                "--source text.npy --source-stats m.st --target image.npy",
            ] {
                let stderr = folder.good(&format!("fit {sides} --out moments.st {rest}"));
                assert!(folder.bytes("moments.st") == folder.bytes("rows.st"), "{sides} {rest}");
                assert!(!stderr.contains("note"), "{stderr}");
            }
        }
    }
    let note = folder.good("fit --source-stats m.st --target-stats mi.st --out without.st --device host");
    assert!(note.contains("note") && note.contains("anchor-trace") && note.contains("--source"), "{note}");
    folder.good("fit --source text.npy --target image.npy --method anchor-trace --out at.st --device host");
    assert!(folder.bytes("without.st") == folder.bytes("at.st"));
    let line = "fit --source-stats m.st --target-stats mi.st --out o.st --method realign";
    folder.bad(1, line, &["--source", "anchor-trace"]);
    folder.put("fewer.npy", &npy("<f4", &cloud(60, 12, 1, 1.0), 12));
    let line = "fit --source fewer.npy --source-stats m.st --target-stats mi.st --out o.st";
    folder.bad(1, line, &["fewer.npy", "m.st", "61", "60"]);
}

#[test]
fn shard_names_are_kept() {
    let folder = fitted();
    split(&folder);
    folder.good("apply text.npy --stats s.st --out whole.npy --device host");
    folder.good("apply parts --stats s.st --out a --device host");
    folder.good("apply parts/x*.npy --stats s.st --out b/deep --device host");
    folder.good("apply parts --stats s.st --out c --device host --format safetensors");
    let names = |name: &str| {
        let mut all: Vec<String> = std::fs::read_dir(folder.at(name))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        all.sort();
        all
    };
    assert_eq!(names("a"), ["x10.npy", "x2.npy", "y.npy"]);
    assert_eq!(names("b/deep"), ["x10.npy", "x2.npy"]);
    assert_eq!(names("c"), ["x10.safetensors", "x2.safetensors", "y.safetensors"]);
    let joined = ["x2", "x10", "y"].map(|n| floats(&folder.bytes(&format!("a/{n}.npy")))).concat();
    assert!(joined == floats(&folder.bytes("whole.npy")));
}

#[test]
fn types_and_formats() {
    let folder = fitted();
    for (dtype, size) in [("f16", 2), ("f32", 4), ("f64", 8)] {
        for format in ["npy", "safetensors", "parquet"] {
            let out = format!("{dtype}.{format}");
            folder.good(&format!("apply text.npy --stats s.st --out {out} --dtype {dtype} --format {format}"));
            let info = folder.json(&["info", &out, "--json"]);
            assert_eq!((&info["dtype"], &info["rows"], &info["width"]), (&dtype.into(), &61.into(), &12.into()));
            assert!(folder.bytes(&out).len() >= 61 * 12 * size);
        }
    }
    folder.bad(1, "apply text.npy --stats s.st --out o.npy --dtype bf16", &["bf16", "npy"]);
    folder.bad(1, "apply text.npy --stats s.st --out o.npy --format parquet", &["o.npy", ".parquet"]);
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_ids_pass_through() {
    use std::sync::Arc;

    use arrow_array::{Array, ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, StringArray};
    use arrow_schema::{DataType, Field};
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    let folder = fitted();
    let values = Float32Array::from_iter_values(cloud(61, 12, 1, 1.0).into_iter().map(|x| x as f32));
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let rows: ArrayRef = Arc::new(FixedSizeListArray::new(item, 12, Arc::new(values), None));
    let ids: ArrayRef = Arc::new(StringArray::from_iter_values((0..61).map(|i| format!("id-{i}"))));
    let batch = RecordBatch::try_from_iter([("id", ids.clone()), ("embed", rows)]).unwrap();
    let file = std::fs::File::create(folder.at("text.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    folder.good("apply text.parquet --stats s.st --out o.parquet --chunk-rows 7");
    let file = std::fs::File::open(folder.at("o.parquet")).unwrap();
    let mut reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let back = reader.next().unwrap().unwrap();
    assert_eq!(back.column_by_name("id").unwrap().to_data(), ids.to_data());
    folder.good("apply o.parquet --stats s.st --out plain.npy --column embed");
    folder.bad(1, "apply o.parquet --stats s.st --out p.npy --column id", &["o.parquet", "id", "--column"]);
}
