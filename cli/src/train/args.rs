//! The arguments of `train`: every setting is a flag.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::builder::NonEmptyStringValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches, Subcommand, ValueEnum};
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
    /// The memory that a run would take, before anything of it is loaded.
    Plan(PlanArgs),
}

/// The two trainings.
#[derive(Clone, Copy, ValueEnum)]
pub enum StageName {
    Stage1,
    Stage2,
}

#[derive(Args)]
pub struct PlanArgs {
    /// Which training; its recipe is what is not set.
    #[arg(default_value = "stage2")]
    stage: StageName,
    /// Settings in TOML; flags of the same names go before it.
    #[arg(long, value_name = "run.toml")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: SettingFlags,
    /// Positions of each sample; by default max_length, the most that a run can take.
    #[arg(long, value_name = "N")]
    pub length: Option<usize>,
    /// Width of the embeddings; by default that of --embeddings, --text-model, --vision-model, --stats or --init-adapter.
    #[arg(long, value_name = "N")]
    pub embedding_width: Option<usize>,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Bytes as JSON.
    #[arg(long)]
    pub json: bool,
}

impl PlanArgs {
    /// The recipe, then the file, then the flags.
    pub fn settings(&self) -> Result<Settings> {
        let stage = match self.stage {
            StageName::Stage1 => Stage::One,
            StageName::Stage2 => Stage::Two,
        };
        self.flags.settings(stage, self.config.as_deref())
    }
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
        self.flags.settings(stage, self.config.as_deref())
    }
}

/// Settings that were given as flags, in the order in which they are declared.
struct SettingFlags {
    given: Vec<(&'static str, Vec<String>)>,
}

impl SettingFlags {
    /// The recipe, then the file, then these.
    fn settings(&self, stage: Stage, config: Option<&Path>) -> Result<Settings> {
        let mut settings = Settings::new(stage);
        if let Some(path) = config {
            settings.read(path)?;
        }
        for (key, values) in &self.given {
            settings.set_all(key, values)?;
        }
        Ok(settings)
    }
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
