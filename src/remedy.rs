//! What a caller can do about an error, as data: each front end words it in its own terms.

use std::fmt;
use std::ops::Deref;

/// Whose files a command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// One side's moments.
    Moments,
    /// A fitted operator.
    Operator,
    /// A fixed frame.
    Frame,
    /// What mixed search knows of its collections.
    Ranking,
    /// Results of a benchmark.
    Results,
}

/// What a caller can do about an error. [`fmt::Display`] words it for callers of the library; a front end that has flags, buttons or
/// keyword arguments words it by itself: see [`Wording`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// Choose another name, or allow what is there to be replaced.
    Replace,
    /// Choose another folder, or allow the one that is there to be replaced.
    ReplaceFolder,
    /// Choose another folder.
    AnotherFolder,
    /// Go on with the run that is there, begin it again, or choose another output.
    ResumeOrReplace,
    /// Clean the data, or read NaN and infinities as 0.
    ReadAsZero,
    /// Give more and different rows, or accept a degenerate side.
    AllowDegenerate,
    /// Choose another device.
    AnotherDevice,
    /// Run on the host engine, which needs no driver and has no such limit.
    HostEngine,
    /// Use the encoder that the statistics were fitted with, or take its embeddings all the same.
    AllowEncoder,
    /// Give the rows of both sides.
    GiveRows,
    /// Count rows of such queries when the ranking is fitted, or choose another score.
    CountQueries,
    /// Give the source's rows too, or choose a method that does without.
    GiveSourceRows,
    /// Fit the statistics for this method.
    FitFor {
        /// The method's name.
        method: &'static str,
    },
    /// Give more rows, or a larger ridge.
    LargerShrinkage,
    /// Give more rows, or ask for a smaller rank.
    SmallerRank,
    /// Ask for fewer neighbours, or give more rows.
    FewerNeighbours,
    /// Count all covariances or none.
    CountAllCovariances,
    /// Give the file to what takes such files.
    UseAs(FileKind),
    /// Give a file of this kind.
    Give(FileKind),
    /// Give a setting of a training run a value.
    SetKey {
        /// The setting's key.
        key: &'static str,
    },
    /// Choose a tensor.
    ChooseTensor {
        /// Those of the file, where that helps.
        names: Vec<String>,
    },
    /// Choose a column of rows.
    ChooseColumn,
    /// Choose a column of ids.
    ChooseIdColumn,
    /// Give a list of the rows' ids.
    GiveIds,
    /// Check the ids, or leave out records without an embedding.
    SkipMissing,
    /// Correct the bad records, or leave them out.
    SkipBad {
        /// How many there are.
        count: u64,
    },
    /// Cut samples at this length.
    LowerMaxLength {
        /// In tokens.
        most: usize,
    },
    /// Hold a frozen model in 16 bits, or take a smaller one.
    SmallerWeights,
    /// Train less of the model.
    TrainLess,
    /// Smaller batches, shorter samples, or activations that are computed again.
    FewerActivations,
    /// Smaller batches or shorter samples.
    SmallerBatches,
    /// Shorter answers or prompts.
    ShorterAnswers,
    /// Smaller chunks or batches.
    SmallerChunks,
}

impl Remedy {
    /// One of each kind: for a front end's test that it words them all.
    pub fn samples() -> Vec<Remedy> {
        vec![
            Remedy::Replace,
            Remedy::ReplaceFolder,
            Remedy::AnotherFolder,
            Remedy::ResumeOrReplace,
            Remedy::ReadAsZero,
            Remedy::AllowDegenerate,
            Remedy::AnotherDevice,
            Remedy::HostEngine,
            Remedy::AllowEncoder,
            Remedy::GiveRows,
            Remedy::CountQueries,
            Remedy::GiveSourceRows,
            Remedy::FitFor { method: "realign" },
            Remedy::LargerShrinkage,
            Remedy::SmallerRank,
            Remedy::FewerNeighbours,
            Remedy::CountAllCovariances,
            Remedy::UseAs(FileKind::Moments),
            Remedy::UseAs(FileKind::Operator),
            Remedy::UseAs(FileKind::Frame),
            Remedy::UseAs(FileKind::Ranking),
            Remedy::UseAs(FileKind::Results),
            Remedy::Give(FileKind::Moments),
            Remedy::Give(FileKind::Operator),
            Remedy::Give(FileKind::Frame),
            Remedy::Give(FileKind::Ranking),
            Remedy::Give(FileKind::Results),
            Remedy::SetKey { key: "model" },
            Remedy::ChooseTensor { names: vec!["rows".to_owned()] },
            Remedy::ChooseTensor { names: Vec::new() },
            Remedy::ChooseColumn,
            Remedy::ChooseIdColumn,
            Remedy::GiveIds,
            Remedy::SkipMissing,
            Remedy::SkipBad { count: 3 },
            Remedy::LowerMaxLength { most: 512 },
            Remedy::SmallerWeights,
            Remedy::TrainLess,
            Remedy::FewerActivations,
            Remedy::SmallerBatches,
            Remedy::ShorterAnswers,
            Remedy::SmallerChunks,
        ]
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Remedy::Replace => "choose another name, or allow it to be replaced",
            Remedy::ReplaceFolder => "choose another folder, or allow it to be replaced",
            Remedy::AnotherFolder => "choose another folder",
            Remedy::ResumeOrReplace => "resume it, allow it to be replaced, or name another output",
            Remedy::ReadAsZero => "clean the data, or read such values as 0",
            Remedy::AllowDegenerate => {
                "give more and different rows, or allow degenerate sides for the published script's result"
            }
            Remedy::AnotherDevice => "choose another device",
            Remedy::HostEngine => "the host engine needs no driver and has no such limit",
            Remedy::AllowEncoder => "fit on embeddings as these, or allow another encoder",
            Remedy::GiveRows => "give the rows of both sides",
            Remedy::CountQueries => "fit it to rows of such queries, too, or choose another score",
            Remedy::GiveSourceRows => "give the source's rows too, or choose the method anchor-trace",
            Remedy::FitFor { method } => return write!(f, "fit them for {method}"),
            Remedy::LargerShrinkage => "give more rows, or a larger shrinkage",
            Remedy::SmallerRank => "give more rows, or a smaller rank",
            Remedy::FewerNeighbours => "ask for fewer neighbours, or give more rows",
            Remedy::CountAllCovariances => {
                "count the rows without one again with their covariance, or merge moments alone"
            }
            Remedy::UseAs(FileKind::Moments) => "fits from moments and merges take such files",
            Remedy::UseAs(FileKind::Operator) => "it is what rows are aligned with",
            Remedy::UseAs(FileKind::Results) => "comparisons of benchmarks take such files",
            Remedy::Give(FileKind::Moments) => "give the moments of a side",
            Remedy::Give(FileKind::Operator) => "give a fitted operator",
            Remedy::Give(FileKind::Frame) => "give a frame",
            Remedy::UseAs(FileKind::Ranking) => "mixed search takes such files",
            Remedy::Give(FileKind::Ranking) => "give a ranking",
            Remedy::Give(FileKind::Results) => "give the results of a benchmark",
            Remedy::UseAs(FileKind::Frame) => "measurements and comparisons of frames take such files",
            Remedy::SetKey { key } => return write!(f, "set {key}"),
            Remedy::ChooseTensor { names } if names.is_empty() => "choose another tensor",
            Remedy::ChooseTensor { names } => return write!(f, "choose a tensor among: {}", names.join(", ")),
            Remedy::ChooseColumn => "choose another column",
            Remedy::ChooseIdColumn => "choose the column of ids",
            Remedy::GiveIds => "give a list of its rows' ids, one per line or as a JSON array",
            Remedy::SkipMissing => "check the ids, or leave such records out",
            Remedy::SkipBad { count } => return write!(f, "correct them, or allow {count} bad records to be left out"),
            Remedy::LowerMaxLength { most } => return write!(f, "lower the longest sample to {most}, which cuts it"),
            Remedy::SmallerWeights => "hold a frozen model in 16 bits, or take a smaller one",
            Remedy::TrainLess => "train less of the model: low-rank additions, or the adapter alone",
            Remedy::FewerActivations => "take smaller batches or shorter samples, or compute activations again",
            Remedy::SmallerBatches => "take smaller batches or shorter samples",
            Remedy::ShorterAnswers => "ask for fewer tokens, or shorten the prompt",
            Remedy::SmallerChunks => "make the work smaller: fewer rows a chunk, in training smaller batches",
        };
        f.write_str(words)
    }
}

/// What is wrong, in words, and what can be done about it, as data. Made from text alone, or by [`Problem::remedy`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, where, and what is allowed.
    pub text: String,
    /// What can be done about it.
    pub remedy: Option<Remedy>,
}

impl Problem {
    /// In words.
    pub fn new(text: impl Into<String>) -> Self {
        Problem { text: text.into(), remedy: None }
    }

    /// The same with a remedy.
    #[must_use]
    pub fn remedy(self, remedy: Remedy) -> Self {
        Problem { remedy: Some(remedy), ..self }
    }

    /// The text, and the remedy in a front end's words.
    pub(crate) fn worded(&self, wording: &dyn Wording) -> String {
        match &self.remedy {
            Some(remedy) => format!("{}; {}", self.text, wording.remedy(remedy)),
            None => self.text.clone(),
        }
    }
}

impl From<String> for Problem {
    fn from(text: String) -> Self {
        Problem::new(text)
    }
}

impl From<&str> for Problem {
    fn from(text: &str) -> Self {
        Problem::new(text)
    }
}

/// The text, without the remedy.
impl Deref for Problem {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.worded(&Plain))
    }
}

/// How a front end words what the library leaves to it; see [`Error::worded`](crate::Error::worded).
pub trait Wording {
    /// The name of an argument or option, which the library calls by the name of its parameter or field.
    fn argument(&self, name: &str) -> String {
        name.to_owned()
    }

    /// A remedy, as the end of a sentence.
    fn remedy(&self, remedy: &Remedy) -> String {
        remedy.to_string()
    }
}

/// The library's own words.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Plain;

impl Wording for Plain {}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    /// What a library says in no string, comment or page of its docs: flags, and commands of the command line.
    fn offence(line: &str) -> Option<String> {
        let commands = [
            "adapters",
            "stats",
            "merge",
            "fit",
            "apply",
            "info",
            "measure",
            "compare",
            "calibrate",
            "frame",
            "angles",
            "drift",
            "train",
            "score",
            "generate",
            "evaluate",
            "embed",
            "bench",
            "tune",
            "rank",
            "demo",
            "experiment",
        ];
        for (at, _) in line.match_indices("--") {
            let (before, after) = (line[..at].chars().last(), line[at + 2..].chars().next());
            if before != Some('-') && after.is_some_and(|c| c.is_ascii_lowercase()) {
                return Some(line[at..].chars().take_while(|c| *c == '-' || c.is_alphanumeric()).collect());
            }
        }
        for (at, name) in line.match_indices("realign ") {
            let word: String = line[at + name.len()..].chars().take_while(|c| c.is_alphanumeric()).collect();
            if commands.contains(&word.as_str()) {
                return Some(format!("{name}{word}"));
            }
        }
        None
    }

    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }

    #[test]
    fn the_library_speaks_no_command_line() {
        let mut files = Vec::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
        assert!(files.len() > 100, "{files:?}");
        let mut found = Vec::new();
        for path in files {
            for (i, line) in std::fs::read_to_string(&path).unwrap().lines().enumerate() {
                found.extend(offence(line).map(|what| format!("{}:{}: {what}", path.display(), i + 1)));
            }
        }
        assert!(found.is_empty(), "flags and commands are a front end's words; see Remedy:\n{}", found.join("\n"));
    }

    #[test]
    fn a_flag_and_a_command_are_found() {
        let (flag, command) = (["-", "-force"].concat(), ["realign ", "fit"].concat());
        assert_eq!(offence(&format!("pass {flag} to replace it")), Some(flag.clone()));
        assert_eq!(offence(&format!("/// As `{flag}` takes it.")), Some(flag));
        assert_eq!(offence(&format!("make it with {command}")), Some(command));
        for good in ["a - b", "// ---------", "realign fits", "| --- | --- |", "a --> b"] {
            assert_eq!(offence(good), None, "{good}");
        }
    }
}
