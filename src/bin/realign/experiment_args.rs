//! The arguments of `demo` and `experiment`.

use std::path::PathBuf;

use clap::Args;
use realign::experiment::ProtocolSettings;

use crate::args::DeviceArgs;

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

/// A file that says that a folder is one of ours.
pub const RESULTS: &str = "results.json";
/// Written at the start, removed at the end.
const UNFINISHED: &str = "unfinished";

impl RunArgs {
    /// The protocol's sizes.
    pub fn settings(&self, seed: u64) -> ProtocolSettings {
        let mut settings = ProtocolSettings { seed, ..Default::default() };
        if self.quick {
            settings.encoder.steps /= 10;
            settings.pretrain.steps /= 10;
            settings.stage1.steps /= 10;
            settings.stage2.steps /= 10;
            (settings.texts, settings.asked) = (2_000, 20);
        }
        settings
    }

    /// Makes the folder; one of an earlier run is replaced with --force, any other never.
    pub fn folder(&self, out: &std::path::Path) -> anyhow::Result<()> {
        let ours = out.join(RESULTS).is_file() || out.join(UNFINISHED).is_file();
        let empty = std::fs::read_dir(out).map_or(true, |mut entries| entries.next().is_none());
        if !empty && (!ours || !self.force) {
            let remedy = if ours { "pass --force to replace it, or choose" } else { "choose" };
            anyhow::bail!("{}: is there already; {remedy} another folder with --out", out.display());
        }
        if !empty {
            std::fs::remove_dir_all(out).map_err(realign::Error::io("remove", out))?;
        }
        std::fs::create_dir_all(out).map_err(realign::Error::io("create", out))?;
        Ok(realign::io::write_atomically(&out.join(UNFINISHED), true, b"")?)
    }

    /// The folder is complete.
    pub fn finished(&self, out: &std::path::Path) -> anyhow::Result<()> {
        let mark = out.join(UNFINISHED);
        Ok(std::fs::remove_file(&mark).map_err(realign::Error::io("remove", &mark))?)
    }
}
