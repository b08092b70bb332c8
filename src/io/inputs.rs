//! From what the user named to a list of files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::FileFormat;
use crate::{Error, Result};

/// The files that `inputs` name, and whether they were named as exactly one file.
pub(super) fn expand(inputs: &[PathBuf]) -> Result<(Vec<PathBuf>, bool)> {
    let mut files = Vec::new();
    let mut single_file = inputs.len() == 1;
    for input in inputs {
        // A name that exists is taken literally, brackets and all.
        if input.is_dir() {
            files.extend(folder(input)?);
            single_file = false;
        } else if !input.exists() && is_pattern(input) {
            files.extend(pattern(input)?);
            single_file = false;
        } else {
            files.push(input.clone());
        }
    }
    if files.is_empty() {
        return Err(Error::argument("input", "no file was named; name files, folders or patterns such as 'img_*.npy'"));
    }
    refuse_duplicates(&files)?;
    Ok((files, single_file))
}

/// The files that `inputs` name, in the order in which their rows are read.
#[cfg(feature = "train")]
pub(crate) fn input_files(inputs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    expand(inputs).map(|(files, _)| files)
}

fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '['])
}

/// The row files of a folder, sorted by name. Hidden files are not data: macOS and this program itself put them there.
fn folder(path: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut first: Option<(FileFormat, PathBuf)> = None;
    let entries = std::fs::read_dir(path).map_err(Error::io("list", path))?;
    for entry in entries {
        let file = entry.map_err(Error::io("list", path))?.path();
        let hidden = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let Some(format) = FileFormat::from_path(&file).filter(|_| !hidden && !file.is_dir()) else { continue };
        match &first {
            Some((other, example)) if *other != format => {
                let (a, b) = (example.file_name().unwrap_or_default(), file.file_name().unwrap_or_default());
                let mixed = format!("holds {} and {}", a.to_string_lossy(), b.to_string_lossy());
                let remedy = format!("name one format with a pattern such as '{}/*.{other}'", path.display());
                return Err(Error::format(path, format!("{mixed}: one folder is read as one format; {remedy}")));
            }
            Some(_) => {}
            None => first = Some((format, file.clone())),
        }
        files.push(file);
    }
    if files.is_empty() {
        return Err(Error::format(path, "the folder holds no .npy, .safetensors or .parquet file"));
    }
    files.sort();
    Ok(files)
}

/// The files that match a pattern, sorted.
fn pattern(path: &Path) -> Result<Vec<PathBuf>> {
    let text = path.to_str().ok_or_else(|| Error::format(path, "a pattern must be valid UTF-8"))?;
    let matches = glob::glob(text).map_err(|e| Error::format(path, format!("not a valid pattern: {e}")))?;
    let mut files = Vec::new();
    for file in matches {
        let file = file.map_err(|e| Error::Io { action: "list", path: e.path().to_path_buf(), source: e.into() })?;
        if !file.is_dir() {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(Error::format(path, "no file matches this pattern"));
    }
    files.sort();
    Ok(files)
}

/// A file named twice would count its rows twice, and its two outputs would have one name.
fn refuse_duplicates(files: &[PathBuf]) -> Result<()> {
    let mut seen = HashMap::new();
    for file in files {
        let real = file.canonicalize().map_err(Error::io("open", file))?;
        if let Some(first) = seen.insert(real, file) {
            let problem = format!("named twice (first as {}); name each file once", first.display());
            return Err(Error::format(file, problem));
        }
    }
    Ok(())
}
