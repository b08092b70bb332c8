//! The arguments of `demo` and `experiment`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

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
#[command(group = ArgGroup::new("encoders").args(["vision_model", "text_model"]).multiple(true))]
pub struct ExperimentArgs {
    /// The folder for everything that is made; its report.html shows it.
    #[arg(long, default_value = "realign-experiment", value_name = "DIR")]
    pub out: PathBuf,
    /// Own pictures instead of the bundled digits: a folder with captions.jsonl, a record {image, text} per caption, and perhaps
    /// questions.jsonl, conversations {id, image, conversations} for stage 2.
    #[arg(long, value_name = "FOLDER", requires = "model")]
    pub images: Option<PathBuf>,
    /// The language model that learns to see the pictures: a folder in Hugging Face's layout.
    #[arg(long, value_name = "LLM", requires = "images")]
    pub model: Option<PathBuf>,
    /// The image tower, CLIP or SigLIP; without it one is trained here, on the captions of a part of the pictures.
    #[arg(long, value_name = "DIR", requires = "images")]
    pub vision_model: Option<PathBuf>,
    /// The text encoder; by default that of --vision-model. Without --vision-model the tower is trained against its rows, without both
    /// together with a small text tower.
    #[arg(long, value_name = "DIR", requires = "images")]
    pub text_model: Option<PathBuf>,
    /// Where what encoders make of pictures and captions is kept, each once; by default in the user's cache folder.
    #[arg(long, value_name = "DIR", requires_all = ["images", "encoders"])]
    pub cache: Option<PathBuf>,
    /// Optimiser steps of stage 1 on pictures (600); stage 2 takes a fifth of them.
    #[arg(long, value_name = "N", requires = "images", value_parser = clap::value_parser!(u64).range(1..))]
    pub steps: Option<u64>,
    /// Held-out pictures that are described, and questions about such that are asked, at the most (200).
    #[arg(long, value_name = "N", requires = "images", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub asked: Option<usize>,
    /// Seeds 0 to below this.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// Every aligner and ablation, with and without noise; long captions; smaller pools of texts. Of pictures: every aligner, and noise.
    #[arg(long)]
    pub full: bool,
    /// Rows that run side by side; results do not depend on it. By default as many as cores on the host engine, 1 on a GPU.
    #[arg(long, value_name = "N", conflicts_with = "images", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=256))]
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
