//! Folders that appear whole or not at all: filled under a temporary name beside their place, then renamed.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::atomic::folder_of;
use crate::{Error, Result};

/// How names of folders in the making start.
pub(crate) const TEMPORARY: &str = ".realign-";

/// How a folder is called that has stepped aside, before its own name.
const ASIDE: &str = "old-";

/// A folder in the making. Dropped before [`FolderWriter::publish`], it vanishes.
#[derive(Debug)]
pub(crate) struct FolderWriter {
    path: PathBuf,
    temporary: TempDir,
    force: bool,
}

impl FolderWriter {
    /// Prepares a folder that will be called `path`.
    pub fn create(path: &Path, force: bool) -> Result<FolderWriter> {
        check_folder_target(path, force)?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(TEMPORARY).suffix(".tmp");
        // The default of 0700 would stay after the rename; let the umask decide, as for any other folder.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
        let temporary = builder.tempdir_in(folder_of(path)).map_err(Error::io("create", path))?;
        Ok(FolderWriter { path: path.to_path_buf(), temporary, force })
    }

    /// The name that the folder will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where it is filled.
    #[cfg(feature = "train")]
    pub fn place(&self) -> &Path {
        self.temporary.path()
    }

    /// A new file in it.
    pub fn file(&self, name: &str) -> Result<File> {
        let path = self.temporary.path().join(name);
        File::options().read(true).write(true).create_new(true).open(&path).map_err(Error::io("create", &path))
    }

    /// A new file in it with these bytes, handed to the disk.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut file = self.file(name)?;
        let path = self.temporary.path().join(name);
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::io("write", &path))
    }

    /// Copies a file into it.
    pub fn copy(&self, from: &Path, name: &str) -> Result<()> {
        std::fs::copy(from, self.temporary.path().join(name)).map(drop).map_err(Error::io("copy", from))
    }

    /// Gives the folder its name. An old one is replaced only with `force`.
    pub fn publish(self) -> Result<()> {
        let (path, parent) = (&self.path, folder_of(&self.path));
        check_folder_target(path, self.force)?;
        sync_folder(self.temporary.path());
        // A folder is not renamed onto a filled one, so the old one steps aside first.
        let mut aside = None;
        if path.exists() {
            let spot = tempfile::Builder::new().prefix(TEMPORARY).suffix(".tmp").tempdir_in(parent);
            let spot = spot.map_err(Error::io("create", path))?;
            std::fs::rename(path, spot.path().join(aside_name(path))).map_err(Error::io("rename", path))?;
            aside = Some(spot);
        }
        if let Err(e) = std::fs::rename(self.temporary.path(), path) {
            if let Some(spot) = &aside {
                // Best effort: the error that is returned tells what happened.
                let _ = std::fs::rename(spot.path().join(aside_name(path)), path);
            }
            return Err(Error::io("rename", path)(e));
        }
        sync_folder(parent);
        Ok(())
    }
}

/// What a folder is called while it has stepped aside.
fn aside_name(path: &Path) -> String {
    format!("{ASIDE}{}", path.file_name().unwrap_or_default().display())
}

/// Cleans up in `folder` after a process that was killed while it replaced folders in it: one that had stepped aside comes back if nothing
/// has its name, and what was half done goes. Nobody else may be writing folders into it.
#[cfg(feature = "train")]
pub(crate) fn recover(folder: &Path) -> Result<()> {
    let list = |folder: &Path| -> Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(folder).map_err(Error::io("list", folder))?;
        entries.map(|entry| entry.map(|entry| entry.path()).map_err(Error::io("list", folder))).collect()
    };
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for path in list(folder)? {
        if !(name(&path).starts_with(TEMPORARY) && name(&path).ends_with(".tmp") && path.is_dir()) {
            continue;
        }
        for inner in list(&path)? {
            let place = name(&inner).strip_prefix(ASIDE).map(|name| folder.join(name));
            if let Some(place) = place.filter(|place| !place.exists()) {
                std::fs::rename(&inner, &place).map_err(Error::io("rename", &inner))?;
            }
        }
        std::fs::remove_dir_all(&path).map_err(Error::io("remove", &path))?;
    }
    Ok(())
}

/// Fails where [`FolderWriter::create`] would, looking only.
pub(crate) fn check_folder_target(path: &Path, force: bool) -> Result<()> {
    super::check_local(path)?;
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(Error::io("create", path)(e)),
        Ok(there) if !there.is_dir() => return Err(Error::format(path, "is not a folder; choose another name")),
        Ok(_) if !force => return Err(Error::OutputExists(path.to_path_buf())),
        Ok(_) => {}
    }
    let folder = folder_of(path);
    match folder.is_dir() {
        true => Ok(()),
        false => Err(Error::format(path, format!("its folder {} does not exist; create it first", folder.display()))),
    }
}

/// Hands a folder's names to the disk where the system can; elsewhere a power cut may undo the last rename.
fn sync_folder(path: &Path) {
    if let Ok(folder) = File::open(path) {
        let _ = folder.sync_all();
    }
}
