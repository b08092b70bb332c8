//! The arguments of `demo` and `experiment`.

use std::path::PathBuf;

use clap::Args;

use crate::shared::device::DeviceArgs;

#[derive(Args)]
pub struct DemoArgs {
    /// The folder for everything that is made; its report.html shows it.
    #[arg(long, default_value = "realign-demo", value_name = "DIR")]
    pub out: PathBuf,
    /// What everything depends on.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(Args)]
pub struct ExperimentArgs {
    /// The folder for everything that is made; its report.html shows it.
    #[arg(long, default_value = "realign-experiment", value_name = "DIR")]
    pub out: PathBuf,
    /// Seeds 0 to below this.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// Every aligner and ablation, with and without noise; long captions; smaller pools of texts.
    #[arg(long)]
    pub full: bool,
    /// Rows that run side by side; results do not depend on it. By default as many as cores on the host engine, 1 on a GPU.
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=256))]
    pub jobs: Option<usize>,
    /// Go on with a stopped experiment: rows that have a result are not run again.
    #[arg(long, conflicts_with = "force")]
    pub resume: bool,
    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(Args)]
pub struct RunArgs {
    /// A tenth of the steps: a try-out whose numbers mean little.
    #[arg(long)]
    pub quick: bool,
    /// Replace the folder of an earlier run.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Machine-readable result on stdout.
    #[arg(long)]
    pub json: bool,
}
