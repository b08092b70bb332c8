//! Writes `capi/include/realign.h` from the functions in `capi/src` and their docs; with `--check` it only says whether that file is up to date.
//!
//! `cargo run --release --manifest-path tools/header/Cargo.toml [-- --check]`

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../capi");
    let committed = crate_folder.join("include/realign.h");
    let made = match header(&crate_folder) {
        Ok(made) => made,
        Err(problem) => {
            eprintln!("{}: {problem}", crate_folder.display());
            return ExitCode::FAILURE;
        }
    };
    if std::env::args().any(|arg| arg == "--check") {
        // Windows may have checked it out with other ends of lines.
        let there = std::fs::read_to_string(&committed).unwrap_or_default().replace("\r\n", "\n");
        return match first_difference(&there, &made) {
            None => ExitCode::SUCCESS,
            Some((line, there, made)) => {
                eprintln!("capi/include/realign.h is not what capi/src says; run this without --check, and commit it");
                eprintln!("line {line}: {there:?} should be {made:?}");
                ExitCode::FAILURE
            }
        };
    }
    match std::fs::write(&committed, made) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{}: {problem}", committed.display());
            ExitCode::FAILURE
        }
    }
}

/// The files of functions in the order in which the header has them; others come behind them.
const ORDER: [&str; 10] = [
    "version.rs",
    "status.rs",
    "warnings.rs",
    "device.rs",
    "statistics.rs",
    "moments.rs",
    "ranking.rs",
    "encoder.rs",
    "assistant.rs",
    "answer.rs",
];

/// The files that have functions for C.
fn parts(crate_folder: &Path) -> std::io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(crate_folder.join("src"))? {
        let path = entry?.path();
        if std::fs::read_to_string(&path)?.contains("#[unsafe(no_mangle)]") {
            found.extend(path.file_name().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    found.sort_by_key(|name| (ORDER.iter().position(|known| known == name).unwrap_or(ORDER.len()), name.clone()));
    Ok(found)
}

/// The header of the functions, or what keeps cbindgen from it.
fn header(crate_folder: &Path) -> Result<String, String> {
    let config = cbindgen::Config::from_file(crate_folder.join("cbindgen.toml"))?;
    let mut builder = cbindgen::Builder::new().with_config(config);
    for part in parts(crate_folder).map_err(|e| e.to_string())? {
        builder = builder.with_src(crate_folder.join("src").join(part));
    }
    let mut text = Vec::new();
    builder.generate().map_err(|e| e.to_string())?.write(&mut text);
    let text = String::from_utf8(text).map_err(|e| e.to_string())?;
    // What Rust calls safety is what a C function asks of its caller.
    Ok(text.replace("\r\n", "\n").replace("# Safety", "What the caller answers for:"))
}

/// The first line that differs, from 1, in both.
fn first_difference(there: &str, made: &str) -> Option<(usize, String, String)> {
    let (mut a, mut b) = (there.lines(), made.lines());
    for line in 1.. {
        match (a.next(), b.next()) {
            (None, None) => return None,
            (x, y) if x != y => return Some((line, x.unwrap_or_default().into(), y.unwrap_or_default().into())),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_header_is_found() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some((2, "b".into(), "c".into())));
        assert_eq!(first_difference("a\n", "a\nc\n"), Some((2, String::new(), "c".into())));
    }

    #[test]
    fn the_committed_header_is_what_the_functions_say() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../capi");
        let there = std::fs::read_to_string(folder.join("include/realign.h")).unwrap().replace("\r\n", "\n");
        assert_eq!(first_difference(&there, &header(&folder).unwrap()), None);
    }
}
