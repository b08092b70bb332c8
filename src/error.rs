//! The one error type of the library.

use std::path::{Path, PathBuf};

/// What every fallible function of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, with what, where and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a file operation.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted, as a verb: `read`, `create`, `write`, `rename`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A file is not what its format demands, or holds what we do not read.
    #[error("{}: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, where, and the remedy.
        problem: String,
    },
    /// A NaN or an infinity in the data.
    #[error(
        "{}: {value} at row {row}, column {column}; clean the data, or pass --nonfinite zero to read such values as 0", path.display()
    )]
    NonFinite {
        /// The file (or the name of the in-memory rows).
        path: PathBuf,
        /// Row within that file, from 0.
        row: u64,
        /// Column, from 0.
        column: usize,
        /// `NaN`, `inf` or `-inf`.
        value: f64,
    },
    /// Two operands do not fit each other.
    #[error("{operation}: {operand} has {got}, expected {expected}")]
    Shape {
        /// The operation that was asked for.
        operation: &'static str,
        /// The operand that does not fit.
        operand: String,
        /// What it should have been.
        expected: String,
        /// What it was.
        got: String,
    },
    /// The data cannot determine the operator.
    #[error("{0}")]
    Degenerate(String),
    /// An argument outside its domain.
    #[error("{argument}: {problem}")]
    Argument {
        /// Name of the argument.
        argument: &'static str,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// The output is there already.
    #[error("{} exists; choose another name, or pass --force to replace it", .0.display())]
    OutputExists(PathBuf),
    /// Another process writes into the output folder.
    #[error(
        "{}: another process{} is writing into it; wait until it ends, stop it, or choose another folder",
        folder.display(), process.map(|id| format!(" ({id})")).unwrap_or_default()
    )]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// The number of the process, where the system let us read it.
        process: Option<u32>,
    },
    /// A caller's own function asked for the end.
    #[error("stopped")]
    Stopped,
    /// No adapter answers the request.
    #[error("no adapter: {0}")]
    NoAdapter(String),
    /// The adapter is there but cannot do what is needed.
    #[error("{adapter}: {problem}")]
    Unsupported {
        /// Name of the adapter.
        adapter: String,
        /// The limit or feature that is missing.
        problem: String,
    },
    /// The device has no memory left for a buffer now.
    #[error("{adapter}: out of memory for {bytes} bytes of {what}; {remedy}, or free device memory")]
    OutOfMemory {
        /// Name of the adapter.
        adapter: String,
        /// The buffer's purpose, name and shape.
        what: String,
        /// The size asked for, in bytes; 0 where the driver did not say.
        bytes: u64,
        /// What makes it smaller.
        remedy: &'static str,
    },
    /// The device was lost (unplugged, driver reset, watchdog); make a new one.
    #[error("{adapter}: device lost: {reason}; nothing was written, run the command again")]
    DeviceLost {
        /// Name of the adapter.
        adapter: String,
        /// The driver's words.
        reason: String,
    },
    /// The driver or wgpu's validation refused a command: a bug in a kernel or its wrapper.
    #[error("{adapter}: {operation} was rejected: {reason}")]
    Gpu {
        /// Name of the adapter.
        adapter: String,
        /// What was being done.
        operation: String,
        /// The message.
        reason: String,
    },
}

impl Error {
    /// Wraps an I/O error with what was attempted on which path.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io { action, path, source }
    }

    /// A malformed or unsupported file.
    pub fn format(path: impl AsRef<Path>, problem: impl Into<String>) -> Error {
        Error::Format { path: path.as_ref().to_path_buf(), problem: problem.into() }
    }

    /// An argument outside its domain.
    pub fn argument(argument: &'static str, problem: impl Into<String>) -> Error {
        Error::Argument { argument, problem: problem.into() }
    }

    /// An operand whose shape or type does not fit.
    pub fn shape(
        operation: &'static str,
        operand: impl Into<String>,
        expected: impl ToString,
        got: impl ToString,
    ) -> Error {
        Error::Shape { operation, operand: operand.into(), expected: expected.to_string(), got: got.to_string() }
    }
}
