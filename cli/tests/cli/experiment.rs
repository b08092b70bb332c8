//! `experiment` and `demo` from outside: the same for any number of jobs, stopped and resumed, folders of others left alone.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use super::Folder;

/// Without what depends on time.
pub fn timeless(mut value: Value) -> Value {
    match &mut value {
        Value::Object(map) => {
            map.remove("seconds");
            map.values_mut().for_each(|v| *v = timeless(v.take()));
        }
        Value::Array(list) => list.iter_mut().for_each(|v| *v = timeless(v.take())),
        _ => (),
    }
    value
}

pub fn results(folder: &Folder, out: &str) -> Value {
    serde_json::from_slice(&folder.bytes(&format!("{out}/results.json"))).unwrap()
}

const QUICK: &str = "experiment --quick --seeds 2 --device host";

#[test]
fn any_number_of_jobs_gives_the_same_results_also_after_a_stop() {
    let folder = Folder::fresh();
    let whole = folder.json_quiet(&format!("{QUICK} --jobs 1 --json --out one"));
    assert_eq!(whole, results(&folder, "one"));
    assert_eq!((&whole["format"], &whole["finished"]), (&json!("realign-experiment"), &json!(true)));
    assert_eq!(whole["runs"].as_array().unwrap().len(), 8);
    assert_eq!(whole["preparations"].as_array().unwrap().len(), 2);
    assert!(folder.at("one/report.html").exists());
    // Another number of jobs, stopped by SIGKILL after the first rows.
    let line = format!("{QUICK} --jobs 3 --out three");
    let mut command = folder.command(&line.split(' ').collect::<Vec<_>>());
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let last = stderr.lines().map_while(Result::ok).find(|line| line.starts_with("3/8 rows"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(last.is_some(), "three rows were never reported");
    let kept = results(&folder, "three");
    let runs = kept["runs"].as_array().unwrap();
    assert!((2..8).contains(&runs.len()) && kept["finished"] == false, "{} runs", runs.len());
    for run in runs {
        assert!(whole["runs"].as_array().unwrap().iter().any(|r| timeless(r.clone()) == timeless(run.clone())));
    }
    let stderr = folder.good(&format!("{line} --resume"));
    let said = stderr.lines().filter(|l| l.contains("captions")).count();
    assert_eq!(said, 8 - runs.len(), "rows were run again");
    assert_eq!(timeless(results(&folder, "three")), timeless(whole));
    folder.bad(1, "experiment --seeds 2 --device host --out three --resume", &["--quick"]);
}

#[test]
fn folders_of_others_are_left_alone() {
    let folder = Folder::fresh();
    folder.put("mine/results.json", b"{\"accuracy\": 0.9}");
    folder.put("notes/unfinished", b"");
    for (line, out) in [("demo", "mine"), ("demo", "notes"), ("experiment", "mine"), ("experiment", "notes")] {
        folder.bad(1, &format!("{line} --force --quick --device host --out {out}"), &["choose another folder"]);
    }
    folder.bad(1, "experiment --resume --quick --device host --out mine", &["nothing to resume"]);
}

/// Ctrl-C, in whatever task it comes: exit 130, no page, and the folder can be used again with --force.
#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_demo_without_half_a_page() {
    let folder = Folder::fresh();
    let line = "demo --quick --device host --out d";
    for task in ["dual encoder", "no alignment: stage 1", "no alignment: stage 2"] {
        let mut command = folder.command(&format!("{line} --force").split(' ').collect::<Vec<_>>());
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        assert!(stderr.by_ref().any(|l| l.starts_with(task)), "{task} was never begun");
        let killed = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let said: Vec<String> = stderr.collect();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{task}: {said:?}");
        assert!(said.iter().any(|l| l.contains("stopped by Ctrl-C")) && output.stdout.is_empty(), "{task}: {said:?}");
        assert!(!folder.at("d/report.html").exists() && results(&folder, "d")["finished"] == false);
    }
    folder.bad(1, line, &["--force"]);
}

#[test]
fn a_folder_that_another_process_writes_into() {
    let folder = Folder::fresh();
    folder.put("ours/results.json", b"{\"format\": \"realign-experiment\", \"finished\": false}");
    folder.put("ours/run/half", b"done");
    let lock = realign::io::FolderLock::acquire(&folder.at("ours")).unwrap();
    for line in ["demo --force", "experiment --force", "experiment --resume"] {
        let words = ["another process", "ours", "another folder"];
        folder.bad(1, &format!("{line} --quick --device host --out ours"), &words);
    }
    assert!(folder.at("ours/run/half").is_file());
    drop(lock);
}
