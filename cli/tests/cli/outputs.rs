//! Outputs that exist, that cannot be, that are inputs.

use super::*;

/// A command with its output left out, and the option that names it.
const COMMANDS: [&str; 4] = [
    "stats text.npy --device host",
    "merge m.st",
    "fit --source text.npy --target image.npy --device host",
    "apply text.npy --stats s.st --device host",
];

#[test]
fn existing_files_need_force() {
    let folder = fitted();
    for command in COMMANDS {
        folder.put("old.npy", b"precious");
        folder.bad(1, &format!("{command} --out old.npy"), &["old.npy", "exists", "--force"]);
        folder.good(&format!("{command} --out old.npy --force"));
        assert!(folder.bytes("old.npy") != b"precious");
    }
    folder.put("in/a.npy", &folder.bytes("text.npy"));
    folder.put("in/b.npy", &folder.bytes("image.npy"));
    folder.put("out/b.npy", b"precious");
    folder.bad(1, "apply in --stats s.st --out out", &["b.npy", "exists", "--force"]);
    folder.good("apply in --stats s.st --out out --force");
    assert!(folder.bytes("out/b.npy") != b"precious");
}

#[test]
fn places_that_cannot_hold_a_file() {
    let folder = fitted();
    std::fs::create_dir(folder.at("folder")).unwrap();
    for command in COMMANDS {
        folder.bad(1, &format!("{command} --out none/o.npy"), &["none", "does not exist; create it first"]);
        folder.bad(1, &format!("{command} --out text.npy/o.npy"), &["text.npy/o.npy", "Not a directory"]);
        if cfg!(target_os = "linux") {
            folder.bad(1, &format!("{command} --out /proc/o.npy"), &["/proc/o.npy", "cannot create"]);
            folder.bad(1, &format!("{command} --out /dev/null --force"), &["/dev/null", "not a regular file"]);
        }
        if !command.starts_with("apply") {
            folder.bad(1, &format!("{command} --out folder --force"), &["folder", "name a file"]);
        }
    }
    folder.put("in/a.npy", &folder.bytes("text.npy"));
    folder.bad(1, "apply in --stats s.st --out o.npy", &["o.npy", "name a folder"]);
    folder.bad(1, "apply in --stats s.st --out text.npy", &["text.npy", "name a folder"]);
}

#[test]
fn inputs_are_never_replaced() {
    let folder = fitted();
    folder.good("stats image.npy --out mi.st");
    for line in [
        "stats text.npy --out text.npy --force",
        "fit --source text.npy --target image.npy --out text.npy --force",
        "fit --source text.npy --target image.npy --out ./image.npy --force",
        "fit --source-stats m.st --target-stats mi.st --out m.st --force",
        "apply text.npy --stats s.st --out text.npy --force",
        "apply text.npy --stats s.st --out . --force",
    ] {
        folder.bad(1, line, &["is also an input", "choose another"]);
    }
}

/// A disk that fills up, by a limit on the size of files: nothing half-written stays, and a file that was there is kept.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_fills_up() {
    let folder = Folder::fresh();
    folder.put("text.npy", &npy("<f4", &cloud(2000, 8, 1, 0.3), 8));
    folder.put("image.npy", &npy("<f4", &cloud(2000, 8, 2, 0.5), 8));
    folder.good("fit --source text.npy --target image.npy --out s.st --device host");
    folder.put("old.npy", b"precious");
    let before = folder.tree();
    for out in ["new.npy", "old.npy", "new.safetensors"] {
        // Without the signal, a write beyond the limit of 8 KiB fails as it does on a full disk.
        let script =
            r#"trap '' XFSZ; ulimit -f 8; exec "$0" apply text.npy --stats s.st --out "$1" --force --device host"#;
        let mut shell = Command::new("bash");
        shell.args(["-c", script, env!("CARGO_BIN_EXE_realign"), out]).current_dir(folder.path());
        let output = shell.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(out) && stderr.contains("too large"), "{stderr}");
        assert!(folder.tree() == before, "{out}: {:?}", folder.tree().keys());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn stdout_that_takes_nothing() {
    let folder = fitted();
    for line in ["info s.st", "info text.npy --json", "adapters", "stats text.npy --out o.st", "--version"] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let args: Vec<&str> = line.split(' ').collect();
        let output = folder.command(&args).stdout(full).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!stderr.contains("panicked"), "{line}: {stderr}");
        if line != "--version" {
            assert_eq!(output.status.code(), Some(1), "{line}: {stderr}");
            assert!(stderr.contains("stdout"), "{line}: {stderr}");
        }
    }
}
