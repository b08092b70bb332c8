//! Which encoder a model folder is: what tells rows of one from those of another.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::io::EncoderId;
use crate::io::fingerprint::{self, Fingerprint};
use crate::{Error, Result};

/// Files of a model's folder, and of the folders of its modules, that encoders read, besides weights: what lies beside them changes no row.
const NAMES: [&str; 10] = [
    "config.json",
    "config_sentence_transformers.json",
    "generation_config.json",
    "model.safetensors.index.json",
    "modules.json",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// Whether an encoder may read a file of this name. Weights may be called anything, if an index says so, and
/// `sentence_bert_config.json` after any architecture.
fn is_read(name: &str) -> bool {
    NAMES.contains(&name)
        || name.ends_with(".safetensors")
        || (name.starts_with("sentence_") && name.ends_with("_config.json"))
}

/// The fingerprints of the files that encoders read of a model's folder, those in its own folders among them, or of the one file that a model is; and of
/// `more`, files outside that decide what it computes, too. All are read as a whole: a bias that was trained on must not go unseen.
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
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() && depth > 1 {
            collect(&path, depth - 1, files)?;
        } else if path.is_file() && is_read(&name) {
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
        for unread in ["notes.txt", "training_args.json", "chat_template.jinja", "1_Pooling/notes.json"] {
            std::fs::write(at("b").join(unread), "{}").unwrap();
            assert_eq!(EncoderId::of_model(&at("b")).unwrap().hash, a.hash, "{unread}");
        }
        let mut last = b.hash;
        for read in NAMES.into_iter().chain(["sentence_bert_config.json", "model-00001-of-00002.safetensors"]) {
            std::fs::write(at("b").join(read), "other").unwrap();
            let now = EncoderId::of_model(&at("b")).unwrap().hash;
            assert_ne!(now, last, "{read}");
            last = now;
        }
        let more = of_fingerprints(&at("a"), &fingerprints(&at("a"), &[at("b/README.md")]).unwrap());
        assert_ne!(a.hash, more.hash);
        assert!(EncoderId::of_model(&at("none")).is_err());
    }
}
