//! The arguments of `demo` and `experiment`.

use std::path::{Path, PathBuf};

use clap::Args;
use realign::experiment::ProtocolSettings;
use realign::io::{FolderLock, write_atomically};
use serde_json::{Value, json};

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

/// The file that says that a folder is one of ours: its `format` is [`FORMAT`].
pub const RESULTS: &str = "results.json";
/// What it is.
pub const FORMAT: &str = "realign-experiment";

/// What an output folder held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Earlier {
    /// Nothing that is kept.
    None,
    /// An experiment to go on with.
    Kept,
}

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

    /// Makes the folder, with a results file that says whose it is, and locks it against other processes. One of an earlier run is
    /// replaced with --force and kept with `resume`, any other is left alone.
    pub fn folder(&self, out: &Path, resume: bool) -> anyhow::Result<(Earlier, FolderLock)> {
        // First of all, so that nothing is put into the folder of another; and again, for another process may have been faster.
        self.earlier(out, resume)?;
        std::fs::create_dir_all(out).map_err(realign::Error::io("create", out))?;
        let lock = FolderLock::acquire(out)?;
        let earlier = self.earlier(out, resume)?;
        if earlier == Earlier::None {
            lock.clear_folder()?;
            let mark = json!({ "format": FORMAT, "finished": false });
            write_atomically(&out.join(RESULTS), true, format!("{mark:#}\n").as_bytes())?;
        }
        Ok((earlier, lock))
    }

    /// What the folder holds that stays; an error where it is not to be touched.
    fn earlier(&self, out: &Path, resume: bool) -> anyhow::Result<Earlier> {
        let empty = FolderLock::is_vacant(out);
        let ours = !empty && is_ours(out);
        if resume && ours {
            return Ok(Earlier::Kept);
        }
        if resume && !empty {
            anyhow::bail!("{}: is no experiment's folder; nothing to resume", out.display());
        }
        if !empty && (!ours || !self.force) {
            let remedy = if ours { "pass --force to replace it, or choose" } else { "choose" };
            anyhow::bail!("{}: is there already; {remedy} another folder with --out", out.display());
        }
        Ok(Earlier::None)
    }
}

/// Whether a folder has a results file of ours.
fn is_ours(folder: &Path) -> bool {
    let text = std::fs::read(folder.join(RESULTS)).unwrap_or_default();
    serde_json::from_slice::<Value>(&text).is_ok_and(|value| value["format"] == FORMAT)
}
