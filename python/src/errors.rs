//! The library's errors as Python's, in the words of keyword arguments.

use pyo3::prelude::*;
use pyo3::types::PyType;
use realign::Error;
use realign::error::{FileKind, Remedy, Wording};

/// What Python calls the library's arguments and remedies.
struct Keywords;

impl Wording for Keywords {
    fn argument(&self, name: &str) -> String {
        name.replace(' ', "_")
    }

    fn remedy(&self, remedy: &Remedy) -> String {
        let words = match remedy {
            Remedy::Replace => "choose another name, or pass overwrite=True",
            Remedy::ReplaceFolder => "pass start=\"replace\", or choose another folder with out=",
            Remedy::AnotherFolder => "choose another folder with out=",
            Remedy::ResumeOrReplace => "pass start=\"resume\" or start=\"replace\", or name another folder with out=",
            Remedy::ReadAsZero => "clean the data, or pass nonfinite=\"zero\" to read such values as 0",
            Remedy::AllowDegenerate => {
                "give more and different rows, or pass allow_degenerate=True for the published script's result"
            }
            Remedy::AnotherDevice => "name another with device=",
            Remedy::HostEngine => "device=\"host\" needs no driver and has no such limit",
            Remedy::AllowEncoder => "fit on embeddings as these, or pass any_encoder=True to take them all the same",
            Remedy::GiveRows => "pass the rows of both sides",
            Remedy::CountQueries => "fit it with queries={kind: rows}, or choose another score=",
            Remedy::GiveSourceRows => "pass the text's rows, or method=\"anchor-trace\"",
            Remedy::FitFor { method } => return format!("fit with method=\"{method}\""),
            Remedy::LargerShrinkage => "give more rows, or a larger shrinkage=",
            Remedy::SmallerRank => "give more rows, or a smaller rank=",
            Remedy::FewerNeighbours => "give fewer (mixing_k=, overlap_k=), or more rows",
            Remedy::CountAllCovariances => "count all parts as realign.Covariance, or all as realign.Moments",
            Remedy::UseAs(FileKind::Moments) => "realign.Moments.load reads such files",
            Remedy::UseAs(FileKind::Operator) => "realign.load reads such files",
            Remedy::UseAs(FileKind::Frame) => "realign.Frame.load reads such files",
            Remedy::UseAs(FileKind::Ranking) => "realign.Ranking.load reads such files",
            Remedy::Give(FileKind::Moments) => "realign.Moments(width).save makes such files",
            Remedy::Give(FileKind::Operator) => "realign.fit(text, image).save makes such files",
            Remedy::Give(FileKind::Frame) => "realign.Frame(text, image).save makes such files",
            Remedy::Give(FileKind::Ranking) => "realign.Ranking.fit(collections).save makes such files",
            Remedy::SetKey { key } => return format!("pass {key}="),
            Remedy::ChooseTensor { names } if names.is_empty() => "choose another with key=",
            Remedy::ChooseTensor { names } => return format!("choose one with key= among: {}", names.join(", ")),
            Remedy::ChooseColumn => "choose one with column=",
            Remedy::SkipMissing => "check the ids, or pass skip_missing=True to leave them out",
            Remedy::SkipBad { count } => {
                return format!("correct them, or pass skip_bad={count} (or \"all\") to leave them out");
            }
            Remedy::LowerMaxLength { most } => return format!("lower max_length= to {most}, which cuts it"),
            Remedy::SmallerWeights => "hold a frozen model in 16 bits (weights=\"bf16\"), or take a smaller one",
            Remedy::TrainLess => "train less of the model (train=\"lora\", or train=\"adapter\")",
            Remedy::FewerActivations => "lower batch_size= or max_length=, or pass recompute=True",
            Remedy::SmallerBatches => "lower batch_size= or max_length=",
            Remedy::ShorterAnswers => "lower max_tokens=, or shorten the prompt",
            Remedy::SmallerChunks => "make the work smaller (chunk_rows=; in training batch_size=)",
            other => return other.to_string(),
        };
        words.to_owned()
    }
}

/// The classes of `realign._errors`.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Base,
    Input,
    File,
    Device,
}

impl Kind {
    fn of(error: &Error) -> Kind {
        match error {
            Error::NonFinite { .. } | Error::Shape { .. } | Error::Degenerate(_) | Error::Argument { .. } => {
                Kind::Input
            }
            Error::Environment { .. } => Kind::Input,
            Error::Io { .. } | Error::Format { .. } | Error::OutputExists(_) | Error::InUse { .. } => Kind::File,
            Error::NoAdapter(_) | Error::Unsupported { .. } | Error::OutOfMemory { .. } => Kind::Device,
            Error::DeviceLost { .. } | Error::Gpu { .. } => Kind::Device,
            _ => Kind::Base,
        }
    }

    fn class(self) -> &'static str {
        match self {
            Kind::Base => "Error",
            Kind::Input => "InputError",
            Kind::File => "FileError",
            Kind::Device => "DeviceError",
        }
    }

    /// An exception of the class with a message.
    pub fn error(self, message: impl Into<String>) -> PyErr {
        let message = message.into();
        Python::attach(|py| {
            let class = py.import("realign._errors").and_then(|module| module.getattr(self.class()));
            match class.and_then(|class| Ok(class.cast_into::<PyType>()?)) {
                Ok(class) => PyErr::from_type(class, message),
                Err(problem) => problem,
            }
        })
    }
}

/// Bad input: a `ValueError`, too.
pub fn input(message: impl Into<String>) -> PyErr {
    Kind::Input.error(message)
}

/// A library's error as an exception.
pub fn raised(error: Error) -> PyErr {
    Kind::of(&error).error(error.worded(&Keywords))
}

/// A value that is chosen by its name.
pub fn parsed<T: std::str::FromStr>(argument: &str, text: &str) -> PyResult<T>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|problem: T::Err| {
        let problem = problem.to_string();
        // Some say the argument themselves.
        input(if problem.starts_with(argument) { problem } else { format!("{argument}: {problem}") })
    })
}

/// The words for every remedy, so that a test can see that none speaks of flags.
#[pyfunction]
pub fn _remedies() -> Vec<(String, String)> {
    Remedy::samples().iter().map(|remedy| (format!("{remedy:?}"), Keywords.remedy(remedy))).collect()
}
