//! One process at a time trains into a folder; the lock of one that is killed is gone.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use realign::device::Device;
use realign::io::FolderLock;
use realign::train::{Run, Stage, Start};

use super::refused;
use super::runs::{finish, setup};

/// Set in the other process: the folder that it locks.
const FOLDER: &str = "REALIGN_TEST_LOCKED_FOLDER";

/// Another process that holds the lock of a folder until it is killed.
fn holder(folder: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "locks::the_other_process", "--nocapture"]).env(FOLDER, folder);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("locked")), "the other process ended");
    child
}

/// Does nothing by itself: it is what [`holder`] runs.
#[test]
fn the_other_process() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    std::fs::create_dir_all(folder.join("checkpoints/.realign-half.tmp")).unwrap();
    let _lock = FolderLock::acquire(&folder).unwrap();
    println!("\nlocked");
    std::thread::sleep(std::time::Duration::from_secs(600));
}

#[test]
fn a_folder_that_another_process_trains_into() {
    let (_folder, mut settings) = setup(Stage::One);
    settings.max_steps = Some(2);
    let host = Device::host();
    let mut other = holder(&settings.out);
    let half_done = settings.out.join("checkpoints/.realign-half.tmp");
    for start in [Start::New, Start::Resume, Start::Replace] {
        let number = other.id().to_string();
        let out = settings.out.display().to_string();
        refused(Run::start(&host, settings.clone(), start), &["another process", &number, &out, "another folder"]);
    }
    assert!(half_done.is_dir(), "what the other process has half done was removed");
    other.kill().unwrap();
    other.wait().unwrap();
    let run = Run::start(&host, settings.clone(), Start::Resume).unwrap();
    assert!(!half_done.exists(), "what a killed process left was kept");
    finish(run);
    let left: Vec<_> = std::fs::read_dir(&settings.out).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!cfg!(unix) || !left.iter().any(|name| name == ".realign-lock"), "{left:?}");
}

/// Both began before there was a folder.
#[test]
fn two_runs_of_one_process() {
    let (_folder, mut settings) = setup(Stage::One);
    settings.max_steps = Some(2);
    let host = Device::host();
    let first = Run::start(&host, settings.clone(), Start::New).unwrap();
    refused(Run::start(&host, settings.clone(), Start::Replace), &["another process", "run"]);
    let elsewhere = Run::start(&host, settings.clone().out(settings.out.with_file_name("b")), Start::New);
    assert!(elsewhere.is_ok());
    finish(first);
    refused(Run::start(&host, settings.clone(), Start::New), &["holds a run"]);
    finish(Run::start(&host, settings, Start::Replace).unwrap());
}
