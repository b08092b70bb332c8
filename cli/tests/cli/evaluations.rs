//! Evaluations while training, as the command line asks for them and says what came of them.

use serde_json::Value;

use super::train::folder;
use super::{Folder, devices};

const STAGE1: &str = "train stage1 --model m --data texts.jsonl --embeddings text.npy --ids text_ids.txt --stats s.safetensors \
                      --init-adapter a.safetensors --batch-size 12 --accumulate 1 --lr 5e-3 --eval-data texts.jsonl";
const STAGE2: &str = "train stage2 --model m --data conversations.json --embeddings image.npy --ids image_ids.json --init-adapter \
                      a.safetensors --batch-size 12 --accumulate 1 --lr 1e-3 --eval-data conversations.json";

fn log(folder: &Folder, out: &str) -> Vec<Value> {
    let text = String::from_utf8(folder.bytes(&format!("{out}/log.jsonl"))).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What a run says of its last evaluation is what `evaluate` says of its results.
#[test]
fn numbers_while_training_are_those_of_evaluate() {
    let folder = folder();
    let evaluation = "--eval-every 10 --eval-generate 9 --eval-max-tokens 12 --eval-metric f1 --keep-best --json";
    for device in devices() {
        let device = format!("--device {device}");
        let ask = |more: &str| folder.json_line(&format!("evaluate {more} --limit 9 --max-tokens 12 --json {device}"));
        for (out, line, question) in [
            (
                "two",
                STAGE2.to_owned(),
                "--data conversations.json --embeddings image.npy --ids image_ids.json --model two/model",
            ),
            (
                "one",
                // A model that has words to say.
                STAGE1.replace("--model m", "--model two/model").replace("a.safetensors", "two/adapter.safetensors"),
                "--plain --data texts.jsonl --embeddings text.npy --ids text_ids.txt --stats s.safetensors --model two/model",
            ),
        ] {
            let run = format!("{line} --epochs 30 {evaluation} --out {out} --force {device}");
            let value = folder.json_quiet(&run);
            let exact = ask(&format!("{question} --adapter {out}/adapter.safetensors"));
            let lenient = ask(&format!("{question} --adapter {out}/adapter.safetensors --lenient"));
            assert_eq!(value["eval_exact_match"], exact["accuracy"], "{out} {value} {exact}");
            assert_eq!(value["eval_lenient_match"], lenient["accuracy"], "{out} {value} {lenient}");
            assert_eq!((&value["eval_f1"], exact["count"].as_u64()), (&exact["f1"], Some(9)), "{out} {value} {exact}");
            // What a tiny model says of a caption has no word of it; `tests/training` has one that knows some.
            let some = value["eval_f1"].as_f64() > Some(0.0);
            assert!((some || out == "one") && value["eval_loss"].is_number(), "{value}");
            let lines = log(&folder, out);
            let best = lines.iter().filter_map(|line| line["eval_f1"].as_f64()).fold(0.0, f64::max);
            let first = lines.iter().find(|line| line["eval_f1"].as_f64() == Some(best)).unwrap();
            assert_eq!((&value["best_value"], &value["best_step"]), (&first["eval_f1"], &first["step"]));
            assert_eq!(
                (value["best"].as_str(), &value["stopped_early"]),
                (Some(&*format!("{out}/best")), &Value::Null)
            );
            let question =
                if out == "two" { question.replace("two/model", "two/best/model") } else { question.to_owned() };
            let kept = ask(&format!("{question} --adapter {out}/best/adapter.safetensors"));
            assert_eq!(kept["f1"], value["best_value"]);
            let page = String::from_utf8(folder.bytes(&format!("{out}/report.html"))).unwrap();
            assert!(page.contains("Answers about held-out records") && page.contains("exact match"));
        }
    }
}

#[test]
fn a_run_that_does_not_improve_says_why_it_ended() {
    let folder = folder();
    // A difference of a thousand is no improvement.
    let line = format!(
        "{STAGE2} --epochs 50 --eval-every 2 --patience 2 --min-delta 1000 --tensorboard --out run --device host"
    );
    let output = folder.run(&format!("{line} --json"));
    let (value, stderr): (Value, _) =
        (serde_json::from_slice(&output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let why = value["stopped_early"].as_str().unwrap();
    assert!(why.contains("eval_loss has not improved by more than 1000 in 2 evaluations since step 2"), "{why}");
    assert!(stderr.contains("stopped early, after step 6 of 50"), "{stderr}");
    assert_eq!((value["step"].as_u64(), value["best_step"].as_u64(), &value["best"]), (Some(6), Some(6), &Value::Null));
    assert!(folder.at("run/adapter.safetensors").is_file() && folder.at("run/model").is_dir());
    let lines = log(&folder, "run");
    assert_eq!((lines.len(), lines[5]["stopped_early"].as_str()), (6, Some(why)));
    // The first line also says how the run was begun, and all are of a step.
    assert!(lines.iter().enumerate().all(|(i, line)| line["step"] == i + 1 && line["loss"].is_number()));
    let start = &lines[0]["start"];
    assert_eq!(
        (start["steps"].as_u64(), start["samples"].as_u64(), start["eval_samples"].as_u64()),
        (Some(50), Some(12), Some(12))
    );
    assert_eq!((&start["skipped"], &start["skipped_bad"], &start["truncated"]), (&0.into(), &0.into(), &0.into()));
    assert!(lines[1..].iter().all(|line| line.get("start").is_none()));
    let page = String::from_utf8(folder.bytes("run/report.html")).unwrap();
    assert!(page.contains("stopped early") && page.contains("0 records left out"));
    let events = std::fs::read_dir(folder.at("run")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(events.filter(|name| name.to_string_lossy().starts_with("events.out.tfevents.")).count(), 1);
    // Resumed, it has ended; with more patience it goes on.
    let again = folder.json_quiet(&format!("{line} --json --resume"));
    assert_eq!((again["steps"].as_u64(), again["stopped_early"].as_str()), (Some(0), Some(why)));
    let more = line.replace("--patience 2", "--patience 3");
    let again = folder.json_quiet(&format!("{more} --json --resume"));
    assert_eq!((again["steps"].as_u64(), again["step"].as_u64()), (Some(2), Some(8)));
}

#[test]
fn what_is_left_out_is_in_the_log() {
    let folder = folder();
    let more = "{\"id\": \"nowhere\", \"text\": \"a text without an embedding\"}\n{\"id\": \"t0\"}\n";
    folder.put("more.jsonl", &[folder.bytes("texts.jsonl"), more.as_bytes().to_vec()].concat());
    let line = STAGE1.replace("--data texts.jsonl", "--data more.jsonl");
    let line = format!("{line} --epochs 2 --skip-missing --skip-bad 1 --max-length 20 --out run --device host --json");
    let output = folder.run(&line);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    let start = &log(&folder, "run")[0]["start"];
    assert_eq!((&start["skipped"], &start["skipped_bad"]), (&1.into(), &1.into()), "{start}");
    for key in ["skipped", "skipped_bad", "truncated"] {
        assert_eq!(start[key], value[key], "{key}");
    }
    assert_eq!((&start["eval_skipped"], &start["date"]), (&0.into(), &Value::Null));
    assert!(start["truncated"].as_u64() > Some(0));
}

#[test]
fn what_evaluations_cannot_do_is_named() {
    let folder = folder();
    let run = |flags: &str| format!("{STAGE2} --out run --epochs 1 --device host {flags}");
    folder.bad(1, &run("--eval-metric f1"), &["eval_metric", "eval_generate"]);
    folder.bad(1, &run("--eval-metric best"), &["eval_metric", "best", "loss, exact_match, lenient_match, f1"]);
    folder.bad(1, &run("--min-delta -1"), &["min_delta", "at least 0"]);
    folder.bad(2, &run("--eval-generat 3"), &["--eval-generat", "--eval-generate"]);
    let none = run("--keep-best").replace("--eval-data conversations.json", "");
    folder.bad(1, &none, &["keep_best", "eval_data"]);
    let ask = "evaluate --model m --adapter a.safetensors --data conversations.json --embeddings image.npy --ids image_ids.json --device host";
    folder.bad(2, &format!("{ask} --aligner anchor"), &["--stats"]);
    folder.bad(2, &format!("{ask} --limit 0"), &["--limit"]);
}
