//! Training and asking from outside: kill and resume, JSON, bad input.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Folder, devices};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name)
}

/// A folder with a tiny model `m`, its adapter `a.safetensors`, texts, conversations, embeddings and statistics.
pub fn folder() -> Folder {
    let folder = Folder::fresh();
    let copy = |from: &str, to: &str| folder.put(to, &std::fs::read(golden(from)).unwrap());
    copy("models/llama.config.json", "m/config.json");
    copy("models/llama.safetensors", "m/model.safetensors");
    copy("models/llama.safetensors", "a.safetensors");
    copy("tokenizers/llama/tokenizer.json", "m/tokenizer.json");
    copy("tokenizers/llama/tokenizer_config.json", "m/tokenizer_config.json");
    for name in ["texts.jsonl", "conversations.json", "text.npy", "image.npy", "text_ids.txt", "image_ids.json"] {
        copy(&format!("training/{name}"), name);
    }
    folder.good("fit --source text.npy --target image.npy --out s.safetensors --device host");
    folder
}

const STAGE1: &str = "train stage1 --model m --data texts.jsonl --embeddings text.npy --ids text_ids.txt --stats s.safetensors \
                      --init-adapter a.safetensors --batch-size 4 --accumulate 2 --lr 5e-3 --noise 0.05";
const STAGE2: &str = "train stage2 --model m --data conversations.json --embeddings image.npy --ids image_ids.json --init-adapter \
                      a.safetensors --batch-size 12 --accumulate 1 --lr 1e-3";

fn log(folder: &Folder, out: &str) -> Vec<Value> {
    let text = String::from_utf8(folder.bytes(&format!("{out}/log.jsonl"))).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Uniform numbers from 0 to 1.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Every file of a run's results and its log, by name.
fn results(folder: &Folder, out: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let wanted = |path: &Path| path.extension().is_some_and(|e| e == "safetensors") || path.ends_with("log.jsonl");
    let root = folder.at(out);
    let inside =
        folder.tree().into_iter().filter_map(|(path, bytes)| Some((path.strip_prefix(&root).ok()?.to_owned(), bytes)));
    inside.filter(|(path, _)| wanted(path) && !path.starts_with("checkpoints")).collect()
}

/// Kills a run with SIGKILL at random moments, as often as `kills`, and lets it resume to its end.
fn kill_and_resume(folder: &Folder, line: &str, out: &str, (kills, whole): (u32, Duration), random: &mut Random) {
    let (mut killed, mut scale) = (0, 1.0);
    while killed < kills {
        // At first somewhere in the middle; then sooner, for less is left to do.
        let delay = whole.mul_f64(scale * (0.15 + 0.6 * random.next()) / f64::from(1 + killed));
        println!("{out}: killed after {} ms of about {}", delay.as_millis(), whole.as_millis());
        let resumed = format!("{line} --resume");
        let mut command = folder.command(&resumed.split_whitespace().collect::<Vec<_>>());
        let mut child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(delay);
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert!(cfg!(not(unix)) || status.code().is_none_or(|code| code == 0), "{line}: {status}");
        if status.success() {
            // It was faster than the run without interruption: once more, from the beginning.
            std::fs::remove_dir_all(folder.at(out)).unwrap();
            (killed, scale) = (0, scale / 2.0);
            assert!(scale > 0.01, "the run always ends before it is killed");
        } else {
            killed += 1;
        }
    }
    folder.good(&format!("{line} --resume"));
}

/// The moments are drawn with `REALIGN_TEST_SEED`, by default the time, which is printed.
#[test]
fn killed_at_any_moment_a_run_resumes_to_the_same_weights() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = std::env::var("REALIGN_TEST_SEED").ok().filter(|text| !text.is_empty());
    let seed = seed.map_or(now, |text| text.parse().expect("REALIGN_TEST_SEED must be a number"));
    println!("REALIGN_TEST_SEED={seed}");
    let mut random = Random(seed.wrapping_mul(2).wrapping_add(1));
    let folder = folder();
    for device in devices() {
        let lora = format!("{STAGE2} --train lora --lora-rank 3 --epochs 16 --merge-lora");
        let (one, two) = (format!("{STAGE1} --epochs 60"), format!("{STAGE2} --epochs 16"));
        // How many files are left: the adapter and the log, the decoder, the additions.
        for (mode, line, files) in [("stage1", one, 2), ("stage2", two, 3), ("lora", lora, 4)] {
            let line = format!("{line} --checkpoint-every 1 --device {device}");
            let (whole, out) = (format!("{mode}-whole-{device}"), format!("{mode}-killed-{device}"));
            let began = Instant::now();
            folder.good(&format!("{line} --out {whole}"));
            let kills = (2, began.elapsed());
            kill_and_resume(&folder, &format!("{line} --out {out}"), &out, kills, &mut random);
            let (a, b) = (results(&folder, &whole), results(&folder, &out));
            assert_eq!(a.len(), files, "{:?}", a.iter().map(|(path, _)| path).collect::<Vec<_>>());
            for ((name, bytes), (_, again)) in a.iter().zip(&b) {
                assert!(bytes == again, "{device} {mode}: {} differs", name.display());
            }
            assert_eq!(a.len(), b.len());
        }
    }
}

#[test]
#[cfg(unix)]
fn ctrl_c_saves_and_stops() {
    let folder = folder();
    let line = format!("{STAGE1} --epochs 100000 --checkpoint-every 0 --out run --device host");
    let mut command = folder.command(&line.split_whitespace().collect::<Vec<_>>());
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    // The folder's log is there once training has begun.
    while std::fs::metadata(folder.at("run/log.jsonl")).map_or(0, |m| m.len()) == 0 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let status = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut text = String::new();
    std::io::Read::read_to_string(&mut stderr, &mut text).unwrap();
    assert!(text.contains("saved") && text.contains("--resume"), "{text}");
    let steps = log(&folder, "run").len();
    let saved = folder.at(&format!("run/checkpoints/step-{steps:08}"));
    assert!(saved.is_dir(), "{} is not there", saved.display());
    // What was logged so far has its page.
    assert!(String::from_utf8(folder.bytes("run/report.html")).unwrap().contains("<svg"));
    assert!(folder.bytes("run/loss.svg").starts_with(b"<svg"));
}

#[test]
fn a_run_that_fails_has_its_page() {
    let folder = folder();
    let output = folder.run(&format!("{STAGE2} --lr 1e30 --clip 0 --epochs 50 --out run --device host"));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && stderr.contains("training stopped"), "{stderr}");
    assert!(!log(&folder, "run").is_empty());
    assert!(String::from_utf8(folder.bytes("run/report.html")).unwrap().contains("<svg"));
}

/// `--precision` in every command that has it: said in the result, near f32, and refused where it is none.
#[test]
fn mixed_precision_is_asked_for_and_said() {
    let folder = folder();
    for device in devices() {
        let run =
            |more: &str| folder.json_quiet(&format!("{STAGE2} --epochs 3 --force --device {device} --json {more}"));
        let (plain, mixed) = (run("--out a"), run("--out b --precision mixed"));
        assert_eq!((&plain["precision"], &mixed["precision"]), (&"f32".into(), &"mixed".into()));
        assert_eq!((&mixed["skipped_steps"], &mixed["step"]), (&0.into(), &plain["step"]));
        let near = |a: &Value, b: &Value| {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            a != b && (a - b).abs() < 3e-3 * b.abs()
        };
        assert!(near(&mixed["loss"], &plain["loss"]), "{mixed} {plain}");
        assert!(
            folder
                .good(&format!("{STAGE2} --epochs 3 --out c --force --device {device} --precision mixed"))
                .contains("computes in mixed on ")
        );
        let ask = format!(
            "score --model m --adapter a.safetensors --data conversations.json --embeddings image.npy --ids image_ids.json --device {device} --json"
        );
        let (plain, mixed) = (folder.json_quiet(&ask), folder.json_quiet(&format!("{ask} --precision mixed")));
        assert_eq!(mixed["precision"], "mixed");
        assert!(near(&mixed["token_nll"], &plain["token_nll"]), "{mixed} {plain}");
        let ask = format!(
            "generate --model m --adapter a.safetensors --prompt what --max-tokens 4 --device {device} --json --precision mixed"
        );
        assert_eq!(folder.json_quiet(&ask)["precision"], "mixed");
    }
    let output = folder.run("generate --model m --adapter a.safetensors --prompt what --precision half");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && stderr.contains("choose f32 or mixed"), "{stderr}");
}

/// `--weights q8_0` in every command that has it: near what the files' numbers give, and not the same; refused where it is none.
#[test]
fn weights_in_blocks_are_asked_for() {
    let folder = folder();
    for device in devices() {
        let near = |a: &Value, b: &Value| {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            a != b && (a - b).abs() < 1e-2 * b.abs()
        };
        let common = format!("--force --device {device} --json --epochs 3");
        for (command, place) in [(STAGE1, "one"), (&format!("{STAGE2} --train lora --merge-lora"), "two")] {
            let run = |more: &str| folder.json_quiet(&format!("{command} {common} --out {place} {more}"));
            let (plain, blocks) = (run(""), run("--weights q8_0"));
            assert!(near(&blocks["loss"], &plain["loss"]), "{blocks} {plain}");
        }
        let data = "--data conversations.json --embeddings image.npy --ids image_ids.json";
        let ask = format!("score --model m --adapter a.safetensors {data} --device {device} --json");
        let (plain, blocks) = (folder.json_quiet(&ask), folder.json_quiet(&format!("{ask} --weights q8_0")));
        assert!(near(&blocks["token_nll"], &plain["token_nll"]), "{blocks} {plain}");
        for command in [format!("evaluate {data}"), "generate --prompt what".to_owned()] {
            let line = format!("{command} --model m --adapter a.safetensors --max-tokens 4 --device {device} --json");
            let (plain, blocks) = (folder.json_quiet(&line), folder.json_quiet(&format!("{line} --weights q8_0")));
            assert_eq!(plain.as_object().unwrap().len(), blocks.as_object().unwrap().len(), "{line}");
        }
    }
    for (line, words) in [
        (format!("{STAGE2} --out c --weights q4_0"), "q8_0"),
        (format!("{STAGE2} --out c --weights q8_0 --train all"), "frozen"),
        ("generate --model m --adapter a.safetensors --prompt what --weights q4_0".to_owned(), "q8_0"),
    ] {
        let output = folder.run(&line);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains(words), "{line}: {stderr}");
    }
}

#[test]
fn warnings_are_seen_and_counted() {
    let folder = folder();
    let more = "{\"id\": \"nowhere\", \"text\": \"a text without an embedding\"}\n";
    let texts = [folder.bytes("texts.jsonl"), more.as_bytes().to_vec()].concat();
    folder.put("texts.jsonl", &texts);
    let line = format!("{STAGE1} --epochs 1 --skip-missing --max-length 20 --out run --device host --json");
    let output = folder.run(&line);
    let stderr = String::from_utf8(output.stderr).unwrap();
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["skipped"].as_u64(), Some(1), "{value}");
    let cut = value["truncated"].as_u64().unwrap();
    assert!(cut > 0 && cut < 13, "{value}");
    for word in [&format!("{cut} of 13 samples were cut"), "warning: texts.jsonl: 1 of 13 records", "\"nowhere\""] {
        assert!(stderr.contains(word), "{word:?} is not in: {stderr}");
    }
    // Every line is a warning of ours or tells the progress.
    let known = |line: &str| ["warning: ", "step ", "computes in f32 on "].iter().any(|start| line.starts_with(start));
    assert!(stderr.lines().all(known), "{stderr}");
    let stage2 = format!("{STAGE2} --stats s.safetensors --epochs 1 --out two --device host");
    assert!(folder.good(&stage2).contains("warning: stats is ignored"));

    let records = r#"[{"id": 1, "image": "i0", "question": "what?", "answer": "x"}, {"id": 2, "image": "none", "question": "what?",
        "answer": "x"}]"#;
    folder.put("q.json", records.as_bytes());
    let ask = "--model m --adapter a.safetensors --embeddings image.npy --device host --json --skip-missing";
    let evaluated = folder.json_quiet(&format!("evaluate {ask} --data q.json --ids image_ids.json --max-tokens 2"));
    assert_eq!((evaluated["skipped"].as_u64(), evaluated["count"].as_u64()), (Some(1), Some(1)));
    let ask = ask.replace("image.npy", "text.npy");
    let scored = folder.json_quiet(&format!("score {ask} --data texts.jsonl --ids text_ids.txt --max-length 20"));
    assert_eq!((scored["skipped"].as_u64(), scored["truncated"].as_u64().unwrap() > 0), (Some(1), true));
}

#[test]
fn settings_come_from_a_file_and_flags_go_before_it() {
    let folder = folder();
    let config = "model = \"m\"\ndata = \"texts.jsonl\"\nembeddings = [\"text.npy\"]\nids = \"text_ids.txt\"\n\
                  stats = \"s.safetensors\"\nlr = 0.5\nmax_steps = 5\nout = \"run\"\nlog_every = 2\n";
    folder.put("run.toml", config.as_bytes());
    let value = folder.json_quiet(
        "train stage1 --config run.toml --lr 1e-3 --eval-data texts.jsonl --eval-every 4 --device host --json",
    );
    assert_eq!((value["step"].as_u64(), value["steps"].as_u64()), (Some(5), Some(5)));
    assert!(value["eval_loss"].as_f64().unwrap() > 0.0 && value["tokens_per_second"].as_f64().unwrap() > 0.0);
    let lines = log(&folder, "run");
    assert_eq!(lines.iter().map(|l| l["step"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 4, 5]);
    for key in ["step", "loss", "lr", "grad_norm", "tokens"] {
        assert!(lines.iter().all(|line| line[key].is_number()), "{key}");
    }
    assert_eq!(lines.iter().map(|l| l.get("eval_loss").is_some()).collect::<Vec<_>>(), [false, true, true]);
    assert!(lines.iter().all(|line| line["lr"].as_f64().unwrap() <= 1e-3));
    let page = String::from_utf8(folder.bytes("run/report.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("held out"));
    let settings = String::from_utf8(folder.bytes("run/run.toml")).unwrap();
    assert!(settings.contains("lr = 0.001") && settings.contains("max_steps = 5"), "{settings}");
}

#[test]
fn what_was_trained_is_scored_asked_and_evaluated() {
    let folder = folder();
    for device in devices() {
        let out = format!("run-{device}");
        folder.good(&format!("{STAGE2} --epochs 50 --weight-decay 0.1 --out {out} --device {device}"));
        let model = format!("--model {out}/model --adapter {out}/adapter.safetensors --device {device}");
        let data = "--data conversations.json --embeddings image.npy --ids image_ids.json";
        let scored = folder.json_line(&format!("score {model} {data} --json"));
        assert_eq!((scored["count"].as_u64(), scored["tokens"].as_u64()), (Some(12), Some(214)));
        let samples = scored["samples"].as_array().unwrap();
        let mean = samples.iter().map(|s| s["nll"].as_f64().unwrap()).sum::<f64>() / 12.0;
        assert!((scored["mean_nll"].as_f64().unwrap() - mean).abs() < 1e-12 && mean < 0.1, "{mean}");
        assert_eq!(samples[3]["id"], "c3");
        let evaluated = folder.json_line(&format!("evaluate {model} {data} --predictions {out}/p.jsonl --json"));
        assert_eq!((evaluated["accuracy"].as_f64(), evaluated["count"].as_u64()), (Some(1.0), Some(12)), "{evaluated}");
        assert!(evaluated["ci_low"].as_f64().unwrap() < 0.8 && evaluated["types"]["all"].is_object());
        let predictions = String::from_utf8(folder.bytes(&format!("{out}/p.jsonl"))).unwrap();
        assert_eq!(predictions.lines().count(), 12);
        let first: Value = serde_json::from_str(predictions.lines().nth(1).unwrap()).unwrap();
        let question = first["question"].as_str().unwrap().trim_start_matches("<image>\n").to_owned();
        let embedding = ["--image-embedding", "image.npy", "--row", "1", "--prompt", &question];
        let base: Vec<&str> = model.split_whitespace().collect();
        let mut args = vec!["generate", "--json"];
        args.extend(base.iter().chain(&embedding));
        let said = folder.json(&args);
        assert_eq!((said["text"].as_str(), said["end"].as_str()), (first["prediction"].as_str(), Some("finished")));
        args.remove(1);
        let streamed = folder.run_args(&args);
        assert_eq!(String::from_utf8(streamed.stdout).unwrap().trim(), said["text"].as_str().unwrap());
    }
}

#[test]
fn questions_have_types_and_several_right_answers() {
    let folder = folder();
    let records = r#"[{"id": 1, "image": "i0", "question": "what?", "answer": ["x", "y"], "type": "b"},
        {"id": 2, "image": "i1", "question": "<image> how?", "answer": 3, "question_type": "a"},
        {"id": 3, "question": "without an image?", "answer": "z", "category": "a"}]"#;
    folder.put("q.json", records.as_bytes());
    let line = "evaluate --model m --adapter a.safetensors --data q.json --embeddings image.npy --ids image_ids.json --max-tokens 2 \
                --device host";
    let value = folder.json_line(&format!("{line} --json"));
    assert_eq!((value["types"]["a"]["count"].as_u64(), value["types"]["b"]["count"].as_u64()), (Some(2), Some(1)));
    assert!(String::from_utf8(folder.run(line).stdout).unwrap().contains("overall"));
    folder.put("bad.json", br#"[{"id": 1, "image": "nowhere", "question": "what?", "answer": "x"}]"#);
    folder.bad(1, &line.replace("q.json", "bad.json"), &["bad.json", "nowhere", "--skip-missing"]);
    folder.put("bad.json", br#"[{"id": 1, "question": "what?"}]"#);
    folder.bad(1, &line.replace("q.json", "bad.json"), &["bad.json", "record 0", "answer"]);
}

#[test]
fn mistakes_are_named_and_leave_nothing_behind() {
    let folder = folder();
    let run = |flags: &str| format!("{STAGE1} --out run --epochs 1 --device host {flags}");
    folder.bad(1, &run("--batch-size 0"), &["batch_size", "at least 1"]);
    folder.bad(1, &run("--lr fast"), &["lr", "fast"]);
    folder.bad(1, &run("--aligner best"), &["aligner", "best"]);
    folder.bad(1, &run("--aligner centre"), &["aligner", "moves the pictures, too", "mean-shift"]);
    folder.bad(1, &run("--train all"), &["train", "stage 1"]);
    folder.bad(2, &run("--bach-size 3"), &["--bach-size", "--batch-size"]);
    folder.bad(2, &run("--resume --force"), &["--resume", "--force"]);
    folder.bad(1, "train stage1 --device host", &["model is missing", "--model"]);
    folder.bad(1, "train stage1 --config none.toml --device host", &["none.toml"]);
    folder.bad(
        1,
        &run("").replace("text_ids.txt", "image_ids.json"),
        &["texts.jsonl", "have no embedding", "--skip-missing"],
    );
    folder.bad(1, &run("").replace("texts.jsonl", "conversations.json"), &["conversations.json", "line", "text"]);
    folder.bad(1, &run("").replace("--model m", "--model nowhere"), &["nowhere"]);
    let ask = "generate --model m --adapter a.safetensors --device host";
    folder.bad(1, &format!("{ask} --image-embedding image.npy --prompt x"), &["image.npy", "12 rows", "--row"]);
    folder.bad(1, &format!("{ask} --image-embedding image.npy --row 12 --prompt x"), &["12 rows", "no row 12"]);
    folder.bad(2, ask, &["--prompt"]);
    folder.bad(1, &format!("{ask} --prompt <image>"), &["--prompt", "<image>"]);
    folder.bad(1, &format!("{ask} --prompt x --temperature -1"), &["temperature"]);
    let score = "score --model m --adapter a.safetensors --data texts.jsonl --embeddings text.npy --device host";
    folder.bad(1, score, &["text.npy", "--ids"]);
    folder.bad(1, &format!("{score} --ids none.txt"), &["none.txt"]);
}

/// A GGUF file stands where a folder does; text is asked without an adapter; and a folder becomes a file.
#[test]
fn gguf_files_are_models() {
    let folder = folder();
    folder.put("g.gguf", &std::fs::read(golden("gguf/llama.gguf")).unwrap());
    let line = "train stage1 --model g.gguf --data texts.jsonl --embeddings text.npy --ids text_ids.txt --stats s.safetensors --epochs 1 \
                --device host --out run";
    folder.good(line);
    folder.good(&line.replace("g.gguf", "m").replace("--out run", "--out other"));
    let ask = "generate --model g.gguf --prompt what --max-tokens 4 --device host --json";
    let (alone, with) = (folder.json_line(ask), folder.json_line(&format!("{ask} --adapter run/adapter.safetensors")));
    assert_eq!((&alone["text"], &alone["tokens"]), (&with["text"], &with["tokens"]));
    folder.bad(2, &format!("{ask} --image-embedding image.npy --row 0"), &["--adapter"]);
    let seen = format!("{ask} --image-embedding image.npy --row 0 --adapter run/adapter.safetensors");
    // The golden embeddings are not of length 1, as those that the adapter learnt from, which is said.
    assert!(folder.good(&seen).contains("learnt from rows of length 1"));
    assert_eq!(folder.json_quiet(&seen)["prompt_tokens"].as_u64(), alone["prompt_tokens"].as_u64().map(|n| n + 2));
    let stage2 = "train stage2 --model g.gguf --data conversations.json --embeddings image.npy --ids image_ids.json --init-adapter \
                  run/adapter.safetensors --train lora --lora-rank 2 --merge-lora --max-steps 2 --device host --out two";
    folder.good(stage2);
    let value = folder.json_line("export --model two/model --out two.gguf --type q8_0 --json");
    assert_eq!(value["bytes"].as_u64(), Some(folder.bytes("two.gguf").len() as u64));
    folder.bad(1, "export --model two/model --out two.gguf", &["two.gguf", "--force"]);
    folder.bad(1, "export --model two.gguf --out three.gguf", &["two.gguf", "GGUF file already"]);
    folder.bad(2, "export --model two/model --out three.gguf --type q4_0", &["q4_0", "q8_0"]);
    let said = folder.json_line(&ask.replace("g.gguf", "two.gguf"));
    assert_eq!(said["prompt_tokens"], alone["prompt_tokens"]);
    let info = folder.json_line("info two.gguf --json");
    assert_eq!(
        (&info["kind"], &info["architecture"], &info["tokenizer"]),
        (&"gguf".into(), &"llama".into(), &"gpt2".into())
    );
    assert!(info["types"]["Q8_0"].as_u64() > Some(10) && info["parameters"] == value["parameters"], "{info}");
    let cut = folder.bytes("two.gguf");
    folder.put("cut.gguf", &cut[..cut.len() / 2]);
    folder.bad(1, &ask.replace("g.gguf", "cut.gguf").replace(" --json", ""), &["cut.gguf", "truncated"]);
}
