//! Which encoder a model folder is: what tells rows of one from those of another.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::io::EncoderId;
use crate::io::fingerprint::{self, Fingerprint};
use crate::{Error, Result};

/// Endings of files of a model's folder that decide what it computes.
const ENDINGS: [&str; 5] = ["json", "jinja", "model", "safetensors", "txt"];

/// The fingerprints of the files of a model's folder, those in its own folders among them, or of the one file that a model is; and of `more`, files
/// outside that decide what it computes, too. All are read as a whole: a bias that was trained on must not go unseen.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn fingerprints(model: &Path, more: &[PathBuf]) -> Result<Vec<Fingerprint>> {
    let mut files = Vec::new();
    match model.is_dir() {
        true => collect(model, 2, &mut files)?,
        false => files.push(model.to_path_buf()),
    }
    files.sort();
    let inside = |path: &PathBuf| {
        let name = match model.is_dir() {
            true => path.strip_prefix(model).unwrap_or(path).to_string_lossy().replace('\\', "/"),
            false => "file".to_owned(),
        };
        fingerprint::of_file(&format!("model/{name}"), path, true)
    };
    let beside = |path: &PathBuf| fingerprint::of_file("beside the model", path, true);
    files.iter().map(inside).chain(more.iter().map(beside)).collect()
}

fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let path = entry.map_err(Error::io("list", folder))?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if path.is_dir() && !hidden && depth > 1 {
            collect(&path, depth - 1, files)?;
        } else if path.is_file() && !hidden && ENDINGS.contains(&ending) {
            files.push(path);
        }
    }
    Ok(())
}

/// The encoder of a model's fingerprints: the folder's name, and SHA-256 of the files' names, lengths and checksums.
pub(super) fn of_fingerprints(model: &Path, fingerprints: &[Fingerprint]) -> EncoderId {
    let mut lines = String::new();
    for file in fingerprints {
        let (bytes, crc32) = file.sums();
        // Writing to a text cannot fail.
        let _ = writeln!(lines, "{} {bytes} {crc32}", file.role());
    }
    // "." and ".." have names only where they are resolved.
    let real = model.canonicalize().unwrap_or_else(|_| model.to_path_buf());
    let name = real.file_name().map_or_else(|| "encoder".to_owned(), |name| name.to_string_lossy().into_owned());
    EncoderId { name, hash: hexadecimal(&Sha256::digest(lines.as_bytes())) }
}

/// Bytes in small hexadecimal digits.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl EncoderId {
    /// The encoder of a model folder in Hugging Face's layout, or of a GGUF file: its name, and a hash of the files that decide what it computes,
    /// each of which is read as a whole.
    ///
    /// # Errors
    /// No such folder; a file in it that cannot be read.
    pub fn of_model(model: &Path) -> Result<EncoderId> {
        Ok(of_fingerprints(model, &fingerprints(model, &[])?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_tell_encoders_apart_and_their_names_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["a", "b", "c"] {
            std::fs::create_dir_all(at(name).join("1_Pooling")).unwrap();
            std::fs::write(at(name).join("config.json"), "{}").unwrap();
            std::fs::write(at(name).join("1_Pooling/config.json"), if name == "c" { "[]" } else { "{}" }).unwrap();
            std::fs::write(at(name).join("README.md"), name).unwrap();
        }
        let [a, b, c] = ["a", "b", "c"].map(|name| EncoderId::of_model(&at(name)).unwrap());
        assert_eq!((&a.name[..], &b.name[..], a.hash.len()), ("a", "b", 64));
        assert_eq!(a.hash, b.hash);
        assert_ne!(a.hash, c.hash);
        let more = of_fingerprints(&at("a"), &fingerprints(&at("a"), &[at("b/README.md")]).unwrap());
        assert_ne!(a.hash, more.hash);
        assert!(EncoderId::of_model(&at("none")).is_err());
    }
}
