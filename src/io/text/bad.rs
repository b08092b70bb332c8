//! Records that cannot be used: how many may be left out, and what is said of them.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::error::{Problem, Remedy};
use crate::io::records::BadRecord;
use crate::{Error, Result};

/// How many bad records an error lists.
const LISTED: usize = 10;

/// How many bad records may be left out of a file: those with an empty or missing text, unknown roles, marks or images that do not fit, or
/// that the chat template refuses, and lines that are no JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SkipBad {
    /// So many; one more, and the file is refused.
    AtMost(u64),
    /// As many as there are (`all`).
    All,
}

impl SkipBad {
    /// Whether so many may be left out.
    pub fn allows(self, count: u64) -> bool {
        match self {
            SkipBad::All => true,
            SkipBad::AtMost(most) => count <= most,
        }
    }
}

/// None.
impl Default for SkipBad {
    fn default() -> SkipBad {
        SkipBad::AtMost(0)
    }
}

impl FromStr for SkipBad {
    type Err = String;

    fn from_str(text: &str) -> Result<SkipBad, String> {
        match text.trim() {
            "all" => Ok(SkipBad::All),
            number => number
                .replace('_', "")
                .parse()
                .map(SkipBad::AtMost)
                .map_err(|_| format!("{text:?} is neither a number of records nor \"all\"")),
        }
    }
}

impl fmt::Display for SkipBad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SkipBad::AtMost(most) => write!(f, "{most}"),
            SkipBad::All => f.write_str("all"),
        }
    }
}

/// The bad records of a file: how many there are, and the first of them.
#[derive(Debug, Default)]
pub(super) struct BadRecords {
    first: Vec<String>,
    pub(super) count: u64,
}

impl BadRecords {
    /// Counts one; they are to come in the order of the file.
    pub(super) fn add(&mut self, bad: BadRecord) {
        self.count += 1;
        if self.first.len() < LISTED {
            self.first.push(format!("{}: {}", bad.place, bad.problem));
        }
    }

    /// What is wrong, in words: one record in a line, several in a list.
    pub(super) fn words(&self, read: u64, what: &str) -> String {
        let count = self.count;
        let head = format!("{count} of {read} records (counted from 0) {what}");
        match &self.first[..] {
            [one] => format!("{head}: {one}"),
            all if count == all.len() as u64 => format!("{head}:\n  {}", all.join("\n  ")),
            all => format!("{head}; the first {}:\n  {}", all.len(), all.join("\n  ")),
        }
    }

    /// Says which records are left out, or refuses the file if there are more than are allowed.
    pub(super) fn settle(&self, path: &Path, read: u64, allowed: SkipBad) -> Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        let most = match allowed {
            SkipBad::All => self.count,
            SkipBad::AtMost(most) => most,
        };
        if self.count <= most {
            log::warn!("{}: {}", path.display(), self.words(read, "cannot be used and are left out"));
            return Ok(());
        }
        let more = if most > 0 { format!(", and {most} may be left out") } else { String::new() };
        let problem = Problem::new(self.words(read, &format!("cannot be used{more}")));
        Err(Error::format(path, problem.remedy(Remedy::SkipBad { count: self.count })))
    }
}
