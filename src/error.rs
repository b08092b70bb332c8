//! The one error type of the library.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::remedy::Plain;
pub use crate::remedy::{FileKind, Problem, Remedy, Wording};

/// What every fallible function of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, with what, where and what to do about it. [`fmt::Display`] says all of it in words; a front end
/// words the remedy in its own terms: [`Error::remedy`], [`Error::worded`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a file operation.
    Io {
        /// What was attempted, as a verb: `read`, `create`, `write`, `rename`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A file is not what its format demands, or holds what we do not read.
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, where, and the remedy.
        problem: Problem,
    },
    /// A NaN or an infinity in the data.
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
    Degenerate(Problem),
    /// An argument outside its domain.
    Argument {
        /// Name of the argument, or of the option's field.
        argument: &'static str,
        /// What is wrong and what is allowed.
        problem: Problem,
    },
    /// The output is there already.
    OutputExists(PathBuf),
    /// Another process writes into the output folder.
    InUse {
        /// The folder.
        folder: PathBuf,
        /// The number of the process, where the system let us read it.
        process: Option<u32>,
    },
    /// Another rank of a run that several share ended it.
    Rank {
        /// Its number, from 0.
        rank: usize,
        /// What it said.
        problem: String,
    },
    /// A caller's own function asked for the end.
    Stopped,
    /// No adapter answers the request.
    NoAdapter(Problem),
    /// An environment variable holds what it cannot mean. Empty ones count as unset.
    Environment {
        /// Its name.
        variable: &'static str,
        /// What it holds.
        value: String,
        /// What it may hold.
        allowed: &'static str,
    },
    /// The adapter is there but cannot do what is needed.
    Unsupported {
        /// Name of the adapter.
        adapter: String,
        /// The limit or feature that is missing.
        problem: Problem,
    },
    /// The device has no memory left for a buffer now.
    OutOfMemory {
        /// Name of the adapter.
        adapter: String,
        /// The buffer's purpose, name and shape.
        what: String,
        /// The size asked for, in bytes; 0 where the driver did not say.
        bytes: u64,
        /// What makes it smaller.
        remedy: Remedy,
    },
    /// The device was lost (unplugged, driver reset, watchdog); make a new one.
    DeviceLost {
        /// Name of the adapter.
        adapter: String,
        /// The driver's words.
        reason: String,
    },
    /// The driver or wgpu's validation refused a command: a bug in a kernel or its wrapper.
    Gpu {
        /// Name of the adapter.
        adapter: String,
        /// What was being done.
        operation: String,
        /// The message.
        reason: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.worded(&Plain))
    }
}

impl Error {
    /// What can be done about it, where that is one of few things.
    pub fn remedy(&self) -> Option<&Remedy> {
        match self {
            Error::Format { problem, .. } | Error::Argument { problem, .. } | Error::Unsupported { problem, .. } => {
                problem.remedy.as_ref()
            }
            Error::Degenerate(problem) | Error::NoAdapter(problem) => problem.remedy.as_ref(),
            Error::OutputExists(_) => Some(&Remedy::Replace),
            Error::NonFinite { .. } => Some(&Remedy::ReadAsZero),
            Error::OutOfMemory { remedy, .. } => Some(remedy),
            _ => None,
        }
    }

    /// The message, with arguments and remedies in a front end's words.
    ///
    /// ```
    /// use realign::error::{Remedy, Wording};
    ///
    /// struct Python;
    ///
    /// impl Wording for Python {
    ///     fn remedy(&self, remedy: &Remedy) -> String {
    ///         match remedy {
    ///             Remedy::Replace => "pass overwrite=True".to_owned(),
    ///             other => other.to_string(),
    ///         }
    ///     }
    /// }
    ///
    /// let error = realign::Error::OutputExists("S.safetensors".into());
    /// assert_eq!(error.worded(&Python), "S.safetensors exists; pass overwrite=True");
    /// assert_eq!(error.to_string(), "S.safetensors exists; choose another name, or allow it to be replaced");
    /// ```
    pub fn worded(&self, wording: &dyn Wording) -> String {
        match self {
            Error::Io { action, path, source } => format!("cannot {action} {}: {source}", path.display()),
            Error::Format { path, problem } => format!("{}: {}", path.display(), problem.worded(wording)),
            Error::NonFinite { path, row, column, value } => {
                let remedy = wording.remedy(&Remedy::ReadAsZero);
                format!("{}: {value} at row {row}, column {column}; {remedy}", path.display())
            }
            Error::Shape { operation, operand, expected, got } => {
                format!("{operation}: {operand} has {got}, expected {expected}")
            }
            Error::Degenerate(problem) => problem.worded(wording),
            Error::Argument { argument, problem } => {
                format!("{}: {}", wording.argument(argument), problem.worded(wording))
            }
            Error::OutputExists(path) => format!("{} exists; {}", path.display(), wording.remedy(&Remedy::Replace)),
            Error::InUse { folder, process } => {
                let process = process.map(|id| format!(" ({id})")).unwrap_or_default();
                let remedy = "wait until it ends, stop it, or choose another folder";
                format!("{}: another process{process} is writing into it; {remedy}", folder.display())
            }
            Error::Rank { rank, problem } => format!("rank {rank}: {problem}"),
            Error::Stopped => "stopped".to_owned(),
            Error::NoAdapter(problem) => format!("no adapter: {}", problem.worded(wording)),
            Error::Environment { variable, value, allowed } => {
                format!("the environment variable {variable} is {value:?}; give it {allowed}, or leave it unset")
            }
            Error::Unsupported { adapter, problem } => format!("{adapter}: {}", problem.worded(wording)),
            Error::OutOfMemory { adapter, what, bytes, remedy } => {
                let remedy = wording.remedy(remedy);
                format!("{adapter}: out of memory for {bytes} bytes of {what}; {remedy}, or free device memory")
            }
            Error::DeviceLost { adapter, reason } => {
                format!("{adapter}: device lost: {reason}; nothing was written, run it again")
            }
            Error::Gpu { adapter, operation, reason } => format!("{adapter}: {operation} was rejected: {reason}"),
        }
    }

    /// Wraps an I/O error with what was attempted on which path.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io { action, path, source }
    }

    /// A malformed or unsupported file.
    pub fn format(path: impl AsRef<Path>, problem: impl Into<Problem>) -> Error {
        Error::Format { path: path.as_ref().to_path_buf(), problem: problem.into() }
    }

    /// An argument outside its domain.
    pub fn argument(argument: &'static str, problem: impl Into<Problem>) -> Error {
        Error::Argument { argument, problem: problem.into() }
    }

    /// Data that cannot determine what is asked for.
    pub fn degenerate(problem: impl Into<Problem>) -> Error {
        Error::Degenerate(problem.into())
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
