//! The files that a command writes when its work is done.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use realign::io::{Dataset, Shard, check_writable, is_url, real_path};

/// What will be written, known to be writable.
pub struct Outputs(Vec<PathBuf>);

impl Outputs {
    /// Fails before the work where a file could not be written after it, or would be written twice.
    pub fn check(files: impl IntoIterator<Item = PathBuf>, force: bool) -> Result<Outputs> {
        let files: Vec<PathBuf> = files.into_iter().collect();
        let mut places: Vec<PathBuf> = Vec::with_capacity(files.len());
        for file in &files {
            check_writable(file, force)?;
            let place = place(file)?;
            anyhow::ensure!(!places.contains(&place), "{}: is named for two outputs; choose two files", file.display());
            places.push(place);
        }
        Ok(Outputs(files))
    }

    /// Fails where one of them is an input.
    pub fn refuse<'a>(&self, sets: &[&'a Dataset], files: impl IntoIterator<Item = &'a Path> + Clone) -> Result<()> {
        let inputs = || sets.iter().flat_map(|s| s.shards()).map(Shard::path).chain(files.clone());
        self.0.iter().try_for_each(|out| refuse_input(out, inputs()))
    }
}

/// The file's own name in its folder's real path: what is renamed onto a link replaces the link.
fn place(file: &Path) -> Result<PathBuf> {
    if is_url(file) {
        return Ok(real_path(file)?);
    }
    let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let real = folder.canonicalize().with_context(|| folder.display().to_string())?;
    Ok(real.join(file.file_name().unwrap_or_default()))
}

/// A part that is merged twice would count twice.
pub fn refuse_twice(parts: &[PathBuf]) -> Result<()> {
    let mut seen = std::collections::HashSet::new();
    for part in parts {
        let new = real_path(part).map_or(true, |real| seen.insert(real));
        anyhow::ensure!(new, "{}: is named twice, and its rows would count twice; name each part once", part.display());
    }
    Ok(())
}

/// Even --force never replaces what was read: it would destroy the only copy of the data.
pub fn refuse_input<'a>(out: &Path, mut inputs: impl Iterator<Item = &'a Path>) -> Result<()> {
    let Ok(real) = real_path(out) else { return Ok(()) };
    let same = inputs.any(|input| real_path(input).is_ok_and(|input| input == real));
    anyhow::ensure!(!same, "{}: is also an input, which is never replaced; choose another output", out.display());
    Ok(())
}
