//! A model on the disk: a folder in Hugging Face's layout, or one GGUF file that says the same.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::fields::read_object;
use crate::io::gguf::{self, GgufFile, is_gguf};
use crate::{Error, Result};

/// Where what a model's folder holds is had from.
#[derive(Debug)]
pub(in crate::io) enum ModelFiles {
    /// A folder.
    Folder(PathBuf),
    /// A GGUF file.
    Gguf(Box<GgufFile>),
}

impl ModelFiles {
    /// Finds out which of the two a path is.
    ///
    /// # Errors
    /// A GGUF file that is malformed; another file.
    pub fn open(path: &Path) -> Result<ModelFiles> {
        if is_gguf(path) {
            return Ok(ModelFiles::Gguf(Box::new(GgufFile::open(path)?)));
        }
        crate::io::check_local(path)?;
        if path.is_file() {
            let problem = "is neither a model's folder nor a GGUF file; name one of these";
            return Err(Error::format(path, problem));
        }
        Ok(ModelFiles::Folder(path.to_path_buf()))
    }

    /// The object of `config.json`, and the file's name for errors.
    ///
    /// # Errors
    /// No such file, no JSON object; metadata without a counterpart.
    pub fn config(&self) -> Result<(PathBuf, Map<String, Value>)> {
        match self {
            ModelFiles::Folder(folder) => {
                let path = folder.join("config.json");
                let object = read_object(&path)?;
                Ok((path, object))
            }
            ModelFiles::Gguf(file) => Ok((file.path().to_path_buf(), gguf::config(file)?)),
        }
    }

    /// The texts of `tokenizer.json` and `tokenizer_config.json` that a GGUF file stands for; none of a folder, which has the files.
    ///
    /// # Errors
    /// A tokenizer that is not read.
    #[cfg(feature = "train")]
    pub fn generated_tokenizer(&self) -> Result<Option<[(&'static str, String); 2]>> {
        let ModelFiles::Gguf(file) = self else { return Ok(None) };
        let parts = gguf::tokenizer(file)?;
        let settings = Value::Object(parts.settings);
        Ok(Some([("tokenizer.json", parts.json.to_string()), ("tokenizer_config.json", format!("{settings:#}\n"))]))
    }
}
