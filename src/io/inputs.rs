//! From what the user named to a list of files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

#[cfg(feature = "cloud")]
use super::cloud;
use super::{FileFormat, shard_names, url};
use crate::{Error, Result};

/// The files that `inputs` name, and whether they were named as exactly one file.
pub(super) fn expand(inputs: &[PathBuf]) -> Result<(Vec<PathBuf>, bool)> {
    let mut files = Vec::new();
    let mut single_file = inputs.len() == 1;
    for input in inputs {
        // A name that exists is taken literally, brackets and all; those of buckets are not asked for it.
        if url::is_url(input) {
            single_file &= expand_url(input, &mut files)?;
        } else if input.is_dir() {
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

/// Appends what a URL names; whether it is one file.
#[cfg(feature = "cloud")]
fn expand_url(input: &Path, files: &mut Vec<PathBuf>) -> Result<bool> {
    match cloud::expand(input)? {
        cloud::Listed::One => files.push(input.to_path_buf()),
        cloud::Listed::Folder => files.extend(folder(input)?),
        cloud::Listed::Pattern(found) => {
            files.extend(matching(input, found)?);
            return Ok(false);
        }
    }
    Ok(!input.to_string_lossy().ends_with('/'))
}

#[cfg(not(feature = "cloud"))]
fn expand_url(input: &Path, _files: &mut Vec<PathBuf>) -> Result<bool> {
    Err(url::off(input))
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
    let (mut files, folders) = entries(path)?;
    if files.iter().any(|file| shard_names::kind(file).is_some()) {
        files.retain(|file| !shard_names::is_metadata(file));
    }
    if files.is_empty() {
        let is_kind =
            |folder: &&PathBuf| folder.file_name().is_some_and(|name| shard_names::KINDS.iter().any(|k| name == *k));
        let kinds: Vec<&PathBuf> = folders.iter().filter(is_kind).collect();
        return match &kinds[..] {
            [one] => folder(one),
            [a, b] => {
                let remedy = format!("name {} or {}", a.display(), b.display());
                Err(Error::format(path, format!("holds embeddings of images and of texts; {remedy}")))
            }
            _ => Err(Error::format(path, without_files(path, &folders))),
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

/// The files in a folder that may hold rows, and its folders, both sorted.
fn entries(path: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut files, mut folders) = all_entries(path)?;
    let hidden = |file: &Path| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    files.retain(|file| !hidden(file) && FileFormat::from_path(file).is_some());
    files.sort();
    folders.sort();
    Ok((files, folders))
}

fn all_entries(path: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    #[cfg(feature = "cloud")]
    if url::is_url(path) {
        return cloud::folder_of_files(path);
    }
    let mut all = Vec::new();
    for entry in std::fs::read_dir(path).map_err(Error::io("list", path))? {
        all.push(entry.map_err(Error::io("list", path))?.path());
    }
    Ok(all.into_iter().partition(|path| !path.is_dir()))
}

/// Words for a folder without row files; its own folders may have some, as partitions do.
fn without_files(path: &Path, folders: &[PathBuf]) -> String {
    let problem = "the folder holds no .npy, .safetensors, .parquet or .arrow file".to_string();
    let first = |folder: &PathBuf| entries(folder).ok()?.0.first().and_then(|file| FileFormat::from_path(file));
    match folders.iter().find_map(first) {
        Some(format) => {
            let folder = path.display().to_string();
            format!("{problem} itself; name those in its folders with '{}/*/*.{format}'", folder.trim_end_matches('/'))
        }
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
    matching(path, files)
}

/// The files that a pattern was found to match, sorted.
fn matching(pattern: &Path, mut files: Vec<PathBuf>) -> Result<Vec<PathBuf>> {
    if files.is_empty() {
        return Err(Error::format(pattern, "no file matches this pattern"));
    }
    shard_names::sort(&mut files);
    Ok(files)
}

/// A file named twice would count its rows twice, and its two outputs would have one name.
fn refuse_duplicates(files: &[PathBuf]) -> Result<()> {
    let mut seen = HashMap::new();
    for file in files {
        let real = url::real_path(file).map_err(Error::io("open", file))?;
        if let Some(first) = seen.insert(real, file) {
            let problem = format!("named twice (first as {}); name each file once", first.display());
            return Err(Error::format(file, problem));
        }
    }
    Ok(())
}
