//! Advisory locks on output folders: of several processes that would write into one, and remove what the others have half done, the
//! first alone goes on.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The file in the folder that is locked. Where a file that is open can be removed it goes with the lock; one that a killed process or
/// another system leaves behind means nothing.
const NAME: &str = ".realign-lock";

/// A folder that this process alone writes into, among those that ask. Dropped, or when the process ends in whatever way, the lock is
/// gone; nothing has to be cleaned up after a process that was killed.
#[derive(Debug)]
pub struct FolderLock {
    file: File,
    folder: PathBuf,
}

impl FolderLock {
    /// Locks a folder, which must exist, without waiting. On a file system that has no locks this warns, and goes on without one.
    ///
    /// # Errors
    /// Another process holds the lock, or another part of this one ([`Error::InUse`]); the folder is missing or does not let us create
    /// files.
    pub fn acquire(folder: &Path) -> Result<FolderLock> {
        let path = folder.join(NAME);
        loop {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false);
            let mut file = options.open(&path).map_err(Error::io("create", &path))?;
            match file.try_lock() {
                // Between opening and locking, the holder before may have removed the file: then others lock a new one.
                Ok(()) if !is_at(&file, &path) => continue,
                // For the message that others get; nothing depends on it.
                Ok(()) => drop(file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()))),
                Err(TryLockError::WouldBlock) => {
                    let mut text = String::new();
                    let process = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                    return Err(Error::InUse { folder: folder.to_path_buf(), process });
                }
                Err(TryLockError::Error(e)) => {
                    let place = folder.display();
                    log::warn!("{place}: cannot be locked ({e}); let no other process write into it meanwhile");
                }
            }
            return Ok(FolderLock { file, folder: folder.to_path_buf() });
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether a folder is missing or holds nothing, the file of a lock aside.
    pub fn is_vacant(folder: &Path) -> bool {
        std::fs::read_dir(folder).map_or(true, |entries| entries.flatten().all(|entry| entry.file_name() == NAME))
    }

    /// Removes all that the folder holds, and keeps the lock.
    ///
    /// # Errors
    /// The system refuses to list the folder or to remove an entry.
    pub fn clear_folder(&self) -> Result<()> {
        for entry in std::fs::read_dir(&self.folder).map_err(Error::io("list", &self.folder))? {
            let entry = entry.map_err(Error::io("list", &self.folder))?;
            if entry.file_name() == NAME {
                continue;
            }
            let (path, kind) = (entry.path(), entry.file_type().map_err(Error::io("list", entry.path()))?);
            let removed = if kind.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            removed.map_err(Error::io("remove", &path))?;
        }
        Ok(())
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Removed while it is locked, and only if it is still ours: the folder may have been replaced by hand.
        let path = self.folder.join(NAME);
        if cfg!(unix) && is_at(&self.file, &path) {
            let _ = std::fs::remove_file(path);
        } else {
            // The number of a process that holds no lock any more would mislead whoever looks.
            let _ = self.file.set_len(0);
        }
    }
}

/// Whether `path` names this open file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (Ok(ours), Ok(theirs)) = (file.metadata(), std::fs::symlink_metadata(path)) else { return false };
    (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino())
}

/// Where the file of a lock is never removed, it is always the one.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        assert!(FolderLock::is_vacant(folder.path()) && FolderLock::is_vacant(&folder.path().join("missing")));
        let lock = FolderLock::acquire(folder.path()).unwrap();
        assert!(FolderLock::is_vacant(folder.path()));
        let error = FolderLock::acquire(folder.path()).unwrap_err();
        let words = [folder.path().display().to_string(), std::process::id().to_string(), "another folder".to_owned()];
        assert!(words.iter().all(|word| error.to_string().contains(word)), "{error}");
        assert!(matches!(error, Error::InUse { process: Some(id), .. } if id == std::process::id()));
        drop(lock);
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            usize::from(!cfg!(unix)),
            "the file was left behind"
        );
        // One that a killed process leaves behind does not hinder.
        std::fs::write(folder.path().join(NAME), "1").unwrap();
        FolderLock::acquire(folder.path()).unwrap();
        let missing = FolderLock::acquire(&folder.path().join("missing")).unwrap_err();
        assert!(matches!(missing, Error::Io { .. }), "{missing}");
    }

    /// Many threads that take and give back: never two at once, whatever happens to the file.
    #[test]
    fn holders_that_come_and_go() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let (folder, inside, taken) = (tempfile::tempdir().unwrap(), AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while taken.load(Ordering::SeqCst) < 200 {
                        let Ok(lock) = FolderLock::acquire(folder.path()) else { continue };
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two hold the lock");
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        taken.fetch_add(1, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
    }

    #[test]
    fn clearing_keeps_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let lock = FolderLock::acquire(folder.path()).unwrap();
        std::fs::create_dir(folder.path().join("inner")).unwrap();
        std::fs::write(folder.path().join("inner/file"), "1").unwrap();
        std::fs::write(folder.path().join("file"), "1").unwrap();
        assert!(!FolderLock::is_vacant(folder.path()));
        lock.clear_folder().unwrap();
        assert!(FolderLock::is_vacant(folder.path()));
        assert!(FolderLock::acquire(folder.path()).is_err());
        assert_eq!(lock.folder(), folder.path());
    }
}
