//! `embed`: pictures and texts to files of rows, with tiny random encoders.

use std::time::{Duration, Instant};

use super::*;

/// The golden files of the library's tests.
pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name)
}

pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

/// A folder with the models `clip` and `siglip`, and the golden pictures in `pictures`.
fn place() -> Folder {
    let folder = Folder::fresh();
    let configs: Value = serde_json::from_slice(&std::fs::read(golden("pictures/rows.json")).unwrap()).unwrap();
    for (name, from) in [("clip", "clip_gelu"), ("siglip", "siglip")] {
        copy(&golden("encoders").join(from), &folder.at(name));
        folder.put(&format!("{name}/preprocessor_config.json"), configs[from].to_string().as_bytes());
    }
    copy(&golden("pictures/files"), &folder.at("pictures"));
    folder
}

fn lines(folder: &Folder, name: &str) -> Vec<String> {
    String::from_utf8(folder.bytes(name)).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn pictures_become_rows_in_every_format() {
    let folder = place();
    let count = std::fs::read_dir(folder.at("pictures")).unwrap().count();
    for device in devices() {
        for (model, width) in [("clip", 20), ("siglip", 40)] {
            for out in ["a.npy", "a.safetensors", "a.parquet"] {
                let line =
                    format!("embed --model {model} --images pictures --out {out} --ids-out ids.txt --device {device}");
                let made = folder.json_quiet(&format!("{line} --json --force"));
                assert_eq!((&made["rows"], &made["width"]), (&count.into(), &width.into()));
                assert_eq!((&made["skipped_bad"], &made["cut"], &made["resumed"]), (&0.into(), &0.into(), &0.into()));
                assert_eq!((&made["out"], &made["ids"]), (&out.into(), &"ids.txt".into()));
                assert!(made["rows_per_second"].as_f64().unwrap() > 0.0 && made["device"].is_string());
                let info = folder.json(&["info", out, "--json"]);
                assert_eq!((&info["rows"], &info["width"]), (&count.into(), &width.into()), "{info}");
                let mut names: Vec<_> = std::fs::read_dir(folder.at("pictures"))
                    .unwrap()
                    .map(|e| e.unwrap().file_name().into_string().unwrap())
                    .collect();
                names.sort();
                assert_eq!(lines(&folder, "ids.txt"), names);
                assert!(!folder.at(&format!("{out}.unfinished")).exists());
            }
        }
    }
    // Both models' rows can be compared with the library's; here only that a norm is one, and that files of so many rows hold the same.
    folder.good("embed --model clip --images pictures --out one.npy --device host");
    folder.good("embed --model clip --images pictures --out many.npy --device host --shard-rows 20");
    let many: Vec<f32> = (0..3).flat_map(|i| floats(&folder.bytes(&format!("many_0000{i}.npy")))).collect();
    assert_eq!(floats(&folder.bytes("one.npy")), many);
    folder.good("embed --model clip --images pictures --out unit.npy --device host --normalize");
    for row in floats(&folder.bytes("unit.npy")).chunks(20) {
        assert!((row.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
    }
    folder.good("embed --model clip --images pictures --out half.npy --device host --dtype f16");
    assert!(folder.bytes("half.npy").windows(3).any(|w| w == b"<f2"));
    let white = folder.bytes("one.npy");
    folder.good("embed --model clip --images pictures --out drop.npy --device host --alpha drop");
    assert!(white != folder.bytes("drop.npy"));
}

#[test]
fn texts_become_rows() {
    let folder = place();
    let long = "a cat and a dog ".repeat(40);
    folder.put("t.txt", format!("\u{feff}a cat\r\n\r\n{long}\r\na dog").as_bytes());
    folder.put("t.jsonl", format!("{{\"id\": \"x\", \"text\": \"a cat\"}}\n{{\"id\": 7, \"text\": \"\"}}\n{{\"id\": 8, \"text\": \"{long}\"}}\n").as_bytes());
    for device in devices() {
        for model in ["clip", "siglip"] {
            let line = format!("embed --model {model} --ids-out ids.txt --force --json --device {device}");
            let made = folder.json_quiet(&format!("{line} --texts t.txt --out t.npy"));
            assert_eq!((&made["rows"], &made["cut"]), (&4.into(), &1.into()), "{made}");
            assert_eq!(lines(&folder, "ids.txt"), ["0", "1", "2", "3"]);
            let rows = floats(&folder.bytes("t.npy"));
            let made = folder.json_quiet(&format!("{line} --texts t.jsonl --out j.npy"));
            assert_eq!((&made["rows"], &made["cut"]), (&3.into(), &1.into()));
            assert_eq!(lines(&folder, "ids.txt"), ["x", "7", "8"]);
            let width = made["width"].as_u64().unwrap() as usize;
            let records = floats(&folder.bytes("j.npy"));
            let off = records.iter().zip(&rows).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(records.len() == 3 * width && off < 1e-4, "{model} {device}: {off}");
        }
    }
}

#[test]
fn bad_inputs_are_named() {
    let folder = place();
    folder.put("texts/t.txt", b"a cat\n");
    folder.put("t.jsonl", b"{\"id\": 1, \"text\": \"a\"}\n{\"id\": \"1\", \"text\": \"b\"}\n");
    folder.put("u.jsonl", b"{\"id\": 1}\n");
    folder.put("bare/readme.md", b"");
    let part = |name: &str, without: &str| {
        copy(&folder.at("clip"), &folder.at(name));
        std::fs::remove_file(folder.at(name).join(without)).unwrap();
    };
    part("no_preprocessor", "preprocessor_config.json");
    part("no_tokenizer", "tokenizer.json");
    part("no_weights", "model.safetensors");
    folder.put("llama/config.json", br#"{"model_type": "llama"}"#);
    folder.put("llama/preprocessor_config.json", &folder.bytes("clip/preprocessor_config.json"));
    let images = "--images pictures --out o.npy --device host";
    for (line, words) in [
        (format!("embed --model clip --images bare {}", "--out o.npy"), &["bare", "holds no picture"][..]),
        ("embed --model clip --images texts/t.txt --out o.npy".into(), &["t.txt", "is no picture", "texts"]),
        ("embed --model clip --images pictures/*.tiff --out o.npy".into(), &["*.tiff", "no picture"]),
        ("embed --model clip --texts pictures/rgb8.png --out o.npy".into(), &["rgb8.png", ".jsonl"]),
        ("embed --model clip --texts t.jsonl --out o.npy".into(), &["t.jsonl", "records 0 and 1", "\"1\""]),
        (
            "embed --model clip --texts u.jsonl --out o.npy --device host".into(),
            &["u.jsonl", "record 0", "\"text\"", "--skip-bad 1"],
        ),
        ("embed --model clip --images pictures/rgb8.png pictures --out o.npy".into(), &["rgb8.png", "has the id"]),
        (format!("embed --model no_preprocessor {images}"), &["no_preprocessor", "preprocessor_config.json"]),
        (
            "embed --model no_tokenizer --texts texts/t.txt --out o.npy --device host".into(),
            &["no_tokenizer", "tokenizer"],
        ),
        (format!("embed --model no_weights {images}"), &["no_weights"]),
        (format!("embed --model llama {images}"), &["llama"]),
        (format!("embed --model nowhere {images}"), &["nowhere"]),
        (
            "embed --model clip --images pictures --out o.csv --device host".into(),
            &["o.csv", ".npy, .safetensors or .parquet"],
        ),
        (
            "embed --model clip --images pictures --out no/o.npy --device host".into(),
            &["does not exist; create it first"],
        ),
        ("embed --model clip --texts texts/t.txt --out o.npy --ids-out texts/t.txt --force".into(), &["also an input"]),
    ] {
        folder.bad(1, &line, words);
    }
    for line in [
        "embed --model clip --out o.npy".to_owned(),
        "embed --model clip --images pictures --texts texts/t.txt --out o.npy".into(),
        format!("embed --model clip {images} --dtype f64"),
        format!("embed --model clip {images} --batch-size 0"),
        format!("embed --model clip {images} --skip-bad some"),
        format!("embed --model clip {images} --alpha grey"),
    ] {
        folder.bad(2, &line, &["error"]);
    }
}

#[test]
fn broken_pictures_are_errors_or_counted() {
    let folder = place();
    folder.put("pictures/zz.png", b"\x89PNG\r\n\x1a\nbroken");
    let mut bomb = folder.bytes("pictures/rgb8.png");
    bomb[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
    let crc = crc32(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&crc.to_be_bytes());
    folder.put("pictures/zy.png", &bomb);
    let line = "embed --model clip --images pictures --out o.npy --ids-out i.txt --device host";
    folder.bad(1, line, &["zy.png", "60000 x 60000", "178956970", "--skip-bad 1"]);
    folder.bad(1, &format!("{line} --skip-bad 1"), &["2 pictures", "zy.png", "zz.png", "1 may be left out"]);
    let count = std::fs::read_dir(folder.at("pictures")).unwrap().count() - 2;
    for allowed in ["2", "all"] {
        let output = folder.run(&format!("{line} --skip-bad {allowed} --json --force"));
        let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        let made: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!((&made["rows"], &made["skipped_bad"]), (&count.into(), &2.into()));
        assert!(stderr.contains("zz.png") && stderr.contains("left out"), "{stderr}");
        assert_eq!(lines(&folder, "i.txt").len(), count);
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _: u32| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// One pixel, and two lines of 30,000: rows, and no memory to speak of.
#[test]
fn odd_sizes_have_rows() {
    let folder = place();
    let wide = bmp(30_000, 2);
    folder.put("odd/wide.bmp", &wide);
    folder.put("odd/tall.bmp", &bmp(2, 30_000));
    folder.put("odd/one.bmp", &bmp(1, 1));
    let made = folder.json_quiet("embed --model clip --images odd --out o.npy --device host --json");
    assert_eq!(made["rows"], 3);
}

/// A BMP of 24 bits with a pattern.
fn bmp(width: usize, height: usize) -> Vec<u8> {
    let row = (width * 3).next_multiple_of(4);
    let mut bytes = b"BM".to_vec();
    bytes.extend(((54 + row * height) as u32).to_le_bytes());
    bytes.extend([0, 0, 0, 0, 54, 0, 0, 0, 40, 0, 0, 0]);
    bytes.extend((width as u32).to_le_bytes());
    bytes.extend((height as u32).to_le_bytes());
    bytes.extend([1, 0, 24, 0]);
    bytes.extend([0; 24]);
    bytes.extend((0..row * height).map(|i| (i * 7 % 251) as u8));
    bytes
}

/// Killed in the middle, as by a power cut, and gone on: the files of a run that did not end, and no input computed twice but those of the last
/// second.
#[test]
fn a_killed_run_goes_on() {
    let (folder, store) = (place(), Folder::fresh());
    // Each picture takes some milliseconds to decode; links cost nothing.
    store.put("big.bmp", &bmp(1200, 900));
    std::fs::create_dir(store.at("many")).unwrap();
    for i in 0..400 {
        std::fs::hard_link(store.at("big.bmp"), store.at("many").join(format!("{i:04}.bmp"))).unwrap();
    }
    let many = store.at("many").display().to_string();
    let line = format!("embed --model clip --images {many} --device host --batch-size 8 --ids-out");
    folder.good(&format!("{line} whole.txt --out whole.npy"));
    let start = Instant::now();
    let part = format!("{line} part.txt --out part.npy");
    let mut child = folder.command(&part.split_whitespace().collect::<Vec<_>>()).spawn().unwrap();
    while !folder.at("part.npy.unfinished/state.json").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before its state was kept, after {:?}", start.elapsed());
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!folder.at("part.npy").exists());
    folder.bad(1, &part, &["part.npy.unfinished", "--resume", "--force"]);
    let state = folder.bytes("part.npy.unfinished/state.json");
    let refused = folder.run(&format!("{part} --resume --normalize"));
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && stderr.contains("--resume: the run's settings changed"), "{stderr}");
    assert!(
        stderr.contains("normalize is true and was false") && folder.bytes("part.npy.unfinished/state.json") == state
    );
    let made = folder.json_quiet(&format!("{part} --resume --json"));
    let resumed = made["resumed"].as_u64().unwrap();
    assert!(made["rows"] == 400 && (1..400).contains(&resumed), "{made}");
    assert!(folder.bytes("part.npy") == folder.bytes("whole.npy"));
    assert_eq!(folder.bytes("part.txt"), folder.bytes("whole.txt"));
    assert!(!folder.at("part.npy.unfinished").exists());
    folder.bad(1, &part, &["part.txt", "exists", "--force"]);
}

/// A decoder's rows by the flags that say how; a resumed run must agree in them.
#[test]
fn decoders_are_asked_for_rows_in_their_ways() {
    let folder = Folder::fresh();
    copy(&golden("encoders/decoder_mean"), &folder.at("d"));
    copy(&golden("encoders/clip_quick"), &folder.at("m"));
    folder.put("t.txt", b"a red bicycle\nhello\n");
    let line = "embed --model d --texts t.txt --device host --json --force --out t.npy";
    let rows = |more: &str| {
        folder.json_quiet(&format!("{line} {more}"));
        floats(&folder.bytes("t.npy"))
    };
    let last = rows("");
    assert_eq!(last, rows("--pool last"));
    let others = ["--pool mean", "--bidirectional", "--prompt say:"];
    for more in others {
        let other = rows(more);
        assert!(other.len() == last.len() && other != last, "{more}");
    }
    folder.bad(2, &format!("{line} --pool best"), &["best", "mean", "last"]);
    folder.bad(2, "embed --model d --images x.png --pool mean --out i.npy", &["--pool", "--images"]);
    folder.bad(1, &format!("{line} --prompt-name query"), &["--prompt-name", "query"]);
    folder.bad(
        1,
        &format!("{line} --bidirectional").replace("--model d", "--model m"),
        &["--bidirectional", "decoders"],
    );
    folder.bad(1, &format!("{line} --projection none.safetensors"), &["none.safetensors"]);
}
