//! Files that appear whole or not at all: written under a temporary name in their own folder, then renamed.
//!
//! The rename makes a killed process harmless. Nothing is flushed to the disk, so a power cut right after may still
//! lose a file: flushing gigabytes would cost more than writing them.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;

use tempfile::{NamedTempFile, TempPath};

#[cfg(feature = "cloud")]
use super::cloud;
use super::url;

use crate::{Error, Result};

/// Writes `bytes` to `path` so that no one ever sees half of them.
///
/// # Errors
/// The file exists and `force` is off, its folder does not exist or cannot be written, or the disk is full.
pub fn write_atomically(path: &Path, force: bool, bytes: &[u8]) -> Result<()> {
    if url::is_url(path) {
        #[cfg(feature = "cloud")]
        return cloud::put(path, force, bytes);
        #[cfg(not(feature = "cloud"))]
        return Err(url::off(path));
    }
    check_target(path, force)?;
    let (mut file, temporary) = create_beside(path)?;
    file.write_all(bytes).map_err(Error::io("write", path))?;
    drop(file);
    publish(temporary, path, force)
}

/// Fails now where writing `path` would fail after the work is done: the file exists and `force` is off, or its folder
/// is missing or does not let us create files. Leaves nothing behind. Of an object in a bucket, an upload is begun and taken back.
///
/// # Errors
/// As said.
pub fn check_writable(path: &Path, force: bool) -> Result<()> {
    #[cfg(feature = "cloud")]
    if url::is_url(path) {
        return cloud::check_writable(path, force);
    }
    check_target(path, force)?;
    create_beside(path).map(drop)
}

/// The part of [`check_writable`] that only looks.
pub(super) fn check_target(path: &Path, force: bool) -> Result<()> {
    if url::is_url(path) {
        #[cfg(feature = "cloud")]
        return cloud::check_target(path, force);
        #[cfg(not(feature = "cloud"))]
        return Err(url::off(path));
    }
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(Error::io("create", path)(e)),
        Ok(there) if there.is_dir() => return Err(Error::format(path, "is a folder; name a file")),
        // Renaming onto /dev/null or a pipe would replace it.
        Ok(there) if !there.is_file() && !there.is_symlink() => {
            return Err(Error::format(path, "is not a regular file; name another"));
        }
        Ok(_) if !force => return Err(Error::OutputExists(path.to_path_buf())),
        Ok(_) => {}
    }
    let folder = folder_of(path);
    if folder.is_dir() {
        return Ok(());
    }
    Err(Error::format(path, format!("its folder {} does not exist; create it first", folder.display())))
}

/// A file that has not its name yet. Dropped, it is removed.
#[derive(Debug)]
pub(super) enum Temporary {
    Beside(TempPath),
    /// One to be uploaded, without a name: it is gone with the process, however that ends.
    #[cfg(feature = "cloud")]
    Spool(File, std::path::PathBuf),
}

/// What only has to be named: a file in its folder, or an object whose parts are in its bucket. Dropped, it is removed.
#[derive(Debug)]
pub(super) enum Staged {
    File(TempPath),
    #[cfg(feature = "cloud")]
    Object(cloud::Upload),
}

/// A temporary file in the folder of `path`, removed when its name is dropped. For an object in a bucket it is in the system's folder of temporary files.
pub(super) fn create_beside(path: &Path) -> Result<(File, Temporary)> {
    #[cfg(feature = "cloud")]
    if url::is_url(path) {
        let spot = std::env::temp_dir();
        let file = tempfile::tempfile().map_err(Error::io("create a temporary file in", &spot))?;
        let again = file.try_clone().map_err(Error::io("create a temporary file in", &spot))?;
        return Ok((file, Temporary::Spool(again, path.to_path_buf())));
    }
    url::check_local(path)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".realign-").suffix(".tmp");
    // The default of 0600 would stay after the rename; let the umask decide, as for any other file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let created =
        builder.tempfile_in(folder_of(path)).map(NamedTempFile::into_parts).map_err(Error::io("create", path));
    created.map(|(file, temporary)| (file, Temporary::Beside(temporary)))
}

/// Gives a finished temporary file its name.
pub(super) fn publish(temporary: Temporary, path: &Path, force: bool) -> Result<()> {
    stage(temporary)?.publish(path, force)
}

/// Brings a finished temporary file where it has to be; that of an object is gone from the disk then.
pub(super) fn stage(temporary: Temporary) -> Result<Staged> {
    match temporary {
        Temporary::Beside(temporary) => Ok(Staged::File(temporary)),
        #[cfg(feature = "cloud")]
        Temporary::Spool(file, path) => cloud::Upload::send(&file, &path).map(Staged::Object),
    }
}

impl Staged {
    /// Gives it its name.
    pub(super) fn publish(self, path: &Path, force: bool) -> Result<()> {
        match self {
            Staged::File(temporary) => rename(temporary, path, force),
            #[cfg(feature = "cloud")]
            Staged::Object(upload) => upload.publish(force),
        }
    }
}

fn rename(temporary: TempPath, path: &Path, force: bool) -> Result<()> {
    let temporary = if force {
        temporary
    } else {
        match temporary.persist_noclobber(path) {
            Ok(()) => return Ok(()),
            Err(e) if e.error.kind() == ErrorKind::AlreadyExists => {
                return Err(Error::OutputExists(path.to_path_buf()));
            }
            // Some file systems cannot rename without replacing; what is left is to look first.
            Err(_) if path.exists() => return Err(Error::OutputExists(path.to_path_buf())),
            Err(e) => e.path,
        }
    };
    temporary.persist(path).map_err(|e| Error::io("rename", path)(e.error))
}

/// Takes back what was published.
pub(super) fn remove(path: &Path) {
    // Nobody is left to hear of an error: another is on its way.
    #[cfg(feature = "cloud")]
    if url::is_url(path) {
        return drop(cloud::remove(path));
    }
    drop(std::fs::remove_file(path));
}

/// The folder that a file is in; a bare name is in the current one.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn names(folder: &Path) -> Vec<PathBuf> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn existing_files_stay_without_force() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stats");
        write_atomically(&path, false, b"one").unwrap();
        assert!(matches!(write_atomically(&path, false, b"two"), Err(Error::OutputExists(p)) if p == path));
        assert!(matches!(check_writable(&path, false), Err(Error::OutputExists(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        check_writable(&path, true).unwrap();
        write_atomically(&path, true, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(names(folder.path()), [path]);
    }

    #[test]
    fn a_file_that_appears_meanwhile_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stats");
        let (_, temporary) = create_beside(&path).unwrap();
        std::fs::write(&path, b"theirs").unwrap();
        assert!(matches!(publish(temporary, &path, false), Err(Error::OutputExists(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"theirs");
        assert_eq!(names(folder.path()), [path]);
    }

    #[test]
    fn places_that_cannot_hold_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = check_writable(&folder.path().join("no/stats"), false).unwrap_err().to_string();
        assert!(error.contains("does not exist") && error.contains("create it"), "{error}");
        let error = check_writable(folder.path(), true).unwrap_err().to_string();
        assert!(error.contains("is a folder"), "{error}");
        assert!(names(folder.path()).is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn others_may_read_what_the_umask_lets_them() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
        write_atomically(&ours, false, b"").unwrap();
        std::fs::write(&plain, b"").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }
}
