//! Inputs as people have them: rows of zeros, bad records among good ones, marks before ids.

use serde_json::Value;

use super::train::folder as trained;
use super::{Folder, cloud, devices, npy, safetensors};

/// Nine rows of width 3, of which those in `zeros` are zero.
fn with_zeros(zeros: &[usize]) -> Vec<u8> {
    let mut rows = cloud(9, 3, 1, 1.0);
    zeros.iter().for_each(|row| rows[3 * row..3 * row + 3].fill(0.0));
    npy("<f4", &rows, 3)
}

/// The JSON of a command that succeeds, and what it says beside it.
fn told(folder: &Folder, line: &str) -> (Value, String) {
    let output = folder.run(line);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{line}: {stderr}");
    (serde_json::from_slice(&output.stdout).unwrap(), stderr)
}

fn has(text: &str, words: &[&str]) {
    words.iter().for_each(|word| assert!(text.contains(word), "{word:?} is not in: {text}"));
}

#[test]
fn rows_of_zeros_are_counted_and_said_by_every_command_that_reads_rows() {
    let folder = Folder::fresh();
    folder.put("holes.npy", &with_zeros(&[2, 5]));
    folder.put("tail.npy", &with_zeros(&[7, 8]));
    folder.put("full.npy", &with_zeros(&[]));
    for device in devices() {
        let (value, said) = told(&folder, &format!("stats holes.npy --out m.st --json --force --device {device}"));
        assert_eq!(value["zero_rows"], 2);
        has(&said, &["warning: holes.npy: 2 of 9 rows are zero", "the first is row 2", "failed downloads"]);
        let (value, said) = told(&folder, &format!("stats tail.npy --out t.st --json --force --device {device}"));
        assert_eq!(value["zero_rows"], 2);
        has(
            &said,
            &["tail.npy: 2 of 9 rows are zero", "the first is row 7", "all at the end", "memory-mapped", "a[:7]"],
        );
        let full = folder.json_line(&format!("stats full.npy --out f.st --json --force --device {device}"));
        assert_eq!(full["zero_rows"], 0);

        for method in ["realign", "anchor", "mean-shift", "blockwise"] {
            let line = format!(
                "fit --source holes.npy --target tail.npy full.npy --method {method} --out s.st --json --force --device {device}"
            );
            let (value, said) = told(&folder, &line);
            let counts = ["zero_rows", "zero_rows_source", "zero_rows_target"].map(|key| value[key].as_u64().unwrap());
            assert_eq!(counts, [4, 2, 2], "{method}");
            has(&said, &["holes.npy: 2 of 9 rows are zero", "tail.npy: 2 of 18 rows are zero"]);
        }
        let line = format!("fit --source-stats m.st --target full.npy --out s.st --json --force --device {device}");
        let (value, said) = told(&folder, &line);
        assert_eq!((&value["zero_rows_source"], &value["zero_rows_target"]), (&2.into(), &0.into()));
        has(&said, &["m.st: 2 of 9 rows are zero"]);
        let line = format!("fit --source full.npy --target full.npy --out s.st --json --force --device {device}");
        assert_eq!(folder.json_line(&line)["zero_rows"], 0);

        let (value, said) =
            told(&folder, &format!("apply tail.npy --stats s.st --out o.npy --json --force --device {device}"));
        assert_eq!((&value["zero_rows"], &value["rows"]), (&2.into(), &9.into()));
        has(&said, &["tail.npy: 2 of 9 rows are zero", "the first is row 7"]);
        let line = format!("apply full.npy --stats s.st --out o.npy --json --force --device {device}");
        assert_eq!(folder.json_line(&line)["zero_rows"], 0);
    }
    let (value, said) = told(&folder, "info holes.npy --json");
    assert_eq!(value["zero_rows"], 2);
    has(&said, &["holes.npy: 2 of 9 rows are zero", "the first is row 2"]);
    assert_eq!(folder.json_line("info full.npy --json")["zero_rows"], 0);
    let (value, said) = told(&folder, "info full.npy tail.npy --json");
    assert_eq!(value["zero_rows"], 2);
    has(&said, &["tail.npy: 2 of 18 rows are zero", "the first is row 7"]);
    let (value, said) = told(&folder, "info m.st --json");
    assert_eq!(value["zero_rows"], 2);
    has(&said, &["m.st: 2 of 9 rows are zero"]);
    // What cannot be read to its end is said, and what the header tells is told all the same.
    let gone = with_zeros(&[]);
    folder.put("nan.npy", &npy("<f4", &[f64::NAN, 1.0, 0.0, 0.0], 2));
    assert_eq!(told(&folder, "info nan.npy --json").0["zero_rows"], 1);
    folder.put("cut.npy", &gone[..gone.len() - 4]);
    folder.bad(1, "info cut.npy --json", &["cut.npy", "truncated"]);
    folder.put("a.safetensors", &safetensors(&[("rows", &[0.0, 0.0, 1.0, 0.0], 2)]));
    assert_eq!(told(&folder, "info a.safetensors --json").0["zero_rows"], 1);
}

#[test]
fn numbers_read_as_zero_make_rows_of_zeros() {
    let folder = Folder::fresh();
    let mut rows = cloud(6, 2, 1, 1.0);
    rows[4..6].copy_from_slice(&[f64::NAN, 0.0]);
    folder.put("a.npy", &npy("<f4", &rows, 2));
    let (value, said) = told(&folder, "stats a.npy --nonfinite zero --out m.st --json --device host");
    assert_eq!((&value["zero_rows"], &value["nonfinite_replaced"]), (&1.into(), &1.into()));
    has(&said, &["a.npy: 1 of 6 rows are zero", "the first is row 2"]);
    let line = "fit --source a.npy --target a.npy --nonfinite zero --out s.st --json --device host";
    assert_eq!(told(&folder, line).0["zero_rows"], 2);
    // What is no number is none of zeros as long as it is not read as such.
    assert_eq!(folder.json_line("info a.npy --json")["zero_rows"], 0);
}

const RECORDS: &str = r#"{"id": "i0", "image": ["i0"], "conversations": [{"from": "human", "value": "<image>\nwhat?"}, {"from": "gpt", "value": "a dog"}]}
{"id": "i1", "image": "i1", "conversations": [{"from": "human", "value": "what?"}, {"from": "gpt", "value": ""}]}
{"id": "i2", "image": "i2", "conversations": [{"from": "USER", "value": "what?"}, {"from": "Assistant", "value": "a cat"}]}
{"id": "i3", "image": "i3", "conversat
"#;

#[test]
fn bad_records_are_refused_or_left_out_and_counted() {
    let folder = trained();
    folder.put("d.jsonl", RECORDS.as_bytes());
    let ask =
        "--model m --adapter a.safetensors --data d.jsonl --embeddings image.npy --ids image_ids.json --device host";
    let places = [
        "2 of 4 records",
        "record 1 (line 2, id \"i1\"): turn 1: the text of \"gpt\" is empty",
        "record 3 (line 4): not valid JSON",
    ];
    let train = "train stage2 --model m --data d.jsonl --embeddings image.npy --ids image_ids.json --init-adapter a.safetensors \
                 --max-steps 1 --device host";
    for line in [format!("score {ask}"), format!("evaluate {ask} --max-tokens 2"), format!("{train} --out run")] {
        folder.bad(1, &line, &[&["d.jsonl", "--skip-bad 2"], &places[..]].concat());
        folder.bad(1, &format!("{line} --skip-bad 1"), &["2 of 4 records", "and 1 may be left out"]);
    }
    for (i, allowed) in ["2", "all", "900"].into_iter().enumerate() {
        let (value, said) = told(&folder, &format!("score {ask} --json --skip-bad {allowed}"));
        assert_eq!((&value["skipped_bad"], &value["skipped"], &value["count"]), (&2.into(), &0.into(), &2.into()));
        has(&said, &["warning: d.jsonl: 2 of 4 records", "are left out"]);
        let (value, _) = told(&folder, &format!("evaluate {ask} --max-tokens 2 --json --skip-bad {allowed}"));
        assert_eq!((&value["skipped_bad"], &value["count"]), (&2.into(), &2.into()));
        let (value, _) = told(&folder, &format!("{train} --out run{i} --json --skip-bad {allowed}"));
        assert_eq!((&value["skipped_bad"], &value["step"]), (&2.into(), &1.into()));
    }
    let settings = String::from_utf8(folder.bytes("run1/run.toml")).unwrap();
    has(&settings, &["skip_bad = \"all\""]);
    folder.put("run.toml", b"\xef\xbb\xbfskip_bad = 2\r\n");
    assert_eq!(told(&folder, &format!("{train} --config run.toml --out run9 --json")).0["skipped_bad"], 2);
    folder.bad(2, &format!("score {ask} --skip-bad some"), &["--skip-bad", "\"all\""]);
    folder.bad(1, &format!("{train} --out run8 --skip-bad -1"), &["skip_bad"]);
}

#[test]
fn images_without_a_mark_are_asked_about() {
    let folder = trained();
    let record = |image: &str, question: &str| {
        format!(
            r#"[{{"id": "b", {image} "conversations": [{{"from": "human", "value": "{question}"}}, {{"from": "gpt", "value": "a dog"}}]}}]"#
        )
    };
    let ask = "--model m --adapter a.safetensors --data d.json --embeddings image.npy --ids image_ids.json --device host --json";
    let score = |image: &str, question: &str| {
        folder.put("d.json", record(image, question).as_bytes());
        folder.json_line(&format!("score {ask}"))["mean_nll"].as_f64().unwrap()
    };
    let (with, without) = (score(r#""image": "i1","#, r"<image>\nwhat?"), score("", "what?"));
    assert_ne!(with, without);
    for image in [r#""images": ["i1"],"#, r#""image": ["i1"],"#, r#""images": "i1","#] {
        assert_eq!(score(image, "what?"), with, "{image}");
    }
    folder.put("d.json", record(r#""images": ["i1", "i2"],"#, "what?").as_bytes());
    folder.bad(1, &format!("score {ask}"), &["d.json", "record 0 (id \"b\")", "2 images"]);
}

#[test]
fn a_mark_before_the_ids_loses_none() {
    let folder = trained();
    let list: Vec<String> = serde_json::from_slice(&folder.bytes("image_ids.json")).unwrap();
    let record = r#"[{"id": "NAME", "image": "x", "conversations": [{"from": "human", "value": "what?"}, {"from": "gpt", "value": "a dog"}]}]"#;
    folder.put("d.json", record.replace("NAME", &list[0]).as_bytes());
    let files = [
        ("ids.txt", list.join("\n")),
        ("crlf.txt", list.join("\r\n") + "\r\n\r\n"),
        ("ids.json", serde_json::to_string(&list).unwrap()),
        ("ids.jsonl", list.iter().map(|id| format!("{{\"id\": \"{id}\"}}\r\n")).collect()),
    ];
    for (name, text) in files {
        folder.put(name, format!("\u{feff}{text}").as_bytes());
        let ask = format!(
            "--model m --adapter a.safetensors --data d.json --embeddings image.npy --ids {name} --device host --json"
        );
        let value = folder.json_line(&format!("score {ask} --skip-missing"));
        assert_eq!((&value["count"], &value["skipped"]), (&1.into(), &0.into()), "{name}");
        let wide: Vec<u8> = [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        folder.put(name, &wide);
        folder.bad(1, &format!("score {ask} --skip-missing"), &[name, "UTF-16", "UTF-8"]);
    }
}
