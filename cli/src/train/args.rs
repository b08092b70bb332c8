//! The arguments of `train`: every setting is a flag.

use std::path::PathBuf;

use anyhow::Result;
use clap::builder::NonEmptyStringValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches, Subcommand};
use realign::train::{KeyKind, Settings, Stage};

use crate::shared::device::DeviceArgs;

#[derive(Args)]
pub struct TrainArgs {
    #[command(subcommand)]
    pub stage: StageArgs,
}

#[derive(Subcommand)]
pub enum StageArgs {
    /// The adapter learns from aligned text embeddings; the language model is frozen.
    Stage1(RunArgs),
    /// Adapter and language model learn to answer about real image embeddings.
    Stage2(RunArgs),
}

#[derive(Args)]
pub struct RunArgs {
    /// Settings in TOML; flags of the same names go before it.
    #[arg(long, value_name = "run.toml")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: SettingFlags,
    /// Go on with the run in --out after its newest checkpoint.
    #[arg(long, conflicts_with = "force")]
    pub resume: bool,
    /// Begin again if there is a run in --out: its log and checkpoints are removed.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Machine-readable result on stdout.
    #[arg(long)]
    pub json: bool,
}

impl RunArgs {
    /// The recipe, then the file, then the flags.
    pub fn settings(&self, stage: Stage) -> Result<Settings> {
        let mut settings = Settings::new(stage);
        if let Some(path) = &self.config {
            settings.read(path)?;
        }
        for (key, values) in &self.flags.given {
            settings.set_all(key, values)?;
        }
        Ok(settings)
    }
}

/// Settings that were given as flags, in the order in which they are declared.
struct SettingFlags {
    given: Vec<(&'static str, Vec<String>)>,
}

impl Args for SettingFlags {
    fn augment_args(command: clap::Command) -> clap::Command {
        Settings::KEYS.iter().fold(command, |command, key| {
            let arg = Arg::new(key.name).long(key.name.replace('_', "-")).help(key.help.trim_end_matches('.'));
            // A help line of its own for each, as everywhere; the value parser refuses nothing but emptiness.
            let arg = match key.kind {
                KeyKind::Switch => arg.num_args(0..=1).default_missing_value("true").require_equals(true),
                KeyKind::List => arg.num_args(1..).action(ArgAction::Append),
                KeyKind::Value => arg.num_args(1).overrides_with(key.name),
            };
            let name = if key.kind == KeyKind::Switch { "true|false" } else { "VALUE" };
            command
                .arg(arg.value_name(name).value_parser(NonEmptyStringValueParser::new()).allow_negative_numbers(true))
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given =
            Settings::KEYS.iter().filter(|key| matches.value_source(key.name) == Some(ValueSource::CommandLine));
        let values = |name| matches.get_many::<String>(name).into_iter().flatten().cloned().collect();
        Ok(SettingFlags { given: given.map(|key| (key.name, values(key.name))).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
