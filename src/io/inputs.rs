//! From what the user named to a list of files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{FileFormat, shard_names};
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

/// The row files of a folder, sorted. Hidden files are not data: macOS and this program itself put them there. In clip-retrieval's layout
/// they may be in the only folder of their kind, and the parquet files beside them hold their rows' names.
fn folder(path: &Path) -> Result<Vec<PathBuf>> {
    let mut files = row_files(path)?;
    if files.iter().any(|file| shard_names::kind(file).is_some()) {
        files.retain(|file| !shard_names::is_metadata(file));
    }
    if files.is_empty() {
        let kinds: Vec<PathBuf> =
            shard_names::KINDS.iter().map(|kind| path.join(kind)).filter(|folder| folder.is_dir()).collect();
        return match &kinds[..] {
            [one] => folder(one),
            [a, b] => {
                let remedy = format!("name {} or {}", a.display(), b.display());
                Err(Error::format(path, format!("holds embeddings of images and of texts; {remedy}")))
            }
            _ => Err(Error::format(path, without_files(path))),
        };
    }
    let format = |file: &Path| FileFormat::from_path(file);
    let first = &files[0];
    if let (Some(other), Some(odd)) = (format(first), files.iter().find(|file| format(file) != format(first))) {
        let (a, b) = (first.file_name().unwrap_or_default(), odd.file_name().unwrap_or_default());
        let mixed = format!("holds {} and {}", a.to_string_lossy(), b.to_string_lossy());
        let remedy = format!("name one format with a pattern such as '{}/*.{other}'", path.display());
        return Err(Error::format(path, format!("{mixed}: one folder is read as one format; {remedy}")));
    }
    if let (Some(kind), Some(_)) = (
        shard_names::kind(first),
        files.iter().find(|file| shard_names::kind(file).is_some_and(|kind| Some(kind) != shard_names::kind(first))),
    ) {
        let remedy = format!("name one kind with a pattern such as '{}/{kind}_*.npy'", path.display());
        return Err(Error::format(path, format!("holds embeddings of images and of texts; {remedy}")));
    }
    shard_names::sort(&mut files);
    Ok(files)
}

/// The files in a folder that may hold rows, in any order.
fn row_files(path: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(Error::io("list", path))? {
        let file = entry.map_err(Error::io("list", path))?.path();
        let hidden = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && !file.is_dir() && FileFormat::from_path(&file).is_some() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// Words for a folder without row files; its own folders may have some, as partitions do.
fn without_files(path: &Path) -> String {
    let problem = "the folder holds no .npy, .safetensors, .parquet or .arrow file".to_string();
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path()).filter(|p| p.is_dir()).collect();
    folders.sort();
    let inside =
        folders.iter().find_map(|folder| row_files(folder).ok()?.first().and_then(|f| FileFormat::from_path(f)));
    match inside {
        Some(format) => format!("{problem} itself; name those in its folders with '{}/*/*.{format}'", path.display()),
        None => problem,
    }
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
    shard_names::sort(&mut files);
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
