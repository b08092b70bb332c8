//! Names of things that are not on this machine's disk: `s3://bucket/key`, `https://host/file`.
//!
//! As a path such a name would be one of a folder `s3:` in the current one. So whoever opens, creates or compares what a user named asks here first.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The scheme of a URL; `None` for a path. `C:` and `s3:/x` are paths.
pub(crate) fn scheme(path: &Path) -> Option<&str> {
    let (scheme, _) = path.to_str()?.split_once("://")?;
    let mut letters = scheme.chars();
    let named = letters.next().is_some_and(|c| c.is_ascii_alphabetic())
        && letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    (named && scheme.len() > 1).then_some(scheme)
}

/// Whether a name is a URL and no path.
pub fn is_url(path: &Path) -> bool {
    scheme(path).is_some()
}

/// Refuses a URL where only a file or a folder on a disk will do.
///
/// # Errors
/// The name is a URL.
pub fn check_local(path: &Path) -> Result<()> {
    match scheme(path) {
        None => Ok(()),
        Some(scheme) => Err(Error::format(
            path,
            format!(
                "is a URL ({scheme}), but this must be on this machine's disk; name a path, and copy what is there"
            ),
        )),
    }
}

/// Creates a folder and those that it is in.
///
/// # Errors
/// The name is a URL; the operating system refuses.
pub(crate) fn create_folders(path: &Path) -> Result<()> {
    check_local(path)?;
    std::fs::create_dir_all(path).map_err(Error::io("create", path))
}

/// What tells that two names are of one thing: the real path of what is there, and of a URL its one spelling.
///
/// # Errors
/// A path of nothing.
pub fn real_path(path: &Path) -> std::io::Result<PathBuf> {
    let Some(scheme) = scheme(path) else { return path.canonicalize() };
    let rest = path.to_str().and_then(|text| text.split_once("://")).map_or("", |(_, rest)| rest);
    Ok(match scheme {
        "s3a" => format!("s3://{rest}").into(),
        // The account may be named or the environment's: containers of one name are taken for one.
        "az" | "azure" | "abfs" | "abfss" => {
            let (container, key) = rest.split_once('/').unwrap_or((rest, ""));
            format!("az://{}/{key}", container.split('@').next().unwrap_or_default()).into()
        }
        _ => path.to_path_buf(),
    })
}

/// A name in a folder.
pub(super) fn join(folder: &Path, name: &std::ffi::OsStr) -> PathBuf {
    match is_url(folder) {
        false => folder.join(name),
        true => format!("{}/{}", folder.display().to_string().trim_end_matches('/'), name.display()).into(),
    }
}

/// What a build without the feature `cloud` says.
#[cfg(not(feature = "cloud"))]
pub(super) fn off(path: &Path) -> Error {
    let what = "is a URL, and this build reads and writes local files alone";
    Error::format(path, format!("{what}; build realign with the feature `cloud`, or copy the file to this machine"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_no_paths_and_paths_no_urls() {
        for url in ["s3://bucket/a.npy", "gs://b", "az://c/d/", "https://host/x", "abfss://c@a.dfs.core.windows.net/x"]
        {
            assert!(is_url(Path::new(url)), "{url}");
            let error = check_local(Path::new(url)).unwrap_err().to_string();
            assert!(error.contains(url) && error.contains("on this machine's disk"), "{error}");
            assert!(create_folders(Path::new(url)).is_err());
        }
        for path in ["s3:/bucket/a.npy", "./s3://a", "C:\\a", "c://a", "a b://c", "://a", "", "/a//b"] {
            assert!(!is_url(Path::new(path)), "{path}");
            assert!(check_local(Path::new(path)).is_ok());
        }
        assert!(!Path::new("s3:").exists());
    }

    #[test]
    fn spellings_of_one_object_are_one() {
        let real = |text: &str| real_path(Path::new(text)).unwrap();
        assert_eq!(real("s3a://b/k"), real("s3://b/k"));
        for text in ["azure://c/k", "abfs://c@a.dfs.core.windows.net/k", "abfss://c@a.dfs.core.windows.net/k"] {
            assert_eq!(real(text), real("az://c/k"), "{text}");
        }
        assert_ne!(real("s3://b/k"), real("gs://b/k"));
        assert_ne!(real("s3://b/k"), real("s3://b/l"));
    }

    #[test]
    fn names_are_joined_by_slashes() {
        let name = std::ffi::OsStr::new("a.npy");
        for folder in ["s3://bucket/x/", "s3://bucket/x"] {
            assert_eq!(join(Path::new(folder), name), Path::new("s3://bucket/x/a.npy"));
        }
        assert_eq!(join(Path::new("x"), name), Path::new("x").join("a.npy"));
    }
}
