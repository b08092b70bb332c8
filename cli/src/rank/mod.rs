//! Mixed search: `rank fit`, `merge`, `search` and `compare`.

pub mod args;
mod compare;
mod fit;
mod search;
mod searched;

use anyhow::Result;

use args::{RankArgs, RankCommand};
pub use fit::value;

pub fn rank(args: &RankArgs) -> Result<()> {
    match &args.command {
        RankCommand::Fit(args) => fit::fit(args),
        RankCommand::Merge(args) => fit::merge(args),
        RankCommand::Search(args) => search::search(args),
        RankCommand::Compare(args) => compare::compare(args),
    }
}
