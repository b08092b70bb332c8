//! The names of a run's files.

use std::path::{Path, PathBuf};

use crate::io::{FileFormat, check_local};
use crate::{Error, Result};

/// Files of one run at most: their numbers have five digits, so that names sort as numbers.
const MAX_SHARDS: u64 = 100_000;

/// Where rows go.
#[derive(Clone, Debug)]
pub(super) struct Output {
    path: PathBuf,
    pub format: FileFormat,
    pub shard_rows: Option<u64>,
}

impl Output {
    /// # Errors
    /// A name of no format that is written; shards of 0 rows, or too many of them.
    pub fn new(path: &Path, shard_rows: Option<u64>, inputs: u64) -> Result<Output> {
        check_local(path)?;
        let format = FileFormat::from_path(path).filter(|format| FileFormat::WRITTEN.contains(format));
        let format = format.ok_or_else(|| {
            Error::format(path, "is no name of a format that is written; end it in .npy, .safetensors or .parquet")
        })?;
        if path.file_stem().is_none_or(|stem| stem.to_str().is_none()) {
            return Err(Error::format(path, "the name is no UTF-8; choose another"));
        }
        match shard_rows {
            Some(0) => return Err(Error::argument("shard_rows", "0; give 1 or more")),
            Some(rows) if inputs.div_ceil(rows) > MAX_SHARDS => {
                let problem = format!("{rows} rows make {} files, and {MAX_SHARDS} are allowed", inputs.div_ceil(rows));
                return Err(Error::argument("shard_rows", format!("{problem}; give more rows")));
            }
            _ => {}
        }
        Ok(Output { path: path.to_path_buf(), format, shard_rows })
    }

    /// The file of a number: the output itself where all rows go into one.
    pub fn file(&self, number: u64) -> PathBuf {
        if self.shard_rows.is_none() {
            return self.path.clone();
        }
        // Invariant: `new` has seen that the stem is text and that there is an ending.
        let stem = self.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let ending = self.path.extension().unwrap_or_default().to_string_lossy();
        self.path.with_file_name(format!("{stem}_{number:05}.{ending}"))
    }

    /// The folder of what is not finished.
    pub fn unfinished(&self) -> PathBuf {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        self.path.with_file_name(format!("{name}.unfinished"))
    }

    /// Files of this name that are there, by number.
    pub fn there(&self) -> Vec<(u64, PathBuf)> {
        if self.shard_rows.is_none() {
            return std::fs::symlink_metadata(&self.path).map(|_| (0, self.path.clone())).into_iter().collect();
        }
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = |number: u64| self.file(number).file_name().map(std::ffi::OsStr::to_os_string);
        let of = |path: PathBuf| {
            let digits: String = path.file_stem()?.to_str()?.rsplit('_').next()?.to_owned();
            let number = (digits.len() == 5).then(|| digits.parse().ok()).flatten()?;
            (name(number).as_deref() == path.file_name()).then_some((number, path))
        };
        let mut there: Vec<_> =
            std::fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|entry| of(entry.path())).collect();
        there.sort();
        there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files() {
        let out = Output::new(Path::new("a/rows.npy"), Some(10), 95).unwrap();
        assert_eq!(out.file(9), Path::new("a/rows_00009.npy"));
        assert_eq!(out.unfinished(), Path::new("a/rows.npy.unfinished"));
        assert_eq!(Output::new(Path::new("rows.Parquet"), None, 5).unwrap().file(0), Path::new("rows.Parquet"));
        for (path, rows) in [("a.csv", None), ("a", None), ("a.arrow", None), ("a.npy", Some(0)), ("a.npy", Some(1))] {
            assert!(Output::new(Path::new(path), rows, 1 << 20).is_err(), "{path} {rows:?}");
        }
    }

    #[test]
    fn files_of_another_name_are_not_ours() {
        let folder = tempfile::tempdir().unwrap();
        for name in
            ["rows_00000.npy", "rows_00012.npy", "rows_1.npy", "rows_00001.parquet", "more_rows_00001.npy", "rows.npy"]
        {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let there = |shards| Output::new(&folder.path().join("rows.npy"), shards, 5).unwrap().there();
        assert_eq!(there(Some(1)).iter().map(|(n, _)| *n).collect::<Vec<_>>(), [0, 12]);
        assert_eq!(there(None), [(0, folder.path().join("rows.npy"))]);
    }
}
