//! The file formats and what each can hold.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::{ElementType, Error, Result};

/// A format of files that hold rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileFormat {
    /// NumPy's array file: one 2-D array.
    Npy,
    /// Hugging Face safetensors: named tensors.
    Safetensors,
    /// Apache Parquet: a column of lists beside other columns.
    Parquet,
    /// Apache Arrow's own (IPC), as stream or file: a column of lists beside other columns. It is read, and not written.
    Arrow,
}

impl FileFormat {
    /// All formats.
    pub const ALL: [FileFormat; 4] = [FileFormat::Npy, FileFormat::Safetensors, FileFormat::Parquet, FileFormat::Arrow];
    /// Those that can be written.
    pub const WRITTEN: [FileFormat; 3] = [FileFormat::Npy, FileFormat::Safetensors, FileFormat::Parquet];

    /// The name that callers choose it by.
    pub const fn name(self) -> &'static str {
        match self {
            FileFormat::Npy => "npy",
            FileFormat::Safetensors => "safetensors",
            FileFormat::Parquet => "parquet",
            FileFormat::Arrow => "arrow",
        }
    }

    /// The file name's extension, without the dot.
    pub const fn extension(self) -> &'static str {
        self.name()
    }

    /// The format that a path's extension promises; `None` for any other extension.
    pub fn from_path(path: &Path) -> Option<FileFormat> {
        let extension = path.extension()?.to_str()?;
        FileFormat::ALL.into_iter().find(|format| extension.eq_ignore_ascii_case(format.extension()))
    }

    /// Whether its rows can be read at any place without decoding those before.
    pub(super) const fn is_raw(self) -> bool {
        matches!(self, FileFormat::Npy | FileFormat::Safetensors)
    }

    /// Refuses a format that is not written, and an element type that it cannot hold, with what to choose instead.
    pub(super) fn check_holds(self, element: ElementType) -> Result<()> {
        if self == FileFormat::Arrow {
            return Err(Error::argument(
                "format",
                "arrow files are read and not written; choose npy, safetensors or parquet",
            ));
        }
        let problem = match (self, element) {
            (_, ElementType::Fixed | ElementType::Q8_0) => {
                format!("files of rows do not hold the type {element}; choose f16, bf16, f32 or f64")
            }
            (FileFormat::Npy | FileFormat::Parquet, ElementType::BF16) => {
                format!("{self} files cannot hold bf16; choose f32 or f16, or write safetensors")
            }
            _ => return Ok(()),
        };
        Err(Error::argument("output type", problem))
    }
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// By the name of a format that can be written.
impl FromStr for FileFormat {
    type Err = Error;

    fn from_str(name: &str) -> Result<FileFormat> {
        FileFormat::WRITTEN.into_iter().find(|format| name == format.name()).ok_or_else(|| {
            Error::argument("format", format!("{name:?} is not a format; choose npy, safetensors or parquet"))
        })
    }
}
