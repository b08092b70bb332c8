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

/// The header of the functions, or what keeps cbindgen from it.
fn header(crate_folder: &Path) -> Result<String, String> {
    let config = cbindgen::Config::from_file(crate_folder.join("cbindgen.toml"))?;
    let mut builder = cbindgen::Builder::new().with_config(config);
    let sources = std::fs::read_dir(crate_folder.join("src")).map_err(|e| e.to_string())?;
    let mut sources: Vec<_> = sources.filter_map(|entry| Some(entry.ok()?.path())).collect();
    // In the order of their names, so that the header does not depend on the file system's.
    sources.sort();
    for source in sources.into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs")) {
        builder = builder.with_src(source);
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
