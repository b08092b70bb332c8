//! `rank`: fit, merge, search, compare.

use std::fmt::Write as _;

use arrow_array::Array as _;
use serde_json::Value;

use crate::{Folder, cloud, devices, encode, npy};

const WIDTH: usize = 12;

/// Captions, images and titles with queries, and the grades of some.
fn folder() -> Folder {
    let folder = Folder::fresh();
    folder.put("text.npy", &npy("<f4", &cloud(80, WIDTH, 1, 1.0), WIDTH));
    folder.put("image.npy", &npy("<f4", &cloud(120, WIDTH, 2, -1.0), WIDTH));
    folder.put("titles.npy", &npy("<f4", &cloud(60, WIDTH, 3, 0.5), WIDTH));
    folder.put("queries.npy", &npy("<f4", &cloud(9, WIDTH, 4, 1.0), WIDTH));
    let ids: String = (0..120).fold(String::new(), |mut all, i| {
        let _ = writeln!(all, "picture-{i}");
        all
    });
    folder.put("image.txt", ids.as_bytes());
    let grades = (0..9).map(|q| {
        format!(
            "{{\"query\": {q}, \"collection\": \"text\", \"item\": {q}, \"grade\": 2}}\n\
             {{\"query\": \"{q}\", \"collection\": \"image\", \"item\": \"picture-{q}\", \"grade\": 1.5}}\n"
        )
    });
    folder.put("rel.jsonl", grades.collect::<String>().as_bytes());
    folder
}

const SETS: &str = "--collection text=text.npy --collection image=image.npy --collection title=titles.npy";

fn records(folder: &Folder, name: &str) -> Vec<Value> {
    let text = String::from_utf8(folder.bytes(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn shards_merge_to_the_bits_of_one_run() {
    let folder = folder();
    let text = cloud(80, WIDTH, 1, 1.0);
    folder.put("a/text.npy", &npy("<f4", &text[..30 * WIDTH], WIDTH));
    folder.put("b/text.npy", &npy("<f4", &text[30 * WIDTH..], WIDTH));
    for device in devices() {
        let fit = |rest: &str| folder.good(&format!("rank fit --sample 32 --seed 3 --force --device {device} {rest}"));
        fit("--collection text=text.npy --collection image=image.npy --out whole.st --chunk-rows 7");
        fit("--collection text=a/text.npy --out a.st");
        fit("--collection image=image.npy --collection text=b/text.npy --out b.st --chunk-rows 50");
        fit("--collection text=b/text.npy --collection text=a/text.npy --collection image=image.npy --out files.st");
        folder.good("rank merge a.st b.st --out merged.st --force");
        for name in ["merged.st", "files.st"] {
            assert!(folder.bytes(name) == folder.bytes("whole.st"), "{name} on {device}");
        }
    }
    let info = folder.json_line("info whole.st --json");
    assert_eq!((&info["kind"], &info["collections"]["text"]["rows"]), (&"ranking".into(), &80.into()));
    assert_eq!(info["collections"]["image"]["sample"], 32);
    folder.good("stats text.npy --out m.st --device host");
    folder.bad(1, "rank merge a.st m.st --out c.st", &["m.st", "moments", "realign fit"]);
    folder.bad(1, "rank merge a.st image.npy --out c.st", &["image.npy", "realign-ranking"]);
    folder.good("rank fit --collection text=text.npy --out other.st --device host");
    folder.bad(1, "rank merge a.st other.st --out c.st", &["other.st", "seed 0"]);
}

#[test]
fn hits_are_written_as_records_and_as_a_table() {
    let folder = folder();
    folder.good(&format!("rank fit {SETS} --out r.st --device host"));
    let search =
        format!("rank search --ranking r.st --queries queries.npy {SETS} --ids image=image.txt --device host --json");
    // Each collection is its own reference here, which only shares mind.
    let said = folder.good(&format!("{search} --out said.jsonl"));
    assert!(said.contains("warning: image") && said.contains("rank within it"), "{said}");
    folder.json_line(&format!("{search} --score z --out z.jsonl"));
    let value = folder.json_quiet(&format!("{search} --out hits.jsonl"));
    assert_eq!((&value["hits"], &value["score"]), (&90.into(), &"quantile".into()));
    assert!(value["shares"].as_object().unwrap().values().all(|share| share.as_f64().unwrap() > 0.05), "{value}");
    let hits = records(&folder, "hits.jsonl");
    assert_eq!(hits.len(), 90);
    let image = hits.iter().find(|hit| hit["collection"] == "image").unwrap();
    assert_eq!(image["id"], format!("picture-{}", image["row"]));
    let text = hits.iter().find(|hit| hit["collection"] == "text").unwrap();
    assert_eq!(text["id"], text["row"].to_string());
    // Raw scores come up with texts alone, of which the queries are.
    folder.json_line(&format!("{search} --score raw --out raw.jsonl"));
    assert!(records(&folder, "raw.jsonl").iter().all(|hit| hit["raw"] == hit["score"] && hit["collection"] != "image"));
    let few = folder.json_quiet(&format!("{search} --top 1000 --pass 0.05 --out few.jsonl"));
    let share = few["hits"].as_u64().unwrap() as f64 / (9.0 * 260.0);
    assert!((share - 0.05).abs() < 0.01, "{few}");
    folder.json_quiet(&format!("{search} --out hits.parquet"));
    let file = std::fs::File::open(folder.at("hits.parquet")).unwrap();
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let batches: Vec<_> = reader.map(Result::unwrap).collect();
    assert_eq!(batches.iter().map(arrow_array::RecordBatch::num_rows).sum::<usize>(), 90);
    let names: Vec<String> = batches[0].schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["query", "rank", "collection", "row", "id", "raw", "score"]);
    assert!(batches[0].column(0).is_valid(0));
}

#[test]
fn every_score_is_compared() {
    let folder = folder();
    folder.good(&format!("rank fit {SETS} --queries text=queries.npy --out r.st --device host"));
    let compare = format!(
        "rank compare --ranking r.st --queries text=queries.npy {SETS} --ids image=image.txt --relevance rel.jsonl \
         --device host"
    );
    let value = folder.json_quiet(&format!("{compare} --json --html page.html"));
    let scores = value["scores"].as_object().unwrap();
    assert_eq!(scores.len(), 9);
    for (name, score) in scores {
        assert!((0.0..=1.0).contains(&score["ndcg"]["value"].as_f64().unwrap()), "{name}");
        let shares = score["shares"].as_object().unwrap();
        assert!((shares.values().map(|s| s["value"].as_f64().unwrap()).sum::<f64>() - 1.0).abs() < 1e-9, "{name}");
        let list = ["dbsf", "rrf"].contains(&&name[..]);
        assert_eq!(score["calibration"].as_array().unwrap().len(), if list { 0 } else { 4 }, "{name}");
    }
    // The sample is the collection: cut-offs pass what they say.
    let passed = &scores["quantile"]["calibration"][0]["passed"]["image"]["value"];
    assert!((passed.as_f64().unwrap() - 0.1).abs() < 0.01, "{passed}");
    let page = String::from_utf8(folder.bytes("page.html")).unwrap();
    assert!(page.contains("Scores before: cosines") && page.contains("quantile"));
    let text = String::from_utf8(folder.run(&compare).stdout).unwrap();
    assert!(text.contains("NDCG@10") && text.contains("asked for"), "{text}");
}

/// Two scores are held against reference queries: without such they are refused, and left out of a comparison, which says so.
#[test]
fn reference_queries_are_asked_for() {
    let folder = folder();
    folder.good(&format!("rank fit {SETS} --out plain.st --device host"));
    folder.good(&format!("rank fit {SETS} --queries text=queries.npy --out r.st --device host"));
    let search = |ranking: &str, score: &str| {
        format!(
            "rank search --ranking {ranking} --queries queries.npy {SETS} --device host --json --force --out h.jsonl --score {score}"
        )
    };
    for score in ["nnn", "standardise"] {
        folder.bad(
            1,
            &search("plain.st", score),
            &["--score", "fitted to no queries", "rank fit --queries KIND=FILES"],
        );
        folder.json_quiet(&search("r.st", score));
        assert_eq!(records(&folder, "h.jsonl").len(), 90, "{score}");
    }
    // Nothing is taken off: scores are cosines.
    folder.json_quiet(&search("r.st", "nnn --nnn-alpha 0"));
    let near = |hit: &Value| (hit["raw"].as_f64().unwrap() - hit["score"].as_f64().unwrap()).abs() < 1e-9;
    assert!(records(&folder, "h.jsonl").iter().all(near));
    folder.json_quiet(&search("r.st", "nnn --nnn-alpha 1 --nnn-neighbours 2"));
    assert!(records(&folder, "h.jsonl").iter().all(|hit| !near(hit)));
    for (options, words) in [
        ("nnn --nnn-alpha=-1", &["--nnn-alpha", "0 to 100"][..]),
        ("nnn --nnn-neighbours 0", &["--nnn-neighbours", "give 1 to"]),
        ("z --nnn-alpha 1", &["--nnn-alpha", "z has none", "--score nnn"]),
        ("z --nnn-neighbours 1", &["--nnn-neighbours", "z has none"]),
    ] {
        folder.bad(1, &search("r.st", options), words);
    }
    let compare = format!(
        "rank compare --ranking plain.st --queries queries.npy {SETS} --ids image=image.txt --relevance rel.jsonl --device host"
    );
    let output = folder.run(&compare);
    let (said, text) = (String::from_utf8(output.stderr).unwrap(), String::from_utf8(output.stdout).unwrap());
    assert!(said.contains("note: nnn and standardise need reference queries"), "{said}");
    assert!(text.contains("quantile") && !text.contains("nnn"), "{text}");
}

/// Rows as safetensors, with a note of the encoder that made them.
fn of_encoder(rows: &[f64], hash: &str) -> Vec<u8> {
    let body = encode("<f4", rows);
    let table = serde_json::json!({
        "__metadata__": { "encoder": "clip", "encoder_hash": hash },
        "rows": { "dtype": "F32", "shape": [rows.len() / WIDTH, WIDTH], "data_offsets": [0, body.len()] },
    });
    let table = table.to_string();
    [&(table.len() as u64).to_le_bytes()[..], table.as_bytes(), &body].concat()
}

/// A ranking remembers its encoders, and rows of others are refused unless they are forced.
#[test]
fn rows_of_another_encoder_are_refused() {
    let folder = folder();
    let text = cloud(80, WIDTH, 1, 1.0);
    for (name, hash) in [("a.safetensors", "0123456789ab"), ("b.safetensors", "ba9876543210")] {
        folder.put(name, &of_encoder(&text, hash));
        let value =
            folder.json_line(&format!("rank fit --collection text={name} --out {name}.st --device host --json"));
        assert_eq!(value["collections"]["text"]["encoder"], format!("clip ({})", &hash[..8]));
    }
    let search = "rank search --ranking a.safetensors.st --device host --score z --json";
    folder.json_line(&format!("{search} --queries a.safetensors --collection text=a.safetensors --out h.jsonl"));
    // Files that say nothing are taken.
    folder.json_line(&format!("{search} --queries text.npy --collection text=text.npy --out i.jsonl"));
    for (out, rest) in [
        ("j.jsonl", "--queries b.safetensors --collection text=a.safetensors"),
        ("k.jsonl", "--queries text.npy --collection text=b.safetensors"),
    ] {
        let line = format!("{search} --out {out} {rest}");
        folder.bad(1, &line, &["clip (ba987654)", "clip (01234567)", "--force"]);
        folder.good(&format!("{line} --force"));
    }
    let merge = "rank merge a.safetensors.st b.safetensors.st --out ab.st";
    folder.bad(1, merge, &["b.safetensors.st", "clip (ba987654)", "--force"]);
    folder.good(&format!("{merge} --force"));
    assert!(folder.json_line("info ab.st --json")["collections"]["text"]["encoder"].is_null());
}

/// What `--nonfinite` says of rows holds for queries, too, and so does what is said of columns of ids.
#[test]
fn queries_are_read_as_rows_are() {
    let folder = folder();
    let mut queries = cloud(9, WIDTH, 4, 1.0);
    queries[WIDTH + 3] = f64::NAN;
    folder.put("bad.npy", &npy("<f4", &queries, WIDTH));
    folder.good(&format!("rank fit {SETS} --out r.st --device host"));
    let search = |queries: &str, rest: &str| {
        format!("rank search --ranking r.st --queries {queries} {SETS} --device host --force --score z --out {rest}")
    };
    folder.bad(1, &search("bad.npy", "a.jsonl"), &["bad.npy", "row 1", "--nonfinite"]);
    let said = folder.good(&search("bad.npy", "a.jsonl --nonfinite zero"));
    assert!(said.contains("1 values of the queries"), "{said}");
    queries[WIDTH + 3] = 0.0;
    folder.put("zero.npy", &npy("<f4", &queries, WIDTH));
    folder.good(&search("zero.npy", "b.jsonl"));
    assert_eq!(records(&folder, "a.jsonl"), records(&folder, "b.jsonl"));
    folder.bad(1, &search("queries.npy", "c.jsonl --id-column name"), &["npy files hold no ids"]);
}

#[test]
fn bad_input_is_named() {
    let folder = folder();
    folder.good(&format!("rank fit {SETS} --out r.st --device host"));
    let search = "rank search --ranking r.st --queries queries.npy --device host --out h.jsonl";
    for (code, line, words) in [
        (2, "rank fit --collection text.npy --out x.st".to_owned(), &["text=captions.npy"][..]),
        (1, "rank fit --collection a/b=text.npy --out x.st --device host".to_owned(), &["--collection", "a/b"]),
        (1, "rank fit --collection a=text.npy --sample 1 --out x.st --device host".to_owned(), &["--sample", "2 to"]),
        (1, "rank fit --collection a=text.npy --out text.npy --force --device host".to_owned(), &["is also an input"]),
        (1, format!("{search} --collection sound=image.npy"), &["--collection", "sound", "image, text, title"]),
        (1, format!("{search} --collection text=text.npy --pass 2"), &["--pass", "below 1"]),
        (1, format!("{search} --collection text=text.npy --pass 0.1 --score rrf"), &["--pass", "no cut-off"]),
        (1, format!("{search} --collection text=text.npy --top 0"), &["--top", "1 to"]),
        (2, format!("{search} --collection text=text.npy --score best"), &["'best' is no score", "quantile"]),
        (1, format!("{search} --collection text=text.npy --ids image=image.txt"), &["--ids", "no collection"]),
        (1, format!("{search} --collection text=text.npy --ids text=image.txt"), &["120 ids for 80 rows"]),
        (
            1,
            "rank search --ranking text.npy --queries queries.npy --collection text=text.npy --out h.jsonl".to_owned(),
            &["text.npy"],
        ),
        (
            1,
            "rank search --ranking r.st --queries queries.npy --collection text=text.npy --out h.csv".to_owned(),
            &[".jsonl or .parquet"],
        ),
    ] {
        folder.bad(code, &line, words);
    }
    let compare = format!("rank compare --ranking r.st --queries queries.npy {SETS} --device host --relevance");
    for (record, words) in [
        (r#"{"query": 99, "collection": "text", "item": 1, "grade": 1}"#, &["no query \"99\""][..]),
        (r#"{"query": 1, "collection": "sound", "item": 1, "grade": 1}"#, &["no collection \"sound\"", "image, text"]),
        (r#"{"query": 1, "collection": "text", "item": 80, "grade": 1}"#, &["no item \"80\""]),
        (r#"{"query": 1, "collection": "text", "item": 8, "grade": "x"}"#, &["grade"]),
        (r#"{"query": 1, "collection": "text", "item": 8, "grade": -1}"#, &["grade", "-1"]),
        (r#"{"query": 1, "item": 8, "grade": 1}"#, &["collection"]),
    ] {
        folder.put("bad.jsonl", record.as_bytes());
        folder.bad(1, &format!("{compare} bad.jsonl"), &[&["bad.jsonl"], words].concat());
    }
    folder.put("bad.jsonl", br#"{"query": 1, "collection": "text", "item": 8, "grade": 0}"#);
    folder.bad(1, &format!("{compare} bad.jsonl"), &["bad.jsonl", "grade above 0"]);
    // Even --force replaces nothing that was read, in whatever argument it was named.
    for input in ["image.txt", "queries.npy", "more.npy", "rel.jsonl", "r.st", "titles.npy"] {
        folder.put("more.npy", &npy("<f4", &cloud(9, WIDTH, 5, 1.0), WIDTH));
        let line = format!("{compare} rel.jsonl --queries more.npy --ids image=image.txt --force --json {input}");
        folder.bad(1, &line, &[input, "is also an input"]);
    }
    folder.bad(1, "rank merge r.st --out r.st --force", &["r.st", "is also an input"]);
    folder.bad(1, "rank merge r.st ./r.st --out x.st", &["r.st", "named twice"]);
    folder.bad(1, "merge r.st r.st --out x.st", &["r.st", "named twice"]);
    folder.put("wide.npy", &npy("<f4", &cloud(9, WIDTH + 1, 4, 1.0), WIDTH + 1));
    let wide = "rank search --ranking r.st --queries wide.npy --collection text=text.npy --device host --out h.jsonl";
    folder.bad(1, wide, &["wide.npy", "13", "12"]);
}

/// A mean and a trace with noise, and no row.
#[test]
fn private_rankings_hold_no_rows() {
    let folder = folder();
    let fit = "rank fit --queries text=queries.npy --private 100,1e-6";
    let made = folder.json_line(&format!("{fit} {SETS} --out r.st --json"));
    let text = &made["collections"]["text"];
    assert_eq!((&text["rows"], &text["sample"]), (&80.into(), &0.into()));
    assert_eq!(
        (&text["private"]["epsilon"], &made["queries"]["text"]["private"]["delta"]),
        (&100.0.into(), &1e-6.into())
    );
    assert!(text["private"]["noise"].as_f64().unwrap() > 0.0, "{text}");
    folder.good(&format!("{fit} {SETS} --out again.st"));
    assert!(folder.bytes("r.st") != folder.bytes("again.st"), "two releases have one noise");
    assert_eq!(folder.json_line("info r.st --json")["collections"]["image"]["private"]["epsilon"], 100.0);
    let search = format!("rank search --ranking r.st --queries queries.npy {SETS} --out hits.jsonl --force");
    for score in ["centre", "realign", "raw", "dbsf", "rrf"] {
        folder.good(&format!("{search} --score {score}"));
        assert_eq!(records(&folder, "hits.jsonl").len(), 90, "{score}");
    }
    for score in ["quantile", "z", "nnn", "standardise"] {
        folder.bad(1, &format!("{search} --score {score}"), &["private", score]);
    }
    folder.bad(1, &format!("{search} --score centre --pass 0.1"), &["private", "cut-off"]);
    let compare =
        format!("rank compare --ranking r.st --queries queries.npy {SETS} --ids image=image.txt --relevance rel.jsonl");
    let note = folder.good(&format!("{compare} --html page.html --json found.json"));
    assert!(note.contains("nnn and standardise and z and quantile need rows") && !note.contains("--queries"), "{note}");
    let found: Value = serde_json::from_slice(&folder.bytes("found.json")).unwrap();
    let scores: Vec<&String> = found["scores"].as_object().unwrap().keys().collect();
    assert_eq!(scores.len(), 5, "{scores:?}");
    assert!(folder.good(&format!("{compare} --json again.json")).contains("need rows"));
    // What the noise leaves nothing of has no scores that are told by it.
    assert!(
        folder.good(&format!("{} --out hidden.st", format!("{fit} {SETS}").replace("100,", "0.01,"))).contains("hides")
    );
    let hidden = search.replace("r.st", "hidden.st");
    for score in ["centre", "realign"] {
        folder.bad(1, &format!("{hidden} --score {score}"), &["hides", "more rows"]);
    }
    folder.good(&format!("{hidden} --score raw"));
    // Beside a private collection, one with rows has all scores where it is searched alone.
    folder.good("rank fit --collection text=text.npy --queries text=queries.npy --out rows.st");
    folder.good(&format!("{} --out p.st", fit.replace(" --queries text=queries.npy", " --collection image=image.npy")));
    folder.good("rank merge rows.st p.st --out mixed.st");
    folder.put(
        "text.jsonl",
        &folder.bytes("rel.jsonl").split_inclusive(|b| *b == b'\n').step_by(2).collect::<Vec<_>>().concat(),
    );
    let alone =
        "rank compare --ranking mixed.st --queries queries.npy --collection text=text.npy --relevance text.jsonl";
    assert!(!folder.good(&format!("{alone} --json alone.json")).contains("left out"));
    let found: Value = serde_json::from_slice(&folder.bytes("alone.json")).unwrap();
    assert_eq!(found["scores"].as_object().unwrap().len(), 9);
    // A file that tells of rows is not private.
    let bytes = folder.bytes("r.st");
    folder.put("cut.st", &bytes[..bytes.len() - 8]);
    folder.bad(1, "info cut.st --json", &["cut.st"]);
    // Private parts merge with such alone.
    folder.good("rank fit --collection text=text.npy --private 1,1e-6 --out a.st");
    folder.good("rank merge a.st again.st --out both.st");
    assert_eq!(folder.json_line("info both.st --json")["collections"]["text"]["rows"], 160);
    folder.good("rank fit --collection text=text.npy --out open.st");
    folder.bad(1, "rank merge a.st open.st --out no.st", &["private"]);
    folder.bad(2, "rank fit --collection text=text.npy --private 1,1e-6 --sample 9 --out no.st", &["--sample"]);
}
