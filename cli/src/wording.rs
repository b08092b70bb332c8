//! The library's errors in the command line's words: its flags and commands.

use std::sync::OnceLock;

use realign::error::{FileKind, Remedy, Wording};
use realign::train::Settings;

/// What the command line calls the library's arguments and remedies.
pub struct Flags;

/// Every long flag of every command.
static LONG: OnceLock<Vec<String>> = OnceLock::new();

/// Learns the flags that there are; a second call changes nothing.
pub fn know(command: &clap::Command) {
    let (mut flags, mut commands) = (Vec::new(), vec![command]);
    while let Some(command) = commands.pop() {
        flags.extend(command.get_arguments().filter_map(|arg| arg.get_long().map(str::to_owned)));
        commands.extend(command.get_subcommands());
    }
    // What was set before is the same list.
    let _ = LONG.set(flags);
}

fn is_flag(name: &str) -> bool {
    LONG.get().is_some_and(|flags| flags.iter().any(|flag| flag == name))
}

impl Wording for Flags {
    /// A flag of the same name, where there is one; settings of a training run are keys of its file, too, and keep their names.
    fn argument(&self, name: &str) -> String {
        let flag = name.replace('_', "-");
        if is_flag(&flag) && Settings::KEYS.iter().all(|key| key.name != name) {
            return format!("--{flag}");
        }
        name.to_owned()
    }

    fn remedy(&self, remedy: &Remedy) -> String {
        let words = match remedy {
            Remedy::Replace => "choose another name, or pass --force to replace it",
            Remedy::ReplaceFolder => "pass --force to replace it, or choose another folder with --out",
            Remedy::AnotherFolder => "choose another folder with --out",
            Remedy::ResumeOrReplace => "go on with --resume, begin again with --force, or name another output",
            Remedy::ReadAsZero => "clean the data, or pass --nonfinite zero to read such values as 0",
            Remedy::AllowDegenerate => {
                "give more and different rows, or --allow-degenerate for the published script's result"
            }
            Remedy::AnotherDevice => "name another with --device",
            Remedy::HostEngine => "--device host needs no driver and has no such limit",
            Remedy::AllowEncoder => {
                "fit on embeddings as these, or pass --force (train: --any-encoder) to take them all the same"
            }
            Remedy::GiveRows => "pass --source and --target",
            Remedy::CountQueries => "count some with realign rank fit --queries KIND=FILES, or choose another --score",
            Remedy::GiveSourceRows => "pass --source too, or --method anchor-trace",
            Remedy::FitFor { method } => return format!("fit them with --method {method}"),
            Remedy::LargerShrinkage => "give more rows, or a larger --shrinkage",
            Remedy::SmallerRank => "give more rows, or a smaller --rank",
            Remedy::FewerNeighbours => "give fewer (--mixing-k, --overlap-k), or more rows",
            Remedy::CountAllCovariances => {
                "count the rows without one again with realign stats --covariance, or leave it out of all with merge \
                 --without-covariance"
            }
            Remedy::UseAs(FileKind::Moments) => "realign fit --source-stats A --target-stats B takes such files",
            Remedy::UseAs(FileKind::Operator) => "realign apply --stats takes such files",
            Remedy::UseAs(FileKind::Frame) => "realign measure --frame and angles take such files",
            Remedy::UseAs(FileKind::Ranking) => "realign rank search --ranking takes such files",
            Remedy::UseAs(FileKind::Results) => "realign bench --compare takes such files",
            Remedy::Give(FileKind::Moments) => "realign stats --out M.safetensors makes such files",
            Remedy::Give(FileKind::Operator) => "realign fit --out S.safetensors makes such files",
            Remedy::Give(FileKind::Frame) => "realign frame --out F.safetensors makes such files",
            Remedy::Give(FileKind::Ranking) => "realign rank fit --out R.safetensors makes such files",
            Remedy::Give(FileKind::Results) => "realign bench --json OUT makes such files",
            Remedy::SetKey { key } => return format!("set it in the file or with --{}", key.replace('_', "-")),
            Remedy::ChooseTensor { names } if names.is_empty() => "choose another with --key",
            Remedy::ChooseTensor { names } => return format!("choose one with --key among: {}", names.join(", ")),
            Remedy::ChooseColumn => "choose one with --column",
            Remedy::ChooseIdColumn => "name the column of ids with --id-column",
            Remedy::GiveIds => "name a list of its rows' ids, one per line or as a JSON array, with --ids",
            Remedy::SkipMissing => "check the ids, or pass --skip-missing to leave them out",
            Remedy::SkipBad { count } => {
                return format!("correct them, or pass --skip-bad {count} (or all) to leave them out");
            }
            Remedy::LowerMaxLength { most } => return format!("lower --max-length to {most}, which cuts it"),
            Remedy::SmallerWeights => "hold a frozen model in 16 bits (--weights bf16), or take a smaller one",
            Remedy::TrainLess => "train less of the model (--train lora, or --train adapter)",
            Remedy::FewerActivations => "lower --batch-size or --max-length, or pass --recompute",
            Remedy::SmallerBatches => "lower --batch-size or --max-length",
            Remedy::ShorterAnswers => "lower --max-tokens, or shorten the prompt",
            Remedy::SmallerChunks => "make the work smaller (--chunk-rows; in training --batch-size)",
            other => return other.to_string(),
        };
        words.to_owned()
    }
}

/// A library's error in the command line's words.
pub fn words(error: &realign::Error) -> String {
    error.worded(&Flags)
}

/// An error and its causes; the library's messages contain theirs already.
pub fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.downcast_ref().map_or_else(|| cause.to_string(), words);
        if !text.contains(&cause) {
            text = if text.is_empty() { cause } else { format!("{text}: {cause}") };
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::commands::Cli;

    #[test]
    fn every_remedy_is_worded_in_flags_that_there_are() {
        know(&Cli::command());
        for remedy in Remedy::samples() {
            let words = Flags.remedy(&remedy);
            assert_ne!(words, remedy.to_string(), "{remedy:?} has no words of the command line's");
            let flags: Vec<&str> = words.split(|c: char| !c.is_alphanumeric() && c != '-').collect();
            let flags: Vec<&str> = flags.into_iter().filter_map(|word| word.strip_prefix("--")).collect();
            assert!(!flags.is_empty(), "{remedy:?}: {words}");
            for flag in flags {
                assert!(is_flag(flag), "{remedy:?}: there is no --{flag}");
            }
        }
    }

    #[test]
    fn arguments_are_flags_where_there_are_such() {
        know(&Cli::command());
        assert_eq!(Flags.argument("chunk_rows"), "--chunk-rows");
        assert_eq!(Flags.argument("neighbours"), "neighbours");
        assert_eq!(Flags.argument("max_length"), "max_length");
        let error = realign::Error::argument("sigma", "-1; give a number from 0");
        assert_eq!(message(&error.into()), "--sigma: -1; give a number from 0");
    }

    #[test]
    fn causes_are_worded_too() {
        let error = anyhow::Error::from(realign::Error::OutputExists("a".into())).context("b");
        assert_eq!(message(&error), "b: a exists; choose another name, or pass --force to replace it");
    }
}
