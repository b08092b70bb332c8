//! `experiment --images`: generated pictures, tiny encoders, a tiny language model; stopped and resumed, without questions, bad input.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use super::experiment::{results, timeless};
use super::{Folder, train};

const COLOURS: [(&str, [u8; 3]); 3] = [("red", [220, 30, 20]), ("green", [40, 180, 60]), ("blue", [30, 50, 230])];
const SHAPES: [&str; 3] = ["square", "bar", "frame"];
/// Pixels of a side.
const SIDE: usize = 24;

/// A picture of a shape on white, as BMP: lines from the bottom, blue before green before red.
fn bmp(shape: usize, colour: [u8; 3], size: usize) -> Vec<u8> {
    let pixels = 3 * SIDE * SIDE;
    let mut file = b"BM".to_vec();
    file.extend((54 + pixels as u32).to_le_bytes());
    file.extend([0; 4]);
    for word in [54u32, 40, SIDE as u32, SIDE as u32] {
        file.extend(word.to_le_bytes());
    }
    file.extend([1, 0, 24, 0]);
    for word in [0, pixels as u32, 2835, 2835, 0, 0] {
        file.extend(word.to_le_bytes());
    }
    for y in 0..SIDE {
        for x in 0..SIDE {
            let (dx, dy) = (x.abs_diff(SIDE / 2), y.abs_diff(SIDE / 2));
            let inside = match shape {
                0 => dx.max(dy) <= size,
                1 => dy <= size / 3,
                _ => (size - 1..=size).contains(&dx.max(dy)),
            };
            let [r, g, b] = if inside { colour } else { [255; 3] };
            file.extend([b, g, r]);
        }
    }
    file
}

fn golden(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name)
}

fn copy(folder: &Folder, from: &str, to: &str) {
    for entry in std::fs::read_dir(golden("encoders").join(from)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        match path.is_dir() {
            true => copy(folder, &format!("{from}/{name}"), &format!("{to}/{name}")),
            false => folder.put(&format!("{to}/{name}"), &std::fs::read(&path).unwrap()),
        }
    }
}

/// A folder with the language model `m`, the encoders `clip`, `siglip` and `minilm`, 36 pictures with captions in `plain`, and the same with
/// questions in `asked`.
fn place() -> Folder {
    let folder = train::folder();
    let configs: Value = serde_json::from_slice(&std::fs::read(golden("pictures/rows.json")).unwrap()).unwrap();
    for (name, from) in [("clip", "clip_gelu"), ("siglip", "siglip"), ("minilm", "minilm")] {
        copy(&folder, from, name);
        if configs[from].is_object() {
            folder.put(&format!("{name}/preprocessor_config.json"), configs[from].to_string().as_bytes());
        }
    }
    let (mut captions, mut questions) = (String::new(), String::new());
    for i in 0..36 {
        let (shape, (colour, rgb)) = (i % 3, COLOURS[i / 3 % 3]);
        let (name, word) = (format!("{}/{i}.bmp", SHAPES[shape]), SHAPES[shape]);
        for place in ["plain", "asked"] {
            folder.put(&format!("{place}/{name}"), &bmp(shape, rgb, 4 + i / 9));
        }
        for text in [format!("a {colour} {word}"), format!("{word}, {colour}")].iter().take(1 + i % 2) {
            captions += &format!("{}\n", json!({"image": name, "text": text}));
        }
        for (kind, question, answer) in [("colour", "what colour is it?", colour), ("shape", "what is it?", word)] {
            let turns =
                json!([{"from": "human", "value": format!("<image>\n{question}")}, {"from": "gpt", "value": answer}]);
            let record = json!({"id": format!("{i}-{kind}"), "image": name, "conversations": turns, "type": kind});
            questions += &format!("{record}\n");
        }
    }
    folder.put("plain/captions.jsonl", captions.as_bytes());
    folder.put("asked/captions.jsonl", captions.as_bytes());
    folder.put("asked/questions.jsonl", questions.as_bytes());
    folder
}

const SIZES: &str = "--model m --quick --steps 5 --asked 5 --device host";

#[test]
fn a_stopped_study_goes_on_to_the_same_results() {
    let folder = place();
    let line = format!("experiment --images asked --vision-model clip --cache kept --seeds 2 {SIZES}");
    let whole = folder.json_quiet(&format!("{line} --json --out whole"));
    assert_eq!(whole, results(&folder, "whole"));
    // Rows of both towers are kept for whoever asks next.
    let kept: Vec<String> =
        std::fs::read_dir(folder.at("kept")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(["pictures-", "texts-"].iter().all(|kind| kept.iter().any(|name| name.starts_with(kind))), "{kept:?}");
    let kind = (&whole["format"], &whole["kind"], &whole["finished"], &whole["asks"]);
    assert_eq!(kind, (&json!("realign-experiment"), &json!("pictures"), &json!(true), &json!(true)));
    assert_eq!(whole["runs"].as_array().unwrap().len(), 8);
    let names: Vec<&str> = whole["rows"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["no stage 1", "no alignment", "realign", "paired images"]);
    for row in whole["rows"].as_array().unwrap() {
        for key in ["captions", "caption_f1", "caption_nll", "answers_before", "answers_after"] {
            let spread = &row[key];
            assert!(spread["seeds"] == 2 && spread["mean"].as_f64().unwrap().is_finite(), "{row}");
        }
    }
    for (run, seed) in whole["runs"].as_array().unwrap().iter().zip([0, 1].repeat(4)) {
        assert_eq!((&run["seed"], run["said"].as_array().unwrap().len()), (&json!(seed), 5));
        let answers = run["answers"].as_array().unwrap();
        // 15% of 36 pictures, each with two conversations.
        assert_eq!((&answers[0]["conversations"], &answers[1]["conversations"]), (&json!(0), &json!(10)));
        assert_eq!((&answers[1]["count"], run["captions"]["count"].as_u64()), (&json!(5), Some(5)));
        let aligned = ["no alignment", "realign"].contains(&run["name"].as_str().unwrap());
        assert_eq!((run["statistics"].is_object(), run["aligned"].is_object()), (aligned, aligned), "{run}");
    }
    for shared in whole["preparations"].as_array().unwrap() {
        let parts = &shared["parts"];
        assert_eq!(
            parts,
            &json!({
                "pairs": 19, "pool": 5, "instruction": 5, "test": 7, "asked": 5, "captions": parts["captions"],
                "conversations": 10, "questions": 5,
            })
        );
        assert!(shared["gap"].as_f64().unwrap() > 0.0 && shared["commonest_answer"]["accuracy"].is_number());
        assert_eq!(shared["width"], 20);
    }
    let table = String::from_utf8(folder.bytes("whole/results.md")).unwrap();
    assert!(table.contains("| paired images |") && table.contains("answers after it"), "{table}");
    assert!(String::from_utf8(folder.bytes("whole/report.html")).unwrap().contains("The experiment on pictures"));
    // The same, stopped by SIGKILL after its third row.
    let stopped = format!("{line} --out stopped");
    let mut command = folder.command(&stopped.split(' ').collect::<Vec<_>>());
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let last = stderr.lines().map_while(Result::ok).find(|line| line.starts_with("3/8 rows"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(last.is_some(), "three rows were never reported");
    let kept = results(&folder, "stopped")["runs"].as_array().unwrap().len();
    assert!((3..8).contains(&kept), "{kept} runs");
    for (other, words) in [
        (line.replace("--steps 5", "--steps 6"), "settings.stage1.steps"),
        (format!("{line} --text-model clip"), "text_model"),
        (line.replace("asked --vision", "plain --vision"), "inputs.images"),
    ] {
        folder.bad(1, &format!("{other} --out stopped --resume"), &[words]);
    }
    // This one takes the folder's lock, which the killed one left, before it looks.
    let digits = folder.run("experiment --quick --device host --out stopped --resume");
    let said = String::from_utf8(digits.stderr).unwrap();
    assert!(digits.status.code() == Some(1) && said.contains("is of pictures"), "{said}");
    let stderr = folder.good(&format!("{stopped} --resume"));
    assert_eq!(stderr.lines().filter(|l| l.contains("words right")).count(), 8 - kept, "rows were run again: {stderr}");
    assert_eq!(timeless(results(&folder, "stopped")), timeless(whole));
    folder.bad(1, &stopped, &["--force"]);
}

#[test]
fn towers_that_are_trained_here_and_no_questions() {
    let folder = place();
    for (encoder, width, towers) in [
        ("", 64, json!({"images": "trained here", "texts": "trained here"})),
        (
            "--text-model minilm --cache kept",
            30,
            json!({"images": "trained here against the texts' rows", "texts": "of the text model"}),
        ),
    ] {
        let line = format!("experiment --images plain {encoder} --seeds 1 {SIZES} --json --force --out own");
        let made = folder.json_quiet(&line);
        assert_eq!((&made["encoders"], &made["asks"]), (&towers, &json!(false)));
        let shared = &made["preparations"][0];
        assert_eq!((&shared["width"], &shared["parts"]["instruction"]), (&json!(width), &json!(0)));
        assert!(made["runs"].as_array().unwrap().iter().all(|run| run["answers"] == json!([])));
        assert!(made["rows"][0]["answers_after"]["mean"].is_null());
        let table = String::from_utf8(folder.bytes("own/results.md")).unwrap();
        assert!(table.contains("Stage 2 was left out") && !table.contains("answers after it"), "{table}");
    }
}

#[test]
fn every_aligner_has_a_row() {
    let folder = place();
    let line =
        format!("experiment --images plain --vision-model clip --cache kept --full --seeds 1 {SIZES} --json --out all");
    let made = folder.json_quiet(&line);
    let names: Vec<&str> = made["rows"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 15, "{names:?}");
    for name in [
        "mean shift (anchor alone)",
        "anchor and trace",
        "blockwise",
        "ot",
        "anisoalign",
        "anisoalign full",
        "c3, σ by traces",
        "realign + noise 0.1",
    ] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    let gap = |name: &str| {
        let run = made["runs"].as_array().unwrap().iter().find(|run| run["name"] == name).unwrap();
        run["aligned"]["gap_held_out"].as_f64().unwrap()
    };
    assert!(gap("mean shift (anchor alone)") < gap("no alignment"), "{made}");
    assert_eq!(made["expectations"].as_array().unwrap().len(), 7);
}

#[test]
fn what_does_not_fit_is_named_before_anything_is_written() {
    let folder = place();
    let line = |images: &str, more: &str| format!("experiment --images {images} --seeds 1 {SIZES} --out no {more}");
    folder.put("empty/a.txt", b"");
    folder.bad(1, &line("empty", ""), &["captions.jsonl"]);
    folder.put("lost/captions.jsonl", b"{\"image\": \"x.png\", \"text\": \"a cat\"}\n");
    folder.bad(1, &line("lost", ""), &["names the picture \"x.png\"", "lost"]);
    folder.put("few/captions.jsonl", b"{\"image\": \"x.bmp\", \"text\": \"a red bar\"}\n");
    folder.put("few/x.bmp", &bmp(1, [255, 0, 0], 5));
    folder.bad(1, &line("few", ""), &["--images", "1 pictures", "12"]);
    folder.bad(1, &line("plain", "--vision-model clip --text-model siglip"), &["text_model", "24", "20"]);
    std::fs::remove_file(folder.at("siglip/preprocessor_config.json")).unwrap();
    folder.bad(1, &line("plain", "--vision-model siglip"), &["preprocessor_config.json"]);
    folder.bad(1, &line("plain", "").replace("--model m", "--model none"), &["none"]);
    folder.bad(2, "experiment --images plain --quick", &["--model"]);
    folder.bad(2, "experiment --vision-model clip", &["--images"]);
    folder.bad(2, &line("plain", "--jobs 2"), &["--jobs"]);
    folder.put("mine/results.json", b"{\"accuracy\": 0.9}");
    folder.bad(1, &line("plain", "--force").replace("--out no", "--out mine"), &["choose another folder"]);
    // A picture that is none is met later: results are left as they were.
    folder.put("plain/square/0.bmp", b"BMnothing");
    let output = folder.run(&line("plain", "--vision-model clip --cache kept"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && stderr.contains("square/0.bmp"), "{stderr}");
    assert_eq!(results(&folder, "no")["finished"], false);
}
